"""Streams cut anywhere give the same events, lose no byte, and never raise."""

from __future__ import annotations

import base64
import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.protocols.streams import Event, Splitter, splitter

KINDS = (
    "text/event-stream",
    "application/x-ndjson; charset=utf-8",
    "application/json-seq",
    "application/grpc+proto",
    "application/grpc-web+proto",
    "application/grpc-web-text+proto",
)


def fed(kind: str, stream: bytes, cuts: list[int]) -> list[Event]:
    cutter = splitter(kind)
    assert cutter is not None
    at = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    events: list[Event] = []
    for start, stop in pairwise(at):
        events += cutter.take(stream[start:stop])
    return events + cutter.take(b"", end=True)


@pytest.mark.parametrize("kind", KINDS)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=12))
@settings(max_examples=300, deadline=None)
def test_no_byte_is_lost_whatever_comes(kind: str, stream: bytes, cuts: list[int]) -> None:
    events = fed(kind, stream, cuts)
    assert sum(event.size for event in events) == len(stream)
    if "text" not in kind or kind.startswith("text/"):
        assert b"".join(event.wire for event in events) == stream


SSE = st.lists(
    st.sampled_from(
        [
            b"data: a",
            b"data:b",
            b"data",
            b": note",
            b"id: 7",
            b"event: x",
            b"",
            b'data: {"n":1}',
            "data: \u20ac".encode(),
            b"retry: 1",
        ]
    ),
    max_size=20,
)


def dispatched(stream: bytes) -> list[bytes]:
    """The data of the events as the standard's algorithm gives them (WHATWG HTML, 9.2.6), a last unfinished one included."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found, data = [], None
    for line in [*text.split(b"\n"), b""]:
        if not line:
            if data is not None:
                found.append(data)
            data = None
            continue
        field, _, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            data = value if data is None else data + b"\n" + value
    return found


@given(
    SSE,
    st.lists(st.sampled_from([b"\n", b"\r", b"\r\n"]), min_size=21, max_size=21),
    st.lists(st.integers(0, 200), max_size=12),
    st.booleans(),
)
@settings(max_examples=500, deadline=None)
def test_events_are_those_of_the_standard(lines: list[bytes], ends: list[bytes], cuts: list[int], bom: bool) -> None:
    stream = (b"\xef\xbb\xbf" if bom else b"") + b"".join(line + end for line, end in zip(lines, ends, strict=False))
    assert [event.data for event in fed("text/event-stream", stream, cuts) if event.data] == [
        data for data in dispatched(stream) if data
    ]


@given(SSE, st.sampled_from([b"\n", b"\r", b"\r\n"]), st.binary(min_size=1, max_size=30))
@settings(max_examples=300, deadline=None)
def test_changed_data_is_what_a_reader_gets(lines: list[bytes], end: bytes, new: bytes) -> None:
    cutter = splitter("text/event-stream")
    assert cutter is not None
    for event in cutter.take(end.join([*lines, b"data: old", b"", b""]), end=True):
        if event.data:
            changed = cutter.change(event, new)
            assert changed is not None
            assert dispatched(changed) == [new.replace(b"\r\n", b"\n").replace(b"\r", b"\n")]


MESSAGES = st.lists(st.tuples(st.integers(0, 1), st.binary(max_size=40)), max_size=8)


@pytest.mark.parametrize("kind", KINDS[3:])
@given(MESSAGES, st.lists(st.integers(0, 400), max_size=12), st.data())
@settings(max_examples=200, deadline=None)
def test_messages_come_whole(kind: str, messages: list[tuple[int, bytes]], cuts: list[int], data: st.DataObject) -> None:
    frames = [bytes([flag]) + len(message).to_bytes(4, "big") + message for flag, message in messages]
    stream = b"".join(frames)
    if kind == "application/grpc-web-text+proto":
        if data.draw(st.booleans()):  # one text, or a padded one per message
            stream = base64.b64encode(stream)
        else:
            stream = b"".join(map(base64.b64encode, frames))
    events = fed(kind, stream, cuts)
    assert [event.data for event in events if event.data] == frames
    assert sum(event.size for event in events) == len(stream)


@pytest.mark.parametrize(("kind", "event"), [(KINDS[0], b"data: %b\n\n"), (KINDS[1], b"%b\n"), (KINDS[2], b"\x1e%b\n")])
def test_what_is_too_large_passes_and_the_next_is_seen(kind: str, event: bytes) -> None:
    cutter = splitter(kind)
    assert cutter is not None
    large = event % (b'"' + b"x" * 1000 + b'"')
    assert cutter.take(large[:500]) == []
    assert cutter.held == 500
    first = cutter.skip()
    assert (first.size, first.whole, cutter.held) == (500, False, 0)
    assert first.data.startswith(b'"xxx')
    events = cutter.take(large[500:800]) + cutter.take(large[800:] + event % b'"next"') + cutter.take(b"", end=True)
    assert b"".join(e.wire for e in events) == large[500:] + event % b'"next"'
    assert [e.data for e in events if e.data] == [b'"next"']


def test_a_large_grpc_message_passes_and_the_next_is_seen() -> None:
    cutter = splitter("application/grpc")
    assert cutter is not None
    large, small = b"\0" + (1000).to_bytes(4, "big") + b"x" * 1000, b"\0\0\0\0\1y"
    assert cutter.take(large[:500]) == []
    assert cutter.skip().data == large[:500]
    events = cutter.take(large[500:] + small)
    assert [e.data for e in events] == [b"", small]


@pytest.mark.parametrize("kind", KINDS)
def test_the_refusal_is_an_event_of_the_stream(kind: str) -> None:
    cutter = splitter(kind)
    assert cutter is not None
    problem = json.dumps({"status": 403}).encode()
    wire, trailers = cutter.refusal(problem)
    if "grpc" not in kind:
        assert [event.data for event in fed(kind, wire, [])] == [problem]
    elif trailers:
        assert dict(trailers)["grpc-status"] == "7"
    else:
        block = base64.b64decode(wire) if "text" in kind else wire
        assert block[0] == 0x80
        assert b"grpc-status: 7\r\n" in block[5:]
        assert int.from_bytes(block[1:5], "big") == len(block) - 5


def drip(kind: str, size: int) -> Splitter:
    cutter = splitter(kind)
    assert cutter is not None
    for _ in range(size):
        cutter.take(b"d")
    return cutter


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_byte_at_a_time_is_linear(kind: str) -> None:
    import time

    def cost(size: int) -> float:
        started = time.process_time()
        drip(kind, size)
        return time.process_time() - started

    cost(20_000)
    assert min(cost(80_000) for _ in range(3)) < 8 * min(cost(20_000) for _ in range(3))
