"""Messages by descriptors agree with protobuf's own JSON form; by the wire format they lose no text."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.protocols.grpc import methods_of
from eastwall.protocols.limits import DEFAULT, Limits
from eastwall.protocols.protobuf import Budget, Read, read
from eastwall.sources.proto_files import compile_proto

EVERYTHING = b"""
syntax = "proto3";
package test;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
service Test { rpc All(Everything) returns (Less); }
enum Colour { NONE = 0; RED = 1; BLUE = 2; }
message Everything {
  string text = 1; bytes data = 2; bool yes = 3; Colour colour = 4;
  int32 i32 = 5; int64 i64 = 6; uint32 u32 = 7; uint64 u64 = 8; sint32 s32 = 9; sint64 s64 = 10;
  fixed32 f32 = 11; fixed64 f64 = 12; sfixed32 sf32 = 13; sfixed64 sf64 = 14; double d = 15; float f = 16;
  repeated int32 numbers = 17; repeated string words = 18; repeated Everything inner = 19; Everything one = 20;
  map<string, Everything> named = 21; map<int32, string> numbered = 22;
  google.protobuf.Timestamp at = 23; google.protobuf.Duration took = 24; google.protobuf.Struct extra = 25;
  google.protobuf.Value value = 26; google.protobuf.StringValue maybe = 27; google.protobuf.Int64Value big = 28;
  google.protobuf.Any any = 29; oneof choice { string left = 30; int32 right = 31; } repeated Colour colours = 32;
}
message Less { string text = 1; }
"""


@cache
def everything() -> tuple[type[Message], type[Message]]:
    method = methods_of(compile_proto(EVERYTHING, "everything.proto"))["test.Test/All"]
    return method.request, method.response


def decoded(data: bytes, kind: type[Message] | None = None, limits: Limits = DEFAULT, *, whole: bool = True) -> Read:
    return read(data, kind, limits, Budget(limits), whole=whole)


TEXT = st.text(max_size=12)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXT,
    "data": st.binary(max_size=12),
    "yes": st.booleans(),
    "colour": st.integers(0, 3),
    "i32": st.integers(-(2**31), 2**31 - 1),
    "i64": st.integers(-(2**63), 2**63 - 1),
    "u32": st.integers(0, 2**32 - 1),
    "u64": st.integers(0, 2**64 - 1),
    "s32": st.integers(-(2**31), 2**31 - 1),
    "s64": st.integers(-(2**63), 2**63 - 1),
    "f32": st.integers(0, 2**32 - 1),
    "f64": st.integers(0, 2**64 - 1),
    "sf32": st.integers(-(2**31), 2**31 - 1),
    "sf64": st.integers(-(2**63), 2**63 - 1),
    "d": st.floats(),
    "numbers": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    "words": st.lists(TEXT, max_size=3),
    "left": TEXT,
    "colours": st.lists(st.integers(0, 3), max_size=3),
}


@st.composite
def messages(draw: st.DrawFn, depth: int = 2) -> Any:
    message: Any = everything()[0](**draw(st.fixed_dictionaries({}, optional=SCALARS)))
    if draw(st.booleans()):
        message.at.FromNanoseconds(draw(st.integers(-(10**18), 4 * 10**18)))
        message.took.FromNanoseconds(draw(st.integers(-(10**15), 10**15)))
        message.maybe.value = draw(TEXT)
        message.big.value = draw(st.integers(-(2**63), 2**63 - 1))
        message.extra.update(
            draw(st.dictionaries(TEXT, st.none() | st.booleans() | TEXT | st.lists(TEXT, max_size=2), max_size=2))
        )
    if depth:
        for inner in draw(st.lists(messages(depth - 1), max_size=2)):
            message.inner.add().CopyFrom(inner)
        if draw(st.booleans()):
            message.one.CopyFrom(draw(messages(depth - 1)))
            message.named[draw(TEXT)].CopyFrom(draw(messages(depth - 1)))
            message.numbered[draw(st.integers(-5, 5))] = draw(TEXT)
            message.any.Pack(draw(messages(0)))
    return message


def as_json(tree: Any, message: Message) -> Any:
    """Our tree as protobuf's JSON form would have it: 64-bit integers as text, bytes always in base64."""
    if type(tree) is not dict:
        return tree
    found: dict[str, Any] = {}
    for name, value in tree.items():
        field = message.DESCRIPTOR.fields_by_name[name]
        inner = getattr(message, name)
        if name in ("i64", "u64", "s64", "f64", "sf64", "big"):
            value = str(value)
        elif name == "data":
            assert value == base64.b64encode(inner).decode() or value == inner.decode("utf-8", "replace")
            value = base64.b64encode(inner).decode()
        elif name == "d" and isinstance(value, float) and value.is_integer() and math.isfinite(value):
            value = float(value)
        elif name == "one":
            value = as_json(value, inner)
        elif name == "inner":
            value = [as_json(item, m) for item, m in zip(value, inner, strict=True)]
        elif name == "named":
            value = {key: as_json(item, inner[key]) for key, item in value.items()}
        elif name == "any":
            unpacked = everything()[0]()
            inner.Unpack(unpacked)
            kind = value.pop("@type")
            value = {"@type": kind, **as_json(value, unpacked)}
        assert field is not None
        found[name] = value
    return found


