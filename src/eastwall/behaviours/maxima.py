"""How much single callers did at most: what limits are drawn from. Mergeable in any order, and one caller alone moves nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

from msgspec import Struct

SAMPLE = 64
"""Callers of one group that are told apart: those with the lowest hashes, a uniform sample of all (bottom-k, Cohen and Kaplan 2007)."""
LONE_CALLS = 200
"""Calls after which the only caller of a group (one workload) speaks for it."""
FEW_CALLS = 50
"""Calls after which a group of two to four callers does."""
MANY_CALLS = 30
"""Calls after which a group of more does."""
ENOUGH = 5
"""Callers that are more than a few. Of fewer none is left out: two workloads of one class have two ways of working."""
LONGEST = 8.0
NEW_TO_CLASS = frozenset(("function-not-used",))
"""Detections that say of a call which was let through that the operation is new to the caller's class. How much the class does is learned of it all the
same: what some were told for, all of them would else be blocked for, and never learned."""
MOST = 1_000_000
"""Greatest count that a note may tell."""


class Usual(Struct, frozen=True, array_like=True):
    """What callers of a group do at most."""

    callers: int = 0
    """Callers sampled."""
    calls: int = 0
    some: int = 0
    """Of the callers, how many ever had anything to count."""
    most: tuple[int, ...] = ()
    """Per measure the greatest count of a caller, without the highest fiftieth of the callers (one at least, of `ENOUGH` and more)."""


class Maxima:
    """Greatest counts per caller, of several measures; of a group of callers (an identity class at one operation)."""

    __slots__ = ("callers", "calls", "first", "highest", "last")

    def __init__(self) -> None:
        self.calls = 0
        self.callers: dict[int, list[int]] = {}
        """Hash -> greatest count per measure; empty: nothing counted yet."""
        self.highest = -1
        """The largest kept hash once full."""
        self.first = _NEVER
        self.last = 0.0

    def fold(self, caller: int, time: float, counts: Sequence[int] | None) -> None:
        """One call; `counts`: what stands to the caller's account after it, None: nothing."""
        self.calls += 1
        if time < self.first:
            self.first = time
        if time > self.last:
            self.last = time
        known = self.callers.get(caller)
        if known is None:
            if 0 <= self.highest < caller:
                return
            known = self._add(caller)
        if counts is not None:
            _raise(known, counts)

    def merge(self, other: Maxima) -> None:
        self.calls += other.calls
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        for caller, counts in other.callers.items():
            known = self.callers.get(caller)
            if known is None:
                if 0 <= self.highest < caller:
                    continue
                known = self._add(caller)
            _raise(known, counts)

    def usual(self, windows: Sequence[float]) -> Usual | None:
        """What is known; None: too little. `windows`: seconds of each measure, 0 for one without. What was counted over less time than a
        window is long is drawn out to it, at most `LONGEST` times: nobody works around the clock."""
        callers = len(self.callers)
        if not callers or self.calls < (LONE_CALLS if callers < 2 else FEW_CALLS if callers < ENOUGH else MANY_CALLS):
            return None
        left_out = 0 if callers < ENOUGH else max(1, callers // 50)
        span = max(1.0, self.last - self.first)
        most: list[int] = []
        for at, window in enumerate(windows):
            ranked = sorted((counts[at] if at < len(counts) else 0 for counts in self.callers.values()), reverse=True)
            most.append(ceil(ranked[left_out] * max(1.0, min(LONGEST, window / span))))
        some = sum(any(counts) for counts in self.callers.values())
        return Usual(callers, self.calls, some, tuple(most))

    def dump(self) -> Any:
        """Plain data for `load`."""
        return [self.calls, self.first, self.last, sorted([caller, *counts] for caller, counts in self.callers.items())]

    @classmethod
    def load(cls, data: Any) -> Maxima:
        """Raises TypeError, ValueError."""
        state = cls()
        calls, first, last, callers = data
        state.calls, state.first, state.last = int(calls), float(first), float(last)
        for caller, *counts in callers:
            state.callers[int(caller)] = [int(count) for count in counts]
        if len(state.callers) >= SAMPLE:
            state.highest = max(state.callers)
        return state

    def _add(self, caller: int) -> list[int]:
        if self.highest >= 0:
            del self.callers[self.highest]
        known: list[int] = []
        self.callers[caller] = known
        if len(self.callers) >= SAMPLE:
            self.highest = max(self.callers)
        return known


_NEVER = 1e18


def _raise(known: list[int], counts: Iterable[int]) -> None:
    for at, count in enumerate(counts):
        if at >= len(known):
            known.append(count)
        elif count > known[at]:
            known[at] = count


def told_counts(note: Any, measures: int) -> tuple[int, ...] | None:
    """Counts of a note that came from a file; None for anything else."""
    if type(note) not in (list, tuple) or len(note) != measures:
        return None
    for count in note:
        if type(count) is not int or not 0 <= count <= MOST:
            return None
    return tuple(note)
