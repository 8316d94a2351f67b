"""Requests and responses as Operations."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eastwall.model.call import BodyState, Request, Response
from eastwall.model.operation import Operation
from eastwall.protocols.rest import Limits, decode_request, decode_response

LIMITS = Limits()
JSON = "application/json"


def request(
    path: str = "/", body: bytes = b"", content_type: str | None = None, *, method: str = "POST", **headers: str
) -> Request:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        fields["content-type"] = content_type
    return Request(method, path, fields, body=body, body_state=BodyState.COMPLETE if body else BodyState.NONE)


def decode(*args: Any, **kwargs: Any) -> Operation:
    return decode_request(request(*args, **kwargs), LIMITS)


def ids(operation: Operation) -> list[str]:
    return [fault.id for fault in operation.faults]


@pytest.mark.parametrize(
    ("target", "path", "segments", "query"),
    [
        ("/a/b%20c/", "/a/b%20c/", ("a", "b c"), ()),
        ("/", "/", (), ()),
        ("", "", (), ()),
        ("*", "*", ("*",), ()),
        ("//a//b", "//a//b", ("a", "", "b"), ()),
        ("/a%2Fb?x=1", "/a%2Fb", ("a/b",), (("x", "1"),)),
        ("/%252e%252e/", "/%252e%252e/", ("%2e%2e",), ()),
        ("/a;v=1/b", "/a;v=1/b", ("a;v=1", "b"), ()),
        ("http://host:8080/a/b?c=d", "/a/b", ("a", "b"), (("c", "d"),)),
        ("/s?q=O%27Neil+%2B1&q=2&&e=&n&=v", "/s", ("s",), (("q", "O'Neil +1"), ("q", "2"), ("e", ""), ("n", ""), ("", "v"))),
        ("/s?a=1;b=2", "/s", ("s",), (("a", "1;b=2"),)),
        ("/s?a=1?b=%zz%", "/s", ("s",), (("a", "1?b=%zz%"),)),
        ("/100%/x", "/100%/x", ("100%", "x"), ()),
    ],
)
def test_targets(target: str, path: str, segments: tuple[str, ...], query: tuple[tuple[str, str], ...]) -> None:
    operation = decode(target, method="GET")
    assert (operation.path, operation.segments, operation.query, operation.faults) == (path, segments, query, ())
    assert (operation.body_kind, operation.body, operation.raw_body) == ("none", None, b"")


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), max_size=6))
def test_segments_come_back_as_they_were_quoted(segments: list[str]) -> None:
    assert decode("/" + "/".join(quote(s, safe="") for s in segments), method="GET").segments == tuple(segments)


@given(
    st.lists(st.tuples(st.text(st.characters(exclude_categories=("Cs",))), st.text(st.characters(exclude_categories=("Cs",)))))
)
def test_queries_and_forms_are_read_as_the_standard_library_reads_them(pairs: list[tuple[str, str]]) -> None:
    text = urlencode(pairs)
    operation = decode(f"/?{text}", method="GET")
    assert list(operation.query) == parse_qsl(text, keep_blank_values=True)
    if text:
        form = decode("/", text.encode(), "application/x-www-form-urlencoded")
        assert form.body_kind == "form"
        flat = [(name, v) for name, value in form.body.items() for v in (value if isinstance(value, list) else [value])]
        assert sorted(flat) == sorted(parse_qsl(text, keep_blank_values=True))
    assert operation.faults == ()


def test_bytes_that_are_no_utf8_are_told() -> None:
    assert [(f.id, f.where) for f in decode("/%c0%ae/x?a=%ff", method="GET").faults] == [
        ("invalid-utf8", "path"),
        ("invalid-utf8", "query"),
    ]
    assert decode("/%EF%BF%BD?a=%ef%bf%bd", method="GET").faults == ()
    assert ids(decode("/", b"a=\xff", "application/x-www-form-urlencoded")) == ["invalid-utf8"]


def test_counts_are_bounded_and_said() -> None:
    operation = decode("/" + "a/" * 5000 + "?" + "a=1&" * 10_000, method="GET")
    assert len(operation.segments) == LIMITS.max_segments + 1
    assert len(operation.query) == LIMITS.max_query
    assert [(f.id, f.where) for f in operation.faults] == [("too-many-values", "path"), ("too-many-values", "query")]
    form = decode("/", b"a=1&" * 10_000, "application/x-www-form-urlencoded")
    assert len(form.body["a"]) == LIMITS.max_query
    assert ids(form) == ["too-many-values"]
    few = Limits(max_query=2, max_segments=2)
    small = decode_request(request("/a/b/c?a=1&b=2&c=3", method="GET"), few)
    assert (len(small.query), len(small.segments), ids(small)) == (2, 3, ["too-many-values", "too-many-values"])


def test_json() -> None:
    for content_type in (
        JSON,
        "application/json; charset=UTF-8",
        "application/problem+json",
        "text/json",
        "APPLICATION/JSON ;charset=utf-8",
    ):
        operation = decode("/", b'{"a":[1,{"b":null}]}', content_type)
        assert (operation.body, operation.body_kind, operation.faults) == ({"a": [1, {"b": None}]}, "json", ())
        assert operation.raw_body == b'{"a":[1,{"b":null}]}'


@pytest.mark.parametrize(
    ("content_type", "body", "kind", "faults"),
    [
        ("text/plain", b'{"a":1}', "json", ["content-type-mismatch"]),
        ("application/octet-stream", b' {"a":1}', "json", ["content-type-mismatch"]),
        ("text/html", b"[1]", "json", ["content-type-mismatch"]),
        (None, b'{"a":1}', "json", []),
        (None, b"plain words", "text", []),
        ("text/plain", b"{braces} in prose", "text", []),
        ("text/plain", b"[1] a footnote", "text", []),
        (JSON, b"user=alice", "text", ["invalid-json", "content-type-mismatch"]),
        (JSON, b'{"a":', "text", ["invalid-json"]),
        ("application/x-www-form-urlencoded", b'{"a":1}', "json", ["content-type-mismatch"]),
        ("application/x-www-form-urlencoded", b'{"a":"&role=admin&"}', "form", ["content-type-mismatch"]),
        ("image/png", b"\x89PNG\r\n", "binary", []),
        ("application/xml", b"<a/>", "xml", []),
        ("application/json; charset=utf-16", '{"a":1}'.encode("utf-16-le"), "json", ["unknown-encoding"]),
        ("application/json; charset=utf-16le", '{"a":1}'.encode("utf-16-le"), "json", ["unknown-encoding"]),
        ("application/json; charset=utf-7", b'{"a":1}', "json", ["unknown-encoding"]),
        ("application/json; charset=rot13", b'{"a":1}', "json", ["unknown-encoding"]),
        ("application/json; charset=iso-8859-1", b'{"a":1}', "json", []),
        ("application/json; charset=iso-8859-1", '{"a":"é"}'.encode("latin-1"), "json", []),
        ("multipart/form-data", b"--b\r\n", "text", ["bad-multipart"]),
    ],
)
def test_a_body_is_read_by_what_it_is_and_the_difference_is_told(
    content_type: str | None, body: bytes, kind: str, faults: list[str]
) -> None:
    operation = decode("/", body, content_type)
    assert (operation.body_kind, ids(operation)) == (kind, faults)
    if kind == "text":
        assert operation.body == body.decode()


def test_charset_tricks_do_not_hide_the_text() -> None:
    hidden = '{"q":"<script>"}'.encode("utf-7")
    assert decode("/", hidden, "application/json; charset=utf-7").body == {"q": "<script>"}
    assert decode("/", "<é>".encode("utf-16"), "text/xml; charset=utf-16").body == "<é>"


def test_form_that_is_json_for_a_lax_reader_is_judged_as_the_form_its_type_says() -> None:
    assert decode("/", b'{"a":"&role=admin&"}', "application/x-www-form-urlencoded").body["role"] == "admin"


def test_compressed_bodies() -> None:
    body = b'{"a":"' + b"x" * 1000 + b'"}'
    operation = decode("/", gzip.compress(body), JSON, content_encoding="gzip")
    assert (operation.body_kind, operation.raw_body, operation.faults) == ("json", body, ())
    lie = decode("/", body, JSON, content_encoding="gzip")
    assert (lie.body_kind, lie.body["a"][:1], ids(lie)) == ("json", "x", ["unknown-encoding"])
    unknown = decode("/", b"\x01\x02", JSON, content_encoding="compress")
    assert (unknown.body_kind, unknown.body, ids(unknown)) == ("unread", None, ["unknown-encoding"])
    bomb = decode("/", gzip.compress(b'{"a":"' + b" " * 20_000_000 + b'"}'), JSON, content_encoding="gzip")
    assert ids(bomb) == ["decompression-limit"]
    assert bomb.body_kind == "text"
    assert bomb.body.startswith('{"a":"')
    assert len(bomb.raw_body) <= LIMITS.max_decoded


@pytest.mark.parametrize(
    ("state", "kind"),
    [(BodyState.NONE, "none"), (BodyState.COMPLETE, "none"), (BodyState.STREAMED, "unread"), (BodyState.SKIPPED, "unread")],
)
def test_bodies_that_were_not_given(state: BodyState, kind: str) -> None:
    assert decode_request(Request("POST", "/", {"content-type": JSON}, body_state=state), LIMITS).body_kind == kind
    assert decode_response(Response(200, {"content-type": JSON}, body_state=state), request(), LIMITS).body_kind == kind


def test_a_truncated_body_is_text_without_blame() -> None:
    cut = Request("POST", "/", {"content-type": JSON}, body=b'{"q":"1 union sel', body_state=BodyState.TRUNCATED)
    operation = decode_request(cut, LIMITS)
    assert (operation.body_kind, operation.body, operation.faults) == ("text", '{"q":"1 union sel', ())


def test_responses() -> None:
    call = request("/orders/7?full=1", method="GET")
    body = json.dumps({"id": 7}).encode()
    operation = decode_response(Response(200, {"content-type": JSON}, body, BodyState.COMPLETE), call, LIMITS)
    assert (operation.method, operation.segments, operation.query) == ("GET", ("orders", "7"), ())
    assert (operation.body, operation.body_kind) == ({"id": 7}, "json")
    assert decode_response(Response(304, {"content-type": JSON}), call, LIMITS).body_kind == "none"
    head = decode_response(Response(200, {"content-type": JSON}, b"", BodyState.COMPLETE), request("/", method="HEAD"), LIMITS)
    assert head.body_kind == "none"
