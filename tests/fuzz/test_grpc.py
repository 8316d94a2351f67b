"""Any bytes under a gRPC type give an Operation: nothing raises, and what was not read is told."""

from __future__ import annotations

import base64
import gzip
import time
import zlib
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from eastwall.learning.proto import declared_proto
from eastwall.model.call import BodyState, Request, Response
from eastwall.model.operation import Operation
from eastwall.protocols.grpc import Descriptors, compile_descriptors, decode_request, decode_response
from eastwall.protocols.limits import DEFAULT, Limits
from eastwall.sources.proto_files import compile_proto

SMALL = Limits(max_depth=4, max_values=20, max_decoded=500, max_query=3, max_segments=3)
TYPES = [
    "application/grpc",
    "application/grpc+proto",
    "application/grpc+json",
    "application/grpc-web",
    "application/grpc-web+proto",
]
TYPES += [
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
    "application/grpc; x=y",
    "application/GRPC",
    "text/html",
    "",
]


def frame(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


ORDER = (
    b"\x0a\x04o-17\x10\x01\x1a\x07\x0a\x03a-1\x10\x02\x22\x05\x0a\x01x\x10\x032\x0fbob@example.com9\x00\x00\x00\x00\x00\x00\x0c@"
)
SEEDS = [
    frame(ORDER),
    frame(ORDER) * 3,
    frame(gzip.compress(ORDER), 1),
    frame(zlib.compress(ORDER), 1) + frame(ORDER),
    frame(ORDER) + frame(b"grpc-status: 5\r\ngrpc-message: no\r\n", 0x80),
    base64.b64encode(frame(ORDER)) + base64.b64encode(frame(b"grpc-status:0\r\n", 0x80)),
    frame(b'{"order_id":"o-17"}'),
    frame(b"\x0b\x0b\x0c\x0c" + ORDER),
    frame(b"") * 100,
    b'{"not":"grpc"}',
]


@cache
def descriptor_set() -> bytes:
    return compile_proto((Path(__file__).parents[1] / "e2e/protos/shop.proto").read_bytes(), "shop.proto")


@cache
def descriptors() -> Descriptors:
    return compile_descriptors([("orders", descriptor_set())])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A seed with bytes changed, cut, doubled, or spliced with another."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            data[at : at + draw(st.integers(0, 5))] = draw(st.binary(max_size=5))
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = data[:at]
        else:
            data[at:at] = draw(st.sampled_from(SEEDS))
    return bytes(data[:20_000])


HEADERS = st.fixed_dictionaries(
    {"content-type": st.sampled_from(TYPES) | st.text(max_size=20)},
    optional={
        "grpc-encoding": st.sampled_from(["gzip", "deflate", "identity", "snappy", "br", "", "gzip,gzip"]),
        "content-encoding": st.sampled_from(["gzip", "identity", "x"]),
        "grpc-status": st.sampled_from(["0", "5", "99", "x", "-1", "\u0665", ""]),
    },
)
PATHS = st.sampled_from(
    ["/shop.v1.Orders/Get", "/shop.v1.Orders/Talk", "/", "", "/a/b/c/d", "/%ff/%00", "*", "/shop.v1.Orders/Create?x=y"]
)


def read(path: str, headers: dict[str, str], body: bytes, state: BodyState, known: Descriptors | None, limits: Limits) -> None:
    request = Request("POST", path, headers, body=body, body_state=state)
    for operation in (
        decode_request(request, limits, known),
        decode_response(Response(200, headers, body, state), request, limits, descriptors=known),
    ):
        assert isinstance(operation, Operation)
        assert operation.protocol == "grpc"
        assert operation.body_kind in ("none", "unread", "protobuf", "json", "text", "form", "multipart", "binary", "xml")
        if operation.body is None and body and state is BodyState.COMPLETE and operation.body_kind == "protobuf":
            # Nothing but trailers, or white space under base64; else something says why.
            assert operation.faults or not operation.raw_body or operation.raw_body[:1] == b"\x80"
        walk(operation.body)


def walk(tree: Any) -> None:
    """JSON's types only."""
    assert tree is None or type(tree) in (dict, list, str, int, float, bool)
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        walk(child)


@given(
    PATHS,
    HEADERS,
    st.binary(max_size=200) | mutated(),
    st.sampled_from([BodyState.COMPLETE, BodyState.TRUNCATED]),
    st.booleans(),
    st.sampled_from([DEFAULT, SMALL]),
)
@example("/shop.v1.Orders/Get", {"content-type": "application/grpc"}, b"", BodyState.COMPLETE, True, DEFAULT)
@example("/shop.v1.Orders/Get", {"content-type": "application/grpc"}, b"\0\xff\xff\xff\xff", BodyState.COMPLETE, True, DEFAULT)
@settings(max_examples=1500, deadline=None)
def test_any_bytes_give_an_operation(
    path: str, headers: dict[str, str], body: bytes, state: BodyState, known: bool, limits: Limits
) -> None:
    read(path, headers, body, state, descriptors() if known else None, limits)


def test_bombs_end_at_the_limit() -> None:
    zeros = frame(gzip.compress(b"\x0a\x80\x80\x80\x80\x01" + b"a" * 50_000_000), 1)
    many = frame(gzip.compress(b"\x12\x80\x80\x04" + b"b" * 65_536), 1) * 2000
    for body in (zeros, many):
        started = time.process_time()
        request = Request("POST", "/a.B/C", {"content-type": "application/grpc", "grpc-encoding": "gzip"}, body=body)
        operation = decode_request(request, DEFAULT)
        assert time.process_time() - started < 2.0
        assert len(operation.raw_body) <= DEFAULT.max_decoded + 65_536
        assert {"decompression-limit", "too-many-values"} & {fault.id for fault in operation.faults}


@given(st.binary(max_size=100) | st.tuples(st.integers(0, 500), st.binary(max_size=4), st.integers(0, 3000)))
@settings(max_examples=400, deadline=None)
def test_descriptor_sets_are_used_or_refused_in_one_line(damage: Any) -> None:
    data = damage
    if isinstance(damage, tuple):
        at, piece, cut = damage
        data = descriptor_set()[:cut] if cut < len(descriptor_set()) else descriptor_set()
        data = data[:at] + piece + data[at + len(piece) :]
    try:
        endpoints, given_back = declared_proto(data, "x.pb", "orders")
    except ValueError as error:
        text = str(error)
        assert "\n" not in text
        assert text.startswith("`x.pb`: ")
        assert len(text) < 600
    else:
        assert endpoints
        assert given_back == data
    compiled = compile_descriptors([("orders", data)])
    assert all("\n" not in fault for _, fault in compiled.faults)
