"""Releases of a service as its answers name them (`x-app-version: 2.1`): which there are, since when, and to how many callers.

Counts, lowest hashes and first times: nothing depends on the order of calls, up to `MAX_RELEASES`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eastwall.behaviours.sketch import keep_lowest

MAX_RELEASES = 32
"""Of one service; those that were first seen longest ago leave."""
CALLERS = 4
"""Callers told apart."""
MIN_CALLERS = 2
MIN_CALLS = 5
"""Answers that name a release, before it is one."""
MAX_IN_A_DAY = 8
"""Releases that begin within a day. What changes more often is no version (a build per request, a counter)."""
DAY = 86_400.0


class Releases:
    """What answers of one service named."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: dict[str, list[Any]] = {}
        """Header and value -> [answers, first time, lowest hashes of callers]."""

    def note(self, release: str, caller: int, time: float) -> None:
        """An answer named a release."""
        known = self.seen.get(release)
        if known is not None and caller in known[2] and time >= known[1]:
            known[0] += 1
            return
        self._add(release, 1, time, (caller,))

    def merge(self, other: Releases) -> None:
        for release, (calls, first, callers) in other.seen.items():
            self._add(release, calls, first, callers)

    def _add(self, release: str, calls: int, first: float, callers: Iterable[int]) -> None:
        known = self.seen.get(release)
        if known is None:
            known = self.seen[release] = [0, first, set()]
        known[0] += calls
        known[1] = min(known[1], first)
        keep_lowest(known[2], callers, CALLERS)
        if len(self.seen) > MAX_RELEASES:
            del self.seen[min(self.seen, key=lambda one: (self.seen[one][1], one))]

    def begun(self, after: float) -> tuple[str, float] | None:
        """(release, since when) of the newest that began after a time, where another was there before; None: there is none."""
        firsts = {
            name: first
            for name, (calls, first, callers) in self.seen.items()
            if calls >= MIN_CALLS and len(callers) >= MIN_CALLERS
        }
        if len(firsts) < 2:
            return None
        newest = max(firsts, key=lambda name: (firsts[name], name))
        since = firsts[newest]
        if since <= after or since == min(firsts.values()):
            return None
        if sum(first > since - DAY for _, first, _ in self.seen.values()) > MAX_IN_A_DAY:
            return None
        return newest, since

    def dump(self) -> list[Any]:
        return sorted([name, calls, first, sorted(callers)] for name, (calls, first, callers) in self.seen.items())

    @classmethod
    def load(cls, data: Any) -> Releases:
        """Raises TypeError, ValueError."""
        made = cls()
        made.seen = {str(name): [int(calls), float(first), {int(one) for one in callers}] for name, calls, first, callers in data}
        return made
