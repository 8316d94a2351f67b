"""Declared endpoints from OpenAPI 3.0, 3.1 and Swagger 2.0: what is there is read, what is wrong is told and left out."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eastwall.learning.openapi_import import declared
from eastwall.learning.openapi_schema import MAX_PLACES
from eastwall.learning.spec_text import SpecError
from eastwall.model.endpoint import Endpoint, FieldProfile, Parameter, Schema

PETS: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "t", "version": "1"},
    "servers": [{"url": "https://{host}/api/{version}/", "variables": {"host": {"default": "h"}, "version": {"default": "v1"}}}],
    "security": [{"key": []}],
    "paths": {
        "/pets/{petId}": {
            "parameters": [{"$ref": "#/components/parameters/Pet"}],
            "get": {
                "operationId": "getPet",
                "deprecated": True,
                "parameters": [
                    {"name": "full", "in": "query", "schema": {"type": "boolean"}},
                    {"name": "limit", "in": "query", "required": True, "schema": {"type": "integer", "minimum": 1, "maximum": 100}},
                    {"name": "tag", "in": "query", "schema": {"type": "array", "items": {"type": "string", "enum": ["b", "a"]}}},
                    {"name": "ids", "in": "query", "explode": False, "schema": {"type": "array", "items": {"type": "integer"}}},
                    {"name": "filter", "in": "query", "style": "deepObject", "schema": {"properties": {"age": {"type": "integer"}}}},
                    {"name": "X-Request-Id", "in": "header", "schema": {"type": "string", "format": "uuid"}},
                    {"name": "Accept", "in": "header", "schema": {"type": "string"}},
                    {"name": "sid", "in": "cookie", "schema": {"type": "string", "maxLength": 40}},
                ],
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}},
                    "4XX": {"$ref": "#/components/responses/Fault"},
                    "default": {"description": "else"},
                },
            },
            "put": {
                "security": [],
                "requestBody": {"$ref": "#/components/requestBodies/Pet"},
                "responses": {"204": {"description": "done"}},
            },
        }
    },
    "components": {
        "parameters": {"Pet": {"name": "petId", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}},
        "requestBodies": {
            "Pet": {
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/Pet"}},
                    "application/x-www-form-urlencoded": {"schema": {"type": "object", "properties": {"name": {"type": "string"}}}},
                }
            }
        },
        "responses": {"Fault": {"content": {"application/problem+json": {"schema": {"required": ["title"], "properties": {"title": {}}}}}}},
        "schemas": {
            "Pet": {
                "allOf": [
                    {"$ref": "#/components/schemas/Named"},
                    {"properties": {"tags": {"type": "array", "maxItems": 9, "items": {"properties": {"id": {"type": "integer"}}}}}},
                    {
                        "required": ["kind"],
                        "properties": {
                            "id": {"type": "string", "readOnly": True},
                            "secret": {"type": "string", "writeOnly": True},
                            "parent": {"$ref": "#/components/schemas/Pet"},
                            "prices": {"additionalProperties": {"type": "number"}},
                            "meta": {"type": "object"},
                            "kind": {"type": "string", "enum": ["dog", "cat"], "minLength": 3, "deprecated": True},
                            "home": {"oneOf": [{"$ref": "#/components/schemas/House"}, {"$ref": "#/components/schemas/Boat"}]},
                        },
                    },
                ]
            },
            "Named": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "nullable": True}}},
            "House": {"type": "object", "required": ["door", "at"], "properties": {"door": {"type": "integer"}, "at": {"type": "string"}}},
            "Boat": {"type": "object", "required": ["at"], "properties": {"at": {"type": "integer"}}},
        },
    },
}  # fmt: skip


def read(document: Any, service: str = "zoo") -> list[Endpoint]:
    endpoints, faults = declared(document, service)
    assert not faults
    return list(endpoints)


def fields(schema: Schema) -> dict[str, FieldProfile]:
    return {field.place: field for field in schema.fields}


def test_operations_and_parameters() -> None:
    get, put = read(PETS)
    assert (get.method, get.template, get.service, get.origin) == ("GET", "/api/v1/pets/{petId}", "zoo", "declared")
    assert get.parameters == (Parameter("petId", "uuid"),)
    assert (get.deprecated, get.secured, put.deprecated, put.secured) == (True, True, False, False)
    found = fields(get.query)
    assert set(found) == {
        "path.petId", "query.full", "query.limit", "query.tag", "query.tag[]", "query.ids", "query.filter[age]", "header.x-request-id", "cookie.sid",
    }  # fmt: skip
    assert found["query.limit"] == FieldProfile("query.limit", ("integer",), minimum=1.0, maximum=100.0, required=True)
    assert (found["query.tag"].kinds, found["query.tag[]"].enum) == (("array",), ("a", "b"))
    assert found["query.ids"].kinds == ("array", "string")  # `ids=1,2` is one text
    assert (found["path.petId"].required, found["path.petId"].format) == (True, "uuid")
    assert (found["cookie.sid"].max_length, found["query.full"].required) == (40, False)


def test_requests_and_responses() -> None:
    get, put = read(PETS)
    request, answer = fields(put.request), fields(dict(get.responses)[200])
    assert [status for status, _ in get.responses] == [0, 4, 200]
    assert put.body_kinds == ("form", "json")
    assert put.request.media_types == ("application/json", "application/x-www-form-urlencoded")
    assert (request["name"].kinds, request["name"].required) == (("null", "string"), True)
    assert (request["kind"].enum, request["kind"].min_length, request["kind"].deprecated) == (("cat", "dog"), 3, True)
    assert (request["tags"].kinds, request["tags"].max_length, request["tags[].id"].kinds) == (("array",), 9, ("integer",))
    assert request["prices.{}"].kinds == ("number",)
    assert request["meta.{}"].kinds == ()  # an object of which nothing is said takes anything
    assert (request["home.at"].kinds, request["home.at"].required) == (("integer", "string"), True)
    assert request["home.door"].required is False  # only one of the alternatives needs it
    assert "parent.name" in request
    assert ("id" in request, "secret" in request) == (False, True)
    assert ("id" in answer, "secret" in answer) == (True, False)
    assert all(field.seen == 0 for field in [*request.values(), *answer.values()])
    problem = fields(dict(get.responses)[4])
    assert (problem["title"].kinds, problem["title"].required) == ((), True)


def test_recursion_ends_in_a_place_for_more() -> None:
    request = fields(read(PETS)[1].request)
    deepest = max(request, key=lambda place: place.count("parent"))
    assert deepest.count("parent") <= 4
    assert any(place.startswith("parent") and place.endswith(".{}") and not field.kinds for place, field in request.items())


def test_openapi_31() -> None:
    body = {
        "type": ["object", "null"],
        "properties": {
            "a": {"type": ["string", "null"], "format": "date"},
            "b": {"const": "x"},
            "c": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "d": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
            "e": {"$ref": "#/components/schemas/E", "description": "sibling", "maxLength": 3},
            "f": {"patternProperties": {"^x-": {"type": "integer"}}},
            "g": {"exclusiveMinimum": 0, "type": "number"},
            "h": True,
        },
    }
    document = {
        "openapi": "3.1.0",
        "paths": {"/a": {"post": {"requestBody": {"content": {"application/json": {"schema": body}}}}}},
        "components": {"schemas": {"E": {"type": "string", "maxLength": 9}}},
    }
    found = fields(read(document)[0].request)
    assert found["$"].kinds == ("null", "object")
    assert (found["a"].kinds, found["a"].format) == (("null", "string"), "date")
    assert (found["b"].kinds, found["b"].enum) == (("string",), ("x",))
    assert found["c"].kinds == ("null", "string")
    assert found["d[]"].kinds == ("integer", "string")
    assert (found["e"].kinds, found["e"].max_length) == (("string",), 3)
    assert found["f.{}"].kinds == ("integer",)
    assert (found["g"].minimum, found["h"].kinds) == (0.0, ())


def test_several_servers() -> None:
    document = {
        "openapi": "3.0.0",
        "servers": [{"url": "https://a/v1"}, {"url": "https://b/v1/"}, {"url": "/v2"}],
        "paths": {"/x": {"get": {}, "put": {"servers": [{"url": "https://c/other"}]}}},
    }
    found = {(e.method, e.template): e.alternatives for e in read(document)}
    assert found == {("GET", "/v1/x"): ("/v2/x",), ("GET", "/v2/x"): ("/v1/x",), ("PUT", "/other/x"): ()}


SWAGGER: dict[str, Any] = {
    "swagger": "2.0",
    "basePath": "/v1/",
    "consumes": ["application/json"],
    "produces": ["application/json", "application/xml"],
    "security": [{"key": []}],
    "paths": {
        "/pets/{id}": {
            "post": {
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "type": "integer"},
                    {"name": "tags", "in": "query", "type": "array", "items": {"type": "string"}, "collectionFormat": "multi"},
                    {"name": "body", "in": "body", "schema": {"$ref": "#/definitions/Pet"}},
                ],
                "responses": {"200": {"schema": {"type": "array", "items": {"$ref": "#/definitions/Pet"}}}},
            }
        },
        "/upload": {
            "post": {
                "consumes": ["multipart/form-data"],
                "parameters": [
                    {"name": "file", "in": "formData", "type": "file", "required": True},
                    {"name": "note", "in": "formData", "type": "string", "x-nullable": True},
                ],
            }
        },
    },
    "definitions": {"Pet": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
}


def test_swagger_2() -> None:
    pet, upload = read(SWAGGER)
    assert (pet.template, pet.parameters, pet.secured) == ("/v1/pets/{id}", (Parameter("id", "integer"),), True)
    assert {place: field.kinds for place, field in fields(pet.query).items()} == {
        "path.id": ("integer",), "query.tags": ("array",), "query.tags[]": ("string",),
    }  # fmt: skip
    assert fields(pet.request)["name"].required is True
    (status, answer) = pet.responses[0]
    assert (status, answer.media_types, set(fields(answer))) == (
        200,
        ("application/json", "application/xml"),
        {"$", "[]", "[].name"},
    )
    assert {place: field.kinds for place, field in fields(upload.request).items()} == {
        "$": ("object",), "file": ("string",), "note": ("null", "string"),
    }  # fmt: skip
    assert upload.body_kinds == ("multipart",)


def test_schemas_that_multiply_end() -> None:
    knot = {"anyOf": [{"$ref": "#/components/schemas/Knot"}] * 12, "properties": {"x": {"type": "string"}}}
    wide = {f"p{n}": {"$ref": f"#/components/schemas/W{(n * 7) % 40}"} for n in range(40)}
    document = {
        "openapi": "3.1.0",
        "paths": {
            f"/{name}": {
                "post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}}
            }
            for name in ("Knot", "W0")
        },
        "components": {"schemas": {"Knot": knot, **{f"W{n}": {"type": "object", "properties": wide} for n in range(40)}}},
    }
    started = time.monotonic()
    first, second = read(document)
    assert set(fields(first.request)) == {"$", "x"}
    assert 40 < len(second.request.fields) <= 2 * MAX_PLACES
    assert time.monotonic() - started < 2


def broken() -> dict[str, Any]:
    return {
        "openapi": "3.0.0",
        "servers": [{"url": "http://[::1"}, {"url": "https://{x}/v1"}, {}],
        "paths": {
            "pets": {},
            "/a": 3,
            "/b": {
                "get": "x",
                "post": {"operationId": "same", "parameters": [{"in": "query"}, {"name": "q", "in": "nowhere"}, 7]},
            },
            "/c/{id}": {
                "get": {"operationId": "same", "responses": {"twohundred": {}, "200": [], "404": {"$ref": "#/components/x"}}}
            },
            "/c/{other}": {
                "get": {"parameters": [{"name": "gone", "in": "path", "schema": {"type": "int"}}]},
                "delete": {
                    "requestBody": {"content": {"application/json": {"schema": {"properties": [], "items": 3, "allOf": {}}}}}
                },
            },
            "/d?x=1": {"get": {"requestBody": {"$ref": "other.yaml#/x"}, "security": "all"}},
            "/e": {"$ref": "#/paths/~1e"},
            "/f": {"put": {"parameters": {}, "requestBody": {"content": {"a/b": 1, "application/json": {"schema": "x"}}}}},
            "/fine": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#Anchor"}}}}}}},
        },
    }


def test_all_faults_are_told_and_the_rest_is_used() -> None:
    endpoints, faults = declared(broken(), "zoo")
    assert {(e.method, e.template) for e in endpoints} == {
        ("POST", "/v1/b"), ("GET", "/v1/c/{id}"), ("DELETE", "/v1/c/{other}"), ("GET", "/v1/d"), ("PUT", "/v1/f"),
        ("GET", "/v1/fine"),
    }  # fmt: skip
    told = [str(fault) for fault in faults]
    for expected in (
        "/servers/0/url: `http://[::1` is no URL",
        "/servers/1: server variable `x` has no default",
        "/servers/2: the server has no `url`",
        "/paths/pets: path `pets` does not start with a slash",
        "/paths/~1a: path `/a` is a number",
        "/paths/~1b/get: operation is a string",
        "/paths/~1b/post/parameters/0: parameter has no name",
        "/paths/~1b/post/parameters/1: parameter `q` is in `nowhere`",
        "/paths/~1b/post/parameters/2: parameter is a number",
        "/paths/~1c~1{id}/get/operationId: `same` is also the id of `/paths/~1b/post`",
        "/paths/~1c~1{id}/get: path parameter `id` is not described",
        "/paths/~1c~1{id}/get/responses/twohundred: `twohundred` is no status",
        "/paths/~1c~1{id}/get/responses/200: response is a list",
        "/paths/~1c~1{id}/get/responses/404/$ref: reference `#/components/x` leads nowhere",
        "/paths/~1c~1{other}: path `/c/{other}` is the same as `/c/{id}`",
        "/paths/~1c~1{other}/get: GET `/v1/c/{other}` is declared before, at `/paths/~1c~1{id}/get`",
        "/paths/~1c~1{other}/get/parameters/0: the path has no parameter `gone`",
        "/paths/~1c~1{other}/get/parameters/0/schema/type: `int` is no type",
        "/paths/~1d?x=1: path `/d?x=1` holds `?`",
        "/paths/~1d?x=1/get/requestBody/$ref: reference `other.yaml#/x` leads out of the document",
        "/paths/~1d?x=1/get/security: `security` is a string",
        "/paths/~1e/$ref: references go in a circle",
        "/paths/~1f/put/parameters: `parameters` is an object",
        "/paths/~1f/put/requestBody/content/a~1b: media type `a/b` is a number",
        "/paths/~1f/put/requestBody/content/application~1json/schema: a string `x` stands where a schema must",
        "/paths/~1fine/get/responses/200/content/application~1json/schema/$ref: reference `#Anchor` names an anchor",
    ):
        assert any(line.startswith(expected) for line in told), expected
    assert all("\n" not in line for line in told)
    schema = "/paths/~1c~1{other}/delete/requestBody/content/application~1json/schema"
    assert {line.partition(":")[0] for line in told if line.startswith(schema)} == {
        f"{schema}/{x}" for x in ("properties", "items", "allOf")
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "not an OpenAPI document: it has neither `openapi` nor `swagger`"),
        ({"swagger": "1.2"}, "not an OpenAPI document: `swagger` is `1.2`"),
        ({"openapi": "2.0"}, "not an OpenAPI document: `openapi` is `2.0`"),
        ({"openapi": "3.2.0"}, "not an OpenAPI document: `openapi` is `3.2.0`"),
        ({"openapi": 3}, "not an OpenAPI document: `openapi` is `3`"),
        ([], "not an OpenAPI document: it is a list"),
        (None, "not an OpenAPI document: it is null"),
        ({"openapi": "3.1.0", "paths": ["a"]}, "`paths` is a list"),
        ({"swagger": "2.0"}, "`paths` is missing"),
        ({"openapi": "\x1b[2J<b>"}, "not an OpenAPI document: `openapi` is `?[2J<b>`"),
    ],
)
def test_what_is_no_document_is_refused_in_one_line(document: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        declared(document)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_faults_bear_hostile_names_harmlessly() -> None:
    name = "/\x1b[2J\u202e\n" + "x" * 2000
    get = {"operationId": "a\x1b]0;b\x07", "parameters": [{"name": "\x1b[31m", "in": "\x07"}]}
    _, faults = declared({"openapi": "3.0.0", "paths": {name: {"get": get, "put": dict(get), "post": 3}, "\x1b": {}}})
    assert len(faults) == 5
    for fault in faults:
        assert str(fault).isprintable()
        assert "\u202e" not in str(fault)
        assert len(str(fault)) < 1200


def test_a_document_without_paths_declares_nothing() -> None:
    assert declared({"openapi": "3.1.0"}) == ((), ())


def _places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in entries:
        found += _places(child, (*at, key))
    return found


PLACES = {"pets": _places(PETS), "swagger": _places(SWAGGER)}
WRONG = st.sampled_from(
    [None, True, 0, -1.5, "", "x", "#/x", [], {}, [None], {"$ref": 3}, {"$ref": "#/"}, {"": {}}, "/a/{b}", 10**400, ["\x1b"]]
)


@given(st.sampled_from(sorted(PLACES)), st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_wrong_anywhere_nothing_breaks(name: str, data: st.DataObject) -> None:
    document = copy.deepcopy({"pets": PETS, "swagger": SWAGGER}[name])
    for _ in range(data.draw(st.integers(1, 3))):
        node: Any = document
        place = data.draw(st.sampled_from(PLACES[name]))
        try:
            for step in place[:-1]:
                node = node[step]
            node[place[-1]] = copy.deepcopy(data.draw(WRONG))
        except (KeyError, TypeError, IndexError):
            continue  # what was there is gone already
    before = json.dumps(document)
    try:
        endpoints, faults = declared(document, "zoo")
    except SpecError as error:
        assert "\n" not in str(error)
        return
    assert json.dumps(document) == before
    assert all(fault.message and "\n" not in str(fault) for fault in faults)
    assert len({endpoint.id for endpoint in endpoints}) == len(endpoints)
