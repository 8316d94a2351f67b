"""Declared GraphQL schemas as endpoints, and schemas of what was used."""

from __future__ import annotations

import time

import pytest
from graphql import build_schema
from graphql import validate as validate_document
from graphql.language import parse
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery.inventory import endpoint_id, parts_of
from eastwall.discovery.shapes import shape
from eastwall.learning.graphql_sdl import at_home, declared, declared_sdl, sdl
from eastwall.learning.schema import SchemaState
from eastwall.learning.spec_text import SpecError
from eastwall.model.call import BodyState, Request, Response
from eastwall.model.endpoint import Endpoint, FieldProfile, Schema
from eastwall.protocols.decode import decode_request, decode_response
from eastwall.protocols.limits import DEFAULT

SHOP = '''
"""A shop."""
schema { query: Root mutation: Change subscription: Live }
directive @key(fields: String!) on OBJECT
type Root {
  order(id: ID!): Order @deprecated(reason: "old")
  orders(filter: Filter, first: Int = 10, tags: [[String!]]): [Order!]!
  search(text: String!): [Hit]
  node(id: ID!): Node
}
extend type Root { me: Customer @authenticated }
type Change { createOrder(input: NewOrder!): Order }
type Live { ticks: Int! }
interface Node { id: ID! }
type Order implements Node @key(fields: "id") { id: ID! items: [Item!]! customer: Customer total: Float status: Status }
type Item { sku: String price: Money order: Order }
type Customer implements Node { id: ID! name: String orders: [Order] }
enum Status { PAID NEW }
input Filter { status: Status, before: DateTime, and: [Filter!] }
input NewOrder { items: [NewItem!]!, note: String = "none" }
input NewItem { sku: String!, n: Int! }
union Hit = Order | Customer
scalar Money
scalar DateTime
'''


def fields(endpoint: Endpoint) -> dict[str, FieldProfile]:
    return {field.place: field for field in endpoint.request.fields if field.place.startswith("variables.")}


def test_each_root_field_is_an_endpoint() -> None:
    endpoints, faults = declared(SHOP, "shop", "/api/graphql")
    assert faults == ()
    assert [e.operation for e in endpoints] == [
        "mutation createOrder", "query me", "query node", "query order", "query orders", "query search", "subscription ticks",
    ]  # fmt: skip
    for e in endpoints:
        assert (e.method, e.template, e.protocol, e.origin) == ("POST", "/api/graphql", "graphql", "declared")
        assert e.id == endpoint_id("shop", "POST", "/api/graphql", e.operation)
    by_name = {e.operation: e for e in endpoints}
    assert by_name["query order"].deprecated
    assert by_name["query me"].secured
    assert by_name["query order"].secured is None
    assert by_name["subscription ticks"].traits == ("subscription",)
    assert declared_sdl(SHOP, "shop", "/api/graphql") == endpoints


def test_arguments_are_request_fields() -> None:
    by_name = {e.operation: fields(e) for e in declared(SHOP, "shop")[0]}
    orders = by_name["query orders"]
    assert orders["variables.filter"].kinds == ("null", "object")
    assert orders["variables.filter.status"].enum == ("NEW", "PAID")
    assert orders["variables.filter.before"].format == "date-time"
    assert orders["variables.filter.and"].kinds == ("array", "null")
    assert orders["variables.filter.and[]"].kinds == ("object",)
    assert "variables.filter.and[].status" not in orders
    assert orders["variables.first"].kinds == ("integer", "null")
    assert orders["variables.tags[][]"].kinds == ("string",)
    created = by_name["mutation createOrder"]
    assert {place: field.required for place, field in created.items()} == {
        "variables.input": False,
        "variables.input.items": True,
        "variables.input.items[]": False,
        "variables.input.items[].sku": True,
        "variables.input.items[].n": True,
        "variables.input.note": False,
    }


def test_selections_reach_through_interfaces_and_unions_and_end_at_cycles() -> None:
    by_name = {e.operation: [path for path, _ in e.selection] for e in declared(SHOP, "shop")[0]}
    assert by_name["query order"] == [
        "order.customer.id", "order.customer.name", "order.id", "order.items.price", "order.items.sku", "order.status", "order.total",
    ]  # fmt: skip
    assert {"search.total", "search.name", "search.id"} <= set(by_name["query search"])
    assert {"node.total", "node.name", "node.id"} <= set(by_name["query node"])
    assert by_name["subscription ticks"] == ["ticks"]


def test_what_is_declared_is_what_is_seen() -> None:
    ids = {e.operation: e.id for e in declared_sdl(SHOP, "shop")}
    body = b'{"query": "query Q($id: ID!) { a: order(id: $id) { id } orders { id } }", "variables": {"id": "5"}}'
    request = Request("POST", "/graphql", {"content-type": "application/json"}, body=body, body_state=BodyState.COMPLETE)
    seen = decode_request(request, DEFAULT)
    # The rule: a request for several root fields is declared when each of its parts is.
    assert all(part in ids for part in parts_of(seen.name))
    assert seen.name not in ids
    single = decode_request(
        Request("POST", "/graphql", request.headers, body=body.replace(b" orders { id }", b""), body_state=BodyState.COMPLETE),
        DEFAULT,
    )
    assert endpoint_id("shop", "POST", "/graphql", single.name) == ids["query order"]


