"""Message schemas from samples: counts that add up, so that shards merge to what one stream would have learned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eastwall.discovery.shapes import ABSENT
from eastwall.model.endpoint import FieldProfile, Schema
from eastwall.model.facts import Field

MAX_PLACES = 1000
"""Places of one schema. When there are more (a body that uses data as property names), the quarter seen least leaves."""
CLASS_SHARE = 0.5
"""Share of the samples of a place that must hold a data class for the place to be of that class."""
FLOW_SHARE = 0.2
"""The same for the class to count as flowing through the place at all."""


class _Place:
    """Everything counted at one place. Each count is of samples, not of values."""

    __slots__ = ("absent", "classes", "first", "formats", "kinds", "maximum", "minimum", "seen", "width")

    def __init__(self, first: float) -> None:
        self.seen = 0
        self.absent = 0
        """Samples in which some items of an array lacked the place and others had it."""
        self.kinds: dict[str, int] = {}
        self.formats: dict[str, int] = {}
        self.classes: dict[str, int] = {}
        self.minimum: float | None = None
        self.maximum: float | None = None
        self.width = 0
        self.first = first
        """Time of the first sample that had it, Unix seconds."""


class SchemaState:
    """What samples of one message have shown."""

    __slots__ = ("places", "samples")

    def __init__(self) -> None:
        self.samples = 0
        self.places: dict[str, _Place] = {}

    def fold(self, fields: Iterable[Field], time: float) -> None:
        """Add one sample."""
        self.samples += 1
        places = self.places
        counted: set[str] = set()
        kinds: set[tuple[str, str]] = set()
        for field in fields:
            name = field.place
            place = places.get(name)
            if place is None:
                if len(places) >= MAX_PLACES:
                    self._prune()
                    places = self.places
                place = places[name] = _Place(time)
            elif time < place.first:
                place.first = time
            kind = field.kind
            if kind == ABSENT:
                place.absent += 1
                continue
            if name not in counted:
                counted.add(name)
                place.seen += 1
                if field.data_class:
                    place.classes[field.data_class] = place.classes.get(field.data_class, 0) + 1
            if (name, kind) not in kinds:
                kinds.add((name, kind))
                place.kinds[kind] = place.kinds.get(kind, 0) + 1
                if kind == "string":
                    place.formats[field.format] = place.formats.get(field.format, 0) + 1
                if field.length > place.width:
                    place.width = field.length
            number = field.number
            if number is not None:
                if place.minimum is None or number < place.minimum:
                    place.minimum = number
                if place.maximum is None or number > place.maximum:
                    place.maximum = number

    def merge(self, other: SchemaState) -> None:
        """Add the samples of another state."""
        self.samples += other.samples
        for name, theirs in other.places.items():
            mine = self.places.get(name)
            if mine is None:
                if len(self.places) >= MAX_PLACES:
                    self._prune()
                mine = self.places[name] = _Place(theirs.first)
            mine.seen += theirs.seen
            mine.absent += theirs.absent
            for into, counts in ((mine.kinds, theirs.kinds), (mine.formats, theirs.formats), (mine.classes, theirs.classes)):
                for key, count in counts.items():
                    into[key] = into.get(key, 0) + count
            mine.minimum = _least(mine.minimum, theirs.minimum)
            mine.maximum = _most(mine.maximum, theirs.maximum)
            mine.width = max(mine.width, theirs.width)
            mine.first = min(mine.first, theirs.first)

    def _prune(self) -> None:
        """Make room: otherwise who sends much junk would keep what is real from being learned."""
        kept = sorted(self.places, key=lambda name: (-self.places[name].seen, name))[: MAX_PLACES * 3 // 4]
        self.places = {name: self.places[name] for name in kept}

    @property
    def changed(self) -> float:
        """When a place was last new, Unix seconds; 0 without samples."""
        return max((place.first for place in self.places.values()), default=0.0)

    def schema(self) -> Schema:
        """The learned schema. A field is required when `seen == of`: every sample whose parent object was there had it."""
        fields = []
        for name in sorted(self.places):
            place = self.places[name]
            if not place.seen:
                continue
            formats = place.formats
            fields.append(
                FieldProfile(
                    place=name,
                    kinds=tuple(sorted(place.kinds)),
                    format=next(iter(formats)) if len(formats) == 1 else "",
                    seen=max(place.seen - place.absent, 0),
                    of=self._parents(name, place),
                    data_class=_dominant(place, CLASS_SHARE),
                    minimum=place.minimum,
                    maximum=place.maximum,
                    max_length=place.width,
                )
            )
        return Schema(samples=self.samples, fields=tuple(fields))

    def _parents(self, name: str, place: _Place) -> int:
        if name == "$" or name.startswith("query."):
            return self.samples
        if name.endswith("[]"):
            parent = self.places.get(name[:-2] or "$")
            return max(parent.kinds.get("array", 0), place.seen) if parent else self.samples
        parent = self.places.get(name.rpartition(".")[0] or "$")
        return max(parent.kinds.get("object", 0), place.seen) if parent else self.samples

    def flows(self) -> list[tuple[str, str]]:
        """(place, data class) of the places where sensitive data was seen often enough to be no accident."""
        return [(name, found) for name in sorted(self.places) if (found := _dominant(self.places[name], FLOW_SHARE))]

    def dump(self) -> list[Any]:
        """Plain data for `load`."""
        return [
            self.samples,
            {
                name: [p.seen, p.absent, p.kinds, p.formats, p.classes, p.minimum, p.maximum, p.width, p.first]
                for name, p in self.places.items()
            },
        ]

    @classmethod
    def load(cls, data: Any) -> SchemaState:
        state = cls()
        state.samples = data[0]
        for name, fields in data[1].items():
            place = state.places[name] = _Place(fields[8])
            (place.seen, place.absent, place.kinds, place.formats, place.classes, place.minimum, place.maximum, place.width) = (
                fields[:8]
            )
        return state


def _dominant(place: _Place, share: float) -> str:
    if not place.classes:
        return ""
    name, count = min(place.classes.items(), key=lambda item: (-item[1], item[0]))
    return name if count >= share * place.seen else ""


def _least(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else min(a, b)


def _most(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else max(a, b)
