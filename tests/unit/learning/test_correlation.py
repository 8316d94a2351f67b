"""Synthetic interleavings with known truth: calls that lead to others among calls that do not."""

from __future__ import annotations

import math
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.learning import coincidences, correlation
from eastwall.learning.coincidences import SLICE
from eastwall.learning.correlation import Correlation
from eastwall.learning.link_counts import MOST, Link, evidence

Row = tuple[float, float, str, str, str, str, str, str, str, str]
"""The arguments of `Correlation.add`."""
TRUTH = {("front/checkout", "orders/create"), ("orders/create", "billing/pay"), ("front/list", "orders/list")}


def row(
    time: float,
    duration: float,
    operation: str,
    *,
    caller: str = "",
    actor: str = "",
    client: str = "",
    trace: str = "",
    parent: str = "",
    span: str = "",
) -> Row:
    return time, duration, operation.partition("/")[0], operation, caller, actor, client, trace, parent, span


def shop(rng: random.Random, known_by: str, rate: float, *, seconds: float = 60.0, background: float = 1.0) -> list[Row]:
    """Users call `front`, which calls `orders`, which calls `billing`; beside it, users call `orders` themselves (`background` times as
    often) and a nightly job calls `billing`. `known_by`: what the calls behind bear of where they come from."""
    rows: list[Row] = []

    def behind(time: float, duration: float, operation: str, service: str, user: str, trace: str) -> None:
        if known_by == "caller":
            rows.append(row(time, duration, operation, caller=service, actor=f"workload:{service}", client=service))
        elif known_by == "actor":
            rows.append(row(time, duration, operation, actor=user, client=service))
        elif known_by == "trace":
            rows.append(row(time, duration, operation, client=service, trace=trace, parent=f"{rng.getrandbits(64):016x}"))
        else:
            rows.append(row(time, duration, operation, client=service))

    time = 1000.0
    while time < 1000 + seconds:
        time += rng.expovariate(rate)
        user, duration, kind = f"user:{rng.randrange(30)}", rng.uniform(0.02, 0.12), rng.choice(("checkout", "list", "static"))
        actor = user if known_by != "any" else ""
        trace = f"{rng.getrandbits(128):032x}" if known_by == "trace" else ""
        rows.append(row(time, duration, f"front/{kind}", actor=actor, client=user, trace=trace))
        if kind == "checkout":
            inner, length = time + duration * 0.2, duration * 0.5
            behind(inner, length, "orders/create", "front", user, trace)
            if rng.random() < 0.7:
                behind(inner + length * 0.3, length * 0.4, "billing/pay", "orders", user, trace)
        elif kind == "list":
            behind(time + duration * 0.1, duration * 0.6, "orders/list", "front", user, trace)
    time = 1000.0
    while background and time < 1000 + seconds:
        time += rng.expovariate(rate * background)
        user = f"user:{rng.randrange(30)}"
        operation = rng.choice(("orders/list", "orders/get"))
        rows.append(row(time, rng.uniform(0.01, 0.06), operation, actor=user if known_by != "any" else "", client=user))
        if rng.random() < 0.3:
            rows.append(row(time + rng.random(), 0.03, "billing/report", caller="cron", actor="workload:cron", client="cron"))
    return sorted(rows, key=lambda r: r[0] + r[1])  # records come when calls end


def folded(rows: list[Row]) -> Correlation:
    state = Correlation()
    for each in rows:
        state.add(*each)
    return state


def pairs(links: tuple[Link, ...]) -> set[tuple[str, str]]:
    return {(link.source, link.target) for link in links}


@pytest.mark.parametrize(
    ("known_by", "rate"),
    [
        ("trace", 1), ("trace", 20), ("caller", 1), ("caller", 5), ("caller", 20), ("caller", 80), ("actor", 1), ("actor", 20),
        ("actor", 80), ("any", 1), ("any", 5),
    ],
)  # fmt: skip
def test_what_leads_to_what_is_found_and_nothing_else(known_by: str, rate: float) -> None:
    for seed in range(3):
        links = folded(shop(random.Random(seed), known_by, rate)).links()
        assert pairs(links) == TRUTH
        assert {link.evidence for link in links} == {"trace" if known_by == "trace" else "timing"}
        assert all(link.confidence <= (1.0 if known_by == "trace" else MOST) for link in links)


