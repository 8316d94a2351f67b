"""Any message of any protocol gives an Operation; what `rest` reads of it stays; time and size are bounded."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eastwall.model.call import BodyState, Request, Response
from eastwall.model.operation import Operation
from eastwall.protocols import graphql, rest
from eastwall.protocols.decode import decode_request, decode_response
from eastwall.protocols.limits import Limits

PROTOCOLS = {"rest", "graphql", "grpc", "soap", "jsonrpc", "mcp", "websocket"}
TRAITS = {"introspection", "batch", "subscription", "persisted-query", "notification", "fault", "websocket", "sse"}
KINDS = {"none", "json", "xml", "form", "multipart", "text", "binary", "unread"}
SMALL = Limits(max_depth=4, max_values=20, max_decoded=500, max_parts=3, max_query=3, max_segments=3, max_file_text=10)
DOCUMENTS = [
    "{ a { b } }",
    "query Q($x: [I!]! = 1) @d { a: b(c: $x, d: {e: [1, null, E]}) { ...f ... on T { g } } } fragment f on T { h ...f }",
    'mutation { pay(text: """block \\""" text""", s: "\\u{1F600}") { id } } subscription { t }',
    "{ __schema { types { name } } __typename }",
    "type Query { a: Int }",
    "shoes",
]
ENVELOPE = '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><m:Get xmlns:m="u"><a b="c">d</a></m:Get></e:Body></e:Envelope>'
SEEDS = [
    *(json.dumps({"query": text, "operationName": "Q", "variables": {"x": 1}}) for text in DOCUMENTS),
    json.dumps([{"query": DOCUMENTS[0]}, {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "ab" * 32}}}]),
    json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x", "_meta": {}}}),
    json.dumps([{"jsonrpc": "2.0", "method": "a"}, {"jsonrpc": "2.0", "id": None, "error": {"code": 1}}]),
    ENVELOPE,
    f'<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY b "c">]>{ENVELOPE}',
    "<a x:b='1'>&amp;&#1;&b;<![CDATA[]]><?p?><!-- --></a>",
    '--b\r\nContent-Disposition: form-data; name="operations"\r\n\r\n{"query":"{a}"}\r\n--b\r\nContent-Disposition: form-data; name="map"\r\n\r\n{}\r\n--b--',
    'event: message\r\ndata: {"jsonrpc": "2.0",\ndata: "error": {"code": 1}}\n\ndata: {\n\n',
    "query={a{b}}&variables=%7B%7D",
]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A seed with pieces cut, doubled, or spliced with another."""
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 3))):
        at, kind = draw(st.integers(0, len(text))), draw(st.integers(0, 3))
        if kind == 0:
            text = (
                text[:at]
                + draw(st.text(st.sampled_from('{}[]()":,<>&/!$@#\\u. \n\x00aq'), max_size=4))
                + text[at + draw(st.integers(0, 3)) :]
            )
        elif kind == 1:
            text = text[:at]
        elif kind == 2:
            text = text[at:] + text[:at]
        else:
            text = text[:at] + draw(st.sampled_from(SEEDS)) + text[at:]
    return text[:5000].encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16"])))


types = st.sampled_from(
    [
        "", "application/json", "application/graphql", "application/graphql-response+json", "text/xml", "text/xml; charset=utf-16",
        "application/soap+xml; action=\"x\"", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain",
        "multipart/related; type=\"application/xop+xml\"; boundary=b", "application/grpc", "application/grpc-web-text", "text/event-stream",
    ]
)  # fmt: skip
words = st.sampled_from(
    ["", "tools/call", "x", '"urn:a#b"', "=?base64?w6k=?=", "=?base64?!?=", "websocket", "\x00\u00e9", "2026-07-28"]
)
headers = st.dictionaries(
    st.sampled_from(["soapaction", "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id", "upgrade", "accept"]),
    words,
    max_size=4,
)
targets = st.sampled_from(
    [
        "/",
        "/graphql",
        "/mcp",
        "/x?query={a{b}}",
        "/graphql?query=%7Ba&extensions=%7B%22persistedQuery%22:1%7D",
        "/a.b/C?documentId=1",
        "/%zz?&=",
    ]
)


def check(operation: Operation, limits: Limits) -> None:
    assert isinstance(operation, Operation)
    assert operation.protocol in PROTOCOLS
    assert len(operation.name) <= 256
    assert operation.name.isprintable()
    operation.name.encode()
    if operation.protocol != "grpc":
        assert set(operation.traits) <= TRAITS
        assert operation.body_kind in KINDS
    assert list(operation.traits) == sorted(set(operation.traits))
    assert len(operation.selection) <= graphql.MAX_SELECTION
    assert list(operation.selection) == sorted(set(operation.selection))
    assert all(len(path) <= graphql.MAX_PATH for path in operation.selection)
    assert len(operation.faults) <= 60
    assert all(fault.id and fault.where and len(fault.detail) <= 200 for fault in operation.faults)


@settings(max_examples=1500, deadline=None)
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    targets,
    types,
    headers,
    bodies() | st.binary(max_size=200),
    st.sampled_from([BodyState.COMPLETE, BodyState.COMPLETE, BodyState.TRUNCATED]),
    st.sampled_from([Limits(), SMALL]),
)
@example("POST", "/graphql", "application/json", {}, b'{"query":"{a(b:\\"\\\\uD800\\")}"}', BodyState.COMPLETE, Limits())
def test_any_message_gives_an_operation(
    method: str, target: str, content_type: str, fields: dict[str, str], body: bytes, state: BodyState, limits: Limits
) -> None:
    sent = {**fields, "content-type": content_type} if content_type else fields
    request = Request(method, target, sent, body=body, body_state=state)
    operation = decode_request(request, limits)
    check(operation, limits)
    plain = rest.decode_request(request, limits)
    if operation.protocol != "grpc":
        for name in ("method", "segments", "path", "query", "body", "body_kind", "raw_body"):
            assert getattr(operation, name) == getattr(plain, name)
        assert operation.faults[: len(plain.faults)] == plain.faults
    response = Response(200, sent, body, state)
    answer = decode_response(response, request, limits, operation)
    check(answer, limits)
    assert (answer.protocol, answer.name) == (operation.protocol, operation.name)


LONG = 60_000


@pytest.mark.parametrize(
    ("content_type", "make"),
    [
        ("application/json", lambda n: json.dumps({"query": "{" + "a " * (n // 2) + "}"})),
        ("application/json", lambda n: json.dumps({"query": '{a(b:"' + "x" * n + '")}'})),
        ("application/json", lambda n: json.dumps({"query": "#" * n + "\n{a}"})),
        (
            "application/json",
            lambda n: json.dumps(
                {"query": "".join(f"query q{i}{{...f}}" for i in range(n // 150)) + "fragment f on Q{" + "x " * (n // 120) + "}"}
            ),
        ),
        ("application/json", lambda n: json.dumps([{"query": f"{{a{i} {{b}}}}"} for i in range(n // 25)])),
        ("application/json", lambda n: json.dumps([{"jsonrpc": "2.0", "method": f"m{i}"} for i in range(n // 35)])),
        ("text/xml", lambda n: ENVELOPE.replace("<e:Body>", "<h/>" * (n // 4) + "<e:Body>")),
        ("text/xml", lambda n: "<a>" + "&amp;" * (n // 5) + "</a>"),
        ("text/event-stream", lambda n: "data: {}\n\n" * (n // 10)),
    ],
)
def test_time_is_linear(content_type: str, make: object) -> None:
    def spent(count: int) -> float:
        body = make(count).encode()  # type: ignore[operator]
        request = Request("POST", "/graphql", {"content-type": content_type}, body=body, body_state=BodyState.COMPLETE)
        best = 9.0
        for _ in range(3):
            graphql._CACHE.__init__()  # type: ignore[misc]
            begin = time.process_time()
            decode_response(Response(200, request.headers, body, BodyState.COMPLETE), request, Limits())
            best = min(best, time.process_time() - begin)
        return best

    short, long = spent(LONG // 8), spent(LONG)
    assert long < 0.5
    assert long < 30 * max(short, 0.0005)


def test_the_memory_of_documents_is_bounded() -> None:
    cache = graphql._Cache()
    for number in range(3 * graphql.CACHE_DOCUMENTS):
        cache.known(f"{{ a{number} {{ b }} }}")
    assert len(cache.recent) + len(cache.older) <= 2 * graphql.CACHE_DOCUMENTS
    for number in range(120):
        cache.known(f"{{ a{number} }} #" + "x" * 60_000)
    for generation in (cache.recent, cache.older):
        assert sum(map(len, generation)) <= graphql.CACHE_CHARACTERS
