"""What was published, ready to be asked."""

from __future__ import annotations

from functools import lru_cache

from eastwall.behaviours import World
from eastwall.behaviours.ownership_claims.judging import GivenFirst, Knowledge, Rule
from eastwall.behaviours.ownership_claims.reading import ANSWER, EVERY_SERVICE, MADE_UP, alias_space, steps_of
from eastwall.discovery.objects import ENVELOPES, collection_of, field_of, kind_of, object_key, words
from eastwall.model.endpoint import Endpoint
from eastwall.model.identity import Identity
from eastwall.model.operation import Operation

OF_TENANTS = ("tenant", "tenant-alias")
"""Claims of rules that tell whose tenant's something is."""
IDS = ("id", "_id", "uuid", "guid", "number", "slug", "key", "code")
ALONE = 0.6
MAX_PLANS = 10_000
"""Operations whose plans are kept."""
MAX_PLACES = 500
"""Of one operation, places and classes for which it is kept what is known of them."""
MAX_ACCUSTOMED = 2_000
"""Callers for whom one rule keeps what was their own."""
_TELLING = ("sub", "alias", "email", "name")
_GIVES_AWAY = frozenset(("owner", "ownership", "reassign", "handover", "handoff"))
_SELVES = frozenset(("me", "whoami", "userinfo", "self", "profile", "my_profile", "current_user", "viewer"))


class Known:
    """Rules by operation."""

    __slots__ = (
        "_everybodys",
        "_kept",
        "_plans",
        "aliases",
        "alone",
        "broad",
        "choices",
        "given",
        "hash_key",
        "holders",
        "judged",
        "lists",
        "owner_fields",
        "private",
        "requests",
        "responses",
        "selves",
        "settled",
        "taught",
    )

    def __init__(self, knowledge: Knowledge, world: World) -> None:
        self.hash_key = world.hash_key
        self.requests: dict[str, tuple[LiveRule, ...]] = {}
        self.responses: dict[str, tuple[LiveRule, ...]] = {}
        self.aliases: dict[tuple[str, str, int], int] = {}
        """(service, space, hash of the actor or tenant) -> hash of its id there."""
        self.selves = frozenset(one.id for one in world.endpoints if _is_self(one))
        """Operations that tell callers of themselves."""
        self._everybodys: dict[tuple[str, str], frozenset[str]] = {}
        self._plans: dict[str, Plan] = {}
        self.choices = frozenset(knowledge.choices)
        self.broad = {(one.service, one.kind): (frozenset(one.classes), frozenset(one.judged)) for one in knowledge.broad}
        self.owner_fields: set[tuple[str, str]] = set()
        """(service, field of answers that tells whose an object is)."""
        self.alone = frozenset(
            (one.service, named.kind) for one in world.endpoints for named in one.objects if named.alone >= ALONE
        )
        """(service, kind) of objects that mostly one actor holds, not all of a tenant."""
        self.private = _private(world, self.choices)
        self.judged = frozenset((one.service, named.kind) for one in world.endpoints for named in one.objects)
        """(service, kind) of which it is known whose they are, or that they are nobody's."""
        self.lists = {
            one.id: frozenset(field.place.removeprefix("query.") for field in one.query.fields)
            for one in world.endpoints
            if _lists(one) and (one.service, _about(one)) in self.private
        }
        """Operation that lists objects of a private kind -> names of its learned query parameters."""
        kept: dict[str, set[str]] = {}
        for one in knowledge.broad:
            if one.judged:
                kept.setdefault(one.service, set()).add(one.kind)
        self._kept = {service: frozenset(kinds) for service, kinds in kept.items()}
        endpoints = {one.id: one for one in world.endpoints}
        for rule in knowledge.rules:
            endpoint = endpoints.get(rule.endpoint)
            if endpoint is not None:
                if (
                    rule.place.startswith(ANSWER)
                    and rule.claim not in OF_TENANTS
                    and (field := owner_field(steps_of(rule.place)))
                ):
                    self.owner_fields.add((endpoint.service, field))
                into = self.responses if rule.place.startswith(ANSWER) else self.requests
                into[rule.endpoint] = (*into.get(rule.endpoint, ()), LiveRule(rule, endpoint))
        self.settled: dict[tuple[str, str], frozenset[int]] = {}
        """(service, class) -> actors (hashes) of whom it is known whether they keep to their own, where others are not judged for that."""
        for rule in knowledge.rules:
            if rule.few and rule.endpoint in endpoints:
                for key in [(endpoints[rule.endpoint].service, cls) for cls in rule.classes]:
                    self.settled[key] = self.settled.get(key, frozenset()).union(rule.keepers, rule.exceptions)
        self.taught = {operation: frozenset(classes) for operation, classes in knowledge.taught}
        """Operation -> classes of which enough was noted: see `Knowledge.taught`."""
        self.given = {
            (one.service, one.endpoint, one.place if one.endpoint else one.kind, one.cls): one for one in knowledge.given
        }
        """(service, operation, place, class), and (service, "", kind, class) -> who names what was given alone."""
        for service, space, holder, value in knowledge.aliases:
            self.aliases[service, space, holder] = value
        self.holders = {(service, space, value): holder for service, space, holder, value in knowledge.aliases}
        """(service, space, hash of the id there) -> hash of its actor or tenant."""

    def plan(self, operation: str) -> Plan:
        """What is known of one operation; empty: of those that nobody knows."""
        found = self._plans.get(operation)
        if found is None:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            found = self._plans[operation] = Plan(operation, self)
        return found

    def given_first(self, service: str, operation: str, place: str, kind: str, cls: str) -> GivenFirst | None:
        """What is known of callers of a class at a place: of the place itself, or else of the kind. None: they may have ids from anywhere."""
        found = self.given.get((service, operation, place, cls)) or self.given.get((service, "", kind, cls))
        return found if found is not None and found.actors else None

    def kept(self, service: str) -> frozenset[str]:
        """Kinds of which some class keeps to its own."""
        return self._kept.get(service, frozenset())

    def everybodys(self, service: str, cls: str) -> frozenset[str]:
        """Kinds of which a class sees everybody's objects, or may for all that is known of it."""
        found = self._everybodys.get((service, cls))
        if found is None:
            if len(self._everybodys) > 1_000:
                self._everybodys.clear()
            found = self._everybodys[service, cls] = frozenset(
                kind
                for (of, kind), (broad, judged) in self.broad.items()
                if of == service and (cls in broad or (judged and cls not in judged))
            )
        return found


