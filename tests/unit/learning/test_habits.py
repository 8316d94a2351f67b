"""What an operation legitimately receives is learned from most of its callers, and from no few of them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.learning.shop_traffic import KEY, record

from eastwall.learning.habits import MAX_HABITS, Habits
from eastwall.learning.learner import Learner
from eastwall.model.finding import Finding
from eastwall.model.record import CallRecord

HOUR = 3600.0


def found(where: str = "body.rows[3].sql", detection: str = "sql-injection", severity: str = "critical") -> Finding:
    return Finding(detection, severity, "high", ("A03:2021",), where, "reads as SQL")


def calls(
    users: int, each: int, *findings: Finding, first: int = 0, seconds: float = 2 * HOUR, strength: int = 3
) -> list[CallRecord]:
    count = users * each
    return [
        replace(
            record("POST", "/reports/run", user=f"u{first + n % users}", time=1000.0 + seconds * n / count, strength=strength),
            findings=findings,
        )
        for n in range(count)
    ]


def habits(records: list[CallRecord]) -> tuple[tuple[str, str, int], ...]:
    state = Habits()
    for one in records:
        state.fold(one)
    return state.known()


def test_a_console_that_all_use() -> None:
    assert habits(calls(5, 10, found())) == (("sql-injection", "body.rows[].sql", 50),)


@pytest.mark.parametrize(
    ("what", "records"),
    [
        ("one attacker among many, however often", calls(10, 10) + calls(1, 500, found(), first=100)),
        ("a third of the callers", calls(20, 10) + calls(10, 20, found(), first=100)),
        ("too rare a part of the calls", calls(6, 100) + calls(6, 5, found())),
        ("a burst", calls(5, 10, found(), seconds=60.0)),
        ("callers whose names nobody checked", calls(500, 2, found(), strength=1)),
        ("few callers and few calls", calls(2, 50, found())),
    ],
)
def test_what_is_no_habit(what: str, records: list[CallRecord]) -> None:
    assert habits(records) == ()


def test_made_up_keys_do_not_outvote() -> None:
    keys = [replace(one, actor=f"key:{n}", actor_kind="key", strength=2) for n, one in enumerate(calls(200, 2, found()))]
    assert habits(calls(4, 10) + keys) == ()


def test_one_workload_needs_more() -> None:
    assert habits(calls(1, 199, found())) == ()
    assert habits(calls(1, 200, found())) == (("sql-injection", "body.rows[].sql", 200),)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 8))
def test_merged_from_shards_is_a_single_stream(seed: int, shards: int) -> None:
    rng = random.Random(seed)
    records = calls(30, 6) + calls(25, 8, found(), found("query.q", "path-traversal")) + calls(3, 9, found("body.x"))
    rng.shuffle(records)
    parts = [Habits() for _ in range(shards)]
    for one in records:
        parts[rng.randrange(shards)].fold(one)
    merged = Habits.load(parts[0].dump())
    for part in parts[1:]:
        merged.merge(Habits.load(part.dump()))
    single = Habits()
    for one in records:
        single.fold(one)
    assert merged.dump() == single.dump()
    assert merged.known() == single.known()


def test_bounded() -> None:
    state = Habits()
    for n in range(10 * MAX_HABITS):
        state.fold(calls(1, 1, found(f"body.f{n}"))[0])
    assert len(state.seen) <= MAX_HABITS


def test_published_and_kept() -> None:
    learner = Learner(KEY)
    learner.fold(calls(5, 10, found()))
    again = Learner.from_bytes(learner.to_bytes(), KEY)
    for one in (learner, again):
        (endpoint,) = one.endpoints()
        assert endpoint.accustomed == (("sql-injection", "body.rows[].sql", 50),)


def test_a_banner_in_the_answer_stops_no_learning() -> None:
    banner = replace(found("header.server", "version-disclosure", "low"), phase="response")
    learner = Learner(KEY)
    learner.fold([replace(one, findings=(banner,)) for one in calls(5, 10)])
    (endpoint,) = learner.endpoints()
    assert endpoint.status == "learned"
    attacked = Learner(KEY)
    attacked.fold(calls(5, 10, found()))
    (endpoint,) = attacked.endpoints()
    assert endpoint.status == "learning"
