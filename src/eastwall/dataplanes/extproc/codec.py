"""One gRPC stream of the external processor as a state machine, without I/O and without a clock.

    for ask in stream.receive(message):          # ask is a Call or a Response
        stream.answer(inspector.request(ask) | inspector.response(stream.call_id, ask))
    reply = stream.reply()                       # bytes of a ProcessingResponse, or None

and at the stream's end, whatever the end was: the asks of `stream.close()`, then `stream.completion(clock)`.

Two ways to be driven by Envoy, told apart by the message's `observability_mode`:

- waiting: each message is answered once. Bodies come whole, in one message (`BUFFERED_PARTIAL`), and only when asked for.
- observing: nothing is answered. Bodies come in pieces as they pass; they are put together up to `max_body`. Of streams the first
  `STREAM_COPY` bytes are kept and leave with the completion.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from msgspec import Struct

from eastwall.dataplanes.extproc.envoy_config import META_FAIL, META_MAX_BODY, META_MODE, META_OVER_LIMIT, META_SERVICE
from eastwall.dataplanes.extproc.flows import Copy, Flow
from eastwall.dataplanes.extproc.messages import (
    CONTINUE,
    WANT_PIECES_BOTH_WAYS,
    WANT_REQUEST_BODY,
    WANT_REQUEST_PIECES,
    WANT_RESPONSE_BODY,
    WANT_RESPONSE_PIECES,
    continue_with,
    event_metadata,
    grpc_status_of,
    host_of,
    immediate,
    is_stream,
    length_of,
    peer_of,
    problem,
    read_headers,
    request_is_stream,
    set_headers,
    streams_messages,
)
from eastwall.model.call import BodyState, Call, Completion, Mode, Peer, Phase, Request, Response
from eastwall.model.decision import PASS, Answer, Piece, Release

Ask = Call | Response | Piece
"""What the inspector has to be asked."""

STREAM_COPY = 64 << 10
"""Bytes of each message of a stream that are copied as they pass, at most (and at most `max_body`)."""
MAX_BODY_CEILING = 64 << 20
"""Largest `max_body` that is honoured, bytes: the gRPC server's message limit stands just above it."""


class Settings(Struct, frozen=True):
    """What the route says about a call, by gRPC initial metadata."""

    service: str = ""
    """Empty: the host of `:authority`."""
    mode: Mode | None = None
    """None: `ENFORCE`, or `DISCOVER` when Envoy only observes."""
    fail_closed: bool = False
    max_body: int = 1 << 20
    """Bytes."""
    block_over_limit: bool = False
    """A request body over `max_body` is refused with 413."""


@lru_cache(maxsize=4096)
def _settings(service: str, mode: str, fail: str, max_body: str, over_limit: str) -> Settings:
    try:
        chosen = Mode[mode.upper()] if mode else None
    except KeyError:
        raise ValueError(f"{META_MODE}: `{mode}` is not a mode; write discover, monitor or enforce") from None
    if fail not in ("", "open", "closed"):
        raise ValueError(f"{META_FAIL}: `{fail}` is not a fail mode; write open or closed")
    if max_body and not (max_body.isascii() and max_body.isdecimal() and len(max_body) < 20):
        raise ValueError(f"{META_MAX_BODY}: `{max_body}` is not a number of bytes")
    if over_limit not in ("", "pass", "block"):
        raise ValueError(f"{META_OVER_LIMIT}: `{over_limit}` is neither pass nor block")
    limit = min(int(max_body), MAX_BODY_CEILING) if max_body else 1 << 20
    return Settings(service, chosen, fail == "closed", limit, over_limit == "block")


def settings(metadata: Iterable[tuple[str, str | bytes]]) -> Settings:
    """Settings from gRPC initial metadata. Raises `ValueError` with one clear line."""
    found = {key: value for key, value in metadata if key.startswith("x-eastwall-") and isinstance(value, str)}
    return _settings(*[found.get(key, "") for key in (META_SERVICE, META_MODE, META_FAIL, META_MAX_BODY, META_OVER_LIMIT)])


