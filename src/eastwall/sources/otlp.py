"""OpenTelemetry traces (OTLP) as calls: protobuf and JSON, as the collector's file exporter writes them and as receivers get them.

What is read of a span: HTTP semantic conventions, stable (`http.request.method`, `url.path`, ...) and before (`http.method`,
`http.target`, ...), as SDKs and the eBPF instrumentation (OBI, Beyla) write them, and RPC conventions for gRPC.
https://opentelemetry.io/docs/specs/semconv/http/http-spans/

- A server span is a call.
- A client span says who the caller of a server span is. One whose server never reports is a call to somebody who is not instrumented:
  a third party (`egress`), or a service inside by its host. Spans come in any order, so both wait in a bounded window (`Join`).
"""

from __future__ import annotations

import ipaddress
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from eastwall.sources.observed import ObservedCall, Skipped, SourceError, join_headers, shown
from eastwall.sources.otlp_spans import CLIENT, SERVER, Span, spans_of, spans_of_json, traces_from_bytes
from eastwall.sources.text_lines import numbered

ORIGIN = "otlp"
MAX_MESSAGE = 64 << 20
"""Bytes of one export request or line."""
WINDOW = 20_000
"""Spans that wait for the other end of their call, and as many that are remembered by id."""
_METHOD = re.compile(r"[A-Z][A-Z_-]{0,31}")
_INSIDE = (".local", ".internal", ".svc", ".lan", ".localdomain", ".home.arpa", ".intranet", ".corp")


# -- Span -> ObservedCall ------------------------------------------------------------------------------------------------


def call_of(span: Span) -> ObservedCall:
    """The call of a server or client span. Raises ValueError whose text is the reason for which it is none."""
    a = span.attributes
    text = {key: value for key, value in a.items() if isinstance(value, str)}
    rpc = text.get("rpc.system") or text.get("rpc.system.name")
    headers: dict[str, str] = {}
    answered: dict[str, str] = {}
    if rpc:
        method, target, status = _rpc(text, a, rpc, headers, answered)
        scheme = "http"
    else:
        method = (text.get("http.request.method") or text.get("http.method") or "").upper()
        if method == "_OTHER":
            method = text.get("http.request.method_original", "").upper()
        if not _METHOD.fullmatch(method):
            raise ValueError("span-not-http")
        target, scheme = _target(text)
        status = _number(a.get("http.response.status_code", a.get("http.status_code")))
    host = _host(text, a, client=span.kind == CLIENT)
    _header_attributes(a, headers, answered)
    agent = text.get("user_agent.original") or text.get("http.user_agent")
    if agent:
        headers.setdefault("user-agent", agent)
    peer = text.get("network.peer.address") or text.get("net.sock.peer.addr") or text.get("net.peer.ip") or ""
    port = a.get("network.peer.port", a.get("net.sock.peer.port", a.get("net.peer.port")))
    if span.kind == CLIENT:
        peer, port = "", 0  # there it is the server's
    elif not peer:
        # The client as the server believes it; a forwarded one perhaps, but the only address there is.
        peer, port = text.get("client.address") or text.get("http.client_ip") or "", a.get("client.port")
    return ObservedCall(
        method=method,
        url=f"{scheme}://{host}{target}" if host else target,
        status=status if status is None or 100 <= status <= 599 else 0,
        service=shown(span.service, 200) or host or "default",
        time=span.start,
        duration_us=max(0, int((span.end - span.start) * 1e6)),
        request_headers=headers,
        request_bytes=_number(a.get("http.request.body.size", a.get("http.request_content_length"))) or 0,
        response_headers=answered,
        response_bytes=_number(a.get("http.response.body.size", a.get("http.response_content_length"))) or 0,
        peer_address=_address(peer),
        peer_port=min(max(_number(port) or 0, 0), 65_535),
        tls=scheme == "https",
        trace=span.trace if len(span.trace) == 32 else "",
        span=span.id if len(span.id) == 16 else "",
        parent=span.parent if len(span.parent) == 16 else "",
        user=text.get("enduser.id") or text.get("user.id") or text.get("user.name") or "",
        route=text.get("http.route", ""),
        origin=ORIGIN,
    )


def _rpc(
    text: Mapping[str, str], a: Mapping[str, Any], system: str, headers: dict[str, str], answered: dict[str, str]
) -> tuple[str, str, int | None]:
    if system != "grpc":
        raise ValueError("span-other-rpc")
    service, method = text.get("rpc.service", ""), text.get("rpc.method", "")
    # Since semantic conventions 1.39 `rpc.method` holds both.
    path = method if "/" in method else f"{service}/{method}"
    if path in ("/", ""):
        raise ValueError("span-not-http")
    headers["content-type"] = "application/grpc"
    code = a.get("rpc.grpc.status_code", text.get("rpc.response.status_code"))
    if code is not None:
        answered["content-type"] = "application/grpc"
        answered["grpc-status"] = str(_GRPC.index(code) if code in _GRPC else code)[:16]
    return "POST", "/" + path.lstrip("/"), 200 if code is not None else None


