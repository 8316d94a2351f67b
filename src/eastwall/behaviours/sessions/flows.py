"""What came before an operation that changes something, and how often it was done on one thing: counts, and the invariants in them.

After Beschastnikh et al., "Leveraging existing instrumentation to automatically infer invariant-constrained models" (Synoptic, 2011), with
one difference: what was seen before is told by the engine that watched, whose memory is bounded and begins with its start. What it cannot
see contradicts a rule while that is being learned, so no rule rests on what an engine cannot judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from eastwall.behaviours.sketch import keep_lowest

MAX_BEFORE = 32
"""Operations counted before one; when there are more, those seen least leave."""
MAX_KINDS = 8
"""Kinds of objects that one operation names, and kinds of things it is done once on."""
ACTORS = 8
"""Callers told apart: those with the lowest hashes."""


TOLERANCE = 0.02
"""Share of the cases that may contradict a rule."""


class Tally(Struct):
    """How often an operation was carried out on something, first and again."""

    first: int = 0
    again: int = 0
    """Of the first, how many were done a second time."""
    by: set[int] = msgspec.field(default_factory=set)
    """Hashes of the two lowest callers who did."""

    @property
    def reused(self) -> bool:
        """Whether doing it again is usual: more than one in fifty are done again, not by one caller alone."""
        return self.again > int(TOLERANCE * self.first) and len(self.by) > 1


class Flow:
    """Counts of one operation. `merge` adds; nothing depends on the order of calls."""

    __slots__ = ("actors", "age", "before", "calls", "firsts", "keyed", "objects", "tallies")

    def __init__(self) -> None:
        self.calls = 0
        """Calls that were judged: at most five of an actor in a day."""
        self.firsts = 0
        """Of them the first of an actor that the engine remembers."""
        self.keyed = 0
        """Of them, with an idempotency key."""
        self.age = 0
        """Sum over them of the minutes that the engine had watched."""
        self.actors: set[int] = set()
        self.before: dict[str, list[int]] = {}
        """operation -> [calls with it since the last such call, firsts with it at all, of the former more than half an hour ago]."""
        self.objects: dict[str, list[Any]] = {}
        """kind -> [calls, operation -> [calls on objects on which it had been carried out, of them more than half an hour ago]]."""
        self.tallies: dict[str, Tally] = {}
        """`value`, `actor` or `object KIND`."""

    def fold(self, since: Sequence[str], late: Sequence[str], *, first: bool, keyed: bool, actor: int, age: int = 0) -> None:
        """One call, and what its actor did since the last one like it. `age`: minutes that the engine had watched."""
        self.age += age
        self.calls += 1
        self.firsts += first
        self.keyed += keyed
        if actor not in self.actors:
            keep_lowest(self.actors, (actor,), ACTORS)
        before = self.before
        for name in since:
            entry = before.get(name)
            if entry is None:
                self._count(name, 1, int(first), int(name in late))
                continue
            entry[0] += 1
            entry[1] += first
            if late and name in late:
                entry[2] += 1

    def on_object(self, kind: str, before: Sequence[str], late: Sequence[str]) -> None:
        """It was carried out on an object, on which others had been."""
        entry = self.objects.get(kind)
        if entry is None:
            if len(self.objects) >= MAX_KINDS:
                return
            entry = self.objects[kind] = [0, {}]
        entry[0] += 1
        counts = entry[1]
        for name in before:
            known = counts.get(name)
            if known is None:
                _add(counts, name, [1, int(name in late)])
                continue
            known[0] += 1
            if late and name in late:
                known[1] += 1

    def tally(self, scope: str, times: int, actor: int) -> None:
        """It was carried out on something on which it had been `times` times, by the same actor."""
        one = self.tallies.get(scope)
        if one is None:
            if len(self.tallies) >= MAX_KINDS:
                return
            one = self.tallies[scope] = Tally()
        if times == 0:
            one.first += 1
        elif times == 1:
            one.again += 1
            keep_lowest(one.by, (actor,), 2)

    def merge(self, other: Flow) -> None:
        self.calls += other.calls
        self.firsts += other.firsts
        self.keyed += other.keyed
        self.age += other.age
        keep_lowest(self.actors, other.actors, ACTORS)
        for name, (calls, first, late) in other.before.items():
            self._count(name, calls, first, late)
        for kind, (calls, before) in other.objects.items():
            entry = self.objects.get(kind)
            if entry is None:
                if len(self.objects) >= MAX_KINDS:
                    continue
                entry = self.objects[kind] = [0, {}]
            entry[0] += calls
            for name, counts in before.items():
                _add(entry[1], name, counts)
        for scope, theirs in other.tallies.items():
            if scope in self.tallies or len(self.tallies) < MAX_KINDS:
                mine = self.tallies.setdefault(scope, Tally())
                mine.first += theirs.first
                mine.again += theirs.again
                keep_lowest(mine.by, theirs.by, 2)

    def move(self, renamed: Mapping[str, str]) -> None:
        old, self.before = self.before, {}
        for name, (calls, first, late) in old.items():
            self._count(renamed.get(name, name), calls, first, late)
        for entry in self.objects.values():
            moved: dict[str, list[int]] = {}
            for name, counts in entry[1].items():
                _add(moved, renamed.get(name, name), counts)
            entry[1] = moved

    def dump(self) -> list[Any]:
        return [
            self.calls,
            self.firsts,
            self.keyed,
            self.age,
            sorted(self.actors),
            dict(sorted(self.before.items())),
            {kind: [calls, dict(sorted(before.items()))] for kind, (calls, before) in sorted(self.objects.items())},
            {scope: [one.first, one.again, sorted(one.by)] for scope, one in sorted(self.tallies.items())},
        ]

    @classmethod
    def load(cls, data: Any) -> Flow:
        state = cls()
        state.calls, state.firsts, state.keyed, state.age = (int(n) for n in data[:4])
        state.actors = {int(actor) for actor in data[4]}
        state.before = {str(name): [int(n) for n in counts] for name, counts in data[5].items()}
        state.objects = {
            str(kind): [int(calls), {str(name): [int(n) for n in counts] for name, counts in before.items()}]
            for kind, (calls, before) in data[6].items()
        }
        state.tallies = {
            str(scope): Tally(int(first), int(again), {int(actor) for actor in by})
            for scope, (first, again, by) in data[7].items()
        }
        return state

    def _count(self, name: str, calls: int, first: int, late: int) -> None:
        _add(self.before, name, [calls, first, late])


def _add(table: dict[str, list[int]], name: str, counts: list[int]) -> None:
    entry = table.get(name)
    if entry is None:
        if len(table) >= 2 * MAX_BEFORE:
            kept = sorted(table, key=lambda known: (-table[known][0], known))[:MAX_BEFORE]
            for known in [known for known in table if known not in kept]:
                del table[known]
        table[name] = list(counts)
    else:
        for at, count in enumerate(counts):
            entry[at] += count
