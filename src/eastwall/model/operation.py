"""A call decoded: what the caller asks for, in the terms of its protocol."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Value(Struct, frozen=True):
    """One value of a call with its place."""

    place: str
    """Where it stands: `path[2]`, `query.q`, `header.referer`, `cookie.sid`, `body.items[3].note`, `body.{key}` for a key itself."""
    text: str
    """The decoded text (URL-decoded, JSON-unescaped)."""


class ParserFault(Struct, frozen=True):
    """Something in the bytes that parsers read differently, or that cannot be read at all."""

    id: str
    """`duplicate-key`, `invalid-json`, `invalid-utf8`, `too-deep`, `too-many-values`, `decompression-limit`,
    `unknown-encoding`, `content-type-mismatch`, `trailing-data`, `big-integer`, `nan`, `bom`, `json-comment`, `trailing-comma`,
    `undeclared-charset`, `overlong-utf8`, `lone-surrogate`, `bad-multipart`, `invalid-xml`,
    `xml-doctype`, `xml-entity`, `graphql-syntax`, `graphql-too-large`, `graphql-cycle`, `graphql-ambiguous`,
    `graphql-hash-mismatch`, `mcp-header-mismatch`; those of gRPC stand in `protocols.grpc`."""
    where: str
    """`body`, `query`, `header.NAME` or a place."""
    detail: str = ""


class Argument(Struct, frozen=True, array_like=True):
    """What a GraphQL document gives to a field."""

    field: str
    name: str
    """Of the argument, or of the input field within it."""
    value: str
    """The text or whole number that stands there; of a variable its name."""
    variable: bool = False


class Operation(Struct, frozen=True):
    """A decoded request or response message."""

    protocol: str
    """`rest`, `graphql`, `grpc`, `soap`, `jsonrpc`, `mcp`, `websocket`."""
    method: str
    segments: tuple[str, ...]
    """Path segments, percent-decoded once, without the empty ones at the ends: `/a/b%20c/` -> `("a", "b c")`."""
    path: str
    """Path without query, undecoded."""
    query: tuple[tuple[str, str], ...] = ()
    """Query parameters in order, decoded."""
    body: Any = None
    """JSON: the tree (dict/list/str/int/float/bool/None, ints exact). Form and multipart: dict of name -> text or list of texts
    (a multipart file is `{"filename":..., "content_type":..., "size":...}`). XML: the document element's content, dict or str, with
    `@name` for attributes, `#text` for text beside them, lists where elements repeat. Text: str. Otherwise None."""
    body_kind: str = "none"
    """`none`, `json`, `xml`, `form`, `multipart`, `text`, `binary`, `unread` (there is one, but it was not given or cannot be decoded)."""
    faults: tuple[ParserFault, ...] = ()
    raw_body: bytes = b""
    """The body after content-decoding (gzip, deflate, br, zstd), bounded; equal to the wire body when it was not encoded."""
    name: str = ""
    """What is asked for beyond method and path, empty for REST: `query order,orders` (GraphQL operation type and root fields, sorted),
    `shop.v1.Orders/Get` (gRPC), `tools/call search` (MCP), `eth_call` (JSON-RPC method), the SOAP action. From the request; a
    response message bears its request's."""
    traits: tuple[str, ...] = ()
    """What is special about the message, sorted: `introspection`, `batch`, `subscription`, `persisted-query`, `notification`, `fault`
    (an answer that is an error in the protocol's own form), `websocket`, `sse`, `grpc-web`, `field-numbers` (gRPC read without a schema)."""
    selection: tuple[str, ...] = ()
    """GraphQL: dotted paths of the fields that are asked for, without arguments and aliases: `order.items.sku`. Bounded."""
    arguments: tuple[Argument, ...] = ()
    """GraphQL: what the document gives to its fields, in its text or by a variable. Bounded."""
