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
from hashlib import blake2b
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import replace

from eastwall.behaviours.ownership_claims.reading import ANSWER, REQUEST
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

MAX_STRANGERS = 32
"""Actors sampled per place and class for how they name objects."""
MAX_STAFF = 10
"""A class of more members who name what they were never given is no staff: there everybody chooses."""
_AUTHORITY = frozenset(
    "admin administrator support staff ops operator moderator manager supervisor auditor internal agent service".split()
)
MAX_CHOSEN = 0.1
"""Share of the calls that name what their callers were never given, above which a place is one where callers choose."""
_OF_OWNERS = frozenset(("object-not-granted", "owner-mismatch", "object-enumeration"))
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


class Broad(Struct, frozen=True):
    """Classes that name objects of a kind that no answer gave them: they see everybody's."""

    service: str
    kind: str
    classes: tuple[str, ...]
    judged: tuple[str, ...] = ()
    """Classes known to keep to what they were given. Of others nobody knows yet; empty: there is none."""


class Knowledge(Struct, frozen=True):
    """What engines are to know."""

    rules: tuple[Rule, ...] = ()
    choices: tuple[tuple[str, str], ...] = ()
    """(operation, place) whose ids callers do not have from answers alone (`body.lines[].product_id`): provenance says nothing of them."""
    broad: tuple[Broad, ...] = ()
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
            self.actors.setdefault(key, _Actor(actor.cls, actor.tenant)).merge(actor)
        _lowest(self.actors, MAX_ACTORS, int)


class _Named:
    """How often callers named objects at one place, and how often such as they were never given: of a sample of actors of each class."""

    __slots__ = ("classes", "kind")

    def __init__(self, kind: str = "") -> None:
        self.kind = kind
        self.classes: dict[str, dict[int, list[int]]] = {}
        """class -> actor (the lowest hashes) -> [calls, calls with such]."""

    def note(self, cls: str, actor: int, calls: int, strange: int) -> None:
        actors = self.classes.get(cls)
        if actors is None:
            actors = self.classes[cls] = {}
            _lowest(self.classes, MAX_CLASSES, _hash)
        counts = actors.get(actor)
        if counts is None:
            counts = actors[actor] = [0, 0]
            _lowest(actors, MAX_STRANGERS, int)
        counts[0] += calls
        counts[1] += strange

    def merge(self, other: _Named) -> None:
        self.kind = max(self.kind, other.kind)
        for cls, actors in other.classes.items():
            for actor, (calls, strange) in actors.items():
                self.note(cls, actor, calls, strange)

    def broad(self) -> tuple[str, ...]:
        """Classes most of whose members name, mostly, what they were never given."""
        return tuple(cls for cls, actors in sorted(self.classes.items()) if _is_broad(cls, actors))

    def keeping(self) -> tuple[str, ...]:
        """Classes known to keep to what they were given: two of their members do."""
        return tuple(
            cls
            for cls, actors in sorted(self.classes.items())
            if not _is_broad(cls, actors) and sum(2 * strange < calls for calls, strange in actors.values()) >= 2
        )

    def free(self) -> bool:
        """Whether ordinary callers choose at this place: of a third of them a tenth of the calls."""
        judged = [one for cls, actors in self.classes.items() if not _is_broad(cls, actors) for one in actors.values()]
        choosing = sum(strange > MAX_CHOSEN * calls for calls, strange in judged)
        if choosing >= MIN_ACTORS and choosing * 3 >= len(judged):
            return True
        return any(len(actors) > MAX_STAFF and _is_broad(cls, actors) for cls, actors in self.classes.items())


