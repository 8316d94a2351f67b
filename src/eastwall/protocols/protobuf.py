"""Protocol Buffers messages as trees: by their descriptors, or, without any, by what the wire format alone tells.

With descriptors the runtime of the services themselves (upb) reads the bytes, so what is judged is what a server sees: of a
repeated singular field the last one, merged submessages, unknown fields apart. Without them numbers stand for names (`#1`; plain
digits would look like the keys of a map), and types are guessed: see `_Wire.guess`. What a guess cannot know is written there, too.

Invariant, fuzzed: any bytes give a tree or a fault, in time linear in them, with at most `Limits.max_values` values.
Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from struct import Struct as Layout
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from msgspec import Struct

from eastwall.model.operation import ParserFault
from eastwall.protocols.limits import Limits

VARINT, FIXED64, LENGTH, GROUP, END_GROUP, FIXED32 = range(6)
_MAX_NUMBER = (1 << 29) - 1
_NAMES = tuple(f"#{number}" for number in range(256))
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_GRAPHIC = re.compile(rb"[\x20-\x7e]{8}", re.DOTALL)
_GRAPHIC_BYTES = bytes(range(0x20, 0x7F))
_MAX_INTEGERS = 4096
"""Bytes of the longest field that is taken for packed integers: longer ones are blobs far more often."""
_DOUBLE, _FLOAT = Layout("<d"), Layout("<f")


class Read(Struct, frozen=True):
    """What came of the bytes of one message."""

    tree: Any
    """Field name (or `#number`) -> value; text when there was too much of it; None when nothing could be read."""
    faults: tuple[ParserFault, ...] = ()
    numbered: bool = False
    """The tree, or all but its unknown fields, was read without a descriptor."""


class _BadWireError(Exception):
    """The bytes are no message."""


class Budget:
    """Values that may still be read; shared by the messages of a body."""

    __slots__ = ("deep", "left")

    def __init__(self, limits: Limits) -> None:
        self.left = limits.max_values
        self.deep = False
        """Something was nested deeper than is read."""

    def take(self, count: int = 1) -> None:
        self.left -= count
        if self.left < 0:
            raise _SpentError

    def faults(self) -> tuple[ParserFault, ...]:
        return (ParserFault("too-deep", "body", "nested messages handed over as text"),) if self.deep else ()


class _SpentError(Exception):
    """`Budget.left` is used up."""


def read(data: bytes, kind: type[Message] | None, limits: Limits, budget: Budget, *, whole: bool = True) -> Read:
    """One message. `kind`: its generated class, None when its type is not known. `whole` false: `data` is a beginning; the
    fields that are in it whole are read, without a fault. Never raises."""
    faults: list[ParserFault] = []
    wire = _Wire(limits.max_depth, budget)
    if not whole:
        data = data[: wire.whole_fields(data)]
    try:
        if kind is not None:
            try:
                message = kind.FromString(data)
            except DecodeError:
                # Not what the descriptor says: a newer schema, another one, or bytes meant to be read differently.
                faults.append(ParserFault("bad-protobuf", "body", f"no {kind.DESCRIPTOR.full_name[:100]}"))
            else:
                return Read(_tree(message, wire, 0), budget.faults())
        tree, read_to = wire.message(data, 0)
        if read_to != len(data):
            faults.append(ParserFault("bad-protobuf", "body", f"no field at byte {read_to}"))
    except _SpentError:
        faults.append(ParserFault("too-many-values", "body", f"more than {limits.max_values} values, handed over as text"))
        return Read(data.decode("utf-8", "replace"), tuple(faults), numbered=True)
    return Read(tree if read_to == len(data) or tree else None, (*faults, *budget.faults()), numbered=True)


# -- by descriptor ------------------------------------------------------------------------------------------------------------


def _tree(message: Message, wire: _Wire, depth: int) -> Any:
    """A parsed message, fields by their names as in the .proto file."""
    descriptor = message.DESCRIPTOR
    special = _WELL_KNOWN.get(descriptor.full_name) if descriptor.full_name.startswith("google.protobuf.") else None
    if special is not None:
        return special(message, wire, depth)
    if depth >= wire.max_depth:
        wire.budget.deep = True
        return message.SerializeToString().decode("utf-8", "replace")
    tree: dict[str, Any] = {}
    for field, value in message.ListFields():
        wire.budget.take()
        if field.is_repeated:
            tree[field.name] = _repeated(field, value, wire, depth)
        else:
            tree[field.name] = _single(field, value, wire, depth)
    unknown: Any = UnknownFieldSet(message)
    if len(unknown):
        wire.budget.take(len(unknown))
        wire.put(tree, [(item.field_number, item.wire_type, item.data) for item in unknown], depth)
    return tree


def _repeated(field: Any, values: Any, wire: _Wire, depth: int) -> Any:
    wire.budget.take(len(values))
    if hasattr(values, "GetEntryClass"):  # a map; cheaper than to ask the descriptor's options
        item = field.message_type.fields_by_name["value"]
        return {str(key): _single(item, value, wire, depth) for key, value in values.items()}
    return [_single(field, value, wire, depth) for value in values]


def _single(field: Any, value: Any, wire: _Wire, depth: int) -> Any:
    kind = field.type
    if kind in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP):
        return _tree(value, wire, depth + 1)
    if kind == FieldDescriptor.TYPE_ENUM:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    if kind == FieldDescriptor.TYPE_BYTES:
        return shown(value)
    if kind in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return _number(value)
    return value


def _number(value: float) -> float | str:
    """As in protobuf's JSON form: what JSON has no number for is a word."""
    if value != value:
        return "NaN"
    return value if value not in (float("inf"), float("-inf")) else "Infinity" if value > 0 else "-Infinity"