def _private(world: World, choices: frozenset[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """(service, kind) -> share of the objects that one actor holds alone, of kinds that callers nowhere choose as they like: products that few
    have bought look as if each were somebody's."""
    named = [(one.service, one.id, object_) for one in world.endpoints for object_ in one.objects]
    chosen = {(service, object_.kind) for service, operation, object_ in named if (operation, object_.place) in choices}
    found: dict[tuple[str, str], float] = {}
    for service, _, object_ in named:
        key = service, object_.kind
        if object_.alone >= ALONE and key not in chosen:
            found[key] = max(found.get(key, 0.0), object_.alone)
    return found


def _lists(endpoint: Endpoint) -> bool:
    return any("[]." in field.place for status, schema in endpoint.responses if 200 <= status < 300 for field in schema.fields)


def _about(endpoint: Endpoint) -> str:
    return kind_of("id", field_of(endpoint.operation) or collection_of(endpoint.template))


class Plan:
    """What is known of one operation, together: one look-up for each message."""

    __slots__ = ("_given", "_known", "_operation", "choices", "lists", "numbering", "requests", "responses", "telling")

    def __init__(self, operation: str, known: Known) -> None:
        self._operation = operation
        self._known = known
        self._given: dict[tuple[str, str, str], GivenFirst | None] = {}
        self.requests = known.requests.get(operation, ())
        self.responses = known.responses.get(operation, ())
        self.lists = operation in known.lists
        self.telling = tuple([rule for rule in self.responses if rule.claim in _TELLING])
        """Rules of answers that tell of an object whose it is, to those who see everybody's."""
        self.numbering = tuple([rule for rule in self.responses if rule.alias])
        """Rules of answers that tell callers' own ids."""
        self.choices = frozenset(place for one, place in known.choices if one == operation)

    def given_first(self, service: str, place: str, kind: str, cls: str) -> GivenFirst | None:
        """See `Known.given_first`."""
        if not self._operation:
            return self._known.given_first(service, "", place, kind, cls)
        key = place, kind, cls
        if key not in self._given:
            if len(self._given) >= MAX_PLACES:  # names of places come from callers
                self._given.clear()
            self._given[key] = self._known.given_first(service, self._operation, place, kind, cls)
        return self._given[key]


class LiveRule:
    """A rule, ready to be asked."""

    __slots__ = (
        "accustomed",
        "alias",
        "claim",
        "classes",
        "exceptions",
        "inside",
        "keepers",
        "kinds",
        "listed",
        "numbered",
        "of_tenants",
        "outside",
        "place",
        "plain",
        "rule",
        "service",
        "source",
        "space",
        "steps",
        "within",
    )

    def __init__(self, rule: Rule, endpoint: Endpoint) -> None:
        self.rule = rule
        self.claim = rule.claim
        self.alias = rule.claim in ("alias", "tenant-alias")
        self.of_tenants = rule.claim == "tenant-alias"
        self.plain = not self.alias and rule.claim not in MADE_UP
        """The claim stands in tokens under its name."""
        self.accustomed: dict[str, str | int] = {}
        """Actor, or tenant -> the value of an answer that proved to be its alias: mostly it comes again."""
        self.classes = frozenset(rule.classes)
        self.exceptions = frozenset(rule.exceptions)
        self.keepers = frozenset(rule.keepers)
        self.service = endpoint.service
        self.space = rule.space
        place = rule.place[1:]
        self.place = place
        self.source, _, name = place.partition(".")
        body = self.source.startswith("body")
        self.steps = steps_of(rule.place) if body else (name,)
        self.listed = body and "[]" in self.steps
        at = self.steps.index("[]") if self.listed else 0
        self.outside, self.inside = self.steps[:at], self.steps[at + 1 :]
        """Steps to the list that the place is in, and from an item of it."""
        self.numbered = alias_space(rule.space)
        self.kinds = _kinds(self.steps, field_of(endpoint.operation) or collection_of(endpoint.template)) if body else ()
        self.within = _within(self.steps, self.kinds) if body else None
        """The object that the value speaks of: (steps to it, its kind, steps from it to the value); None: there is none."""

    def accustom(self, identity: Identity, value: str | int) -> None:
        """An answer held the caller's alias."""
        whose = identity.tenant if self.of_tenants else identity.actor
        if len(self.accustomed) >= MAX_ACCUSTOMED:
            self.accustomed.clear()
        self.accustomed[whose] = value

    def hashed(self, key: bytes, text: str) -> int:
        """See `reading.alias_key`."""
        return object_key(key, EVERY_SERVICE, self.numbered, text)


def _within(steps: tuple[str, ...], kinds: tuple[str, ...]) -> tuple[tuple[str, ...], str, tuple[str, ...]] | None:
    """The innermost object around a value, without the one that is the owner itself (`customer.id`)."""
    outermost = len(steps) - (2 if steps[-1].lower() in IDS else 1) if steps else -1
    for depth in range(outermost, -1, -1):
        if steps[depth] != "[]":
            return steps[:depth], kinds[depth], steps[depth:]
    return None


def _kinds(steps: tuple[str, ...], collection: str) -> tuple[str, ...]:
    """Kind of the object at each step down to the one that has the last step; the first is the body."""
    kinds, holder = [kind_of("id", collection)], collection
    for step in steps[:-1]:
        if step != "[]" and ENVELOPES.isdisjoint((step, step.lower())):
            holder = step
        kinds.append(kind_of("id", holder))
    return tuple(kinds)


def _is_self(endpoint: Endpoint) -> bool:
    about = field_of(endpoint.operation) or collection_of(endpoint.template)
    return about.lower() in _SELVES and "{" not in endpoint.template


def names_handing_over(endpoint: Endpoint | None, operation: Operation) -> bool:
    """Whether an operation by its name makes somebody else the owner: `PUT /orders/{id}/owner`, `reassignOrder`. Also one that is not known yet:
    who gave away what before we knew how is its former owner for ever."""
    if endpoint is not None:
        name = endpoint.operation or endpoint.template.rpartition("}")[2].rpartition("/")[2]
    else:
        name = operation.name or _last_word(operation.path)
    return _gives_away(name)


@lru_cache(maxsize=4096)
def _gives_away(name: str) -> bool:
    return not _GIVES_AWAY.isdisjoint(words(name))


def _last_word(path: str) -> str:
    """The last segment of a path; empty for one that may be an id (`/owner-17`)."""
    last = path.rstrip("/").rpartition("/")[2]
    return "" if any(character.isdigit() for character in last) else last


def owner_field(steps: tuple[str, ...]) -> str:
    """A field by its name, or by its holder's too where it is an id: `user_id`, `customer.id`; empty for an id of nothing."""
    names = [step for step in steps if step != "[]"]
    if not names or names[-1].lower() not in IDS:
        return names[-1] if names else ""
    return ".".join(names[-2:]) if len(names) > 1 and names[-2].lower() not in ENVELOPES else ""
