"""Tables of a million objects: exact, bounded, and no caller's flood drops what is known of others."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.decision.grants import MAX_OWNERS, GrantTable, HeldObjects
from eastwall.decision.state import LoginTable
from eastwall.decision.step_table import MAX_RUNNING_OF_ONE, StepTable
from eastwall.discovery.echo import MAX_ECHOES, Echoes
from eastwall.discovery.shares import Shares
from eastwall.learning.holdings import pack
from eastwall.model.holdings import Holdings

KEYS = st.integers(-(1 << 63), (1 << 63) - 1)


def fill(table: GrantTable, users: int, each: int) -> dict[int, str]:
    owned = {user * 1_000 + n + 1: f"user:{user}" for n in range(each) for user in range(users)}
    for key, actor in owned.items():
        table.grant(key, actor)
    return owned


def test_a_flood_of_ids_drops_the_flood_alone() -> None:
    table = GrantTable(limit=20_000)
    owned = fill(table, users=500, each=20)
    for n in range(60_000):
        table.grant(10_000_000 + n, "user:flooder")
    assert len(table) == 20_000
    assert all(table.owners(key) == (actor,) for key, actor in owned.items()), "not one of 10,000 grants of others is gone"
    newest = [table.owners(10_000_000 + n) for n in range(59_000, 60_000)]
    assert newest == [("user:flooder",)] * 1_000, "the flooder's latest are kept, its oldest are gone"


def test_a_flood_by_accomplices_takes_from_them_first() -> None:
    table = GrantTable(limit=20_000)
    owned = fill(table, users=500, each=20)
    for n in range(60_000):
        table.grant(10_000_000 + n, f"user:flooder-{n % 30}")
    assert all(table.owners(key) == (actor,) for key, actor in owned.items())


def test_made_up_callers_drop_one_another() -> None:
    table = GrantTable(limit=20_000)
    table._shares.limit = 1_000
    owned = fill(table, users=500, each=20)
    for n in range(30_000):
        table.grant(10_000_000 + n, f"user:made-up-{n}")
    assert len(table._shares) <= 1_000
    assert all(table.owners(key) == (actor,) for key, actor in owned.items())


def test_who_shares_an_object_is_never_left_out_of_it() -> None:
    """An owner that alone is forgotten would be a stranger to its own object: a false alarm."""
    table = GrantTable(limit=1_000)
    rng = random.Random(5)
    granted: dict[int, list[str]] = {}
    for n in range(20_000):
        key, actor = rng.randrange(3_000), f"user:{rng.randrange(40)}"
        if n % 3 == 0:
            key, actor = 1_000_000 + n, "user:flooder"
        elif n % 3 == 1:
            actor = "user:flooder"  # who is given what others hold
        fresh = key not in table._owners
        table.grant(key, actor)
        known = granted.setdefault(key, [])
        if fresh:
            known.clear()
        if actor not in known and len(known) < MAX_OWNERS:
            known.append(actor)
        owners = table.owners(key)
        assert set(owners) == set(known)
    for key in list(table._owners):
        assert set(table.owners(key)) == set(granted[key])
    assert len(table) == 1_000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6)), max_size=300), st.integers(1, 12), st.integers(1, 5))
def test_counts_are_those_of_the_entries(events: list[tuple[int, int]], limit: int, holders: int) -> None:
    table = GrantTable(limit=limit)
    table._shares.limit = holders
    for key, actor in events:
        table.grant(key, f"user:{actor}")
        assert len(table) <= limit
        charged: dict[str, int] = {}
        for entry in table._owners:
            first = table.owners(entry)[0]
            charged[first] = charged.get(first, 0) + 1
        for number in range(7):
            assert table.held(f"user:{number}") == charged.get(f"user:{number}", 0)
        named = {name for entry in table._owners for name in table.owners(entry)}
        assert set(table._shares._numbers) == named, "who holds nothing any more takes no place"
        assert len(table._shares) <= max(holders, 1)


def test_what_two_hold_together_makes_room_in_a_table_for_one() -> None:
    """Charged to the one, then to the other, and so on for ever: it was."""
    table = GrantTable(limit=1)
    table.grant(1, "user:a")
    table.grant(1, "user:b")
    table.grant(2, "user:c")
    assert table.owners(1) == ()
    assert table.owners(2) == ("user:c",)


def test_the_largest_holder_is_within_a_factor_of_two() -> None:
    shares = Shares()
    rng = random.Random(1)
    for n in range(5_000):
        shares.charge(shares.number(f"user:{int(rng.expovariate(0.2))}"), n)
    most = max(shares._counts)
    assert shares._counts[shares.largest()] * 2 > most


def test_two_tables_of_the_same_grants_know_the_same() -> None:
    """An engine that hears another's grants ends with what it would have seen itself."""
    first, second = GrantTable(), GrantTable()
    first.told = []
    owned = fill(first, users=20, each=10)
    for key, actor in first.told:
        assert second.take(key, actor)
    assert second.told is None
    assert {key: second.owners(key) for key in owned} == {key: first.owners(key) for key in owned}


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(KEYS, st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4, unique=True), max_size=60), st.lists(KEYS)
)
def test_packed_holders_are_found_as_in_a_dict(held: dict[int, list[str]], others: list[int]) -> None:
    held.pop(0, None)
    table = HeldObjects(pack((key, tuple(actors)) for key, actors in held.items()))
    assert len(table) == len(held)
    for key in {*held, *others, 0, 1, -1}:
        assert table.get(key) == tuple(held.get(key, ()))
        assert (key in table) is (key in held)
        assert table.get(key, ("x",)) == tuple(held.get(key, ("x",)))