def test_an_operation_with_two_causes_has_both_and_not_what_runs_beside_them() -> None:
    rng = random.Random(4)
    rows: list[Row] = []
    for n in range(300):
        time, cause = 1000.0 + n * 0.2 + rng.random() * 0.05, rng.choice(("front/buy", "front/again", "front/look"))
        rows.append(row(time, 0.15, cause, client=f"u{n}"))
        rows.append(row(time + rng.random() * 0.05, 0.16, "front/look", client=f"v{n}"))
        if cause != "front/look":
            rows.append(row(time + 0.02, 0.05, "orders/create", caller="front", client="front"))
    assert pairs(folded(rows).links()) == {("front/buy", "orders/create"), ("front/again", "orders/create")}


def test_counts_of_timing_leave_out_what_is_chance() -> None:
    """Users call `orders/list` directly as often as through `front/list`: only the latter are counted, within some per cent."""
    rows = shop(random.Random(7), "caller", 10, background=3.0)
    through = sum(1 for r in rows if r[3] == "orders/list" and r[4] == "front")
    link = next(link for link in folded(rows).links() if link.target == "orders/list")
    assert through * 0.9 <= link.calls <= through * 1.02


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from(("caller", "actor", "any")),
    st.sampled_from(((0.05, 1.0), (0.2, 1.0), (0.2, 3.0), (1.0, 2.0), (3.0, 3.0))),
)
def test_calls_that_come_together_do_not_lead_to_each_other(seed: int, known_by: str, burst: tuple[float, float]) -> None:
    """Bursts of independent calls (a page, a batch, a busy second): nothing leads to anything."""
    rng = random.Random(seed)
    width, gap = burst
    rows: list[Row] = []
    time = 1000.0
    while time < 1120:
        time += rng.expovariate(1 / gap)
        user = f"user:{rng.randrange(20)}"
        for _ in range(rng.randint(2, 12)):
            operation = rng.choice(("front/a", "front/b", "orders/x", "orders/y", "billing/z"))
            who = user if rng.random() < 0.5 else f"user:{rng.randrange(20)}"
            caller = "front" if known_by == "caller" and not operation.startswith("front") else ""
            rows.append(
                row(
                    time + rng.random() * width,
                    rng.uniform(0.005, 0.08),
                    operation,
                    caller=caller,
                    actor=who if known_by == "actor" else "",
                    client=f"{rng.random()}",
                )
            )
    assert folded(rows).links() == ()


@pytest.mark.parametrize("known_by", ["any", "caller", "actor"])
def test_independent_calls_do_not_lead_to_each_other_in_the_long_run(known_by: str) -> None:
    """Hours of load that swings: coincidences add up, and so must what is expected of chance."""
    rng = random.Random(8)
    rows: list[Row] = []
    time = 1000.0
    while time < 1000 + 4_000:
        time += rng.expovariate(3 * (1.2 + math.sin(time / 40)))
        number = rng.randrange(12)
        service, caller = f"s{number % 4}", f"s{rng.randrange(4)}"
        rows.append(
            row(
                time,
                rng.uniform(0.01, 0.3),
                f"{service}/{number}",
                caller=caller if known_by == "caller" and caller != service else "",
                actor=f"user:{rng.randrange(8)}" if known_by == "actor" else "",
                client=f"{rng.random()}",
            )
        )
    assert len(rows) > 10_000
    assert folded(rows).links() == ()


