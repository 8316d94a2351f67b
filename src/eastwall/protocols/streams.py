"""Messages that are no single request and answer, and how their events are told apart while they pass.

Server-sent events (WHATWG HTML, section 9.2), JSON lines (ndjson.org, jsonlines.org), JSON text sequences (RFC 7464), gRPC and gRPC-Web
messages (github.com/grpc/grpc doc/PROTOCOL-HTTP2.md, PROTOCOL-WEB.md). WebSocket has its own module.

A splitter is given bytes in pieces of any size and gives the events that end in them. It keeps the unfinished one (`held`); how much of
that is too much is its caller's to say (`skip`). It looks at each byte a bounded number of times and never raises.
"""

from __future__ import annotations

import binascii
from collections import deque
from re import compile as regex
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from eastwall.model.call import Request
from eastwall.protocols.reading import Reading

MAX_EVENTS = 64
"""Events of a body that are decoded."""


def read_request(request: Request) -> Reading | None:
    """An upgrade to WebSocket, else None. What is said over it later is not seen."""
    if "websocket" in request.headers.get("upgrade", "").lower():
        return Reading("websocket", "", ("websocket",))
    return None


def is_event_stream(content_type: str) -> bool:
    """Whether an answer is a stream of events."""
    return content_type[:17].lower() == "text/event-stream"


