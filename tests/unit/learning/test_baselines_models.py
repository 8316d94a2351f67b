"""What models of behaviour know is held to what callers agreed on: real models, behind an engine that enforces."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.learning.adapting_shop import DAY, Shop
from tests.unit.learning.shop_traffic import record

from eastwall.behaviours.holding import Backers, beyond, drift
from eastwall.behaviours.maxima import Maxima, Usual
from eastwall.learning.baseline_acts import Act
from eastwall.learning.baselines import Baselines
from eastwall.learning.held import load_held
from eastwall.learning.learner import Learner


def settled(users: int, automata: dict[str, bytes]) -> Shop:
    """A shop after four ordinary days: quantities of 1 to 9."""
    made = Shop(users, automata)
    made.ordinary(1_600, 4 * DAY / 1_600, every=200)
    assert made.blocked == []
    assert (learned(made), held(made)) == (9, 9)
    return made


def quantity(known: dict[str, Any]) -> float:
    found = [n.most for one in known["values"].operations for n in one.numbers if n.place == "quantity"]
    return found[0] if found else 0.0


def learned(made: Shop) -> float:
    """The greatest quantity by what the model learned."""
    return quantity(made.learner.behaviours.known(made.learner.endpoints()))


def held(made: Shop) -> float:
    """And by what engines are told."""
    return quantity(made.learner.baselines.hold(made.learner.behaviours, made.learner.endpoints()))


def release(made: Shop, calls: int) -> None:
    """From now on quantities are grams."""
    for n in range(calls):
        user = made.rng.choice(made.users)
        if n % 3 == 0:
            made.call(user, "POST", "/orders", {"product": n % 30, "quantity": 1_000 * (1 + made.rng.randrange(9))}, gap=2)
        else:
            made.call(user, "GET", "/catalogue", answer={"items": [{"name": "a"}]}, gap=2)
        if n % 10 == 9:
            made.publish()


def test_slow_poisoning_by_four_of_fifty_moves_no_limit(automata: dict[str, bytes]) -> None:
    """Four accounts send a little more each day: enough for the model's own cap (three callers), not for agreement."""
    made = settled(50, automata)
    value = 10
    for _ in range(6):
        for user in made.users[:4]:
            for _ in range(4):
                made.call(user, "POST", "/orders", {"product": 1, "quantity": value}, gap=60)
        value = value * 8 // 5
        made.ordinary(40, DAY / 50, every=40)
    assert learned(made) >= 25, "the model alone was moved"
    assert held(made) <= 18, "twice what was agreed on, at most"
    (waiting,) = (c for c in made.learner.baselines.candidates("shop") if c.model == "values")
    assert waiting.what == "`body.quantity` of POST /orders"
    assert waiting.was.startswith("1 to 9")
    assert "it waits: " in waiting.why
    assert waiting.share < 0.2
    assert not [a for a in made.learner.baselines.acts() if a.kind == "promoted" and "values: " in " ".join(a.lines)]
    # By hand it is taken in, whatever the callers say; and rolled back.
    made.learner.baselines.promote(waiting.id, made.time, "operator")
    assert held(made) == learned(made)
    made.learner.baselines.rollback("shop", 1, made.time, "operator")
    assert held(made) == 9


def test_a_release_that_changes_a_number_is_learned_and_can_be_rolled_back(automata: dict[str, bytes]) -> None:
    made = settled(40, automata)
    before, stored = made.learner.to_bytes(), len(made.records)
    made.learner.baselines.deploy("shop", made.time, "ci", "2.0")
    began = made.time
    release(made, 500)
    assert {findings for _, _, findings in made.blocked} == {"value-out-of-range"}
    assert len(made.blocked) <= 20
    assert made.blocked[-1][0] - began <= 240
    assert held(made) >= 3_000
    lines = [line for act in made.learner.baselines.acts("shop") for line in act.lines]
    assert any(line.startswith("values: `body.quantity` of POST /orders (was: 1 to 9, whole; is: 1 to ") for line in lines)
    assert any("`value-out-of-range` at `body.quantity` of `user+user` in POST /orders (was: stopped; " in line for line in lines)
    summary = made.learner.baselines.summary("shop")
    assert summary["version"] > 1
    assert summary["held"]["values"] >= 2
    # After a crash the log has promotions that the learner's state has not: they are done again.
    crashed = Learner.from_bytes(before, bytes(range(32)))
    for act in msgspec.json.decode(msgspec.json.encode(made.learner.baselines.acts()), type=list[Act]):
        crashed.baselines.replay(act)
    last = crashed.baselines.seq
    crashed.fold(made.records[stored:])
    known = crashed.baselines.hold(crashed.behaviours, crashed.endpoints())
    assert quantity(known) >= 3_000
    assert not [act for act in crashed.baselines.since(last) if any("values: " in line for line in act.lines)], "promoted once"
    # The state as it is written and read, and rolled back: the former knowledge, until somebody unpins.
    copy = Baselines.load(msgspec.msgpack.decode(msgspec.msgpack.encode(made.learner.baselines.dump()), strict=False))
    assert copy.dump() == made.learner.baselines.dump()
    made.learner.baselines = copy
    act = copy.rollback("shop", 1, made.time, "operator")
    assert any(line.startswith("no more: values: `body.quantity`") for line in act.lines)
    assert held(made) == 9
    made.publish()
    assert not made.call("u1", "POST", "/orders", {"product": 1, "quantity": 5_000})
    copy.unpin("shop", made.time, "operator")
    for _ in range(5):
        made.time += 3_600.0
        made.ordinary(10, 1.0, every=10)
    assert held(made) >= 3_000, "most of the callers did so"


