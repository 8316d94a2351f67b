"""GCRA against the plain statement of what it promises."""

from __future__ import annotations

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
        allowed, retry, remaining = table.take("k", now, interval, burst)
        if allowed:
            assert retry == 0.0
            taken.append(now)
        else:
            assert 0 < retry <= interval * (1 + 1e-6) + 1e-5
            again = LimitTable()
            again._arrivals = dict(table._arrivals)
            assert again.take("k", now + retry, interval, burst)[0], "the time it names is the time it means"
            assert remaining == 0
        assert 0 <= remaining < burst or (remaining == 0 and burst == 1)
    for i, start in enumerate(taken):
        for j in range(i, len(taken)):
            assert j - i + 1 <= burst + (taken[j] - start) / interval + 1e-3


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_a_clock_that_jumps_never_grants_more_than_its_way_forward(steps: list[float]) -> None:
    table, now, forward, allowed = LimitTable(), 1.7e9, 0.0, 0
    for step in steps:
        now += step
        forward += max(step, 0.0)
        allowed += table.take("k", now, 1000.0, 3)[0]
    assert allowed <= 3 + forward / 1000.0 + 1e-3


def test_after_a_jump_back_a_key_recovers_at_its_rate() -> None:
    table = LimitTable()
    table.take("k", 2e9, 1.0, 2)
    assert not table.take("k", 1e9, 1.0, 2)[0]
    assert table.take("k", 1e9 + 1.001, 1.0, 2)[0], "and not in thirty years"


def test_the_burst_is_exact_at_real_clock_values() -> None:
    table = LimitTable()
    assert [table.take("k", 1_763_800_000.123, 1 / 3, 5)[0] for _ in range(6)] == [True] * 5 + [False]
    assert [table.take("j", 1_763_800_000.123, 1 / 1000, 4)[2] for _ in range(4)] == [3, 2, 1, 0]


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
