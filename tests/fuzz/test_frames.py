"""Frames from a broken or hostile peer: they parse, or raise exactly FrameError."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from eastwall.dataplanes.envoy import frames
from eastwall.dataplanes.envoy.frames import FrameError
from eastwall.model.call import BodyState, Call, Completion, Peer, Request, Response
from eastwall.model.decision import Answer

DECODERS: tuple[Callable[[bytes], Any], ...] = (
    frames.parse_header,
    frames.decode_request,
    frames.decode_response,
    frames.decode_completed,
    frames.decode_verdict,
)
_CALL = Call("1" * 26, "s", 1.0, Peer("127.0.0.1", 1), Request("GET", "/", {"a": "b"}, "h", "http", b"body", BodyState.COMPLETE))
SEEDS = (
    frames.encode_request(1, _CALL),
    frames.encode_response(2, "1" * 26, Response(200, {"a": "b"}, b"body", BodyState.COMPLETE)),
    frames.encode_completed(Completion("1" * 26, "s", 1.0, "GET", "/", "h", 200, 1, 2, 3, "a", ("engine-lost",))),
    frames.encode_completed(
        Completion(
            "1" * 26,
            "s",
            1.0,
            "POST",
            "/a.B/C",
            "h",
            200,
            1,
            2,
            3,
            "a",
            (),
            b"asked",
            BodyState.COMPLETE,
            b"an",
            BodyState.TRUNCATED,
            5,
        )
    ),
    frames.encode_verdict(3, Answer(True, 403, (("a", "b"),), ("c",), b"no")),
    frames.encode_bare(frames.PING),
)


def decode_all(data: bytes) -> None:
    for decode in DECODERS:
        with contextlib.suppress(FrameError):
            decode(data)


@given(st.binary(max_size=300))
@example(b"")
@example(bytes(16))
@example(bytes(64))
@settings(max_examples=1000)
def test_noise(data: bytes) -> None:
    decode_all(data)


@given(
    st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6), st.integers(0, 10_000)
)
@settings(max_examples=1000)
def test_damage(seed: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    frame = bytearray(seed)
    for at, value in changes:
        frame[at % len(frame)] = value
    decode_all(bytes(frame))
    decode_all(bytes(frame[: cut % (len(frame) + 1)]))
