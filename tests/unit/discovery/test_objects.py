"""Object references: what a request names and what a response gives meet under one key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume
from hypothesis import given as forall
from hypothesis import strategies as st

from eastwall.discovery.objects import (
    GIVEN_LIMIT,
    USED_LIMIT,
    collection_of,
    field_of,
    generated,
    given,
    identifier,
    kind_of,
    object_key,
    parameter_kinds,
    shown,
    singular,
    used,
)
from eastwall.discovery.walk import read_request, read_request_slowly
from eastwall.model.call import BodyState, Request
from eastwall.model.endpoint import Endpoint, Match, Parameter
from eastwall.model.operation import Operation
from eastwall.protocols.decode import decode_request
from eastwall.protocols.limits import Limits

KEY = b"k" * 16


def message(path: str, body: Any = None, query: tuple[tuple[str, str], ...] = (), method: str = "GET") -> Operation:
    segments = tuple(part for part in path.split("/") if part)
    kind = "none" if body is None else "json"
    return Operation(protocol="rest", method=method, segments=segments, path=path, query=query, body=body, body_kind=kind)


def match(template: str, *params: tuple[str, str], kind: str = "integer", gives: tuple[tuple[str, str], ...] = ()) -> Match:
    parameters = tuple(Parameter(name, kind) for name, _ in params)
    return Match(Endpoint(id="ep", service="shop", method="GET", template=template, parameters=parameters, gives=gives), params)


def kinds_given(path: str, body: Any, template: str | None = None) -> set[tuple[str, int]]:
    return set(given(message(path, body), match(template) if template else Match(None), KEY, "shop"))


def key(kind: str, value: object) -> tuple[str, int]:
    return kind, object_key(KEY, "shop", kind, str(value))


@pytest.mark.parametrize(
    ("name", "collection", "kind"),
    [
        ("order_id", "", "order"),
        ("orderId", "", "order"),
        ("orderID", "", "order"),
        ("order.id", "", "order"),
        ("order-id", "", "order"),
        ("order_uuid", "", "order"),
        ("order_ref", "", "order"),
        ("orders_id", "", "order"),
        ("parentOrderId", "", "parent_order"),
        ("id", "orders", "order"),
        ("uuid", "companies", "company"),
        ("slug", "articles", "article"),
        ("id", "line-items", "line_item"),
        ("id", "purchaseOrders", "purchase_order"),
        ("username", "profiles", "username"),
        ("order", "orders", "order"),
        ("id", "", "id"),
    ],
)
def test_kinds(name: str, collection: str, kind: str) -> None:
    assert kind_of(name, collection) == kind


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("orders", "order"), ("companies", "company"), ("addresses", "address"), ("boxes", "box"), ("branches", "branch"),
        ("people", "person"), ("status", "status"), ("analysis", "analysis"), ("news", "news"), ("movies", "movie"),
        ("invoices", "invoice"), ("houses", "house"), ("class", "class"), ("gas", "gas"), ("order", "order"),
        ("statuses", "status"), ("bus", "bus"),
    ],
)  # fmt: skip
def test_singular(plural: str, one: str) -> None:
    assert singular(plural) == one


@pytest.mark.parametrize(
    ("template", "collection"),
    [
        ("/orders", "orders"),
        ("/orders/{order_id}", "orders"),
        ("/api/v2/users/{user_id}/orders", "orders"),
        ("/orders/search", "orders"),
        ("/users/me", "users"),
        ("/orders/{order_id}/refund", "refund"),
        ("/items/{id}:archive", "items"),
        ("/v1", ""),
        ("/", ""),
    ],
)
def test_collections(template: str, collection: str) -> None:
    assert collection_of(template) == collection


def test_parameter_kinds() -> None:
    assert parameter_kinds("/users/{user_id}/orders/{id}") == ("user", "order")
    assert parameter_kinds("/api/v1/orders/{slug}/items/{item_id}") == ("order", "item")
    assert parameter_kinds("/reports/{year}-{id}.csv") == ("year", "report")


def test_what_a_list_gives_is_what_a_path_uses() -> None:
    place, kind, number, text = used(message("/orders/17"), match("/orders/{order_id}", ("order_id", "17")), KEY, "shop")[0]
    assert (place, kind, text) == ("path.order_id", "order", "17")
    for body in (
        {"items": [{"id": 17}]},
        {"data": {"results": [{"id": "17"}]}},
        [{"id": 17}],
        {"id": 17},
        {"orders": [{"id": 17}]},
        {"order": {"id": 17}},
        {"orderId": 17},
        {"order_ids": [17, 18]},
    ):
        assert ("order", number) in kinds_given("/orders", body, "/orders"), body
        assert ("order", number) in kinds_given("/orders", body), body


def test_parts_of_an_object_are_not_the_object() -> None:
    body = {"id": 17, "total": 12.5, "quantity": 3, "items": [{"id": 1, "product_id": 9}], "user": {"id": 5}}
    expected = {key("order", 17), key("item", 1), key("product", 9), key("user", 5)}
    assert kinds_given("/orders/17", body, "/orders/{order_id}") == expected
    assert kinds_given("/orders", {"items": [body]}, "/orders") == expected


def test_before_a_template_is_known_ids_in_the_path_are_seen_through() -> None:
    assert kinds_given("/users/5/orders", [{"id": 17}]) == {key("order", 17)}
    assert kinds_given("/orders/4b3c6f7e-0000-4000-8000-000000000000", {"id": 1}) == {key("order", 1)}


@pytest.mark.parametrize(
    "body",
    [
        {"paid": True, "price": 3, "quantity": 2, "total": 9, "version": 4},
        {"order_id": 1.5},
        {"order_id": True},
        {"order_id": None},
        {"order_id": ""},
        {"order_id": "two words"},
        {"order_id": "12.50"},
        {"order_id": "x" * 65},
        {"order_id": -1},
        {"phone_number": "415555", "zip_code": "10115", "currency_code": "EUR", "status_code": 200, "api_key": "abc"},
        {"request_id": "r-1", "trace_id": "abc"},
        {"code": "EUR", "number": 3, "key": "x"},
        {"valid": 1, "paid": 3, "grid": 4, "humid": 5},
    ],
)
def test_what_is_no_reference(body: dict[str, Any]) -> None:
    assert given(message("/x", body), match("/x"), KEY, "shop") == ()


def test_request_places() -> None:
    body = {"id": 17, "lines": [{"productId": 9}], "coupon_code": "SPRING", "note": "id"}
    operation = message("/orders/17", body, (("account_id", "8"), ("page", "2")), "PUT")
    found = used(operation, match("/orders/{order_id}", ("order_id", "17")), KEY, "shop")
    assert [(place, kind) for place, kind, _, _ in found] == [
        ("path.order_id", "order"), ("query.account_id", "account"), ("body.id", "order"), ("body.lines[].productId", "product"),
        ("body.coupon_code", "coupon"),
    ]  # fmt: skip
    assert found[0][2] == found[2][2]


def test_dates_in_paths_are_no_objects() -> None:
    assert used(message("/reports/2026-01-31"), match("/reports/{date}", ("date", "2026-01-31"), kind="date"), KEY, "shop") == ()


def test_bounds() -> None:
    assert len(given(message("/o", [{"id": n} for n in range(5000)]), match("/orders"), KEY, "shop")) == GIVEN_LIMIT
    assert len(given(message("/o", {"order_ids": list(range(5000))}), match("/orders"), KEY, "shop")) == GIVEN_LIMIT
    assert len(used(message("/o", [{"id": n} for n in range(5000)]), match("/orders"), KEY, "shop")) == USED_LIMIT
    deep: Any = {"id": 1}
    for _ in range(900):
        deep = {"k": [deep]}
    assert given(message("/o", deep), match("/orders"), KEY, "shop") == ()


def test_a_learned_plan_decides() -> None:
    body = {"items": [{"id": 1, "ref": {"code": "A1"}}, {"id": 2}], "id": 9}
    plan = match("/orders", gives=(("items[].id", "order"), ("items[].ref.code", "voucher"), ("nowhere[].x", "order")))
    assert set(given(message("/orders", body), plan, KEY, "shop")) == {key("order", 1), key("order", 2), key("voucher", "A1")}


def test_keys_differ_by_all_that_matters() -> None:
    keys = {object_key(k, s, kind, v) for k in (KEY, b"other") for s in ("a", "b") for kind in ("o", "p") for v in ("1", "2")}
    assert len(keys) == 16
    assert all(-(2**63) <= value < 2**63 for value in keys)
    upper = "4B3C6F7E-0000-4000-8000-00000000000A"
    assert object_key(KEY, "s", "o", upper) == object_key(KEY, "s", "o", upper.lower())


@forall(st.integers(min_value=0, max_value=2**64 - 1))
def test_numbers_and_their_texts_are_one_object(number: int) -> None:
    assert identifier(number) == identifier(str(number)) == str(number)


@forall(st.text())
def test_shown_does_not_give_a_name_away(text: str) -> None:
    assume(len(text) > 2 and not text.isdecimal() and len(text) not in (32, 36))
    assert shown(text)[2:].strip("*") == ""


@pytest.mark.parametrize(
    "name", ["role", "is_admin", "address2", "line_address2", "sha_256", "oauth2_token", "_id", "items", "utf_8"]
)
def test_property_names_are_not_taken_for_data(name: str) -> None:
    assert not generated(name)


@pytest.mark.parametrize(
    "name", ["17", "4b3c6f7e-0000-4000-8000-000000000000", "2026-01-31", "a@example.com", "cus_9s6XKzkNRiz8i3", "deadbeef0123"]
)
def test_data_is_not_taken_for_property_names(name: str) -> None:
    assert generated(name)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("query order", "order"),
        ("query orders", "orders"),
        ("query orderById", "order"),
        ("query allOrders", "orders"),
        ("query orders_by_pk", "orders"),
        ("query ordersConnection", "orders"),
        ("mutation cancelOrder", "order"),
        ("mutation insert_orders_one", "orders"),
        ("query list", "list"),
        ("query by", "by"),
        ("query order,user", ""),
        ("persisted 00ff00ff00ff", ""),
        ("mutation pay; query order", ""),
        ("", ""),
    ],
)
def test_what_a_graphql_operation_is_about(name: str, field: str) -> None:
    assert field_of(name) == field


def graphql(name: str, body: Any) -> Operation:
    return Operation("graphql", "POST", ("graphql",), "/graphql", (), body, "json", name=name)


def test_graphql_variables_and_answers_meet() -> None:
    def named(variables: Any) -> dict[tuple[str, str], int]:
        asked = graphql("query orderById", {"query": "...", "variables": variables})
        return {(place, kind): key for place, kind, key, _ in used(asked, Match(None), KEY, "")}

    direct, wrapped = named({"id": 7, "userId": 3}), named({"input": {"id": 7}})
    assert set(direct) == {("body.variables.id", "order"), ("body.variables.userId", "user")}
    assert set(wrapped) == {("body.variables.input.id", "order")}
    listed = graphql("query orders", {"data": {"orders": [{"id": 7}]}})
    expected = (("order", direct[("body.variables.id", "order")]),)
    assert given(listed, Match(None), KEY, "") == expected
    assert expected[0][1] == wrapped[("body.variables.input.id", "order")]


def _asked(text, variables=None):
    body = {"query": text, "variables": variables or {}}
    request = Request(
        "POST", "/graphql", {"content-type": "application/json"}, body=json.dumps(body).encode(), body_state=BodyState.COMPLETE
    )
    operation = decode_request(request, Limits())
    _, named = read_request(operation, Match(None), bytes(16), "")
    assert read_request_slowly(operation, Match(None), bytes(16), "")[1] == named
    return [(place, kind, shown) for place, kind, _, shown in named]


def test_ids_in_the_text_of_a_graphql_document_are_named():
    aliased = _asked(
        'query { a: order(id: "17") { id } b: order(id: 18) { id } invoices(filter: {customerId: 7, note: "9"}) { id } }'
    )
    assert sorted(aliased) == [
        ("body.query:invoices.customerId", "customer", "7"),
        ("body.query:order.id", "order", "17"),
        ("body.query:order.id", "order", "18"),
    ]


def test_a_variable_means_what_its_argument_does():
    """Callers choose the names of variables."""
    assert ("body.query:order.id", "order", "17") in _asked("query($x: ID!) { order(id: $x) { id } }", {"x": "17"})
    assert ("body.query:order.id", "order", "17") in _asked(
        "query($statusId: ID!) { order(id: $statusId) { id } }", {"statusId": 17}
    )
    plain = _asked("query($id: ID!) { order(id: $id) { id } }", {"id": "17"})
    assert plain == [("body.variables.id", "order", "17")]
    listed = _asked("query($a: [ID!]!) { orders(ids: $a) { id } }", {"a": ["17", "18", None, {}]})
    assert [one for one in listed if one[0] == "body.query:orders.ids"] == [
        ("body.query:orders.ids", "order", "17"),
        ("body.query:orders.ids", "order", "18"),
    ]


def test_a_batch_has_variables_for_each_operation():
    text = "query($x: ID!) { order(id: $x) { id } }"
    body = [{"query": text, "variables": {"x": "17"}}, {"query": text, "variables": {"x": "18"}}]
    request = Request(
        "POST", "/graphql", {"content-type": "application/json"}, body=json.dumps(body).encode(), body_state=BodyState.COMPLETE
    )
    _, named = read_request(decode_request(request, Limits()), Match(None), bytes(16), "")
    assert {shown for place, kind, _, shown in named if kind == "order" and place == "body.query:order.id"} == {"17", "18"}
