"""Schemas compiled for bodies: what is told, what is let be, and what it costs on hostile ones."""

from __future__ import annotations

import json
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery.body_schemas import MATURE, Bounds, MessageSchema, Violation
from eastwall.discovery.withholding import without_members
from eastwall.model.call import BodyState, Request
from eastwall.model.endpoint import FieldProfile, Schema
from eastwall.model.operation import Operation
from eastwall.protocols.decode import decode_request
from eastwall.protocols.limits import Limits


def declared(**fields: str) -> MessageSchema:
    """Place (`__` is a dot, `_0` is `[]`) -> kinds, with `!` where it is required."""
    made = [FieldProfile("$", ("object",))]
    for name, kinds in fields.items():
        place = name.replace("_0", "[]").replace("__", ".").replace("MAP", "{}")
        made.append(FieldProfile(place, tuple(kinds.strip("!").split()), required=kinds.endswith("!")))
    return MessageSchema(Schema(0, tuple(made), media_types=("application/json",)), learned=False)


ORDER = declared(
    sku="string!", qty="integer", price="number null", lines="array", lines_0="object", lines_0__p="number!", tags="array", tags_0="string",
    free="object", prices="object", prices__MAP="number", any="",
)  # fmt: skip


def told(schema: MessageSchema, body: Any) -> list[tuple[str, str, str, str]]:
    return [(one.aspect, one.place, one.expected, one.got) for one in schema.violations(body)]


def test_what_is_as_declared_passes() -> None:
    body = {"sku": "a", "qty": 1.0, "price": None, "lines": [{"p": 1}, {"p": 1.5}], "tags": [], "free": {"x": [{}]},
            "prices": {"eur": 1}, "any": {"x": 1}}  # fmt: skip
    assert told(ORDER, body) == []


def test_each_violation_has_its_place_and_no_value() -> None:
    body = {"qty": "SECRET", "role": "SECRET", "lines": [{"p": True}, {}, 7], "tags": ["a", 1], "prices": {"eur": "SECRET"}}
    found = told(ORDER, body)
    assert sorted(found) == sorted(
        [
            ("missing", "sku", "the property", "none"),
            ("types", "qty", "an integer", "a string"),
            ("unknown", "role", "no such property", "one"),
            ("types", "lines[].p", "a number", "a boolean"),
            ("missing", "lines[].p", "the property", "none"),
            ("types", "lines[]", "an object", "an integer"),
            ("types", "tags[]", "a string", "an integer"),
            ("types", "prices.{}", "a number", "a string"),
        ]
    )
    assert "SECRET" not in str(found)
    assert told(ORDER, [1]) == [("types", "$", "an object", "an array")]
    assert told(ORDER, {"sku": "a", "qty": 1.5}) == [("types", "qty", "an integer", "a number")]


def learned(samples: int, *fields: FieldProfile) -> MessageSchema:
    return MessageSchema(Schema(samples, fields), learned=True)


def test_learned_schemas_are_read_mildly() -> None:
    schema = learned(
        1000,
        FieldProfile("$", ("object",), seen=1000, of=1000),
        FieldProfile("id", ("integer",), seen=1000, of=1000),
        FieldProfile("note", ("string",), seen=MATURE - 1, of=1000),
        FieldProfile("kind", ("string",), seen=999, of=1000),
        FieldProfile("declared", ("string",), seen=0, of=0, required=True),
    )
    assert told(schema, {"id": 1.5, "note": 1, "kind": None}) == []
    assert told(schema, {"kind": "x"}) == [("missing", "id", "the property", "none")]
    assert told(schema, {"id": "1", "admin": True}) == [
        ("types", "id", "an integer", "a string"),
        ("unknown", "admin", "no such property", "one"),
    ]


def test_properties_are_not_called_unknown_while_new_ones_still_come() -> None:
    places = [FieldProfile(f"f{i}", ("string",), seen=1, of=1000) for i in range(6)]
    schema = learned(1000, FieldProfile("$", ("object",), seen=1000, of=1000), *places)
    assert not schema.closed
    assert told(schema, {"new": 1}) == []


def test_names_with_dots_and_long_names_are_known() -> None:
    long = "n" * 200
    schema = learned(
        1000,
        FieldProfile("$", ("object",), seen=1000, of=1000),
        FieldProfile("a.b", ("string",), seen=500, of=1000),
        FieldProfile(long[:128], ("string",), seen=500, of=1000),
        FieldProfile('"$"', ("string",), seen=500, of=1000),
        FieldProfile('""', ("string",), seen=500, of=1000),
    )
    assert told(schema, {"a.b": "x", long: "x", "$": "x", "": "x"}) == []


