"""Which operation leads to which other: found in traces, and in timing where there are none.

The rules for this file:

- Calls are gathered in slices of `SLICE` seconds by their start. A slice is judged as a whole, in an order of its own, so that the
  order in which records come does not matter; then only counts stay. What crosses the edge of a slice is missed: with calls of
  50 ms that is one link in 600.
- A slice that holds more than `MAX_CALLS` is halved in length: all calls of a shorter time, not some of a longer one, because links
  are between calls that are near each other. Its counts are then those of that part.
- Times are compared within a slice only. Clocks of hosts may differ by `TOLERANCE`.

**Trace** (W3C Trace Context, traceparent): a call leads to another when the other's parent span is its own; or, where spans are not
known, when both are of one trace, the other lies within it in time, and the other's caller, where known, is the service of the first. Of
several the innermost. Where the caller is not known, pairs that in other traces lie beside each other count against it.

**Timing**: an *event* is a call that no trace explains. Its *candidates* are the calls of other services that it lies within: those of the
service that calls, where that is known; else those of the same actor, whose identity was passed on; for network addresses all. Calls
of the very same client (address and user agent) are no candidates: who called the first called the second too. How often that would
be by chance comes from interval jitter (Amarasingham et al., "Conditional modeling and the jitter method of spike resynchronization",
J. Neurophysiol. 2012): were the event anywhere else within its interval of 1, 5 or 30 s, it would lie within a call of the candidate with
the share of the interval that these calls cover. So load that comes and goes, or a busy service, makes no links. By Chernoff's bound
P(K >= k) <= exp(-n KL(k/n || p)), for trials that need not be alike. Candidates that overlap because they are called together are taken
apart: the best goes first, and the next must explain events that it does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from math import log
from typing import Any, NamedTuple

from msgspec import Struct

SLICE = 30.0
"""Seconds."""
MAX_CALLS = 20_000
"""Calls of a slice; above that it is cut in half, and again."""
MAX_OPEN = 8
"""Slices that are not judged yet; the one that no record came for longest goes first."""
PATIENCE = 2
"""A slice is judged when so many others were begun since a record came for it."""
TOLERANCE = 0.010
"""Seconds by which a call may stick out of the one that it lies within."""
MAX_SPANS = 48
"""Calls of one trace within a slice; the first ones are looked at."""
MAX_LINKS = 50_000
"""Pairs of operations in the trace table; the quarter seen least leaves."""
MAX_TARGETS = 5_000
"""(operation, caller) for which timing is counted; the quarter with the fewest events leaves."""
MAX_SETS = 64
"""Sets of candidates told apart per target; the quarter seen least leaves."""
MAX_CANDIDATES = 64
"""Candidates per target whose chance is counted; the quarter with the least expectation leaves."""
MAX_WITHIN = 24
"""Calls that one event may lie within; with more at once, the latest begun count."""
MAX_EVENTS = 2_000
"""Events per target and slice; the first ones count."""
LONGEST = SLICE / 2
"""Longer calls (streams) are no candidates for timing: nearly everything lies within them."""
INTERVALS = (1.0, 5.0, 30.0)
"""Widths for the jitter; the first that is at least eight times the candidate's usual length."""
CERTAINTY = log(1e6)
"""Nats: timing links are told when chance would make such a coincidence at most once in a million."""
MIN_EVENTS = 5
MIN_LIFT = 2.0
MICRO = 1_000_000
"""Expectations are kept as whole millionths, so that sums do not depend on their order."""


class Link(Struct, frozen=True):
    """One operation leads to another."""

    source: str
    """Endpoint id."""
    target: str
    calls: int
    """Coincidences counted; of busy times only a part is looked at."""
    first_seen: float
    last_seen: float
    evidence: str
    """`trace` or `timing`."""
    confidence: float
    """0..1. Trace: share of the traces with both in which the one lies within the other. Timing: share of the coincidences that is beyond
    chance, at most 0.95."""


class _Call(NamedTuple):
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


