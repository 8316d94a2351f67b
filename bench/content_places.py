"""One value in every place of a call where APIs carry values, sent as a client sends it there."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape, quoteattr

from bench.content_corpora import graphql, grpc, request
from eastwall.model.call import Request

JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
PARTS = {"content-type": "multipart/form-data; boundary=b0b0"}
XML = {"content-type": "application/xml"}
MCP = {**JSON, "accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18"}


def _line(value: str) -> bool:
    """Whether it can stand in a header at all."""
    return value.isprintable() and value.isascii() and value == value.strip() and value != ""


def _in_xml(value: str) -> bool:
    return all(c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff" and not "\ud800" <= c <= "\udfff") for c in value)


def _path(value: str) -> Request | None:
    return request("GET", "/items/" + quote(value, safe="")) if value else None


def _header(value: str) -> Request | None:
    return request("GET", "/items", {"x-note": value}) if _line(value) else None


def _cookie(value: str) -> Request | None:
    text = value if _line(value) and not set(';,"') & set(value) else quote(value, safe="")
    return request("GET", "/items", {"cookie": f"theme=dark; note={text}"})


def _part(value: str) -> Request:
    body = f'--b0b0\r\nContent-Disposition: form-data; name="note"\r\n\r\n{value}\r\n--b0b0--\r\n'
    return request("POST", "/items", PARTS, body.encode("utf-8", "surrogatepass"))


def _file(value: str) -> Request:
    name = value.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")  # WHATWG, multipart/form-data encoding
    body = (
        f'--b0b0\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/plain\r\n\r\nhello'
        "\r\n--b0b0--\r\n"
    )
    return request("POST", "/items", PARTS, body.encode("utf-8", "surrogatepass"))


def _xml(value: str) -> Request | None:
    if not _in_xml(value):
        return None
    return request("POST", "/items", XML, f"<order><note>{escape(value)}</note></order>".encode())


def _attribute(value: str) -> Request | None:
    return request("POST", "/items", XML, f"<order note={quoteattr(value)}/>".encode()) if _in_xml(value) else None


def _json(body: object, headers: dict[str, str] = JSON, target: str = "/items") -> Request:
    return request("POST", target, headers, json.dumps(body).encode())


PLACES: dict[str, Callable[[str], Request | None]] = {
    "query": lambda value: request("GET", "/items?limit=20&note=" + quote_plus(value)),
    "path": _path,
    "form": lambda value: request("POST", "/items", FORM, b"limit=20&note=" + quote_plus(value).encode()),
    "JSON value": lambda value: _json({"limit": 20, "items": [{"note": value}]}),
    "JSON key": lambda value: _json({"limit": 20, "labels": {value: "1"}}),
    "header": _header,
    "cookie": _cookie,
    "multipart value": _part,
    "file name": _file,
    "XML text": _xml,
    "XML attribute": _attribute,
    "GraphQL variable": lambda value: graphql("query Q($t: String!) { search(text: $t) { id } }", {"t": value}),
    "GraphQL literal": lambda value: graphql(f"query Q {{ search(text: {json.dumps(value)}) {{ id }} }}"),
    "MCP argument": lambda value: _json(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "search", "arguments": {"text": value, "limit": 20}},
        },
        MCP,
        "/mcp",
    ),
    "gRPC field": lambda value: grpc("/shop.v1.Notes/Add", value),
    "text body": lambda value: request("POST", "/items", {"content-type": "text/plain"}, value.encode("utf-8", "surrogatepass")),
}
"""Place -> the call with the value there; None where it cannot stand there."""