def _is_broad(cls: str, actors: Mapping[int, Sequence[int]]) -> bool:
    calls, strange = sum(one[0] for one in actors.values()), sum(one[1] for one in actors.values())
    mostly = sum(2 * others >= count for count, others in actors.values())
    several = len(actors) >= 2 or not cls.startswith("user") or not _AUTHORITY.isdisjoint(cls.split("+"))
    return several and calls >= 4 and 2 * strange >= calls and 2 * mostly >= len(actors)


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
            _lowest(self._places, MAX_ENDPOINTS, _hash)
        for place, space, mask, value in rows:
            found = places.get(place)
            if found is None:
                found = places[place] = _Place(space)
                _bounded(places)
            found.space = max(found.space, space)
            found.note(actor, record.actor_class, tenant, labels, mask, value)

    def _name(self, endpoint: str, cls: str, actor: int, named: Iterable[tuple[str, str, int]]) -> None:
        for place, kind, strange in named:
            known = self._named.get(endpoint)
            if known is None:
                known = self._named[endpoint] = {}
                _lowest(self._named, MAX_ENDPOINTS, _hash)
            one = known.get(place)
            if one is None:
                one = known[place] = _Named(kind)
                _lowest(known, MAX_PLACES, _hash)
            one.kind = max(one.kind, kind)
            one.note(cls, actor, 1, strange)

    def merge(self, other: Self) -> None:
        for endpoint, places in other._places.items():
            self._join(endpoint, places)
        for endpoint, named in other._named.items():
            self._join_named(endpoint, named)

    def _join_named(self, endpoint: str, named: Mapping[str, _Named]) -> None:
        kept = self._named.setdefault(endpoint, {})
        _lowest(self._named, MAX_ENDPOINTS, _hash)
        for place, one in named.items():
            kept.setdefault(place, _Named()).merge(one)
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
                found[_text(place)] = known = _Named(_text(kind))
                for name, actors in classes:
                    known.classes[_text(name)] = {int(actor): [int(calls), int(odd)] for actor, (calls, odd) in actors}
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
                            and _agrees(counts, claim, rule, own[service, counts.space])
                        ):
                            rules[endpoint, place] = Rule(
                                endpoint, place, claim, counts.space, rule.equal, rule.of, True, rule.classes, rule.exceptions
                            )
                            break
        excepted: dict[str, set[int]] = defaultdict(set)
        for rule in rules.values():
            excepted[services[rule.endpoint]].update(rule.exceptions)
        # Who sees others' at one place does so at the next: an assistant of somebody.
        found = tuple(
            replace(rule, exceptions=tuple(sorted(excepted[services[rule.endpoint]]))) for _, rule in sorted(rules.items())
        )
        choices, broad = self._provenance(services)
        return Knowledge(found, choices, broad, tuple(sorted(_one_to_one(aliases)))) if found or choices or broad else None

    def _provenance(self, services: Mapping[str, str]) -> tuple[tuple[tuple[str, str], ...], tuple[Broad, ...]]:
        """Where callers choose, and who sees all of which kind."""
        kinds: dict[tuple[str, str], _Named] = {}
        choices = []
        for endpoint, named in sorted(self._named.items()):
            for place, one in sorted(named.items()):
                if endpoint in services:
                    if one.free():
                        choices.append((endpoint, place))
                    kinds.setdefault((services[endpoint], one.kind), _Named()).merge(one)
        broad = tuple(Broad(service, kind, one.broad(), one.keeping()) for (service, kind), one in sorted(kinds.items()))
        return tuple(choices), tuple(one for one in broad if one.classes or one.judged)


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


_Told = tuple[int, int, list[str], list[tuple[str, str, int, int]], list[tuple[str, str, int]]]


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
            places = list(_named(named))
            read = []
            for row in rows:
                match row:
                    case [str(place), str(space), int(mask), int(value)] if place[:1] in (REQUEST, ANSWER) and len(place) <= 300:
                        read.append((place, space, mask, value))
                    case _:
                        return None
            return actor, tenant, list(labels), read, places
    return None


def _named(told: Iterable[Any]) -> Iterable[tuple[str, str, int]]:
    for one in list(told)[:MAX_ROWS]:
        match one:
            case [str(place), str(kind), int(strange)] if len(place) <= 300:
                yield place, kind, 1 if strange else 0


def _only_owners(record: CallRecord) -> bool:
    """Whether all that speaks against a call is whose objects it is about."""
    return record.action != "block" and all(one.id in _OF_OWNERS for one in record.findings if one.suspicious)


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


def _agrees(counts: _Place, claim: str, rule: Rule, own: Mapping[int, int]) -> bool:
    """Whether what little is known of a place says the same as a sure rule of a field of its name elsewhere."""
    if claim in ("alias", "tenant-alias"):
        told = [
            (one.calls, one.values.get(own[holder], 0))
            for key, one in counts.actors.items()
            if one.cls in rule.classes
            and key not in rule.exceptions
            and (holder := key if claim == "alias" else one.tenant) in own
        ]
        calls, equal = sum(one[0] for one in told), sum(one[1] for one in told)
        return counts.space == rule.space and calls >= 2 and equal == calls
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
