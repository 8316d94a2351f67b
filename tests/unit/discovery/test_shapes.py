"""Shapes: places, kinds and formats of a message, within bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery.formats import lexical_of
from eastwall.discovery.shapes import ABSENT, FORM, MAX_DEPTH, MAX_FIELDS, MAX_PROPERTIES, format_of, properties, shape
from eastwall.model.facts import DataHit, Field
from eastwall.model.operation import Operation


def message(body: Any, query: tuple[tuple[str, str], ...] = (), kind: str = "json") -> Operation:
    raw = json.dumps(body).encode()
    return Operation(
        protocol="rest", method="GET", segments=("x",), path="/x", query=query, body=body, body_kind=kind, raw_body=raw
    )


def by_place(body: Any, **rest: Any) -> dict[str, list[Field]]:
    found: dict[str, list[Field]] = {}
    for field in shape(message(body, **rest)):
        found.setdefault(field.place, []).append(field)
    return found


def test_kinds_formats_and_lengths() -> None:
    found = by_place({"a": "x", "n": 3, "f": 1.5, "b": True, "z": None, "d": "2026-01-31", "l": [1, 2], "o": {"k": "v"}})
    assert {place: fields[0].kind for place, fields in found.items()} == {
        "$": "object", "a": "string", "n": "integer", "f": "number", "b": "boolean", "z": "null", "d": "string", "l": "array",
        "l[]": "integer", "o": "object", "o.k": "string",
    }  # fmt: skip
    assert found["d"][0].format == "date"
    assert found["$"][0].length == 8
    assert found["l"][0].length == 2
    assert found["n"][0].number == 3.0
    assert [field.number for field in found["l[]"]] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2026-02-28", "date"),
        ("2026-13-01", ""),
        ("2026-02-28T10:11:12Z", "date-time"),
        ("2026-02-28T10:11:12.123+01:00", "date-time"),
        ("2026-02-28 10:11", "date-time"),
        ("4b3c6f7e-0000-4000-8000-000000000000", "uuid"),
        ("4b3c6f7e-0000-4000-8000-00000000000g", ""),
        ("jane@example.com", "email"),
        ("https://example.com/x?y=1", "uri"),
        ("http://user@example.com", "uri"),
        ("10.0.0.255", "ipv4"),
        ("10.0.0.256", ""),
        ("2001:db8::1", "ipv6"),
        ("fe80:0:0:0:1:2:3:4", "ipv6"),
        ("10:11:12", "time"),
        ("10:11:99", ""),
        ("key:value:x", ""),
        ("P3DT4H", "duration"),
        ("PT5M", "duration"),
        ("P1D", "duration"),
        ("PASS", ""),
        ("PTSD", ""),
        ("PAYMENT", ""),
        ("api.example.com", "hostname"),
        ("order.created", ""),
        ("report.pdf", ""),
        ("SGVsbG8sIHdvcmxkISE=", "byte"),
        ("abcdefghijklmnop", ""),
        ("dGhpcyBpcyBhIHRlc3Qx", "~byte"),
        ("0123456789abcdef0123456789abcdef", ""),
        ("hello, world", ""),
        ("", ""),
        ("x" * 5000, ""),
    ],
)
def test_formats(text: str, form: str) -> None:
    assert format_of(text) == form


@pytest.mark.parametrize(
    ("text", "form", "number"),
    [
        ("0", "integer", 0.0), ("-12", "integer", -12.0), ("007", "", None), ("1" * 15, "integer", 111111111111111.0), ("1" * 16, "", None),
        ("1.50", "number", 1.5), ("1e3", "number", 1000.0), ("1.", "", None), (".5", "", None), ("true", "boolean", None), ("True", "", None),
        ("", "", None), ("-", "", None), ("12a", "", None), ("1 2", "", None), ("\u0661", "", None),
    ],
)  # fmt: skip
def test_types_of_text(text: str, form: str, number: float | None) -> None:
    assert lexical_of(text) == (form, number)


def test_words() -> None:
    yes = ["PENDING", "credit_card", "v1.2", "image/png", "in-progress", "a", "S3", "x86_64"]
    no = ["two words", "jane@x.org", "tok_51H8xK2eZvKYlo2C", "a" * 33, "Zürich", "12", "<b>", "a\x1b[2J", "__a", "ab12345"]
    fields = shape(message({f"k{chr(97 + n)}": text for n, text in enumerate([*yes, *no])}))
    assert [field.text for field in fields if field.text] == yes
    assert [f.text for f in shape(message({"state": "PAID"}), (DataHit("secret", "state", "***"),)) if f.text] == []
    assert [f for f in shape(message({"type": "hidden"}), (DataHit("secret", "type", "***"),)) if f.text or f.kind == FORM] == []


def test_words_of_one_message_come_each_and_not_too_many() -> None:
    few = by_place({"s": ["a", "b", "a", "c"]})["s[]"]
    assert [(f.text, f.length) for f in few] == [("a", 1), ("b", 1), ("c", 1)]
    many = by_place({"s": [chr(97 + n) * (n + 1) for n in range(15)]})["s[]"]
    assert [(f.text, f.length) for f in many] == [("", 15), ("", 1)]
    mixed = by_place({"s": ["new", "a long text with spaces"]})["s[]"]
    assert [(f.text, f.length) for f in mixed] == [("", 23), ("", 3)]


def test_gaps_deep_in_arrays_are_marked() -> None:
    found = by_place({"items": [{"o": {"x": 1, "y": 1}}, {"o": {"x": 1}}]})
    assert {place for place, fields in found.items() if any(f.kind == ABSENT for f in fields)} == {"items[].o.y"}


def test_forms_tell_what_came_with_a_word() -> None:
    found = by_place([{"type": "card", "cvc": "x y"}, {"type": "card", "cvc": "x y", "note": None}, {"type": "cash", "a\nb": 1}])
    forms = {field.text: (field.format, field.length) for field in found["[].type"] if field.kind == FORM}
    assert forms == {"card": ("type\ncvc\n?note", 2), "cash": ("type", 1)}


def test_many_entries_alike_are_a_map_at_once() -> None:
    entries = {f"user{chr(97 + n % 26)}{chr(97 + n // 26)}": {"n": n, "ok": True} for n in range(600)}
    assert set(by_place({"users": entries, "page": 1})) == {"$", "users", "users.{}", "users.{}.n", "users.{}.ok", "page"}


def test_items_are_merged_and_gaps_marked() -> None:
    found = by_place({"items": [{"id": 1, "name": "a"}, {"id": 2, "note": None}, {"id": "x"}]})
    assert sorted(field.kind for field in found["items[].id"]) == ["integer", "string"]
    assert {place for place, fields in found.items() if any(f.kind == ABSENT for f in fields)} == {"items[].name", "items[].note"}


def test_keys_that_are_data_collapse_and_hide_nothing() -> None:
    body = {"4711": {"price": 1}, "4712": {"price": 2}, "4b3c6f7e-0000-4000-8000-000000000000": {"price": 3}, "role": "admin"}
    assert set(by_place(body)) == {"$", "{}", "{}.price", "role"}
    assert properties(message(body)) == ("{}", "{}.price", "role")
    many: dict[str, Any] = {str(n): 1 for n in range(500)}
    many["is_admin"] = True
    assert "is_admin" in properties(message(many))
    assert "is_admin" in by_place(many)


def test_ids_and_sensitive_numbers_are_kept_out() -> None:
    found = by_place({"order_id": 17, "card": 4111111111111111, "total": 12.5, "big": 10**400})
    assert found["order_id"][0].number is None
    assert found["card"][0].number is None
    assert found["card"][0].data_class == "pan"
    assert found["big"][0].number is None
    assert found["total"][0].number == 12.5


def test_hits_can_be_handed_in() -> None:
    fields = shape(message({"a": "jane@example.com"}), (DataHit("email", "a", "j***@example.com"),))
    assert [(f.place, f.data_class) for f in fields] == [("$", ""), ("a", "email")]


def test_query_and_other_bodies() -> None:
    found = by_place(None, query=(("page", "2"), ("page", "3"), ("since", "2026-01-01")), kind="none")
    assert set(found) == {"query.page", "query.page[]", "query.since"}
    assert [(f.kind, f.format, f.number) for f in found["query.page[]"]] == [
        ("string", "integer", 2.0),
        ("string", "integer", 3.0),
    ]
    assert found["query.since"][0].format == "date"
    assert set(by_place([{"a": 1}])) == {"$", "[]", "[].a"}
    assert set(by_place("text", kind="text")) == {"$"}
    assert shape(message(None, kind="none")) == ()
    assert [f.kind for f in shape(message(None))] == ["null"]


def test_properties() -> None:
    body = {"a": 1, "items": [{"p": 1}, {"q": 2}], "deep": {"er": {"x": [1]}}, "nested": [[{"y": 1}]]}
    assert properties(message(body)) == (
        "a", "items", "items[].p", "items[].q", "deep", "deep.er", "deep.er.x", "nested", "nested[][].y",
    )  # fmt: skip
    assert properties(message([{"a": 1}])) == ("[].a",)
    assert properties(message("text")) == ()


def test_bounds() -> None:
    deep: Any = "leaf"
    for _ in range(400):
        deep = {"k": [deep]}
    assert len(shape(message(deep))) <= 2 * MAX_DEPTH + 2
    assert len(properties(message(deep))) <= MAX_DEPTH + 1
    wide = {f"name_{chr(97 + n % 26)}{'x' * (n // 26)}": n for n in range(3000)}
    assert len(shape(message(wide))) <= MAX_FIELDS
    assert len(properties(message(wide))) == MAX_PROPERTIES
    assert max(len(f.place) for f in shape(message({"k" * 10_000: 1}))) <= 128


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=15,
)


@given(JSON)
@settings(max_examples=150, deadline=None)
def test_every_property_has_a_field(body: Any) -> None:
    try:
        operation = message(body)
    except UnicodeEncodeError:
        return
    places = {field.place for field in shape(operation)}
    # A sampled shape reads the first items only; here there are never more than these.
    assert set(properties(operation)) <= places
