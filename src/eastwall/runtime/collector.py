"""Receivers beside inline traffic: OTLP traces (gRPC and HTTP) and Envoy's access-log service, into the same engine and spool.

One loop, one thread. A message is taken whole or refused whole: when records cannot be written fast enough, senders are told to come
again (OTLP: `UNAVAILABLE`, 503 with `Retry-After`; Envoy's stream is simply not read on), since what is acknowledged must not be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hmac
import io
import json
import logging
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from msgspec import Struct

from eastwall.runtime.importing import Importer
from eastwall.sources import envoy_als, otlp
from eastwall.sources.observed import ObservedCall
from eastwall.sources.otlp_spans import spans_of, spans_of_json, traces_from_bytes

log = logging.getLogger("eastwall.collector")

MAX_MESSAGE = 16 << 20
"""Bytes of one message, also after decompression; senders send about a hundredth of that."""
HOLD = 5.0
"""Seconds for which a span waits for the other end of its call."""
TICK = 0.05
BREATH = 200
"""Calls after which other work of the loop gets its turn."""
RETRY = 5
"""Seconds after which a refused sender may come again."""
MAX_HTTP = 200
"""HTTP connections at a time."""

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 256),
    ("grpc.max_metadata_size", 16 << 10),
)


class Addresses(Struct, frozen=True):
    """Where to listen, `HOST:PORT` each; empty: not at all."""

    otlp: str = ""
    """OTLP over gRPC."""
    otlp_http: str = ""
    """OTLP over HTTP."""
    als: str = ""
    """Envoy's access-log service (gRPC)."""


class AddressError(OSError):
    """An address cannot be listened on; the message says so in one line."""


