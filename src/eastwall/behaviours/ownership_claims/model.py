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

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Self

from msgspec import Struct

from eastwall.behaviours.ownership_claims.reading import ANSWER, REQUEST
from eastwall.behaviours.sketch import keep_lowest
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord

MAX_ENDPOINTS = 2_000
MAX_PLACES = 24
"""Per operation and side; those with the lowest hashes of their names."""
MAX_ACTORS = 64
"""Sampled per place."""
MAX_VALUES = 3
"""Distinct values kept per sampled actor."""
MAX_CLASSES = 12
MAX_LABELS = 8
MAX_ROWS = 40
"""Places that one call's note may tell."""

MAX_STRANGERS = 8
"""Actors kept who named what they were never given, per place and class."""
MAX_CHOSEN = 0.1
"""Share of the calls that name what their callers were never given, above which a place is one where callers choose."""
MIN_CALLS = 15
MIN_ACTORS = 3
MIN_ALIAS_ACTORS = 5
SHARE = 0.98
"""Of the calls of ordinary callers that must have held their own."""
FLOOR = 0.8
"""Lower end of the 95 % interval of that share at least."""
SURE = 0.95
"""From here on the rule is of high confidence, and speaks for rarer operations with a field of the same name."""
EXCEPTIONS = 0.25
"""Share of the actors that may be exceptions at most."""


class Rule(Struct, frozen=True):
    """A place that held the caller's own."""

    endpoint: str
    place: str
    """`?path.user_id` (request), `=body.items[].user_id` (answer)."""
    claim: str
    """Claim, `alias` or `tenant-alias`."""
    space: str
    """What the values number; aliases hold for all places of a space."""
    equal: int
    of: int
    high: bool
    classes: tuple[str, ...] = ()
    """Classes that are judged: others see others' data as a matter of course, or too few of them were seen."""
    exceptions: tuple[int, ...] = ()
    """Actors (hashes) that are not judged: they had others' too while learning."""


class Choice(Struct, frozen=True):
    """A place whose ids callers do not have from answers alone: provenance says nothing of them."""

    endpoint: str
    place: str
    """`path.order_id`, `body.lines[].product_id`."""
    classes: tuple[str, ...]
    """Classes that name what they were never given; `*`: callers of all."""


class Knowledge(Struct, frozen=True):
    """What engines are to know."""

    rules: tuple[Rule, ...] = ()
    choices: tuple[Choice, ...] = ()
    aliases: tuple[tuple[str, str, int, int], ...] = ()
    """(service, space, hash of the actor or tenant, hash of its id at the service), of sampled actors."""


class _Actor:
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

    def merge(self, other: _Actor) -> None:
        self.cls, self.tenant, self.calls = max(self.cls, other.cls), max(self.tenant, other.tenant), self.calls + other.calls
        for label, (equal, present) in other.labels.items():
            _count(self.labels, label, equal, present)
        for value, count in sorted(other.values.items()):
            self.value(value, count)

    def usual(self) -> tuple[int, int]:
        """(value that stood there most, calls)."""
        return min(((value, count) for value, count in self.values.items()), key=lambda one: (-one[1], one[0]), default=(0, 0))


class _Place:
    """One place of one operation."""

    __slots__ = ("actors", "classes", "space")

    def __init__(self, space: str) -> None:
        self.space = space
        self.classes: dict[str, dict[str, list[int]]] = {}
        """class -> label -> [equal, present]."""
        self.actors: dict[int, _Actor] = {}

    def note(self, actor: int, cls: str, tenant: int, labels: Sequence[str], mask: int, value: int) -> None:
        kept = self.classes.setdefault(cls, {})
        for bit, label in enumerate(labels):
            _count(kept, label, mask >> bit & 1, 1)
        _lowest(self.classes, MAX_CLASSES, _hash)
        one = self.actors.get(actor)
        if one is None:
            if len(self.actors) >= MAX_ACTORS and actor > max(self.actors):
                return
            one = self.actors[actor] = _Actor(cls, tenant)
            _lowest(self.actors, MAX_ACTORS, int)
        one.cls, one.tenant = max(one.cls, cls), max(one.tenant, tenant)
        one.calls += 1
        for bit, label in enumerate(labels):
            _count(one.labels, label, mask >> bit & 1, 1)
        if value:
            one.value(value, 1)

    def merge(self, other: _Place) -> None:
        self.space = max(self.space, other.space)
        for cls, labels in other.classes.items():
            kept = self.classes.setdefault(cls, {})
            for label, (equal, present) in labels.items():
                _count(kept, label, equal, present)
        _lowest(self.classes, MAX_CLASSES, _hash)
        for key, actor in other.actors.items():
            self.actors.setdefault(key, _Actor()).merge(actor)
        _lowest(self.actors, MAX_ACTORS, int)


