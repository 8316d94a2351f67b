"""The bench of API logic measures what it says: worlds are as drawn, ordinary people do nothing wrong, and every attack works where nothing
stops it."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest
from bench.logic import FLOWS, UNSEEN
from bench.logic_clients import Ask, ask, dressed
from bench.logic_rig import Outcome, Rig
from bench.logic_service import Result, perform
from bench.logic_strike import Strike
from bench.logic_traffic import legitimate
from bench.logic_worlds import DECKS, User, World, dealt

from eastwall.model.call import Mode


def test_twelve_worlds_in_a_row_hold_each_mixture_once() -> None:
    for trait, deck in DECKS.items():
        assert len(deck) == 12, trait
        assert Counter(dealt(seed - 1, trait) for seed in range(1, 13)) == Counter(deck), trait


def test_worlds_of_other_seeds_are_others() -> None:
    assert len({World(seed).told() for seed in range(1, 13)}) == 12
    assert World(3).told() == World(3).told()
    assert World(3).secret != World(4).secret


def test_nobody_looks_at_the_unseen_worlds_by_accident(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench import logic

    monkeypatch.setattr("sys.argv", ["logic", "--seeds", f"1,{UNSEEN[0]}"])
    with pytest.raises(SystemExit) as ended:
        logic.main()
    assert ended.value.code == 2
    assert "not looked at" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(1, 13))
def test_a_request_names_the_object_that_is_meant(seed: int) -> None:
    """Whatever the form of ids and the place of them: the service finds the object of the request, and no other."""
    world = World(seed)
    for which in (0, 1):
        item = next(i for i in world.items.values() if i.kind == world.kind(which))
        owner = world.users[item.owner]
        for op in ("get", "history", "lines", "update", "confirm"):
            made = ask(world, owner, op, which=which, item=item, **({"given": {"note": "x"}} if op == "update" else {}))
            result = perform(world, owner, made.op, made.args)
            assert (result.status, result.touched) == (200, (item.id,)), (op, made)
            text = f"{made.path} {made.body} {made.headers}"
            assert any(str(form) in text.replace("%3A", ":") for form in (item.id, world.asked(item), world.answered(item))), (
                op,
                made,
            )


class Unguarded(Rig):
    """A world with nothing before it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.time = 1_772_409_600.0
        self.seen: list[tuple[User, Ask, Result]] = []

    def publish(self, mode: Mode | None = None) -> None:
        pass

    def call(self, caller: User, made: Ask, *, gap: float = 0.4, reply: Result | None = None, **more: Any) -> Outcome:
        self.time += gap
        result = perform(self.world, caller, made.op, made.args) if reply is None else reply
        self.seen.append((caller, made, result))
        return Outcome(
            result,
            result.touched,
            json.dumps(dressed(self.world, made, result.status, result.body)[1]).encode(),
            (),
            blocked=False,
        )


def _day(seed: int, calls: int) -> list[tuple[User, Ask, Result]]:
    rig = Unguarded(World(seed))
    legitimate(rig, calls, random.Random(seed), churn=True)
    return rig.seen


def test_the_same_seed_gives_the_same_traffic() -> None:
    first, again, other = ([(made.method, made.path, made.body) for _, made, _ in _day(seed, 400)] for seed in (6, 6, 7))
    assert first == again != other


@pytest.mark.parametrize("seed", range(1, 13))
def test_ordinary_people_touch_nothing_that_is_not_theirs(seed: int) -> None:
    rig, statuses = Unguarded(World(seed)), Counter[int]()
    world, call = rig.world, rig.call

    def checked(caller: User, made: Ask, **more: Any) -> Outcome:
        outcome = call(caller, made, **more)
        foreign = [one for one in outcome.touched if one in world.items and not world.may(caller, world.items[one])]
        # Who gives something away sees it for the last time in the answer.
        assert not foreign or made.op == "reassign", (caller, made, foreign)
        assert "admin" not in outcome.touched or caller.role in ("admin", "manager"), (caller, made)
        return outcome

    rig.call = checked  # type: ignore[method-assign]
    legitimate(rig, 1_000, random.Random(seed), churn=True)
    statuses.update(result.status for *_, result in rig.seen)
    assert sum(count for status, count in statuses.items() if status < 300) / statuses.total() > 0.95
    assert set(statuses) <= {200, 201, 202, 204, 400, 401, 404, 409, 422}
    assert world.deployed


def test_every_attack_works_where_nothing_stops_it() -> None:
    """Each flow wins wherever its world has something for it, and each has something somewhere."""
    won: Counter[str] = Counter()
    for seed in (*range(1, 13), 32, 36):  # those two are REST with the owner in the path
        rig = Unguarded(World(seed))
        legitimate(rig, 300, random.Random(seed))
        for flow in FLOWS:
            rng = random.Random(f"{seed}/{flow.name}")
            users = [u for u in rig.world.members() if not u.assists and (not u.scope or "write" in u.scope)]
            result = flow.carry(Strike(rig, rng.choice(users), rng))
            assert result is not False, f"{flow.name} in world {seed} wins nothing although nobody stops it"
            won[flow.name] += result is True
    assert sorted(flow.name for flow in FLOWS if not won[flow.name]) == []
