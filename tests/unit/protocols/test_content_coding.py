"""Content-codings: round trips, lies, bombs."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from eastwall.protocols.coding import decode
from eastwall.protocols.limits import Limits

LIMITS = Limits()


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


@given(st.binary(max_size=2000), st.lists(st.sampled_from(sorted(ENCODERS)), max_size=3))
def test_stacks_of_codings_come_undone(data: bytes, names: list[str]) -> None:
    body = data
    for name in names:
        body = ENCODERS[name](body)
    result = decode(body, ", ".join(names), LIMITS)
    assert result.data == data
    assert result.faults == ()
    assert result.complete
    assert result.readable


def test_other_lawful_forms() -> None:
    data = b"abc" * 1000
    assert decode(raw_deflate(data), "deflate", LIMITS).data == data
    assert decode(gzip.compress(data) + gzip.compress(b"tail"), "gzip", LIMITS).data == data + b"tail"
    assert decode(zstandard.compress(data) + zstandard.compress(b"tail"), "zstd", LIMITS).data == data + b"tail"
    assert decode(gzip.compress(data), "identity, GZIP", LIMITS).data == data


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_a_bomb_stops_at_the_limit(name: str) -> None:
    body = ENCODERS[name](bytes(40_000_000))
    limits = Limits(max_ratio=100_000_000)
    tracemalloc.start()
    result = decode(body, name, limits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [fault.id for fault in result.faults] == ["decompression-limit"]
    assert len(result.data) == limits.max_decoded
    assert not result.complete
    assert peak < 3 * limits.max_decoded


def test_a_bomb_stops_at_the_ratio_but_a_small_body_may_be_dense() -> None:
    assert decode(gzip.compress(bytes(60_000)), "gzip", LIMITS).faults == ()
    body = gzip.compress(bytes(8_000_000))
    result = decode(body, "gzip", LIMITS)
    assert [fault.id for fault in result.faults] == ["decompression-limit"]
    assert len(result.data) == max(65_536, LIMITS.max_ratio * len(body))


def test_a_bomb_in_a_bomb() -> None:
    body = gzip.compress(gzip.compress(bytes(50_000_000)))
    result = decode(body, "gzip, gzip", LIMITS)
    assert "decompression-limit" in [fault.id for fault in result.faults]
    assert len(result.data) <= LIMITS.max_decoded
    assert decode(b"x", ",".join(["gzip"] * 1000), LIMITS).faults[0].id == "unknown-encoding"


def test_a_zstd_frame_with_a_giant_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, compression_level=1)
    body = zstandard.ZstdCompressor(compression_params=parameters).compress(bytes(130_000_000))
    result = decode(body, "zstd", LIMITS)
    assert not result.readable
    assert [fault.id for fault in result.faults] == ["unknown-encoding"]


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_a_lie_is_told(name: str) -> None:
    result = decode(b'{"plain":"json"}', name, LIMITS)
    assert not result.readable
    assert result.data == b'{"plain":"json"}'
    assert [fault.id for fault in result.faults] == ["unknown-encoding"]


@pytest.mark.parametrize("name", ["gzip", "deflate", "br"])
def test_an_early_end_is_a_fault_unless_the_data_plane_cut_it(name: str) -> None:
    text = "".join(f"{i * i * 7919 % 100_003:x} " for i in range(40_000)).encode()
    body = ENCODERS[name](text)
    cut = body[: len(body) // 2]
    assert [fault.id for fault in decode(cut, name, LIMITS).faults] == ["unknown-encoding"]
    tolerated = decode(cut, name, LIMITS, truncated=True)
    assert tolerated.faults == ()
    assert not tolerated.complete
    assert text.startswith(tolerated.data)


def test_an_unknown_coding_is_told() -> None:
    result = decode(b"x", "compress", LIMITS)
    assert (result.faults[0].id, result.faults[0].detail) == ("unknown-encoding", "`compress`")
