"""Schemas and distinct counts from samples."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.learning.shop_traffic import message

from eastwall.discovery.shapes import shape
from eastwall.learning.schema import MAX_PLACES, SchemaState
from eastwall.learning.sketch import SIZE, Distinct, hash64
from eastwall.model.endpoint import FieldProfile
from eastwall.model.facts import Field


def learned(*bodies: Any) -> dict[str, FieldProfile]:
    state = SchemaState()
    for body in bodies:
        state.fold(shape(message("GET", "/x", body)), 1.0)
    return {field.place: field for field in state.schema().fields}


def required(field: FieldProfile) -> bool:
    return field.seen == field.of


def test_required_is_relative_to_the_parent() -> None:
    found = learned({"a": 1, "o": {"x": 1}}, {"a": 2}, {"a": 3, "o": {"x": 2, "y": 3}}, {"a": 1, "o": None})
    assert required(found["a"])
    assert (found["o"].seen, found["o"].of, found["o"].kinds) == (3, 4, ("null", "object"))
    assert (found["o.x"].seen, found["o.x"].of) == (2, 2)
    assert (found["o.y"].seen, found["o.y"].of) == (1, 2)


def test_a_field_that_some_items_lack_is_optional() -> None:
    found = learned([{"id": 1, "name": "a"}, {"id": 2}], [{"id": 3, "name": "b"}], [])
    assert required(found["[].id"])
    assert not required(found["[].name"])


def test_formats_bounds_and_unions() -> None:
    found = learned(
        {"d": "2026-01-01", "n": 3, "u": "x"}, {"d": "2026-12-31", "n": 7.5, "u": 4}, {"d": "2026-02-01", "n": -1, "u": None}
    )
    assert found["d"].format == "date"
    assert (found["n"].minimum, found["n"].maximum, found["n"].kinds) == (-1.0, 7.5, ("integer", "number"))
    assert found["u"].kinds == ("integer", "null", "string")
    assert learned({"d": "2026-01-01"}, {"d": "soon"})["d"].format == ""
    assert learned({"l": [3, 9, 5]})["l[]"].maximum == 9.0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.sampled_from(["", "x", "2026-01-01"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.tuples(JSON, st.integers(0, 2)), max_size=12))
@settings(max_examples=80, deadline=None)
def test_merging_is_folding(samples: list[tuple[Any, int]]) -> None:
    whole, parts = SchemaState(), [SchemaState() for _ in range(3)]
    for at, (body, shard) in enumerate(samples):
        fields = shape(message("GET", "/x", body))
        whole.fold(fields, float(at))
        parts[shard].fold(fields, float(at))
    merged = SchemaState.load(json.loads(json.dumps(parts[0].dump())))
    merged.merge(parts[1])
    merged.merge(parts[2])
    assert merged.schema() == whole.schema()
    assert merged.changed == whole.changed
    assert merged.flows() == whole.flows()


def test_junk_does_not_displace_what_is_real() -> None:
    state = SchemaState()
    for n in range(40):
        state.fold([Field("$", "object"), Field("real", "string")], 1.0)
        state.fold([Field(f"junk{n}.{m}", "string") for m in range(200)], 1.0)
    assert len(state.places) <= MAX_PLACES
    assert {field.place: field.seen for field in state.schema().fields}["real"] == 40


def test_distinct_counts_are_exact_while_small_and_near_after() -> None:
    small, large = Distinct(), Distinct()
    for n in range(SIZE - 1):
        small.add(hash64(f"a{n}"))
        small.add(hash64(f"a{n}"))
    assert small.count() == SIZE - 1
    for n in range(20_000):
        large.add(hash64(f"b{n}"))
    assert 16_000 < large.count() < 24_000
    halves = [Distinct(), Distinct()]
    for n in range(20_000):
        halves[n % 2].add(hash64(f"b{n}"))
    halves[0].merge(halves[1])
    assert halves[0].hashes == large.hashes
    assert Distinct(set(large.hashes)).count() == large.count()