def test_all_faults_are_told_and_the_rest_is_used() -> None:
    text = """type Query { a: Foo b(x: Zebra): Int b: String }
type Query { c: Int }
type A { x: Int }
union U = Missing
input I { a: Int a: Int }
"""
    endpoints, faults = declared(text, "shop")
    assert [e.operation for e in endpoints] == ["query a", "query b", "query c"]
    told = {(fault.where, fault.message) for fault in faults}
    for where, message in [
        ("line 1, column 17", "unknown type `Foo`"),
        ("line 1, column 26", "unknown type `Zebra`"),
        ("line 1, column 6", "there can be only one type named `Query`"),
        ("line 4, column 11", "unknown type `Missing`"),
    ]:
        assert (where, message) in told, told
    assert ("line 5, column 11", "field `I.a` can only be defined once") in told
    assert all(fault.message[0].islower() or not fault.message[0].isalpha() for fault in faults)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unexpected <EOF>"),
        ("type Query { a: ", "expected Name, found <EOF>"),
        ("openapi: 3.0.0", "unexpected Name `openapi`"),
        ("type A { b: Int }", "the schema has no operations"),
        ("{ a }", "the schema has no operations"),
        ("type Query " + "{ a: " + "[" * 5000, "nested too deeply"),
    ],
)
def test_what_is_no_schema_has_one_line(text: str, message: str) -> None:
    endpoints, faults = declared(text, "shop")
    assert endpoints == ()
    assert any(message in fault.message for fault in faults), faults
    assert all("\n" not in str(fault) for fault in faults)
    with pytest.raises(SpecError):
        declared_sdl(text, "shop")


def test_a_hostile_schema_is_bounded() -> None:
    # Each type has all the others: paths without end.
    types = "".join(f"type T{n} {{ {' '.join(f'f{m}: T{m}' for m in range(60))} x: Int }}\n" for n in range(60))
    begin = time.process_time()
    (endpoint,), _ = declared(types + "type Query { t: T0 }", "shop")
    assert len(endpoint.selection) <= 200
    inputs = "".join(f"input T{n} {{ {' '.join(f'f{m}: T{m}' for m in range(60))} }}\n" for n in range(60))
    (endpoint,), _ = declared(inputs + "type Query { t(a: T0): Int }", "shop")
    assert len(endpoint.request.fields) <= 510
    assert time.process_time() - begin < 10


# --- what was used -------------------------------------------------------------------------------------------------------


def observed(*calls: tuple[str, object, object]) -> list[Endpoint]:
    """Endpoints as learned from (document, variables, data) of calls."""
    import json

    learned: dict[str, tuple[SchemaState, SchemaState, dict[str, int], list[int]]] = {}
    for text, variables, data in calls:
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = Request("POST", "/graphql", {"content-type": "application/json"}, body=body, body_state=BodyState.COMPLETE)
        asked = decode_request(request, DEFAULT)
        response = Response(200, {"content-type": "application/json"}, json.dumps({"data": data}).encode(), BodyState.COMPLETE)
        into = learned.setdefault(asked.name, (SchemaState(), SchemaState(), {}, [0]))
        into[0].fold(shape(asked), 0.0)
        into[1].fold(shape(decode_response(response, request, DEFAULT, asked)), 0.0)
        for path in asked.selection:
            into[2][path] = into[2].get(path, 0) + 1
        into[3][0] += 1
    return [
        Endpoint(
            id=endpoint_id("shop", "POST", "/graphql", name), service="shop", method="POST", template="/graphql", protocol="graphql",
            operation=name, calls=calls_[0], request=sent.schema(), responses=((200, got.schema()),), selection=tuple(sorted(paths.items())),
        )
        for name, (sent, got, paths, calls_) in learned.items()
    ]  # fmt: skip


ORDER = "query Q($id: ID!) { order(id: $id) { id total paid at items { sku n } customer { email } } }"
LIST = "{ orders { id total } me { name } }"
CREATE = "mutation M($input: New!) { createOrder(input: $input) { id } }"
CALLS = [
    (ORDER, {"id": "7"}, {"order": {"id": "7", "total": 1.5, "paid": True, "at": "2026-01-01T00:00:00Z", "items": [{"sku": "A", "n": 1}], "customer": None}}),
    (LIST, None, {"orders": [{"id": "7", "total": 2}], "me": {"name": "x"}}),
    (CREATE, {"input": {"items": [{"sku": "A", "n": 2}], "note": "x"}}, {"createOrder": {"id": "8"}}),
    ("{ alias: secret }", None, {"alias": 5}),
]  # fmt: skip


