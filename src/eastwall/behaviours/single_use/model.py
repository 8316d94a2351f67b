"""At which places a value is used once by a caller, or once at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from eastwall.behaviours.holding import Backers, Key
from eastwall.behaviours.sketch import hash64, keep_lowest
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord

ACTORS = 64
"""Callers of a place that are told apart: those with the lowest hashes."""
ENOUGH_USES = 8
ENOUGH_ACTORS = 5
REPEATERS = 0.05
"""Share of the callers that may have used a value again (a retry, a test account): one caller alone unlearns nothing where there are many."""
MAX_PLACES = 4_096
"""(operation, place) in all; further ones are not learned."""
MAX_NOTED = 4
MAX_PLACE = 200


class Single(Struct, frozen=True, array_like=True):
    """A place whose values are for once."""

    endpoint: str
    place: str
    by: str
    """`caller`: once by each. `anybody`: once at all."""
    uses: int
    actors: int


class Knowledge(Struct, frozen=True):
    """For engines."""

    places: tuple[Single, ...] = ()


class _Place:
    __slots__ = ("actors", "again", "others", "uses")

    def __init__(self) -> None:
        self.uses = 0
        self.actors: set[int] = set()
        self.again: set[int] = set()
        """Callers that used a value of their own again."""
        self.others: set[int] = set()
        """Callers that used a value that another had used before."""

    def merge(self, other: _Place) -> None:
        self.uses += other.uses
        keep_lowest(self.actors, other.actors, ACTORS)
        keep_lowest(self.again, other.again, ACTORS)
        keep_lowest(self.others, other.others, ACTORS)


class Model:
    """`merge` adds; nothing depends on the order of records. Learned from notes alone: no value, nor its hash, is recorded."""

    noted_only = True

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], _Place] = {}

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        if note is None or not clean or not record.actor or not isinstance(note, (list, tuple)):
            return
        actor = hash64(record.actor)
        for entry in note[:MAX_NOTED]:
            if not isinstance(entry, (list, tuple)) or len(entry) != 3 or not isinstance(entry[0], str):
                continue
            place = self._place((endpoint, entry[0][:MAX_PLACE]))
            if place is None:
                continue
            place.uses += 1
            keep_lowest(place.actors, (actor,), ACTORS)
            if entry[1]:
                keep_lowest(place.again, (actor,), ACTORS)
            if entry[2]:
                keep_lowest(place.others, (actor,), ACTORS)

    def merge(self, other: Model) -> None:
        for key, theirs in other._places.items():
            mine = self._place(key)
            if mine is not None:
                mine.merge(theirs)

    def move(self, renamed: Mapping[str, str]) -> None:
        for key in [key for key in self._places if key[0] in renamed]:
            theirs = self._places.pop(key)
            mine = self._place((renamed[key[0]], key[1]))
            if mine is not None:
                mine.merge(theirs)

    def dump(self) -> Any:
        return sorted(
            [endpoint, place, one.uses, sorted(one.actors), sorted(one.again), sorted(one.others)]
            for (endpoint, place), one in self._places.items()
        )

    @classmethod
    def load(cls, data: Any) -> Model:
        state = cls()
        for endpoint, name, uses, actors, again, others in data:
            place = state._places[(str(endpoint), str(name))] = _Place()
            place.uses = int(uses)
            place.actors, place.again, place.others = ({int(one) for one in hashes} for hashes in (actors, again, others))
        return state

    def publish(self, endpoints: Sequence[Endpoint]) -> Knowledge | None:
        found = []
        for (endpoint, name), one in sorted(self._places.items()):
            actors = len(one.actors)
            if one.uses < ENOUGH_USES or actors < ENOUGH_ACTORS or len(one.again) > REPEATERS * actors:
                continue
            by = "caller" if len(one.others) > REPEATERS * actors else "anybody"
            found.append(Single(endpoint, name, by, one.uses, actors))
        return Knowledge(tuple(found)) if found else None

    def backers(self, key: Key, first: Single) -> Backers | None:
        """See `behaviours.holding`: who used a value again."""
        one = self._places.get((key[1], key[2]))
        if one is None:
            return None
        return Backers(one.again | one.others if first.by == "anybody" else set(one.again), set(one.actors))

    def _place(self, key: tuple[str, str]) -> _Place | None:
        place = self._places.get(key)
        if place is None and len(self._places) < MAX_PLACES:
            place = self._places[key] = _Place()
        return place
