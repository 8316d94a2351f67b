"""Use of an operation of which another version checks more, of an old version, and of versions that nobody called before."""

from __future__ import annotations

from msgspec import Struct

from eastwall import behaviours
from eastwall.behaviours.versions.model import Closed, Knowledge, Old
from eastwall.discovery.bounded import Recent
from eastwall.discovery.lifecycle import open_by_nature
from eastwall.discovery.versions import Weakness, key_of
from eastwall.model.call import Phase
from eastwall.model.decision import Verdict
from eastwall.model.deviations import Deviation, WeakerUse
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts
from eastwall.model.identity import Strength

TOLD = 3_600.0
"""Seconds for which a caller's use of one old or weaker operation is not told again, where nothing is exploited."""
MAX_TOLD = 20_000
"""(caller, operation) told of."""
MIN_IDENTIFIED = 30
"""Answers to callers with identity, and none without, before a version of the operation that nobody called is expected to ask for one."""


class Known(Struct, frozen=True):
    """Look-up tables of `Knowledge`."""

    weak: dict[str, tuple[Weakness, ...]]
    old: dict[str, Old]
    closed: dict[str, dict[tuple[str, int], list[tuple[tuple[str, ...], Closed]]]]
    """Service -> (method, number of segments) -> (segments, operation)."""
    deprecated: frozenset[str]


def compile(knowledge: Knowledge, world: behaviours.World) -> Known:
    """By operation, and by the shape of a path."""
    weak: dict[str, tuple[Weakness, ...]] = {}
    for one in knowledge.weak:
        weak[one.endpoint] = (*weak.get(one.endpoint, ()), one)
    closed: dict[str, dict[tuple[str, int], list[tuple[tuple[str, ...], Closed]]]] = {}
    for service, operations in knowledge.closed:
        shapes = closed.setdefault(service, {})
        for operation in operations:
            parts = tuple(operation.template.split("/"))
            shapes.setdefault((operation.method, len(parts)), []).append((parts, operation))
    deprecated = frozenset(e.id for e in world.endpoints if e.deprecated)
    return Known(weak, {one.endpoint: one for one in knowledge.old}, closed, deprecated)


class Watch(behaviours.Watch):
    """Remembers only what was told."""

    def __init__(self) -> None:
        self._told: Recent[tuple[str, str], float] = Recent(MAX_TOLD)

    def asks(self, phase: Phase, endpoint: Endpoint, known: Known) -> bool:
        return phase is Phase.REQUEST and (endpoint.id in known.weak or endpoint.id in known.old)

    def request(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        endpoint = facts.match.endpoint
        if endpoint is None:
            return ()
        weak, old = known.weak.get(endpoint.id), known.old.get(endpoint.id)
        if weak is None and old is None:
            return ()
        aged = old is not None or endpoint.id in known.deprecated
        for one in weak or ():
            if _exploits(one, facts) and not (one.customary and endpoint.id not in known.deprecated):
                return (_use(one, old=aged, exploited=True),)
        if self._recent(facts):
            return ()
        if weak:
            return tuple(_use(one, old=aged, exploited=False) for one in weak)
        assert old is not None
        told = f"{old.calls:,} calls of {old.label} were seen beside {old.other_label}"
        return (WeakerUse("operation", old.label, old.other_label, "", told, old=True),)

    def response(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        """An answer to nobody, from a version that nobody called before, of an operation that nobody calls without identity."""
        response = facts.call.response
        if facts.match.endpoint is not None or facts.identity.strength > Strength.NONE:
            return ()
        if response is None or not 200 <= response.status < 300 or "fault" in facts.operation.traits:
            return ()
        request = facts.call.prior.facts.operation if facts.call.prior is not None else facts.operation
        path = request.path
        shapes = known.closed.get(facts.call.service)
        if not shapes or request.method == "OPTIONS" or open_by_nature(path):
            return ()
        method, rest, _ = key_of(request.method, path)
        parts = tuple(rest.split("/"))
        for segments, one in shapes.get((method, len(parts)), ()):
            if one.identified >= MIN_IDENTIFIED and all(s in ("{}", p) for s, p in zip(segments, parts, strict=True)):
                told = f"none of {one.identified:,} answers of {one.label} went to a caller without identity"
                refused = f", and {one.refused:,} such calls were refused" if one.refused else ""
                label = f"{request.method} {path}"[:80]
                return (WeakerUse("status", label, one.label, "authentication", told + refused, old=True, exploited=True),)
        return ()

    def remembers(self, phase: Phase, endpoint: Endpoint, known: Known) -> str | bool:
        return behaviours.STRANGE if phase is Phase.REQUEST else False

    def after(self, facts: Facts, verdict: Verdict, known: Known) -> None:
        endpoint = facts.match.endpoint
        if not facts.deviations or facts.call.response is not None or endpoint is None:
            return
        if any(type(one) is WeakerUse and not one.exploited for one in facts.deviations):
            self._told.put((facts.identity.actor, endpoint.id), facts.call.time)

    def _recent(self, facts: Facts) -> bool:
        assert facts.match.endpoint is not None
        at = self._told.get((facts.identity.actor, facts.match.endpoint.id))
        return at is not None and 0 <= facts.call.time - at < TOLD

    def __len__(self) -> int:
        return len(self._told)


def _exploits(one: Weakness, facts: Facts) -> bool:
    """Whether this call uses what is missing."""
    if one.check == "authentication":
        return facts.identity.strength is Strength.NONE
    if one.check == "authorization":
        return any(use.exclusive and not use.granted and use.owners for use in facts.objects)
    return False


def _use(one: Weakness, *, old: bool, exploited: bool) -> WeakerUse:
    return WeakerUse("operation", one.label, one.other_label, one.check, one.told, old=old, exploited=exploited)
