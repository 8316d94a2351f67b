"""The cached walk agrees with its slow twins on places and references."""

from __future__ import annotations

import gc
import random
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eastwall.discovery import objects, shapes, walk
from eastwall.discovery.walk import WALKER, Walker, read_request, read_request_slowly, read_response, read_response_slowly
from eastwall.model.endpoint import Endpoint, Match
from eastwall.model.operation import Operation

needs_c = pytest.mark.skipif(not walk.accelerated, reason="the walk in C is not built (no compiler at installation)")

KEYS = st.sampled_from(
    [
        "id",
        "uuid",
        "order_id",
        "orderId",
        "items",
        "data",
        "sku",
        "status_code",
        "name",
        "order_ids",
        "owner",
        "price",
        "17",
        "a-b",
        "",
        "x" * 200,
    ]
)
SCALARS = st.one_of(
    st.integers(-5, 10**20),
    st.sampled_from(["abc-1", "", "no id!", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"]),
    st.booleans(),
    st.none(),
    st.floats(),
)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=25)


def operation(body: Any) -> Operation:
    return Operation("rest", "POST", ("orders",), "/orders", (("order_id", "5"),), body, "json")


@settings(max_examples=400)
@given(TREES)
def test_agrees_with_the_twins(body: Any) -> None:
    op, match = operation(body), Match(None)
    for request, response in ((read_request, read_response), (read_request_slowly, read_response_slowly)):
        places, named = request(op, match, b"k", "shop")
        assert set(places) == set(shapes.properties(op))
        assert set(named) == set(objects.used(op, match, b"k", "shop"))
        assert set(response(op, match, b"k", "shop")) == set(objects.given(op, match, b"k", "shop"))


GIVES = st.lists(
    st.tuples(
        st.sampled_from(["id", "items[].id", "[].order_id", "data.items[].sku", "order_ids[]", "[][]", "items"]),
        st.sampled_from(["order", "user"]),
    ),
    max_size=4,
)


@needs_c
@settings(max_examples=400)
@given(st.lists(TREES, min_size=1, max_size=3), GIVES)
@example([{"items": [{"id": n} for n in range(300)]}], [])
@example([[[{"id": [1, {"id": 2}]}]]], [("[][].id", "x")])
def test_c_and_python_agree_to_the_letter(bodies: list[Any], gives: list[tuple[str, str]]) -> None:
    """Also when plans are met again (the decoder shares keys), and in the same order."""
    endpoint = Endpoint("e", "shop", "POST", "/carts/{id}", gives=tuple(gives))
    for body in bodies * 2:
        for tree in (body, as_decoded(body)):
            for match in (Match(None), Match(endpoint, (("id", "9"),))):
                op = operation(tree)
                assert read_request(op, match, b"k", "shop") == read_request_slowly(op, match, b"k", "shop")
                assert read_response(op, match, b"k", "shop") == read_response_slowly(op, match, b"k", "shop")


def as_decoded(tree: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(tree))


def some_tree(dice: random.Random, depth: int = 0) -> Any:
    pick = dice.random()
    if depth < 5 and pick < 0.35:
        return {
            dice.choice(
                ["id", "items", "data", "order_id", "ids", "user_ids", f"n{dice.randrange(400)}", str(dice.randrange(9))]
            ): some_tree(dice, depth + 1)
            for _ in range(dice.randrange(6))
        }
    if depth < 5 and pick < 0.6:
        return [some_tree(dice, depth + 1) for _ in range(dice.randrange(4))]
    return dice.choice([dice.randrange(10**6), f"v-{dice.randrange(10**6)}", None, True, 1.5, -1, 1 << 70, "no id!"])


def small_walker() -> Any:
    def name(kind: str, value: int | str) -> tuple[tuple[str, int], int, str] | None:
        text = objects.identifier(value)
        return ((kind, hash(text)), hash(text), text) if text else None

    return walk._walk.Walker(walk.describe, name, max_cached=200, max_values=300, max_depth=20, max_places=500)


@needs_c
def test_c_keeps_no_memory_and_its_caches_stay_bounded() -> None:
    """Random bodies over and over, caches forgotten hundreds of times: what is held afterwards does not grow."""
    walker, dice = small_walker(), random.Random(5)
    held = []
    tracemalloc.start()
    try:
        for _ in range(4):
            for _ in range(1_000):
                tree = [some_tree(dice) for _ in range(3)]
                walker.used(tree, dice.choice("abc"), 50)
                walker.given(tree, "x", 50)
                walker.planned(tree, ((("[]", "items", "[]", "id"), "k"), (("[]", "id"), "k")), 50)
                cached, named = walker.sizes()
                assert cached < 200 + 50
                assert named < 300 + 200
            del tree
            small = small_walker()  # the next one starts from nothing, as this one did
            walker = small
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert max(held[1:]) - min(held[1:]) < 20_000, held


@needs_c
def test_an_error_in_a_callback_comes_out_and_nothing_is_lost() -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    fine = lambda kind, value: ((kind, 1), 1, "")  # noqa: E731
    for describe, name in ((broken, fine), (walk.describe, broken)):
        walker = walk._walk.Walker(describe, name, max_cached=9, max_values=9, max_depth=20, max_places=9)
        for _ in range(50):
            with pytest.raises(ZeroDivisionError):
                walker.used({"a": [{"id": 1}]}, "x", 5)
            with pytest.raises(ZeroDivisionError):
                walker.given([{"a": {"id": 1}}], "x", 5)
    for told in ((), ((), True, 1, ()), ((), True, 1, (("a", "b", 1, None),)), None, 5):
        walker = walk._walk.Walker(lambda *_, told=told: told, fine, max_cached=9, max_values=9, max_depth=20, max_places=9)
        with pytest.raises((TypeError, ValueError)):
            walker.used({"a": 1}, "x", 5)
    for told in (5, (1, 2), ()):
        walker = walk._walk.Walker(
            walk.describe, lambda *_, told=told: told, max_cached=9, max_values=9, max_depth=20, max_places=9
        )
        with pytest.raises(TypeError):
            walker.used({"id": 1}, "x", 5)


@needs_c
def test_c_is_not_deeper_than_it_may() -> None:
    for opening in ("[", "{"):
        tree: Any = 1
        for _ in range(100_000):
            tree = [tree] if opening == "[" else {"a": tree}
        assert len(small_walker().used(tree, "x", 5)[0]) <= 21
        while isinstance(tree, (list, dict)):  # or the interpreter would need as deep a stack to free it
            tree = tree.pop() if isinstance(tree, list) else tree.pop("a")


@needs_c
def test_a_walk_begun_in_a_callback_takes_nothing_from_the_first() -> None:
    """As a second thread would: the caches are forgotten under the first walk's feet."""
    walker: Any = None

    def name(kind: str, value: int | str) -> tuple[tuple[str, int], int, str]:
        if value != 0:
            for number in range(300):
                walker.used([{f"k{number}": {"z": 1}}], f"h{number}", 5)
        return (kind, int(value)), int(value), str(value)

    walker = walk._walk.Walker(walk.describe, name, max_cached=50, max_values=9, max_depth=20, max_places=500)
    body = {"a": {"id": 1}, "b": [{"id": 2, "c": {"id": 3}}, {"d": 1}]}
    for _ in range(3):
        places, named = walker.used(body, "x", 50)
        assert set(places) == set(shapes.properties(operation(body)))
        assert [n[3] for n in named] == ["1", "2", "3"]


def test_long_names_do_not_make_the_cache_large() -> None:
    for walker in [Walker(), *([small_walker()] if walk.accelerated else [])]:
        for number in range(300):
            body = {f"{number}-{n}-" + "n" * 5_000: {"a": 1} for n in range(4)}
            walker.walk(body, "x", 5) if isinstance(walker, Walker) else walker.used(body, "x", 5)
            assert (walker._count if isinstance(walker, Walker) else walker.sizes()[0]) < 20_500


def test_an_envelope_and_a_name_that_spell_alike_are_told_apart() -> None:
    body = {"items": {"a": 1}, "itemsQ": {"b": 1}}
    for request in (read_request, read_request_slowly):
        op = Operation("rest", "POST", ("QitemsQ",), "/QitemsQ", (), body, "json")
        assert request(op, Match(None), b"k", "shop")[0] == ("items", "itemsQ", "items.a", "itemsQ.b")


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
    assert ("order_ids[].id", "order_id", "7") in [
        (p, "order_id", v) for p, _, v in WALKER.walk({"order_ids": [1, {"id": 7}]}, "x", 50)[1]
    ]
