"""Which calls of a slice of time lie within which others, in traces and, where there are none, by timing beyond chance.

**Trace** (W3C Trace Context, traceparent): a call leads to another when the other's parent span is its own; or, where spans are not
known, when both are of one trace, the other lies within it in time, and the other's caller, where known, is the service of the first. Of
several the innermost. Where the caller is not known, pairs that in other traces lie beside each other count against it, and calls of the very same client
are no candidates, as in timing.

**Timing**: an *event* is a call that no trace explains. Its *candidates* are the calls of other services that it lies within: those of the
service that calls, where that is known; else those of the same actor, whose identity was passed on; for network addresses all. Calls
of the very same client (address and user agent) are no candidates: who called the first called the second too. How often that would
be by chance comes from interval jitter (Amarasingham et al., "Conditional modeling and the jitter method of spike resynchronization",
J. Neurophysiol. 2012): were the event anywhere else within its interval of 1, 5 or 30 s, it would lie within a call of the candidate with
the share of the interval that these calls cover. So load that comes and goes, or a busy service, makes no links.
What a page asks for all at once lies across each other as often as within; calls that overlap without lying within count against a link.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from zlib import crc32

from eastwall.learning.link_counts import MICRO, Tally, Target

SLICE = 30.0
"""Seconds."""
TOLERANCE = 0.010
"""Seconds by which a call may stick out of the one that it lies within."""
MAX_SPANS = 48
"""Calls of one trace within a slice; the first ones are looked at."""
MAX_OPEN = 64
"""Calls of a pool that are open at once and looked at: the latest begun."""
MAX_AFTER = 24
"""Calls that begin while an event lasts and are looked at."""
MAX_EVENTS = 2_000
"""Events per target and slice; the first ones count."""
CHANCES = 5
"""Pairs of a target and a candidate whose chance is worked out per slice, for each of its calls, ..."""
LEAST_CHANCES = 20_000
"""... and so many in any case. Where there are more pairs, some targets are left out of the slice."""
LONGEST = SLICE / 2
"""Longer calls (streams) are no candidates for timing: nearly everything lies within them."""
INTERVALS = (1.0, 5.0, 30.0)
"""Widths for the jitter; the first that is at least eight times the candidate's usual length."""

Pool = tuple[str, str]
"""Calls among which causes are looked for: (`service`, name), (`actor`, name) or (`any`, ``). Targets: (operation, how its caller is known)."""


class Call(NamedTuple):
    """What is kept of a record until its slice is judged. Times in seconds within the slice."""

    start: float
    end: float
    service: str
    operation: str
    """Endpoint id."""
    caller: str
    """Service that calls, as far as known."""
    actor: str
    """Empty for addresses."""
    client: str
    """Address and user agent; empty when they tell nobody from anybody."""
    trace: str
    parent: str
    span: str


# --- one slice


def judge(calls: list[Call], base: float) -> Tally:
    """What the calls of one slice say. `base`: Unix seconds at which the slice begins."""
    tally = Tally()
    calls = sorted(calls)
    explained = _traces(calls, base, tally)
    _timing(calls, base, explained, tally)
    return tally


def _inside(inner: Call, outer: Call) -> bool:
    return (
        outer.start <= inner.start + TOLERANCE
        and inner.end <= outer.end + TOLERANCE
        and inner.end - inner.start < outer.end - outer.start
    )


def _traces(calls: list[Call], base: float, tally: Tally) -> set[int]:
    """Count links within traces; the positions of the calls that are explained by one."""
    explained: set[int] = set()
    traces: dict[str, list[int]] = {}
    for at, call in enumerate(calls):
        if call.trace:
            traces.setdefault(call.trace, []).append(at)
    for members in traces.values():
        if len(members) < 2:
            continue
        del members[MAX_SPANS:]
        spans = {calls[at].span: at for at in members if calls[at].span}
        services = {calls[at].service for at in members}
        for at in members:
            call = calls[at]
            parent = spans.get(call.parent) if call.parent else None
            sure = parent is not None and parent != at
            if not sure:
                parent, beside = _enclosing(calls, members, at, call.caller if call.caller in services else "")
                tally.apart.update((other, call.operation) for other in beside)
            if parent is not None and parent != at:
                explained.add(at)
                tally.link((calls[parent].operation, call.operation), 1, base + call.start, base + call.start, int(sure))
    return explained


