"""Which operation leads to which other: found in traces, and in timing where there are none.

The rules for this file:

- Calls are gathered in slices of `SLICE` seconds by their start. A slice is judged as a whole, in an order of its own, so that the
  order in which records come does not matter; then only counts stay. What crosses the edge of a slice is missed: with calls of
  50 ms that is one link in 600.
- A slice that holds more than `MAX_CALLS` is halved in length: all calls of a shorter time, not some of a longer one, because links
  are between calls that are near each other. Its counts are then those of that part.
- Times are compared within a slice only. Clocks of hosts may differ by `TOLERANCE`.

What is looked for in a slice is told in `learning.coincidences`, what is concluded from the counts in `learning.link_counts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from eastwall.learning.coincidences import SLICE, Call, judge
from eastwall.learning.link_counts import Link, Tally, conclude

MAX_CALLS = 20_000
"""Calls of a slice; above that it is cut in half, and again."""
MAX_OPEN = 8
"""Slices that are not judged yet; the one that no record came for longest goes first."""
PATIENCE = 2
"""A slice is judged when so many others were begun since a record came for it."""
EAGER = 2_000
"""Calls up to which an open slice is looked at often."""

_call = tuple.__new__
"""Makes a `Call` in a third of the time that its own constructor takes, once for each record."""


class _Slice:
    __slots__ = ("calls", "length", "touched")

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.length = SLICE
        self.touched = 0

    def add(self, calls: Iterable[Call]) -> None:
        length = self.length
        self.calls.extend(call for call in calls if call.start < length)
        while len(self.calls) > MAX_CALLS:
            # The outcome is the longest time whose calls fit, in whatever order they come.
            self.length = length = self.length / 2
            self.calls = [call for call in self.calls if call.start < length]


class Correlation:
    """Mergeable state. What two shards know of the same slice that neither has judged is joined at `merge`; a trace of which one shard
    has judged its part already is not put together any more."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._open: dict[int, _Slice] = {}
        self._begun = 0
        self._early: dict[int, tuple[int, Tally]] = {}
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
        calls = self._open.get(number)
        if calls is None:
            calls = self._slice(number)
        else:
            calls.touched = self._begun
        if start < calls.length:
            calls.calls.append(
                _call(Call, (start, start + duration, service, operation, caller, actor, client, trace, parent, span))
            )
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
        self._tally = self._tally.moved(moved)
        for part in self._open.values():
            part.calls = [
                call._replace(operation=moved[call.operation]) if call.operation in moved else call for call in part.calls
            ]
        self._early.clear()

    def links(self) -> tuple[Link, ...]:
        """Everything found so far, sorted by source and target."""
        tally = Tally()
        tally.merge(self._tally)
        for number, entry in self._open.items():
            size = len(entry.calls)
            known = self._early.get(number)
            # Judging a busy slice takes a while: it is done anew when a quarter has been added, then when it has doubled.
            if known is None or size > known[0] + (known[0] // 4 if size < EAGER else known[0]):
                known = self._early[number] = (size, judge(entry.calls, number * SLICE))
            tally.merge(known[1])
        return conclude(tally)

    def dump(self) -> list[Any]:
        """Plain data for `load`."""
        return [
            self._tally.dump(),
            [[number, s.length, s.touched, s.calls] for number, s in self._open.items()],
            self._begun,
        ]

    @classmethod
    def load(cls, data: Any) -> Correlation:
        state = cls()
        state._tally = Tally.load(data[0])
        for number, length, touched, calls in data[1]:
            entry = state._open[number] = _Slice()
            entry.length, entry.touched, entry.calls = length, touched, [Call(*call) for call in calls]
        state._begun = data[2]
        return state