def test_keys_that_all_fall_on_one_slot_are_found() -> None:
    held = [(n << 32, (f"user:{n}",)) for n in range(1, 2_000)]
    table = HeldObjects(pack(held))
    assert all(table.get(key) == actors for key, actors in held)
    assert table.get(5_000 << 32) == ()


@pytest.mark.parametrize(
    "broken",
    [
        Holdings(count=1, keys=b"1234567"),
        Holdings(count=1, keys=bytes(24), values=bytes(12)),
        Holdings(count=1, keys=bytes(16), values=bytes(4)),
        Holdings(count=2, keys=bytes(16), values=bytes(8)),
    ],
)
def test_a_table_that_does_not_fit_is_refused(broken: Holdings) -> None:
    with pytest.raises(ValueError, match="a table of holders with"):
        HeldObjects(broken)


def test_a_grant_takes_little_memory() -> None:
    """200,000 objects of 20,000 actors: the dictionary, its keys and the queues; names are kept once."""
    table = GrantTable()
    for n in range(200_000):
        table.grant(n * 0x9E3779B97F4A7C15 % (1 << 62), f"user:{n % 20_000:012d}")
    sizes: Sequence[object] = [
        table._owners,
        *table._owners,
        *table._shares.alone,
        *table._shares._queues,
        *table._shares._numbers,
    ]
    assert sum(map(sys.getsizeof, sizes)) < 200_000 * 130


def test_a_flood_of_made_things_drops_the_flood_alone() -> None:
    table = StepTable(limit=1_000)
    for n in range(500):
        table.made(n, f"user:{n % 50}")
        table.done(n, "confirm")
    for n in range(10_000):
        table.made(100_000 + n, "user:flooder")
    assert len(table) == 1_000
    assert all(table.of(n) == {"confirm": 1} for n in range(500))


def test_calls_that_hang_hide_no_race_of_others() -> None:
    table = StepTable()
    table.made(1, "user:victim")
    table.begun(1, "pay")
    for n in range(2_000):
        table.made(100 + n, "user:flooder")
        table.begun(100 + n, "pay")
    assert table.running(1, "pay") == 1
    assert sum(table.running(100 + n, "pay") for n in range(2_000)) == MAX_RUNNING_OF_ONE
    assert table.running(2_099, "pay") == 1, "and the flooder's own latest race is seen"
    for n in range(2_000):
        table.ended(100 + n, "pay")
    table.ended(1, "pay")
    assert not table._running


def test_a_step_heard_before_its_object_was_made_is_not_lost() -> None:
    """The object was made at one engine, confirmed at this one before the news came."""
    here = StepTable()
    here.told = []
    here.done(7, "confirm")
    assert here.of(7) is None
    here.take("made", 7, "user:alice")
    assert here.of(7) == {"confirm": 1}
    assert here.told == [("done", 7, "confirm")]


def test_where_news_comes_late_nothing_is_called_missing() -> None:
    table = StepTable()
    table.certain = False
    table.made(7, "user:alice")
    table.done(7, "pay")
    known = table.of(7)
    assert known is not None
    assert "confirm" in known, "it may have been done elsewhere just now"
    assert known.get("pay") == 1
    assert known.get("confirm", 0) == 0


def test_a_network_full_of_sources_hides_no_failures_of_others() -> None:
    table = LoginTable(limit=1_000)
    for n in range(6):
        table.record("login", "192.0.2.7", n, 100.0, failed=True, blocked=False)
    for n in range(5_000):
        table.record("login", f"2001:db8:0:7:{n:x}::1", 10_000 + n, 100.0, failed=True, blocked=False)
    window = table.window("login", "192.0.2.7", 3, 101.0)
    assert (window.source_failures, window.source_accounts, window.account_failures) == (6, 6, 1)
    assert len(table) == 2_001


def test_one_caller_given_much_does_not_push_out_what_others_were_given() -> None:
    echoes = Echoes()
    echoes.add(["ORD-17"], "user:alice")
    for n in range(2_000):
        echoes.add([f"{n}-{i}" for i in range(300)], "user:flooder")
    assert echoes.segments(("orders", "ORD-17")) == (1,)
    for n in range(400):
        echoes.add([f"{n}/{i}" for i in range(300)], f"user:{n}")
    assert len(echoes) <= 2 * (MAX_ECHOES + 300), "and what nobody asks for any more leaves"
