"""OpenAPI out and in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openapi_spec_validator import validate
from tests.unit.learning.shop_traffic import KEY, record, shop

from eastwall.learning.learner import Learner
from eastwall.learning.openapi import SpecError, declared, openapi
from eastwall.model.endpoint import Endpoint, FieldProfile, Parameter, Schema


def exported(records: list[Any]) -> dict[str, Any]:
    learner = Learner(KEY)
    learner.fold(records)
    document = openapi(learner.endpoints(), "shop")
    validate(document)
    return document


def test_what_is_learned_is_a_valid_document() -> None:
    document = exported(shop(300))
    assert set(document["paths"]) == {"/orders", "/orders/{order_id}", "/products"}
    order = document["paths"]["/orders"]["post"]
    schema = order["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["items", "note"]
    item = schema["properties"]["items"]["items"]
    assert item["properties"] == {"product_id": {"type": "integer"}, "quantity": {"type": "integer"}}
    listed = document["paths"]["/products"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert listed["type"] == "array"
    assert listed["items"]["properties"]["price"] == {"type": "number"}
    assert json.loads(json.dumps(document)) == document


def test_awkward_shapes_stay_valid() -> None:
    answers: list[Any] = [
        {"4711": {"x": None}}, [[1], ["a"]], "text", 5, None, {"": 1, "a b": [], "$ref": "x"}, {"x": [1, {"y": 2}, None]},
    ]  # fmt: skip
    records = [
        record("GET", f"/r/{chr(97 + n)}", user=f"u{m}", answer=answer, query=(("filter[a]", "1"), ("since", "2026-01-01")))
        for n, answer in enumerate(answers)
        for m in range(3)
    ]
    records += [record("PURGE", "/cache"), record("GET", "/a/1/b/2", status=599), record("GET", "/", status=204)]
    document = exported(records)
    assert "purge" not in json.dumps(document)


def test_parameters_of_one_name_get_names_of_their_own() -> None:
    endpoints = [
        Endpoint(id="a", service="shop", method="GET", template="/a/{id}/b/{id}", parameters=(Parameter("id", "uuid"),) * 2),
        Endpoint(id="b", service="shop", method="GET", template="/a/{id}/b_{id}"),
        Endpoint(id="c", service="other", method="GET", template="/c"),
    ]
    document = openapi(endpoints, "shop")
    validate(document)
    assert list(document["paths"]) == ["/a/{id}/b/{id2}", "/a/{id}/b_{id2}"]


def test_there_and_back() -> None:
    learner = Learner(KEY)
    learner.fold(shop(300))
    endpoints = learner.endpoints()
    again = declared(openapi(endpoints, "shop"), "shop")
    assert [(e.id, e.method, e.template, e.parameters) for e in again] == [
        (e.id, e.method, e.template, e.parameters) for e in endpoints
    ]
    for mine, theirs in zip(endpoints, again, strict=True):
        assert theirs.origin == "declared"
        assert {f.place for f in theirs.request.fields} == {f.place for f in mine.request.fields} - {"$", "items[]"}


DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "t", "version": "1"},
    "servers": [{"url": "https://{host}/api/{version}/", "variables": {"host": {"default": "h"}, "version": {"default": "v1"}}}],
    "paths": {
        "/pets/{petId}": {
            "parameters": [{"$ref": "#/components/parameters/Pet"}],
            "get": {"parameters": [{"name": "full", "in": "query", "schema": {"type": "boolean"}}], "responses": {}},
            "put": {"requestBody": {"$ref": "#/components/requestBodies/Pet"}, "responses": {}},
        }
    },
    "components": {
        "parameters": {"Pet": {"name": "petId", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}},
        "requestBodies": {"Pet": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}},
        "schemas": {
            "Pet": {
                "allOf": [
                    {"$ref": "#/components/schemas/Named"},
                    {"properties": {"tags": {"type": "array", "items": {"properties": {"id": {"type": "integer"}}}}}},
                    {
                        "properties": {
                            "parent": {"$ref": "#/components/schemas/Pet"},
                            "prices": {"additionalProperties": {"type": "number"}},
                        }
                    },
                ]
            },
            "Named": {"type": "object", "properties": {"name": {"type": "string", "nullable": True}}},
        },
    },
}


def test_a_document_is_read() -> None:
    get, put = declared(DOCUMENT, "zoo")
    assert (get.method, get.template, get.service, get.origin) == ("GET", "/api/v1/pets/{petId}", "zoo", "declared")
    assert get.parameters == (Parameter("petId", "uuid"),)
    assert get.query == Schema(fields=(FieldProfile("query.full", ("boolean",)),))
    places = {f.place: f.kinds for f in put.request.fields}
    assert places["name"] == ("null", "string")
    assert places["tags[].id"] == ("integer",)
    assert places["prices.{}"] == ("number",)
    assert "parent.name" in places
    assert len(places) < 500


def test_schemas_that_multiply_end() -> None:
    knot = {"anyOf": [{"$ref": "#/components/schemas/Knot"}] * 12, "properties": {"x": {"type": "string"}}}
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Knot"}}}}
    document = {"openapi": "3.1.0", "paths": {"/k": {"post": {"requestBody": body}}}, "components": {"schemas": {"Knot": knot}}}
    (endpoint,) = declared(document)
    assert len(endpoint.request.fields) <= 1


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"swagger": "2.0"}, "no `openapi` field"),
        ({"openapi": "2.0"}, "`openapi: 2.0`"),
        ({"openapi": 3}, "`openapi: 3`"),
        ([], "not an OpenAPI 3 document"),
        ({"openapi": "3.1.0", "paths": []}, None),
        ({"openapi": "3.1.0", "paths": ["a"]}, "`paths` is not an object"),
        ({"openapi": "3.1.0", "paths": {"pets": {}}}, "path `pets` does not start with a slash"),
        ({"openapi": "3.1.0", "paths": {"/pets": 3}}, "path `/pets` is not an object"),
        ({"openapi": "3.1.0", "paths": {"/a": {"$ref": "#/components/x"}}}, "reference `#/components/x` leads nowhere"),
        ({"openapi": "3.1.0", "paths": {"/a": {"$ref": "other.yaml"}}}, "leads out of the document"),
        ({"openapi": "3.1.0", "paths": {"/a": {"$ref": "#/paths/~1a"}}}, "circle"),
        ({"openapi": "3.1.0", "paths": {}, "servers": [{"url": "http://[::1"}]}, "is not a URL"),
    ],
)
def test_what_is_no_document_is_refused_in_one_line(document: Any, message: str | None) -> None:
    if message is None:
        assert declared(document) == ()
        return
    with pytest.raises(SpecError, match=message.replace("(", r"\(")) as caught:
        declared(document)
    assert "\n" not in str(caught.value)