def shown(data: bytes) -> str:
    """Bytes as text: themselves where they are readable, or nearly (nothing may hide behind one odd byte), else base64, as in protobuf's
    JSON form."""
    try:
        text = data.decode()
        if not _CONTROL.search(text):
            return text
    except UnicodeDecodeError:
        pass
    if len(data.translate(None, _GRAPHIC_BYTES)) * 4 <= len(data):
        return data.decode("utf-8", "replace")
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _any(message: Any, wire: _Wire, depth: int) -> Any:
    """google.protobuf.Any: read as what it names, where that is known."""
    wire.budget.take(2)
    if depth >= wire.max_depth:
        wire.budget.deep = True
        return message.value.decode("utf-8", "replace")
    inner: Any = None
    try:
        known: Descriptor = message.DESCRIPTOR.file.pool.FindMessageTypeByName(message.type_url.rpartition("/")[2])
        inner = _tree(_class_of(known).FromString(message.value), wire, depth + 1)
    except (KeyError, DecodeError):
        inner = wire.guess(message.value, depth + 1)
    if type(inner) is dict:
        return {"@type": message.type_url, **inner}
    return {"@type": message.type_url, "value": inner}


def _class_of(descriptor: Descriptor) -> type[Message]:
    from google.protobuf.message_factory import GetMessageClass

    found: type[Message] = GetMessageClass(descriptor)
    return found


def _value(message: Any, wire: _Wire, depth: int) -> Any:
    """google.protobuf.Value: any JSON value."""
    wire.budget.take()
    which = message.WhichOneof("kind")
    if which is None or which == "null_value":
        return None
    if which == "number_value":
        number = message.number_value
        return int(number) if number == number and abs(number) < 2**53 and number == int(number) else _number(number)
    if which == "struct_value":
        return _struct(message.struct_value, wire, depth + 1)
    if which == "list_value":
        return _list(message.list_value, wire, depth + 1)
    return getattr(message, which)


def _struct(message: Any, wire: _Wire, depth: int) -> Any:
    if depth >= wire.max_depth:
        wire.budget.deep = True
        return message.SerializeToString().decode("utf-8", "replace")
    return {key: _value(value, wire, depth) for key, value in message.fields.items()}


def _list(message: Any, wire: _Wire, depth: int) -> Any:
    if depth >= wire.max_depth:
        wire.budget.deep = True
        return message.SerializeToString().decode("utf-8", "replace")
    return [_value(value, wire, depth) for value in message.values]


