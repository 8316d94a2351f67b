"""What the data plane is to do, in our terms: which services, where, how treated. `render.py` writes Envoy's configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from eastwall.model.native import NativeRule
from eastwall.model.snapshot import ServiceScope

Adapter = Literal["shim", "extproc"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_HOST: Final = re.compile(r"(\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?\Z")
SOCKET_PATH_LIMIT: Final = 107
"""Bytes of the longest Unix socket path (sun_path without its NUL)."""


class ProxyError(ValueError):
    """This proxy cannot be configured; the message says why in one line."""


class Tls(Struct, frozen=True):
    """How listeners speak TLS."""

    certificate: Path
    """PEM file, the leaf first."""
    key: Path
    """PEM file of its private key."""
    client_ca: Path | None = None
    """PEM file: callers' certificates must chain to it. None: none are asked for."""
    require_client: bool = False
    """Refuse callers without a certificate; needs `client_ca`."""


class Upstream(Struct, frozen=True):
    """A service behind the proxy."""

    name: str
    """As in its scope: letters, digits, `.`, `_`, `-`."""
    url: str
    """`http://HOST:PORT` or `https://HOST[:PORT]`; `grpc://HOST:PORT` (or `h2c://`) for HTTP/2 in plain text, as gRPC services speak it,
    `grpcs://HOST[:PORT]` for HTTP/2 over TLS; no path."""
    scope: ServiceScope
    """How calls to it are treated. A change of it alone is hot: no connection is dropped."""
    listen: tuple[str, int] | None = None
    """(address, port) of a listener of its own; None: it is reached by host name over the proxy's shared listener."""
    hosts: tuple[str, ...] = ()
    """Host names that mean this service on the shared listener, beside `scope.hosts`; `*.example.com` is allowed."""
    ca: Path | None = None
    """https: PEM file of the CAs that may sign the service's certificate; None: the system's."""
    server_name: str = ""
    """https: name asked for (SNI) and verified; empty: the host of `url`."""
    client_certificate: Path | None = None
    """https: PEM file to present to the service; needs `client_key`."""
    client_key: Path | None = None
    native: tuple[NativeRule, ...] = ()
    """What Envoy refuses by itself, the first that fits; only where the proxy has `native_offload`. A change of it alone is hot."""
    http2: bool | None = None
    """Speak HTTP/2 to it, whatever the scheme says. None: by the scheme; https negotiates, http speaks HTTP/1.1."""


class Proxy(Struct, frozen=True):
    """One Envoy."""

    upstreams: tuple[Upstream, ...]
    run_dir: Path
    """Where Envoy's files and sockets go; made if missing, mode 0700. Keep it short: socket paths are limited."""
    engine_sockets: tuple[str, ...]
    """Unix socket paths of the engines, at least one."""
    listen: tuple[str, int] | None = None
    """(address, port) of the shared listener, routed by host name. Needed when an upstream has no `listen`."""
    tls: Tls | None = None
    """Of all listeners; None: plain text."""
    adapter: Adapter = "shim"
    """`shim`: our filter inside Envoy. `extproc`: Envoy's standard external processor."""
    admin: str = ""
    """Path of the admin interface's Unix socket; empty: `run_dir/admin.sock`."""
    deadline_ms: int = 1000
    """How long a call waits for the engine before the scope's fail mode applies."""
    hold_ms: int = 2000
    """enforce: how long a response is held back for its end to come; then what has come is inspected and the rest passes."""
    probe_ms: int = 100
    """How often a lost or ejected engine is tried."""
    misses: int = 3
    """Missed deadlines in a row that eject an engine."""
    outstanding: int = 8192
    """Calls that may wait for verdicts at the same time; beyond it the fail mode applies."""
    copy_bytes: int = 256 << 20
    """discover, monitor: bytes of passing bodies that may be held as copies, over all calls; beyond it bodies are inspected in part."""
    workers: int = 1
    """Envoy worker threads."""
    connections: int = 20000
    """Callers' connections at the same time; further ones are refused."""
    memory_mb: int = 2048
    """Envoy's heap; when it is nearly full, new requests are answered 503."""
    idle_timeout: int = 300
    """Seconds after which a stream without any data in either direction is closed."""
    problem_base: str = "https://eastwall.dev/problems/"
    """Prefix of the `type` URI of problem documents that the proxy itself writes."""
    native_offload: bool = False
    """Refuse in Envoy, without asking an engine, what policies refuse whoever calls (`Upstream.native`)."""
    system_ca: str = "/etc/ssl/certs/ca-certificates.crt"
    """CA bundle for https upstreams without a `ca`."""

    def admin_socket(self) -> str:
        return self.admin or str(self.run_dir / "admin.sock")


class Target(Struct, frozen=True):
    """An upstream's URL, taken apart."""

    host: str
    port: int
    tls: bool
    http2: bool | None = None
    """True: only HTTP/2. None: whatever TLS negotiates; HTTP/1.1 in plain text."""


SCHEMES: Final = {
    "http": (False, None),
    "https": (True, None),
    "grpc": (False, True),
    "h2c": (False, True),
    "grpcs": (True, True),
}
"""Scheme of an upstream's URL -> (TLS, HTTP/2)."""


