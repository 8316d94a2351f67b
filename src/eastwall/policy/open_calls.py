"""How many calls are open, by key: here, and as other engines say.

A call is open from its request's verdict until its completion. Engines tell each other the count, not the change, and again every `REFRESH`
seconds: an engine that dies takes its calls with it, since what it said is forgotten after `FORGET`. A call whose completion never comes is
given up after `LONGEST`.
"""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 3600.0
"""Seconds after which a call no longer counts as open."""
REFRESH = 1.0
FORGET = 3.5
"""Seconds for which another engine's count holds."""
MAX_CALLS = 100_000
MAX_ELSEWHERE = 100_000
"""Keys of which other engines' counts are kept."""


class OpenCalls:
    """Open calls of one engine."""

    def __init__(self) -> None:
        self._calls: dict[str, tuple[float, list[int]]] = {}
        """Call id -> (when it began, keys that it counts under)."""
        self._counts: dict[int, int] = {}
        self._elsewhere: dict[int, dict[str, tuple[int, float]]] = {}
        """Key -> engine -> (count, heard when)."""
        self.engine = ""
        self.changed: set[int] | None = None
        """Keys whose counts other engines do not know yet; None: nobody is told."""
        self._next_refresh = 0.0
        self._next_sweep = 0.0
        self._now = 0.0

    def __len__(self) -> int:
        return len(self._calls)

    def share(self, engine: str) -> None:
        self.engine, self.changed = engine, set()

    def count(self, key: int) -> int:
        """Calls open under a key, everywhere."""
        count = self._counts.get(key, 0)
        others = self._elsewhere.get(key)
        if others:
            least = self._now - FORGET
            count += sum([there for there, heard in others.values() if heard >= least])
        return count

    def begin(self, call: str, key: int, now: float) -> None:
        """A call is let in."""
        self._now = max(now, self._now)
        entry = self._calls.get(call)
        if entry is None:
            if len(self._calls) >= MAX_CALLS:
                self.end(next(iter(self._calls)))
            entry = self._calls[call] = (self._now, [])
        entry[1].append(key)
        self._change(key, 1)

    def end(self, call: str) -> None:
        """A call is over. One that is not known was given up before."""
        entry = self._calls.pop(call, None)
        for key in entry[1] if entry is not None else ():
            self._change(key, -1)

    def _change(self, key: int, by: int) -> None:
        count = self._counts.get(key, 0) + by
        if count > 0:
            self._counts[key] = count
        else:
            self._counts.pop(key, None)
        if self.changed is not None:
            self.changed.add(key)

    def sweep(self, now: float) -> None:
        """Give up what is over; several times a second."""
        self._now = max(now, self._now)
        while self._calls:
            call = next(iter(self._calls))
            if self._calls[call][0] > self._now - LONGEST:
                break
            self.end(call)
        if now >= self._next_sweep:
            self._next_sweep = now + FORGET
            least = self._now - FORGET
            for key in [key for key, of in self._elsewhere.items() if all(heard < least for _, heard in of.values())]:
                del self._elsewhere[key]
        if self.changed is not None and now >= self._next_refresh:
            self._next_refresh = now + REFRESH
            self.changed.update(self._counts)

    def news(self) -> list[tuple[int, int]]:
        """(key, open calls here) of what others do not know."""
        if not self.changed:
            return []
        found = [(key, self._counts.get(key, 0)) for key in self.changed]
        self.changed.clear()
        return found

    def hear(self, engine: str, counts: Iterable[tuple[int, int]]) -> None:
        """Take in what another engine said just now."""
        if engine == self.engine:
            return  # an earlier process of this name, whose calls are gone
        for key, count in counts:
            others = self._elsewhere.get(key)
            if others is None:
                if not count:
                    continue
                if len(self._elsewhere) >= MAX_ELSEWHERE:
                    del self._elsewhere[next(iter(self._elsewhere))]
                others = self._elsewhere[key] = {}
            others[engine] = (max(0, count), self._now)
