"""Flow files of mitmproxy (`mitmdump -w FILE`, `save.file`): a sequence of tnetstrings, one a flow. Versions 9 to 12 were looked at;
what is read (request, response, client address) has kept its form for years.

tnetstrings: `SIZE:PAYLOAD` and a letter for the type, https://tnetstrings.info, with mitmproxy's `;` for text and `,` for bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from eastwall.model.call import BodyState
from eastwall.sources.observed import (
    ObservedCall,
    Skipped,
    SourceError,
    cut_body,
    join_headers,
    service_of,
    shown,
    trace_context,
)

ORIGIN = "mitmproxy"
MAX_FLOW = 64 << 20
"""Bytes of a flow; a larger one is passed over and counted."""
MAX_DEPTH = 32


def read(stream: IO[bytes], name: str, head: bytes = b"", skipped: Skipped | None = None) -> Iterator[ObservedCall]:
    """The HTTP flows in file order (mitmproxy writes a flow when it ends); other flows are counted. Raises `SourceError` where the file
    breaks off or is broken."""
    skipped = Skipped() if skipped is None else skipped
    source = _Input(stream, head)
    number = 0
    while (size := source.size(name, number)) is not None:
        where = f"{name}: flow {number} at byte {source.at}"
        number += 1
        if size > MAX_FLOW:
            skipped.add("flow-too-large", where)
            if not source.skip(size + 1):
                raise SourceError(f"{where} breaks off")
            continue
        data = source.take(size + 1)
        if len(data) <= size:
            raise SourceError(f"{where} breaks off after {len(data)} of {size} bytes")
        try:
            flow, _ = _value(data, 0, size, 0)
            if not isinstance(flow, dict):
                raise ValueError("no dictionary")
        except ValueError as error:
            raise SourceError(f"{where} is broken: {str(error)[:120]}") from None
        try:
            call = _call(flow, skipped, where)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            skipped.add("bad-flow", f"{where}: {error}")
            continue
        if call is not None:
            yield call


class _Input:
    def __init__(self, stream: IO[bytes], head: bytes) -> None:
        self._stream = stream
        self._head = head
        self.at = 0

    def take(self, size: int) -> bytes:
        data = self._head[:size]
        self._head = self._head[size:]
        if len(data) < size:
            data += self._stream.read(size - len(data))
        self.at += len(data)
        return data

    def skip(self, size: int) -> bool:
        while size:
            data = self.take(min(size, 1 << 20))
            if not data:
                return False
            size -= len(data)
        return True

    def size(self, name: str, number: int) -> int | None:
        """The size that stands before the next flow; None at the end. Raises SourceError."""
        start = self.at
        digits = b""
        while (byte := self.take(1)) not in (b":", b""):
            digits += byte
            if not byte.isdigit() or len(digits) > 12:
                raise SourceError(f"{name}: flow {number} at byte {start} is broken: not a tnetstring")
        if not byte and digits:
            raise SourceError(f"{name}: flow {number} at byte {start} breaks off")
        return int(digits) if digits else None


def _value(data: bytes, start: int, size: int, depth: int) -> tuple[Any, int]:
    """The value whose payload is `data[start:start+size]`, and where it ends. Raises ValueError."""
    end = start + size
    kind = data[end : end + 1]
    if kind == b",":
        return data[start:end], end + 1
    if kind == b";":
        return data[start:end].decode("utf-8", "replace"), end + 1
    if kind == b"#":
        if size > 20:
            raise ValueError("a number of over 20 digits")
        return int(data[start:end]), end + 1
    if kind == b"^":
        return float(data[start:end]), end + 1
    if kind == b"!":
        return data[start:end] == b"true", end + 1
    if kind == b"~":
        return None, end + 1
    if kind not in (b"]", b"}"):
        raise ValueError(f"unknown type {kind!r}")
    if depth >= MAX_DEPTH:
        raise ValueError("nested too deeply")
    items = []
    at = start
    while at < end:
        colon = data.find(b":", at, at + 13)
        if colon < 0 or not data[at:colon].isdigit():
            raise ValueError("a size is missing")
        inner = int(data[at:colon])
        if colon + 1 + inner >= end:
            raise ValueError("a value is longer than what it stands in")
        item, at = _value(data, colon + 1, inner, depth + 1)
        items.append(item)
    if kind == b"]":
        return items, end + 1
    if len(items) % 2:
        raise ValueError("a key without value")
    keys = [key.decode("utf-8", "replace") if isinstance(key, bytes) else key for key in items[::2]]
    if not all(isinstance(key, str) for key in keys):
        raise ValueError("a key that is no text")
    return dict(zip(keys, items[1::2], strict=True)), end + 1


def _call(flow: dict[str, Any], skipped: Skipped, where: str) -> ObservedCall | None:
    """Raises what a flow that is not as it should be makes Python raise."""
    if flow.get("type") != "http":
        skipped.add(f"flow-{shown(str(flow.get('type')), 10)}", where)
        return None
    request, response, client = flow["request"], flow.get("response"), flow.get("client_conn") or {}
    method = _text(request["method"]).upper()
    if method == "CONNECT":
        skipped.add("no-path", where)
        return None
    headers = _headers(request)
    host = _text(request.get("authority")) or headers.get("host") or f"{_text(request['host'])}:{int(request['port'])}"
    scheme = _text(request.get("scheme")) or "http"
    path = _text(request["path"])
    url = path if "://" in path[:12] else f"{scheme}://{host}{path}"
    body, state = _body(request)
    answer, answer_state = _body(response) if response else (b"", BodyState.NONE)
    if flow.get("websocket"):
        skipped.add("websocket-messages", where, len(flow["websocket"].get("messages") or ()))
        answer_state = BodyState.STREAMED
    started = float(request.get("timestamp_start") or 0)
    ended = float((response or {}).get("timestamp_end") or 0)
    peer = client.get("peername") or client.get("address") or ["", 0]
    trace, parent = trace_context(headers)
    return ObservedCall(
        method=method,
        url=url,
        status=int(response["status_code"]) if response else 0,
        service=_service(url),
        time=started,
        duration_us=max(0, int((ended - started) * 1e6)) if started and ended else 0,
        request_headers=headers,
        request_body=body,
        request_body_state=state,
        request_bytes=len(request.get("content") or b""),
        response_headers=_headers(response) if response else {},
        response_body=answer,
        response_body_state=answer_state,
        response_bytes=len(response.get("content") or b"") if response else 0,
        peer_address=str(_text(peer[0])).removeprefix("::ffff:"),
        peer_port=int(peer[1]),
        tls=bool(client.get("tls_established") or client.get("timestamp_tls_setup")),
        trace=trace,
        parent=parent,
        origin=ORIGIN,
    )


def _service(url: str) -> str:
    found = service_of(url)
    return found.removesuffix(":443" if url.startswith("https") else ":80")


def _headers(message: dict[str, Any]) -> dict[str, str]:
    pairs = [*message["headers"], *(message.get("trailers") or ())]
    return join_headers([(_text(name), _text(value)) for name, value in pairs])


def _body(message: dict[str, Any]) -> tuple[bytes, BodyState]:
    content = message.get("content")
    if content is None:  # streamed through, not kept
        return b"", BodyState.STREAMED
    return cut_body(content if isinstance(content, bytes) else str(content).encode())


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)
