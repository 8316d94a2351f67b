"""The function matrix: which identity classes use an operation (OWASP API5:2023), counted in clean calls."""

from __future__ import annotations

from typing import Any

from eastwall.behaviours.sketch import keep_lowest

MAX_CLASSES = 32
"""Identity classes of one operation. The one with the fewest calls leaves for a new one."""
ACTORS = 4
"""Actors of a class that are told apart: those with the lowest hashes."""


class Users:
    """Who uses one operation. `merge` adds; nothing depends on the order of calls (except who leaves when there are too many)."""

    __slots__ = ("classes",)

    def __init__(self) -> None:
        self.classes: dict[str, list[Any]] = {}
        """class -> [clean calls, hashes of the lowest actors]."""

    def fold(self, cls: str, actor: int) -> None:
        """Count one clean call."""
        entry = self.classes.get(cls)
        if entry is None:
            entry = self._entry(cls, 1)
        entry[0] += 1
        if actor not in entry[1]:
            keep_lowest(entry[1], (actor,), ACTORS)

    def merge(self, other: Users) -> None:
        for cls, (calls, actors) in other.classes.items():
            entry = self._entry(cls, calls)
            entry[0] += calls
            keep_lowest(entry[1], actors, ACTORS)

    def known(self) -> tuple[tuple[str, int, int], ...]:
        """(class, clean calls, actors up to `ACTORS`), sorted."""
        return tuple(sorted((cls, calls, len(actors)) for cls, (calls, actors) in self.classes.items()))

    def dump(self) -> dict[str, Any]:
        """Plain data for `load`."""
        return {cls: [calls, sorted(actors)] for cls, (calls, actors) in self.classes.items()}

    @classmethod
    def load(cls, data: Any) -> Users:
        state = cls()
        state.classes = {name: [calls, set(actors)] for name, (calls, actors) in data.items()}
        return state

    def _entry(self, cls: str, calls: int) -> list[Any]:
        """The entry of a class that is about to get `calls`; one that is not kept when it is one too many and has the fewest."""
        entry = self.classes.get(cls)
        if entry is None:
            entry = [0, set()]
            if len(self.classes) >= MAX_CLASSES:
                least = min(self.classes, key=lambda known: (self.classes[known][0], known))
                if self.classes[least][0] > calls:
                    return entry
                del self.classes[least]
            self.classes[cls] = entry
        return entry
