"""What an operation legitimately receives: findings that most of its callers cause, call after call, at one place.

A SQL console gets SQL, a template editor templates, a login answers with a token. Nobody should have to write an exception for these:
where most of the callers who are known for certain cause one finding at one place, in a good share of their calls and over some time,
the operation is used to it, and the finding's confidence is lowered (`decision.weigh`). It is still told.

One caller, or a few among many, moves nothing: callers are counted, not calls, by bottom-k sampling (the k callers with the lowest
hashes are the same whatever the order and number of calls; Thorup 2013, "Bottom-k and priority sampling").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eastwall.behaviours.sketch import hash64, keep_lowest
from eastwall.model.identity import Strength
from eastwall.model.place import without_indices
from eastwall.model.record import CallRecord

SAMPLE = 16
"""Callers that are told apart: those with the lowest hashes."""
MAX_HABITS = 64
"""(detection, place) pairs of one operation. When there are more, the quarter seen least leaves."""
MIN_CALLS = 20
LONE_CALLS = 200
"""Calls asked for where the operation has fewer than `MIN_CALLERS` callers (one workload that calls another)."""
MIN_CALLERS = 3
MIN_CALLER_SHARE = 0.5
MIN_CALL_SHARE = 0.2
_ASSERTED = int(Strength.ASSERTED)
MIN_SECONDS = 3600.0
"""From the first to the last of these calls: a burst is no habit."""


class Habits:
    """Counts of one operation. `merge` adds; nothing depends on the order of calls (except who leaves when there are too many)."""

    __slots__ = ("callers", "calls", "seen")

    def __init__(self) -> None:
        self.calls = 0
        """Calls of certain callers that were let through and answered well."""
        self.callers: set[int] = set()
        """Hashes of the `SAMPLE` lowest of these callers."""
        self.seen: dict[str, list[Any]] = {}
        """`detection place` -> [calls, first, last, hashes of the lowest callers]."""

    def fold(self, record: CallRecord) -> None:
        """Count one call that was let through and answered well. Callers whose names cost nothing (guessed ones, API keys that perhaps
        nobody checks) do not count."""
        if record.strength < _ASSERTED or record.actor_kind == "key":
            return
        self.calls += 1
        caller = hash64(record.actor)
        if caller not in self.callers:
            keep_lowest(self.callers, (caller,), SAMPLE)
        if record.findings:
            for key in {f"{finding.id}\0{without_indices(finding.where)}" for finding in record.findings}:
                self._add(key, 1, record.time, record.time, (caller,))

    def merge(self, other: Habits) -> None:
        self.calls += other.calls
        keep_lowest(self.callers, other.callers, SAMPLE)
        for key, (calls, first, last, callers) in other.seen.items():
            self._add(key, calls, first, last, callers)

    def known(self) -> tuple[tuple[str, str, int], ...]:
        """(detection, place, calls) that the operation is used to, sorted."""
        found = []
        for key, (calls, first, last, callers) in self.seen.items():
            enough = calls >= (MIN_CALLS if len(self.callers) >= MIN_CALLERS else LONE_CALLS) and last - first >= MIN_SECONDS
            if not enough or calls < MIN_CALL_SHARE * self.calls:
                continue
            if len(self.callers & callers) >= MIN_CALLER_SHARE * len(self.callers):
                detection, _, place = key.partition("\0")
                found.append((detection, place, calls))
        return tuple(sorted(found))

    def dump(self) -> list[Any]:
        """Plain data for `load`."""
        seen = {key: [calls, first, last, sorted(callers)] for key, (calls, first, last, callers) in self.seen.items()}
        return [self.calls, sorted(self.callers), seen]

    @classmethod
    def load(cls, data: Any) -> Habits:
        state = cls()
        state.calls, state.callers = data[0], set(data[1])
        state.seen = {key: [calls, first, last, set(callers)] for key, (calls, first, last, callers) in data[2].items()}
        return state

    def _add(self, key: str, calls: int, first: float, last: float, callers: Iterable[int]) -> None:
        entry = self.seen.get(key)
        if entry is None:
            if len(self.seen) >= MAX_HABITS:
                kept = sorted(self.seen, key=lambda known: (-self.seen[known][0], known))[: MAX_HABITS * 3 // 4]
                self.seen = {known: self.seen[known] for known in kept}
            entry = self.seen[key] = [0, first, last, set()]
        entry[0] += calls
        entry[1] = min(entry[1], first)
        entry[2] = max(entry[2], last)
        keep_lowest(entry[3], callers, SAMPLE)