def test_the_schema_of_what_was_used() -> None:
    text = sdl(observed(*CALLS), "shop")
    schema = build_schema(text)
    query = schema.query_type
    assert query is not None
    assert {name: str(field.type) for name, field in query.fields.items()} == {
        "order": "Order",
        "orders": "[Order]",
        "me": "Me",
        "secret": "Unknown",
    }
    order = schema.type_map["Order"]
    assert {name: str(field.type) for name, field in order.fields.items()} == {
        "id": "ID", "total": "Float", "paid": "Boolean", "at": "DateTime", "items": "[OrderItem]", "customer": "OrderCustomer",
    }  # fmt: skip
    assert str(query.fields["order"].args["id"].type) == "String"
    mutation = schema.mutation_type
    assert mutation is not None
    assert str(mutation.fields["createOrder"].args["input"].type) == "CreateOrderInput"
    # What was asked is valid by it, but for the names of the input types, which only the service knows.
    for asked in (LIST, '{ order(id: "5") { items { sku n } customer { email } } }'):
        assert validate_document(schema, parse(asked)) == []


def test_other_services_protocols_and_persisted_queries_are_left_out() -> None:
    others = [
        Endpoint("1", "bank", "POST", "/graphql", protocol="graphql", operation="query a"),
        Endpoint("2", "shop", "POST", "/rpc", protocol="jsonrpc", operation="query b"),
        Endpoint("3", "shop", "POST", "/graphql", protocol="graphql", operation="persisted 00ff00ff00ff", calls=2),
        Endpoint("4", "shop", "POST", "/graphql", protocol="graphql", operation="query __schema"),
        *declared_sdl(SHOP, "shop"),
    ]
    text = sdl(others, "shop\n\x1b[31m")
    assert "\x1b" not in text
    text = sdl(others, "shop")
    assert "1 persisted queries" in text
    schema = build_schema(text)
    assert schema.query_type is not None
    assert list(schema.query_type.fields) == ["_none"]


names = st.sampled_from(
    ["a", "order", "orders", "Query", "String", "id", "input", "ID", "_", "__x", "items", "Unknown", "x1", "date"]
)
paths = st.lists(names, min_size=1, max_size=5).map(".".join)
kinds = st.sets(st.sampled_from(["string", "integer", "number", "boolean", "null", "object", "array"]), max_size=3).map(
    lambda k: tuple(sorted(k))
)
profiles = st.builds(FieldProfile, place=st.tuples(st.sampled_from(["variables.", "data.", ""]), paths, st.sampled_from(["", "[]", "[][]", ".{}"])).map("".join), kinds=kinds)  # fmt: skip
used = st.builds(
    Endpoint,
    id=st.just("1"),
    service=st.just("shop"),
    method=st.just("POST"),
    template=st.just("/graphql"),
    protocol=st.just("graphql"),
    operation=st.lists(st.tuples(st.sampled_from(["query ", "mutation ", "subscription ", "persisted "]), st.lists(names, min_size=1, max_size=3).map(",".join)).map("".join), min_size=1, max_size=2).map("; ".join) | st.text(max_size=10),
    selection=st.lists(st.tuples(paths | st.text(max_size=5), st.integers(0, 9)), max_size=8).map(tuple),
    request=st.builds(Schema, fields=st.lists(profiles, max_size=6).map(tuple)),
    responses=st.lists(st.tuples(st.just(200), st.builds(Schema, fields=st.lists(profiles, max_size=6).map(tuple))), max_size=1).map(tuple),
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.lists(used, max_size=5))
def test_whatever_was_used_the_schema_is_valid(endpoints: list[Endpoint]) -> None:
    text = sdl(endpoints, "shop")
    build_schema(text)
    assert text == sdl(list(reversed(endpoints)), "shop") or len({e.operation for e in endpoints}) < len(endpoints)


def test_a_field_called_input_lets_nothing_take_a_root_types_name() -> None:
    endpoint = Endpoint(
        "1", "shop", "POST", "/graphql", protocol="graphql", operation="query input", selection=(("input.Query.a", 1),)
    )
    build_schema(sdl([endpoint], "shop"))


def test_a_root_field_without_selection_is_counted_once() -> None:
    text = sdl(observed(("mutation { remove(id: 5) }", None, {"remove": True}), (LIST, None, {"orders": [{"id": "7"}]})), "shop")
    calls = {e.operation: e.calls for e in observed(("mutation { remove(id: 5) }", None, {"remove": True}))}
    assert f'"""Seen in {calls["mutation remove"]:,} calls."""\n  remove: Boolean' in text


def test_a_schema_is_at_the_path_where_graphql_was_seen() -> None:
    endpoints, _ = declared(SHOP, "shop")

    def call(path: str) -> Endpoint:
        operation = "query order"
        return Endpoint(
            id=endpoint_id("shop", "POST", path, operation),
            service="shop",
            method="POST",
            template=path,
            protocol="graphql",
            operation=operation,
            calls=3,
        )

    moved = at_home(endpoints, [call("/api")])
    assert {e.template for e in moved} == {"/api"}
    assert call("/api").id in {e.id for e in moved}
    # Where it was assumed, at several places, or nowhere: nothing is moved.
    for seen in ([call("/graphql")], [call("/api"), call("/graphql")], [call("/a"), call("/b")], []):
        assert at_home(endpoints, seen) == endpoints