def events(text: str) -> list[Any]:
    """The data of a stream's first `MAX_EVENTS` events that are JSON, decoded."""
    found: list[Any] = []
    for block in text.replace("\r\n", "\n").replace("\r", "\n").split("\n\n", MAX_EVENTS)[:MAX_EVENTS]:
        data = "\n".join([line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")])
        if data[:1] in ("{", "["):
            try:
                found.append(msgspec.json.decode(data.encode("utf-8", "replace")))
            except (msgspec.DecodeError, RecursionError):
                continue
    return found


class Event(Struct, frozen=True):
    """One event of a stream, or bytes between events (a heartbeat, a comment, trailers), which have no `data`."""

    size: int
    """Bytes of the stream that it takes."""
    wire: bytes
    """What goes on when it is let go unchanged."""
    data: bytes = b""
    """What is to be judged: the payload; of gRPC the whole frame, prefix included. Empty: nothing is."""
    whole: bool = True
    """False: `data` is the beginning of an event that is too large, the rest of which passes unread."""


class Splitter(Protocol):
    """Cuts one direction of a stream into events."""

    def content_type(self, data: bytes) -> str:
        """Of an event's data; empty: as the message's own header says."""
        ...

    @property
    def held(self) -> int:
        """Bytes of the event that is not yet whole."""
        ...

    def take(self, data: bytes, *, end: bool = False) -> list[Event]:
        """The events that end in these bytes. `end`: no more will come, what is held is the last one."""
        ...

    def skip(self) -> Event:
        """What is held, as an event that is not whole; the rest of it will pass without `data`."""
        ...

    def keep(self, event: Event) -> bytes:
        """The event unchanged, as it goes over the wire. Asked, like `change`, of each event in its turn."""
        ...

    def change(self, event: Event, data: bytes) -> bytes | None:
        """The event with other data, as it goes over the wire; None where that cannot be."""
        ...

    def refusal(self, problem: bytes) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        """(bytes, trailers) that end the stream with an error in its own form; `problem` is a problem document (RFC 9457)."""
        ...


# Of `\r\n` neither half may be taken for a line end of its own: the groups do not give back what they took.
_BLANK = regex(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE = regex(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventSplitter:
    """Server-sent events. Judged is the data of an event, its lines joined; comments, names, ids and retry times pass."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._from = 0
        self._skipping = False
        self._partial = False

    def content_type(self, data: bytes) -> str:
        return "application/json" if data[:1] in (b"{", b"[") else "text/plain"

    @property
    def held(self) -> int:
        return len(self._buffer)

    def take(self, data: bytes, *, end: bool = False) -> list[Event]:
        buffer = self._buffer
        buffer += data
        events: list[Event] = []
        at = 0
        for found in _BLANK.finditer(buffer, self._from):
            events.append(self._event(bytes(buffer[at : found.end()])))
            at = found.end()
        if (end or self._skipping) and at < len(buffer):
            events.append(self._event(bytes(buffer[at:]), last=not end))
            at = len(buffer)
        del buffer[:at]
        # A blank line may have begun in the last three bytes: `\r\n` and `\r` of another.
        self._from = max(0, len(buffer) - 3)
        return events

    def _event(self, wire: bytes, *, last: bool = False) -> Event:
        if self._skipping:
            self._skipping = last
            return Event(len(wire), wire)
        return Event(len(wire), wire, _data_of(wire))

    def skip(self) -> Event:
        wire = bytes(self._buffer)
        self._buffer.clear()
        self._from = 0
        self._skipping = self._partial = True
        return Event(len(wire), wire, _data_of(wire), whole=False)

    def keep(self, event: Event) -> bytes:
        return event.wire

    def change(self, event: Event, data: bytes) -> bytes | None:
        ending = found.group() if (found := _LINE.search(event.wire)) else b"\n"
        lines: list[bytes] = []
        put = False
        for line in _LINE.split(event.wire):
            if not _is_data(line):
                lines.append(line)
            elif not put:
                put = True
                lines += [b"data: " + part for part in _LINE.split(data)]
        return ending.join(lines)

    def refusal(self, problem: bytes) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        return (b"\n\n" if self._partial else b"") + b"event: error\ndata: " + problem + b"\n\n", ()


def _is_data(line: bytes) -> bool:
    line = line.removeprefix(_BOM)
    return line[:5] == b"data:" or line == b"data"


def _data_of(wire: bytes) -> bytes:
    lines = [line.removeprefix(_BOM)[5:].removeprefix(b" ") for line in _LINE.split(wire) if _is_data(line)]
    return b"\n".join(lines)


class LineSplitter:
    """JSON lines. A blank line is a heartbeat."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._from = 0
        self._skipping = False

    def content_type(self, data: bytes) -> str:
        return "application/json" if data[:1] in (b"{", b"[", b'"') else "text/plain"

    @property
    def held(self) -> int:
        return len(self._buffer)

    def take(self, data: bytes, *, end: bool = False) -> list[Event]:
        buffer = self._buffer
        buffer += data
        events: list[Event] = []
        at = 0
        while (stop := buffer.find(b"\n", max(at, self._from)) + 1) > 0:
            events.append(self._event(bytes(buffer[at:stop])))
            self._skipping = False
            at = stop
        if (end or self._skipping) and at < len(buffer):
            events.append(self._event(bytes(buffer[at:])))
            at = len(buffer)
        del buffer[:at]
        self._from = len(buffer)
        return events

    def _event(self, wire: bytes) -> Event:
        return Event(len(wire), wire, b"" if self._skipping else wire.strip(b"\r\n\t "))

    def skip(self) -> Event:
        wire = bytes(self._buffer)
        self._buffer.clear()
        self._from = 0
        self._skipping = True
        return Event(len(wire), wire, wire.strip(b"\r\n\t "), whole=False)

    def keep(self, event: Event) -> bytes:
        return event.wire

    def change(self, event: Event, data: bytes) -> bytes | None:
        return data + event.wire[len(event.wire.rstrip(b"\r\n")) :]

    def refusal(self, problem: bytes) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        return (b"\n" if self._skipping else b"") + problem + b"\n", ()


class SequenceSplitter:
    """JSON text sequences: RS, a JSON text, LF. The texts may hold line ends, so one ends where the next begins, or at an LF after which
    nothing has come yet and before which a whole text stands."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._from = 1
        self._skipping = False

    def content_type(self, data: bytes) -> str:
        return "application/json"

    @property
    def held(self) -> int:
        return len(self._buffer)

    def take(self, data: bytes, *, end: bool = False) -> list[Event]:
        buffer = self._buffer
        buffer += data
        events: list[Event] = []
        at = 0
        while (stop := buffer.find(b"\x1e", max(at + 1, self._from))) >= 0:
            events.append(self._event(bytes(buffer[at:stop])))
            self._skipping = False
            at = stop
        if at < len(buffer) and (end or self._skipping or (data[-1:] == b"\n" and _is_json(buffer[at:]))):
            events.append(self._event(bytes(buffer[at:])))
            at = len(buffer)
        del buffer[:at]
        self._from = max(1, len(buffer))
        return events

    def _event(self, wire: bytes) -> Event:
        if self._skipping and wire[:1] != b"\x1e":
            return Event(len(wire), wire)
        return Event(len(wire), wire, wire.strip(b"\x1e\r\n\t "))

    def skip(self) -> Event:
        wire = bytes(self._buffer)
        self._buffer.clear()
        self._from = 1
        self._skipping = True
        return Event(len(wire), wire, wire.strip(b"\x1e\r\n\t "), whole=False)

    def keep(self, event: Event) -> bytes:
        return event.wire

    def change(self, event: Event, data: bytes) -> bytes | None:
        return b"\x1e" + data + b"\n"

    def refusal(self, problem: bytes) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        return b"\x1e" + problem + b"\n", ()


def _is_json(record: bytearray) -> bool:
    try:
        msgspec.json.decode(bytes(record.strip(b"\x1e\r\n\t ")))
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


_PREFIX = 5
_TRAILERS = 0x80


class MessageSplitter:
    """gRPC and binary gRPC-Web messages: a flag byte, four bytes of length, the message (compressed when the flag says so)."""

    def __init__(self, content_type: str) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        self._web = kind.startswith("application/grpc-web")
        self._buffer = bytearray()
        self._left = 0
        """Bytes of a skipped message that are yet to pass."""
        self._foreign = False
        """What came is no gRPC: where a message ends is not to be known any more, so each piece is taken for one."""

    def content_type(self, data: bytes) -> str:
        return ""

    @property
    def held(self) -> int:
        return len(self._buffer)

    def take(self, data: bytes, *, end: bool = False) -> list[Event]:
        buffer = self._buffer
        buffer += data
        events: list[Event] = []
        at, size = 0, len(buffer)
        if self._left and size:
            at = min(self._left, size)
            self._left -= at
            events.append(Event(at, bytes(buffer[:at])))
        while not self._foreign and size - at >= _PREFIX:
            if buffer[at] > 1 and not (self._web and buffer[at] in (_TRAILERS, _TRAILERS + 1)):
                self._foreign = True
                break
            stop = at + _PREFIX + int.from_bytes(buffer[at + 1 : at + _PREFIX], "big")
            if stop > size:
                break
            wire = bytes(buffer[at:stop])
            events.append(Event(len(wire), wire, b"" if wire[0] & _TRAILERS else wire))
            at = stop
        if (end or self._foreign) and at < size:
            events.append(Event(size - at, bytes(buffer[at:]), bytes(buffer[at:])))
            at = size
        del buffer[:at]
        return events

    def skip(self) -> Event:
        wire = bytes(self._buffer)
        self._left = _PREFIX + int.from_bytes(wire[1:_PREFIX], "big") - len(wire)
        self._buffer.clear()
        return Event(len(wire), wire, wire, whole=False)

    def keep(self, event: Event) -> bytes:
        return event.wire

    def change(self, event: Event, data: bytes) -> bytes | None:
        if self._foreign:
            return None
        return b"\0" + len(data).to_bytes(4, "big") + data  # uncompressed, as a message may be whatever the others are

    def refusal(self, problem: bytes) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        trailers = (("grpc-status", "7"), ("grpc-message", "refused by a security policy"))
        if not self._web:
            return b"", trailers
        block = b"".join([b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in trailers])
        return bytes([_TRAILERS]) + len(block).to_bytes(4, "big") + block, ()


_BASE64 = regex(rb"[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=")


class TextSplitter:
    """gRPC-Web text: messages in base64, in pieces that may each be padded. What goes on is written anew, message by message."""

    def __init__(self, content_type: str) -> None:
        self._inner = MessageSplitter(content_type)
        self._buffer = b""
        self._runs: deque[list[int]] = deque()
        """[decoded bytes, bytes of text] not yet part of an event."""
        self._odd = 0

    def content_type(self, data: bytes) -> str:
        return ""

    @property
    def held(self) -> int:
        return self._inner.held + len(self._buffer)

    def take(self, data: bytes, *, end: bool = False) -> list[Event]:
        text = self._buffer + data
        plain, at = bytearray(), 0
        while (found := _BASE64.match(text, at)) is not None:
            some = binascii.a2b_base64(found.group())
            plain += some
            if found.group()[-1:] != b"=" and self._runs and self._runs[-1][0] % 3 == 0:
                self._runs[-1][0] += 3
                self._runs[-1][1] += 4
            else:
                self._runs.append([len(some), 4])
            at = found.end()
        # What is no base64 passes as a message that cannot be read.
        rest = text[at:]
        spoilt = len(rest) >= 4 or (end and bool(rest))
        self._buffer = b"" if spoilt else rest
        events = [
            Event(self._text(len(event.wire)), binascii.b2a_base64(event.wire, newline=False), event.data)
            for event in self._inner.take(bytes(plain), end=end or spoilt)
        ]
        return [*events, Event(len(rest), rest, rest)] if spoilt else events

    def _text(self, size: int) -> int:
        """Bytes of text that so many decoded bytes took. A message that ends within a group of four shares it with the next."""
        size += self._odd
        taken = 0
        while self._runs and size:
            run = self._runs[0]
            if size >= run[0]:
                size -= run[0]
                taken += run[1]
                self._runs.popleft()
                continue
            whole = size // 3
            run[0] -= 3 * whole
            run[1] -= 4 * whole
            taken += 4 * whole
            size -= 3 * whole
            break
        self._odd = size
        return taken

    def skip(self) -> Event:
        event = self._inner.skip()
        return Event(self._text(len(event.wire)), binascii.b2a_base64(event.wire, newline=False), event.data, whole=False)

    def keep(self, event: Event) -> bytes:
        return event.wire

    def change(self, event: Event, data: bytes) -> bytes | None:
        new = self._inner.change(event, data)
        return None if new is None else binascii.b2a_base64(new, newline=False)

    def refusal(self, problem: bytes) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        block, trailers = self._inner.refusal(problem)
        return binascii.b2a_base64(block, newline=False), trailers


_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/stream+json")


def splitter(content_type: str) -> Splitter | None:
    """How the events of a message with this Content-Type are told apart; None: it is no stream of events that are known here."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return EventSplitter()
    if kind in _LINES:
        return LineSplitter()
    if kind == "application/json-seq":
        return SequenceSplitter()
    if kind.startswith("application/grpc-web-text"):
        return TextSplitter(content_type)
    if kind.startswith("application/grpc"):
        return MessageSplitter(content_type)
    return None
