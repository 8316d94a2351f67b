"""The learned inventory as OpenAPI documents."""

from __future__ import annotations

import json
from typing import Any

from openapi_spec_validator import validate
from tests.unit.learning.shop_traffic import KEY, record, shop

from eastwall.learning.learner import Learner
from eastwall.learning.openapi_export import openapi
from eastwall.learning.openapi_import import declared
from eastwall.model.endpoint import Endpoint, Parameter


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
    assert {name: each["type"] for name, each in item["properties"].items()} == {"product_id": "integer", "quantity": "integer"}
    assert item["properties"]["quantity"]["x-eastwall"] == {"seen": 85, "of": 85, "minimum": 1, "maximum": 3}
    listed = document["paths"]["/products"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert listed["type"] == "array"
    assert listed["items"]["properties"]["price"]["type"] == "number"
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
    again, faults = declared(openapi(endpoints, "shop"), "shop")
    assert not faults
    assert [(e.id, e.method, e.template, e.parameters) for e in again] == [
        (e.id, e.method, e.template, e.parameters) for e in endpoints
    ]
    for mine, theirs in zip(endpoints, again, strict=True):
        assert theirs.origin == "declared"
        assert {f.place for f in theirs.request.fields} == {f.place for f in mine.request.fields}
