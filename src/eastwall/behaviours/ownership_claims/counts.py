"""What is counted of the places of messages: by class, and for a sample of actors. All of it merges in any order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

MAX_ACTORS = 64
"""Sampled per place."""
MAX_VALUES = 3
"""Distinct values kept per sampled actor."""
MAX_CLASSES = 12
MAX_LABELS = 8
MAX_STRANGERS = 32
"""Actors sampled per place and class for how they name objects."""
MAX_STAFF = 10
"""A class of more members who name what they were never given is no staff: there everybody chooses."""
_AUTHORITY = frozenset(
    "admin administrator support staff ops operator moderator manager supervisor auditor internal agent service".split()
)
MAX_CHOSEN = 0.1
"""Share of the calls that name what their callers were never given, above which a place is one where callers choose."""
MIN_ACTORS = 3
TAUGHT = 100
"""Calls of a class at an operation that are noted before most further ones are not."""
CLEAR = 40
"""The same where they all say one thing."""


def _one_thing(odd: int, calls: int) -> bool:
    """Whether calls say one thing: none is odd, or so many are that it is no exception."""
    return not odd or 4 * odd > calls


class Actor:
    """One sampled actor at one place."""

    __slots__ = ("calls", "cls", "labels", "tenant", "values")

    def __init__(self, cls: str = "", tenant: int = 0) -> None:
        self.cls = cls
        self.tenant = tenant
        self.calls = 0
        self.labels: dict[str, list[int]] = {}
        """label -> [equal, present]."""
        self.values: dict[int, int] = {}
        """value hash -> calls; the lowest hashes."""

    def value(self, value: int, count: int) -> None:
        if value in self.values:
            self.values[value] += count
            return
        self.values[value] = count
        if len(self.values) > MAX_VALUES:
            del self.values[max(self.values)]

    def merge(self, other: Actor) -> None:
        self.cls, self.tenant, self.calls = max(self.cls, other.cls), max(self.tenant, other.tenant), self.calls + other.calls
        for label, (equal, present) in other.labels.items():
            _count(self.labels, label, equal, present)
        for value, count in sorted(other.values.items()):
            self.value(value, count)

    def usual(self) -> tuple[int, int]:
        """(value that stood there most, calls)."""
        return min(((value, count) for value, count in self.values.items()), key=lambda one: (-one[1], one[0]), default=(0, 0))


class Place:
    """One place of one operation."""

    __slots__ = ("actors", "classes", "space")

    def __init__(self, space: str) -> None:
        self.space = space
        self.classes: dict[str, dict[str, list[int]]] = {}
        """class -> label -> [equal, present]."""
        self.actors: dict[int, Actor] = {}

    def note(self, actor: int, cls: str, tenant: int, labels: Sequence[str], mask: int, value: int) -> None:
        kept = self.classes.get(cls)
        if kept is None:
            kept = self.classes[cls] = {}
            lowest(self.classes, MAX_CLASSES, name_hash)
        _marked(kept, labels, mask)
        one = self.actors.get(actor)
        if one is None:
            if len(self.actors) >= MAX_ACTORS and actor > max(self.actors):
                return
            one = self.actors[actor] = Actor(cls, tenant)
            lowest(self.actors, MAX_ACTORS, int)
        if cls > one.cls:
            one.cls = cls
        if tenant > one.tenant:
            one.tenant = tenant
        one.calls += 1
        _marked(one.labels, labels, mask)
        if value:
            one.value(value, 1)

    def counted(self) -> list[tuple[str, int, bool]]:
        """(class, calls, whether they say one thing)."""
        return [
            (cls, max(of for _, of in pairs.values()), all(_one_thing(of - equal, of) for equal, of in pairs.values()))
            for cls, pairs in self.classes.items()
            if pairs
        ]

    def merge(self, other: Place) -> None:
        self.space = max(self.space, other.space)
        for cls, labels in other.classes.items():
            kept = self.classes.setdefault(cls, {})
            for label, (equal, present) in labels.items():
                _count(kept, label, equal, present)
        lowest(self.classes, MAX_CLASSES, name_hash)
        for key, actor in other.actors.items():
            self.actors.setdefault(key, Actor(actor.cls, actor.tenant)).merge(actor)
        lowest(self.actors, MAX_ACTORS, int)


STRANGE, FOREIGN, CROWDED = 1, 2, 4
"""Of a call that names objects at a place: some that neither the caller nor its tenant was given; some that the caller itself was not; some
of which nobody can tell."""
Odds = list[int]
"""[calls, of them with `STRANGE`, calls of which `FOREIGN` could be told, of them with it, of them with both]."""
NO_ODDS = (0, 0, 0, 0, 0)


class Naming:
    """How often callers named objects at one place, and how often such as they were never given: of a sample of actors of each class."""

    __slots__ = ("classes", "kind")

    def __init__(self, kind: str = "") -> None:
        self.kind = kind
        self.classes: dict[str, dict[int, Odds]] = {}
        """class -> actor (the lowest hashes) -> counts."""

    def note(self, cls: str, actor: int, odds: Sequence[int]) -> None:
        actors = self.classes.get(cls)
        if actors is None:
            actors = self.classes[cls] = {}
            lowest(self.classes, MAX_CLASSES, name_hash)
        counts = actors.get(actor)
        if counts is None:
            counts = actors[actor] = [*NO_ODDS]
            lowest(actors, MAX_STRANGERS, int)
        calls, strange, told, foreign, both = odds
        counts[0] += calls
        counts[1] += strange
        counts[2] += told
        counts[3] += foreign
        counts[4] += both

    def merge(self, other: Naming) -> None:
        self.kind = max(self.kind, other.kind)
        for cls, actors in other.classes.items():
            for actor, odds in actors.items():
                self.note(cls, actor, odds)

    def counted(self) -> list[tuple[str, int, bool]]:
        """(class, calls of the sample, whether they say one thing)."""
        found = []
        for cls, actors in self.classes.items():
            calls, strange, _, foreign, _ = map(sum, zip(*actors.values(), strict=True))
            found.append((cls, calls, _one_thing(strange, calls) and _one_thing(foreign, calls)))
        return found

    def broad(self) -> tuple[str, ...]:
        """Classes most of whose members name, mostly, what they were never given."""
        return tuple(cls for cls, actors in sorted(self.classes.items()) if _is_broad(cls, actors))

    def keeping(self) -> tuple[str, ...]:
        """Classes known to keep to what they were given: two of their members do."""
        return tuple(
            cls
            for cls, actors in sorted(self.classes.items())
            if not _is_broad(cls, actors) and sum(2 * one[1] < one[0] for one in actors.values()) >= 2
        )

    def free(self) -> bool:
        """Whether ordinary callers choose at this place: of a third of them a tenth of the calls."""
        judged = [one for cls, actors in self.classes.items() if not _is_broad(cls, actors) for one in actors.values()]
        choosing = sum(one[1] > MAX_CHOSEN * one[0] for one in judged)
        if choosing >= MIN_ACTORS and choosing * 3 >= len(judged):
            return True
        return any(len(actors) > MAX_STAFF and _is_broad(cls, actors) for cls, actors in self.classes.items())


def _odds(bits: int) -> tuple[int, ...]:
    foreign = bool(bits & FOREIGN)
    return 1, bits & STRANGE, foreign or not bits & CROWDED, foreign, foreign and bool(bits & STRANGE)


ODDS = tuple(_odds(bits) for bits in range(8))
"""The counts of one call, by its bits."""


def _is_broad(cls: str, actors: Mapping[int, Sequence[int]]) -> bool:
    calls, strange = sum(one[0] for one in actors.values()), sum(one[1] for one in actors.values())
    mostly = sum(2 * one[1] >= one[0] for one in actors.values())
    several = len(actors) >= 2 or not cls.startswith("user") or not _AUTHORITY.isdisjoint(cls.split("+"))
    return several and calls >= 4 and 2 * strange >= calls and 2 * mostly >= len(actors)


def _marked(into: dict[str, list[int]], labels: Sequence[str], mask: int) -> None:
    """Count what was present under each label, and by the bits of the mask what was equal."""
    for label in labels:
        found = into.get(label)
        if found is None:
            _count(into, label, mask & 1, 1)
        else:
            if mask & 1:
                found[0] += 1
            found[1] += 1
        mask >>= 1


def _count(into: dict[str, list[int]], label: str, equal: int, present: int) -> None:
    found = into.get(label)
    if found is not None:
        found[0] += equal
        found[1] += present
        return
    into[label] = [equal, present]
    lowest(into, MAX_LABELS, name_hash)


def lowest(kept: dict[Any, Any], most: int, rank: Any) -> None:
    """Keep the keys of the lowest rank: the same whatever came first."""
    while len(kept) > most:
        del kept[max(kept, key=rank)]


def name_hash(text: str) -> tuple[bytes, str]:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), text
