"""Which places of messages hold the caller's own: counted per place, claim and actor (OWASP API1:2023).

Per operation and place: how often each class of callers had its own claim there, and a uniform sample of actors (lowest keyed hashes) with what
stood there in their calls. Three conclusions:

- **claim**: the place equals a claim of the caller (`order.user_id` the `sub`);
- **alias**: it equals nothing in the token, but is always the same for one actor and another for each (an internal number);
- **tenant alias**: the same for tenants.

Classes that have others' there as a matter of course (staff) are broad and not judged. Of few actors those who see others' too (assistants) are
exceptions, by name. A value that all callers share says nothing. All is bounded, and one actor alone moves nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import replace

from eastwall.behaviours.ownership_claims.counts import (
    CLEAR,
    CROWDED,
    FOREIGN,
    MAX_ACTORS,
    MAX_LABELS,
    NO_ODDS,
    ODDS,
    STRANGE,
    TAUGHT,
    Actor,
    Naming,
    Place,
    lowest,
    name_hash,
)
from eastwall.behaviours.ownership_claims.judging import (
    KEPT,
    Broad,
    Knowledge,
    Rule,
    agrees,
    judge_alias,
    judge_claims,
    own_calls,
)
from eastwall.behaviours.ownership_claims.provenance import given_first
from eastwall.behaviours.ownership_claims.reading import ANSWER, MAX_ROWS, REQUEST
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord

MAX_ENDPOINTS = 2_000
MAX_PLACES = 24
"""Per operation and side; those with the lowest hashes of their names."""
_OF_OWNERS = frozenset(("object-not-granted", "owner-mismatch", "object-enumeration"))


class Model:
    """Counts of all operations."""

    noted_only = True

    def __init__(self) -> None:
        self._places: dict[str, dict[str, Place]] = {}
        self._named: dict[str, dict[str, Naming]] = {}

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        if note is None or not 200 <= record.status < 300 or not record.actor or not (clean or _only_owners(record)):
            return
        told = _read(note)
        if told is None:
            return
        actor, tenant, labels, rows, named = told
        # Also of calls that were found for their objects: that staff sees everybody's would never be learned otherwise.
        self._name(endpoint, record.actor_class, actor, named)
        if not clean:
            return
        places = self._places.get(endpoint)
        if places is None:
            places = self._places[endpoint] = {}
            lowest(self._places, MAX_ENDPOINTS, name_hash)
        for place, space, mask, value in rows:
            found = places.get(place)
            if found is None:
                found = places[place] = Place(space)
                _bounded(places)
            if space > found.space:
                found.space = space
            found.note(actor, record.actor_class, tenant, labels, mask, value)

    def _name(self, endpoint: str, cls: str, actor: int, named: Iterable[tuple[str, str, int]]) -> None:
        for place, kind, bits in named:
            known = self._named.get(endpoint)
            if known is None:
                known = self._named[endpoint] = {}
                lowest(self._named, MAX_ENDPOINTS, name_hash)
            one = known.get(place)
            if one is None:
                one = known[place] = Naming(kind)
                lowest(known, MAX_PLACES, name_hash)
            if kind > one.kind:
                one.kind = kind
            one.note(cls, actor, ODDS[bits & (STRANGE | FOREIGN | CROWDED)])

    def merge(self, other: Self) -> None:
        for endpoint, places in other._places.items():
            self._join(endpoint, places)
        for endpoint, named in other._named.items():
            self._join_named(endpoint, named)

    def _join_named(self, endpoint: str, named: Mapping[str, Naming]) -> None:
        kept = self._named.setdefault(endpoint, {})
        lowest(self._named, MAX_ENDPOINTS, name_hash)
        for place, one in named.items():
            kept.setdefault(place, Naming()).merge(one)
        lowest(kept, MAX_PLACES, name_hash)

    def _join(self, endpoint: str, places: Mapping[str, Place]) -> None:
        kept = self._places.setdefault(endpoint, {})
        lowest(self._places, MAX_ENDPOINTS, name_hash)
        for place, counts in places.items():
            kept.setdefault(place, Place("")).merge(counts)
        _bounded(kept)

    def move(self, renamed: Mapping[str, str]) -> None:
        for old, new in sorted(renamed.items()):
            if old != new and old in self._places:
                self._join(new, self._places.pop(old))
            if old != new and old in self._named:
                self._join_named(new, self._named.pop(old))

    def dump(self) -> Any:
        named = [
            [
                endpoint,
                [
                    [place, one.kind, [[cls, sorted(actors.items())] for cls, actors in sorted(one.classes.items())]]
                    for place, one in sorted(places.items())
                ],
            ]
            for endpoint, places in sorted(self._named.items())
        ]
        return [self._dump_places(), named]

    def _dump_places(self) -> list[Any]:
        return [
            [
                endpoint,
                [
                    [
                        place,
                        one.space,
                        sorted([cls, sorted(labels.items())] for cls, labels in one.classes.items()),
                        [
                            [key, a.cls, a.tenant, a.calls, sorted(a.labels.items()), sorted(a.values.items())]
                            for key, a in sorted(one.actors.items())
                        ],
                    ]
                    for place, one in sorted(places.items())
                ],
            ]
            for endpoint, places in sorted(self._places.items())
        ]

    @classmethod
    def load(cls, data: Any) -> Self:
        model = cls()
        whole, named = data
        for endpoint, places in named:
            found = model._named[_text(endpoint)] = {}
            for place, kind, classes in places:
                found[_text(place)] = known = Naming(_text(kind))
                for name, actors in classes:
                    known.classes[_text(name)] = {
                        int(actor): [*map(int, odds), *NO_ODDS][: len(NO_ODDS)] for actor, odds in actors
                    }
        for endpoint, places in whole:
            kept = model._places[_text(endpoint)] = {}
            for place, space, classes, actors in places:
                one = kept[_text(place)] = Place(_text(space))
                one.classes = {
                    _text(name): {_text(label): [int(e), int(p)] for label, (e, p) in labels} for name, labels in classes
                }
                for key, name, tenant, calls, labels, values in actors:
                    actor = one.actors[int(key)] = Actor(_text(name), int(tenant))
                    actor.calls = int(calls)
                    actor.labels = {_text(label): [int(e), int(p)] for label, (e, p) in labels}
                    actor.values = {int(value): int(count) for value, count in values}
        return model

    def publish(self, endpoints: Sequence[Endpoint]) -> Struct | None:
        services = {one.id: one.service for one in endpoints}
        rules: dict[tuple[str, str], Rule] = {}
        aliases: set[tuple[str, str, int, int]] = set()
        for endpoint, places in self._places.items():
            if endpoint not in services:
                continue
            for place, counts in places.items():
                rule = judge_claims(endpoint, place, counts)
                if rule is None:
                    rule, pairs = judge_alias(endpoint, place, counts)
                    aliases.update((services[endpoint], counts.space, holder, value) for holder, value in pairs)
                if rule is not None:
                    rules[endpoint, place] = rule
        sure = {
            (services[rule.endpoint], rule.place.rpartition(".")[2], rule.claim): rule
            for _, rule in sorted(rules.items())
            if rule.high
        }
        own: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
        for service, space, holder, value in aliases:
            own[service, space][holder] = value
        for endpoint, places in self._places.items():
            for place, counts in places.items():
                if endpoint in services and place.startswith(ANSWER) and (endpoint, place) not in rules:
                    name = place.rpartition(".")[2]
                    for (service, known, claim), rule in sure.items():
                        if (
                            service == services[endpoint]
                            and known == name
                            and agrees(counts, claim, rule, own[service, counts.space])
                        ):
                            rules[endpoint, place] = replace(rule, endpoint=endpoint, place=place, space=counts.space)
                            break
        excepted: dict[tuple[str, bool], set[int]] = defaultdict(set)
        for rule in rules.values():
            excepted[services[rule.endpoint], False].update(rule.exceptions)
            if rule.place.startswith(REQUEST):
                excepted[services[rule.endpoint], True].update(rule.exceptions)
        # Who sees others' at one place does so at the next: an assistant of somebody. Who was shown others' does not name others for that.
        keepers = self._keepers(rules.values(), services)
        found = tuple(
            replace(
                rule,
                exceptions=tuple(sorted(excepted[services[rule.endpoint], rule.place.startswith(REQUEST)])),
                keepers=keepers[services[rule.endpoint], rule.claim] if rule.few else (),
            )
            for _, rule in sorted(rules.items())
        )
        choices, broad = self._provenance(services)
        given = given_first(self._named, services)
        if not (found or choices or broad or given):
            return None
        return Knowledge(found, choices, broad, tuple(sorted(_one_to_one(aliases))), given, self._taught(services))

    def _taught(self, services: Mapping[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Of which classes enough calls of an operation were noted."""
        enough: dict[str, set[str]] = defaultdict(set)
        unclear: dict[str, set[str]] = defaultdict(set)
        counted = [(endpoint, one.counted()) for endpoint, named in self._named.items() for one in named.values()]
        counted += [(endpoint, one.counted()) for endpoint, places in self._places.items() for one in places.values()]
        for endpoint, classes in counted:
            for cls, calls, clear in classes:
                if calls >= (CLEAR if clear else TAUGHT):
                    enough[endpoint].add(cls)
                if calls < TAUGHT and not clear:
                    unclear[endpoint].add(cls)
        told = [(endpoint, tuple(sorted(classes - unclear[endpoint]))) for endpoint, classes in sorted(enough.items())]
        return tuple((endpoint, classes) for endpoint, classes in told if classes and endpoint in services)

    def _keepers(self, rules: Iterable[Rule], services: Mapping[str, str]) -> dict[tuple[str, str], tuple[int, ...]]:
        """(service, claim) -> actors seen to keep to their own `KEPT` times, sorted: at most as many as one place samples."""
        kept: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
        for rule in rules:
            counts = self._places[rule.endpoint][rule.place]
            kept[services[rule.endpoint], rule.claim].update(own_calls(counts, rule.claim))
        return {
            key: tuple(sorted(actor for actor, calls in actors.items() if calls >= KEPT)[:MAX_ACTORS])
            for key, actors in kept.items()
        }

    def _kinds(self, services: Mapping[str, str]) -> dict[tuple[str, str], Naming]:
        """How objects are named by (service, kind), over all operations."""
        kinds: dict[tuple[str, str], Naming] = {}
        for endpoint, named in self._named.items():
            if endpoint in services:
                for one in named.values():
                    kinds.setdefault((services[endpoint], one.kind), Naming()).merge(one)
        return kinds

    def broad(self, services: Mapping[str, str]) -> dict[tuple[str, str], tuple[str, ...]]:
        """(service, kind) -> classes that see everybody's. `services`: operation -> service."""
        return {key: classes for key, one in self._kinds(services).items() if (classes := one.broad())}

    def _provenance(self, services: Mapping[str, str]) -> tuple[tuple[tuple[str, str], ...], tuple[Broad, ...]]:
        """Where callers choose, and who sees all of which kind."""
        choices = tuple(
            (endpoint, place)
            for endpoint, named in sorted(self._named.items())
            for place, one in sorted(named.items())
            if endpoint in services and one.free()
        )
        kinds = sorted(self._kinds(services).items())
        broad = tuple(Broad(service, kind, one.broad(), one.keeping()) for (service, kind), one in kinds)
        return choices, tuple(one for one in broad if one.classes or one.judged)


