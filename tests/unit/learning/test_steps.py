"""The order of business flows: learned from objects that were seen being made, merged from shards, whatever the order of records."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.learning.functions import MAX_CLASSES, Users
from eastwall.learning.steps import CREATED, MAX_STEPS, MIN_OBJECTS, MIN_UNNAMED, SAMPLE, Steps
from eastwall.model.endpoint import Endpoint

OPERATIONS = {
    name: Endpoint(name, "orders", "POST", f"/orders/{{order_id}}/{name}")
    for name in ("confirm", "pay", "refund", "note", "link", "eta")
}
Note = tuple[str, int, str, int, float]


def flow(key: int, *steps: str, actor: int = 0, at: float = 0.0, made: bool = True) -> list[Note]:
    """One object with what was done to it, a second apart."""
    notes = [("order", key, CREATED, actor, at)] if made else []
    return notes + [("order", key, step, actor, at + 1 + n) for n, step in enumerate(steps)]


def learned(notes: list[Note]) -> Steps:
    state = Steps()
    for note in notes:
        state.note(*note)
    return state


def shop(objects: int, actors: int = 5) -> list[Note]:
    return [note for n in range(objects) for note in flow(n, "confirm", "pay", actor=n % actors, at=100.0 * n)]


def test_pay_comes_after_confirm_and_once() -> None:
    after, once = learned(shop(40)).invariants(OPERATIONS)
    assert [(p.kind, p.endpoint, p.objects) for p in after["pay"]] == [("order", "confirm", 40)]
    assert "confirm" not in after
    assert once == {"confirm": ("order", 40), "pay": ("order", 40)}


def test_what_is_concluded_needs_objects_and_callers() -> None:
    assert learned(shop(MIN_OBJECTS - 1)).invariants(OPERATIONS) == ({}, {})
    assert learned(shop(100, actors=2)).invariants(OPERATIONS) == ({}, {})


def test_objects_from_before_say_nothing() -> None:
    """Of an order that was made before we looked, the confirmation may have been missed."""
    old = [note for n in range(40) for note in flow(n, "pay", actor=n % 5, made=False)]
    assert learned(old).invariants(OPERATIONS) == ({}, {})
    after, _ = learned(shop(40) + [note for n in range(100, 140) for note in flow(n, "pay", actor=n % 5, made=False)]).invariants(
        OPERATIONS
    )
    assert "pay" in after


def test_one_who_skips_while_we_learn_hides_nothing() -> None:
    after, once = learned(shop(120) + flow(500, "pay", "pay", actor=9)).invariants(OPERATIONS)
    assert "pay" in after
    assert "pay" in once


def test_an_order_that_is_no_rule() -> None:
    mixed = [note for n in range(60) for note in flow(n, *(("note", "pay") if n % 4 else ("pay", "note")), actor=n % 5)]
    repeated = [note for n in range(60) for note in flow(n, "note", "note", "pay", actor=n % 5)]
    assert "pay" not in learned(mixed).invariants(OPERATIONS)[0]
    assert "note" not in learned(repeated).invariants(OPERATIONS)[1]


def test_what_is_done_to_most_objects_comes_before_by_chance() -> None:
    """Nine orders in ten are confirmed: that 14 with a note were says nothing. That 50 were does, and so do 14 where few others are."""
    most = [note for n in range(100) for note in flow(1_000 + n, *(["confirm"] if n % 10 else []), actor=n % 5)]
    notes = [note for n in range(50) for note in flow(n, "confirm", "note", actor=n % 5)]
    assert "note" not in learned(most + notes[: 14 * 3]).invariants(OPERATIONS)[0]
    assert "note" in learned(most + notes).invariants(OPERATIONS)[0]
    few = [note for n in range(100) for note in flow(1_000 + n, *([] if n % 10 else ["confirm"]), actor=n % 5)]
    assert "note" in learned(few + notes[: 14 * 3]).invariants(OPERATIONS)[0]
    paid = [note for n in range(100) for note in flow(1_000 + n, *(["pay"] if n % 10 else []), actor=n % 5)]
    refunds = [note for n in range(14) for note in flow(n, "pay", "refund", actor=n % 5)]
    assert "refund" in learned(paid + refunds).invariants(OPERATIONS)[0], "the name presumes it"


def test_who_looks_takes_no_step() -> None:
    notes = [note for n in range(100) for note in flow(n, "confirm", "eta", "note", actor=n % 5)]
    after, once = learned(notes).invariants(OPERATIONS)
    assert "eta" not in after
    assert "eta" not in once
    assert [one.endpoint for one in after["note"]] == ["confirm"]


def test_once_needs_more_where_no_name_says_so() -> None:
    notes = [note for n in range(MIN_UNNAMED) for note in flow(n, "link", actor=n % 5)]
    assert "link" not in learned(notes[:-2]).invariants(OPERATIONS)[1]
    assert learned(notes).invariants(OPERATIONS)[1] == {"link": ("order", MIN_UNNAMED)}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 8))
def test_merged_from_shards_is_a_single_stream(seed: int, shards: int) -> None:
    rng = random.Random(seed)
    notes = shop(50) + [note for n in range(200, 230) for note in flow(n, "pay", "confirm", "pay", actor=n % 7, made=n % 3 > 0)]
    rng.shuffle(notes)
    parts = [Steps() for _ in range(shards)]
    for note in notes:
        parts[rng.randrange(shards)].note(*note)
    merged = Steps.load(parts[0].dump())
    for part in parts[1:]:
        merged.merge(Steps.load(part.dump()))
    single = learned(notes)
    assert merged.objects == single.objects
    assert merged.actors == single.actors
    assert merged.invariants(OPERATIONS) == single.invariants(OPERATIONS)


def test_bounded_and_the_sample_is_the_same_whatever_the_order() -> None:
    notes = [note for n in range(3 * SAMPLE) for note in flow(n * 7919 % 100_003, "a", actor=n)]
    forward, backward = learned(notes), learned(notes[::-1])
    assert len(forward.objects["order"]) == SAMPLE
    assert forward.objects == backward.objects
    many = learned(flow(1, *(f"s{n}" for n in range(10 * MAX_STEPS))))
    assert len(many.objects["order"][1]) == MAX_STEPS


def test_endpoints_that_become_one() -> None:
    state = learned(shop(20) + [note for n in range(50, 70) for note in flow(n, "confirm2", "pay2", actor=n % 5)])
    state.move({"confirm2": "confirm", "pay2": "pay"})
    after, _ = state.invariants(OPERATIONS)
    assert [(p.endpoint, p.objects) for p in after["pay"]] == [("confirm", 40)]
    assert state.actors.keys() == {"confirm", "pay"}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["user", "user+admin", "workload:a"]), st.integers(0, 20)), max_size=200),
    st.integers(2, 6),
)
def test_the_function_matrix_merges(calls: list[tuple[str, int]], shards: int) -> None:
    parts, single = [Users() for _ in range(shards)], Users()
    for n, (cls, actor) in enumerate(calls):
        single.fold(cls, actor)
        parts[n % shards].fold(cls, actor)
    merged = Users()
    for part in parts:
        merged.merge(Users.load(part.dump()))
    assert merged.known() == single.known()


def test_made_up_roles_do_not_drive_out_real_ones() -> None:
    users = Users()
    for n in range(50):
        users.fold("user", n)
    for n in range(10 * MAX_CLASSES):
        users.fold(f"user+r{n}", n)
    assert len(users.classes) == MAX_CLASSES
    assert users.classes["user"][0] == 50
