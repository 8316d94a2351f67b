"""Conditions against the parameters of the operations that they are about: names that are not there, comparisons that never hold.

What a specification declares, or a template has, makes a fault; what is only learned makes a warning, since the next call may be the first to
show more. So does what is wrong for some of the operations in scope: the condition may be meant for the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from eastwall.model.endpoint import Endpoint
from eastwall.model.snapshot import ServiceScope
from eastwall.policy.conditions import VARIABLES
from eastwall.policy.endpoint_types import variables_of, with_own_names
from eastwall.policy.expression import Node, UnsupportedError, parse
from eastwall.policy.expression_types import Place, TypeFault, type_faults
from eastwall.policy.kinds import DataClass, Playbook, Policy, PolicySet, RulePack, Service, TrustZone
from eastwall.policy.known_operations import KnownByService
from eastwall.policy.patterns import may_match, method_matches, parse_operation, template_segments
from eastwall.policy.services import scopes_of
from eastwall.policy.wording import shown, suggestion
from eastwall.policy.world import World

Found = Iterator[tuple[Policy, str, str, str, bool]]
"""(policy, place, message, hint, it is a warning)"""
MAX_PAIRS = 50_000
"""Pairs of a condition and an operation that are looked at in one set, some 20 microseconds each."""
MAX_NAMED = 3
"""Operations that a message names."""
PARAMETERS = ("path", "query", "body")


class _Asked(NamedTuple):
    """Conditions of one policy that are about the same operations."""

    place: str
    texts: tuple[str, ...]
    operations: tuple[str, ...]
    services: tuple[str, ...]
    zones: tuple[str, ...]
    strict: bool
    """Calls for which a condition cannot be evaluated are turned away."""


class _Reading(NamedTuple):
    """What a condition reads, as far as endpoints differ in it."""

    node: Node
    optional: frozenset[str]
    """Places that it asks `has` of: they need not be there."""


def condition_faults(policies: PolicySet, services: Sequence[ServiceScope], known: KnownByService) -> Found:
    """`services`, `known`: of the inventory; without endpoints nothing is found."""
    own = [policy for policy in policies.policies if policy.location != "builtin"]
    world: World | None = None
    types = _Types()
    left_out = 0
    for policy in own:
        for asked in _conditions(policy):
            readings = [(i, text, reading) for i, text in enumerate(asked.texts) if (reading := _reading(text)) is not None]
            if not readings:
                continue
            if asked.zones and world is None:
                world = World({}, policies, scopes_of(policies, services))
            endpoints = _selected(asked, known, world)
            types.pairs += len(readings) * len(endpoints)
            if types.pairs > MAX_PAIRS:
                left_out += 1
                continue
            for i, text, reading in readings:
                for message, hint, warning in _told(reading, text, asked, endpoints, types):
                    yield policy, f"{asked.place}[{i}]", message, hint, warning
    if left_out:
        said = f"the conditions of {left_out:,} policies were not compared with the parameters of the operations in their scope"
        yield own[0], "", said, f"more than {MAX_PAIRS:,} pairs of a condition and an operation; narrow scopes", True


def _conditions(policy: Policy) -> Iterator[_Asked]:
    spec = policy.spec
    if isinstance(spec, TrustZone):
        for i, door in enumerate(spec.entrances):
            yield _Asked(f"spec.from[{i}].when", door.when, door.operations, (), (policy.name,), spec.on_error == "block")
    elif not isinstance(spec, (Service, DataClass, RulePack, Playbook)) and spec.when:
        scope = spec.scope
        yield _Asked("spec.when", spec.when, scope.operations, scope.services, scope.zones, spec.on_error == "block")


def _selected(asked: _Asked, known: KnownByService, world: World | None) -> list[Endpoint]:
    if asked.zones:
        assert world is not None
        mine = known.where((asked.services, asked.zones), world.service_test(asked.services, asked.zones))
    else:
        mine = known.of(asked.services)
    if not asked.operations:
        return mine.endpoints
    found = {one.id: one for text in asked.operations for one in mine.matching(parse_operation(text))}
    return list(found.values())


@lru_cache(maxsize=10_000)
def _reading(text: str) -> _Reading | None:
    """None: it reads no parameter, or cannot be read here."""
    try:
        node = parse(text)
    except UnsupportedError:
        return None
    reads = False
    optional: set[str] = set()
    stack = [node]
    while stack:
        one = stack.pop()
        reads = reads or (one.kind == "name" and one.value in PARAMETERS)
        if one.kind == "has":
            optional.add(_dotted(one.items[0]))
        if one.kind == "binary" and one.value == "in" and one.items[0].kind == "literal":
            optional.add(f"{_dotted(one.items[1])}.{one.items[0].value}")
        stack += [item for item in one.items if isinstance(item, Node)]
    return _Reading(node, frozenset(optional)) if reads else None


def _dotted(node: Node) -> str:
    if node.kind == "name":
        return str(node.value)
    if node.kind == "field":
        return f"{_dotted(node.items[0])}.{node.value}"
    if node.kind == "index" and node.items[1].kind == "literal":
        return f"{_dotted(node.items[0])}.{node.items[1].value}"
    return ""


class _Types:
    """What is known of the parameters of each endpoint, made once."""

    def __init__(self) -> None:
        self.pairs = 0
        self._of: dict[str, Mapping[str, Place]] = {}
        self._found: dict[tuple[object, ...], list[TypeFault]] = {}

    def faults(self, reading: _Reading, text: str, operations: tuple[str, ...], endpoint: Endpoint) -> list[TypeFault]:
        """What is wrong with a condition for calls of an endpoint, `operations` being the policy's own names of them."""
        names = tuple(pattern for pattern in operations if parse_operation(pattern).names)
        key = (text, names, endpoint.id)
        found = self._found.get(key)
        if found is None:
            variables = self._of.get(endpoint.id)
            if variables is None:
                variables = self._of[endpoint.id] = variables_of(endpoint)
            path = variables["path"]
            if names:
                template = template_segments(endpoint.template.lower())
                mine = [p for p in map(parse_operation, names) if method_matches(p.method, endpoint.method)]
                path = with_own_names(path, endpoint, [p for p in mine if may_match(p.folded, p.open, template)])
            found = self._found[key] = type_faults(reading.node, {**VARIABLES, **variables, "path": path})
        return found


