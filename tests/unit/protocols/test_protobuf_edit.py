"""Messages with some of their values replaced: the same as if it had been done through protobuf's own API."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from eastwall.protocols.protobuf_edit import rewritten

TEXTS = st.sampled_from(["4111111111111111", "anna@example.com", "plain", "", "ü\n\t", "x" * 200])
NUMBERS = st.sampled_from([0, 1, 300, 4_111_111, 2**31 - 1, -1])


@st.composite
def files(draw: st.DrawFn) -> FileDescriptorProto:
    """Real nested messages: descriptors of files are messages themselves."""
    made = FileDescriptorProto(name=draw(TEXTS), package=draw(TEXTS), dependency=draw(st.lists(TEXTS, max_size=3)))
    for _ in range(draw(st.integers(0, 3))):
        outer = made.message_type.add(name=draw(TEXTS))
        for _ in range(draw(st.integers(0, 2))):
            outer.field.add(name=draw(TEXTS), number=draw(NUMBERS), json_name=draw(TEXTS))
        outer.nested_type.add(name=draw(TEXTS)).options.deprecated = draw(st.booleans())
    return made


def by_hand(message: Message, texts: dict[str, str], numbers: dict[int, int]) -> None:
    """The twin: every field through the API."""

    def new(value: Any) -> Any:
        if isinstance(value, str):
            return texts.get(value, value)
        return numbers.get(value, value) if type(value) is int else value

    for field, value in message.ListFields():
        if field.type == FieldDescriptorProto.TYPE_MESSAGE:
            for one in value if field.is_repeated else [value]:
                by_hand(one, texts, numbers)
        elif field.is_repeated:
            getattr(message, field.name)[:] = [new(one) for one in value]
        elif field.type != FieldDescriptorProto.TYPE_ENUM:
            setattr(message, field.name, new(value))


@given(files(), st.booleans())
def test_as_if_by_hand(file: FileDescriptorProto, with_numbers: bool) -> None:
    texts = {"4111111111111111": "************1111", "anna@example.com": ""}
    numbers = {4_111_111: 0} if with_numbers else {}
    data = file.SerializeToString()
    found = rewritten(data, {old.encode(): new.encode() for old, new in texts.items()}, numbers)
    expected = FileDescriptorProto.FromString(data)
    by_hand(expected, texts, numbers)
    assert FileDescriptorProto.FromString(data if found is None else found) == expected


@given(st.binary(max_size=400), st.binary(min_size=1, max_size=4))
def test_any_bytes(data: bytes, text: bytes) -> None:
    found = rewritten(data, {text: b"?"}, {7: 0})
    assert found is None or found != data or text == b"?"


def test_what_is_no_message_is_left() -> None:
    blob = b"\x0a\x06" + b"\xff\xff41\xff\xff"
    assert rewritten(blob, {b"41": b"**"}, {}) is None


@pytest.mark.parametrize("depth", [10, 63, 64, 2_000])
def test_nested_deeply(depth: int) -> None:
    """Within the bound it is replaced, beyond it is left; never a stack that overflows."""
    data = b"\x0a\x044111"
    for _ in range(depth):
        size, head = len(data), bytearray(b"\x0a")
        while size > 0x7F:
            head.append(size & 0x7F | 0x80)
            size >>= 7
        data = bytes(head) + bytes([size]) + data
    assert (rewritten(data, {b"4111": b"****"}, {}) is not None) == (depth <= 64)
