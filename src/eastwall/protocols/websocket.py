"""WebSocket messages told apart while they pass (RFC 6455: framing, masking, fragmentation, control frames; RFC 7692: permessage-deflate).

A compressed message is read with the context of those before it, so a splitter must see the connection from its beginning. One that is
changed goes on uncompressed, and so does every later one of its direction: the receiver's context lacks what it was not given.
"""

from __future__ import annotations

import zlib
from typing import Any

from eastwall.protocols.streams import Event

_FIN, _RSV1, _RESERVED, _MASKED = 0x80, 0x40, 0x30, 0x80
_CONTINUATION, _CLOSE = 0, 8
_TAIL = b"\x00\x00\xff\xff"
"""Ends every compressed message and is left out on the wire (RFC 7692, 7.2.1)."""
REFUSED = 1008
"""Close code: the message violates a policy (RFC 6455, 7.4.1)."""


class _Frame:
    """One frame in the buffer."""

    __slots__ = ("first", "key", "payload_at", "second", "stop")

    def __init__(self, first: int, second: int, payload_at: int, stop: int, key: bytes) -> None:
        self.first = first
        self.second = second
        self.payload_at = payload_at
        self.stop = stop
        self.key = key


class WebSocketSplitter:
    """One direction of a connection. Judged are the payloads of text and binary messages; control frames pass."""

    def __init__(self, extensions: str, *, from_caller: bool, limit: int = 8 << 20) -> None:
        """`extensions`: `Sec-WebSocket-Extensions` of the answer. `limit`: bytes that a compressed message may come to."""
        self._limit = limit
        self._deflated = False
        self._keeps_context = True
        for name in (text.strip() for text in extensions.lower().split(",")):
            kind, *parameters = [part.strip() for part in name.split(";")]
            if kind == "permessage-deflate":
                self._deflated = True
                self._keeps_context = f"{'client' if from_caller else 'server'}_no_context_takeover" not in parameters
        self._inflater: Any = None
        self._blind = False
        """The context is lost: a compressed message was not read whole."""
        self._plain = False
        """A message was changed: none goes on compressed any more."""
        self._from_caller = from_caller
        self._buffer = bytearray()
        self._at = 0
        """Where the first frame that was not looked at begins."""
        self._parts: list[bytes] = []
        self._compressed = False
        self._left = 0
        """Bytes of a skipped frame that are yet to pass."""
        self._skipping = False
        self._skipped_last = False
        self._foreign = False

    def content_type(self, data: bytes) -> str:
        if data[:1] in (b"{", b"["):
            return "application/json"
        try:
            data.decode()
        except UnicodeDecodeError:
            return "application/octet-stream"
        return "text/plain"

    @property
    def held(self) -> int:
        return len(self._buffer)

    def take(self, data: bytes, *, end: bool = False) -> list[Event]:
        buffer = self._buffer
        buffer += data
        events: list[Event] = []
        if self._left:
            passed = min(self._left, len(buffer))
            self._left -= passed
            if passed:
                events.append(Event(passed, bytes(buffer[:passed])))
                del buffer[:passed]
            if not self._left and self._skipped_last:
                self._skipping = self._skipped_last = False
        while not self._left and not self._foreign and (frame := self._frame()) is not None:
            self._one(frame, events)
        if (end or self._foreign) and buffer:
            # Cut off, or no frames: what is left is looked at as it is.
            events.append(Event(len(buffer), bytes(buffer), bytes(buffer)))
            buffer.clear()
            self._at = 0
        return events

    def _frame(self) -> _Frame | None:
        """The next whole frame."""
        head = self._head()
        return head if head is not None and head.stop <= len(self._buffer) else None

    def _head(self) -> _Frame | None:
        buffer, at = self._buffer, self._at
        have = len(buffer) - at
        if have < 2:
            return None
        first, second = buffer[at], buffer[at + 1]
        size, wide = second & 0x7F, 0
        if size >= 126:
            wide = 2 if size == 126 else 8
        payload_at = at + 2 + wide + (4 if second & _MASKED else 0)
        if len(buffer) < payload_at:
            return None
        if wide:
            size = int.from_bytes(buffer[at + 2 : at + 2 + wide], "big")
        opcode = first & 0x0F
        if first & _RESERVED or (first & _RSV1 and not self._deflated) or opcode in (3, 4, 5, 6, 7) or opcode > 10:
            self._foreign = True
            return None
        key = bytes(buffer[payload_at - 4 : payload_at]) if second & _MASKED else b""
        return _Frame(first, second, payload_at, payload_at + size, key)

    def _one(self, frame: _Frame, events: list[Event]) -> None:
        buffer = self._buffer
        opcode = frame.first & 0x0F
        payload = _unmasked(bytes(buffer[frame.payload_at : frame.stop]), frame.key)
        start, self._at = self._at, frame.stop
        if opcode >= _CLOSE:
            if not start or self._skipping:  # else amid a message: it goes with that
                self._cut(events, b"")
            return
        if self._skipping:
            self._skipping = not frame.first & _FIN
            self._cut(events, b"")
            return
        if opcode != _CONTINUATION:
            self._parts, self._compressed = [], bool(frame.first & _RSV1)
        self._parts.append(payload)
        if not frame.first & _FIN:
            return
        message = b"".join(self._parts)
        self._parts = []
        data: bytes | None = message
        if self._compressed:
            data = self._inflated(message)
        self._cut(events, message if data is None else data, unread=data is None)

    def _cut(self, events: list[Event], data: bytes, *, unread: bool = False) -> None:
        """The bytes up to the frame just read are an event."""
        events.append(Event(self._at, bytes(self._buffer[: self._at]), b"" if unread else data, not unread))
        del self._buffer[: self._at]
        self._at = 0

    def _inflated(self, message: bytes) -> bytes | None:
        if self._blind:
            return None
        if self._inflater is None or not self._keeps_context:
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data: bytes = self._inflater.decompress(message + _TAIL, self._limit)
        except zlib.error:
            self._blind = self._keeps_context
            return None
        if self._inflater.unconsumed_tail:
            self._blind = self._keeps_context
            return None
        return data

    def skip(self) -> Event:
        head = self._head()
        wire = bytes(self._buffer)
        # The frame that is not whole: how much of it is yet to come, and whether it ends the message.
        beginning = b"".join(self._parts)
        if head is not None:
            self._left = max(0, head.stop - len(wire))
            self._skipped_last = bool(head.first & _FIN)
            if not self._parts:
                self._compressed = bool(head.first & _RSV1)
            beginning += _unmasked(wire[head.payload_at :], head.key)
        self._skipping = True
        self._blind = self._blind or (self._compressed and self._keeps_context)
        self._buffer.clear()
        self._at, self._parts = 0, []
        return Event(len(wire), wire, b"" if self._compressed else beginning, whole=False)

    def keep(self, event: Event) -> bytes:
        if self._plain and event.data and event.wire[0] & _RSV1:
            return self._written(event, event.data)
        return event.wire

    def change(self, event: Event, data: bytes) -> bytes | None:
        self._plain = True
        return self._written(event, data)

    def _written(self, event: Event, data: bytes) -> bytes:
        """A message of one frame, after the control frames that came amid it. A caller's is masked, with a key of zeros."""
        wire, at, control = event.wire, 0, b""
        while at < len(wire):
            size, start, wide = wire[at + 1] & 0x7F, at, 0
            if size >= 126:
                wide = 2 if size == 126 else 8
                size = int.from_bytes(wire[at + 2 : at + 2 + wide], "big")
            at += 2 + wide + (4 if wire[at + 1] & _MASKED else 0) + size
            if wire[start] & 0x0F >= _CLOSE:
                control += wire[start:at]
        first, mask, size = _FIN | wire[0] & 0x0F, _MASKED if self._from_caller else 0, len(data)
        if size < 126:
            head = bytes([first, mask | size])
        elif size < 1 << 16:
            head = bytes([first, mask | 126]) + size.to_bytes(2, "big")
        else:
            head = bytes([first, mask | 127]) + size.to_bytes(8, "big")
        return control + head + (bytes(4) if mask else b"") + data

    def refusal(self, problem: bytes) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        reason = REFUSED.to_bytes(2, "big") + b"refused by a security policy"
        return bytes([_FIN | _CLOSE, len(reason)]) + reason, ()


def _unmasked(payload: bytes, key: bytes) -> bytes:
    if not key or not payload or key == b"\0\0\0\0":
        return payload
    mask = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(payload), "big")
