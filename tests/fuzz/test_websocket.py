"""WebSocket messages cut anywhere: what the `websockets` package writes is read, and what is written anew it reads."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol

from eastwall.protocols.streams import Event
from eastwall.protocols.websocket import WebSocketSplitter

PLAIN, KEEPS, FRESH = "", "permessage-deflate", "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def peer(side: object, extensions: str) -> Protocol:
    protocol = Protocol(side, max_size=None)  # type: ignore[arg-type]
    if extensions:
        fresh = extensions == FRESH
        protocol.extensions = [PerMessageDeflate(fresh, fresh, 15, 15)]
    return protocol


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from([Opcode.TEXT, Opcode.BINARY]),
        st.lists(st.text(max_size=30).map(str.encode), min_size=1, max_size=3),
        st.booleans(),
    ),
    max_size=6,
)


def written(sender: Protocol, messages: list[tuple[Opcode, list[bytes], bool]]) -> bytes:
    for opcode, parts, ping in messages:
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            sender.send_frame(Frame(Opcode.CONT if number else opcode, part, fin=last))
            if ping:
                sender.send_ping(b"p")
    return b"".join(sender.data_to_send())


def take(cutter: WebSocketSplitter, wire: bytes, cuts: list[int]) -> list[Event]:
    at = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    return [event for start, stop in pairwise(at) for event in cutter.take(wire[start:stop])]


def read(receiver: Protocol, wire: bytes) -> list[bytes]:
    receiver.receive_data(wire)
    found, parts = [], []
    for frame in receiver.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            continue
        parts.append(bytes(frame.data))
        if frame.fin:
            found.append(b"".join(parts))
            parts = []
    return found


@pytest.mark.parametrize("extensions", [PLAIN, KEEPS, FRESH])
@pytest.mark.parametrize("from_caller", [True, False])
@given(MESSAGES, st.lists(st.integers(0, 300), max_size=10), st.sets(st.integers(0, 5)))
@settings(max_examples=100, deadline=None)
def test_messages_are_read_and_changed(
    extensions: str, from_caller: bool, messages: list[tuple[Opcode, list[bytes], bool]], cuts: list[int], changed: set[int]
) -> None:
    sides = (CLIENT, SERVER) if from_caller else (SERVER, CLIENT)
    wire = written(peer(sides[0], extensions), messages)
    cutter = WebSocketSplitter(extensions, from_caller=from_caller)
    events = take(cutter, wire, cuts)
    assert cutter.held == 0
    assert sum(event.size for event in events) == len(wire)
    assert b"".join(event.wire for event in events) == wire
    sent = [b"".join(parts) for _, parts, _ in messages]
    assert [event.data for event in events if event.data] == [message for message in sent if message]
    goes_on, number, expected = [], 0, iter([message for message in sent if message])
    wanted = []
    for event in events:
        if not event.data:
            goes_on.append(event.wire)
            continue
        message = next(expected)
        if number in changed:
            new = cutter.change(event, b"changed")
            assert new is not None
            goes_on.append(new)
            wanted.append(b"changed")
        else:
            goes_on.append(cutter.keep(event))
            wanted.append(message)
        number += 1
    got = read(peer(sides[1], extensions), b"".join(goes_on))
    assert [message for message in got if message] == wanted


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8), st.sampled_from([PLAIN, KEEPS]), st.booleans())
@settings(max_examples=400, deadline=None)
def test_noise_loses_no_byte_and_never_raises(wire: bytes, cuts: list[int], extensions: str, skip: bool) -> None:
    cutter = WebSocketSplitter(extensions, from_caller=False, limit=10_000)
    events = take(cutter, wire, cuts)
    if skip and cutter.held:
        events.append(cutter.skip())
        events += cutter.take(wire)
        wire += wire
    events += cutter.take(b"", end=True)
    assert b"".join(event.wire for event in events) == wire
    for event in events:
        cutter.keep(event)


@pytest.mark.parametrize("extensions", [PLAIN, KEEPS])
def test_a_message_that_is_too_large_passes(extensions: str) -> None:
    sender = peer(SERVER, extensions)
    large = bytes(range(256)) * 40
    wire = written(sender, [(Opcode.BINARY, [large, large], True)])
    after = written(sender, [(Opcode.TEXT, [b"after"], False)])
    cutter = WebSocketSplitter(extensions, from_caller=False)
    assert [event for event in cutter.take(wire[:300]) if event.data] == []
    first = cutter.skip()
    assert not first.whole
    events = cutter.take(wire[300:]) + cutter.take(after)
    assert b"".join([first.wire, *[event.wire for event in events]]) == wire + after
    if extensions:  # its context is not known any more, and that is said
        assert [(event.data, event.whole) for event in events][-1] == (b"", False)
    else:
        assert first.data == large[: len(first.data)]
        assert [event.data for event in events if event.data] == [b"after"]


def test_a_bomb_is_not_unpacked() -> None:
    wire = written(peer(SERVER, KEEPS), [(Opcode.BINARY, [bytes(5_000_000)], False)])
    cutter = WebSocketSplitter(KEEPS, from_caller=False, limit=100_000)
    (event,) = cutter.take(wire)
    assert (event.data, event.whole) == (b"", False)


def test_the_refusal_is_a_close_frame() -> None:
    receiver = peer(CLIENT, PLAIN)
    receiver.receive_data(WebSocketSplitter(PLAIN, from_caller=True).refusal(b"{}")[0])
    assert receiver.close_rcvd is not None
    assert receiver.close_rcvd.code == 1008