_GRPC = (
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED "
    "FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED"
).split()


def _target(text: Mapping[str, str]) -> tuple[str, str]:
    """Path with query, and scheme. Raises ValueError."""
    scheme = (text.get("url.scheme") or text.get("http.scheme") or "http").lower()
    scheme = scheme if scheme in ("http", "https", "ws", "wss") else "http"
    target = text.get("url.path") or text.get("http.target") or ""
    if target and text.get("url.query") and "?" not in target:
        target += "?" + text["url.query"]
    if not target:
        full = text.get("url.full") or text.get("http.url") or ""
        try:
            parts = urlsplit(full)
        except ValueError:
            parts = urlsplit("")
        if parts.netloc:
            scheme = parts.scheme if parts.scheme in ("http", "https", "ws", "wss") else scheme
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        else:
            # The template is all that some instrumentations tell: as a path it is at least the right operation.
            target = text.get("http.route", "")
    if target[:1] != "/":
        if not target:
            raise ValueError("span-without-path")
        target = "/" + target
    return target, scheme


def _host(text: Mapping[str, str], a: Mapping[str, Any], *, client: bool) -> str:
    """Host of the server with its port, where that is not the scheme's own; empty when unknown or no host."""
    host = text.get("server.address") or text.get("http.host") or text.get("net.peer.name" if client else "net.host.name") or ""
    port = _number(a.get("server.port", a.get("net.peer.port" if client else "net.host.port"))) or 0
    if not host:
        try:
            host = urlsplit(text.get("url.full") or text.get("http.url") or "").netloc.rpartition("@")[2]
        except ValueError:
            host = ""
    host = host.lower()
    if ":" in host and not host.startswith("[") and host.count(":") > 1:
        host = f"[{host}]"
    if not re.fullmatch(r"(?:[a-z0-9_][a-z0-9_.-]{0,252}|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?", host):
        return ""
    if port and port not in (80, 443) and not re.search(r":\d+$", host):
        host += f":{port}"
    return re.sub(r":(?:80|443)$", "", host)


def _header_attributes(a: Mapping[str, Any], headers: dict[str, str], answered: dict[str, str]) -> None:
    """`http.request.header.NAME` and `http.response.header.NAME`, lists of texts."""
    for side, prefix in ((headers, "http.request.header."), (answered, "http.response.header.")):
        pairs = []
        for key, value in a.items():
            if key.startswith(prefix):
                name = key[len(prefix) :].replace("_", "-")
                pairs += [(name, str(v)) for v in (value if isinstance(value, list) else [value])]
        if pairs:
            side.update(join_headers(pairs))