class _Slice:
    __slots__ = ("calls", "length", "touched")

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.length = SLICE
        self.touched = 0

    def add(self, calls: Iterable[_Call]) -> None:
        length = self.length
        self.calls.extend(call for call in calls if call.start < length)
        while len(self.calls) > MAX_CALLS:
            # The outcome is the longest time whose calls fit, in whatever order they come.
            self.length = length = self.length / 2
            self.calls = [call for call in self.calls if call.start < length]


class _Target:
    """Counts for the events of one operation from one caller."""

    __slots__ = ("events", "expected", "first", "last", "sets")

    def __init__(self) -> None:
        self.events = 0
        self.first = 0.0
        self.last = 0.0
        self.sets: Counter[tuple[str, ...]] = Counter()
        """Operations (sorted) that an event lay within -> events; without those that lay within none."""
        self.expected: Counter[str] = Counter()
        """Operation -> events that would lie within it by chance, millionths."""

    def merge(self, other: _Target) -> None:
        self.first = min(self.first, other.first) if self.events and other.events else self.first or other.first
        self.last = max(self.last, other.last)
        self.events += other.events
        self.sets.update(other.sets)
        self.expected.update(other.expected)
        _prune(self.sets, MAX_SETS)
        _prune(self.expected, MAX_CANDIDATES)


