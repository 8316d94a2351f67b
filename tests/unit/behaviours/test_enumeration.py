"""Ids never given to the caller: rows, refusals, numbers, many callers; and who is left alone."""

from __future__ import annotations

import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.behaviours.driven import Engine

from eastwall.behaviours.enumeration.model import Group, Knowledge, Model
from eastwall.behaviours.enumeration.series import readings, row
from eastwall.behaviours.enumeration.shared_rows import MAX_ROWS
from eastwall.behaviours.enumeration.track import MAX_IDS, ROW
from eastwall.behaviours.enumeration.watch import MAX_KINDS
from eastwall.behaviours.maxima import SAMPLE, Maxima, Usual
from eastwall.model.finding import Finding
from eastwall.model.record import RECORD_VERSION, CallRecord

QUIET = Usual(callers=20, calls=400, some=0, most=(0, 0, 0, 0, 0))
STAFF = Usual(callers=2, calls=300, some=2, most=(10, 60, 300, 2, 2))


def known(*, shared: int = 0) -> Knowledge:
    people = Usual(callers=20, calls=400, some=shared, most=QUIET.most)
    return Knowledge((Group("user", "order", people), Group("user+support", "order", STAFF)), ("order",))


def engine(**more: object) -> Engine:
    return Engine(enumeration=known(**more))  # type: ignore[arg-type]


def stopped_at(outcomes: list) -> int:
    """The first that was blocked, from 1; 0: none."""
    return next((at for at, outcome in enumerate(outcomes, 1) if outcome.blocked), 0)


def test_a_row_is_stopped_at_its_fifth_and_says_why():
    e = engine()
    tried = [e.ask("GET", f"/orders/{900 + n}", user="mallory", status=200) for n in range(6)]
    assert stopped_at(tried) == 5
    found = tried[4].of("object-enumeration")
    assert found is not None
    assert found.confidence == "high"
    assert "order 904, the 5th in a row of ids that follow one another" in found.message
    assert "20 learned callers of its class had 0 at most" in found.message


@pytest.mark.parametrize(
    "ids",
    [
        [f"INV-{n:06d}" for n in range(41, 51)],
        [str(n) for n in random.Random(1).sample(range(700, 710), 10)],
        [str(n) for n in range(1000, 2000, 100)],
        [str(n) for n in range(950, 940, -1)],
        ["a9y", "a9z", "aa0", "aa1", "aa2", "aa3", "aa4", "aa5", "aa6", "aa7"],
        [f"65f1c0ffee00112233{n:06x}" for n in range(10, 20)],
        [str(uuid.UUID(fields=(0x1000 + n, 0x2222, 0x11EE, 0x80, 1, 0xABCDEF))) for n in range(10)],
    ],
    ids=["padded", "shuffled", "step of a hundred", "downwards", "base 36", "ObjectId", "UUID of version 1"],
)
def test_rows_of_all_kinds_of_ids_are_stopped_within_ten(ids: list[str]):
    e = engine()
    assert 5 <= stopped_at([e.ask("GET", f"/orders/{one}", user="mallory", status=200) for one in ids]) <= 6


def test_random_ids_are_stopped_by_what_the_service_refuses():
    e, rng = engine(), random.Random(2)
    tried = [e.ask("GET", f"/orders/{rng.randrange(10**9)}", user="mallory", status=404) for _ in range(10)]
    assert stopped_at(tried) == 7
    assert tried[6].of("object-enumeration").confidence == "high"


def test_random_ids_that_exist_are_stopped_by_their_number():
    e = engine()
    tried = [e.ask("GET", f"/orders/{uuid.uuid4()}", user="mallory", status=200) for _ in range(10)]
    assert stopped_at(tried) == 8
    assert tried[7].of("object-enumeration").confidence == "medium"


def test_slowly_through_a_day():
    e, rng = engine(), random.Random(3)
    tried = [e.ask("GET", f"/orders/{rng.randrange(10**9)}", user="mallory", status=200, gap=1_200.0) for _ in range(30)]
    assert stopped_at(tried) == 21


def test_addresses_and_tokens_may_change():
    e = engine()
    tried = [e.ask("GET", f"/orders/{50 + n}", user="mallory", source=f"45.{n}.1.2") for n in range(6)]
    assert stopped_at(tried) == 5


def test_many_accounts_of_one_address_share_a_row():
    e = engine()
    tried = [e.ask("GET", f"/orders/{50 + n}", user=f"guest-{n // 3}", source="45.1.1.1") for n in range(12)]
    assert stopped_at(tried) == 8
    assert "callers of one address" in tried[7].of("object-enumeration").message


def test_many_accounts_and_addresses_share_a_row_by_their_client():
    e = engine()
    tried = [
        e.ask("GET", f"/orders/{50 + n}", user=f"guest-{n // 2}", source=f"45.{n // 2}.1.1", agent="crawler/1.0")
        for n in range(12)
    ]
    assert stopped_at(tried) == 8
    assert "make of client" in tried[7].of("object-enumeration").message


def test_where_links_are_sent_round_a_shared_row_is_none():
    e = engine(shared=10)
    tried = [e.ask("GET", f"/orders/{50 + n}", user=f"user-{n}", source=f"45.{n}.1.1") for n in range(30)]
    assert stopped_at(tried) == 0


def test_forty_own_objects_opened_from_a_list_count_nothing():
    e = engine()
    listed = {"items": [{"id": n} for n in range(100, 140)]}
    assert not e.ask("GET", "/orders", user="alice", answer=listed).blocked
    opened = [e.ask("GET", f"/orders/{n}", user="alice", answer={"id": n}) for n in range(100, 140)]
    assert not any(outcome.findings and outcome.of("object-enumeration") for outcome in opened)
    assert len(e.state.watches.of("enumeration")) == 0


