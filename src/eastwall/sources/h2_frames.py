"""HTTP/2 over cleartext TCP (h2c), watched from outside (RFC 9113): frames here, header blocks by hpack."""

from __future__ import annotations

from collections.abc import Iterator

from hpack import Decoder, HPACKError

from eastwall.sources.http_streams import Budget, Message, observed
from eastwall.sources.observed import ObservedCall, Skipped

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME = 1 << 20
"""Bytes of a frame (16 KiB is what peers may send unasked); with more the connection is given up."""
MAX_STREAMS = 1_000
"""Open streams of a connection; with more the oldest is told as it is."""
MAX_BLOCK = 256 << 10
_TABLE = 1 << 16
_DATA, _HEADERS, _RESET, _PUSH, _CONTINUATION = 0, 1, 3, 5, 9
_END_STREAM, _END_HEADERS, _PADDED, _PRIORITY = 1, 4, 8, 32


class _Side:
    """One direction."""

    def __init__(self, preface: bool) -> None:
        self.buffer = bytearray()
        self.preface = preface
        self.decoder = Decoder(max_header_list_size=MAX_BLOCK)
        # What the receiver allowed stands in its SETTINGS, which we need not follow to read: at least as much is.
        self.decoder.max_allowed_table_size = _TABLE
        self.block = bytearray()
        self.block_stream = 0
        self.block_ends = False
        self.pushed = False


class _Stream:
    __slots__ = ("answer", "request")

    def __init__(self, request: Message) -> None:
        self.request = request
        self.answer: Message | None = None


class BrokenError(ValueError):
    """The connection cannot be followed any further."""


class Http2:
    """The calls of an h2c connection."""

    def __init__(self, client: tuple[str, int], server: tuple[str, int], budget: Budget, skipped: Skipped) -> None:
        self._client, self._server = client, server
        self._budget = budget
        self._skipped = skipped
        self._sides = {True: _Side(True), False: _Side(False)}
        self._streams: dict[int, _Stream] = {}
        self._time = 0.0

    def adopt(self, request: Message) -> None:
        """The request that asked for the upgrade is stream 1."""
        self._streams[1] = _Stream(request)

    def data(self, from_client: bool, data: bytes, time: float) -> Iterator[ObservedCall]:
        """Raises BrokenError."""
        self._time = time
        side = self._sides[from_client]
        side.buffer += data
        if side.preface:
            if len(side.buffer) < len(PREFACE):
                return
            if not side.buffer.startswith(PREFACE):
                raise BrokenError("no HTTP/2 preface")
            del side.buffer[: len(PREFACE)]
            side.preface = False
        at = 0
        buffer = side.buffer
        while len(buffer) - at >= 9:
            length = int.from_bytes(buffer[at : at + 3], "big")
            if length > MAX_FRAME:
                raise BrokenError(f"a frame of {length} bytes")
            if len(buffer) - at < 9 + length:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream = int.from_bytes(buffer[at + 5 : at + 9], "big") & 0x7FFF_FFFF
            payload = bytes(buffer[at + 9 : at + 9 + length])
            at += 9 + length
            yield from self._frame(from_client, side, kind, flags, stream, payload)
        del buffer[:at]

    def _frame(
        self, from_client: bool, side: _Side, kind: int, flags: int, number: int, payload: bytes
    ) -> Iterator[ObservedCall]:
        if kind == _DATA:
            yield from self._body(from_client, number, _unpadded(flags, payload), bool(flags & _END_STREAM))
        elif kind in (_HEADERS, _PUSH):
            payload = _unpadded(flags, payload)
            if kind == _PUSH:
                payload = payload[4:]
            elif flags & _PRIORITY:
                payload = payload[5:]
            side.block = bytearray(payload)
            side.block_stream, side.block_ends, side.pushed = number, bool(flags & _END_STREAM), kind == _PUSH
            if flags & _END_HEADERS:
                yield from self._headers(from_client, side)
        elif kind == _CONTINUATION:
            side.block += payload
            if len(side.block) > MAX_BLOCK:
                raise BrokenError("header fields over 256 KiB")
            if flags & _END_HEADERS:
                yield from self._headers(from_client, side)
        elif kind == _RESET and number in self._streams:
            yield from self._told(number, reset=True)

    def _headers(self, from_client: bool, side: _Side) -> Iterator[ObservedCall]:
        try:
            fields = [(_text(field[0]), _text(field[1])) for field in side.decoder.decode(bytes(side.block), raw=True)]
        except HPACKError as error:
            raise BrokenError(f"header fields cannot be read: {error}") from None
        side.block = bytearray()
        number = side.block_stream
        if side.pushed:
            self._skipped.add("h2-push", self._where())
            return
        pseudo = dict(field for field in fields if field[0][:1] == ":")
        plain = [field for field in fields if field[0][:1] != ":"]
        stream = self._streams.get(number)
        if from_client:
            if stream is not None:
                request = stream.request
                request.headers += plain
            else:
                if len(self._streams) >= MAX_STREAMS:
                    self._skipped.add("too-many-streams", self._where())
                    yield from self._told(next(iter(self._streams)), reset=True)
                request = self._open(number, pseudo, plain)
            request.done = side.block_ends
            return
        if stream is None:
            self._skipped.add("response-without-request", self._where())
            return
        status = pseudo.get(":status", "")
        if stream.answer is None:
            if status.startswith("1") and status != "101":
                return
            stream.answer = Message(self._budget, self._time)
            stream.answer.status = int(status) if status.isdigit() and len(status) == 3 else 0
        stream.answer.headers += plain
        if side.block_ends:
            stream.answer.done = True
            yield from self._told(number)

    def _open(self, number: int, pseudo: dict[str, str], plain: list[tuple[str, str]]) -> Message:
        request = Message(self._budget, self._time)
        request.method, request.target = pseudo.get(":method", ""), pseudo.get(":path", "")
        request.headers = plain
        if pseudo.get(":authority"):
            request.headers = [("host", pseudo[":authority"]), *[f for f in plain if f[0] != "host"]]
        self._streams[number] = _Stream(request)
        return request

    def _body(self, from_client: bool, number: int, data: bytes, ends: bool) -> Iterator[ObservedCall]:
        stream = self._streams.get(number)
        if stream is None:
            return
        message = stream.request if from_client else stream.answer
        if message is None:
            return
        message.add(data)
        message.done = ends
        if ends and not from_client:
            yield from self._told(number)

    def _told(self, number: int, *, reset: bool = False, closed: bool = True) -> Iterator[ObservedCall]:
        stream = self._streams.pop(number)
        answer = stream.answer
        if reset and answer is not None and not answer.done:
            answer.cut = True
        status = answer.status if answer is not None else 0 if closed else None
        try:
            yield observed(stream.request, answer, status, self._time, self._client, self._server)
        except ValueError as reason:
            self._skipped.add(str(reason), self._where())

    def end(self, closed: bool) -> Iterator[ObservedCall]:
        """The connection (`closed`) or the capture is over, or cannot be followed any further."""
        for number in list(self._streams):
            yield from self._told(number, reset=True, closed=closed)

    def _where(self) -> str:
        return f"{self._client[0]}:{self._client[1]} -> {self._server[0]}:{self._server[1]}"


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & _PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise BrokenError("padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