def test_targets_are_drawn_by_lot_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over many slices what leads to what is found nevertheless, and nothing else."""
    monkeypatch.setattr(coincidences, "CHANCES", 0)
    monkeypatch.setattr(coincidences, "LEAST_CHANCES", 200)
    rows = shop(random.Random(2), "caller", 10, seconds=600)
    assert pairs(folded(rows).links()) == TRUTH
    random.Random(1).shuffle(rows)
    assert pairs(folded(sorted(rows)).links()) == TRUTH


def test_the_same_client_is_not_a_service_behind() -> None:
    """A browser that asks for a slow page and, a moment later, for something small: within, every time, and yet not because of it."""
    rng = random.Random(3)
    rows = []
    for at in range(100):
        time, user = 1000.0 + at * 0.9 + rng.random() * 0.1, f"user:{at % 9}"
        rows += [
            row(time, 0.2, "front/page", actor=user, client=user),
            row(time + 0.02, 0.05, "orders/badge", actor=user, client=user),
        ]
    assert folded(rows).links() == ()
    relayed = [(*r[:6], "proxy", *r[7:]) if r[3] == "orders/badge" else r for r in rows]
    assert pairs(folded(relayed).links()) == {("front/page", "orders/badge")}


def test_a_span_that_names_its_parent_is_sure() -> None:
    """Also when it outlives it, as work does that is only begun."""
    rows = [
        row(1000.0, 0.05, "front/a", trace="t", span="aaaa"),
        row(1000.04, 2.0, "orders/b", trace="t", parent="aaaa", span="bbbb"),
        row(1000.01, 0.01, "billing/c", trace="t", parent="eeee"),
    ]
    links = folded(rows).links()
    assert [(k.source, k.target, k.evidence, k.confidence) for k in links if k.target == "orders/b"] == [
        ("front/a", "orders/b", "trace", 1.0)
    ]


def test_of_several_that_enclose_a_call_the_innermost_leads_to_it() -> None:
    rows = [row(1000.0, 1.0, "a/x", trace="t"), row(1000.1, 0.5, "b/x", trace="t"), row(1000.2, 0.1, "c/x", trace="t")]
    assert pairs(folded(rows).links()) == {("a/x", "b/x"), ("b/x", "c/x")}


def test_a_trace_with_known_callers_is_not_guessed() -> None:
    """`a` calls `b` and `c` at the same time; `c` lies within `b`, but `a` called it."""
    rows = []
    for n in range(10):
        trace = f"t{n}"
        rows += [
            row(1000.0 + n, 0.5, "a/x", trace=trace),
            row(1000.1 + n, 0.3, "b/x", caller="a", trace=trace),
            row(1000.15 + n, 0.1, "c/x", caller="a", trace=trace),
        ]
    assert pairs(folded(rows).links()) == {("a/x", "b/x"), ("a/x", "c/x")}


def test_what_lies_beside_in_most_traces_does_not_lead() -> None:
    """Without callers: `a` calls `b` and `c` at the same time, and `c` happens to lie within `b` in one trace of four."""
    rows = []
    for n in range(40):
        trace, inside = f"t{n}", n % 4 == 0
        rows += [
            row(1000.0 + n * 0.6, 0.5, "a/x", trace=trace),
            row(1000.1 + n * 0.6, 0.2, "b/x", trace=trace),
            row(1000.12 + n * 0.6, 0.1 if inside else 0.3, "c/x", trace=trace),
        ]
    assert pairs(folded(rows).links()) == {("a/x", "b/x"), ("a/x", "c/x")}


def test_few_coincidences_are_not_enough() -> None:
    rows = []
    for n in range(4):
        rows += [row(1000.0 + 5 * n, 0.1, "a/x", client="u"), row(1000.02 + 5 * n, 0.05, "b/x", caller="a", client="a")]
    assert folded(rows).links() == ()


# --- merging


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(("trace", "caller", "actor", "any")), st.integers(2, 8))
def test_shards_merge_to_what_one_stream_gives(seed: int, known_by: str, shards: int) -> None:
    """However records are dealt out, and in whatever order they come, while their slices are open."""
    rng = random.Random(seed)
    rows = shop(rng, known_by, 4, seconds=50)
    whole = folded(rows)
    parts: list[list[Row]] = [[] for _ in range(shards)]
    for each in rows:
        rng.choice(parts).append(each)
    merged = Correlation()
    for part in parts:
        rng.shuffle(part)
        merged.merge(folded(part))
    assert merged.links() == whole.links()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 4))
def test_judged_slices_add_up(seed: int, shards: int) -> None:
    """Shards by time: each has judged its own slices when they merge."""
    rng = random.Random(seed)
    rows = shop(rng, "caller", 2, seconds=SLICE * 12)
    whole = folded(rows)
    merged = Correlation()
    for shard in range(shards):
        merged.merge(folded([r for r in rows if int(r[0] // SLICE) * shards // 50 % shards == shard]))
    assert pairs(merged.links()) == pairs(whole.links())
    assert [link.calls for link in merged.links()] == [link.calls for link in whole.links()]


def test_state_survives_a_restart() -> None:
    rows = shop(random.Random(5), "actor", 5, seconds=200)
    half = len(rows) // 2
    state = folded(rows[:half])
    state = Correlation.load(msgspec.msgpack.decode(msgspec.msgpack.encode(state.dump()), strict=False))
    for each in rows[half:]:
        state.add(*each)
    assert state.links() == folded(rows).links()


def test_moved_operations_keep_their_links() -> None:
    state = folded(shop(random.Random(5), "caller", 5, seconds=200))
    state.move({"orders/create": "orders/{new}", "front/list": "front/{new}"})
    assert pairs(state.links()) == {
        ("front/checkout", "orders/{new}"),
        ("orders/{new}", "billing/pay"),
        ("front/{new}", "orders/list"),
    }


# --- bounds


def test_a_busy_slice_is_cut_in_time_whatever_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation, "MAX_CALLS", 1_000)
    rows = shop(random.Random(2), "caller", 60, seconds=28)
    assert len(rows) > 2_000
    state = folded(rows)
    assert sum(len(part[3]) for part in state.dump()[1]) <= 2 * 1_000
    assert pairs(state.links()) == TRUTH
    random.Random(1).shuffle(rows)
    assert folded(rows).links() == state.links()


def test_open_slices_are_few_however_old_the_records() -> None:
    state = Correlation()
    for n in range(1_000):
        state.add((n * 7919 % 1_000) * SLICE, 0.1, "a", "a/x")
    assert len(state.dump()[1]) <= correlation.MAX_OPEN


def test_many_calls_at_once_stay_cheap() -> None:
    """20,000 calls that all overlap: each looks at a bounded number of others."""
    import time

    state = Correlation()
    for n in range(19_000):
        state.add(1000.0 + n * 1e-4, 10.0, f"s{n % 7}", f"s{n % 7}/x", "", "", f"c{n}", f"t{n % 3}" if n % 2 else "")
    began = time.perf_counter()
    state.links()
    assert time.perf_counter() - began < 40  # 1 s when measured; the slow way took two minutes


def test_evidence_bounds_the_binomial_tail() -> None:
    from math import comb, exp

    for n, k, p in ((20, 10, 0.1), (50, 20, 0.2), (5, 5, 0.05), (200, 120, 0.5), (30, 30, 0.9)):
        tail = sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))
        assert tail <= exp(-evidence(n, k, p)) * (1 + 1e-9)
    assert evidence(100, 5, 0.1) == 0.0


def test_a_client_cannot_make_a_link_by_giving_its_own_calls_one_trace() -> None:
    for inner, expected in (("attacker", ()), ("a", (("ep_a", "ep_b"),))):
        state = Correlation()
        for number in range(20):
            start, trace = 1_000.0 + number * 0.9, f"{number:032x}"
            state.add(start, 0.5, "a", "ep_a", client="attacker", trace=trace)
            state.add(start + 0.1, 0.05, "b", "ep_b", client=inner, trace=trace)
        assert tuple((link.source, link.target) for link in state.links()) == expected
