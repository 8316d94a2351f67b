"""GCRA against the plain statement of what it promises."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eastwall.policy.limits import LimitTable, parse_rate


@pytest.mark.parametrize(
    ("text", "expected"), [("20/s", (20, 1.0)), ("100/m", (100, 60.0)), ("7 / hour", (7, 3600.0)), ("5/day", (5, 86400.0))]
)
def test_rates(text: str, expected: tuple[int, float]) -> None:
    assert parse_rate(text) == expected


@pytest.mark.parametrize("text", ["", "0/s", "-1/s", "1.5/s", "20", "/s", "20/w", "20/s/s", "1" * 40 + "/s", "20 per s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        parse_rate(text)


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=80),
    st.sampled_from([0.01, 0.1, 1.0, 3.0]),
    st.integers(1, 10),
)
def test_no_window_holds_more_than_burst_and_rate_allow_and_refusals_are_true(
    steps: list[float], interval: float, burst: int
) -> None:
    table, now, taken = LimitTable(), 1.7e9, []
    for step in steps:
        now += step
        allowed, retry, remaining = table.take(1, now, interval, burst)
        if allowed:
            assert retry == 0.0
            taken.append(now)
        else:
            assert 0 < retry <= interval * (1 + 1e-6) + 1e-5
            assert copy.deepcopy(table).take(1, now + retry, interval, burst)[0], "the time it names is the time it means"
            assert remaining == 0
        assert 0 <= remaining < burst or (remaining == 0 and burst == 1)
    for i, start in enumerate(taken):
        for j in range(i, len(taken)):
            assert j - i + 1 <= burst + (taken[j] - start) / interval + 1e-3


jumps = st.lists(st.tuples(st.sampled_from(["wait", "set"]), st.floats(0, 5), st.floats(-1e6, 1e6)), min_size=1, max_size=60)


@given(jumps)
def test_a_clock_that_is_set_grants_a_burst_at_most_and_locks_nobody_out(steps: list[tuple[str, float, float]]) -> None:
    """The clock runs, and is set now and then; the table hears of it by `tick`, as from an engine."""
    interval, burst, period = 1.0, 3, 60.0
    table, clock, real, allowed, forward, refused_since = LimitTable(), 1.7e9, 0.0, 0, 0, None
    table.tick(clock)
    for what, passed, jump in steps:
        clock, real = clock + passed, real + passed
        if what == "set":
            forward += jump > 0
            clock += jump
        table.tick(clock)
        granted, retry, _ = table.take(1, clock, interval, burst)
        allowed += granted
        if granted:
            refused_since = None
        else:
            refused_since = real if refused_since is None else refused_since
            assert retry <= period
            assert real - refused_since < period
    # A step back of less than a second is not told from clocks that differ by a little, and lets time stand still for as long.
    assert allowed <= burst + real / interval + burst * forward + 1e-3


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 300)), min_size=1, max_size=60))
def test_calls_that_began_long_ago_gain_nothing(steps: list[tuple[float, float]]) -> None:
    """A body that is uploaded slowly: its call is judged when it is there, and bears the time of its first byte."""
    table, now, allowed = LimitTable(), 1.7e9, 0
    for passed, began in steps:
        now += passed
        table.tick(now)
        allowed += table.take(1, now - began, 1.0, 3)[0]
    assert allowed <= 3 + (now - 1.7e9) + 1e-3


def test_after_the_clock_is_set_back_a_key_recovers_at_its_rate() -> None:
    table = LimitTable()
    table.tick(2e9)
    table.take(1, 2e9, 1.0, 2)
    table.take(1, 2e9, 1.0, 2)
    table.tick(1e9)
    assert not table.take(1, 1e9, 1.0, 2)[0]
    assert table.take(1, 1e9 + 1.001, 1.0, 2)[0], "and not in thirty years"


def test_the_burst_is_exact_at_real_clock_values() -> None:
    table = LimitTable()
    assert [table.take(1, 1_763_800_000.123, 1 / 3, 5)[0] for _ in range(6)] == [True] * 5 + [False]
    assert [table.take(2, 1_763_800_000.123, 1 / 1000, 4)[2] for _ in range(4)] == [3, 2, 1, 0]


def test_the_table_is_bounded_and_forgets_the_least_recently_used() -> None:
    table = LimitTable(capacity=100)
    for i in range(100):
        table.take(i, 1e9, 60.0, 1)
    table.take(0, 1e9, 60.0, 1)
    for i in range(100, 150):
        table.take(i, 1e9, 60.0, 1)
    assert (len(table), table.evicted) == (100, 50)
    assert not table.take(0, 1e9, 60.0, 1)[0], "the one used last is still known"
    assert table.take(1, 1e9, 60.0, 1)[0], "the oldest starts anew"


def test_a_flood_of_made_up_callers_takes_away_nobodys_count_but_their_own() -> None:
    table = LimitTable(capacity=1_000)
    for i in range(50):
        table.take(i, 1e9, 60.0, 1, holder=f"10.0.{i}")
    for i in range(100_000, 110_000):
        table.take(i, 1e9, 60.0, 1, holder="203.0.113")
    assert len(table) == 1_000
    assert not any(table.take(i, 1e9 + 1, 60.0, 1, holder=f"10.0.{i}")[0] for i in range(50)), "all others are still counted"
