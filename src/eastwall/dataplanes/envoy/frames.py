"""The frames between the shim (inside Envoy) and an engine process, over a Unix stream socket. Everything is little-endian.

This file describes the format for both sides: `shim/frame_constants.h` is generated from the tables below by
`python -m eastwall.dataplanes.envoy.frames`, and a test holds the two together.

A frame is a header, a fixed part by kind, a text block and, for some kinds, a body to the end of the frame. The text block is a
row of NUL-terminated fields (NUL cannot occur in HTTP; the shim replaces it elsewhere by U+001A), so that one decode and one
split read a whole header list. Text is latin-1: bytes in, the same bytes out.

Each decoder gets one whole frame and gives the value, or raises `FrameError` and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct as Layout
from struct import error as struct_error
from typing import Final

from eastwall.model.call import BodyState, Call, Completion, Peer, Phase, Request, Response
from eastwall.model.decision import Answer, Piece, Release

VERSION: Final = 3
"""Of the format. The two sides must agree; a peer of another version is disconnected with a logged line."""
LIMIT: Final = 64 << 20
"""Bytes of the longest frame."""
MAX_GRPC_STATUS: Final = 16
STREAM_COPY: Final = 64 << 10
"""Bytes of each message of a stream that are copied as they pass, at most (and at most the scope's `max_body`)."""

REQUEST: Final = 1
"""Shim to engine: a request to judge (or, with NO_REPLY, to learn from)."""
RESPONSE: Final = 2
"""Shim to engine: the response of a call whose request was sent on this connection."""
COMPLETED: Final = 3
"""Shim to engine, never answered: the call is over. Of a stream it brings what was copied of it."""
PING: Final = 4
"""Shim to engine: are you there. The first frame of a connection."""
VERDICT: Final = 5
"""Engine to shim: the answer to REQUEST or RESPONSE."""
PONG: Final = 6
"""Engine to shim: the answer to PING."""
FAILED: Final = 7
"""Engine to shim: the engine could not judge this message; the scope's fail mode applies."""
PIECE: Final = 8
"""Shim to engine: bytes of a stream that the shim holds (or, with NO_REPLY, that have passed)."""
RELEASE: Final = 9
"""Engine to shim: the answer to PIECE: how many of the held bytes go on, and as what."""

NO_REPLY: Final = 1
"""Flag of REQUEST and RESPONSE: nobody waits, do not answer."""
TLS: Final = 2
"""Flag of REQUEST: the caller's connection is TLS."""
DENY: Final = 1
"""Flag of VERDICT: answer the caller with what follows. Of RELEASE: the stream ends after what is let go."""
BODY: Final = 2
"""Flag of VERDICT: a body follows (an empty one counts). Of RELEASE: it goes in the place of the bytes that are let go."""
PART: Final = 4
"""Flag of RELEASE: an event was let go of which not all was looked at, because it is too large."""
END: Final = 1
"""Bit of PIECE: the message ends with these bytes."""

HEADER: Final = Layout("<IBBHQ")
"""Length of the whole frame, version, kind, flags, wire id (the shim's number of the exchange, echoed in the answer)."""
FIXED: Final = {
    # time (Unix seconds), peer port, body state, padding, length of the text block
    "REQUEST": Layout("<IBBHQdHBBI"),
    # status, body state, padding, length of the text block
    "RESPONSE": Layout("<IBBHQHBBI"),
    # time, request bytes, response bytes, duration (us), status, states of the copies of request and response, gRPC status + 1
    # (0: none), padding, length of the request's copy, length of the text block. Both copies follow as the body.
    "COMPLETED": Layout("<IBBHQdQQQHBBB3xII"),
    # status, want_response, padding, headers to set, header names to remove, length of the text block
    "VERDICT": Layout("<IBBHQHBBHHI"),
    # direction (Phase), END bit, padding, length of the text block: the call's id. The bytes follow as the body.
    "PIECE": Layout("<IBBHQBB2xI"),
    # bytes of the held ones that go on, trailers to send at the end (in the text block, as names and values), padding, text block
    "RELEASE": Layout("<IBBHQIH2xI"),
}
"""Header and fixed part of each kind that has one."""
KINDS: Final = {
    "REQUEST": 1,
    "RESPONSE": 2,
    "COMPLETED": 3,
    "PING": 4,
    "VERDICT": 5,
    "PONG": 6,
    "FAILED": 7,
    "PIECE": 8,
    "RELEASE": 9,
}
REQUEST_TEXT: Final = (
    "id",
    "service",
    "method",
    "path",
    "authority",
    "scheme",
    "peer_address",
    "uri_sans",
    "dns_sans",
    "subject",
)
"""Fields that open the text block of REQUEST; header names and values follow. The SAN lists are separated by newlines."""
COMPLETED_TEXT: Final = ("id", "service", "method", "path", "authority", "peer_address")
"""Fields that open the text block of COMPLETED; the reasons in `uninspected` follow."""
REASONS: Final = (
    "engine-unavailable",
    "engine-timeout",
    "engine-lost",
    "engine-overloaded",
    "engine-error",
    "request-body-truncated",
    "response-body-truncated",
    "request-streamed",
    "response-streamed",
    "response-released",
    "body-not-replaced",
    "request-event-too-large",
    "response-event-too-large",
)
"""Why a call, or a part of it, was not inspected. docs/dataplane.md explains each."""

_REQUEST = FIXED["REQUEST"]
_RESPONSE = FIXED["RESPONSE"]
_COMPLETED = FIXED["COMPLETED"]
_VERDICT = FIXED["VERDICT"]
_PIECE = FIXED["PIECE"]
_RELEASE = FIXED["RELEASE"]
_REQUEST_SIZE: Final = _REQUEST.size
_RESPONSE_SIZE: Final = _RESPONSE.size
_COMPLETED_SIZE: Final = _COMPLETED.size
_VERDICT_SIZE: Final = _VERDICT.size
_BODY_STATES: Final = tuple(BodyState)
_N: Final = len(REQUEST_TEXT)


class FrameError(ValueError):
    """The bytes are no frame of this version. The message says what is wrong with them."""


class AnswerError(ValueError):
    """This answer cannot be put into a frame."""


def parse_header(data: bytes, offset: int = 0) -> tuple[int, int, int, int]:
    """(length, kind, flags, wire id) of the frame at `offset`; at least `HEADER.size` bytes must be there."""
    try:
        length, version, kind, flags, wire = HEADER.unpack_from(data, offset)
    except struct_error as error:
        raise FrameError("frame header is cut short") from error
    if version != VERSION:
        raise FrameError(f"frame version {version}, this side speaks {VERSION}")
    if length < HEADER.size or length > LIMIT:
        raise FrameError(f"frame length {length} is out of range")
    return length, kind, flags, wire


def _join(names: Sequence[str], values: Sequence[str], cookies: str) -> dict[str, str]:
    """Headers with repeated fields (RFC 9110 5.3: joined by comma; `cookie` per RFC 9113 8.2.3; `set-cookie` by newline)."""
    headers: dict[str, str] = {}
    for name, value in zip(names, values, strict=True):
        before = headers.get(name)
        if before is None:
            headers[name] = value
        elif name == "cookie":
            headers[name] = f"{before}; {value}"
        else:
            headers[name] = f"{before}{cookies if name == 'set-cookie' else ', '}{value}"
    return headers


def decode_request(data: bytes) -> Call:
    """A REQUEST frame (its header already checked by `parse_header`)."""
    try:
        _, _, _, flags, _, time, port, state, _, size = _REQUEST.unpack_from(data)
        body_at = _REQUEST_SIZE + size
        body = data[body_at:]
        f = data[_REQUEST_SIZE:body_at].decode("latin-1").split("\0")
        body_state = _BODY_STATES[state]
    except struct_error as error:
        raise FrameError("request frame is cut short") from error
    except IndexError as error:
        raise FrameError(f"unknown body state {state}") from error
    count = len(f)
    if body_at > len(data) or count <= _N or not count & 1 or f[-1]:
        raise FrameError("text block of the request frame is malformed")
    headers = dict(zip(f[_N:-1:2], f[_N + 1 :: 2], strict=True))
    if len(headers) * 2 + _N + 1 != count:
        headers = _join(f[_N:-1:2], f[_N + 1 :: 2], "\n")
    uris, dns = f[7], f[8]
    peer = Peer(
        f[6],
        port,
        flags & 2 != 0,
        tuple(uris.split("\n")) if uris else (),
        tuple(dns.split("\n")) if dns else (),
        f[9],
    )
    return Call(f[0], f[1], time, peer, Request(f[2], f[3], headers, f[4], f[5], body, body_state))


def decode_response(data: bytes) -> tuple[str, Response]:
    """A RESPONSE frame: (event id, response)."""
    try:
        _, _, _, _, _, status, state, _, size = _RESPONSE.unpack_from(data)
        body_at = _RESPONSE_SIZE + size
        body = data[body_at:]
        f = data[_RESPONSE_SIZE:body_at].decode("latin-1").split("\0")
        body_state = _BODY_STATES[state]
    except struct_error as error:
        raise FrameError("response frame is cut short") from error
    except IndexError as error:
        raise FrameError(f"unknown body state {state}") from error
    count = len(f)
    if body_at > len(data) or count & 1 or f[-1]:
        raise FrameError("text block of the response frame is malformed")
    headers = dict(zip(f[1:-1:2], f[2::2], strict=True))
    if len(headers) * 2 + 2 != count:
        headers = _join(f[1:-1:2], f[2::2], "\n")
    return f[0], Response(status, headers, body, body_state)


def decode_completed(data: bytes) -> Completion:
    """A COMPLETED frame."""
    try:
        (_, _, _, _, _, time, sent, received, duration, status, asked, answered, grpc, copy, size) = _COMPLETED.unpack_from(data)
        body_at = _COMPLETED_SIZE + size
        states = _BODY_STATES[asked], _BODY_STATES[answered]
    except struct_error as error:
        raise FrameError("completed frame is cut short") from error
    except IndexError as error:
        raise FrameError(f"unknown body state {max(asked, answered)}") from error
    f = data[_COMPLETED_SIZE:body_at].decode("latin-1").split("\0")
    if body_at > len(data) or len(f) < len(COMPLETED_TEXT) + 1 or f[-1]:
        raise FrameError("text block of the completed frame is malformed")
    if body_at + copy > len(data):
        raise FrameError("copies of the completed frame are cut short")
    reasons = tuple(f[6:-1])
    if body_at == len(data) and not asked and not answered and not grpc:
        return Completion(f[0], f[1], time, f[2], f[3], f[4], status, sent, received, duration, f[5], reasons)
    return Completion(
        f[0],
        f[1],
        time,
        f[2],
        f[3],
        f[4],
        status,
        sent,
        received,
        duration,
        f[5],
        reasons,
        data[body_at : body_at + copy],
        states[0],
        data[body_at + copy :],
        states[1],
        grpc - 1 if grpc <= MAX_GRPC_STATUS + 1 else 255,
    )


def decode_piece(data: bytes, *, watched: bool = False) -> Piece:
    """A PIECE frame. `watched`: whether its NO_REPLY flag is set."""
    try:
        _, _, _, _, _, direction, bits, size = _PIECE.unpack_from(data)
        phase = Phase(direction)
    except struct_error as error:
        raise FrameError("piece frame is cut short") from error
    except ValueError as error:
        raise FrameError(f"unknown direction {direction}") from error
    body_at = _PIECE.size + size
    f = data[_PIECE.size : body_at].decode("latin-1").split("\0")
    if body_at > len(data) or len(f) != 2 or f[-1]:
        raise FrameError("text block of the piece frame is malformed")
    return Piece(f[0], phase, data[body_at:], bool(bits & END), watched)


_EMPTY_VERDICT: Final = _VERDICT.pack
_HEADER_PACK: Final = HEADER.pack


def _text(fields: Iterable[str]) -> bytes:
    text = "".join([f"{field}\0" for field in fields])
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def encode_verdict(wire: int, answer: Answer) -> bytes:
    """The VERDICT frame for the exchange `wire`. Raises `AnswerError` when it cannot be sent as it is."""
    body = answer.body
    if not answer.headers and not answer.remove_headers and body is None and not answer.deny:
        return _EMPTY_VERDICT(_VERDICT_SIZE, VERSION, VERDICT, 0, wire, 0, answer.want_response, 0, 0, 0, 0)
    text = _text([part for pair in answer.headers for part in pair] + list(answer.remove_headers))
    set_count, remove_count = len(answer.headers), len(answer.remove_headers)
    # A value with a separator in it would be read as another header: refuse rather than smuggle.
    if text.count(b"\0") != 2 * set_count + remove_count or b"\n" in text or b"\r" in text:
        raise AnswerError("a header of the answer holds a NUL or a line break")
    flags = (DENY if answer.deny else 0) | (BODY if body is not None else 0)
    length = _VERDICT_SIZE + len(text) + len(body or b"")
    if length > LIMIT:
        raise AnswerError(f"the answer has {length} bytes, more than a frame can hold")
    fixed = _VERDICT.pack(
        length, VERSION, VERDICT, flags, wire, answer.status, answer.want_response, 0, set_count, remove_count, len(text)
    )
    return fixed + text + (body or b"")


def encode_release(wire: int, release: Release) -> bytes:
    """The RELEASE frame for the exchange `wire`. Raises `AnswerError` when it cannot be sent as it is."""
    text = _text([part for pair in release.trailers for part in pair])
    if text.count(b"\0") != 2 * len(release.trailers) or b"\n" in text or b"\r" in text:
        raise AnswerError("a trailer of the release holds a NUL or a line break")
    body = release.body
    flags = (DENY if release.end else 0) | (BODY if body is not None else 0) | (PART if release.part else 0)
    length = _RELEASE.size + len(text) + len(body or b"")
    if length > LIMIT:
        raise AnswerError(f"the release has {length} bytes, more than a frame can hold")
    fixed = _RELEASE.pack(length, VERSION, RELEASE, flags, wire, release.consumed, len(release.trailers), len(text))
    return fixed + text + (body or b"")


def encode_bare(kind: int, wire: int = 0) -> bytes:
    """PING, PONG or FAILED: a header alone."""
    return _HEADER_PACK(HEADER.size, VERSION, kind, 0, wire)


def decode_verdict(data: bytes) -> Answer:
    """A VERDICT frame (for tests and tools; in production the shim reads it)."""
    try:
        _, _, _, flags, _, status, want, _, set_count, remove_count, size = _VERDICT.unpack_from(data)
    except struct_error as error:
        raise FrameError("verdict frame is cut short") from error
    body_at = _VERDICT_SIZE + size
    f = data[_VERDICT_SIZE:body_at].decode("latin-1").split("\0")
    if body_at > len(data) or len(f) != 2 * set_count + remove_count + 1 or f[-1]:
        raise FrameError("text block of the verdict frame is malformed")
    names = f[: 2 * set_count]
    return Answer(
        flags & DENY != 0,
        status,
        tuple(zip(names[::2], names[1::2], strict=True)),
        tuple(f[2 * set_count : -1]),
        data[body_at:] if flags & BODY else None,
        want,
    )


def decode_release(data: bytes) -> Release:
    """A RELEASE frame (for tests and tools; in production the shim reads it)."""
    try:
        _, _, _, flags, _, consumed, count, size = _RELEASE.unpack_from(data)
    except struct_error as error:
        raise FrameError("release frame is cut short") from error
    body_at = _RELEASE.size + size
    f = data[_RELEASE.size : body_at].decode("latin-1").split("\0")
    if body_at > len(data) or len(f) != 2 * count + 1 or f[-1]:
        raise FrameError("text block of the release frame is malformed")
    trailers = tuple(zip(f[:-1:2], f[1:-1:2], strict=True))
    return Release(consumed, data[body_at:] if flags & BODY else None, flags & DENY != 0, trailers, flags & PART != 0)


def encode_piece(wire: int, piece: Piece, flags: int = 0) -> bytes:
    """A PIECE frame (for tests and load generators; in production the shim makes it)."""
    text = _text([piece.call_id])
    bits = END if piece.end else 0
    fixed = _PIECE.pack(_PIECE.size + len(text) + len(piece.data), VERSION, PIECE, flags, wire, piece.phase, bits, len(text))
    return fixed + text + piece.data


def encode_request(wire: int, call: Call, flags: int = 0) -> bytes:
    """A REQUEST frame (for tests and load generators; in production the shim makes it)."""
    request, peer = call.request, call.peer
    text = _text(
        [call.id, call.service, request.method, request.path, request.authority, request.scheme]
        + [peer.address, "\n".join(peer.uri_sans), "\n".join(peer.dns_sans), peer.subject]
        + [part for pair in request.headers.items() for part in pair]
    )
    length = _REQUEST_SIZE + len(text) + len(request.body)
    flags |= TLS if peer.tls else 0
    fixed = _REQUEST.pack(length, VERSION, REQUEST, flags, wire, call.time, peer.port, request.body_state, 0, len(text))
    return fixed + text + request.body


def encode_response(wire: int, call_id: str, response: Response, flags: int = 0) -> bytes:
    """A RESPONSE frame (for tests and load generators)."""
    text = _text([call_id, *[part for pair in response.headers.items() for part in pair]])
    length = _RESPONSE_SIZE + len(text) + len(response.body)
    fixed = _RESPONSE.pack(length, VERSION, RESPONSE, flags, wire, response.status, response.body_state, 0, len(text))
    return fixed + text + response.body


def encode_completed(completion: Completion) -> bytes:
    """A COMPLETED frame (for tests and load generators)."""
    c = completion
    text = _text([c.id, c.service, c.method, c.path, c.authority, c.peer_address, *c.uninspected])
    fixed = _COMPLETED.pack(
        _COMPLETED_SIZE + len(text) + len(c.request_copy) + len(c.response_copy),
        VERSION,
        COMPLETED,
        0,
        0,
        c.time,
        c.request_bytes,
        c.response_bytes,
        c.duration_us,
        c.status,
        c.request_copy_state,
        c.response_copy_state,
        min(c.grpc_status + 1, 255),
        len(c.request_copy),
        len(text),
    )
    return fixed + text + c.request_copy + c.response_copy


def constants_header() -> str:
    """The text of `shim/frame_constants.h`."""
    lines = [
        "/* Generated by `python -m eastwall.dataplanes.envoy.frames`; do not edit. The format is described in frames.py. */",
        "#ifndef EW_FRAME_CONSTANTS_H",
        "#define EW_FRAME_CONSTANTS_H",
        "",
        f"#define EW_VERSION {VERSION}",
        f"#define EW_LIMIT {LIMIT}u",
        f"#define EW_STREAM_COPY {STREAM_COPY}u",
        f"#define EW_HEADER_SIZE {HEADER.size}",
    ]
    lines += [f"#define EW_{name} {number}" for name, number in KINDS.items()]
    lines += [f"#define EW_{name}_SIZE {layout.size}" for name, layout in FIXED.items()]
    lines += [
        f"#define EW_FLAG_NO_REPLY {NO_REPLY}",
        f"#define EW_FLAG_TLS {TLS}",
        f"#define EW_FLAG_DENY {DENY}",
        f"#define EW_FLAG_BODY {BODY}",
        f"#define EW_FLAG_PART {PART}",
        f"#define EW_PIECE_END {END}",
    ]
    lines += [f"#define EW_BODY_{state.name} {state.value}" for state in BodyState]
    lines += ["", "/* Why a call was not inspected; the texts travel in COMPLETED and label the counter. */", "enum ew_reason {"]
    lines += [f"  EW_{reason.upper().replace('-', '_')}," for reason in REASONS]
    lines += ["  EW_REASONS", "};", "#define EW_REASON_TEXTS \\"]
    lines += ["  {" + ", ".join(f'"{reason}"' for reason in REASONS) + "}", "", "#endif", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    from pathlib import Path

    target = Path(__file__).parent / "shim" / "frame_constants.h"
    target.write_text(constants_header())
    print(target)
