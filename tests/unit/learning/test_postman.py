"""Postman collections as declared endpoints."""

from __future__ import annotations

import copy
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.learning.declare import read_declared
from eastwall.learning.postman import declared
from eastwall.learning.spec_text import SpecError
from eastwall.model.endpoint import Endpoint, FieldProfile, Schema

GOLDEN = Path(__file__).parents[2] / "golden" / "specifications"
SHOP: dict[str, Any] = {
    "info": {"name": "Shop", "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"},
    "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{token}}"}]},
    "variable": [{"key": "baseUrl", "value": "https://shop.test/api/v1"}, {"key": "orderId", "value": "17"}],
    "item": [
        {
            "name": "Orders",
            "item": [
                {
                    "name": "One order",
                    "request": {
                        "method": "GET",
                        "url": {
                            "raw": "{{baseUrl}}/orders/:orderId?expand=items&page=2",
                            "host": ["{{baseUrl}}"],
                            "path": ["orders", ":orderId"],
                            "query": [{"key": "expand", "value": "items"}, {"key": "page", "value": "2"}],
                            "variable": [{"key": "orderId", "value": "17"}],
                        },
                    },
                    "response": [
                        {"code": 200, "header": [{"key": "Content-Type", "value": "application/json; charset=utf-8"}],
                         "body": '{"id": 17, "total": 12.5, "items": [{"sku": "A", "note": null}]}'},
                        {"code": 404, "body": '{"error": "no such order"}'},
                    ],
                },
                {
                    "name": "Place an order",
                    "request": {
                        "method": "POST",
                        "url": "{{baseUrl}}/orders",
                        "body": {"mode": "raw", "raw": '{"items": [{"sku": "A", "quantity": {{quantity}}}]}', "options": {"raw": {"language": "json"}}},
                    },
                },
                {
                    "name": "Place another",
                    "request": {"method": "POST", "url": "{{baseUrl}}/orders", "body": {"mode": "raw", "raw": '{"items": [], "coupon": "X"}'}},
                },
            ],
        },
        {
            "name": "Sign in",
            "request": {
                "auth": {"type": "noauth"},
                "method": "POST",
                "url": {"raw": "https://shop.test/login", "path": ["login"], "host": ["shop", "test"]},
                "body": {"mode": "urlencoded", "urlencoded": [{"key": "user", "value": "a"}, {"key": "pin", "value": "1"}]},
            },
        },
        {"name": "By variable", "request": "http://localhost:8080/files/{{file id}}/raw%20data"},
    ],
}  # fmt: skip


def read(document: Any) -> list[Endpoint]:
    endpoints, faults = declared(document, "shop")
    assert not faults
    return list(endpoints)


def kinds(schema: Schema) -> dict[str, tuple[str, ...]]:
    return {field.place: field.kinds for field in schema.fields}


@pytest.mark.parametrize("document", [SHOP, {"collection": SHOP}])
def test_a_collection_is_read(document: Any) -> None:
    found = {(e.method, e.template): e for e in read(document)}
    assert set(found) == {
        ("GET", "/api/v1/orders/{orderId}"), ("POST", "/api/v1/orders"), ("POST", "/login"), ("GET", "/files/{file_id}/raw data"),
    }  # fmt: skip
    order, place, login = found["GET", "/api/v1/orders/{orderId}"], found["POST", "/api/v1/orders"], found["POST", "/login"]
    assert kinds(order.query) == {"query.expand": ("string",), "query.page": ("integer", "number")}
    assert [status for status, _ in order.responses] == [200, 404]
    assert kinds(order.responses[0][1]) == {
        "$": ("object",), "id": ("integer", "number"), "total": ("number",), "items": ("array",), "items[]": ("object",),
        "items[].sku": ("string",), "items[].note": (),
    }  # fmt: skip
    assert kinds(place.request) == {
        "$": ("object",), "items": ("array",), "items[]": ("object",), "items[].sku": ("string",), "items[].quantity": ("integer", "number"),
        "coupon": ("string",),
    }  # fmt: skip
    assert (order.secured, login.secured) == (True, False)
    assert (place.body_kinds, login.body_kinds) == (("json",), ("form",))
    assert kinds(login.request)["user"] == ("string",)
    assert all(field.seen == 0 and field.required is False for field in place.request.fields)


