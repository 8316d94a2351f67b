"""What callers of a class ask an operation for at most: calls in a minute, different targets in an hour and in a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from eastwall.behaviours.holding import Backers, Key, beyond
from eastwall.behaviours.maxima import MOST, NEW_TO_CLASS, Maxima, Usual, told_counts
from eastwall.behaviours.sketch import hash64
from eastwall.behaviours.windows import DAY, HOUR, MINUTE
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord

MAX_GROUPS = 4_096
"""(operation, identity class) that are told apart; further ones are not learned, and not judged."""
MEASURES = 4
"""Calls since the last note; calls in a minute, different targets in an hour and in a day."""
_WINDOWS = (MINUTE, HOUR, DAY)


class Group(Struct, frozen=True, array_like=True):
    """What callers of a class ask an operation for."""

    endpoint: str
    cls: str
    usual: Usual


class Knowledge(Struct, frozen=True):
    """For engines."""

    groups: tuple[Group, ...] = ()


class Model:
    """`merge` adds and takes the greater; nothing depends on the order of records (up to `MAX_GROUPS`).

    Learned from notes alone: a watch notes a call when its caller asked for more than it had noted of it."""

    noted_only = True

    __slots__ = ("_groups",)

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], Maxima] = {}

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        if note is None or not record.actor or record.action == "block":
            return
        if not clean and any(finding.suspicious and finding.id not in NEW_TO_CLASS for finding in record.findings):
            return
        counts = told_counts(note, MEASURES)
        group = self._group((endpoint, record.actor_class)) if counts is not None else None
        if counts is None or group is None:
            return
        group.fold(hash64(record.actor), record.time, counts[1:])
        group.calls += min(counts[0], MOST) - 1

    def merge(self, other: Model) -> None:
        for key, theirs in other._groups.items():
            mine = self._group(key)
            if mine is not None:
                mine.merge(theirs)

    def move(self, renamed: Mapping[str, str]) -> None:
        for key in [key for key in self._groups if key[0] in renamed]:
            theirs = self._groups.pop(key)
            mine = self._group((renamed[key[0]], key[1]))
            if mine is not None:
                mine.merge(theirs)

    def dump(self) -> Any:
        return sorted([endpoint, cls, group.dump()] for (endpoint, cls), group in self._groups.items())

    @classmethod
    def load(cls, data: Any) -> Model:
        state = cls()
        state._groups = {(str(endpoint), str(name)): Maxima.load(group) for endpoint, name, group in data}
        return state

    def publish(self, endpoints: Sequence[Endpoint]) -> Knowledge | None:
        found = [
            Group(endpoint, cls, usual)
            for (endpoint, cls), group in sorted(self._groups.items())
            if (usual := group.usual(_WINDOWS)) is not None
        ]
        return Knowledge(tuple(found)) if found else None

    def backers(self, key: Key, first: Usual) -> Backers | None:
        """See `behaviours.holding`."""
        return beyond(self._groups.get((key[1], key[2])), first, range(len(_WINDOWS)))

    def _group(self, key: tuple[str, str]) -> Maxima | None:
        group = self._groups.get(key)
        if group is None and len(self._groups) < MAX_GROUPS:
            group = self._groups[key] = Maxima()
        return group