@given(messages())
@settings(max_examples=60, deadline=None)
def test_by_descriptor_it_is_what_protobuf_itself_reads(message: Any) -> None:
    got = decoded(message.SerializeToString(), everything()[0])
    assert got.faults == ()
    assert not got.numbered
    wanted = json_format.MessageToDict(message, preserving_proto_field_name=True, descriptor_pool=message.DESCRIPTOR.file.pool)
    assert as_json(got.tree, message) == wanted


def test_unknown_fields_are_kept_by_number() -> None:
    message: Any = everything()[0](text="a", words=["hidden"], i64=7, f64=2**40, d=1.5, inner=[everything()[0](text="deep")])
    got = decoded(message.SerializeToString(), everything()[1])
    assert got.tree == {"text": "a", "#6": 7, "#12": 2**40, "#15": 1.5, "#18": "hidden", "#19": {"#1": "deep"}}


def test_what_is_not_of_the_declared_type_is_read_by_numbers_and_told() -> None:
    got = decoded(b"\x0a\x02\xff\xfe\x12\x03abc", everything()[1])  # no UTF-8 where the descriptor says text
    assert [fault.id for fault in got.faults] == ["bad-protobuf"]
    assert got.tree == {"#1": "//4=", "#2": "abc"}
    assert got.numbered


def texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from texts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from texts(value)


PLAIN = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=60)


@given(st.lists(PLAIN, min_size=1, max_size=6), st.integers(0, 4))
@settings(max_examples=200, deadline=None)
def test_without_descriptors_no_text_is_lost(words: list[str], depth: int) -> None:
    message: Any = everything()[0](words=words, text=words[0], i32=5)
    for _ in range(depth):
        message = everything()[0](one=message, i64=1)
    got = decoded(message.SerializeToString())
    assert got.faults == ()
    seen = "\n".join(texts(got.tree))
    assert all(word in seen for word in words)


@pytest.mark.parametrize(
    ("data", "tree"),
    [
        (b"", {}),
        (b"\x08\x96\x01", {"#1": 150}),
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", {"#1": -1}),
        (b"\x08\x01\x08\x02\x08\x03", {"#1": [1, 2, 3]}),
        (b"\x22\x06\x03\x8e\x02\x9e\xa7\x05", {"#4": [3, 270, 86942]}),  # packed, from the encoding guide
        (b"\x1a\x03\x08\x96\x01", {"#3": {"#1": 150}}),
        (b"\x0b\x10\x05\x0c", {"#1": {"#2": 5}}),  # a group
        (b"\x0a\x26\x0a\x243f2504e0-4f89-41d3-9a0c-0305e82c3301", {"#1": {"#1": "3f2504e0-4f89-41d3-9a0c-0305e82c3301"}}),
        (b"\x0a\x09\t' or 1=1", {"#1": "\t' or 1=1"}),  # could be a fixed64; then the text would be gone
        (b"\x09' or 1=1", {"#1": "' or 1=1"}),
        (b"\x09" + b"\x00\x00\x00\x00\x00\x00\xf8\x3f", {"#1": 1.5}),
        (b"\x0d\x07\x00\x00\x00", {"#1": 7}),
        (b"\x0a\x04\xde\xad\xbe\xef", {"#1": "3q2+7w=="}),
        (b"\x0a\x0c' or 1=1 --\xff", {"#1": "' or 1=1 --\ufffd"}),
        (b"\xfa\xff\xff\xff\x0f\x01a", {f"#{2**29 - 1}": "a"}),
    ],
)
def test_the_wire_format(data: bytes, tree: Any) -> None:
    got = decoded(data)
    assert (got.tree, got.faults) == (tree, ())


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",  # field 0
        b"\x0f",  # wire type 7
        b"\x0c",  # the end of no group
        b"\x0a\x05abc",  # longer than the message
        b"\x08",  # no value
        b"\x08" + b"\xff" * 10,  # a varint of eleven bytes
        b"\x0b\x08\x01",  # a group without its end
        b"\x0b\x14",  # another group's end
        b"\x09abc",
    ],
)
def test_what_is_no_message_is_told(data: bytes) -> None:
    got = decoded(b"\x12\x02ok" + data)
    assert [fault.id for fault in got.faults] == ["bad-protobuf"]
    assert got.tree == {"#2": "ok"}
    assert decoded(data).tree is None