class _Named:
    """How often callers named objects at one place, and how often such as they were never given."""

    __slots__ = ("classes",)

    def __init__(self) -> None:
        self.classes: dict[str, tuple[list[int], set[int]]] = {}
        """class -> ([calls, calls with such], actors that did: the lowest hashes)."""

    def note(self, cls: str, calls: int, strange: int, actors: Iterable[int]) -> None:
        counts, known = self.classes.setdefault(cls, ([0, 0], set()))
        counts[0] += calls
        counts[1] += strange
        keep_lowest(known, actors, MAX_STRANGERS)
        _lowest(self.classes, MAX_CLASSES, _hash)

    def free(self) -> tuple[str, ...]:
        """Classes that name what they were never given."""
        found = []
        ordinary, strange, actors = 0, 0, 0
        for cls, ((calls, others), who) in sorted(self.classes.items()):
            if calls >= 4 and 2 * others >= calls and (len(who) >= 2 or not cls.startswith("user")):
                found.append(cls)
            else:
                ordinary, strange, actors = ordinary + calls, strange + others, actors + len(who)
        if ordinary >= 10 and actors >= MIN_ACTORS and strange > MAX_CHOSEN * ordinary:
            return ("*",)
        if len(found) == len(self.classes) and any(len(who) >= MIN_ACTORS for _, who in self.classes.values()):
            return ("*",)
        return tuple(found)


def _count(into: dict[str, list[int]], label: str, equal: int, present: int) -> None:
    found = into.get(label)
    if found is not None:
        found[0] += equal
        found[1] += present
        return
    into[label] = [equal, present]
    _lowest(into, MAX_LABELS, _hash)


def _lowest(kept: dict[Any, Any], most: int, rank: Any) -> None:
    """Keep the keys of the lowest rank: the same whatever came first."""
    while len(kept) > most:
        del kept[max(kept, key=rank)]


def _hash(text: str) -> tuple[bytes, str]:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), text


class Model:
    """Counts of all operations."""

    def __init__(self) -> None:
        self._places: dict[str, dict[str, _Place]] = {}
        self._named: dict[str, dict[str, _Named]] = {}

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        if note is None or not clean or not 200 <= record.status < 300 or not record.actor:
            return
        told = _read(note)
        if told is None:
            return
        actor, tenant, labels, rows, named = told
        if named:
            known = self._named.get(endpoint)
            if known is None:
                known = self._named[endpoint] = {}
                _lowest(self._named, MAX_ENDPOINTS, _hash)
            for place, strange in named:
                if place not in known:
                    known[place] = _Named()
                    _lowest(known, MAX_PLACES, _hash)
                if place in known:
                    known[place].note(record.actor_class, 1, strange, (actor,) if strange else ())
        places = self._places.get(endpoint)
        if places is None:
            places = self._places[endpoint] = {}
            _lowest(self._places, MAX_ENDPOINTS, _hash)
        for place, space, mask, value in rows:
            found = places.get(place)
            if found is None:
                found = places[place] = _Place(space)
                _bounded(places)
            found.note(actor, record.actor_class, tenant, labels, mask, value)

    def merge(self, other: Self) -> None:
        for endpoint, places in other._places.items():
            self._join(endpoint, places)
        for endpoint, named in other._named.items():
            self._join_named(endpoint, named)

    def _join_named(self, endpoint: str, named: Mapping[str, _Named]) -> None:
        kept = self._named.setdefault(endpoint, {})
        _lowest(self._named, MAX_ENDPOINTS, _hash)
        for place, one in named.items():
            into = kept.setdefault(place, _Named())
            for cls, ((calls, strange), actors) in one.classes.items():
                into.note(cls, calls, strange, actors)
        _lowest(kept, MAX_PLACES, _hash)

    def _join(self, endpoint: str, places: Mapping[str, _Place]) -> None:
        kept = self._places.setdefault(endpoint, {})
        _lowest(self._places, MAX_ENDPOINTS, _hash)
        for place, counts in places.items():
            kept.setdefault(place, _Place("")).merge(counts)
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
                    [place, [[cls, *counts, sorted(actors)] for cls, (counts, actors) in sorted(one.classes.items())]]
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
            for place, classes in places:
                found[_text(place)] = known = _Named()
                for name, calls, strange, actors in classes:
                    known.note(_text(name), int(calls), int(strange), {int(actor) for actor in actors})
        for endpoint, places in whole:
            kept = model._places[_text(endpoint)] = {}
            for place, space, classes, actors in places:
                one = kept[_text(place)] = _Place(_text(space))
                one.classes = {
                    _text(name): {_text(label): [int(e), int(p)] for label, (e, p) in labels} for name, labels in classes
                }
                for key, name, tenant, calls, labels, values in actors:
                    actor = one.actors[int(key)] = _Actor(_text(name), int(tenant))
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
        for endpoint, places in self._places.items():
            for place, counts in places.items():
                if endpoint in services and place.startswith(ANSWER) and (endpoint, place) not in rules:
                    name = place.rpartition(".")[2]
                    for (service, known, claim), rule in sure.items():
                        if service == services[endpoint] and known == name and _agrees(counts, claim, rule):
                            rules[endpoint, place] = Rule(
                                endpoint, place, claim, counts.space, rule.equal, rule.of, True, rule.classes, rule.exceptions
                            )
                            break
        found = tuple(rule for _, rule in sorted(rules.items()))
        choices = tuple(
            Choice(endpoint, place, free)
            for endpoint, named in sorted(self._named.items())
            for place, one in sorted(named.items())
            if endpoint in services and (free := one.free())
        )
        return Knowledge(found, choices, tuple(sorted(_one_to_one(aliases)))) if found or choices else None