def target_of(upstream: Upstream) -> Target:
    """Where the upstream is. Raises `ProxyError`."""
    problem = f"upstream `{upstream.name}`: `{upstream.url}` is not a URL such as `http://127.0.0.1:8080`"
    try:
        url = urlsplit(upstream.url)
        port = url.port
    except ValueError as error:
        raise ProxyError(f"{problem}: {error}") from error
    if url.scheme not in SCHEMES or not url.hostname or url.username or "@" in url.netloc:
        raise ProxyError(problem)
    if url.path not in ("", "/") or url.query or url.fragment:
        raise ProxyError(
            f"upstream `{upstream.name}`: `{upstream.url}` has a path; calls keep their own, give scheme, host and port only"
        )
    if port == 0:
        raise ProxyError(problem)
    tls, http2 = SCHEMES[url.scheme]
    return Target(url.hostname, port or (443 if tls else 80), tls, upstream.http2 if upstream.http2 is not None else http2)


def hosts_of(upstream: Upstream) -> tuple[str, ...]:
    """The host names that mean this upstream on the shared listener."""
    return tuple(dict.fromkeys((*upstream.hosts, *upstream.scope.hosts)))


def check(proxy: Proxy) -> None:
    """Raises `ProxyError` for the first thing that Envoy would refuse, or worse, accept and not do."""
    if not proxy.upstreams:
        raise ProxyError("there is no upstream; name one with NAME=URL")
    if not proxy.engine_sockets or len(proxy.engine_sockets) > 32:
        raise ProxyError(f"{len(proxy.engine_sockets)} engine sockets; between 1 and 32 are possible")
    for path in (*proxy.engine_sockets, proxy.admin_socket()):
        if len(path.encode()) > SOCKET_PATH_LIMIT or "\n" in path:
            raise ProxyError(f"socket path `{path}` is longer than {SOCKET_PATH_LIMIT} bytes; choose a shorter directory")
    if proxy.adapter not in ("shim", "extproc"):
        raise ProxyError(f"unknown adapter `{proxy.adapter}`; there are `shim` and `extproc`")
    if re.search(r'[\s"\\%{}]', proxy.problem_base) or len(proxy.problem_base) > 200:
        raise ProxyError(f"problem base `{proxy.problem_base}` is not a plain URI")
    if proxy.tls is not None and proxy.tls.require_client and proxy.tls.client_ca is None:
        raise ProxyError("client certificates are required, but no CA to verify them is given")
    _check_upstreams(proxy)
    _check_ways_in(proxy)


def _check_upstreams(proxy: Proxy) -> None:
    names: set[str] = set()
    for upstream in proxy.upstreams:
        if not _NAME.match(upstream.name):
            raise ProxyError(f"`{upstream.name}` is no name for an upstream: use letters, digits, `.`, `_` and `-`, at most 63")
        if upstream.name in names:
            raise ProxyError(f"two upstreams are named `{upstream.name}`")
        names.add(upstream.name)
        if upstream.scope.name != upstream.name:
            raise ProxyError(f"upstream `{upstream.name}` has the scope of `{upstream.scope.name}`")
        if (upstream.client_certificate is None) != (upstream.client_key is None):
            raise ProxyError(f"upstream `{upstream.name}`: a client certificate and its key go together")
        if not 0 <= upstream.scope.max_body <= 32 << 20:
            raise ProxyError(f"upstream `{upstream.name}`: max_body {upstream.scope.max_body} is not between 0 and {32 << 20}")
        if upstream.scope.fail not in ("open", "closed") or upstream.scope.over_limit not in ("pass", "block"):
            raise ProxyError(f"upstream `{upstream.name}`: fail is `open` or `closed`, over_limit is `pass` or `block`")
        for host in hosts_of(upstream):
            if not _HOST.match(host):
                raise ProxyError(f"upstream `{upstream.name}`: `{host}` is not a host name")
        target_of(upstream)


def _check_ways_in(proxy: Proxy) -> None:
    taken: dict[tuple[str, int], str] = {}
    if proxy.listen is not None:
        taken[proxy.listen] = "the shared listener"
    shared: dict[str, str] = {}
    for upstream in proxy.upstreams:
        if upstream.listen is not None:
            if upstream.listen in taken:
                address, port = upstream.listen
                raise ProxyError(f"upstream `{upstream.name}` and {taken[upstream.listen]} both listen on {address}:{port}")
            taken[upstream.listen] = f"upstream `{upstream.name}`"
            continue
        if proxy.listen is None:
            raise ProxyError(f"upstream `{upstream.name}` has no port of its own, and there is no shared address to listen on")
        for host in hosts_of(upstream) or ("*",):
            if host in shared:
                what = "have no host name" if host == "*" else f"claim the host `{host}`"
                raise ProxyError(
                    f"upstreams `{shared[host]}` and `{upstream.name}` both {what}; give each its own hosts or its own port"
                )
            shared[host] = upstream.name
    for address, port in taken:
        if not 0 < port < 65536:
            raise ProxyError(f"`{address}:{port}`: the port is not between 1 and 65535")
