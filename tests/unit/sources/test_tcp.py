"""TCP reassembly, and HTTP on top of it, against what was sent: out of order, twice, overlapping, with holes."""

from __future__ import annotations

import io
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contracts import source_writers as writers

from eastwall.model.call import BodyState
from eastwall.sources import pcap
from eastwall.sources.observed import ObservedCall, Skipped
from eastwall.sources.packets import FIN, SYN, Segment
from eastwall.sources.tcp import Gap, Half

A, B = ("10.1.2.3", 4000), ("10.0.0.1", 80)


def segment(sequence: int, payload: bytes, flags: int = 16, missing: int = 0) -> Segment:
    return Segment(1.0, A, B, sequence % 2**32, flags, payload, missing)


@settings(max_examples=200, deadline=None)
@given(
    data=st.binary(min_size=1, max_size=500),
    start=st.sampled_from([0, 1000, 2**32 - 3, 2**32 - 200]),
    pieces=st.lists(st.tuples(st.integers(0, 499), st.integers(1, 60)), max_size=30),
    seed=st.integers(0, 10_000),
)
def test_any_order_and_overlap_gives_the_stream(data: bytes, start: int, pieces: list[tuple[int, int]], seed: int) -> None:
    shuffle = random.Random(seed)
    cuts = [(at, data[at : at + 40]) for at in range(0, len(data), 40)]
    cuts += [(at, data[at : at + size]) for at, size in pieces if at < len(data)]
    shuffle.shuffle(cuts)
    half = Half()
    told = list(half.feed(segment(start - 1, b"", SYN)))
    for at, piece in cuts:
        told += half.feed(segment(start + at, piece))
    told += half.feed(segment(start + len(data), b"", FIN))
    assert b"".join(piece for piece in told if isinstance(piece, bytes)) == data
    assert not any(isinstance(piece, Gap) for piece in told)
    assert half.ended


def test_what_never_comes_is_a_gap() -> None:
    half = Half()
    told = [*half.feed(segment(99, b"", SYN)), *half.feed(segment(100, b"ab")), *half.feed(segment(110, b"cd"))]
    assert told == [b"ab"]
    assert list(half.flush()) == [Gap(8), b"cd"]
    half = Half()
    told = [*half.feed(segment(99, b"", SYN))]
    for number in range(300):
        told += half.feed(segment(101 + 2 * number, b"xy"))
    assert told[0] == Gap(1)
    assert len(told) > 250
    half = Half()
    assert list(half.feed(segment(5, b"abc", missing=7))) == [b"abc", Gap(7)]
    assert list(half.feed(segment(15, b"d"))) == [b"d"]


def packets(*parts: tuple[bool, int, bytes]) -> bytes:
    """A capture of (from the client, offset, payload)."""
    out = [writers.PCAP_HEAD, writers.packet(1e9, A, B, 99, 2), writers.packet(1e9, B, A, 199, 18)]
    for number, (client, offset, payload) in enumerate(parts):
        source, target, base = (A, B, 100) if client else (B, A, 200)
        out.append(writers.packet(1e9 + number, source, target, base + offset, 24, payload))
    return b"".join(out)


def calls(data: bytes) -> tuple[list[ObservedCall], Skipped]:
    skipped = Skipped()
    return list(pcap.read(io.BytesIO(data), "in", skipped=skipped)), skipped


def test_pipelining_head_interim_answers_and_bodies_until_the_end() -> None:
    asked = b"HEAD /a HTTP/1.1\r\nHost: s\r\n\r\nPOST /b HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /c HTTP/1.1\r\nHost: s\r\n\r\n"
    answered = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"
    answered += b"HTTP/1.1 200 OK\r\n\r\nuntil the end"
    data = packets((True, 0, asked), (False, 0, answered))
    data += writers.packet(1e9, A, B, 100 + len(asked), 17) + writers.packet(1e9, B, A, 200 + len(answered), 17)
    found, skipped = calls(data)
    assert [(c.method, c.url, c.status, c.request_body, c.response_body) for c in found] == [
        ("HEAD", "http://s/a", 200, b"", b""),
        ("POST", "http://s/b", 201, b"abc", b"ok"),
        ("GET", "http://s/c", 200, b"", b"until the end"),
    ]
    assert not skipped.counts


def test_a_hole_in_a_body_cuts_it_and_keeps_the_rest() -> None:
    asked = b"GET /a HTTP/1.1\r\nHost: s\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n"
    second = len(head) + 3000
    data = packets(
        (True, 0, asked),
        (False, 0, head + b"x" * 1000),
        (False, len(head) + 2000, b"z" * 1000),  # a thousand bytes never came
        (True, len(asked), asked),
        (False, second, b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
    )
    found, skipped = calls(data)
    assert [(c.status, len(c.response_body), c.response_body_state) for c in found] == [
        (200, 1000, BodyState.TRUNCATED),
        (404, 0, BodyState.NONE),
    ]
    assert skipped.counts == {"tcp-gap": 1}


def test_a_hole_in_a_head_loses_that_call_alone() -> None:
    asked = b"GET /a HTTP/1.1\r\nHost: s\r\n\r\n"
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    data = packets((True, 0, asked), (False, 0, good[:10]), *[(False, 30 + 50 * n, good) for n in range(300)])
    found, skipped = calls(data)
    assert [(c.url, c.status) for c in found] == [("http://s/a", None)]
    assert skipped.counts["tcp-gap"] > 0


def test_a_capture_that_begins_in_the_middle() -> None:
    asked, answered = writers.messages(writers.Made("GET", "/a", 200, "s", "x", b"", b"body", 0))
    whole = packets((False, 0, b"rest of an answer"), (True, 0, asked), (False, 17, answered))
    middle = writers.PCAP_HEAD + whole[len(writers.PCAP_HEAD) + 2 * 56 :]
    found, _ = calls(middle)
    assert [(c.url, c.status, c.peer_address) for c in found] == [("http://s/a", 200, "10.1.2.3")]


def test_other_protocols_are_counted() -> None:
    found, skipped = calls(packets((True, 0, b"SSH-2.0-OpenSSH_9.6\r\n" * 3), (False, 0, b"SSH-2.0-x\r\n")))
    assert not found
    assert skipped.counts == {"not-http": 1}


def test_open_connections_are_bounded() -> None:
    asked = b"GET /a HTTP/1.1\r\nHost: s\r\n\r\n"
    old = pcap.MAX_CONNECTIONS
    pcap.MAX_CONNECTIONS = 10
    try:
        data = writers.PCAP_HEAD + b"".join(writers.packet(1e9, ("10.0.0.2", 1000 + n), B, 100, 24, asked) for n in range(30))
        found, skipped = calls(data)
    finally:
        pcap.MAX_CONNECTIONS = old
    assert [c.status for c in found] == [None] * 30
    assert skipped.counts == {"connection-given-up": 20}
