"""Baselines move when callers agree, and not for one or a few of them, however patient; a release is not held up."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.learning.adapting_shop import DAY, Shop
from tests.unit.learning.shop_traffic import KEY, record, shop

from eastwall.learning.adopted import Step
from eastwall.learning.agreement import BACKERS, CROWD, Backing, Crowd, active, agree
from eastwall.learning.baselines import MAX_ELEMENTS, Baselines
from eastwall.learning.learner import Learner


def settled(users: int, automata: dict[str, bytes]) -> Shop:
    """A shop after two ordinary days."""
    made = Shop(users, automata)
    made.ordinary(1_200, 2 * DAY / 1_200)
    assert made.blocked == []
    assert {e.status for e in made.learner.endpoints()} == {"learned"}
    assert dict(made.endpoint("POST", "/profile").properties)["user+user"] == ("name", "phone")
    return made


def quantity(made: Shop) -> float:
    return next(f.maximum for f in made.endpoint("POST", "/orders").request.fields if f.place == "quantity") or 0.0


@pytest.mark.parametrize("poisoners", [1, 2])
def test_slow_poisoning_moves_no_baseline(automata: dict[str, bytes], poisoners: int) -> None:
    """One caller, or two of fifty, drop by drop for twenty days: a range, a property, an administrator's function."""
    made = settled(50, automata)
    bad = made.users[:poisoners]
    value = 10
    for _ in range(20):
        for user in bad:
            for _ in range(3):
                made.call(user, "POST", "/profile", {"name": user, "phone": "1", "role": "admin"}, gap=60)
                made.call(user, "POST", "/profile", {"name": user, "phone": "1", "nickname": "x"}, gap=60)
                made.call(user, "POST", "/orders", {"product": 1, "quantity": value}, gap=60)
                made.call(user, "POST", "/admin/refunds", {"order": 7, "amount": 5}, gap=60)
        value = value * 2
        made.ordinary(100, DAY / 110, every=100)
    assert dict(made.endpoint("POST", "/profile").properties)["user+user"] == ("name", "phone")
    assert quantity(made) == 9
    users = {cls: actors for cls, _, actors in made.endpoint("POST", "/admin/refunds").users}
    assert users.get("user+user", 0) < 2
    assert not made.call(bad[0], "POST", "/profile", {"name": bad[0], "phone": "1", "role": "admin"})
    assert not made.call(bad[0], "POST", "/admin/refunds", {"order": 7, "amount": 5})
    waiting = {(c.aspect, c.place): c for c in made.learner.baselines.candidates("shop")}
    for key in (("property", "role"), ("property", "nickname"), ("range", "quantity"), ("function", "")):
        candidate = waiting[key]
        assert candidate.actors == poisoners
        assert "it waits: " in candidate.why
        assert candidate.share <= 0.1  # of a sample of 32
    assert [act for act in made.learner.baselines.acts() if act.kind == "promoted"] == []


def test_a_release_is_promoted_within_minutes(automata: dict[str, bytes]) -> None:
    """A field, a privileged field, a new operation, and an administrators' function opened to everybody."""
    made = settled(40, automata)
    began = made.time
    made.ordinary(600, 1.0, release=True, every=5)
    acts = made.learner.baselines.acts()
    assert [act.kind for act in acts][:1] == ["deployed"]
    assert "new shapes at" in acts[0].reason
    promoted = {(step.aspect, step.place) for act in acts for step in act.steps if act.kind == "promoted"}
    assert {("property", "plan"), ("property", "gift_note"), ("function", "")} <= promoted
    lines = " ".join(line for act in acts for line in act.lines)
    assert "`user+user` may send `plan` in POST /profile (was: never sent; is: sent)" in lines
    # A privileged property needs half of those who call the operation, an administrators' function half of the class.
    took = {path: round(max(at for at, p, _ in made.blocked if p == path) - began) for path in ("POST /profile", "GET /reports")}
    assert took["POST /profile"] <= 100
    assert took["GET /reports"] <= 450
    assert {path for _, path, _ in made.blocked} == took.keys()
    assert len(made.blocked) <= 60
    assert all("mass-assignment" in findings or "function-not-used" in findings for _, _, findings in made.blocked)
    assert made.learner.baselines.summary("shop")["version"] == 1 + sum(act.kind == "promoted" for act in acts)