def test_without_a_deploy_what_models_stop_stays_stopped(automata: dict[str, bytes]) -> None:
    """Half of the accounts at once are no release, unless a pipeline says so or much else is new."""
    made = settled(40, automata)
    release(made, 200)
    assert all(act.kind != "deployed" for act in made.learner.baselines.acts())
    assert held(made) == 9
    assert "it waits for a deploy" in " ".join(c.why for c in made.learner.baselines.candidates("shop"))


def test_what_another_version_wrote_is_left_out() -> None:
    assert load_held([["values", ["number", "ep_1", "a"], "{}", "", 0, 0], ["nobody", ["x", "y"], "1", "", 0, 0]]) == {}


def test_a_drift_ends_at_twice_what_was_agreed_on_in_however_many_steps() -> None:
    base, step = 40, 40
    while step <= drift(base):
        step += 3
    assert step <= 2 * base + 8
    group = Maxima()
    for caller in range(40):
        for at in range(10):
            group.fold(caller, 1e9 + at * 20_000, [base + (60 if caller < 3 else 0)])
    known = group.usual((0.0,))
    assert known is not None
    first = Usual(40, 400, 40, (base,))
    assert beyond(group, first, (0,)) == Backers({0, 1, 2}, set(range(40)))
    assert beyond(None, first, (0,)) is None


def test_a_few_accounts_that_use_codes_again_do_not_make_codes_good_for_ever() -> None:
    """Five of sixty: more than the model's own share of a twentieth, and not a fifth."""

    def fold(learner: Learner, user: str, day: float, again: bool) -> None:
        noted = record("POST", "/orders", status=201, user=user, body={"code": "x"}, time=1e9 + day * DAY)
        learner.fold([replace(noted, notes=(("single_use", [["code", again, False]]),))])

    def known(learner: Learner) -> int:
        found = learner.baselines.hold(learner.behaviours, learner.endpoints()).get("single_use")
        return len(found.places) if found is not None else 0  # type: ignore[attr-defined]

    learner = Learner(bytes(range(32)))
    for number in range(120):
        fold(learner, f"u{number % 60}", number / 120, again=False)
    assert known(learner) == 1
    fold(learner, "u1", 3.0, again=False)
    assert known(learner) == 1
    for number in range(100):
        fold(learner, f"u{number % 5}", 3.0 + number / 10, again=True)
    assert "single_use" not in learner.behaviours.known(learner.endpoints()), "the model alone was moved"
    assert known(learner) == 1
    (waiting,) = (c for c in learner.baselines.candidates() if c.model == "single_use")
    assert (waiting.actors, waiting.was, waiting.would) == (5, "once at all", "not known any more")
    for number in range(5, 30):
        fold(learner, f"u{number}", 14.0, again=True)
    assert known(learner) == 0, "half of the callers do"
    learner.baselines.rollback(learner.baselines.services()[-1], 1, 1e9 + 15 * DAY, "operator")
    assert known(learner) == 1


def test_holding_is_bounded(automata: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eastwall.learning.baselines_models.MAX_HELD", 1)
    made = Shop(20, automata)
    made.ordinary(900, DAY / 900, every=300)
    assert sum(made.learner.baselines.summary("shop")["held"].values()) == 1
