"""Arguments against the JSON Schemas of tools."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery.input_schemas import MAX_VIOLATIONS, InputSchema

PAY = {
    "type": "object",
    "properties": {
        "amount": {"type": "number", "minimum": 1, "exclusiveMaximum": 1000},
        "to": {"type": "string", "minLength": 3, "maxLength": 10},
        "currency": {"enum": ["EUR", "USD"]},
        "memo": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "lines": {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/Line"}},
        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
        "count": {"type": "integer"},
    },
    "required": ["amount", "to"],
    "$defs": {"Line": {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]}},
}
GOOD: dict[str, Any] = {"amount": 5, "to": "acct"}


@pytest.mark.parametrize(
    "more",
    [
        {}, {"amount": 999.5}, {"currency": "EUR"}, {"memo": None}, {"memo": "x"}, {"lines": [{"sku": "a"}]}, {"tags": {"any": "x"}},
        {"count": 3.0}, {"lines": []},
    ],
)  # fmt: skip
def test_what_fits(more: dict[str, Any]) -> None:
    assert InputSchema(PAY).violations({**GOOD, **more}) == []


@pytest.mark.parametrize(
    ("arguments", "aspect", "place", "expected", "got"),
    [
        ({"amount": "5", "to": "acct"}, "types", "arguments.amount", "a number", "a string"),
        ({"amount": True, "to": "acct"}, "types", "arguments.amount", "a number", "a boolean"),
        ({"amount": 0, "to": "acct"}, "types", "arguments.amount", "at least 1", "another number"),
        ({"amount": 1000, "to": "acct"}, "types", "arguments.amount", "less than 1000", "another number"),
        ({"amount": 5}, "missing", "arguments.to", "the argument", "none"),
        ({**GOOD, "to": "x"}, "types", "arguments.to", "at least 3 characters", "1"),
        ({**GOOD, "currency": "GBP"}, "types", "arguments.currency", "one of 2 values", "another"),
        ({**GOOD, "memo": 5}, "types", "arguments.memo", "one of 2 forms", "an integer"),
        ({**GOOD, "lines": [{}]}, "missing", "arguments.lines[].sku", "the argument", "none"),
        ({**GOOD, "lines": [{"sku": "a"}] * 3}, "types", "arguments.lines", "at most 2 items", "3"),
        ({**GOOD, "tags": {"a": 1}}, "types", "arguments.tags.a", "a string", "an integer"),
        ({**GOOD, "count": 3.5}, "types", "arguments.count", "an integer", "a number"),
        ([], "types", "arguments", "an object", "an array"),
    ],
)
def test_what_does_not(arguments: Any, aspect: str, place: str, expected: str, got: str) -> None:
    (one,) = InputSchema(PAY).violations(arguments)
    assert (one.aspect, one.place, one.expected, one.got) == (aspect, place, expected, got)


def test_unknown_arguments_have_their_path_in_the_message() -> None:
    (one,) = InputSchema(PAY).violations({**GOOD, "lines": [{"sku": "a", "x": 1}]}, "params.arguments", ("params", "arguments"))
    assert (one.aspect, one.place, one.path) == (
        "unknown",
        "params.arguments.lines[].x",
        ("params", "arguments", "lines", 0, "x"),
    )


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
        {"allOf": [{"properties": {"x": {}}}], "properties": {"a": {}}},
        {"properties": {"a": {}}, "patternProperties": {"^x": {}}},
        {"$ref": "https://elsewhere.example/schema"},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"type": "thing"},
        {"type": 7, "properties": [], "required": "x", "enum": "x", "anyOf": {}, "minimum": "1"},
        {"anyOf": []},
        {"properties": {"x": {"not": {}, "pattern": "(a+)+$", "format": "date"}}},
    ],
)
def test_what_is_not_understood_says_nothing(schema: dict[str, Any]) -> None:
    assert InputSchema(schema).violations({"x": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"}) == []


def test_forms_that_are_told_by_their_type() -> None:
    schema = {"properties": {"at": {"anyOf": [{"type": "string", "enum": ["now"]}, {"type": "integer", "minimum": 0}]}}}
    (one,) = InputSchema(schema).violations({"at": -1})
    assert (one.expected, one.got) == ("at least 0", "another number")


def test_empty_objects_and_closed_ones() -> None:
    assert InputSchema({"type": "object", "additionalProperties": False}).violations({"a": 1})[0].aspect == "unknown"


def test_work_is_bounded() -> None:
    loop = {"properties": {"a": {"$ref": "#"}}, "anyOf": [{"$ref": "#"}, {"$ref": "#"}]}
    deep: Any = {}
    for _ in range(500):
        deep = {"a": deep}
    InputSchema(loop).violations(deep)
    assert len(InputSchema(PAY).violations({**GOOD, **{f"x{n}": 1 for n in range(10_000)}})) == MAX_VIOLATIONS


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
keywords = st.sampled_from(
    ["type", "properties", "required", "additionalProperties", "items", "prefixItems", "enum", "const", "minimum", "maxLength", "anyOf", "allOf", "$ref", "maxItems"]
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(keywords, json_values, max_size=5), json_values)
def test_no_schema_makes_it_raise(schema: dict[str, Any], arguments: Any) -> None:
    InputSchema(schema).violations(arguments)