def test_a_beginning_is_read_as_far_as_it_is_whole() -> None:
    message: Any = everything()[0](text="first", i64=9, words=["second", "x" * 100])
    data = message.SerializeToString()[:-50]
    assert decoded(data, everything()[0], whole=False) == Read({"text": "first", "i64": 9, "words": ["second"]})
    assert decoded(data, whole=False).tree == {"#1": "first", "#6": 9, "#18": "second"}
    assert decoded(data).faults[0].id == "bad-protobuf"


def test_limits_are_told_and_hide_no_text() -> None:
    few = Limits(max_values=5)
    message: Any = everything()[0](words=["a"] * 20 + ["attack"])
    for kind in (None, everything()[0]):
        got = decoded(message.SerializeToString(), kind, few)
        assert [fault.id for fault in got.faults] == ["too-many-values"]
        assert "attack" in got.tree
    deep: Any = everything()[0](text="attack")
    for _ in range(20):
        deep = everything()[0](one=deep)
    for kind in (None, everything()[0]):
        got = decoded(deep.SerializeToString(), kind, Limits(max_depth=8))
        assert "too-deep" in [fault.id for fault in got.faults]
        assert "attack" in "".join(texts(got.tree))


def _nested(levels: int, inside: bytes) -> bytes:
    for _ in range(levels):
        size = len(inside)
        length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 21])
        inside = b"\x0a" + length + inside
    return inside


@pytest.mark.parametrize(
    "data",
    [
        _nested(400, b"\x08\x01" * 400_000 + b"\x0f"),
        _nested(60, b"\x0a\x00" * 400_000),
        b"\x0b" * 1_000_000,
        b"\x0b" * 60 + b"\x08\x01" * 400_000,
        b"\x0a\x80\x80\x40" + b"\x81" * (1 << 20),
        b"\x0a\xff\x1f" + b"\x01" * 4095,
        b"\x0a\x80\x80\x40" + b"\n\x00" * (1 << 19),
        b"\x80" * 1_000_000,
        b"\x0a\x80\x80\x40" + b"a" * (1 << 20),
    ],
    ids=range(9),
)
def test_hostile_messages_of_a_megabyte_are_read_in_time(data: bytes) -> None:
    started = time.process_time()
    decoded(data)
    decoded(data, everything()[0])
    assert time.process_time() - started < 2.0


def test_a_real_message_of_another_schema() -> None:
    """A compiled file descriptor is a protobuf message itself, with nested messages, enumerations and packed numbers."""
    set_ = FileDescriptorSet.FromString(
        compile_proto((Path(__file__).parents[2] / "e2e/protos/shop.proto").read_bytes(), "shop.proto")
    )
    shop: FileDescriptorProto = next(file for file in set_.file if file.package == "shop.v1")
    tree = decoded(shop.SerializeToString()).tree
    assert tree["#1"] == "shop.proto"
    assert tree["#2"] == "shop.v1"
    assert [message["#1"] for message in tree["#4"]] == ["GetRequest", "Order", "Item", "Note"]
    assert [field["#1"] for field in tree["#4"][2]["#2"]] == ["sku", "quantity"]
    by_descriptor = decoded(shop.SerializeToString(), FileDescriptorProto).tree
    assert [method["name"] for method in by_descriptor["service"][0]["method"]] == ["Get", "Create", "Talk"]
    assert by_descriptor["enum_type"][0]["value"][1] == {"name": "STATE_PAID", "number": 1}
