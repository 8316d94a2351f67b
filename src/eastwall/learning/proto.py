"""A protobuf descriptor set as declared endpoints: each method of its services, with the fields of request and response.

Compiling `.proto` text needs a compiler and files, so it is not done here: `sources.proto_files.compile_proto` gives the descriptor set.
"""

from __future__ import annotations

import binascii
from re import compile as regex
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from eastwall.discovery.inventory import endpoint_id
from eastwall.model.endpoint import Endpoint, FieldProfile, Schema
from eastwall.protocols.grpc import pool_of

MAX_DEPTH = 12
"""Levels of a message that are read."""
MAX_REPEATS = 3
"""Times that a message type is unfolded within itself."""
MAX_PLACES = 500
"""Places of one message."""
MAX_METHODS = 5000
"""Methods of one descriptor set."""
MAX_WORDS = 64
"""Words of an enumeration that are kept; a longer one is a string."""
_BASE64 = regex(rb"[A-Za-z0-9+/\s]{8,}={0,2}\s*")
"""A descriptor set itself begins with a line feed and a length, and holds a NUL or a control character soon."""
_MEDIA = ("application/grpc",)
_INTEGERS = frozenset(
    (
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    )
)
_NUMBERS = frozenset((FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT))
_ANY_KIND = ("array", "boolean", "integer", "null", "number", "object", "string")
_WELL_KNOWN: dict[str, tuple[tuple[str, ...], str]] = {
    "google.protobuf.Timestamp": (("string",), "date-time"),
    "google.protobuf.Duration": (("string",), ""),
    "google.protobuf.Struct": (("object",), ""),
    "google.protobuf.Value": (_ANY_KIND, ""),
    "google.protobuf.ListValue": (("array",), ""),
    "google.protobuf.Any": (("object",), ""),
    "google.protobuf.BoolValue": (("boolean",), ""),
    "google.protobuf.StringValue": (("string",), ""),
    "google.protobuf.BytesValue": (("string",), ""),
    "google.protobuf.DoubleValue": (("number",), ""),
    "google.protobuf.FloatValue": (("number",), ""),
} | {f"google.protobuf.{name}Value": (("integer",), "") for name in ("Int32", "Int64", "UInt32", "UInt64")}
"""(kinds, format) of messages that are read as one value: see `protocols.protobuf`."""


def declared_proto(data: bytes, name: str, service: str) -> tuple[tuple[Endpoint, ...], bytes]:
    """(endpoints, the descriptor set to read their messages by) of a serialized FileDescriptorSet, or of one in base64.

    `name`: of the file, for messages. Raises ValueError with one line on what is wrong and how to mend it.
    """
    if _BASE64.fullmatch(data):
        try:
            data = binascii.a2b_base64(data)
        except binascii.Error:
            raise ValueError(f"`{name}`: neither a descriptor set nor one in base64") from None
    try:
        pool, files = pool_of(data)
    except ValueError as error:
        raise ValueError(f"`{name}`: {error}") from None
    found: dict[str, Endpoint] = {}
    for file in files:
        for described in pool.FindFileByName(file).services_by_name.values():
            for method in described.methods:
                if len(found) >= MAX_METHODS:
                    raise ValueError(f"`{name}`: more than {MAX_METHODS} methods; give it in parts")
                endpoint = _endpoint(described.full_name, method, service)
                found[endpoint.id] = endpoint
    if not found:
        raise ValueError(f"`{name}`: the descriptor set holds no service")
    return tuple(sorted(found.values(), key=lambda e: e.template)), data


def _endpoint(owner: str, method: Any, service: str) -> Endpoint:
    operation = f"{owner}/{method.name}"
    template = f"/{operation}"
    streams = (("client-stream", method.client_streaming), ("server-stream", method.server_streaming))
    request = tuple(_fields(method.input_type, stream=method.client_streaming))
    response = tuple(_fields(method.output_type, stream=method.server_streaming))
    return Endpoint(
        id=endpoint_id(service, "POST", template, operation),
        service=service,
        method="POST",
        template=template,
        origin="declared",
        protocol="grpc",
        operation=operation,
        traits=tuple(trait for trait, on in streams if on),
        request=Schema(fields=request, media_types=_MEDIA),
        responses=((200, Schema(fields=response, media_types=_MEDIA)),),
        deprecated=method.GetOptions().deprecated or method.containing_service.GetOptions().deprecated,
    )


def _fields(message: Any, *, stream: bool) -> list[FieldProfile]:
    """Fields of a message, sorted by place; those of a stream's messages stand in a list. Of too many the nearest are kept."""
    found: dict[str, FieldProfile] = {}
    level: list[_Open] = [(message, "[]" if stream else "", ())]
    for _ in range(MAX_DEPTH):
        below: list[_Open] = []
        for inside, prefix, around in level:
            path = (*around, inside.full_name)
            for field in inside.fields:
                place = f"{prefix}.{field.name}" if prefix else field.name
                if len(found) >= MAX_PLACES:
                    return [found[place] for place in sorted(found)]
                below += _field(field, place, path, found)
        level = [(inside, prefix, path) for inside, prefix, path in below if path.count(inside.full_name) < MAX_REPEATS]
    return [found[place] for place in sorted(found)]


_Open = tuple[Any, str, tuple[str, ...]]
"""(message type, place of such a message, the types it stands in)."""


def _field(field: Any, place: str, path: tuple[str, ...], found: dict[str, FieldProfile]) -> list[_Open]:
    """Adds the profiles of one field to `found`; returns the message it holds, if it holds one."""
    item = field
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        found[place] = _profile(field, place, ("object",))
        item, place = field.message_type.fields_by_name["value"], place + ".{}"
    elif field.is_repeated:
        found[place] = _profile(field, place, ("array",))
        place += "[]"
    kinds, form, words = _kind(item)
    found[place] = _profile(item, place, kinds, form, words)
    inside = item.message_type
    return [(inside, place, path)] if inside is not None and inside.full_name not in _WELL_KNOWN else []


def _profile(field: Any, place: str, kinds: tuple[str, ...], form: str = "", words: tuple[str, ...] = ()) -> FieldProfile:
    deprecated = field.GetOptions().deprecated
    return FieldProfile(place=place, kinds=kinds, format=form, enum=words, deprecated=deprecated, required=field.is_required)


def _kind(field: Any) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """(kinds, format, words) as `protocols.protobuf` gives the value."""
    kind = field.cpp_type
    if field.message_type is not None:
        kinds, form = _WELL_KNOWN.get(field.message_type.full_name, (("object",), ""))
        return kinds, form, ()
    if field.enum_type is not None:
        words = tuple(sorted(value.name for value in field.enum_type.values))
        return ("string",), "", words if len(words) <= MAX_WORDS else ()
    if kind in _INTEGERS:
        return ("integer",), "", ()
    if kind in _NUMBERS:
        return ("number",), "", ()
    return ("boolean" if kind == FieldDescriptor.CPPTYPE_BOOL else "string",), "", ()