class _Tally:
    """Counts of judged slices."""

    __slots__ = ("apart", "links", "targets")

    def __init__(self) -> None:
        self.links: dict[tuple[str, str], list[Any]] = {}
        """(source, target) -> [calls, first, last, of them sure]."""
        self.apart: Counter[tuple[str, str]] = Counter()
        """Traces in which both are, and beside each other."""
        self.targets: dict[tuple[str, str], _Target] = {}
        """(operation, how its caller is known) -> counts."""

    def merge(self, other: _Tally) -> None:
        for key, entry in other.links.items():
            self.link(key, *entry)
        self.apart.update(other.apart)
        for target, theirs in other.targets.items():
            mine = self.targets.get(target)
            if mine is None:
                mine = self.targets[target] = _Target()
            mine.merge(theirs)
        self._bound()

    def link(self, key: tuple[str, str], calls: int, first: float, last: float, sure: int) -> None:
        entry = self.links.get(key)
        if entry is None:
            self.links[key] = [calls, first, last, sure]
            return
        entry[0] += calls
        entry[1] = min(entry[1], first)
        entry[2] = max(entry[2], last)
        entry[3] += sure

    def _bound(self) -> None:
        if len(self.links) > MAX_LINKS:
            kept = sorted(self.links, key=lambda key: (-self.links[key][0], key))[: MAX_LINKS * 3 // 4]
            self.links = {key: self.links[key] for key in kept}
        _prune(self.apart, MAX_LINKS)
        if len(self.targets) > MAX_TARGETS:
            found = sorted(self.targets, key=lambda key: (-self.targets[key].events, key))[: MAX_TARGETS * 3 // 4]
            self.targets = {key: self.targets[key] for key in found}


def _prune(counts: Counter[Any], most: int) -> None:
    if len(counts) > most:
        for key in sorted(counts, key=lambda key: (-counts[key], key))[most * 3 // 4 :]:
            del counts[key]


class Correlation:
    """Mergeable state. What two shards know of the same slice that neither has judged is joined at `merge`; a trace of which one shard
    has judged its part already is not put together any more."""

    def __init__(self) -> None:
        self._tally = _Tally()
        self._open: dict[int, _Slice] = {}
        self._begun = 0
        self._early: dict[int, tuple[int, _Tally]] = {}
        """Slice -> (calls it had, tally) of open slices judged before their time, for `links`."""

    def add(
        self,
        time: float,
        duration: float,
        service: str,
        operation: str,
        caller: str = "",
        actor: str = "",
        client: str = "",
        trace: str = "",
        parent: str = "",
        span: str = "",
    ) -> None:
        """A call that reached its service. `time`: Unix seconds; `duration`: seconds; `operation`: endpoint id."""
        number = int(time // SLICE)
        start = time - number * SLICE
        calls = self._slice(number)
        if start < calls.length:
            calls.calls.append(_Call(start, start + duration, service, operation, caller, actor, client, trace, parent, span))
            if len(calls.calls) > MAX_CALLS:
                calls.add(())

    def _slice(self, number: int) -> _Slice:
        found = self._open.get(number)
        if found is None:
            found = self._open[number] = _Slice()
            self._begun += 1
            found.touched = self._begun
            for other in [n for n, s in self._open.items() if s.touched < self._begun - PATIENCE]:
                self._close(other)
            while len(self._open) > MAX_OPEN:
                self._close(min(self._open, key=lambda n: (self._open[n].touched, n)))
        found.touched = self._begun
        return found

    def _close(self, number: int) -> None:
        self._early.pop(number, None)
        self._tally.merge(judge(self._open.pop(number).calls, number * SLICE))

    def merge(self, other: Correlation) -> None:
        """Take in what another has counted; `other` is left as it is."""
        self._tally.merge(other._tally)
        for number, theirs in other._open.items():
            mine = self._open.get(number)
            if mine is None:
                mine = self._open[number] = _Slice()
                mine.touched = self._begun
            if theirs.length < mine.length:
                mine.length = theirs.length
                mine.calls = [call for call in mine.calls if call.start < mine.length]
            mine.add(theirs.calls)
            self._early.pop(number, None)
        while len(self._open) > MAX_OPEN:
            self._close(min(self._open, key=lambda n: (self._open[n].touched, n)))

    def move(self, moved: Mapping[str, str]) -> None:
        """Endpoints have new ids: old -> new."""
        whole, self._tally = self._tally, _Tally()
        for (source, target), entry in whole.links.items():
            self._tally.link((moved.get(source, source), moved.get(target, target)), *entry)
        for (source, target), count in whole.apart.items():
            self._tally.apart[(moved.get(source, source), moved.get(target, target))] += count
        for (operation, how), counts in whole.targets.items():
            sets, expected = counts.sets, counts.expected
            counts.sets, counts.expected = Counter(), Counter()
            for names, count in sets.items():
                counts.sets[tuple(sorted({moved.get(name, name) for name in names}))] += count
            for name, chance in expected.items():
                counts.expected[moved.get(name, name)] += chance
            into = self._tally.targets.setdefault((moved.get(operation, operation), how), _Target())
            into.merge(counts)
        for part in self._open.values():
            part.calls = [
                call._replace(operation=moved[call.operation]) if call.operation in moved else call for call in part.calls
            ]
        self._early.clear()

    def links(self) -> tuple[Link, ...]:
        """Everything found so far, sorted by source and target."""
        tally = _Tally()
        tally.merge(self._tally)
        for number, entry in self._open.items():
            size = len(entry.calls)
            known = self._early.get(number)
            # Judging a busy slice takes a while: it is done anew when a quarter has been added.
            if known is None or size > known[0] + known[0] // 4:
                known = self._early[number] = (size, judge(entry.calls, number * SLICE))
            tally.merge(known[1])
        return conclude(tally)

    def dump(self) -> list[Any]:
        """Plain data for `load`."""
        t = self._tally
        return [
            [[*key, *entry] for key, entry in t.links.items()],
            [[*key, count] for key, count in t.apart.items()],
            [
                [*key, c.events, c.first, c.last, [[list(names), n] for names, n in c.sets.items()], dict(c.expected)]
                for key, c in t.targets.items()
            ],
            [[number, s.length, s.touched, s.calls] for number, s in self._open.items()],
            self._begun,
        ]

    @classmethod
    def load(cls, data: Any) -> Correlation:
        state = cls()
        tally = state._tally
        for source, target, *entry in data[0]:
            tally.links[(source, target)] = list(entry)
        for source, target, count in data[1]:
            tally.apart[(source, target)] = count
        for operation, how, events, first, last, sets, expected in data[2]:
            counts = tally.targets[(operation, how)] = _Target()
            counts.events, counts.first, counts.last = events, first, last
            counts.sets = Counter({tuple(names): n for names, n in sets})
            counts.expected = Counter(expected)
        for number, length, touched, calls in data[3]:
            entry = state._open[number] = _Slice()
            entry.length, entry.touched, entry.calls = length, touched, [_Call(*call) for call in calls]
        state._begun = data[4]
        return state


# --- one slice


def judge(calls: list[_Call], base: float) -> _Tally:
    """What the calls of one slice say. `base`: Unix seconds at which the slice begins."""
    tally = _Tally()
    calls = sorted(calls)
    explained = _traces(calls, base, tally)
    _timing(calls, base, explained, tally)
    return tally


def _inside(inner: _Call, outer: _Call) -> bool:
    return (
        outer.start <= inner.start + TOLERANCE
        and inner.end <= outer.end + TOLERANCE
        and inner.end - inner.start < outer.end - outer.start
    )


def _traces(calls: list[_Call], base: float, tally: _Tally) -> set[int]:
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
        apart: set[tuple[str, str]] = set()
        for at in members:
            call = calls[at]
            parent = spans.get(call.parent) if call.parent else None
            sure = parent is not None and parent != at
            if not sure:
                parent, beside = _enclosing(calls, members, at, call.caller if call.caller in services else "")
                apart.update((calls[other].operation, call.operation) for other in beside)
            if parent is not None and parent != at:
                explained.add(at)
                tally.link((calls[parent].operation, call.operation), 1, base + call.start, base + call.start, int(sure))
        tally.apart.update(apart)
    return explained


def _enclosing(calls: list[_Call], members: list[int], at: int, caller: str) -> tuple[int | None, list[int]]:
    """The innermost call of a trace that this one lies within; and those of other services that it lies beside."""
    call = calls[at]
    best: int | None = None
    beside: list[int] = []
    for other in members:
        outer = calls[other]
        if other == at or (outer.service != caller if caller else outer.service == call.service):
            continue
        if _inside(call, outer):
            if best is None or _inside(outer, calls[best]):
                best = other
        elif not caller and not _inside(outer, call):
            beside.append(other)
    if best is not None:
        # What encloses the innermost one, or is enclosed by it, is no contradiction.
        beside = [other for other in beside if not _inside(calls[other], calls[best])]
    return best, beside


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


def _timing(calls: list[_Call], base: float, explained: set[int], tally: _Tally) -> None:
    """Count, for calls that no trace explains, what they lie within, and what they would by chance."""
    services = {call.service for call in calls}
    if len(services) < 2:
        return
    pools: dict[tuple[str, str], dict[str, _Cover]] = {}
    events: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = {}
    """Target -> pool -> starts."""
    last: dict[tuple[str, str], tuple[int, ...]] = {}
    active: list[tuple[float, int]] = []
    """Heap of (end, position) of the calls that are open."""
    asked = {_pool(call, services)[0] for at, call in enumerate(calls) if at not in explained}
    for at, call in enumerate(calls):
        while active and active[0][0] < call.start - TOLERANCE:
            heappop(active)
        if at not in explained:
            key, how = _pool(call, services)
            target = (call.operation, how)
            within = [other for _, other in active if _candidate(call, calls[other], key)]
            if len(within) > MAX_WITHIN:
                within = sorted(within)[-MAX_WITHIN:]
            lying = tuple(sorted(within))
            starts = events.setdefault(target, {}).setdefault(key, [])
            # Ten calls out of one are one event, as far as chance is concerned.
            if (not lying or last.get(target) != lying) and len(starts) < MAX_EVENTS:
                last[target] = lying
                starts.append(call.start)
                _event(tally, target, sorted({calls[other].operation for other in lying}), base + call.start)
        if call.end - call.start <= LONGEST:
            heappush(active, (call.end, at))
            for key in (("service", call.service), ("actor", call.actor), ("any", "")):
                if key in asked:
                    pools.setdefault(key, {}).setdefault(call.operation, _Cover()).add(call.start, call.end)
    _chances(events, pools, calls, tally)


def _pool(call: _Call, services: set[str]) -> tuple[tuple[str, str], str]:
    """The pool of calls in which this one's cause is looked for, and how its caller is known."""
    if call.caller in services and call.caller != call.service:
        return ("service", call.caller), "service:" + call.caller
    if call.actor:
        return ("actor", call.actor), "actor"
    return ("any", ""), "any:" + call.caller


def _candidate(call: _Call, outer: _Call, pool: tuple[str, str]) -> bool:
    if outer.service == call.service or not _inside(call, outer):
        return False
    if pool[0] == "service":
        return outer.service == pool[1]
    if call.client and call.client == outer.client:
        return False
    return pool[0] == "any" or outer.actor == pool[1]


def _event(tally: _Tally, target: tuple[str, str], within: list[str], time: float) -> None:
    counts = tally.targets.get(target)
    if counts is None:
        counts = tally.targets[target] = _Target()
        counts.first = time
    counts.events += 1
    counts.first = min(counts.first, time)
    counts.last = max(counts.last, time)
    if within:
        counts.sets[tuple(within)] += 1


def _chances(
    events: Mapping[tuple[str, str], Mapping[tuple[str, str], list[float]]],
    pools: Mapping[tuple[str, str], Mapping[str, _Cover]],
    calls: list[_Call],
    tally: _Tally,
) -> None:
    home = {call.operation: call.service for call in calls}
    shares: dict[tuple[tuple[str, str], str], tuple[float, dict[int, float]]] = {}
    for target, by_pool in events.items():
        counts = tally.targets.get(target)
        if counts is None:
            continue
        service = home[target[0]]
        for key, starts in by_pool.items():
            binned = {width: Counter(int(start // width) for start in starts) for width in INTERVALS}
            for operation, cover in pools.get(key, {}).items():
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


# --- all slices


def conclude(tally: _Tally) -> tuple[Link, ...]:
    """The links that the counts speak for."""
    found: dict[tuple[str, str], Link] = {}
    for key, (calls, first, last, sure) in tally.links.items():
        # Without span ids, two calls that some third makes at the same time look like one within the other now and then.
        against = tally.apart[key]
        confidence = 1.0 if sure else calls / (calls + against)
        if confidence >= 0.5:
            found[key] = Link(*key, calls, first, last, "trace", round(confidence, 3))
    for (operation, _), counts in tally.targets.items():
        for source, calls, confidence in _explain(counts):
            pair = (source, operation)
            known = found.get(pair)
            if known is None:
                found[pair] = Link(*pair, calls, counts.first, counts.last, "timing", confidence)
            elif known.evidence == "timing":
                found[pair] = Link(
                    *pair,
                    known.calls + calls,
                    min(known.first_seen, counts.first),
                    max(known.last_seen, counts.last),
                    "timing",
                    max(known.confidence, confidence),
                )
    return tuple(found[pair] for pair in sorted(found))


def _explain(counts: _Target) -> list[tuple[str, int, float]]:
    """(candidate, events it explains, confidence), the one that explains best first."""
    found: list[tuple[str, int, float]] = []
    total = left = counts.events
    sets = dict(counts.sets)
    while left:
        within: Counter[str] = Counter()
        for names, n in sets.items():
            for name in names:
                within[name] += n
        best: tuple[float, str, int, float] | None = None
        for name, k in within.items():
            expected = max(counts.expected[name] / MICRO * left / total, 1e-6)
            if k < MIN_EVENTS or k < MIN_LIFT * expected:
                continue
            weight = evidence(left, k, expected / left)
            if weight >= CERTAINTY and (best is None or (weight, name) > best[:2]):
                best = (weight, name, k, expected)
        if best is None:
            return found
        _, name, k, expected = best
        found.append((name, k, round(min(0.95, 1 - expected / k), 3)))
        left -= k
        sets = {names: n for names, n in sets.items() if name not in names}
    return found


def evidence(n: int, k: int, p: float) -> float:
    """n KL(k/n || p), nats, for k of n above chance p; 0 when it is not above. exp(-this) bounds P(K >= k)."""
    if p >= 1 or k <= n * p:
        return 0.0
    share = k / n
    rest = 0.0 if k == n else (1 - share) * log((1 - share) / (1 - p))
    return n * (share * log(share / p) + rest)