def test_support_staff_look_at_many_objects():
    e = engine()
    rng = random.Random(4)
    tried = [e.ask("GET", f"/orders/{rng.randrange(10**8)}", user="sue", roles=("support",), gap=20.0) for _ in range(100)]
    assert stopped_at(tried) == 0


@pytest.mark.parametrize(("callers", "stop"), [(3, 36), (8, 22)])
def test_what_three_of_a_class_did_in_some_hours_is_not_the_most_that_one_does(callers: int, stop: int):
    usual = Usual(callers=callers, calls=300, some=callers, most=(7, 7, 7, 2, 2))
    e = Engine(enumeration=Knowledge((Group("user", "order", QUIET), Group("user+support", "order", usual)), ("order",)))
    tried = [e.ask("GET", f"/orders/{uuid.uuid4()}", user="sue", roles=("support",), gap=20.0) for _ in range(40)]
    assert stopped_at(tried) == stop


def test_a_class_of_which_nothing_is_learned_is_not_stopped_for_its_number():
    e, rng = engine(), random.Random(5)
    tried = [e.ask("GET", f"/orders/{rng.randrange(10**9)}", user="job", roles=("migration",)) for _ in range(40)]
    assert stopped_at(tried) == 0
    assert any(outcome.of("object-enumeration") for outcome in tried)


def test_without_knowledge_nobody_is_stopped():
    e = Engine()
    assert stopped_at([e.ask("GET", f"/orders/{n}", user="mallory", status=200) for n in range(40)]) == 0


def test_objects_that_a_caller_makes_itself_do_not_count():
    e = engine()
    tried = [e.ask("GET", f"/orders/{uuid.uuid4()}", user="sync", status=201) for _ in range(30)]
    assert stopped_at(tried) == 0


def test_long_lists_excuse_once_a_day():
    e = engine()
    listed = {"items": [{"id": 10**7 + n} for n in range(250)]}
    tried = []
    for n in range(20):
        if n % 4 == 3:
            e.ask("GET", "/orders", user="mallory", answer=listed)
        tried.append(e.ask("GET", f"/orders/{50 + n}", user="mallory"))
    assert stopped_at(tried) == 8


def test_one_callers_flood_leaves_what_is_known_of_others():
    e = engine()
    watch = e.state.watches.of("enumeration")
    for n in range(4):
        e.ask("GET", f"/orders/{50 + n}", user="mallory")
    for n in range(1_000):
        e.ask("GET", f"/orders/{10**6 + 977 * n}", {f"x{n}_id": n}, user="flood", source="10.9.9.9", agent="other/1")
    assert e.ask("GET", "/orders/54", user="mallory").blocked
    flood = watch._callers["user:flood"]
    assert len(flood) <= MAX_KINDS
    assert all(len(track.ids) <= MAX_IDS and len(track.row) <= ROW for track in flood.values())
    assert len(watch._rows) <= MAX_ROWS


def test_a_clock_that_goes_back_and_jumps():
    e = engine()
    for gap in (1.0, -9e4, 2e5, -1e9, 1e9, 0.0):
        for n in range(3):
            e.ask("GET", f"/orders/{1000 * n}", user="alice", gap=gap)
    assert e.state.watches.of("enumeration").__len__() >= 1


@given(st.text(max_size=60))
def test_any_text_has_readings_or_none(text: str):
    for around, number in readings(text):
        assert number >= 0
        assert row([], (around, number)) == 1


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=32), st.integers(0, 10**6))
def test_a_row_is_never_longer_than_what_was_seen(numbers: list[int], new: int):
    assert 1 <= row([("n", number) for number in numbers], ("n", new)) <= len({*numbers, new})


def test_one_caller_alone_moves_nothing():
    maxima = Maxima()
    for caller in range(10):
        for time in range(10):
            maxima.fold(caller, 1e9 + 10_000.0 * time, (0, 0, 0, 0, 0))
    maxima.fold(3, 1e9, (500, 500, 500, 500, 30))
    usual = maxima.usual((60.0, 3600.0, 86400.0, 0.0, 0.0))
    assert usual is not None
    assert usual.most == (0, 0, 0, 0, 0)
    assert usual.some == 1


def test_what_is_told_as_new_to_a_class_teaches_how_much_the_class_does():
    """Three of support use an operation that nobody of them used while it was learned: told, let through, and then what they are used to."""
    new = Finding("function-not-used", "medium", "medium", ("API5:2023",), "operation", "never used by its class")
    probe = replace(new, id="object-not-granted")
    for found, most in ((new, 11), (probe, None)):
        model = Model()
        for number in range(60):
            used = (("path.id", "order", number),)
            record = CallRecord(
                RECORD_VERSION, "1", 1e9 + 400 * number, "shop", "GET", "/", "shop", 200, 0, 0, 0, "192.0.2.1", actor=f"user:s{number % 3}",
                actor_class="user+support", strength=3, action="allow", used=used, findings=(found,),
            )  # fmt: skip
            model.fold(record, "ep", [["order", [2, 11, 12, 0, 1]]], clean=False)
        known = model.publish(())
        assert (known.groups[0].usual.most[1] if known is not None else None) == most


def test_callers_sampled_are_bounded_and_the_same_in_any_order():
    forwards, backwards = Maxima(), Maxima()
    folded = [(caller * 2654435761 % 2**32, float(caller), (caller,)) for caller in range(1_000)]
    for one in folded:
        forwards.fold(*one)
    for one in reversed(folded):
        backwards.fold(*one)
    assert forwards.dump() == backwards.dump()
    assert len(forwards.callers) == SAMPLE
