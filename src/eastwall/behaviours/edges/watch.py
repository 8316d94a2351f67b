"""First use of an edge by a settled caller, and what the caller did around it."""

from __future__ import annotations

from collections import deque
from typing import Any

from msgspec import Struct

from eastwall import behaviours
from eastwall.behaviours.edges.model import PRIVATE, YOUNG_SECONDS, Caller, Knowledge, caller_of, network_of
from eastwall.discovery.bounded import Recent
from eastwall.discovery.data_classes import SENSITIVITY
from eastwall.discovery.identity import source_of
from eastwall.discovery.lifecycle import is_admin
from eastwall.discovery.privilege import privileged
from eastwall.model.call import Phase
from eastwall.model.decision import Verdict
from eastwall.model.deviations import Deviation, NewEdge
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts

MAX_CALLERS = 5_000
"""Callers with a new edge, or with refusals, that are remembered."""
MAX_EDGES, MAX_OBJECTS, MAX_SOURCES = 32, 256, 4
"""Of one caller: new edges; of one edge: objects and sources."""
TROUBLE = 600.0
"""Seconds for which refusals and findings stand around a call."""
ALONE = 0.9
"""Share of a kind's objects, in tenths, that one caller holds alone, from which on they are told as those of single callers, too: colleagues were
shown some."""
RECENT = 3_600.0
"""Seconds for which uses of a new edge add up."""
_REFUSED = frozenset((401, 403, 404))
_GRAVE = ("high", "critical")


class Known(Struct, frozen=True):
    """Look-up tables of `Knowledge`."""

    callers: dict[str, tuple[Caller, frozenset[str], frozenset[str], frozenset[str]]]
    """Name -> (caller, services, operations, networks)."""
    reach: dict[str, tuple[str, ...]]
    """Operation -> what makes it grave."""


def compile(knowledge: Knowledge, world: behaviours.World) -> Known:
    """Sets from tuples, and what operations reach."""
    return Known(
        {c.name: (c, frozenset(c.services), frozenset(c.operations), frozenset(c.networks)) for c in knowledge.callers},
        {e.id: reach for e in world.endpoints if (reach := _reach(e))} if knowledge.callers else {},
    )


def _reach(endpoint: Endpoint) -> tuple[str, ...]:
    found = []
    if is_admin(endpoint) or (endpoint.users and all(privileged(cls) for cls, _, _ in endpoint.users)):
        found.append("admin")
    if any(way == "response" and SENSITIVITY.get(name) in _GRAVE for way, _, name in endpoint.data_classes):
        found.append("sensitive data")
    if any(one.exclusive or one.alone >= ALONE for one in endpoint.objects):
        found.append("objects of single callers")
    return tuple(found)


class _Edge:
    """A new edge of one caller."""

    __slots__ = ("objects", "sources", "time")

    def __init__(self, time: float) -> None:
        self.time = time
        self.objects: set[Any] = set()
        self.sources: set[str] = set()


class _Session:
    """What is remembered of one caller."""

    __slots__ = ("edges", "refused", "suspicious")

    def __init__(self) -> None:
        self.edges: dict[str, _Edge] = {}
        self.refused: deque[float] = deque(maxlen=16)
        self.suspicious = 0.0