def _one_to_one(aliases: set[tuple[str, str, int, int]]) -> list[tuple[str, str, int, int]]:
    """Aliases without holders that have two, and those that two hold."""
    holders = Counter((service, space, holder) for service, space, holder, _ in aliases)
    values = Counter((service, space, value) for service, space, _, value in aliases)
    return [one for one in aliases if holders[one[:3]] == 1 and values[one[0], one[1], one[3]] == 1]


def _bounded(places: dict[str, _Place]) -> None:
    if len(places) <= MAX_PLACES:
        return
    for side in (REQUEST, ANSWER):
        own = [place for place in places if place.startswith(side)]
        for place in sorted(own, key=_hash)[MAX_PLACES:]:
            del places[place]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a text: {value!r}"[:80])
    return value


_Told = tuple[int, int, list[str], list[tuple[str, str, int, int]], list[tuple[str, int]]]


def _read(note: Any) -> _Told | None:
    """A note as the watch made it; None for anything else."""
    match note:
        case [
            int(actor),
            int(tenant),
            list(labels) | tuple(labels),
            list(rows) | tuple(rows),
            list(named) | tuple(named),
        ]:
            if len(labels) > MAX_LABELS or len(rows) > MAX_ROWS or not all(isinstance(label, str) for label in labels):
                return None
            places = [(place, 1 if strange else 0) for place, strange in _pairs(named)]
            read = []
            for row in rows:
                match row:
                    case [str(place), str(space), int(mask), int(value)] if place[:1] in (REQUEST, ANSWER) and len(place) <= 300:
                        read.append((place, space, mask, value))
                    case _:
                        return None
            return actor, tenant, list(labels), read, places
    return None


def _pairs(named: Iterable[Any]) -> Iterable[tuple[str, Any]]:
    for one in list(named)[:MAX_ROWS]:
        match one:
            case [str(place), int(strange)] if len(place) <= 300:
                yield place, strange


# -- conclusions --------------------------------------------------------------------------------------------------


def judge_claims(endpoint: str, place: str, counts: _Place) -> Rule | None:
    """The claim that the place equals, if any."""
    labels = sorted({label for known in counts.classes.values() for label in known}, key=lambda label: (label != "sub", label))
    best: Rule | None = None
    for label in labels:
        rule = _judge_label(endpoint, place, counts, label)
        if rule is not None and (best is None or rule.equal > best.equal):
            best = rule
    return best


