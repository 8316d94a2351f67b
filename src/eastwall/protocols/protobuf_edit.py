"""A Protocol Buffers message with some of its values replaced, every other byte as it was.

Works on the wire format alone, so no descriptor is needed: a text field is its bytes, whatever its name. A nested message is written anew
only where something in it was replaced; a length-delimited field that is no message is left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

VARINT, FIXED64, LENGTH, GROUP, END_GROUP, FIXED32 = range(6)
MAX_DEPTH = 64
_SIZES = {FIXED64: 8, FIXED32: 4}


class _NoMessage(Exception):
    """The bytes are no message."""


def rewritten(data: bytes, texts: Mapping[bytes, bytes], numbers: Mapping[int, int], depth: int = 0) -> bytes | None:
    """The message with every text field that is one of `texts`, and every integer that is one of `numbers`, replaced; None when there is
    none. Integers are those of the wire (two's complement of 64 bits). Linear in the size of the message, for each level of nesting."""
    if depth > MAX_DEPTH:
        return None
    try:
        return _rewritten(data, texts, numbers, depth)
    except (_NoMessage, IndexError):
        return None


def _rewritten(data: bytes, texts: Mapping[bytes, bytes], numbers: Mapping[int, int], depth: int) -> bytes | None:
    pieces: list[bytes] = []
    kept = at = 0
    groups = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        wire = tag & 7
        if tag >> 3 == 0:
            raise _NoMessage
        new: bytes | None = None
        if wire == VARINT:
            value, at = _varint(data, at)
            if value in numbers:
                new = _encoded(tag) + _encoded(numbers[value])
        elif wire == LENGTH:
            size, at = _varint(data, at)
            if size > len(data) - at:
                raise _NoMessage
            raw, at = data[at : at + size], at + size
            inner = _replaced(raw, texts, numbers, depth)
            if inner is not None:
                new = _encoded(tag) + _encoded(len(inner)) + inner
        elif wire == GROUP:
            groups += 1
        elif wire == END_GROUP:
            groups -= 1
        elif wire in _SIZES:
            at += _SIZES[wire]
        else:
            raise _NoMessage
        if at > len(data) or groups < 0:
            raise _NoMessage
        if new is not None:
            pieces += (data[kept:start], new)
            kept = at
    if groups:
        raise _NoMessage
    return b"".join((*pieces, data[kept:])) if pieces else None


def _replaced(raw: bytes, texts: Mapping[bytes, bytes], numbers: Mapping[int, int], depth: int) -> bytes | None:
    """What a length-delimited field becomes; None: it stays."""
    new = texts.get(raw)
    if new is not None:
        return new
    # Only a field that holds one of the values can have to change; most are left unread.
    if not numbers and not _holds(raw, texts):
        return None
    return rewritten(raw, texts, numbers, depth + 1)


def _holds(raw: bytes, texts: Collection[bytes]) -> bool:
    return any(text in raw for text in texts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift > 63:
            raise _NoMessage


def _encoded(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
