"""How many ids that they were never given the callers of a class name at most: per kind of object, in a minute, an hour and a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from eastwall.behaviours.holding import Backers, Key, beyond
from eastwall.behaviours.maxima import MANY_CALLS, NEW_TO_CLASS, Maxima, Usual, told_counts
from eastwall.behaviours.sketch import hash64
from eastwall.behaviours.windows import DAY, HOUR, MINUTE
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord

MAX_GROUPS = 512
"""(identity class, kind of object) that are told apart; further ones are not learned. One has at most `SAMPLE` callers."""
MAX_KINDS = 4
"""Kinds of one call that are folded."""
MEASURES = 5
"""Distinct ids in a minute, an hour, a day; of them failing in an hour; the longest row."""
_WINDOWS = (MINUTE, HOUR, DAY, 0.0, 0.0)


class Group(Struct, frozen=True, array_like=True):
    """What callers of a class do with a kind of object."""

    cls: str
    kind: str
    usual: Usual


class Knowledge(Struct, frozen=True):
    """For engines."""

    groups: tuple[Group, ...] = ()
    kinds: tuple[str, ...] = ()
    """Kinds that are in use long enough to be counted, sorted. Before, who was given what is not known for long enough either."""


class Model:
    """`merge` adds and takes the greater; nothing depends on the order of records (up to `MAX_GROUPS`)."""

    __slots__ = ("_groups", "_kinds")

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], Maxima] = {}
        self._kinds: dict[str, int] = {}
        """Kind -> calls that named one."""

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        """Failures teach too: that an ordinary caller meets a deleted object now and then is what is to be known."""
        if not record.used or not record.actor or record.action == "block":
            return
        if not clean and any(finding.suspicious and finding.id not in NEW_TO_CLASS for finding in record.findings):
            return
        caller, cls, time = hash64(record.actor), record.actor_class, record.time
        told = _told(note) if note is not None else None
        last = ""
        for _, kind, _ in record.used[:MAX_KINDS]:
            if kind == last:
                continue
            last = kind
            counts = told.get(kind) if told is not None else None
            if kind in self._kinds or len(self._kinds) < MAX_GROUPS:
                self._kinds[kind] = self._kinds.get(kind, 0) + 1
            if counts == ():
                continue  # strange, and not counted yet: to call it nothing would be wrong
            group = self._groups.get((cls, kind))
            if group is None:
                if len(self._groups) >= MAX_GROUPS:
                    continue
                group = self._groups[(cls, kind)] = Maxima()
            group.fold(caller, time, counts)

    def merge(self, other: Model) -> None:
        for kind, calls in other._kinds.items():
            if kind in self._kinds or len(self._kinds) < MAX_GROUPS:
                self._kinds[kind] = self._kinds.get(kind, 0) + calls
        for key, theirs in other._groups.items():
            mine = self._groups.get(key)
            if mine is None:
                if len(self._groups) >= MAX_GROUPS:
                    continue
                mine = self._groups[key] = Maxima()
            mine.merge(theirs)

    def move(self, renamed: Mapping[str, str]) -> None:
        """Nothing here is of one operation."""

    def dump(self) -> Any:
        groups = sorted([cls, kind, group.dump()] for (cls, kind), group in self._groups.items())
        return [groups, sorted([kind, calls] for kind, calls in self._kinds.items())]

    @classmethod
    def load(cls, data: Any) -> Model:
        state = cls()
        groups, kinds = data
        state._groups = {(str(name), str(kind)): Maxima.load(group) for name, kind, group in groups}
        state._kinds = {str(kind): int(calls) for kind, calls in kinds}
        return state

    def publish(self, endpoints: Sequence[Endpoint]) -> Knowledge | None:
        found = [
            Group(cls, kind, usual)
            for (cls, kind), group in sorted(self._groups.items())
            if (usual := group.usual(_WINDOWS)) is not None
        ]
        kinds = tuple(sorted(kind for kind, calls in self._kinds.items() if calls >= MANY_CALLS))
        return Knowledge(tuple(found), kinds) if kinds else None

    def backers(self, key: Key, first: Usual) -> Backers | None:
        """See `behaviours.holding`."""
        return beyond(self._groups.get((key[2], key[3])), first, range(MEASURES))


def _told(note: Any) -> dict[str, tuple[int, ...]] | None:
    """Kind -> counts; empty where nothing is counted yet."""
    if type(note) not in (list, tuple):
        return None
    found: dict[str, tuple[int, ...]] = {}
    for one in note[:MAX_KINDS]:
        if type(one) not in (list, tuple) or len(one) != 2 or type(one[0]) is not str:
            continue
        counts = () if one[1] in ([], ()) else told_counts(one[1], MEASURES)
        if counts is not None:
            found[one[0]] = counts
    return found