def test_values_of_examples_are_not_kept() -> None:
    for endpoint in read(SHOP):
        for schema in (endpoint.request, endpoint.query, *(schema for _, schema in endpoint.responses)):
            for field in schema.fields:
                assert field == FieldProfile(field.place, field.kinds, required=False)


def test_faults_are_told_and_the_rest_is_used() -> None:
    document = copy.deepcopy(SHOP)
    document["item"] += [
        7,
        {"name": "nothing"},
        {"request": {"method": "BREW", "url": "http://x/tea"}},
        {"request": {"method": "GET"}},
        {"request": 3},
        {"item": "x"},
        {"request": "http://x/ok", "response": [{"code": "two hundred"}, 4]},
    ]
    endpoints, faults = declared(document, "shop")
    assert ("GET", "/ok") in {(e.method, e.template) for e in endpoints}
    assert [str(fault).partition(";")[0] for fault in faults] == [
        "/item/3: item is a number",
        "/item/4: item is neither a folder nor a request",
        "/item/5/request/method: method `BREW` is none of HTTP",
        "/item/6/request/url: the request has no address",
        "/item/7/request: `request` is a number",
        "/item/8/item: `item` is a string",
        "/item/9/response/0: saved response with status `two hundred`",
        "/item/9/response/1: saved response with status `None`",
    ]


@pytest.mark.parametrize("document", [{}, [], None, {"item": 3}, {"collection": {}}])
def test_what_is_no_collection_is_refused(document: Any) -> None:
    with pytest.raises(SpecError, match="not a Postman collection"):
        declared(document)


def test_folders_without_end_are_left() -> None:
    folder: dict[str, Any] = {"item": [{"request": "http://x/deep"}]}
    for _ in range(500):
        folder = {"item": [folder]}
    endpoints, faults = declared({"info": {}, "item": [folder]}, "shop")
    assert endpoints == ()
    assert "folders deeper than 50 levels" in str(faults[0])


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "{{a}}", "http://[::1", "://", ":", "/a/:b", "GET", "raw", '{"a": 1}']),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from("item request url raw path host query key value method body mode auth type response code".split()), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@given(ANY, ANY)
@settings(max_examples=200, deadline=None)
def test_whatever_it_holds_nothing_breaks(items: Any, request: Any) -> None:
    for document in ({"item": items}, {"item": [{"request": request, "response": items}], "auth": items, "variable": items}):
        try:
            endpoints, faults = declared(document, "shop")
        except SpecError:
            continue
        assert all("\n" not in str(fault) for fault in faults)
        assert len({endpoint.id for endpoint in endpoints}) == len(endpoints)


def test_a_collection_by_postmans_own_converter_declares_what_its_specification_does() -> None:
    """`orders.postman.json` was written by openapi-to-postmanv2 from the demo's orders.yaml."""
    specification = read_declared(
        (resources.files("eastwall.runtime.demo") / "openapi" / "orders.yaml").read_bytes(), "o.yaml", "orders"
    )
    found = read_declared((GOLDEN / "orders.postman.json").read_bytes(), "orders.postman.json", "orders")
    assert (found.kind, found.faults) == ("postman", ())

    def told(endpoints: tuple[Endpoint, ...]) -> dict[tuple[str, str], dict[str, tuple[str, ...]]]:
        return {(e.method, e.template): {f.place: f.kinds for f in e.request.fields} for e in endpoints}

    collection, wanted = told(found.endpoints), told(specification.endpoints)
    assert {key: fields.keys() for key, fields in collection.items()} == {key: fields.keys() for key, fields in wanted.items()}
    for key, fields in wanted.items():
        for place, kinds in fields.items():
            # An example's whole number may stand for any number.
            assert set(kinds) <= set(collection[key][place]) <= {*kinds, "number"}, (key, place)
