"""The baseline of one operation: what its callers agreed on, as far as security hangs on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from eastwall.learning.agreement import Element
from eastwall.model.endpoint import Endpoint, FieldProfile, Precedent

CLASS_CALLS = 20
"""Clean calls with a body after which the properties of an identity class are settled; before, it is being learned."""
RANGE_SAMPLES = 100
"""Samples after which a range is settled."""
FIRM_OBJECTS = 30
"""Objects on which an order must rest to be settled; what rests on fewer comes and goes as it is learned."""
MAX_RANGES = 200
MAX_REMEMBERED = 500
"""Combinations of properties that are not compared anew."""
RELEASED = " at "
"""Between detection and place of an element `release`."""
LONE_CALLS = 3
"""Calls after which the only caller of a class uses an operation."""


class Step(Struct, frozen=True):
    """One element taken into a baseline, with what is needed to take it out again."""

    aspect: str
    endpoint: str
    cls: str = ""
    place: str = ""
    before: tuple[float, ...] = ()
    """Of a range: least and greatest value before."""
    after: tuple[float, ...] = ()
    """Of a range: least and greatest value from now on. Of a function: the calls and callers that it rests on."""
    was: str = ""
    """Of a model's knowledge (aspect `model`): the thing as it was, JSON; empty: it was not said."""
    now: str = ""
    """And as it is from now on; empty: it is said no more."""

    @property
    def element(self) -> Element:
        return Element(self.aspect, self.endpoint, self.cls, self.place)


