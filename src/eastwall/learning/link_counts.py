"""What was counted of calls within calls, and the links that the counts speak for. How it is counted: `learning.coincidences`.

All counts add up, so shards merge to what one stream would have given, as long as no bound is reached.

A link by timing is told when chance alone would give so many coincidences at most once in a million: P(K >= k) <= exp(-n KL(k/n || p))
(Chernoff, 1952), which holds for trials that are not alike. Candidates that overlap, because they are called together, are taken apart: the
one that explains best goes first, and the next must explain events that it does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import log
from typing import Any

from msgspec import Struct

MAX_LINKS = 50_000
"""Pairs of operations in the trace table; the quarter seen least leaves."""
MAX_TARGETS = 5_000
"""(operation, caller) for which timing is counted; the quarter with the fewest events leaves."""
MAX_SETS = 64
"""Sets of candidates told apart per target; the quarter seen least leaves."""
MAX_CANDIDATES = 64
"""Candidates per target whose chance is counted; the quarter with the least expectation leaves."""
CERTAINTY = log(1e6)
"""Nats: timing links are told when chance would make such a coincidence at most once in a million."""
MIN_EVENTS = 5
MIN_ODDS = 3.0
"""Odds of lying within against the odds by chance: what is certain must also be worth telling."""
MIN_WITHIN = 3
"""Events within for each that is only beside: what a page asks for all at once lies across each other as often as within."""
TOGETHER = 0.9
"""Share of the events of one candidate that another must explain too to be taken for what lies between."""
MOST = 0.95
"""Confidence of a link by timing, at most: what always goes together may have a third cause."""
MICRO = 1_000_000
"""Expectations are kept as whole millionths, so that sums do not depend on their order."""


class Link(Struct, frozen=True):
    """One operation leads to another."""

    source: str
    """Endpoint id."""
    target: str
    calls: int
    """Trace: times it was seen; timing: coincidences beyond chance. Of busy times only a part is looked at."""
    first_seen: float
    last_seen: float
    evidence: str
    """`trace` or `timing`."""
    confidence: float
    """0..1. Trace: share of the target's calls, in traces with both, that lie within the source. Timing: share of the coincidences that chance does
    not explain, at most `MOST`."""


class Target:
    """Counts for the events of one operation from one caller."""

    __slots__ = ("beside", "events", "expected", "first", "last", "lengths", "sets")

    def __init__(self) -> None:
        self.events = 0
        self.first = 0.0
        self.last = 0.0
        self.sets: Counter[tuple[str, ...]] = Counter()
        """Operations (sorted) that an event lay within -> events; without those that lay within none."""
        self.expected: Counter[str] = Counter()
        """Operation -> events that would lie within it by chance, millionths."""
        self.beside: Counter[str] = Counter()
        """Operation -> events that a call of it overlaps, and that lie within none."""
        self.lengths: Counter[str] = Counter()
        """Operation -> microseconds of the calls that events lay within, summed."""

    def merge(self, other: Target) -> None:
        self.first = min(self.first, other.first) if self.events and other.events else self.first or other.first
        self.last = max(self.last, other.last)
        self.events += other.events
        self.sets.update(other.sets)
        self.expected.update(other.expected)
        self.beside.update(other.beside)
        self.lengths.update(other.lengths)
        _prune(self.sets, MAX_SETS)
        _prune(self.expected, MAX_CANDIDATES)
        _prune(self.beside, MAX_CANDIDATES)
        _prune(self.lengths, MAX_CANDIDATES)


class Tally:
    """Counts of judged slices."""

    __slots__ = ("apart", "links", "targets")

    def __init__(self) -> None:
        self.links: dict[tuple[str, str], list[Any]] = {}
        """(source, target) -> [calls, first, last, of them sure]."""
        self.apart: Counter[tuple[str, str]] = Counter()
        """(source, target) -> calls of the target that lie beside the source in a trace, and within no call of it."""
        self.targets: dict[tuple[str, str], Target] = {}
        """(operation, how its caller is known) -> counts."""

    def merge(self, other: Tally) -> None:
        for key, entry in other.links.items():
            self.link(key, *entry)
        self.apart.update(other.apart)
        for target, theirs in other.targets.items():
            mine = self.targets.get(target)
            if mine is None:
                mine = self.targets[target] = Target()
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

    def moved(self, moved: Mapping[str, str]) -> Tally:
        """The same with operations under new ids: old -> new."""
        found = Tally()
        for (source, target), entry in self.links.items():
            found.link((moved.get(source, source), moved.get(target, target)), *entry)
        for (source, target), count in self.apart.items():
            found.apart[(moved.get(source, source), moved.get(target, target))] += count
        for (operation, how), counts in self.targets.items():
            fresh = Target()
            fresh.events, fresh.first, fresh.last = counts.events, counts.first, counts.last
            for names, count in counts.sets.items():
                fresh.sets[tuple(sorted({moved.get(name, name) for name in names}))] += count
            for attribute in ("expected", "beside", "lengths"):
                for name, count in getattr(counts, attribute).items():
                    getattr(fresh, attribute)[moved.get(name, name)] += count
            found.targets.setdefault((moved.get(operation, operation), how), Target()).merge(fresh)
        return found

    def dump(self) -> list[Any]:
        """Plain data for `load`."""
        return [
            [[*key, *entry] for key, entry in self.links.items()],
            [[*key, count] for key, count in self.apart.items()],
            [
                [
                    *key,
                    c.events,
                    c.first,
                    c.last,
                    [[list(names), n] for names, n in c.sets.items()],
                    dict(c.expected),
                    dict(c.beside),
                    dict(c.lengths),
                ]
                for key, c in self.targets.items()
            ],
        ]

    @classmethod
    def load(cls, data: Any) -> Tally:
        state = cls()
        for source, target, *entry in data[0]:
            state.links[(source, target)] = list(entry)
        for source, target, count in data[1]:
            state.apart[(source, target)] = count
        for operation, how, events, first, last, sets, expected, beside, lengths in data[2]:
            counts = state.targets[(operation, how)] = Target()
            counts.events, counts.first, counts.last = events, first, last
            counts.sets = Counter({tuple(names): n for names, n in sets})
            counts.expected, counts.beside, counts.lengths = Counter(expected), Counter(beside), Counter(lengths)
        return state

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


# --- all slices


def conclude(tally: Tally) -> tuple[Link, ...]:
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


def _explain(counts: Target) -> list[tuple[str, int, float]]:
    """(candidate, events it explains, confidence), the one that explains best first."""
    found: list[tuple[str, int, float]] = []
    total = left = counts.events
    sets = dict(counts.sets)
    while left:
        within: Counter[str] = Counter()
        for names, n in sets.items():
            for name in names:
                within[name] += n
        able: dict[str, tuple[float, float]] = {}
        for name, k in within.items():
            chance = min(max(counts.expected[name] / MICRO / total, 1e-6), 1.0)
            odds = (k + 0.5) / (left - k + 0.5) * (1 - chance) / chance
            if k >= MIN_EVENTS and odds >= MIN_ODDS and k >= MIN_WITHIN * counts.beside[name]:
                weight = evidence(left, k, chance)
                if weight >= CERTAINTY:
                    able[name] = (weight, chance)
        if not able:
            return found
        name = _innermost(max(able, key=lambda name: (able[name], name)), able.keys(), sets, counts)
        k, chance = within[name], able[name][1]
        # Events that it would not take to explain what is seen lie within it by chance (Abbott's formula, 1925).
        caused = (k - left * chance) / (1 - chance)
        found.append((name, max(1, round(caused)), round(min(MOST, caused / k), 3)))
        left -= k
        sets = {names: n for names, n in sets.items() if name not in names}
    return found


def _innermost(best: str, able: Iterable[str], sets: Mapping[tuple[str, ...], int], counts: Target) -> str:
    """Of what goes with the best candidate nearly always, that with the shortest calls: where one lies within the other, the inner one."""
    together: Counter[str] = Counter()
    for names, n in sets.items():
        if best in names:
            for name in names:
                together[name] += n

    def usual(name: str) -> float:
        held = sum(n for names, n in counts.sets.items() if name in names)
        return counts.lengths[name] / held if counts.lengths[name] and held else float("inf")

    return min((name for name in able if together[name] >= TOGETHER * together[best]), key=lambda name: (usual(name), name))


def evidence(n: int, k: int, p: float) -> float:
    """n KL(k/n || p), nats, for k of n above chance p; 0 when it is not above. exp(-this) bounds P(K >= k)."""
    if p >= 1 or k <= n * p:
        return 0.0
    share = k / n
    rest = 0.0 if k == n else (1 - share) * log((1 - share) / (1 - p))
    return n * (share * log(share / p) + rest)