def test_a_release_told_by_a_pipeline_lets_few_callers_through_no_faster(automata: dict[str, bytes]) -> None:
    made = settled(50, automata)
    made.learner.baselines.deploy("shop", made.time, "ci", "2.0")
    for n in range(80):
        for user in made.users[:2]:
            made.call(user, "POST", "/profile", {"name": user, "phone": "1", "plan": "gold"}, gap=20)
        made.ordinary(10, 20, every=10)
        assert n or made.learner.baselines.candidates("shop")
    assert "plan" not in dict(made.endpoint("POST", "/profile").properties)["user+user"]


def test_rollback_pins_and_undo_is_exact(automata: dict[str, bytes]) -> None:
    made = settled(40, automata)
    known = made.learner.baselines
    before = made.learner.endpoints()
    made.ordinary(400, 1.0, release=True, every=5)
    version = known.summary("shop")["version"]
    assert version > 1
    act = known.rollback("shop", 1, made.time, "operator")
    made.publish()
    assert act.version == version + 1
    assert any("no more: " in line for line in act.lines)
    assert known.summary("shop")["pinned"] == 1
    for then, now in zip(before, (e for e in made.learner.endpoints() if e.template != "/wishlist"), strict=True):
        assert then.properties == now.properties
        assert {c for c, _, actors in then.users if actors > 1} == {c for c, _, actors in now.users if actors > 1}
    made.ordinary(300, 1.0, release=True, every=5)
    assert "plan" not in dict(made.endpoint("POST", "/profile").properties)["user+user"]
    assert {c.state for c in known.candidates("shop")} <= {"rolled back", "pinned"}
    known.unpin("shop", made.time, "operator")
    made.ordinary(100, 60.0, release=True, every=5)
    assert "plan" in dict(made.endpoint("POST", "/profile").properties)["user+user"]


def test_by_hand(automata: dict[str, bytes]) -> None:
    made = settled(40, automata)
    for _ in range(3):
        made.call("u1", "POST", "/profile", {"name": "u1", "phone": "1", "role": "admin"})
    made.publish()
    (candidate,) = made.learner.baselines.candidates("shop")
    assert candidate.what == "`user+user` may send `role` in POST /profile"
    made.learner.baselines.reject(candidate.id, made.time, "operator")
    made.publish()
    assert made.learner.baselines.candidates()[0].state == "rejected"
    made.learner.baselines.promote(candidate.id, made.time, "operator")
    made.publish()
    assert made.call("u1", "POST", "/profile", {"name": "u1", "phone": "1", "role": "admin"})
    with pytest.raises(LookupError, match="no candidate"):
        made.learner.baselines.promote("c_nothing", made.time, "operator")
    with pytest.raises(ValueError, match="has version 2"):
        made.learner.baselines.rollback("shop", 2, made.time, "operator")


def test_replayed_records_and_one_wrong_clock_promote_nothing(automata: dict[str, bytes]) -> None:
    made = settled(40, automata)
    start = len(made.records)
    for user in made.users[:3]:
        made.call(user, "POST", "/profile", {"name": user, "phone": "1", "plan": "gold"}, gap=1)
    made.publish()
    new = made.records[start:]
    made.learner.fold(new * 200)
    jumped = [msgspec.structs.replace(r, time=r.time + 30 * DAY) for r in new[:1]]
    made.learner.fold(jumped)
    made.publish()
    assert "plan" not in dict(made.endpoint("POST", "/profile").properties)["user+user"]


def test_names_made_up_by_one_caller_drive_out_no_others() -> None:
    learner = Learner(KEY)
    learner.fold(shop(600, seconds=6_000.0))
    learner.endpoints()
    for n in range(5):
        learner.fold([record("POST", "/orders", status=201, user=f"u{n}", body={"items": [], "wish": 1}, time=9_000.0 + n)])
    for n in range(300):
        body = {"items": [], **{f"made-up-{n}-{m}": 1 for m in range(200)}}
        learner.fold([record("POST", "/orders", status=201, user="eve", body=body, time=9_100.0 + n)])
    learner.endpoints()
    candidates = learner.baselines.candidates()
    assert len(candidates) <= MAX_ELEMENTS + 5
    assert any(c.place == "wish" and c.actors == 5 for c in candidates)
    assert len(msgspec.msgpack.encode(learner.baselines.dump())) < 200_000