def _enclosing(calls: list[Call], members: list[int], at: int, caller: str) -> tuple[int | None, set[str]]:
    """The innermost call of a trace that this one lies within; and, where its caller is not known, the operations that it lies beside."""
    call = calls[at]
    best: int | None = None
    within: set[str] = set()
    beside: set[str] = set()
    for other in members:
        outer = calls[other]
        if other == at or (outer.service != caller if caller else outer.service == call.service):
            continue
        if not caller and call.client and call.client == outer.client:
            continue  # who made the first made the second too: any client can give two calls of its own one trace
        if _inside(call, outer):
            within.add(outer.operation)
            if best is None or _inside(outer, calls[best]):
                best = other
        elif not caller and not _inside(outer, call):
            beside.add(outer.operation)
    return best, beside - within


class _Cover:
    """How much of each interval the calls of one operation cover."""

    __slots__ = ("ends", "lengths", "starts")

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.lengths: list[float] = []

    def add(self, start: float, end: float) -> None:
        """In order of start; overlapping calls count once."""
        self.lengths.append(end - start)
        if self.ends and start <= self.ends[-1]:
            self.ends[-1] = max(self.ends[-1], end)
        else:
            self.starts.append(start)
            self.ends.append(end)

    def width(self) -> float:
        usual = sorted(self.lengths)[len(self.lengths) // 2]
        return next((width for width in INTERVALS if width >= 8 * usual), INTERVALS[-1])

    def shares(self, width: float) -> dict[int, float]:
        """Interval -> the share of it that is covered."""
        found: dict[int, float] = {}
        for start, end in zip(self.starts, self.ends, strict=True):
            at = int(start // width)
            while at * width < end:
                found[at] = found.get(at, 0.0) + (min(end, (at + 1) * width) - max(start, at * width)) / width
                at += 1
        return found


def _timing(calls: list[Call], base: float, explained: set[int], tally: Tally) -> None:
    """Count, for calls that no trace explains, what they lie within, and what they would by chance."""
    services = {call.service for call in calls}
    if len(services) < 2:
        return
    passed_on = _passed_on(calls)
    pools: dict[Pool, dict[str, _Cover]] = {}
    events: dict[Pool, dict[Pool, list[float]]] = {}
    """Target -> pool -> starts."""
    last: dict[Pool, tuple[int, ...]] = {}
    open_calls: dict[Pool, list[int]] = {}
    """Pool -> its calls that may still be open, the latest begun last."""
    sought: list[tuple[Pool, Pool] | None] = []
    """For each call its target and the pool in which its cause is looked for; None for those that a trace explains."""
    for at, call in enumerate(calls):
        key, how = _pool(call, services, passed_on)
        sought.append(None if at in explained else ((call.operation, how), key))
    looked = _within_budget(calls, sought, base)
    asked = {key for _, key in looked}
    for at, call in enumerate(calls):
        pair = sought[at]
        if pair is not None and pair in looked:
            target, key = pair
            now = open_calls[key] = [o for o in open_calls.get(key, ()) if calls[o].end >= call.start - TOLERANCE]
            within = [other for other in now if _inside(call, calls[other]) and _of_pool(call, calls[other], key)]
            lying = tuple(sorted(within))
            starts = events.setdefault(target, {}).setdefault(key, [])
            # Ten calls out of one are one event, as far as chance is concerned.
            if (not lying or last.get(target) != lying) and len(starts) < MAX_EVENTS:
                last[target] = lying
                starts.append(call.start)
                around = {calls[other].operation for other in lying}
                _event(tally, target, sorted(around), base + call.start)
                for name in around:
                    shortest = min(calls[o].end - calls[o].start for o in lying if calls[o].operation == name)
                    tally.targets[target].lengths[name] += round(shortest * MICRO)
                near = now + _begun_within(calls, at)
                tally.targets[target].beside.update({calls[o].operation for o in near if _of_pool(call, calls[o], key)} - around)
        if call.end - call.start <= LONGEST:
            for key in (("service", call.service), ("actor", call.actor), ("any", "")):
                if key in asked:
                    now = open_calls.setdefault(key, [])
                    now.append(at)
                    if len(now) > 2 * MAX_OPEN:
                        open_calls[key] = [o for o in now if calls[o].end >= call.start][-MAX_OPEN:]
                    pools.setdefault(key, {}).setdefault(call.operation, _Cover()).add(call.start, call.end)
    _chances(events, pools, calls, tally)


def _within_budget(calls: list[Call], sought: Iterable[tuple[Pool, Pool] | None], base: float) -> set[tuple[Pool, Pool]]:
    """The pairs of a target and a pool that are looked at: all, or so many, by lot, that working out their chances stays cheap.

    Whole pairs are left out, with events, coincidences and chances alike, so that nothing is distorted. The lot is a hash: whoever
    judges the same slice draws the same.
    """
    operations: dict[Pool, set[str]] = {}
    for call in calls:
        for key in (("service", call.service), ("actor", call.actor), ("any", "")):
            operations.setdefault(key, set()).add(call.operation)
    pairs = {pair for pair in sought if pair is not None}
    left = max(LEAST_CHANCES, CHANCES * len(calls))
    if sum(len(operations.get(key, ())) for _, key in pairs) <= left:
        return pairs
    found = set()
    for pair in sorted(pairs, key=lambda pair: (crc32(repr((base, pair)).encode("utf-8", "surrogatepass")), pair)):
        left -= len(operations.get(pair[1], ())) + 1
        if left < 0:
            break
        found.add(pair)
    return found


def _passed_on(calls: Iterable[Call]) -> set[str]:
    """Actors that call more than one service: their identity may have been passed on from one to the other."""
    first: dict[str, str] = {}
    return {call.actor for call in calls if call.actor and first.setdefault(call.actor, call.service) != call.service}


def _pool(call: Call, services: set[str], passed_on: set[str]) -> tuple[Pool, str]:
    """The pool of calls in which this one's cause is looked for, and how its caller is known."""
    if call.caller in services and call.caller != call.service:
        return ("service", call.caller), "service:" + call.caller
    if call.actor in passed_on or (call.actor and not call.caller):
        return ("actor", call.actor), "actor"
    return ("any", ""), "any:" + call.caller


def _of_pool(call: Call, other: Call, pool: Pool) -> bool:
    """Whether another call may be this one's cause, but for its time."""
    if other.service == call.service:
        return False
    if pool[0] == "service":
        return other.service == pool[1]
    if call.client and call.client == other.client:
        return False
    return pool[0] == "any" or other.actor == pool[1]


def _begun_within(calls: list[Call], at: int) -> list[int]:
    """The next calls that begin before this one ends."""
    end = calls[at].end
    found = []
    for other in range(at + 1, min(at + 1 + MAX_AFTER, len(calls))):
        if calls[other].start >= end:
            break
        found.append(other)
    return found


def _event(tally: Tally, target: Pool, within: list[str], time: float) -> None:
    counts = tally.targets.get(target)
    if counts is None:
        counts = tally.targets[target] = Target()
        counts.first = time
    counts.events += 1
    counts.first = min(counts.first, time)
    counts.last = max(counts.last, time)
    if within:
        counts.sets[tuple(within)] += 1


def _chances(
    events: Mapping[Pool, Mapping[Pool, list[float]]],
    pools: Mapping[Pool, Mapping[str, _Cover]],
    calls: list[Call],
    tally: Tally,
) -> None:
    home = {call.operation: call.service for call in calls}
    shares: dict[tuple[Pool, str], tuple[float, dict[int, float]]] = {}
    for target, by_pool in events.items():
        counts = tally.targets.get(target)
        if counts is None:
            continue
        service = home[target[0]]
        for key, starts in by_pool.items():
            pool = pools.get(key, {})
            binned = {width: Counter(int(start // width) for start in starts) for width in INTERVALS}
            for operation, cover in pool.items():
                if home[operation] == service:
                    continue
                known = shares.get((key, operation))
                if known is None:
                    width = cover.width()
                    known = shares[(key, operation)] = (width, cover.shares(width))
                width, covered = known
                bins = binned[width]
                if len(bins) > len(covered):
                    chance = sum(share * bins[at] for at, share in covered.items() if at in bins)
                else:
                    chance = sum(covered[at] * n for at, n in bins.items() if at in covered)
                if chance:
                    counts.expected[operation] += max(1, round(chance * MICRO))
