"""The inventory as OpenAPI documents: valid whatever was learned, and true to it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec.structs import replace
from openapi_spec_validator import validate
from tests.unit.learning.shop_traffic import KEY, message, record, shop

from eastwall.discovery.shapes import shape
from eastwall.learning.learner import Learner
from eastwall.learning.openapi_export import VERSIONS, openapi
from eastwall.learning.openapi_import import declared
from eastwall.learning.schema import SchemaState
from eastwall.model.endpoint import Endpoint, FieldProfile, Parameter, Schema
from eastwall.model.operation import Operation

BOTH = pytest.mark.parametrize("version", sorted(VERSIONS))


def exported(records: list[Any], version: str = "3.1") -> dict[str, Any]:
    learner = Learner(KEY)
    learner.fold(records)
    document = openapi(learner.endpoints(), "shop", version)
    validate(document)
    assert json.loads(json.dumps(document)) == document
    return document


def learned(*bodies: Any) -> Schema:
    state = SchemaState()
    for at, body in enumerate(bodies):
        state.fold(shape(Operation("rest", "GET", (), "/x", (), body, "json"), ()), float(at))
    return state.schema()


NO_SCHEMA = Schema()


def get(schema: Schema = NO_SCHEMA, template: str = "/x", **rest: Any) -> Endpoint:
    return Endpoint(id=f"ep_{template}", service="shop", method="GET", template=template, responses=((200, schema),), **rest)


def answer(document: dict[str, Any], path: str = "/x", status: str = "200") -> dict[str, Any]:
    return document["paths"][path]["get"]["responses"][status]["content"]["application/json"]["schema"]


@BOTH
def test_what_is_learned_is_a_valid_document(version: str) -> None:
    document = exported(shop(300), version)
    assert document["openapi"] == VERSIONS[version]
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
    assert order["security"] == [{"credentials": []}]
    assert document["components"]["securitySchemes"]["credentials"]["type"] == "http"


@BOTH
def test_awkward_shapes_stay_valid(version: str) -> None:
    answers: list[Any] = [
        {"4711": {"x": None}}, [[1], ["a"]], "text", 5, None, {"": 1, "a b": [], "$ref": "x"}, {"x": [1, {"y": 2}, None]},
    ]  # fmt: skip
    records = [
        record(
            "GET",
            f"/r/{chr(97 + n)}",
            user=f"u{m}",
            answer=answer,
            query=(("filter[a]", "1"), ("since", "2026-01-01"), ("tags[]", "x")),
        )
        for n, answer in enumerate(answers)
        for m in range(3)
    ]
    records += [record("PURGE", "/cache"), record("GET", "/a/1/b/2", status=599), record("GET", "/", status=204)]
    document = exported(records, version)
    assert "purge" not in json.dumps(document["paths"])
    assert document["info"]["x-eastwall"]["omitted"] == {"methods that OpenAPI has no word for": 1}
    assert "1 methods that OpenAPI has no word for" in document["info"]["description"]
    shapes = next(item for path, item in document["paths"].items() if path.startswith("/r/"))
    names = {p["name"]: p["schema"].get("type") for p in shapes["get"]["parameters"] if p["in"] == "query"}
    assert names == {"filter[a]": "integer", "since": "string", "tags[]": "string"}


def test_nullable_in_both_dialects() -> None:
    schema = learned(
        *({"note": None if n % 2 else "x", "state": None if n % 3 else ["new", "paid"][n % 2], "none": None} for n in range(80))
    )
    new = answer(openapi([get(schema)], "shop"))["properties"]
    assert new["note"]["type"] == ["string", "null"]
    assert new["state"]["enum"] == ["new", "paid", None]
    assert new["none"]["type"] == "null"
    old = answer(openapi([get(schema)], "shop", "3.0"))["properties"]
    assert (old["note"]["type"], old["note"]["nullable"]) == ("string", True)
    assert old["state"]["enum"] == ["new", "paid", None]
    assert old["none"]["nullable"] is True


def test_several_types_in_both_dialects() -> None:
    schema = learned({"a": 1}, {"a": "x"}, {"a": {"b": 1}}, {"a": [1]}, {"a": None})
    assert answer(openapi([get(schema)], "shop"))["properties"]["a"]["type"] == ["array", "integer", "object", "string", "null"]
    old = answer(openapi([get(schema)], "shop", "3.0"))["properties"]["a"]["anyOf"]
    assert [each["type"] for each in old] == ["array", "integer", "object", "string"]


def payment(n: int) -> dict[str, Any]:
    return {"type": "card", "number": "a b", "cvc": "c d"} if n % 2 else {"type": "iban", "account": "a b"}


@BOTH
def test_forms_are_components_with_a_discriminator(version: str) -> None:
    document = openapi([get(learned(*([payment(n), payment(n + 1)] for n in range(60))))], "shop", version)
    validate(document)
    items = answer(document)["items"]
    assert items["discriminator"]["propertyName"] == "type"
    assert items["discriminator"]["mapping"] == {
        "card": "#/components/schemas/get_x_200_card", "iban": "#/components/schemas/get_x_200_iban",
    }  # fmt: skip
    card = document["components"]["schemas"]["get_x_200_card"]
    assert card["required"] == ["cvc", "number", "type"]
    assert card["properties"]["type"]["enum"] == ["card"]
    assert "account" not in card["properties"]


def test_maps_are_additional_properties() -> None:
    rng = random.Random(1)
    users = [f"{a}_{b}" for a in ("anna", "ben", "carla", "david", "elena") for b in "abcdefghijk"]
    schema = learned(*({"page": 1, "users": {user: {"n": 1, "m": 2} for user in rng.sample(users, 2)}} for _ in range(80)))
    users_schema = answer(openapi([get(schema)], "shop"))["properties"]["users"]
    assert "properties" not in users_schema
    assert users_schema["additionalProperties"]["required"] == ["m", "n"]


@BOTH
def test_what_openapi_cannot_say_is_counted(version: str) -> None:
    endpoints = [
        get(),
        Endpoint(id="g1", service="shop", method="POST", template="/graphql", protocol="graphql", operation="query orders"),
        Endpoint(id="g2", service="shop", method="POST", template="/graphql", protocol="graphql", operation="query users"),
        Endpoint(id="m", service="shop", method="POST", template="/mcp", protocol="mcp", operation="tools/call search"),
        Endpoint(id="o", service="other", method="GET", template="/elsewhere"),
    ]
    document = openapi(endpoints, "shop", version)
    validate(document)
    assert list(document["paths"]) == ["/x"]
    assert document["info"]["x-eastwall"]["omitted"] == {"graphql operations": 2, "mcp operations": 1}


@BOTH
def test_parameters_of_one_name_get_names_of_their_own(version: str) -> None:
    endpoints = [
        Endpoint(id="a", service="shop", method="GET", template="/a/{id}/b/{id}", parameters=(Parameter("id", "uuid"),) * 2),
        Endpoint(id="b", service="shop", method="GET", template="/a/{id}/b_{id}"),
        Endpoint(id="c", service="shop", method="PUT", template="/a/{one}/b_{other}"),
        Endpoint(id="d", service="shop", method="GET", template="/a/{x}/b_{y}"),
    ]
    document = openapi(endpoints, "shop", version)
    validate(document)
    assert list(document["paths"]) == ["/a/{id}/b/{id2}", "/a/{id}/b_{id2}"]
    assert set(document["paths"]["/a/{id}/b_{id2}"]) == {"get", "put"}  # paths that differ in names only are one path
    assert document["info"]["x-eastwall"]["omitted"] == {"operations of a path that is there already": 1}


def test_operation_ids_are_distinct() -> None:
    templates = ["/a/b", "/a-b", "/a_b", "/a.b", "/A/b"]
    document = openapi([get(template=template) for template in templates], "shop")
    validate(document)
    names = [item["get"]["operationId"] for item in document["paths"].values()]
    assert len(set(names)) == len(templates)


HOSTILE = [
    "\x1b[2J\x1b]0;owned\x07",
    "<script>alert(1)</script>",
    "a\u202egpj.exe",
    "z\u200bw",
    "line\nbreak",
    "\x9b31m",
    "\ud800",
    "x" * 500,
]


@BOTH
def test_hostile_names_are_neutralised(version: str) -> None:
    schema = learned(*({name: 1, "fine": {name: [{name: "x"}]}} for name in HOSTILE for _ in range(3)))
    query = Schema(samples=3, fields=tuple(FieldProfile("query." + name, ("string",), seen=1, of=3) for name in HOSTILE))
    endpoints = [
        Endpoint(
            id="ep_" + str(at), service="sh\x1b[31mop<b>", method="GET", template=f"/{name}/{{{name}}}", responses=((200, schema),), query=query
        )
        for at, name in enumerate(HOSTILE)
    ]  # fmt: skip
    document = openapi(endpoints, "sh\x1b[31mop<b>", version)
    validate(document)
    written = json.dumps(document, ensure_ascii=False)
    assert not [c for c in written if ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "<>\u202e\u200b\ud800"]
    assert document["info"]["x-eastwall"]["omitted"]["names that are not plain text"] > 0
    assert "fine" in written


@BOTH
def test_there_and_back(version: str) -> None:
    learner = Learner(KEY)
    learner.fold(shop(300))
    endpoints = learner.endpoints()
    again, faults = declared(openapi(endpoints, "shop", version), "shop")
    assert not faults
    assert [(e.id, e.method, e.template, e.parameters) for e in again] == [
        (e.id, e.method, e.template, e.parameters) for e in endpoints
    ]
    for mine, theirs in zip(endpoints, again, strict=True):
        assert (theirs.origin, theirs.secured) == ("declared", True)
        assert {f.place for f in theirs.request.fields} == {f.place for f in mine.request.fields}
        for (status, learned_), (told, read) in zip(mine.responses, theirs.responses, strict=True):
            assert status == told
            kinds = {f.place: set(f.kinds) - ({"integer"} if "number" in f.kinds else set()) for f in learned_.fields}
            assert {f.place: set(f.kinds) for f in read.fields} == kinds


def test_declared_bounds_are_keywords_and_observed_ones_are_not() -> None:
    fields = (
        FieldProfile("$", ("object",), seen=9, of=9),
        FieldProfile("limit", ("integer",), minimum=1.0, maximum=100.0, required=True),
        FieldProfile("name", ("string",), min_length=2, max_length=40, enum=("a", "b"), required=False, deprecated=True),
        FieldProfile("seen", ("integer",), minimum=4.0, maximum=5.0, seen=9, of=9),
    )
    schema = answer(openapi([get(Schema(samples=9, fields=fields))], "shop"))
    assert schema["properties"]["limit"] == {"type": "integer", "minimum": 1, "maximum": 100}
    assert schema["properties"]["name"] == {
        "type": "string",
        "enum": ["a", "b"],
        "minLength": 2,
        "maxLength": 40,
        "deprecated": True,
    }
    assert schema["properties"]["seen"]["x-eastwall"] == {"seen": 9, "of": 9, "minimum": 4, "maximum": 5}
    assert schema["required"] == ["seen"]  # `limit` is declared as required, but messages came without it


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(ValueError, match=r"OpenAPI `2.0` is not written; choose 3.1 or 3.0"):
        openapi([], "shop", "2.0")


NAMES = st.sampled_from(
    ["a", "b", "type", "kind", "4711", "x.y", "", "$", "tags[]", "{}", "$ref", "x-y", "<b>", "\x1b", "items", "{a}", "é"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "card", "cash", "2026-01-01", "two words", "a@b.de", "\x1b[2J"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
TEMPLATES = st.lists(
    st.sampled_from(
        ["orders", "{id}", "{order_id}", "{a}.{b}", "v1", "a b", "%20", "{}", "{x", "}", "?", "#", "<i>", "é", "{a-b}:go"]
    ),
    max_size=4,
).map(lambda parts: "/" + "/".join(parts))


@given(
    st.lists(st.tuples(TEMPLATES, st.sampled_from(["GET", "POST", "PATCH", "BREW"]), st.lists(JSON, max_size=4)), max_size=5),
    st.sampled_from(sorted(VERSIONS)),
)
@example([("/{a}/{}", "GET", [{"type": "card"}])], "3.0")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_learned_state_is_a_valid_document(learned_: list[tuple[str, str, list[Any]]], version: str) -> None:
    endpoints = []
    for at, (template, method, bodies) in enumerate(learned_):
        schema, query = learned(*bodies), SchemaState()
        for body in bodies:
            pairs = tuple((name, str(value)) for name, value in body.items()) if isinstance(body, dict) else ()
            query.fold([f for f in shape(message("GET", "/x", None, pairs), ()) if f.place.startswith("query.")], 1.0)
        endpoints.append(
            Endpoint(
                id=str(at), service="shop", method=method, template=template, request=schema, responses=((200, schema), (0, schema)),
                query=query.schema(), statuses=((200, 3), (404, 1), (999, 1)), authenticated=at / 4, body_kinds=("json", "form"),
            )
        )  # fmt: skip
    document = openapi(endpoints, "shop", version)
    validate(document)
    json.dumps(document, allow_nan=False)


@given(st.lists(JSON | st.integers(0, 9).map(payment), min_size=1, max_size=4), st.integers(1, 30))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_was_learned_from_fits_the_schema(bodies: list[Any], times: int) -> None:
    document = openapi([get(learned(*bodies * times))], "shop")
    response = document["paths"]["/x"]["get"]["responses"]["200"]
    if "content" not in response:
        return
    schema = next(iter(response["content"].values()))["schema"] | {"components": document.get("components", {})}
    validator = Draft202012Validator(schema)
    for body in bodies:
        validator.validate(body)


@BOTH
def test_an_uploaded_file_is_binary_and_not_an_object(version: str) -> None:
    photo = {"filename": "a.png", "content_type": "image/png", "size": 3}
    bodies = [{"note": "x", "photo": photo, "more": [photo]}, {"photo": photo}]
    seen = learned(*bodies)
    upload = Endpoint("ep_u", "shop", "POST", "/u", calls=2, statuses=((200, 2),), request=seen, body_kinds=("multipart",))
    document = openapi([upload, replace(upload, id="ep_j", template="/j", body_kinds=("json",))], "shop", version)
    validate(document)
    of = {path: item["post"]["requestBody"]["content"] for path, item in document["paths"].items()}
    files = of["/u"]["multipart/form-data"]["schema"]["properties"]
    assert (files["photo"]["type"], files["photo"]["format"]) == ("string", "binary")
    assert files["more"]["items"]["format"] == "binary"
    assert of["/j"]["application/json"]["schema"]["properties"]["photo"]["type"] == "object", "in JSON it is what it says"