def _stamp(message: Any, wire: _Wire, depth: int) -> Any:
    """google.protobuf.Timestamp and Duration: RFC 3339 text and `1.5s`; out of range, the numbers."""
    try:
        text: str = message.ToJsonString()
    except ValueError:
        return {"seconds": message.seconds, "nanos": message.nanos}
    return text


def _wrapped(message: Any, wire: _Wire, depth: int) -> Any:
    return _single(message.DESCRIPTOR.fields_by_name["value"], message.value, wire, depth)


_WELL_KNOWN: dict[str, Callable[[Any, _Wire, int], Any]] = {
    "google.protobuf.Any": _any,
    "google.protobuf.Value": _value,
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _list,
    "google.protobuf.Timestamp": _stamp,
    "google.protobuf.Duration": _stamp,
} | {
    f"google.protobuf.{name}Value": _wrapped
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
}


# -- by the wire format -------------------------------------------------------------------------------------------------------

_Fields = list[tuple[int, int, Any]]
"""(field number, wire type, value): int for VARINT, bytes otherwise (a GROUP's fields without the tags around them)."""


class _Wire:
    """Reads the wire format. Every field costs one of the budget, looked at or skipped, so no nesting makes it slower than linear."""

    __slots__ = ("budget", "max_depth")

    def __init__(self, max_depth: int, budget: Budget) -> None:
        self.max_depth = max_depth
        self.budget = budget

    def message(self, data: bytes, depth: int) -> tuple[dict[str, Any], int]:
        """(tree, offset of the first byte that is no field; the length when all are)."""
        found, read_to = self.fields(data)
        tree: dict[str, Any] = {}
        self.put(tree, found, depth)
        return tree, read_to

    def put(self, tree: dict[str, Any], found: _Fields, depth: int) -> None:
        """Fields into the tree, by their numbers; those that come again as a list."""
        lists: set[str] = set()
        for number, wire, raw in found:
            name = _NAMES[number] if number < 256 else f"#{number}"
            value = self.value(wire, raw, depth)
            if name not in tree:
                tree[name] = value
            elif name in lists:
                tree[name].append(value)
            else:
                lists.add(name)
                tree[name] = [tree[name], value]

    def whole_fields(self, data: bytes) -> int:
        """Offset behind the last field that is in `data` whole."""
        spare = self.budget.left
        try:
            return self.fields(data)[1]
        except _SpentError:
            return len(data)
        finally:
            self.budget.left = spare

    def fields(self, data: bytes) -> tuple[_Fields, int]:
        """The fields of a message as far as they are well-formed, and the offset behind them."""
        found: _Fields = []
        at, end = 0, len(data)
        while at < end:
            try:
                number, wire, raw, at = self.field(data, at)
            except (_BadWireError, IndexError):
                break
            found.append((number, wire, raw))
        return found, at

    def field(self, data: bytes, at: int) -> tuple[int, int, Any, int]:
        """(number, wire type, value, offset behind it) of the field at `at`."""
        self.budget.take()
        tag, at = _varint(data, at, 5)
        number, wire = tag >> 3, tag & 7
        if not 0 < number <= _MAX_NUMBER:
            raise _BadWireError
        if wire == VARINT:
            value, at = _varint(data, at, 10)
            return number, wire, value, at
        if wire == GROUP:
            end, behind = self._group_end(data, at, number)
            return number, wire, data[at:end], behind
        if wire == LENGTH:
            size, at = _varint(data, at, 5)
        elif wire == FIXED64:
            size = 8
        elif wire == FIXED32:
            size = 4
        else:
            raise _BadWireError
        if size > len(data) - at:
            raise _BadWireError
        return number, wire, data[at : at + size], at + size

    def _group_end(self, data: bytes, at: int, number: int) -> tuple[int, int]:
        """(offset of the end tag, offset behind it) of the group whose fields begin at `at`."""
        open_groups = [number]
        while True:
            self.budget.take()
            tag_at = at
            tag, at = _varint(data, at, 5)
            number, wire = tag >> 3, tag & 7
            if wire == GROUP:
                if len(open_groups) > self.max_depth:
                    raise _BadWireError
                open_groups.append(number)
            elif wire == END_GROUP:
                if open_groups.pop() != number:
                    raise _BadWireError
                if not open_groups:
                    return tag_at, at
            elif wire == VARINT:
                _, at = _varint(data, at, 10)
            elif wire == LENGTH:
                size, at = _varint(data, at, 5)
                at += size
            elif wire in (FIXED64, FIXED32):
                at += 8 if wire == FIXED64 else 4
            else:
                raise _BadWireError

    def value(self, wire: int, raw: Any, depth: int) -> Any:
        if wire == VARINT:
            return raw if raw < 1 << 63 else raw - (1 << 64)
        if wire == LENGTH:
            return self.guess(raw, depth + 1)
        if wire == GROUP:
            return self.nested(raw, depth + 1)
        if isinstance(raw, int):  # the runtime's unknown fields of fixed size
            raw = raw.to_bytes(8 if wire == FIXED64 else 4, "little")
        if wire == FIXED64:
            # Eight graphic characters are a piece of text far more often than a number; nothing may hide in numbers.
            if _GRAPHIC.fullmatch(raw):
                return raw.decode("ascii")
            return _likely(_DOUBLE.unpack(raw)[0], int.from_bytes(raw, "little", signed=True))
        return _likely(_FLOAT.unpack(raw)[0], int.from_bytes(raw, "little", signed=True))

    def nested(self, raw: Any, depth: int) -> Any:
        """A group: a message for certain."""
        if not isinstance(raw, bytes):  # the runtime's form of an unknown group
            tree: dict[str, Any] = {}
            found = [(item.field_number, item.wire_type, item.data) for item in raw]
            self.budget.take(len(found))
            if depth < self.max_depth:
                self.put(tree, found, depth)
            else:
                self.budget.deep = True
            return tree
        if depth >= self.max_depth:
            self.budget.deep = True
            return raw.decode("utf-8", "replace")
        return self.message(raw, depth)[0]

    def guess(self, raw: bytes, depth: int) -> Any:
        """What a length-delimited field is: text, a nested message, packed integers or bytes.

        Printable UTF-8 is text; only when it begins with a tag that is white space (field 1 of 10, 9 or 13 times 1) and holds
        nothing but length-delimited fields, so that no character can be lost, it is a message. A short string may so be taken for what it is
        not, and packed integers for a message; but text stays readable either way.
        """
        if not raw:
            return ""
        try:
            text: str | None = raw.decode()
        except UnicodeDecodeError:
            text = None
        printable = text is not None and not _CONTROL.search(text)
        if printable and raw[0] not in b"\t\n\r":
            return text
        if depth >= self.max_depth:
            self.budget.deep = True
            return raw.decode("utf-8", "replace") if text is None else text
        found, read_to = self.fields(raw)
        if read_to == len(raw) and not (printable and any(wire != LENGTH for _, wire, _ in found)):
            tree: dict[str, Any] = {}
            self.put(tree, found, depth)
            return tree
        if text is not None and (printable or len(_CONTROL.findall(text)) * 4 <= len(text)):
            return text
        integers = self.packed(raw)
        return shown(raw) if integers is None else integers

    def packed(self, raw: bytes) -> list[int] | None:
        """Packed varints, if these bytes can be some: mostly small, none written longer than needed."""
        if len(raw) > _MAX_INTEGERS or (len(raw) >= 8 and sum(byte < 0x80 for byte in raw) * 4 < len(raw) * 3):
            return None
        found: list[int] = []
        at, end = 0, len(raw)
        while at < end:
            start = at
            try:
                value, at = _varint(raw, at, 10)
            except (_BadWireError, IndexError):
                return None
            if at - start > 1 and raw[at - 1] == 0:
                return None
            found.append(value if value < 1 << 63 else value - (1 << 64))
        self.budget.take(len(found))
        return found


def _varint(data: bytes, at: int, longest: int) -> tuple[int, int]:
    """(value, offset behind it). Raises `_BadWireError`, and `IndexError` at the end of the data."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return byte, at
    value = byte & 0x7F
    for shift in range(7, 7 * longest, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise _BadWireError


def _likely(number: float, integer: int) -> float | int:
    """A fixed-size field as a floating point number when that looks like one, else as an integer."""
    return number if number == 0 or 1e-9 <= abs(number) <= 1e15 else integer
