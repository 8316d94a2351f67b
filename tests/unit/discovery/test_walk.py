"""The cached walk agrees with its slow twins on places and references."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery import objects, shapes
from eastwall.discovery.walk import WALKER, Walker, read_request, read_response
from eastwall.model.endpoint import Match
from eastwall.model.operation import Operation

KEYS = st.sampled_from(
    ["id", "uuid", "order_id", "orderId", "items", "data", "sku", "status_code", "name", "order_ids", "owner", "price", "17", "a-b", "", "x" * 200]
)
SCALARS = st.one_of(st.integers(-5, 10**20), st.sampled_from(["abc-1", "", "no id!", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"]), st.booleans(), st.none(), st.floats())
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=25)


def operation(body: Any) -> Operation:
    return Operation("rest", "POST", ("orders",), "/orders", (("order_id", "5"),), body, "json")


@settings(max_examples=400)
@given(TREES)
def test_agrees_with_the_twins(body: Any) -> None:
    op, match = operation(body), Match(None)
    places, named = read_request(op, match, b"k", "shop")
    assert set(places) == set(shapes.properties(op))
    assert set(named) == set(objects.used(op, match, b"k", "shop"))
    assert set(read_response(op, match, b"k", "shop")) == set(objects.given(op, match, b"k", "shop"))


def test_a_map_with_a_million_keys_fills_no_cache() -> None:
    walker = Walker()
    for number in range(2_000):
        walker.walk({str(number * 1000 + n): {"id": n} for n in range(5)}, "orders", 50)
    assert walker._count < 50


def test_the_cache_is_dropped_when_full() -> None:
    walker = Walker()
    for number in range(25_000):
        walker.walk({f"name{number}": 1}, "orders", 50)
    assert walker._count <= 20_001


def test_mixed_lists_do_not_hide_references() -> None:
    assert ("order_ids[].id", "order_id", "7") in [(p, "order_id", v) for p, _, v in WALKER.walk({"order_ids": [1, {"id": 7}]}, "x", 50)[1]]