def _one_to_one(aliases: set[tuple[str, str, int, int]]) -> list[tuple[str, str, int, int]]:
    """Aliases without holders that have two, and those that two hold."""
    holders = Counter((service, space, holder) for service, space, holder, _ in aliases)
    values = Counter((service, space, value) for service, space, _, value in aliases)
    return [one for one in aliases if holders[one[:3]] == 1 and values[one[0], one[1], one[3]] == 1]


def _bounded(places: dict[str, Place]) -> None:
    if len(places) <= MAX_PLACES:
        return
    for side in (REQUEST, ANSWER):
        own = [place for place in places if place.startswith(side)]
        for place in sorted(own, key=name_hash)[MAX_PLACES:]:
            del places[place]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a text: {value!r}"[:80])
    return value


_Told = tuple[int, int, Sequence[str], Sequence[tuple[str, str, int, int]], Sequence[tuple[str, str, int]]]


def _read(note: Any) -> _Told | None:
    """A note as the watch made it; None for anything else."""
    # Patterns would take several times as long, and there are many rows.
    if (type(note) is not list and type(note) is not tuple) or len(note) != 5:
        return None
    actor, tenant, labels, rows, named = note
    if not isinstance(actor, int) or not isinstance(tenant, int):
        return None
    for each in (labels, rows, named):
        if type(each) is not list and type(each) is not tuple:
            return None
    if len(labels) > MAX_LABELS or len(rows) > MAX_ROWS:
        return None
    for label in labels:
        if type(label) is not str:
            return None
    for row in rows:
        if (type(row) is not list and type(row) is not tuple) or len(row) != 4:
            return None
        place, space, mask, value = row
        if type(place) is not str or type(space) is not str or type(mask) is not int or type(value) is not int:
            return None
        if place[:1] not in (REQUEST, ANSWER) or len(place) > 300:
            return None
    return actor, tenant, labels, rows, _named(named) if named else ()


def _named(told: Sequence[Any]) -> Sequence[tuple[str, str, int]]:
    found = []
    for one in told[:MAX_ROWS]:
        if (type(one) is list or type(one) is tuple) and len(one) == 3:
            place, kind, bits = one
            if type(place) is str and type(kind) is str and type(bits) is int and len(place) <= 300:
                found.append((place, kind, bits))
    return found


def _only_owners(record: CallRecord) -> bool:
    """Whether all that speaks against a call is whose objects it is about."""
    return record.action != "block" and all(one.id in _OF_OWNERS for one in record.findings if one.suspicious)


__all__ = ["Knowledge", "Model"]
