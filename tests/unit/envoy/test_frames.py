"""The frame codec by itself: round trips, and that bad bytes raise FrameError and nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eastwall.dataplanes.envoy import frames
from eastwall.dataplanes.envoy.frames import AnswerError, FrameError
from eastwall.model.call import BodyState, Call, Completion, Peer, Request, Response
from eastwall.model.decision import Answer

TEXT = st.text(st.characters(max_codepoint=255, exclude_characters="\0"), max_size=50)
LINE = st.text(st.characters(max_codepoint=255, exclude_characters="\0\r\n"), max_size=50)
SAN = st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20), max_size=3).map(tuple)
HEADERS = st.dictionaries(TEXT, TEXT, max_size=8)
CALLS = st.builds(
    lambda **fields: Call(**fields),  # the class itself has a forward reference that Hypothesis cannot resolve
    id=TEXT,
    service=TEXT,
    time=st.floats(0, 4e9),
    peer=st.builds(Peer, address=TEXT, port=st.integers(0, 65535), tls=st.booleans(), uri_sans=SAN, dns_sans=SAN, subject=TEXT),
    request=st.builds(
        Request,
        method=TEXT,
        path=TEXT,
        headers=HEADERS,
        authority=TEXT,
        scheme=TEXT,
        body=st.binary(max_size=200),
        body_state=st.sampled_from(BodyState),
    ),
    response=st.none(),
    prior=st.none(),
)
RESPONSES = st.builds(
    Response, status=st.integers(0, 65535), headers=HEADERS, body=st.binary(max_size=200), body_state=st.sampled_from(BodyState)
)
COUNT = st.integers(0, 2**64 - 1)
COMPLETIONS = st.builds(
    Completion,
    id=TEXT,
    service=TEXT,
    time=st.floats(0, 4e9),
    method=TEXT,
    path=TEXT,
    authority=TEXT,
    status=st.integers(0, 65535),
    request_bytes=COUNT,
    response_bytes=COUNT,
    duration_us=COUNT,
    peer_address=TEXT,
    uninspected=st.lists(st.sampled_from(frames.REASONS), max_size=4).map(tuple),
    request_copy=st.binary(max_size=200),
    request_copy_state=st.sampled_from((BodyState.COMPLETE, BodyState.TRUNCATED)),
    response_copy=st.binary(max_size=200),
    response_copy_state=st.sampled_from((BodyState.COMPLETE, BodyState.TRUNCATED)),
    grpc_status=st.integers(-1, 16),
)
ANSWERS = st.builds(
    Answer,
    deny=st.booleans(),
    status=st.integers(0, 65535),
    headers=st.lists(st.tuples(LINE, LINE), max_size=5).map(tuple),
    remove_headers=st.lists(LINE, max_size=5).map(tuple),
    body=st.none() | st.binary(max_size=200),
    want_response=st.integers(0, 255),
)


@given(CALLS, COUNT)
def test_request_round_trip(call: Call, wire: int) -> None:
    frame = frames.encode_request(wire, call)
    assert frames.parse_header(frame) == (len(frame), frames.REQUEST, frames.TLS * call.peer.tls, wire)
    assert frames.decode_request(frame) == call


@given(TEXT, RESPONSES, COUNT)
def test_response_round_trip(call_id: str, response: Response, wire: int) -> None:
    assert frames.decode_response(frames.encode_response(wire, call_id, response)) == (call_id, response)


@given(COMPLETIONS)
def test_completion_round_trip(completion: Completion) -> None:
    assert frames.decode_completed(frames.encode_completed(completion)) == completion


@given(ANSWERS, COUNT)
def test_verdict_round_trip(answer: Answer, wire: int) -> None:
    frame = frames.encode_verdict(wire, answer)
    assert frames.parse_header(frame)[3] == wire
    back = frames.decode_verdict(frame)
    if not (answer.deny or answer.headers or answer.remove_headers or answer.body is not None):
        assert back == Answer(want_response=answer.want_response)  # a pass has no status
    else:
        assert back == answer


def test_repeated_headers_are_joined_as_the_model_says() -> None:
    text = ["id", "s", "GET", "/", "a", "http", "127.0.0.1", "", "", ""]
    pairs = [("accept", "a"), ("cookie", "x=1"), ("accept", "b"), ("cookie", "y=2"), ("set-cookie", "p=1"), ("set-cookie", "q=2")]
    block = "".join(f"{field}\0" for field in text + [part for pair in pairs for part in pair]).encode()
    size = frames.FIXED["REQUEST"].size
    frame = (
        frames.FIXED["REQUEST"].pack(size + len(block), frames.VERSION, frames.REQUEST, 0, 1, 0.0, 1, 0, 0, len(block)) + block
    )
    assert frames.decode_request(frame).request.headers == {"accept": "a, b", "cookie": "x=1; y=2", "set-cookie": "p=1\nq=2"}


@pytest.mark.parametrize("text", ["a\0b", "a\nx-admin: yes", "a\rb"])
def test_an_answer_cannot_smuggle_a_header(text: str) -> None:
    for answer in (Answer(headers=(("x", text),)), Answer(headers=((text, "x"),)), Answer(remove_headers=(text,))):
        with pytest.raises(AnswerError, match="NUL or a line break"):
            frames.encode_verdict(1, answer)


def test_an_answer_too_large_for_a_frame_is_refused() -> None:
    with pytest.raises(AnswerError, match="more than a frame can hold"):
        frames.encode_verdict(1, Answer(body=bytes(frames.LIMIT)))


def test_header_values_outside_latin_1_go_as_utf_8() -> None:
    frame = frames.encode_verdict(1, Answer(headers=(("x-name", "Ωmega"),)))
    assert "Ωmega".encode() in frame


def test_another_version_is_named() -> None:
    frame = bytearray(frames.encode_bare(frames.PING))
    frame[4] = 9
    with pytest.raises(FrameError, match="frame version 9, this side speaks 3"):
        frames.parse_header(bytes(frame))


@pytest.mark.parametrize("length", [0, 15, frames.LIMIT + 1, 2**32 - 1])
def test_impossible_lengths(length: int) -> None:
    with pytest.raises(FrameError, match="out of range"):
        frames.parse_header(struct.pack("<IBBHQ", length, frames.VERSION, frames.PING, 0, 0))