callers = st.lists(st.tuples(st.integers(0, 200), st.floats(0, 1e9), st.floats(-1e6, 1e6)), max_size=300)


@settings(max_examples=60, deadline=None)
@given(callers, st.randoms(use_true_random=False))
def test_shards_count_what_one_stream_counts(noted: list[tuple[int, float, float]], rng: random.Random) -> None:
    whole, crowd = Backing(), Crowd()
    shards = [(Backing(), Crowd()) for _ in range(8)]
    for actor, time, value in noted:
        whole.note(actor * 7919, time, value)
        crowd.note(actor * 7919, time)
        backing, part = shards[rng.randrange(8)]
        backing.note(actor * 7919, time, value)
        part.note(actor * 7919, time)
    rng.shuffle(shards)
    into, merged = Backing(), Crowd()
    for backing, part in shards:
        into.merge(backing)
        merged.merge(part)
    # Callers that left a sample in one shard may have been counted in another: what is kept is the lowest in both.
    assert set(into.actors) == set(whole.actors)
    assert set(merged.last) == set(crowd.last)
    assert (into.calls, into.first, into.last) == (whole.calls, whole.first, whole.last)
    assert len(whole.actors) <= BACKERS
    assert len(crowd.last) <= CROWD
    assert Backing.load(whole.dump()).dump() == whole.dump()
    assert Crowd.load(crowd.dump()).dump() == crowd.dump()


def test_agreement_says_what_it_waits_for() -> None:
    backing, crowd = Backing(), Crowd()
    for n in range(100):
        crowd.note(n, 1_000.0)
    for _ in range(20):
        backing.note(1, 900.0)
    said = agree(backing, active([crowd], 0.0), calls=10_000, age=10 * DAY, deployed=False, grave=False)
    assert not said.agreed
    assert said.why == (
        "20 calls of one caller, 3% of those who could, the busiest with 100% of them; it waits: 1 of the 3 callers needed; "
        "3% of the callers who could, 20% are needed; one caller made 100% of the calls, at most 50% may be; "
        "it lasts 0 of the 3,600 seconds needed"
    )


def test_state_survives_and_is_versioned(automata: dict[str, bytes], tmp_path: Path) -> None:
    made = settled(40, automata)
    made.ordinary(300, 1.0, release=True, every=5)
    again = Learner.from_bytes(made.learner.to_bytes(), made.learner.hash_key)
    assert again.endpoints() == made.learner.endpoints()
    assert again.baselines.acts() == made.learner.baselines.acts()
    assert again.baselines.dump() == made.learner.baselines.dump()
    for broken in ([], [99, 0, 0.0, {}], {"a": 1}, [1, 0, 0.0, {"shop": [1]}], None):
        with pytest.raises(ValueError, match="not baselines"):
            Baselines.load(broken)


def test_shards_with_one_baseline_agree_like_one_stream(automata: dict[str, bytes]) -> None:
    """Eight learners that start from the same state, each with an eighth of what follows, merge to the same candidates and endpoints."""
    made = settled(40, automata)
    state, start = made.learner.to_bytes(), len(made.records)
    for user in made.users:
        made.call(user, "POST", "/profile", {"name": user, "phone": "1", "nickname": "y"}, gap=120)
    made.publish()
    new = made.records[start:]
    parts: list[Any] = [Learner(made.learner.hash_key) for _ in range(8)]
    for part in parts:
        part.baselines.merge(Learner.from_bytes(state, made.learner.hash_key).baselines)
        for service in part.baselines._services.values():
            service.backings.clear()
    for n, one in enumerate(new):
        parts[n % 8].fold([one])
    whole = Learner.from_bytes(state, made.learner.hash_key)
    whole.fold(new)
    merged = Learner.from_bytes(state, made.learner.hash_key)
    for part in reversed(parts):
        merged.merge(part)
    assert [(e.template, e.properties) for e in merged.endpoints()] == [(e.template, e.properties) for e in whole.endpoints()]
    assert "nickname" in dict(next(e for e in whole.endpoints() if e.template == "/profile").properties)["user+user"]


def test_a_step_names_its_element() -> None:
    assert Step("range", "ep_1", place="quantity").element == ("range", "ep_1", "", "quantity")
