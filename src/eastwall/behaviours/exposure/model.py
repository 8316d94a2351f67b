"""The properties that answers gave, per operation and class of callers. From sampled calls, which record the shape of their answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct

from eastwall.behaviours.sketch import hash64, keep_lowest
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord

ENOUGH = 50
"""Answers to a class before it is said what it never got."""
CALLERS = 3
"""And callers of it."""
TOLD_APART = 8
MAX_OPERATIONS = 10_000
MAX_CLASSES = 16
"""Classes of callers of one operation; further ones are not learned, and not judged."""
MAX_SHAPES = 64
"""Sets of places that answers to a class came in; when there are more, further ones are not kept, and the class is not judged."""
MAX_PLACES = 500
"""Places of one set; of larger answers nothing is learned."""


class Given(Struct, frozen=True, array_like=True):
    """What one class gets."""

    cls: str
    answers: int
    callers: int
    """At most `TOLD_APART` told apart."""
    places: tuple[str, ...]
    """That two callers got, or that the only caller got."""
    always: tuple[str, ...]
    """Of them, those in 9 of 10 answers and more."""


class Known(Struct, frozen=True, array_like=True):
    """One operation."""

    endpoint: str
    classes: tuple[Given, ...]


class Knowledge(Struct, frozen=True):
    """For engines."""

    operations: tuple[Known, ...] = ()


@lru_cache(maxsize=4096)
def _shape(places: tuple[str, ...]) -> frozenset[str]:
    """A set, which keeps its hash, of places as a record lists them: with repetitions."""
    return frozenset(places)


class _Class:
    __slots__ = ("actors", "answers", "more", "shapes")

    def __init__(self) -> None:
        self.answers = 0
        self.actors: set[int] = set()
        self.shapes: dict[frozenset[str], list[Any]] = {}
        """Places -> [answers, lowest hashes of two callers]."""
        self.more = 0
        """Answers whose shape was not kept."""

    def add(self, shape: frozenset[str], count: int, *actors: int) -> None:
        known = self.shapes.get(shape)
        if known is None:
            if len(self.shapes) >= MAX_SHAPES:
                self.more += count
                return
            known = self.shapes[shape] = [0, set()]
        known[0] += count
        for actor in actors:
            if actor not in known[1]:
                keep_lowest(known[1], (actor,), 2)

    def merge(self, other: _Class) -> None:
        self.answers += other.answers
        self.more += other.more
        keep_lowest(self.actors, other.actors, TOLD_APART)
        for shape, (count, actors) in other.shapes.items():
            self.add(shape, count, *actors)

    def given(self, cls: str) -> Given | None:
        """None while there is nothing to say."""
        if self.more or self.answers < ENOUGH or len(self.actors) < CALLERS:
            return None
        counts: dict[str, int] = {}
        callers: dict[str, set[int]] = {}
        for shape, (count, actors) in self.shapes.items():
            for place in shape:
                counts[place] = counts.get(place, 0) + count
                callers.setdefault(place, set()).update(actors)
        places = sorted(place for place, known in callers.items() if len(known) >= 2)
        always = tuple([place for place in places if counts[place] * 10 >= self.answers * 9])
        return Given(cls, self.answers, len(self.actors), tuple(places), always)


class Model:
    """`merge` adds; nothing depends on the order of records, up to `MAX_SHAPES`."""

    __slots__ = ("_operations",)

    def __init__(self) -> None:
        self._operations: dict[str, dict[str, _Class]] = {}

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        fields = record.response_fields
        if not clean or not fields or not record.actor or len(fields) > MAX_PLACES:
            return
        known = self._class(endpoint, record.actor_class)
        if known is None:
            return
        actor = hash64(record.actor)
        known.answers += 1
        if actor not in known.actors:
            keep_lowest(known.actors, (actor,), TOLD_APART)
        known.add(_shape(tuple([field.place for field in fields])), 1, actor)

    def merge(self, other: Model) -> None:
        for endpoint, classes in other._operations.items():
            self._add(endpoint, classes)

    def move(self, renamed: Mapping[str, str]) -> None:
        for endpoint in [endpoint for endpoint in self._operations if endpoint in renamed]:
            self._add(renamed[endpoint], self._operations.pop(endpoint))

    def dump(self) -> Any:
        return [
            [
                endpoint,
                [
                    [cls, one.answers, sorted(one.actors), one.more, _dump_shapes(one.shapes)]
                    for cls, one in sorted(classes.items())
                ],
            ]
            for endpoint, classes in sorted(self._operations.items())
        ]

    @classmethod
    def load(cls, data: Any) -> Model:
        state = cls()
        for endpoint, classes in data:
            into = state._operations[str(endpoint)] = {}
            for name, answers, actors, more, shapes in classes:
                one = into[str(name)] = _Class()
                one.answers, one.actors, one.more = int(answers), {int(actor) for actor in actors}, int(more)
                one.shapes = {
                    frozenset(map(str, places)): [int(count), {int(actor) for actor in callers}]
                    for places, count, callers in shapes
                }
        return state

    def publish(self, endpoints: Sequence[Endpoint]) -> Knowledge | None:
        found = []
        for endpoint, classes in sorted(self._operations.items()):
            given = tuple([told for cls, one in sorted(classes.items()) if (told := one.given(cls)) is not None])
            if given:
                found.append(Known(endpoint, given))
        return Knowledge(tuple(found)) if found else None

    def _class(self, endpoint: str, cls: str) -> _Class | None:
        classes = self._operations.get(endpoint)
        if classes is None:
            if len(self._operations) >= MAX_OPERATIONS:
                return None
            classes = self._operations[endpoint] = {}
        known = classes.get(cls)
        if known is None and len(classes) < MAX_CLASSES:
            known = classes[cls] = _Class()
        return known

    def _add(self, endpoint: str, classes: dict[str, _Class]) -> None:
        for cls, theirs in classes.items():
            mine = self._class(endpoint, cls)
            if mine is not None:
                mine.merge(theirs)


def _dump_shapes(shapes: dict[frozenset[str], list[Any]]) -> Any:
    return sorted([sorted(shape), count, sorted(actors)] for shape, (count, actors) in shapes.items())
