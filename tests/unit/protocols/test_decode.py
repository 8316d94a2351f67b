"""Which protocol a message speaks: by evidence, never by a header or a name alone."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from typing import Any

import pytest

from eastwall.model.call import BodyState, Request, Response
from eastwall.model.operation import Operation
from eastwall.protocols import rest
from eastwall.protocols.decode import decode_request, decode_response
from eastwall.protocols.limits import Limits

LIMITS = Limits()
JSON = "application/json"


def message(body: Any = b"", path: str = "/api", content_type: str = JSON, method: str = "POST", **headers: str) -> Request:
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type:
        fields["content-type"] = content_type
    return Request(method, path, fields, body=data, body_state=BodyState.COMPLETE if data else BodyState.NONE)


def decode(body: Any = b"", path: str = "/api", content_type: str = JSON, method: str = "POST", **headers: str) -> Operation:
    return decode_request(message(body, path, content_type, method, **headers), LIMITS)


def answer(body: Any, asked: Request, content_type: str = JSON, status: int = 200) -> Operation:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode_response(Response(status, {"content-type": content_type}, data, BodyState.COMPLETE), asked, LIMITS)


def ids(operation: Operation) -> list[str]:
    return [fault.id for fault in operation.faults]


# --- what is not more than REST ----------------------------------------------------------------------------------------

SEARCHES: list[Any] = [
    {"query": "shoes"},
    {"query": "query"},
    {"query": "mutation"},
    {"query": "{"},
    {"query": "{shoes}"},
    {"query": "{red, blue}", "limit": 10, "offset": 0},
    {"query": "size:{10 TO 20}", "page": 1},
    {"query": '{job="api"} |= "error"', "limit": 100},
    {"query": "MATCH (n:Person {name: 'x'}) RETURN n", "variables": {"a": 1}},
    {"query": "SELECT * FROM orders WHERE id = {id}", "parameters": {"id": 1}},
    {"query": {"match": {"title": "graphql { orders { id } }"}}},
    {"query": ["{ orders { id } }"]},
    {"query": None, "variables": {"a": 1}},
    {"query": ""},
    {"variables": {"x": 1}, "extensions": {"persistedQuery": "no"}},
    {"extensions": [".pdf"], "id": "abc"},
    [{"query": "shoes"}, {"query": "query"}],
    [{"query": "{shoes}"}, 1, None],
    {"operations": "{}", "Body": "x"},
    {"jsonrpc": 2, "method": "x"},
    {"jsonrpc": "2.0"},
    {"jsonrpc": "2.0", "method": 5},
    {"method": "eth_call", "params": []},
]


@pytest.mark.parametrize("body", SEARCHES, ids=lambda body: json.dumps(body)[:40])
@pytest.mark.parametrize("path", ["/search", "/api/query", "/orders/17"])
def test_a_search_stays_rest(body: Any, path: str) -> None:
    asked = message(body, path)
    assert decode_request(asked, LIMITS) == rest.decode_request(asked, LIMITS)


@pytest.mark.parametrize("target", ["/search?query=shoes", "/s?query={shoes}", "/s?query=query&extensions=x", "/s?documentId=5"])
def test_a_search_in_the_target_stays_rest(target: str) -> None:
    asked = message(b"", target, "", "GET")
    assert decode_request(asked, LIMITS) == rest.decode_request(asked, LIMITS)


def test_a_header_makes_nothing_of_a_body() -> None:
    # Any caller can add one; were it believed, the call would leave its endpoint and what is checked there.
    for headers in (
        {"soapaction": "urn:x"},
        {"mcp_protocol_version": "2025-11-25"},
        {"upgrade": "h2c"},
        {"mcp_method": "tools/call"},
    ):
        asked = message({"id": 5}, "/orders", **headers)
        assert decode_request(asked, LIMITS) == rest.decode_request(asked, LIMITS)
    assert decode({"id": 5}, content_type="application/grpc").protocol == "rest"
    assert decode({"id": 5}, content_type="application/grpc").body == {"id": 5}


def test_a_search_for_words_never_loads_the_parser_of_graphql() -> None:
    code = (
        "import sys; from tests.unit.protocols.test_decode import decode, SEARCHES; decode({'query': 'shoes'}, '/search');"
        "decode(b'', '/search?query=shoes&x=%7B', '', 'GET'); decode([{'query': 'a'}], '/x'); decode({'id': 5}, '/graphql');"
        "assert not [m for m in sys.modules if m.startswith('graphql')];"
        "decode({'query': '{ a { b } }'}, '/x'); assert 'graphql' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- GraphQL -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"query": "{shoes}"}, "/graphql"),
        ({"query": "{shoes}"}, "/v1/graphql/"),
        ({"query": "{shoes}"}, "/api/GraphQL"),
        ({"query": "{shoes}"}, "/shop-gql"),
        ({"query": "{shoes}", "variables": None}, "/api"),
        ({"query": "{shoes}", "operationName": None, "extra": 1}, "/api"),
        ({"query": "query { shoes }"}, "/api"),
        ({"query": "# all\nquery Q { shoes }"}, "/api"),
        ({"query": "{ shoes { id } }"}, "/api"),
        ({"query": "{ shoes(size: 42) }"}, "/api"),
        ({"query": "fragment f on Query { shoes } query { ...f }"}, "/api"),
    ],
)
def test_graphql_by_path_shape_or_a_telling_document(body: Any, path: str) -> None:
    operation = decode(body, path)
    assert (operation.protocol, operation.name) == ("graphql", "query shoes")
    assert operation.body == body


def test_content_types_of_graphql() -> None:
    text = "mutation M { a: pay(x: 1) { id } b: pay(x: 2) { id } }"
    operation = decode(text, content_type="application/graphql")
    assert (operation.protocol, operation.name, operation.selection) == ("graphql", "mutation pay", ("pay.id",))
    assert operation.body == text
    assert decode({"query": "{a}"}, content_type="application/graphql+json").protocol == "graphql"
    form = decode("query=%7Ba%7Bb%7D%7D&variables=%7B%7D", content_type="application/x-www-form-urlencoded")
    assert (form.protocol, form.name, form.body_kind) == ("graphql", "query a", "form")


def test_only_what_would_be_executed_is_named() -> None:
    text = "query A { one { x } } query B { two { x } } mutation C { three }"
    assert decode({"query": text, "operationName": "B"}).name == "query two"
    # Servers refuse these; a lenient one might take any of them.
    assert decode({"query": text}).name == "mutation three; query one,two"
    assert decode({"query": text, "operationName": "Z"}).name == "mutation three; query one,two"
    assert decode({"query": text, "operationName": "B"}).name == "query two"


def test_aliases_arguments_directives_and_typename_are_in_no_name() -> None:
    text = 'query Secret_7 { __typename mine: order(id: "4111111111111111") @include(if: true) { __typename price: cost(unit: EUR) } }'
    operation = decode({"query": text})
    assert (operation.name, operation.selection) == ("query order", ("order.cost",))
    assert decode({"query": "query { __typename }"}).name == "query __typename"
    assert decode({"query": "query { __typename }"}).traits == ()


@pytest.mark.parametrize("field", ["__schema { types { name } }", '__type(name: "Order") { name }'])
def test_introspection(field: str) -> None:
    hidden = f"query {{ orders {{ id }} ... on Query {{ ...f }} }} fragment f on Query {{ {field} }}"
    for text in (f"{{ {field} }}", hidden):
        assert "introspection" in decode({"query": text}).traits
    assert decode({"query": "{ orders { __type: id } }"}).traits == ()


def test_batches_of_every_kind() -> None:
    mixed = [{"query": "{ a { x } }"}, {"query": "mutation { b }"}, {"query": "{ c { y } }"}, {"query": "{ a { x } }"}]
    operation = decode(mixed)
    assert (operation.name, operation.traits) == ("mutation b; query a,c", ("batch",))
    assert operation.selection == ("a.x", "b", "c.y")
    late = [{"note": 1}, {"query": "{ a { x } }"}]
    assert decode(late).name == "query a"
    escaped = b'[{"\\u0071uery": "{ a { x } }"}]'
    assert decode(escaped).name == "query a"
    many = [{"query": "{ a { x } }"}] * 101
    assert ids(decode(many)) == ["graphql-too-large"]


def test_persisted_queries() -> None:
    text = "{ orders { id } }"
    digest = sha256(text.encode()).hexdigest()
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": digest}}
    for asked in (
        decode({"extensions": extensions}),
        decode({"extensions": extensions, "operationName": "Orders", "variables": {"a": 1}}),
        decode(b"", "/x?extensions=" + json.dumps(extensions).replace(" ", ""), "", "GET"),
        decode({"documentId": "sha256:" + digest, "variables": {}}, "/graphql"),
    ):
        assert (asked.protocol, asked.name, asked.traits) == ("graphql", f"persisted {digest[:12]}", ("persisted-query",))
    both = decode({"query": text, "extensions": extensions})
    assert (both.name, both.traits, both.faults) == ("query orders", ("persisted-query",), ())
    lie = decode({"query": "{ users { id } }", "extensions": extensions})
    assert (lie.name, ids(lie)) == ("query users", ["graphql-hash-mismatch"])
    batch = decode([{"query": "{ a { x } }"}, {"extensions": extensions}])
    assert (batch.name, batch.traits) == (f"query a; persisted {digest[:12]}", ("batch", "persisted-query"))


def test_two_documents_in_one_request_are_both_told() -> None:
    operation = decode({"query": "{ orders { id } }"}, "/graphql?query={users{id}}")
    assert (operation.name, ids(operation)) == ("query orders,users", ["graphql-ambiguous"])


def test_of_a_repeated_parameter_every_document_is_told() -> None:
    operation = decode(b"", "/graphql?query={orders{id}}&query={users{id}}", "", "GET")
    assert (operation.name, ids(operation)) == ("query orders,users", ["graphql-ambiguous"])


def test_padding_does_not_hide_a_document() -> None:
    for text in ("query { a { b } }", "#x\nmutation M { a }"):
        padded = decode({"query": text + " #" + "x" * 70_000}, "/api")
        assert (padded.protocol, padded.name, ids(padded)) == ("graphql", "", ["graphql-too-large"])
    padded = decode({"query": "{a} #" + "x" * 70_000, "variables": {}}, "/api")
    assert ids(padded) == ["graphql-too-large"]
    assert decode({"query": "shoes {" + "x" * 70_000}, "/search").protocol == "rest"


def test_a_batch_of_new_documents_is_read_within_bounds_and_then_known() -> None:
    batch = [{"query": "{ a%d { b } } #%s" % (n, "x" * 9_000)} for n in range(8)]  # noqa: UP031
    first = decode(batch)
    assert ids(first) == ["graphql-too-large"]
    assert first.name == "query a0,a1,a2"
    for _ in range(2):
        operation = decode(batch)
    assert ids(operation) == []
    assert operation.name == "query a0,a1,a2,a3,a4,a5,a6,a7"


def test_json_rpc_in_a_graphql_body_hides_nothing() -> None:
    operation = decode({"query": "mutation { pay }", "jsonrpc": "2.0", "method": "ping"}, "/graphql")
    assert (operation.protocol, operation.name) == ("graphql", "mutation pay")


def test_bombs() -> None:
    for nested in (
        "{a" * 1500 + "}" * 1500,
        "{a(b:" + "[" * 1500 + "]" * 1500 + ")}",
        "query($a:" + "[" * 1500 + "Int" + "]" * 1500 + "){a}",
    ):
        assert ids(decode({"query": nested}, "/graphql")) == ["too-deep"]
    wide = "{" + " ".join(f"f{n}" for n in range(5000)) + "}"
    assert ids(decode({"query": wide}, "/graphql")) == ["graphql-too-large"]
    long = "{ a } #" + "x" * 70_000
    assert ids(decode({"query": long}, "/graphql")) == ["graphql-too-large"]
    cycle = "{ ...a } fragment a on Q { x { ...b } } fragment b on Q { y { ...a } }"
    operation = decode({"query": cycle}, "/graphql")
    assert (operation.name, ids(operation)) == ("query x", ["graphql-cycle"])
    assert ids(decode({"query": "{ ...a } fragment a on Q { ...a b }"}, "/graphql")) == ["graphql-cycle"]
    # Each fragment spreads the next twice: 2**60 fields if they were written out.
    doubling = "{ a { ...f0 } }" + "".join(
        f" fragment f{n} on Q {{ l {{ ...f{n + 1} }} r {{ ...f{n + 1} }} }}" for n in range(60)
    )
    operation = decode({"query": doubling + " fragment f60 on Q { id }"}, "/graphql")
    assert operation.name == "query a"
    assert len(operation.selection) <= 500
    roots = decode({"query": "{" + " ".join(f"field{n:03}" for n in range(300)) + "}"}, "/graphql")
    assert roots.name.startswith("query field000,field001,")
    assert roots.name.endswith(",+280")
    assert len(roots.name) <= 256
    assert len(roots.selection) == 300


def test_escapes_that_are_no_characters() -> None:
    for text in (
        '{ a(b: "\\uD800") }',
        '{ a(b: "\\u{FFFFFFFF}") }',
        '{ a(b: "\\u{110000}") }',
        '"""' + "x",
        "{ a(b: 1e99999) { c } }",
    ):
        assert isinstance(decode({"query": text}, "/graphql"), Operation)


