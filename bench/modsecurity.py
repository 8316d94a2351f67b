"""The peer: Debian's libmodsecurity 3 + OWASP CRS, in process (ctypes) and behind nginx. Absent packages are said, not hidden."""

from __future__ import annotations

import ctypes
import ctypes.util
import shutil
import time
from pathlib import Path

CRS = Path("/usr/share/modsecurity-crs")
CRS_SETUP = Path("/etc/modsecurity/crs/crs-setup.conf")
_C = ctypes.CDLL(None)
NGINX_MODULE = Path("/usr/lib/nginx/modules/ngx_http_modsecurity_module.so")
HOW = "apt-get install nginx libnginx-mod-http-modsecurity libmodsecurity3 modsecurity-crs"


def missing() -> str:
    """Why the peer cannot be measured here; empty when it can."""
    if ctypes.util.find_library("modsecurity") is None:
        return f"libmodsecurity is not installed ({HOW})"
    if not (CRS / "rules").is_dir() or not CRS_SETUP.exists():
        return f"the OWASP core rule set is not installed ({HOW})"
    return ""


def missing_nginx() -> str:
    if shutil.which("nginx") is None and not Path("/usr/sbin/nginx").exists():
        return f"nginx is not installed ({HOW})"
    return missing() or ("" if NGINX_MODULE.exists() else f"nginx's ModSecurity module is not installed ({HOW})")


def rules(paranoia: int = 1) -> str:
    """CRS, blocking, both bodies inspected; paranoia level 1 is what its documentation recommends to begin with."""
    return rf"""
SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess On
SecResponseBodyMimeType text/plain text/html text/xml application/json
SecRequestBodyLimit 13107200
SecRequestBodyNoFilesLimit 1310720
SecResponseBodyLimit 5242880
SecAuditEngine Off
SecRule REQUEST_HEADERS:Content-Type "^application/json" "id:'200001',phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:Content-Type "^(?:application(?:/soap\+|/)|text/)xml" "id:'200000',phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecAction "id:900000,phase:1,nolog,pass,t:none,setvar:tx.paranoia_level={paranoia},setvar:tx.blocking_paranoia_level={paranoia}"
Include {CRS_SETUP}
Include {CRS}/rules/*.conf
"""


def nginx_config(directory: Path, port: int, upstream: int, workers: int) -> Path:
    """Write a configuration of nginx + ModSecurity + CRS as a reverse proxy; returns its path."""
    (directory / "modsecurity.conf").write_text(rules())
    path = directory / "nginx.conf"
    path.write_text(f"""
load_module {NGINX_MODULE};
daemon off; master_process on; worker_processes {workers}; pid {directory}/nginx.pid; error_log {directory}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
  uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s; keepalive_requests 1000000;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port}; modsecurity on; modsecurity_rules_file {directory}/modsecurity.conf;
    location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }}
  }}
}}
""")
    return path


class _Intervention(ctypes.Structure):
    """`ModSecurityIntervention` of its C API."""

    _fields_ = [
        ("status", ctypes.c_int),
        ("pause", ctypes.c_int),
        ("url", ctypes.c_void_p),
        ("log", ctypes.c_void_p),
        ("disruptive", ctypes.c_int),
    ]


class ModSecurity:
    """libmodsecurity in process, through its C API."""

    def __init__(self, directory: Path, paranoia: int = 1) -> None:
        library = self._library = ctypes.CDLL(ctypes.util.find_library("modsecurity") or "libmodsecurity.so.3")
        for name in ("msc_init", "msc_create_rules_set", "msc_new_transaction"):
            getattr(library, name).restype = ctypes.c_void_p
        self._engine = ctypes.c_void_p(library.msc_init())
        library.msc_set_connector_info(self._engine, b"eastwall-bench v1")
        # Its log would go to the terminal; a function of the C library that does nothing takes it, at no cost.
        library.msc_set_log_cb(self._engine, ctypes.cast(_C.abs, ctypes.c_void_p))
        self._rules = ctypes.c_void_p(library.msc_create_rules_set())
        path = directory / f"modsecurity-{paranoia}.conf"
        path.write_text(rules(paranoia))
        error = ctypes.c_char_p()
        if library.msc_rules_add_file(self._rules, str(path).encode(), ctypes.byref(error)) < 0:
            raise RuntimeError(f"the core rule set does not load: {(error.value or b'').decode()}")

    def inspect(self, method: bytes, uri: bytes, headers: list[tuple[bytes, bytes]], body: bytes, answer: bytes) -> None:
        """One whole transaction: connection, request with body, response with body."""
        library = self._library
        transaction = ctypes.c_void_p(library.msc_new_transaction(self._engine, self._rules, None))
        library.msc_process_connection(transaction, b"127.0.0.1", 40000, b"127.0.0.1", 80)
        library.msc_process_uri(transaction, uri, method, b"1.1")
        for name, value in headers:
            library.msc_add_request_header(transaction, name, value)
        library.msc_process_request_headers(transaction)
        library.msc_append_request_body(transaction, body, ctypes.c_size_t(len(body)))
        library.msc_process_request_body(transaction)
        library.msc_add_response_header(transaction, b"content-type", b"application/json")
        library.msc_process_response_headers(transaction, 200, b"HTTP/1.1")
        library.msc_append_response_body(transaction, answer, ctypes.c_size_t(len(answer)))
        library.msc_process_response_body(transaction)
        library.msc_process_logging(transaction)
        library.msc_transaction_cleanup(transaction)

    def refuses(self, method: bytes, uri: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
        """Whether it stops this request: an intervention in one of the request's phases."""
        library = self._library
        transaction = ctypes.c_void_p(library.msc_new_transaction(self._engine, self._rules, None))
        try:
            library.msc_process_connection(transaction, b"127.0.0.1", 40000, b"127.0.0.1", 80)
            library.msc_process_uri(transaction, uri, method, b"1.1")
            for name, value in headers:
                library.msc_add_request_header(transaction, name, value)
            library.msc_process_request_headers(transaction)
            if self._stopped(transaction):
                return True
            library.msc_append_request_body(transaction, body, ctypes.c_size_t(len(body)))
            library.msc_process_request_body(transaction)
            return self._stopped(transaction)
        finally:
            library.msc_transaction_cleanup(transaction)

    def _stopped(self, transaction: ctypes.c_void_p) -> bool:
        said = _Intervention(status=200)
        stopped = self._library.msc_intervention(transaction, ctypes.byref(said)) != 0
        for text in (said.url, said.log):
            if text:
                _C.free(ctypes.c_void_p(text))
        return stopped

    def time(self, calls: int, *arguments: object) -> list[float]:
        """Seconds of each of `calls` transactions."""
        spent = []
        for _ in range(calls):
            begin = time.perf_counter()
            self.inspect(*arguments)  # type: ignore[arg-type]
            spent.append(time.perf_counter() - begin)
        return spent