def _told(
    reading: _Reading, text: str, asked: _Asked, endpoints: Sequence[Endpoint], types: _Types
) -> Iterator[tuple[str, str, bool]]:
    """(message, hint, it is a warning)."""
    by_fault: dict[tuple[int, str], list[tuple[TypeFault, Endpoint]]] = {}
    for endpoint in endpoints:
        for fault in dict.fromkeys(types.faults(reading, text, asked.operations, endpoint)):
            if fault.place:
                by_fault.setdefault((fault.position, fault.message), []).append((fault, endpoint))
    for (position, message), where in sorted(by_fault.items(), key=lambda item: item[0]):
        first = where[0][0]
        hint = first.hint
        if first.word:
            hint = suggestion(first.word, sorted({name for fault, _ in where for name in fault.known}))
        optional = first.missing and first.place in reading.optional
        if optional and not hint.startswith("did you mean"):
            continue  # it asks whether it is there: it need not be
        if first.missing and not hint:
            hint = f"ask `has({first.place})` first, or narrow the scope"
        declared = all(fault.samples == 0 for fault, _ in where)
        firm = declared and len(where) == len(endpoints) and not optional and (asked.strict or not first.missing)
        said = f"condition {shown(text)}, character {position + 1}: {message}{_where(where, endpoints)}{_evidence(where)}"
        yield said, hint, not firm


def _where(where: Sequence[tuple[TypeFault, Endpoint]], endpoints: Sequence[Endpoint]) -> str:
    names = ", ".join(shown(f"{one.method} {one.template}") for _, one in where[:MAX_NAMED])
    more = f" and {len(where) - MAX_NAMED} more" if len(where) > MAX_NAMED else ""
    if len(where) == len(endpoints):
        return f" in {names}" if len(endpoints) == 1 else f" in any of the {len(endpoints):,} operations in scope"
    return f" in {len(where):,} of the {len(endpoints):,} operations in scope: {names}{more}"


def _evidence(where: Sequence[tuple[TypeFault, Endpoint]]) -> str:
    learned = [fault.samples for fault, _ in where if fault.samples]
    if not learned:
        return ", as declared"
    return f", going by {sum(learned):,} call{'s' if sum(learned) != 1 else ''}"