class Adopted:
    """What is settled about one operation. Taking in is the union, so that merging hangs on no order."""

    __slots__ = ("_strange", "accustomed", "after", "classes", "once", "ranges", "released", "since", "users")

    def __init__(self, since: float) -> None:
        self.since = since
        """Since when it was learned, Unix seconds."""
        self.users: dict[str, tuple[int, int]] = {}
        """Identity class that uses it -> (calls, callers) when that was settled."""
        self.classes: dict[str, set[str]] = {}
        """Identity class -> properties that it sends; only classes that are settled."""
        self.ranges: dict[str, tuple[float, float]] = {}
        """Place -> least and greatest value."""
        self.after: tuple[Precedent, ...] = ()
        self.once: tuple[str, int] | None = None
        self.accustomed: set[tuple[str, str]] = set()
        """(detection, place)."""
        self.released: dict[tuple[str, str, str], float] = {}
        """(detection, place, identity class) -> until when it is told with confidence `low`: models learn from these calls what a release
        changed."""
        self._strange: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}

    @classmethod
    def of(cls, endpoint: Endpoint, since: float, lone: frozenset[str]) -> Adopted:
        """The first baseline: all that was learned in the window. `lone`: classes of the service that have a single caller."""
        made = cls(since)
        made.users = {
            name: (calls, actors)
            for name, calls, actors in endpoint.users
            if actors >= 2 or (name in lone and calls >= LONE_CALLS)
        }
        made.accustomed = {(detection, place) for detection, place, _ in endpoint.accustomed}
        made.tighten(endpoint)
        return made

    def tighten(self, endpoint: Endpoint) -> None:
        """Take in what is new and loosens nothing: classes and numbers that were not settled yet, orders that were found."""
        calls = dict(endpoint.property_calls)
        for name, places in endpoint.properties:
            if name != "*" and name not in self.classes and calls.get(name, 0) >= CLASS_CALLS:
                self.classes[name] = set(places)
                self._strange.clear()
        for field in (*endpoint.request.fields, *endpoint.query.fields):
            if field.place not in self.ranges and settled_range(field) and len(self.ranges) < MAX_RANGES:
                assert field.minimum is not None
                assert field.maximum is not None
                self.ranges[field.place] = (field.minimum, field.maximum)
        firm = {(p.kind, p.endpoint): p for p in self.after} | {
            (p.kind, p.endpoint): p for p in endpoint.after if p.objects >= FIRM_OBJECTS
        }
        self.after = tuple(firm[key] for key in sorted(firm))
        if endpoint.once is not None and endpoint.once[1] >= FIRM_OBJECTS:
            self.once = endpoint.once

    def strange(self, cls: str, places: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the properties that a settled class is not known to send."""
        known = self.classes.get(cls)
        if known is None:
            return ()
        asked = (cls, places)
        found = self._strange.get(asked)
        if found is None:
            if len(self._strange) >= MAX_REMEMBERED:
                self._strange.clear()
            found = self._strange[asked] = tuple(place for place in places if place not in known)
        return found

    def take(self, step: Step) -> None:
        """Take a step."""
        match step.aspect:
            case "property":
                self.classes.setdefault(step.cls, set()).add(step.place)
            case "function":
                calls, actors = step.after if len(step.after) == 2 else (LONE_CALLS, 2)
                self.users[step.cls] = (int(calls), int(actors))
            case "range" if len(step.after) == 2:
                self.ranges[step.place] = (step.after[0], step.after[1])
            case "after":
                self.after = ()
            case "once":
                self.once = None
            case "accustomed":
                self.accustomed.add((step.cls, step.place))
            case "release" if len(step.after) == 1:
                detection, _, place = step.place.partition(RELEASED)
                self.released[detection, place, step.cls] = step.after[0]
        self._strange.clear()

    def undo(self, step: Step) -> None:
        """Take a step back. An order comes back by itself, as long as it is learned."""
        match step.aspect:
            case "property":
                self.classes.get(step.cls, set()).discard(step.place)
            case "function":
                self.users.pop(step.cls, None)
            case "range" if len(step.before) == 2:
                self.ranges[step.place] = (step.before[0], step.before[1])
            case "accustomed":
                self.accustomed.discard((step.cls, step.place))
            case "release":
                detection, _, place = step.place.partition(RELEASED)
                self.released.pop((detection, place, step.cls), None)
        self._strange.clear()

    def merge(self, other: Adopted) -> None:
        self.since = min(self.since, other.since)
        for name, (calls, actors) in other.users.items():
            mine = self.users.get(name, (0, 0))
            self.users[name] = (max(mine[0], calls), max(mine[1], actors))
        for name, places in other.classes.items():
            self.classes.setdefault(name, set()).update(places)
        for place, (low, high) in other.ranges.items():
            known = self.ranges.get(place, (low, high))
            self.ranges[place] = (min(known[0], low), max(known[1], high))
        firm = {(p.kind, p.endpoint): p for p in sorted((*self.after, *other.after), key=lambda p: (p.objects, p.label))}
        self.after = tuple(firm[key] for key in sorted(firm))
        self.once = max((o for o in (self.once, other.once) if o is not None), key=lambda o: (o[1], o[0]), default=None)
        self.accustomed |= other.accustomed
        for one, until in other.released.items():
            self.released[one] = max(until, self.released.get(one, until))
        self._strange.clear()

    def dump(self) -> list[Any]:
        """Plain data for `load`, in one order."""
        return [
            self.since,
            {name: list(self.users[name]) for name in sorted(self.users)},
            {name: sorted(self.classes[name]) for name in sorted(self.classes)},
            {place: list(self.ranges[place]) for place in sorted(self.ranges)},
            list(self.after),
            self.once,
            sorted(map(list, self.accustomed)),
            sorted([*one, until] for one, until in self.released.items()),
        ]

    @classmethod
    def load(cls, data: Any) -> Adopted:
        made = cls(data[0])
        made.users = {name: (calls, actors) for name, (calls, actors) in data[1].items()}
        made.classes = {name: set(places) for name, places in data[2].items()}
        made.ranges = {place: (low, high) for place, (low, high) in data[3].items()}
        made.after = msgspec.convert(data[4], tuple[Precedent, ...])
        made.once = None if data[5] is None else (data[5][0], data[5][1])
        made.accustomed = {(detection, place) for detection, place in data[6]}
        if len(data) > 7:
            made.released = {(detection, place, name): until for detection, place, name, until in data[7]}
        return made

    def renamed(self, moved: Mapping[str, str]) -> None:
        """Other operations have new ids."""
        self.after = tuple(msgspec.structs.replace(p, endpoint=moved.get(p.endpoint, p.endpoint)) for p in self.after)


def settled_range(field: FieldProfile) -> bool:
    """Whether a field's numbers are known well enough to be held to."""
    return field.minimum is not None and field.maximum is not None and field.seen >= RANGE_SAMPLES and not field.data_class