class Stream:
    """See the module's docstring. At its start: `time` is the wall clock (Unix seconds), `clock` any steady one (seconds)."""

    def __init__(self, call_id: str, settings: Settings, *, time: float, clock: float) -> None:
        self.call_id = call_id
        self.denied = False
        """An answer of ours went out in the service's place; nothing more is asked."""
        self._settings = settings
        self._time = time
        self._clock = clock
        self._observing = False
        self._started = False
        self._method = ""
        self._path = ""
        self._authority = ""
        self._scheme = "http"
        self._service = settings.service
        self._peer = Peer()
        self._headers: dict[str, str] = {}
        self._content_length = -1
        self._request_done = False
        self._request_bytes = 0
        self._status = 0
        self._response_headers: dict[str, str] | None = None
        self._response_length = -1
        self._response_done = False
        self._response_bytes = 0
        self._parts: list[bytes] = []
        self._body_size = 0
        self._over_limit = False
        self._grpc = False
        self._body_state = BodyState.NONE
        self._want = 2
        self._kind = ""
        self._request_over = False
        self._response_over = False
        self._flows: dict[Phase, Flow] = {}
        self._ended = False
        """A stream was ended by what stands in the place of its last piece; nothing may follow."""
        self._request_copy: Copy | None = None
        self._response_copy: Copy | None = None
        self._grpc_status = -1
        self._answer: Answer | None = None
        self._reply: bytes | None = None
        self._uninspected: list[str] = []

    @property
    def passive(self) -> bool:
        """The mode never changes a call: the reply may, and should, go out before the inspector is asked."""
        mode = self._settings.mode
        return self._observing or (mode is not None and mode is not Mode.ENFORCE)

    @property
    def over(self) -> bool:
        """Observing, and both messages were seen to their ends: Envoy keeps the stream open for seconds yet, for nothing."""
        return self._observing and self._request_over and self._response_over

    @property
    def fail_closed(self) -> bool:
        return self._settings.fail_closed and not self.passive

    # -- messages in ----------------------------------------------------------------------------------------------

    def receive(self, message: Any) -> tuple[Ask, ...]:
        """Take a ProcessingRequest; returns what to ask the inspector, in order. Raises ValueError on an empty message."""
        kind = message.WhichOneof("request")
        if kind is None:
            raise ValueError("a processing request without content")
        self._kind = kind
        self._answer = None
        self._reply = CONTINUE[kind]
        if self.denied or self._started == (kind == "request_headers"):
            # Before the headers there is no call to speak of (an Envoy told to skip them); a second start is none.
            return ()
        if kind == "request_headers":
            return self._on_request_headers(message)
        if kind == "request_body":
            return self._on_request_body(message.request_body.body, message.request_body.end_of_stream)
        if kind == "response_headers":
            return self._on_response_headers(message.response_headers)
        if kind == "response_body":
            return self._on_response_body(message.response_body.body, message.response_body.end_of_stream)
        if kind == "request_trailers":
            self._request_over = True
            if self._request_copy is not None:
                self._request_copy.take(b"", end=True)
            return self._judge_request(self._cut_state())
        self._response_over = True
        self._grpc_status = grpc_status_of(read_headers(message.response_trailers.trailers.headers)[1], self._grpc)
        if self._response_copy is not None:
            self._response_copy.take(b"", end=True)
        return self._judge_response(self._cut_state())

    def _on_request_headers(self, message: Any) -> tuple[Ask, ...]:
        self._started = True
        self._observing = message.observability_mode
        pseudo, self._headers = read_headers(message.request_headers.headers.headers)
        self._method = pseudo.get(":method", "")
        self._path = pseudo.get(":path", "")
        self._authority = pseudo.get(":authority") or self._headers.get("host", "")
        self._scheme = pseudo.get(":scheme", "http")
        self._peer = peer_of(message.attributes)
        self._service = self._service or host_of(self._authority)
        self._content_length = length_of(self._headers)
        self._request_over = message.request_headers.end_of_stream
        if self._request_over:
            return self._judge_request(BodyState.NONE)
        self._request_bytes = max(self._content_length, 0)
        self._grpc = self._headers.get("content-type", "").startswith("application/grpc")
        if request_is_stream(self._headers, pseudo, message.attributes):
            if streams_messages(self._headers) and self._grpc and (self._observing or not self.passive):
                self._request_copy = self._begin(Phase.REQUEST)
                self._reply = WANT_REQUEST_PIECES
            return self._judge_request(BodyState.STREAMED)
        if self._settings.block_over_limit and not self.passive and self._content_length > self._settings.max_body:
            # Not waited for: it is refused whatever is in it. The inspector is asked for the sake of the record.
            self._over_limit = True
            return self._judge_request(BodyState.TRUNCATED)
        self._reply = WANT_REQUEST_BODY
        return ()

    def _begin(self, phase: Phase) -> Copy:
        """The message comes in pieces, which are asked about one by one (observing: told)."""
        self._flows[phase] = Flow(self.call_id, phase, watched=self.passive)
        return Copy(min(self._settings.max_body, STREAM_COPY))

    def _pieces(self, phase: Phase, body: bytes, *, end: bool) -> tuple[Ask, ...]:
        if self._ended:
            # What the caller got says that it is over; if the service goes on, so is the connection.
            self._reply = self._flows[phase].passed(self._kind, b"") if end else self._cut()
            return ()
        piece = self._flows[phase].take(body, end=end) if body or end else None
        return () if piece is None else (piece,)

    def _cut(self) -> bytes:
        return immediate(Answer(deny=True, status=403), self.call_id, grpc=self._grpc)

    def _on_request_body(self, body: bytes, end: bool) -> tuple[Ask, ...]:
        if self._request_copy is not None:
            self._request_copy.take(body, end)
            self._request_bytes = self._request_copy.seen
            self._request_over = self._request_over or end
            return self._pieces(Phase.REQUEST, body, end=end)
        self._take(body)
        self._request_over = self._request_over or end
        self._request_bytes = max(self._request_bytes, self._body_size)
        if self._request_done or not self._ready(end):
            return ()
        self._over_limit = self._settings.block_over_limit and self._body_size > self._settings.max_body
        return self._judge_request(self._whole_state())

    def _on_response_headers(self, message: Any) -> tuple[Ask, ...]:
        # A service may answer before it has read the whole request: judge what came of it first.
        early = () if self._request_done else self._judge_request(self._cut_state())
        self._parts, self._body_size = [], 0
        pseudo, headers = read_headers(message.headers.headers)
        status = pseudo.get(":status", "0")
        self._status = int(status) if status.isdecimal() else 0
        self._response_headers = headers
        self._grpc_status = grpc_status_of(headers, self._grpc)
        self._response_length = length_of(headers)
        ended = message.end_of_stream or self._method == "HEAD" or self._status in (204, 304)
        self._response_over = message.end_of_stream
        if not ended:
            self._response_bytes = max(self._response_length, 0)
        if self._want == 0:
            self._response_done = True
            return early
        if ended:
            return early + self._judge_response(BodyState.NONE)
        if self._status == 101 or is_stream(headers) or (self._method == "CONNECT" and self._status == 200):
            if self._want > 1 and streams_messages(headers) and (self._observing or not self.passive):
                self._response_copy = self._begin(Phase.RESPONSE)
                self._reply = WANT_PIECES_BOTH_WAYS if Phase.REQUEST in self._flows else WANT_RESPONSE_PIECES
            return early + self._judge_response(BodyState.STREAMED)
        if self._want == 1:
            return early + self._judge_response(BodyState.SKIPPED)
        self._reply = WANT_RESPONSE_BODY
        return early

    def _on_response_body(self, body: bytes, end: bool) -> tuple[Ask, ...]:
        if self._response_copy is not None:
            self._response_copy.take(body, end)
            self._response_bytes = self._response_copy.seen
            self._response_over = self._response_over or end
            return self._pieces(Phase.RESPONSE, body, end=end)
        self._take(body)
        self._response_over = self._response_over or end
        self._response_bytes = max(self._response_bytes, self._body_size)
        if self._response_done or not self._ready(end):
            return ()
        return self._judge_response(self._whole_state())

    def _take(self, piece: bytes) -> None:
        room = self._settings.max_body - self._body_size
        self._body_size += len(piece)
        if piece and room > 0:
            self._parts.append(piece[:room])

    def _ready(self, end: bool) -> bool:
        return not self._observing or end or self._body_size > self._settings.max_body

    def _whole_state(self) -> BodyState:
        # `end_of_stream` does not tell: it is also false when trailers follow. A body within the limit is whole, since
        # Envoy holds back at least `max_body` bytes (README.md, 4).
        if self._body_size > self._settings.max_body:
            return BodyState.TRUNCATED
        return BodyState.COMPLETE if self._body_size else BodyState.NONE

    def _cut_state(self) -> BodyState:
        """State of a body whose end was not seen."""
        known = self._content_length if self._response_headers is None else self._response_length
        if self._kind.endswith("trailers") or self._body_size == known:
            return self._whole_state()
        return BodyState.TRUNCATED

    def _judge_request(self, state: BodyState) -> tuple[Ask, ...]:
        if self._request_done:
            return ()
        self._request_done = True
        self._note("request", state)
        body = b"" if state in (BodyState.NONE, BodyState.STREAMED) else self._front()
        request = Request(self._method, self._path, self._headers, self._authority, self._scheme, body, state)
        return (Call(self.call_id, self._service, self._time, self._peer, request),)

    def _judge_response(self, state: BodyState) -> tuple[Ask, ...]:
        if self._response_done or self._response_headers is None:
            return ()
        self._response_done = True
        self._note("response", state)
        body = self._front() if state in (BodyState.COMPLETE, BodyState.TRUNCATED) else b""
        return (Response(self._status, self._response_headers, body, state),)

    def _note(self, message: str, state: BodyState) -> None:
        self._body_state = state
        # The engine says the same of a call that it judged; the completion must tell it also to one that did not.
        if state is BodyState.TRUNCATED:
            self._uninspected.append(f"{message}-body-truncated")
        elif state is BodyState.STREAMED and Phase[message.upper()] not in self._flows:
            self._uninspected.append(f"{message}-streamed")

    def _front(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    # -- answers out ----------------------------------------------------------------------------------------------

    def answer(self, ask: Ask, answer: Answer) -> None:
        """What the inspector said to `ask`."""
        if isinstance(ask, Call):
            self._want = answer.want_response
            if self._over_limit and not answer.deny:
                answer = problem(
                    413, "body-too-large", "Content Too Large", "The body is larger than can be inspected.", self.call_id
                )
            # Judged late, when the response was already there: only a refusal can still be carried out.
            if self._kind.startswith("response") and not answer.deny:
                return
        if self.passive:
            return
        if answer.deny:
            self._refused(answer)
        elif answer.body is not None and self._body_state not in (BodyState.COMPLETE, BodyState.NONE):
            # A part cannot be replaced by a whole: the rest would follow unchanged. Nor a stream that is not held.
            self._uninspected.append("body-not-replaced")
            answer = self._not_inspected() if self.fail_closed else PASS
        if not self.denied or answer.deny:
            self._answer = answer

    def release(self, piece: Piece, release: Release) -> None:
        """What the inspector said to a piece. Raises ValueError when it makes no sense."""
        if release.part:
            self._uninspected.append(f"{piece.phase.name.lower()}-event-too-large")
        if self.passive:
            return
        flow = self._flows[piece.phase]
        if not release.end:
            self._reply = flow.release(self._kind, release)
        elif piece.phase is Phase.RESPONSE and not self._grpc:
            self._ended = True
            self._reply = flow.passed(self._kind, release.body or b"")
        else:
            # Trailers cannot be added: a gRPC call that has its headers is reset, one that has none gets its status.
            detail = "The call was refused by a security policy."
            self._answer = problem(403, "request-refused", "Request refused", detail, self.call_id)
            self._refused(self._answer)

    def failed(self) -> None:
        """An error of ours at the message just received: the fail mode answers it, and the record says so."""
        self._uninspected.append("engine-error")
        self._answer = None
        self._reply = CONTINUE.get(self._kind)
        if self.fail_closed and not self.denied:
            self._answer = self._not_inspected()
        elif self._kind.endswith("body") and not self.passive:
            flow = self._flows.get(Phase.REQUEST if self._kind == "request_body" else Phase.RESPONSE)
            if flow is not None:
                self._reply = flow.give_up(self._kind)

    def _not_inspected(self) -> Answer:
        answer = problem(503, "not-inspected", "Service Unavailable", "The call could not be inspected.", self.call_id)
        self._refused(answer)
        return answer

    def _refused(self, answer: Answer) -> None:
        self.denied = True
        self._status = answer.status
        self._response_bytes = len(answer.body or b"")

    def reply(self) -> bytes | None:
        """The ProcessingResponse to the message just received; None when Envoy waits for none."""
        if self._observing:
            return None
        answer = self._answer
        if answer is not None and answer is not PASS:
            if answer.deny:
                return immediate(answer, self.call_id, grpc=self._grpc)
            self._reply = self._change(answer)
        if self._reply is not None and self._kind == "request_headers":
            # With the first reply, so that every line Envoy itself writes about the call can carry the id.
            return self._reply + event_metadata(self.call_id)
        return self._reply

    def _change(self, answer: Answer) -> bytes:
        if not answer.headers and not answer.remove_headers and answer.body is None:
            return self._reply or CONTINUE[self._kind]
        if self._kind.endswith("trailers"):
            self._uninspected.append("answer-too-late")
            return CONTINUE[self._kind]
        reply = continue_with(self._kind)
        common = getattr(reply, self._kind).response
        set_headers(common.header_mutation, answer.headers)
        common.header_mutation.remove_headers.extend(answer.remove_headers)
        if answer.body is not None and self._kind.endswith("body"):
            self._replace(common, answer.body)
        serialized: bytes = reply.SerializeToString()
        return serialized

    def _replace(self, common: Any, body: bytes) -> None:
        if body:
            common.body_mutation.body = body
        else:
            common.body_mutation.clear_body = True
        response = self._response_headers is not None
        if (self._response_length if response else self._content_length) >= 0:
            # Envoy answers 500 when the header does not fit the new body.
            set_headers(common.header_mutation, (("content-length", str(len(body))),))
        if response:
            self._response_bytes = len(body)

    # -- the end --------------------------------------------------------------------------------------------------

    def close(self) -> tuple[Ask, ...]:
        """The stream is over: a last thing to ask, when a response that was being observed broke off."""
        self._answer = None
        if self.denied or not self._observing or not self._request_done or self._response_headers is None:
            return ()
        self._kind = "response_body"
        return self._judge_response(self._cut_state())

    def completion(self, clock: float) -> Completion | None:
        """None when Envoy closed the stream before it said anything of a call."""
        if not self._started:
            return None
        status, response_bytes = self._status, self._response_bytes
        if not self._request_done:
            self._uninspected.append("request-incomplete")
        elif self._response_headers is not None and not self._response_done and not self.denied:
            # Envoy was holding this response for us when it broke: its status never reached the caller.
            self._uninspected.append("response-incomplete")
            status = response_bytes = 0
        asked, answered = self._request_copy, self._response_copy
        return Completion(
            id=self.call_id,
            service=self._service,
            time=self._time,
            method=self._method,
            path=self._path,
            authority=self._authority,
            status=status,
            request_bytes=self._request_bytes,
            response_bytes=response_bytes,
            duration_us=max(0, int((clock - self._clock) * 1e6)),
            peer_address=self._peer.address,
            uninspected=tuple(dict.fromkeys(self._uninspected)),
            request_copy=b"".join(asked.parts) if asked is not None else b"",
            request_copy_state=asked.state if asked is not None else BodyState.NONE,
            response_copy=b"".join(answered.parts) if answered is not None else b"",
            response_copy_state=answered.state if answered is not None else BodyState.NONE,
            grpc_status=self._grpc_status,
        )