def test_faults_of_graphql_answers() -> None:
    asked = message({"query": "{ a { b } }"})
    failed = {"errors": [{"message": "no"}], "data": None}
    assert answer(failed, asked).traits == ("fault",)
    assert answer({"errors": [{"message": "no"}]}, asked).traits == ("fault",)
    assert answer({"errors": [{"message": "no"}], "data": {"a": None}}, asked).traits == ()
    assert answer([{"data": {}}, failed], asked).traits == ("fault",)
    assert answer({"errors": [{"message": "no"}]}, message({"a": 1})).traits == ()
    stream = answer(b"event: next\ndata: " + json.dumps(failed).encode() + b"\n\n", asked, "text/event-stream")
    assert stream.traits == ("fault", "sse")


# --- JSON-RPC and MCP ----------------------------------------------------------------------------------------------------


def test_json_rpc() -> None:
    one = decode({"jsonrpc": "2.0", "method": "eth_call", "params": [], "id": 1})
    assert (one.protocol, one.name, one.traits) == ("jsonrpc", "eth_call", ())
    assert decode({"jsonrpc": "2.0", "method": "log"}).traits == ("notification",)
    batch = decode([{"jsonrpc": "2.0", "method": "b", "id": 1}, 5, {"jsonrpc": "2.0", "method": "a"}, {"x": 1}])
    assert (batch.name, batch.traits) == ("a,b", ("batch",))
    assert decode({"jsonrpc": "2.0", "method": "initialize", "params": {"rootUri": "file:///"}, "id": 1}).protocol == "jsonrpc"
    asked = message({"jsonrpc": "2.0", "method": "a", "id": 1})
    assert answer({"jsonrpc": "2.0", "error": {"code": -32601}, "id": 1}, asked).traits == ("fault",)
    assert answer({"jsonrpc": "2.0", "result": {"error": 1}, "id": 1}, asked).traits == ()
    assert answer(
        [{"jsonrpc": "2.0", "result": 1}, {"jsonrpc": "2.0", "error": {}}, {"jsonrpc": "2.0", "error": {"code": 1}}], asked
    ).traits == ("fault",)
    assert decode({"jsonrpc": "2.0", "method": "a", "id": 1}, method="PUT").protocol == "rest"


