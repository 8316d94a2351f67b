"""What was published, ready to be asked."""

from __future__ import annotations

from eastwall.behaviours import World
from eastwall.behaviours.ownership_claims.judging import GivenFirst, Knowledge, Rule
from eastwall.behaviours.ownership_claims.reading import ANSWER, steps_of
from eastwall.discovery.objects import ENVELOPES, collection_of, field_of, kind_of, words
from eastwall.model.endpoint import Endpoint
from eastwall.model.operation import Operation

OF_TENANTS = ("tenant", "tenant-alias")
"""Claims of rules that tell whose tenant's something is."""
IDS = ("id", "_id", "uuid", "guid", "number", "slug", "key", "code")
ALONE = 0.6
_GIVES_AWAY = frozenset(("owner", "ownership", "reassign", "handover", "handoff"))
_SELVES = frozenset(("me", "whoami", "userinfo", "self", "profile", "my_profile", "current_user", "viewer"))


class Known:
    """Rules by operation."""

    __slots__ = (
        "_everybodys",
        "_kept",
        "aliases",
        "alone",
        "broad",
        "choices",
        "given",
        "hash_key",
        "holders",
        "lists",
        "owner_fields",
        "private",
        "requests",
        "responses",
        "selves",
        "settled",
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
        self.choices = frozenset(knowledge.choices)
        self.broad = {(one.service, one.kind): (frozenset(one.classes), frozenset(one.judged)) for one in knowledge.broad}
        self.owner_fields: set[tuple[str, str]] = set()
        """(service, field of answers that tells whose an object is)."""
        self.alone = frozenset(
            (one.service, named.kind) for one in world.endpoints for named in one.objects if named.alone >= ALONE
        )
        """(service, kind) of objects that mostly one actor holds, not all of a tenant."""
        self.private = _private(world, self.choices)
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
        self.given = {
            (one.service, one.endpoint, one.place if one.endpoint else one.kind, one.cls): one for one in knowledge.given
        }
        """(service, operation, place, class), and (service, "", kind, class) -> who names what was given alone."""
        for service, space, holder, value in knowledge.aliases:
            self.aliases[service, space, holder] = value
        self.holders = {(service, space, value): holder for service, space, holder, value in knowledge.aliases}
        """(service, space, hash of the id there) -> hash of its actor or tenant."""

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


class LiveRule:
    """A rule, ready to be asked."""

    __slots__ = (
        "alias",
        "claim",
        "classes",
        "exceptions",
        "keepers",
        "kinds",
        "listed",
        "place",
        "rule",
        "service",
        "source",
        "space",
        "steps",
    )

    def __init__(self, rule: Rule, endpoint: Endpoint) -> None:
        self.rule = rule
        self.claim = rule.claim
        self.alias = rule.claim in ("alias", "tenant-alias")
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
        self.kinds = _kinds(self.steps, field_of(endpoint.operation) or collection_of(endpoint.template)) if body else ()


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