def test_bounds() -> None:
    assert Bounds(depth=2).exceeded({"a": {}}) is None
    assert Bounds(depth=2).exceeded({"a": {"b": []}}) == Violation("limits", "a.b", "at most 2 levels", "more")
    assert Bounds(length=3).exceeded({"a": ["abc", "abcd"]}) == Violation("limits", "a[]", "at most 3 characters", "4")
    assert Bounds(items=1).exceeded([1, 2]) == Violation("limits", "$", "at most 1 items", "2")
    assert Bounds(properties=1).exceeded({"a": {"b": 1, "c": 2}}) == Violation("limits", "a", "at most 1 properties", "2")


def message(raw: bytes) -> Operation:
    return decode_request(
        Request("POST", "/a", {"content-type": "application/json"}, body=raw, body_state=BodyState.COMPLETE), Limits()
    )


trees = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["x", "SECRET"]) | st.just(1.5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["sku", "qty", "lines", "p", "free", "role", "prices", 'é"\\']), inner, max_size=5)
    ),
    max_leaves=15,
)


def twin_unknown(body: Any, place: str = "$") -> set[str]:
    """Written from the schema `ORDER` by hand: places of unknown properties, where what is above has the right type."""
    inside = {"$": {"sku", "qty", "price", "lines", "tags", "free", "prices", "any"}, "lines[]": {"p"}}
    found: set[str] = set()
    if isinstance(body, dict) and place in inside:
        for key, item in body.items():
            below = key if place == "$" else f"{place}.{key}"
            if key not in inside[place]:
                found.add(below)
            else:
                found |= twin_unknown(item, below)
    elif isinstance(body, list) and place == "lines":
        for item in body:
            found |= twin_unknown(item, "lines[]")
    return found


@settings(max_examples=200)
@given(trees, st.sampled_from([None, 1]))
def test_what_is_stripped_is_gone_and_the_rest_stays(tree: Any, indent: int | None) -> None:
    operation = message(json.dumps(tree, indent=indent).encode())
    found = [one for one in ORDER.violations(operation.body) if one.aspect == "unknown"]
    assert {one.place for one in found} == twin_unknown(tree)
    if found:
        new = without_members(operation, [one.path for one in found])
        assert new is not None
        cut = json.loads(new)
        assert not [one for one in ORDER.violations(cut) if one.aspect == "unknown"]
        gone = {one.path for one in found}

        def without(node: Any, path: tuple[Any, ...] = ()) -> Any:
            if isinstance(node, dict):
                return {key: without(item, (*path, key)) for key, item in node.items() if (*path, key) not in gone}
            return [without(item, (*path, at)) for at, item in enumerate(node)] if isinstance(node, list) else node

        assert cut == without(tree)


def test_other_bytes_stay_as_they_are() -> None:
    operation = message(b'{ "sku" : "a\\u00e9", "role":"x" ,"price": 1.10,\n"lines":[ {"p":1e2,"q":[{"x":"}"}]} ]}')
    new = without_members(operation, [("role",), ("lines", 0, "q")])
    assert new == b'{"sku" : "a\\u00e9","price": 1.10,"lines":[{"p":1e2}]}'


def test_hostile_bodies_are_written_anew_as_they_were_judged() -> None:
    for raw in (
        b'{"sku":"a","role":"x","role":"y"}',
        b'{"sku":"a","r\\u006fle":"x","role":"y"}',
        b'{"lines":[{"q":1}],"sku":"a","role":1,"lines":[{"p":1,"q":1}]}',
        b'{"sku":"a","role":1} // comment',
        b'{"sku":"a","role":1,}',
        b'\xef\xbb\xbf{"sku":"a","role":1}',
        b'{"sku":"a","role":"\\ud800","x":1e400,"qty":123456789012345678901234567890}',
    ):
        operation = message(raw)
        if operation.body_kind != "json" or operation.body is None:
            continue
        paths = [one.path for one in ORDER.violations(operation.body) if one.aspect == "unknown"]
        new = without_members(operation, paths)
        assert new is not None, raw
        json.loads(new.decode("utf-8-sig"))
        assert b"role" not in new, raw
        assert b'"q"' not in new, raw


def test_deep_and_broad_bodies_cost_little() -> None:
    deep: Any = 1
    for _ in range(60):
        deep = {"a": deep, "lines": [deep]} if isinstance(deep, int) else {"lines": [deep]}
    broad = {f"k{i}": i for i in range(20_000)}
    for body in (deep, broad, [broad] * 2, {"lines": [{"p": "x"}] * 20_000}):
        before = time.process_time()
        assert len(ORDER.violations(body)) <= 1_000
        Bounds(64, 10, 50_000, 50_000).exceeded(body)
        assert time.process_time() - before < 0.5