class Watch(behaviours.Watch):
    """Callers with new edges or refusals; others leave no trace."""

    def __init__(self) -> None:
        self._sessions: Recent[str, _Session] = Recent(MAX_CALLERS)

    def asks(self, phase: Phase, endpoint: Endpoint, known: Known) -> Any:
        return known.callers

    def request(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        identity = facts.identity
        settled = known.callers.get(identity.workload or identity.cls)
        if settled is None:
            return ()
        caller, services, operations, networks = settled
        found: tuple[Deviation, ...] = ()
        service, endpoint = facts.call.service, facts.match.endpoint
        if caller.young:  # seldom
            late = facts.call.time - YOUNG_SECONDS
            old = {key for key, first in caller.young if first <= late}
            services |= old
            operations = operations | old if operations else operations
            networks = networks | old if networks else networks
        if service not in services:
            found = (self._deviation("service", service, caller, len(services), facts, known),)
        elif endpoint is not None and operations and endpoint.id not in operations:
            label = endpoint.operation or f"{endpoint.method} {endpoint.template}"
            found = (self._deviation("operation", label, caller, len(operations), facts, known),)
        if networks and caller_of(identity.workload, identity.cls)[1]:
            network = network_of(source_of(facts.identity, facts.call))
            if network and network not in networks:
                found += (self._deviation("source", network, caller, len(networks), facts, known),)
        return found

    def _deviation(self, kind: str, target: str, caller: Caller, count: int, facts: Facts, known: Known) -> NewEdge:
        time, endpoint = facts.call.time, facts.match.endpoint
        reach = known.reach.get(endpoint.id, ()) if endpoint is not None else ()
        if kind == "source" and target != PRIVATE and set(caller.networks) == {PRIVATE}:
            reach += ("public network",)
        session = self._sessions.get(caller.name)
        failures = uses = 0
        suspicious = False
        if session is not None:
            failures = sum(0 <= time - at <= TROUBLE for at in session.refused)
            suspicious = 0 <= time - session.suspicious <= TROUBLE
            edges = [edge for edge in session.edges.values() if 0 <= time - edge.time <= RECENT]
            held: set[Any] = set().union(*(edge.objects for edge in edges)) if edges else set()
            edge = session.edges.get(f"{kind} {target}")
            # What several instances do is a release, and not one of them that was taken over; so is what nobody else has ever called.
            alone = endpoint is not None and {cls for cls, _, _ in endpoint.users} == {facts.identity.cls}
            if not alone and (edge is None or len(edge.sources | {source_of(facts.identity, facts.call)}) < 2):
                uses = len(held | _objects(facts))
        return NewEdge(
            place="operation" if kind != "source" else "source",
            kind=kind,
            caller=caller.name,
            target=target,
            calls=caller.calls,
            known=count,
            days=round((caller.last - caller.first) / 86_400, 2),
            reach=reach,
            failures=failures,
            suspicious=suspicious,
            uses=uses or 1,
        )

    def remembers(self, phase: Phase, endpoint: Endpoint, known: Known) -> str:
        return behaviours.STRANGE

    def after(self, facts: Facts, verdict: Verdict, known: Known) -> None:
        response = facts.call.response
        if response is None:
            if facts.deviations or verdict.action == "block":
                self._asked(facts, verdict)
        elif response.status in _REFUSED:
            name, machine = caller_of(facts.identity.workload, facts.identity.cls)
            if machine:
                self._session(name).refused.append(facts.call.time)
        elif facts.call.prior is not None and facts.call.prior.findings:
            name, machine = caller_of(facts.identity.workload, facts.identity.cls)
            own = ("new-edge", "pivot")
            if machine and any(one.suspicious and one.id not in own for one in facts.call.prior.findings):
                self._session(name).suspicious = facts.call.time

    def _asked(self, facts: Facts, verdict: Verdict) -> None:
        new = [one for one in facts.deviations if type(one) is NewEdge]
        if not new:
            return
        session = self._session(new[0].caller)
        time = facts.call.time
        for one in new:
            key = f"{one.kind} {one.target}"
            edge = session.edges.get(key)
            if edge is None or time - edge.time > RECENT:
                if edge is None and len(session.edges) >= MAX_EDGES:
                    del session.edges[next(iter(session.edges))]
                edge = session.edges[key] = _Edge(time)
            if len(edge.objects) < MAX_OBJECTS:
                edge.objects |= _objects(facts)
            if len(edge.sources) < MAX_SOURCES:
                edge.sources.add(source_of(facts.identity, facts.call))

    def _session(self, name: str) -> _Session:
        session = self._sessions.get(name)
        if session is None:
            session = _Session()
            self._sessions.put(name, session)
        return session

    def __len__(self) -> int:
        return len(self._sessions)


def _objects(facts: Facts) -> set[Any]:
    """What counts as used: the objects named; a call that names none counts once."""
    return {key for _, _, key, _ in facts.used} or {facts.call.id}