def _judge_label(endpoint: str, place: str, counts: _Place, label: str) -> Rule | None:
    having = {key: one for key, one in counts.actors.items() if label in one.labels}
    broad = {
        cls
        for cls, labels in counts.classes.items()
        if label in labels and labels[label][1] >= 4 and labels[label][0] < 0.5 * labels[label][1]
    }
    judged = {key: one for key, one in having.items() if one.cls not in broad}
    exceptions = tuple(sorted(key for key, one in judged.items() if one.labels[label][0] < 0.9 * one.labels[label][1]))
    regular = [one for key, one in judged.items() if key not in exceptions]
    if len(having) >= MAX_ACTORS:
        exceptions = ()
        pairs = [labels[label] for cls, labels in counts.classes.items() if cls not in broad and label in labels]
        equal, of = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    else:
        equal, of = (sum(one.labels[label][n] for one in regular) for n in (0, 1))
    own = {one.usual()[0] for one in regular if one.labels[label][0]} - {0}
    needed = 2 if label == "tenant" else MIN_ACTORS
    if len(regular) < MIN_ACTORS or len(own) < needed or len(exceptions) > EXCEPTIONS * len(judged):
        return None
    if of < MIN_CALLS or equal < SHARE * of or (low := wilson(equal, of)) < FLOOR:
        return None
    return Rule(endpoint, place, label, counts.space, equal, of, low >= SURE, _judged_classes(regular), exceptions)


def _judged_classes(regular: Iterable[_Actor]) -> tuple[str, ...]:
    """Classes of which at least two actors keep to their own."""
    members = Counter(one.cls for one in regular)
    return tuple(sorted(cls for cls, count in members.items() if count >= 2))


def judge_alias(endpoint: str, place: str, counts: _Place) -> tuple[Rule | None, list[tuple[int, int]]]:
    """Whether the place holds an id of the caller that no token tells, and whose is which."""
    if not counts.space:
        return None, []
    members = Counter(one.cls for one in counts.actors.values())
    loose = Counter(one.cls for one in counts.actors.values() if one.usual()[1] < 0.9 * one.calls)
    broad = {cls for cls in members if 2 * loose[cls] >= members[cls]}
    judged = {key: one for key, one in counts.actors.items() if one.cls not in broad and one.calls >= 2}
    exceptions = tuple(sorted(key for key, one in judged.items() if one.usual()[1] < 0.9 * one.calls))
    regular = {key: one for key, one in judged.items() if key not in exceptions}
    if len(regular) < MIN_ALIAS_ACTORS or len(exceptions) > EXCEPTIONS * len(judged):
        return None, []
    if len(counts.actors) >= MAX_ACTORS and len(exceptions) > 0.02 * len(judged):
        return None, []  # of those who are not in the sample nobody knows who else is one
    equal, of = sum(one.usual()[1] for one in regular.values()), sum(one.calls for one in regular.values())
    if of < MIN_CALLS or equal < SHARE * of or (low := wilson(equal, of)) < FLOOR:
        return None, []
    claim, pairs = "alias", [(key, one.usual()[0]) for key, one in regular.items()]
    holders = Counter(value for _, value in pairs)
    if sum(count == 1 for count in holders.values()) < 0.9 * len(pairs):
        by_tenant = {(one.tenant, one.usual()[0]) for one in regular.values() if one.tenant}
        tenants = {tenant for tenant, _ in by_tenant}
        if len(tenants) < MIN_ACTORS or not len(tenants) == len(by_tenant) == len({value for _, value in by_tenant}):
            return None, []
        claim, pairs = "tenant-alias", sorted(by_tenant)
    else:
        pairs = [(key, value) for key, value in pairs if holders[value] == 1]
    return Rule(
        endpoint, place, claim, counts.space, equal, of, low >= SURE, _judged_classes(regular.values()), exceptions
    ), pairs


def _agrees(counts: _Place, claim: str, rule: Rule) -> bool:
    """Whether what little is known of a place says the same as a sure rule of a field of its name elsewhere."""
    if claim in ("alias", "tenant-alias"):
        own = [one for key, one in counts.actors.items() if one.cls in rule.classes and key not in rule.exceptions]
        calls, usual = sum(one.calls for one in own), sum(one.usual()[1] for one in own)
        return bool(own) and calls >= 2 and usual == calls and counts.space == rule.space
    pairs = [labels[claim] for cls, labels in counts.classes.items() if cls in rule.classes and claim in labels]
    equal, of = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    return of >= 2 and equal == of


def wilson(hits: int, of: int) -> float:
    """Lower end of the 95 % interval of a share (E. B. Wilson, 1927)."""
    z = 1.96
    share = hits / of
    middle = share + z * z / (2 * of)
    spread = z * ((share * (1 - share) + z * z / (4 * of)) / of) ** 0.5
    return float((middle - spread) / (1 + z * z / of))