def test_names_are_fit_to_be_keys() -> None:
    hostile = decode({"jsonrpc": "2.0", "method": "\x1b[31m" + "x" * 1000, "id": 1}).name
    assert len(hostile) == 256
    assert hostile.isprintable()


def call(name: Any, method: str = "tools/call", **headers: str) -> Operation:
    return decode({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": name, "arguments": {}}}, "/mcp", **headers)


def test_mcp_headers_that_contradict_the_message() -> None:
    assert call("search", mcp_method="tools/call", mcp_name="search").faults == ()
    assert ids(call("search", mcp_method="tools/list", mcp_name="search")) == ["mcp-header-mismatch"]
    found = call("delete", mcp_method="tools/call", mcp_name="search")
    assert (found.name, [fault.where for fault in found.faults]) == ("tools/call delete", ["header.mcp-name"])
    assert call("\u00e9", mcp_method="tools/call", mcp_name="=?base64?w6k=?=").faults == ()
    assert ids(call("\u00e9", mcp_method="tools/call", mcp_name="=?base64?w6k?=")) == ["mcp-header-mismatch"]
    assert ids(call("search", mcp_method="Tools/call")) == ["mcp-header-mismatch"]
    meta = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": meta}
    assert decode(body, mcp_protocol_version="2026-07-28", mcp_method="tools/list").faults == ()
    assert ids(decode(body, mcp_protocol_version="2025-11-25", mcp_method="tools/list")) == ["mcp-header-mismatch"]
    # A batch, which 2025-06-18 did away with, one of whose messages the headers do not name.
    batch = [
        {"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": name}} for n, name in enumerate(("search", "rm"))
    ]
    assert ids(decode(batch, mcp_method="tools/call", mcp_name="search")) == ["mcp-header-mismatch"]


def test_mcp_without_headers_by_its_methods() -> None:
    assert call("search").protocol == "mcp"
    assert (
        decode({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}).protocol == "mcp"
    )
    assert decode({"jsonrpc": "2.0", "id": 1, "method": "ping"}).protocol == "jsonrpc"
    assert decode({"jsonrpc": "2.0", "id": 1, "method": "ping"}, mcp_session_id="x").protocol == "mcp"
    assert decode({"jsonrpc": "2.0", "id": 1, "result": {}}, mcp_session_id="x").name == "response"
    assert decode(b"", "/mcp", "", "GET", mcp_session_id="x").protocol == "mcp"
    assert call(5).name == "tools/call"
    assert call("x", "resources/read").name == "resources/read"


# --- SOAP ----------------------------------------------------------------------------------------------------------------

# From the W3C's SOAP 1.1 note (example 1) and the SOAP 1.2 primer (example 1), the latter with two header blocks.
SOAP11 = """<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"
 SOAP-ENV:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><SOAP-ENV:Body>
 <m:GetLastTradePrice xmlns:m="Some-URI"><symbol>DIS</symbol></m:GetLastTradePrice></SOAP-ENV:Body></SOAP-ENV:Envelope>"""
SOAP12 = """<?xml version='1.0' ?><env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope"><env:Header>
 <m:reservation xmlns:m="http://travelcompany.example.org/reservation" env:role="http://www.w3.org/2003/05/soap-envelope/role/next"
 env:mustUnderstand="true"><m:reference>uuid:093a2da1-q345-739r-ba5d-pqff98fe8j7d</m:reference></m:reservation>
 <n:passenger xmlns:n="http://mycompany.example.com/employees"><n:name>Ake Jogvan Oyvind</n:name></n:passenger></env:Header><env:Body>
 <p:itinerary xmlns:p="http://travelcompany.example.org/reservation/travel"><p:departure><p:departing>New York</p:departing>
 </p:departure></p:itinerary></env:Body></env:Envelope>"""


def test_soap() -> None:
    one = decode(SOAP11, content_type='text/xml; charset="utf-8"', soapaction='"Some-URI"')
    assert (one.protocol, one.name) == ("soap", "Some-URI")
    for empty in ('""', ""):
        found = decode(SOAP11, content_type="text/xml", soapaction=empty)
        assert found.name == "{Some-URI}GetLastTradePrice"
    two = decode(SOAP12, content_type='application/soap+xml; charset="utf-8"; action="urn:book"')
    assert (two.protocol, two.name) == ("soap", "urn:book")
    assert two.body["Body"]["itinerary"] == {"departure": {"departing": "New York"}}
    assert (
        decode(SOAP12, content_type="application/soap+xml").name
        == "{http://travelcompany.example.org/reservation/travel}itinerary"
    )
    assert decode("<Envelope><Body><a/></Body></Envelope>", content_type="text/xml").protocol == "rest"
    assert decode(SOAP11, content_type="text/xml", method="PUT").protocol == "rest"
    refused = decode("<!DOCTYPE a>" + SOAP11, content_type="text/xml", soapaction="urn:a")
    assert (refused.protocol, refused.name, ids(refused)) == ("soap", "urn:a", ["xml-doctype"])
    parts = 'multipart/related; type="application/xop+xml"; start-info="application/soap+xml"; boundary=b; action="urn:up"'
    assert decode(b"--b\r\n", content_type=parts).name == "urn:up"


def test_soap_faults() -> None:
    fault = SOAP11.replace('<m:GetLastTradePrice xmlns:m="Some-URI">', "<SOAP-ENV:Fault>").replace(
        "</m:GetLastTradePrice>", "</SOAP-ENV:Fault>"
    )
    asked = message(SOAP11, content_type="text/xml")
    assert answer(fault.encode(), asked, "text/xml").traits == ("fault",)
    assert answer(SOAP12.encode(), asked, "text/xml").traits == ()


# --- streams -------------------------------------------------------------------------------------------------------------


def test_streams() -> None:
    asked = message(b"", "/live", "", "GET", upgrade="WebSocket", connection="Upgrade")
    assert (decode_request(asked, LIMITS).protocol, decode_request(asked, LIMITS).traits) == ("websocket", ("websocket",))
    opened = decode_response(Response(101, {"upgrade": "websocket"}), asked, LIMITS)
    assert (opened.protocol, opened.traits) == ("websocket", ("websocket",))
    refused = decode_response(Response(403, {}), asked, LIMITS)
    assert (refused.protocol, refused.traits) == ("websocket", ())
    events = answer(b"data: 1\n\n", message(b"", "/events", "", "GET"), "text/event-stream; charset=utf-8")
    assert (events.protocol, events.traits, events.body_kind) == ("rest", ("sse",), "text")


def test_the_answer_bears_what_was_asked_for() -> None:
    asked = message({"query": "{ a { b } }"})
    operation = decode_request(asked, LIMITS)
    response = Response(200, {"content-type": JSON}, b'{"data":{}}', BodyState.COMPLETE)
    assert decode_response(response, asked, LIMITS, operation) == decode_response(response, asked, LIMITS)
    assert decode_response(response, asked, LIMITS, operation).name == "query a"