def _number(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if value.isdigit() and len(value) < 16 else None
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1 << 50 else None


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        return ""


# -- the two ends of a call ----------------------------------------------------------------------------------------------


class _Known(Struct):
    """What is remembered of a span by its id."""

    service: str
    kind: int
    parent: str


class Join:
    """Puts the client's and the server's span of a call together.

    Spans come child first, and each service sends its own when it likes. So a span with a parent waits until WINDOW later ones came, or
    `flush`; ids, services and parents of as many are remembered.
    """

    def __init__(self, skipped: Skipped, window: int = WINDOW) -> None:
        self._skipped = skipped
        self._window = window
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._waiting: OrderedDict[str, Span] = OrderedDict()
        """By their own ids."""
        self._served: OrderedDict[str, None] = OrderedDict()
        """Ids of spans that a server span named as its parent."""
        self._services: OrderedDict[str, None] = OrderedDict()
        """Names of services that report themselves."""

    def add(self, spans: Iterable[Span]) -> Iterator[ObservedCall]:
        """Calls that are clear now."""
        for span in spans:
            if not span.id:
                self._skipped.add("span-without-id", span.service)
                continue
            self._remember(self._known, span.id, _Known(span.service, span.kind, span.parent))
            if span.kind not in (SERVER, CLIENT):
                self._skipped.add("span-internal", span.service)
                continue
            if span.kind == SERVER:
                self._remember(self._services, span.service.lower(), None)
                if not span.parent:
                    yield from self._tell(span)
                    continue
                self._remember(self._served, span.parent, None)
            self._waiting[span.id] = span
            if len(self._waiting) > self._window:
                yield from self._tell(self._waiting.popitem(last=False)[1])

    def flush(self, before: float = float("inf")) -> Iterator[ObservedCall]:
        """Calls of waiting spans that ended before that time (Unix seconds)."""
        for key in [key for key, span in self._waiting.items() if span.end < before]:
            yield from self._tell(self._waiting.pop(key))

    def _remember(self, into: OrderedDict[str, Any], key: str, value: Any) -> None:
        into[key] = value
        into.move_to_end(key)
        if len(into) > self._window:
            into.popitem(last=False)

    def _tell(self, span: Span) -> Iterator[ObservedCall]:
        if span.kind == CLIENT and span.id in self._served:
            return  # the server's span tells of the same call
        try:
            call = call_of(span)
        except ValueError as reason:
            self._skipped.add(str(reason), span.service)
            return
        if span.kind == CLIENT:
            yield from self._outgoing(span, call)
            return
        parent = self._known.get(span.parent)
        if parent is not None:
            within = self._server(span.parent) or call.parent
            call = replace(call, caller=shown(parent.service, 200), parent=within)
        yield call

    def _server(self, id: str) -> str:
        """The server span that a span is part of, going up within its service; empty when it is not known."""
        for _ in range(32):
            known = self._known.get(id)
            if known is None:
                return ""
            if known.kind == SERVER:
                return id
            id = known.parent
        return ""

    def _outgoing(self, span: Span, call: ObservedCall) -> Iterator[ObservedCall]:
        """The call of a client span whose server does not report itself (or did not yet)."""
        host = urlsplit(call.url).netloc if "://" in call.url else ""
        if not host:
            self._skipped.add("client-span-without-host", span.service)
            return
        name = host.partition(":")[0] if not host.startswith("[") else host
        if name in self._services or name.partition(".")[0] in self._services:
            # That service reports itself: this span's other end was lost, not unseen. Counting both would count calls twice.
            self._skipped.add("client-span-of-known-service", f"{span.service} -> {host}")
            return
        caller = shown(span.service, 200)
        yield replace(
            call,
            service=host,
            caller=caller,
            egress=outside(name),
            parent=self._server(span.parent) or call.parent,
        )


def outside(host: str) -> bool:
    """Whether a host is most likely beyond the perimeter: a public name or address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_global
    except ValueError:
        return "." in host and not host.endswith(_INSIDE) and ".svc." not in host


# -- files ---------------------------------------------------------------------------------------------------------------


def read(stream: IO[bytes], name: str, head: bytes = b"", skipped: Skipped | None = None) -> Iterator[ObservedCall]:
    """Calls of a file of the collector's file exporter: JSON lines, or protobuf messages each behind its length (4 bytes, big-endian).

    Raises `SourceError` where protobuf breaks off; a line of JSON that cannot be read is counted.
    """
    skipped = Skipped() if skipped is None else skipped
    join = Join(skipped, WINDOW)
    head = head or stream.read(1 << 16)
    source = _protobuf(stream, name, head, skipped) if head[:1] == b"\0" else _lines(stream, name, head, skipped)
    fault: SourceError | None = None
    try:
        for spans in source:
            yield from join.add(spans)
    except SourceError as error:
        fault = error
    yield from join.flush()
    if fault is not None:
        raise fault


def _lines(stream: IO[bytes], name: str, head: bytes, skipped: Skipped) -> Iterator[list[Span]]:
    good = lines = 0
    for number, raw in numbered(stream, head, MAX_MESSAGE):
        if raw is not None and not raw.strip():
            continue
        lines += 1
        if raw is None:
            skipped.add("line-too-long", f"{name}:{number}")
            continue
        try:
            spans = spans_of_json(raw.removeprefix(b"\xef\xbb\xbf"))
        except ValueError as error:
            skipped.add("bad-line", f"{name}:{number}: {error}")
            continue
        good += 1
        yield spans
    if lines and not good:
        raise SourceError(f"{name}: none of {lines} lines is OTLP JSON; one line is one export request")


def _protobuf(stream: IO[bytes], name: str, head: bytes, skipped: Skipped) -> Iterator[Iterator[Span]]:
    from_bytes = traces_from_bytes(name)
    at, data = 0, head
    while True:
        while len(data) < 4 and (more := stream.read(1 << 16)):
            data += more
        if not data:
            return
        size = int.from_bytes(data[:4], "big")
        if len(data) < 4 or size > MAX_MESSAGE:
            raise SourceError(f"{name}: broken at byte {at}: no message length")
        while len(data) < size + 4 and (more := stream.read(max(1 << 16, size + 4 - len(data)))):
            data += more
        if len(data) < size + 4:
            raise SourceError(f"{name}: breaks off at byte {at + len(data)}, in the middle of a message")
        try:
            yield spans_of(from_bytes(data[4 : size + 4]))
        except ValueError:
            skipped.add("bad-message", f"{name}: at byte {at}")
        data = data[size + 4 :]
        at += size + 4