class Collector:
    """Takes what senders send. `token`: what they have to show as a bearer token; empty: nobody is asked."""

    def __init__(self, importer: Importer, token: str = "", state: Path | None = None) -> None:
        self._importer = importer
        self._token = token.encode()
        self._state = state
        self._join = otlp.Join(importer.skipped)
        self._traces = traces_from_bytes("otlp")
        self.refused: Counter[str] = Counter()
        """Messages that were not taken, by reason."""
        self._next_state = 0.0

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self, addresses: Addresses, stop: Callable[[], bool], ready: Callable[[], None]) -> None:
        """Serve until `stop` is true (looked at every 50 ms). Raises AddressError."""
        async with contextlib.AsyncExitStack() as stack:
            for address, name in ((addresses.otlp, "--otlp"), (addresses.als, "--als")):
                if address:
                    server = await self._grpc(address, name)
                    stack.push_async_callback(server.stop, 3.0)
            if addresses.otlp_http:
                await self._http(addresses.otlp_http, stack)
            ready()
            while not stop():
                self._tick()
                await asyncio.sleep(TICK)
        for call in self._join.flush():
            self._importer.add(call)
        self._tick(last=True)

    def _tick(self, *, last: bool = False) -> None:
        now = time.time()
        for call in self._join.flush(before=now - HOLD):
            self._importer.add(call)
        self._importer.tick()
        if self._state is not None and (last or now >= self._next_state):
            self._next_state = now + 1.0
            skipped = dict(self._importer.skipped.counts)
            state = {"time": now, "calls": dict(self._importer.taken.origins), "skipped": skipped, "refused": dict(self.refused)}
            with contextlib.suppress(OSError):
                part = self._state.with_suffix(".part")
                part.write_text(json.dumps(state))
                part.replace(self._state)

    async def _grpc(self, address: str, option: str) -> grpc.aio.Server:
        server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=1_000)
        server.add_generic_rpc_handlers((_Handlers(self, option),))
        try:
            bound = server.add_insecure_port(address)
        except RuntimeError:
            bound = 0
        if not bound:
            raise AddressError(f"cannot listen on `{address}`: it is in use or not allowed; name another one with {option}")
        await server.start()
        return server

    async def _http(self, address: str, stack: contextlib.AsyncExitStack) -> None:
        import uvicorn

        listener = _listener(address)
        config = uvicorn.Config(
            self.asgi,
            interface="asgi3",
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            limit_concurrency=MAX_HTTP,
            timeout_graceful_shutdown=3,
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))

        async def end() -> None:
            server.should_exit = True
            await task
            listener.close()

        stack.push_async_callback(end)

    # -- what comes in ----------------------------------------------------------------------------------------------

    def allowed(self, header: str) -> bool:
        """Whether an `authorization` header has the token."""
        if not self._token:
            return True
        scheme, _, given = header.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token)

    @property
    def full(self) -> bool:
        """Whether records wait for the disk."""
        return self._importer.waiting

    async def take(self, calls: Iterable[ObservedCall]) -> None:
        for number, call in enumerate(calls, 1):
            self._importer.add(call)
            if not number % BREATH:
                await asyncio.sleep(0)

    async def export(self, request: bytes, context: Any) -> bytes:
        """TraceService/Export."""
        if not self.allowed(_authorization(context)):
            self.refused["unauthenticated"] += 1
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "show the token as `authorization: Bearer ...`")
        if self.full:
            self.refused["full"] += 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "records cannot be written fast enough; come again")
        try:
            spans = spans_of(self._traces(request))
            await self.take(self._join.add(spans))
        except ValueError:
            self.refused["malformed"] += 1
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not an ExportTraceServiceRequest")
        return b""

    async def logs(self, messages: Any, context: Any) -> bytes:
        """AccessLogService/StreamAccessLogs: one long stream of each Envoy worker."""
        if not self.allowed(_authorization(context)):
            self.refused["unauthenticated"] += 1
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "show the token as `authorization: Bearer ...`")
        from google.protobuf.message import DecodeError

        from eastwall.sources.envoy_als.proto.access_log_pb2 import StreamAccessLogsMessage

        async for data in messages:
            while self.full:  # not reading on is what tells Envoy to wait
                await asyncio.sleep(TICK)
            try:
                message = StreamAccessLogsMessage.FromString(data)
            except DecodeError:
                self.refused["malformed"] += 1
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a StreamAccessLogsMessage")
            await self.take(envoy_als.calls_of(message, self._importer.skipped))
        return b""

    async def asgi(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """OTLP over HTTP: `POST /v1/traces`, protobuf or JSON, plain or gzip."""
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        status, reason = self._refusal(scope, headers)
        body = b""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if not status:
            given = await _body(receive)
            if given is None:
                status, reason = 413, "too large"
            else:
                status, reason = await self._export_http(given, headers, kind)
        if status != 200:
            self.refused[reason] += 1
            body = json.dumps({"code": status, "message": reason}).encode()
            kind = "application/json"
        elif kind == "application/json":
            body = b"{}"
        answer = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        if status == 503:
            answer.append((b"retry-after", str(RETRY).encode()))
        if status >= 400:
            answer.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": answer})
        await send({"type": "http.response.body", "body": body})

    def _refusal(self, scope: dict[str, Any], headers: dict[str, str]) -> tuple[int, str]:
        if scope["path"] != "/v1/traces":
            return 404, "only /v1/traces is here"
        if scope["method"] != "POST":
            return 405, "only POST"
        if not self.allowed(headers.get("authorization", "")):
            return 401, "unauthenticated"
        if self.full:
            return 503, "full"
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length[:12]) > MAX_MESSAGE:
            return 413, "too large"
        return 0, ""

    async def _export_http(self, body: bytes, headers: dict[str, str], kind: str) -> tuple[int, str]:
        coding = headers.get("content-encoding", "identity").lower()
        if coding not in ("identity", "gzip") or kind not in ("application/x-protobuf", "application/json"):
            return 415, "send application/x-protobuf or application/json, plain or gzip"
        try:
            if coding == "gzip":
                with gzip.GzipFile(fileobj=io.BytesIO(body)) as stream:
                    body = stream.read(MAX_MESSAGE + 1)
                if len(body) > MAX_MESSAGE:
                    return 413, "too large"
            spans = spans_of_json(body) if kind == "application/json" else spans_of(self._traces(body))
            await self.take(self._join.add(spans))
        except (ValueError, OSError, EOFError):
            return 400, "malformed"
        return 200, ""


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The methods of one address; bytes in, so that a message that does not parse is ours to answer."""

    def __init__(self, collector: Collector, option: str) -> None:
        self._methods = (
            {_EXPORT: grpc.unary_unary_rpc_method_handler(collector.export)}
            if option == "--otlp"
            else {envoy_als.METHOD: grpc.stream_unary_rpc_method_handler(collector.logs)}
        )

    def service(self, handler_call_details: Any) -> Any:
        return self._methods.get(handler_call_details.method)


def _Server(config: Any) -> Any:  # noqa: N802 - a class made late, since uvicorn is an extra
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Any:
            yield

    return Server(config)


def _authorization(context: Any) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return value if isinstance(value, str) else value.decode("latin-1")
    return ""


async def _body(receive: Callable[[], Awaitable[Any]]) -> bytes | None:
    """The whole body; None when it is over MAX_MESSAGE."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_MESSAGE:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _listener(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(128)
    except OSError as error:
        raise AddressError(f"cannot listen on `{address}`: {error.strerror}; name another one with --otlp-http") from None
    return listener


def ingest_token(directory: Path) -> str:
    """The senders' token, `secrets/ingest-token` of a data directory; made when it is not there."""
    path = directory / "ingest-token"
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text().strip()
