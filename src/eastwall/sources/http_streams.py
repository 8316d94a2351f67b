"""HTTP calls out of the two byte streams of a connection, watched from outside: HTTP/1.1 (by h11) and h2c.

h11 is used message by message, since a watcher sees requests and answers in whatever order they were captured. HTTP/2 frames are read
here and their headers by hpack: h2 is an endpoint, with windows and settings of its own, which a watcher does not have.
Everything is bounded: bodies are cut at MAX_KEPT_BODY, and all of them together at the Budget.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Any

import h11

from eastwall.model.call import BodyState
from eastwall.sources.log_call import assembled
from eastwall.sources.observed import MAX_KEPT_BODY, ObservedCall, Skipped, join_headers, trace_context

ORIGIN = "pcap"
MAX_PIPELINED = 100
MAX_HEAD = 128 << 10
MAX_FILL = 16 << 20
_REQUEST = re.compile(rb"[A-Z][A-Z-]{1,31} [^ \r\n]+ HTTP/1\.[01]\r?\n")
_REQUEST_START = re.compile(rb"[A-Z][A-Z-]{1,31} \S")
_RESPONSE = re.compile(rb"HTTP/1\.[01] \d{3}")


class Budget:
    """Bytes of bodies in the making, of all connections."""

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, size: int) -> int:
        """How many of `size` bytes may be kept."""
        granted = min(size, self.left)
        self.left -= granted
        return granted


class Message:
    """A request or an answer in the making."""

    __slots__ = ("body", "budget", "cut", "done", "headers", "kept", "method", "size", "status", "target", "time")

    def __init__(self, budget: Budget, time: float) -> None:
        self.budget = budget
        self.time = time
        """Of its first byte."""
        self.method = self.target = ""
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body: list[bytes] = []
        self.kept = 0
        self.size = 0
        """Bytes of the body, kept or not."""
        self.cut = False
        self.done = False

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if self.cut:
            return
        granted = self.budget.take(min(len(data), MAX_KEPT_BODY - self.kept))
        if granted:
            self.body.append(bytes(data[:granted]))
            self.kept += granted
        self.cut = granted < len(data)

    def taken(self) -> tuple[bytes, BodyState]:
        """The body and its state; gives the budget back."""
        body = b"".join(self.body)
        self.budget.left += self.kept
        self.body, self.kept = [], 0
        if not self.size and (self.done or not self.cut):
            return b"", BodyState.NONE
        return body, BodyState.COMPLETE if self.done and not self.cut else BodyState.TRUNCATED


def observed(
    request: Message, answer: Message | None, status: int | None, end: float, client: tuple[str, int], server: tuple[str, int]
) -> ObservedCall:
    """Raises ValueError when the request is to no path."""
    headers = join_headers(request.headers)
    body, state = request.taken()
    answered, answer_state = answer.taken() if answer is not None else (b"", BodyState.NONE)
    host = headers.get("host") or (f"[{server[0]}]" if ":" in server[0] else server[0]) + f":{server[1]}"
    trace, parent = trace_context(headers)
    return assembled(
        request.method,
        request.target,
        host,
        "http",
        origin=ORIGIN,
        status=status,
        time=request.time,
        duration_us=max(0, int((end - request.time) * 1e6)),
        request_headers=headers,
        request_body=body,
        request_body_state=state,
        request_bytes=request.size,
        response_headers=join_headers(answer.headers) if answer is not None else {},
        response_body=answered,
        response_body_state=answer_state,
        response_bytes=answer.size if answer is not None else 0,
        peer_address=client[0],
        peer_port=client[1],
        trace=trace,
        parent=parent,
    )


class _Reader:
    """One direction of HTTP/1.1: bytes in, whole messages out."""

    def __init__(self, budget: Budget, *, requests: bool) -> None:
        self._budget = budget
        self._requests = requests
        self._connection: h11.Connection | None = None
        self._rest = b""
        self._left = -1
        """Bytes of the body still to come, where its length was announced; -1: unknown."""
        self.message: Message | None = None
        self.lost = False
        """Whether the place in the stream is lost, and a start of a message is looked for."""

    def begin(self, time: float, asked: Message | None) -> None:
        if self._requests:
            self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        else:
            self._connection = connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
            headers = [(b"host", b"-")]
            wish = next((v for n, v in asked.headers if n.lower() == "upgrade"), "") if asked else ""
            if wish:
                headers += [(b"upgrade", wish.encode("latin-1", "replace")), (b"connection", b"upgrade")]
            connection.send(h11.Request(method=asked.method if asked else "GET", target="/", headers=headers))
            connection.send(h11.EndOfMessage())
        self._left = -1
        self.message = Message(self._budget, time)
        self._connection.receive_data(self._rest)
        self._rest = b""

    @property
    def idle(self) -> bool:
        return self._connection is None

    def feed(self, data: bytes) -> None:
        if self._connection is None:
            self._rest += data
        elif data:
            self._connection.receive_data(data)

    @property
    def waiting(self) -> bytes:
        """Bytes that belong to no message yet."""
        return self._rest

    def drop(self) -> None:
        self._rest = b""

    def finish(self) -> None:
        """No more bytes will come: a body that goes until the end of the connection is whole."""
        if self._connection is not None:
            self._connection.receive_data(b"")

    def poll(self) -> Message | None:
        """The message, once it is whole. Raises h11.RemoteProtocolError."""
        connection, message = self._connection, self.message
        if connection is None or message is None:
            return None
        while True:
            event: Any = connection.next_event()
            kind = type(event)
            if kind is h11.Data:
                message.add(event.data)
                if self._left > 0:
                    self._left -= len(event.data)
            elif kind is h11.Request or kind is h11.Response:
                self._head(event, message)
            elif kind is h11.InformationalResponse:
                if event.status_code == 101:
                    self._head(event, message)
                    return self._whole(connection, message)
            elif kind is h11.EndOfMessage:
                message.headers += [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers]
                return self._whole(connection, message)
            else:  # NEED_DATA, PAUSED, ConnectionClosed
                return None

    def _whole(self, connection: h11.Connection, message: Message) -> Message:
        self._rest = bytes(connection.trailing_data[0])
        self._connection = self.message = None
        message.done = True
        return message

    def _head(self, event: Any, message: Message) -> None:
        message.headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers]
        if type(event) is h11.Request:
            message.method, message.target = event.method.decode("latin-1"), event.target.decode("latin-1")
        else:
            message.status = event.status_code
        length = next((v for n, v in message.headers if n == "content-length"), "")
        self._left = int(length) if length.isdigit() and len(length) < 12 else -1

    def gap(self, size: int) -> bool:
        """Bytes are missing. True when they were inside a body of known length: the place in the stream is kept."""
        if self._connection is None or self.message is None or size > min(self._left, MAX_FILL):
            return False
        self.message.cut = True
        self._connection.receive_data(bytes(size))
        return True

    def lose(self) -> Message | None:
        """The place in the stream is lost; what there was of a message."""
        message, self.message, self._connection, self._rest = self.message, None, None, b""
        self.lost = True
        if message is not None:
            message.cut = True
        return message


class Http1:
    """The HTTP/1.1 calls of a connection."""

    def __init__(self, client: tuple[str, int], server: tuple[str, int], budget: Budget, skipped: Skipped) -> None:
        self._client, self._server = client, server
        self._skipped = skipped
        self._requests = _Reader(budget, requests=True)
        self._answers = _Reader(budget, requests=False)
        self._asked: deque[Message] = deque()
        self._time = 0.0
        self.switched = ""
        """The protocol that the connection has changed to."""
        self.upgraded: Message | None = None
        """The request that goes on as stream 1 of HTTP/2 (RFC 7540, section 3.2)."""

    def data(self, from_client: bool, data: bytes, time: float) -> Iterator[ObservedCall]:
        self._time = time
        reader = self._requests if from_client else self._answers
        if reader.lost:
            if not (_REQUEST if from_client else _RESPONSE).match(data):
                return
            reader.lost = False
        if not from_client and not self._asked and reader.idle and not reader.waiting and not b"HTTP/1.".startswith(data[:7]):
            # The capture began in the middle of an answer: look for the next one's start.
            self._skipped.add("response-without-request", self._where())
            reader.lost = True
            return
        reader.feed(data)
        yield from self._read_requests(time)
        yield from self._read_answers(time)

    def _read_requests(self, time: float) -> Iterator[ObservedCall]:
        reader = self._requests
        try:
            while not reader.lost:
                if reader.idle:
                    if not reader.waiting.strip(b"\r\n") or self.switched:
                        return
                    reader.begin(time, None)
                message = reader.poll()
                if message is None:
                    return
                if len(self._asked) >= MAX_PIPELINED:
                    yield from self._give_up("pipelined-too-deep")
                self._asked.append(message)
        except (h11.RemoteProtocolError, h11.LocalProtocolError) as error:
            self._skipped.add("malformed-http", f"{self._where()}: {error}")
            reader.lose()

    def _read_answers(self, time: float) -> Iterator[ObservedCall]:
        reader = self._answers
        try:
            while not reader.lost and not self.switched:
                if reader.idle:
                    if not reader.waiting.strip(b"\r\n"):
                        return
                    if not self._asked and self._requests.message is not None and self._requests.message.method:
                        # Answered before the request was whole, e.g. 413: judge it by what there is.
                        early = self._requests.lose()
                        assert early is not None
                        self._asked.append(early)
                    reader.begin(time, self._asked[0] if self._asked else None)
                message = reader.poll()
                if message is None:
                    return
                yield from self._answered(message, time)
        except (h11.RemoteProtocolError, h11.LocalProtocolError) as error:
            self._skipped.add("malformed-http", f"{self._where()}: {error}")
            reader.lose()
            yield from self._give_up("")

    def _answered(self, answer: Message, time: float) -> Iterator[ObservedCall]:
        if not self._asked:
            self._skipped.add("response-without-request", self._where())
            answer.taken()
            return
        request = self._asked.popleft()
        if answer.status == 101:
            self.switched = next((v for n, v in answer.headers if n == "upgrade"), "?").lower()
            if self.switched == "h2c":
                self.upgraded = request
                return
        elif request.method == "CONNECT" and 200 <= answer.status < 300:
            self.switched = "tunnel"
        yield from self._call(request, answer, answer.status, time)

    def _call(self, request: Message, answer: Message | None, status: int | None, time: float) -> Iterator[ObservedCall]:
        try:
            yield observed(request, answer, status, time, self._client, self._server)
        except ValueError as reason:
            self._skipped.add(str(reason), self._where())

    def rest(self, from_client: bool) -> bytes:
        """Bytes after a change of protocol."""
        reader = self._requests if from_client else self._answers
        rest = reader.waiting
        reader.drop()
        return rest

    def gap(self, from_client: bool, size: int) -> Iterator[ObservedCall]:
        self._skipped.add("tcp-gap", f"{self._where()}: {size} bytes")
        reader = self._requests if from_client else self._answers
        if reader.gap(size):
            yield from self._read_requests(self._time)
            yield from self._read_answers(self._time)
            return
        message = reader.lose()
        if message is None:
            return
        if from_client:
            if message.method:  # its head was whole
                self._asked.append(message)
            return
        if message.status and self._asked:
            yield from self._call(self._asked.popleft(), message, message.status, self._time)
        # Which answer belongs to which request is not known any more.
        yield from self._give_up("")

    def end(self, closed: bool) -> Iterator[ObservedCall]:
        """The connection (`closed`) or the capture is over."""
        if closed and not self.switched:
            self._answers.finish()
            yield from self._read_answers(self._time)
        cut = self._requests.lose()
        if cut is not None and cut.method:
            self._asked.append(cut)
        answer = self._answers.lose()
        if answer is not None and answer.status and self._asked:
            yield from self._call(self._asked.popleft(), answer, answer.status, self._time)
        yield from self._give_up("", 0 if closed else None)

    def _give_up(self, reason: str, status: int | None = None) -> Iterator[ObservedCall]:
        """Requests whose answers are not known."""
        while self._asked:
            if reason:
                self._skipped.add(reason, self._where())
            yield from self._call(self._asked.popleft(), None, status, self._time)

    def _where(self) -> str:
        return f"{self._client[0]}:{self._client[1]} -> {self._server[0]}:{self._server[1]}"


def sender(data: bytes) -> str:
    """Who sends such a first piece of a stream: `client`, `server`, `tls` (either) or empty for other protocols."""
    if (
        data.startswith(b"PRI * HTTP/2"[: len(data)])
        or _REQUEST.match(data)
        or (len(data) < 2_000 and _REQUEST_START.match(data))
    ):
        return "client"
    if _RESPONSE.match(data):
        return "server"
    if len(data) >= 3 and data[0] == 0x16 and data[1] == 3:
        return "tls"
    return ""
