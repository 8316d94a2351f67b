"""The blueprint: what is concluded of all APIs, put together from what was learned, declared and said in policies.

`refresh` takes what is known now and is cheap; conclusions are drawn when somebody asks, once per refresh. A refresh makes a new world
and swaps it in whole, so that readers in other threads see one state of things or the next, never half of each. Two readers who ask the
same at once may both work it out; they get the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from eastwall.discovery import lifecycle, risk
from eastwall.discovery.attack_paths import attack_paths
from eastwall.discovery.drift import drift, ordered, service_drift, undeclared
from eastwall.discovery.graph import Caller, Flow, Leads, Operation, assemble
from eastwall.learning.changes import Changes
from eastwall.learning.edges import Edges, Seen, Tables, service_of
from eastwall.learning.link_counts import Link
from eastwall.model.blueprint import AttackPath, Change, DataFlow, Drift, Graph, IdentityProfile, Lifecycle, Readiness, Risk
from eastwall.model.endpoint import Endpoint
from eastwall.model.snapshot import CustomDataClass, ServiceScope
from eastwall.policy.patterns import OperationPattern, may_match, method_matches, parse_operation, template_segments
from eastwall.runtime.readiness import readiness

MAX_IDENTITIES = 10_000
"""Identities that are shown; those with the most calls."""
_SENSITIVE = ("medium", "high", "critical")


class IdentitySource(Protocol):
    """What is needed of `learning.identities.Identities`."""

    def profiles(self, limit: int) -> tuple[IdentityProfile, ...]: ...


class Blueprint:
    """Readers may be many threads; `refresh` is called by one at a time, while nobody folds into what it is given."""

    def __init__(self) -> None:
        self._world = _World(())

    def refresh(
        self,
        *,
        endpoints: Sequence[Endpoint],
        declared: Mapping[str, Sequence[Endpoint]],
        scopes: Iterable[ServiceScope],
        edges: Edges,
        identities: IdentitySource | None,
        changes: Changes,
        now: float,
        findings: Mapping[str, Mapping[str, int]] | None = None,
        classes: Sequence[CustomDataClass] = (),
        weaker: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """Take what is known now (Unix seconds).

        `declared`: service -> what its specifications have; `findings`: endpoint id -> severity -> how many of late; `classes`: data
        classes of the user's own, for their sensitivity; `weaker`: endpoint id -> what another version of it checks and it does not.
        """
        world = _World(endpoints)
        world.declared = {service: {e.id: e for e in found} for service, found in declared.items()}
        world.scopes = {scope.name: scope for scope in scopes}
        world.tables = edges.tables()
        world.links = edges.links()
        world.profiles = identities.profiles(MAX_IDENTITIES) if identities is not None else ()
        world.feed = changes.feed()
        world.findings = findings or {}
        world.classes = {c.name: c.sensitivity for c in classes}
        world.weaker = weaker or {}
        world.now = now
        world.older = self._world.drifts
        self._world = world

    def lifecycle(self, endpoint_id: str) -> Lifecycle:
        """Raises LookupError."""
        return self._world.lifecycle(self._world.endpoint(endpoint_id))

    def risk(self, endpoint_id: str) -> Risk:
        """Raises LookupError."""
        return self._world.risk(self._world.endpoint(endpoint_id))

    def drift(self, service: str = "", endpoint: str = "") -> tuple[Drift, ...]:
        """Most severe first; of everything, of a service, or of one endpoint. Raises LookupError for an unknown endpoint."""
        world = self._world
        if endpoint:
            return world.drift(world.endpoint(endpoint))
        return ordered(d for e in world.endpoints.values() if not service or e.service == service for d in world.drift(e))

    def diff(self, service: str, declared: Sequence[Endpoint]) -> tuple[Drift, ...]:
        """Any specification against what was seen of a service."""
        return self._world.diff(service, declared)

    def changes(self, since: float = 0.0, service: str = "") -> tuple[Change, ...]:
        """Newest first."""
        return tuple(c for c in self._world.feed if c.time > since and (not service or c.service == service))

    def graph(self) -> Graph:
        return self._world.graph()

    def paths(self, limit: int = 20) -> tuple[AttackPath, ...]:
        """Worst first. Raises ModuleNotFoundError where `rustworkx` is not installed."""
        return self._world.paths(limit)

    def data(self, data_class: str = "") -> tuple[DataFlow, ...]:
        """Where sensitive data flows: the most sensitive first."""
        return tuple(flow for flow in self._world.data() if not data_class or flow.data_class == data_class)

    def identities(self, kind: str = "") -> tuple[IdentityProfile, ...]:
        """Most calls first."""
        return tuple(p for p in self._world.profiles if not kind or p.kind == kind or (kind == "agent" and p.agent))

    def identity(self, actor: str) -> IdentityProfile:
        """Raises LookupError."""
        found = self._world.memo("actors", lambda: {p.actor: p for p in self._world.profiles}).get(actor)
        if found is None:
            raise LookupError(f"there is no identity `{actor}`")
        known: IdentityProfile = found
        return known

    def callers(self, endpoint_id: str) -> list[tuple[str, int, float]]:
        """(identity class, agent or workload, calls, when last), most calls first."""
        rows = self._world.tables.callers.get(endpoint_id, {})
        return sorted(((name, seen.calls, seen.last_seen) for name, seen in rows.items()), key=lambda row: (-row[1], row[0]))

    def readiness(self, endpoint_id: str) -> tuple[Readiness, ...]:
        """How much of the evidence that each model asks for is there. Raises LookupError."""
        return readiness(self._world.endpoints[endpoint_id])


class _World:
    """One state of things. Not changed once it is swapped in, but for what it remembers of its own conclusions."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = {e.id: e for e in endpoints}
        self.declared: dict[str, dict[str, Endpoint]] = {}
        self.scopes: dict[str, ServiceScope] = {}
        self.tables = Tables()
        self.links: tuple[Link, ...] = ()
        self.profiles: tuple[IdentityProfile, ...] = ()
        self.feed: tuple[Change, ...] = ()
        self.findings: Mapping[str, Mapping[str, int]] = {}
        self.classes: dict[str, str] = {}
        self.weaker: Mapping[str, tuple[str, ...]] = {}
        self.now = 0.0
        self.drifts: dict[str, tuple[Endpoint, Endpoint, tuple[Drift, ...]]] = {}
        """Endpoint id -> (declared, observed, differences)."""
        self.older: dict[str, tuple[Endpoint, Endpoint, tuple[Drift, ...]]] = {}
        """Those of the world before: what was not called since need not be compared again."""
        self._memo: dict[Any, Any] = {}

    def memo(self, key: Any, make: Callable[[], Any]) -> Any:
        """What was concluded before, or is now."""
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = make()
        return found

    def endpoint(self, endpoint_id: str) -> Endpoint:
        found = self.endpoints.get(endpoint_id)
        if found is None:
            raise LookupError(f"there is no API `{endpoint_id}`")
        return found

    # -- one endpoint ---------------------------------------------------------------------------------------------

    def around(self, service: str) -> lifecycle.Surroundings:
        found: lifecycle.Surroundings = self.memo(("around", service), lambda: self._survey(service))
        return found

    def _survey(self, service: str) -> lifecycle.Surroundings:
        scope = self.scopes.get(service) or ServiceScope(service)
        return lifecycle.survey(
            self._by_service().get(service, ()),
            scope,
            tuple(self.declared.get(service, {}).values()),
            deprecated=_matcher(scope.deprecated),
            admin=_matcher(scope.sensitivity),
        )

    def _by_service(self) -> dict[str, list[Endpoint]]:
        def make() -> dict[str, list[Endpoint]]:
            found: dict[str, list[Endpoint]] = {}
            for endpoint in self.endpoints.values():
                found.setdefault(endpoint.service, []).append(endpoint)
            return found

        made: dict[str, list[Endpoint]] = self.memo("services", make)
        return made

    def lifecycle(self, endpoint: Endpoint) -> Lifecycle:
        def make() -> Lifecycle:
            public = self.tables.public.get(endpoint.id, {}).get("public")
            callers = self.tables.callers.get(endpoint.id, {})
            seen = lifecycle.Exposure(
                public_calls=public.calls if public is not None else 0,
                agents=tuple(sorted(name for name, s in callers.items() if s.agent)),
                egress=endpoint.service in self.tables.egress,
                versions=tuple(sorted(self.tables.versions.get(endpoint.id, {}))),
                weaker=self.weaker.get(endpoint.id, ()),
            )
            return lifecycle.lifecycle(endpoint, self.around(endpoint.service), self.now, seen)

        found: Lifecycle = self.memo(("lifecycle", endpoint.id), make)
        return found

    def drift(self, endpoint: Endpoint) -> tuple[Drift, ...]:
        said = self.declared.get(endpoint.service, {}).get(endpoint.id)
        if said is None:
            known = self.lifecycle(endpoint)
            apart = known.state == "shadow" or (known.state == "zombie" and bool(self.around(endpoint.service).bases))
            return (undeclared(endpoint),) if apart else ()
        if not endpoint.calls and self.lifecycle(endpoint).state != "ghost":
            return ()  # the same operation is seen below another base path
        before = self.drifts.get(endpoint.id) or self.older.get(endpoint.id)
        if before is None or before[0] is not said or _moved(before[1], endpoint):
            before = (said, endpoint, drift(said, endpoint))
        self.drifts[endpoint.id] = before
        return before[2]

    def risk(self, endpoint: Endpoint) -> Risk:
        found: Risk = self.memo(
            ("risk", endpoint.id),
            lambda: risk.risk(
                endpoint, self.lifecycle(endpoint), self.drift(endpoint), self.findings.get(endpoint.id), self.classes
            ),
        )
        return found

    # -- all of them ----------------------------------------------------------------------------------------------

    def diff(self, service: str, declared: Sequence[Endpoint]) -> tuple[Drift, ...]:
        seen = self._by_service().get(service, [])
        around = lifecycle.survey([e for e in seen if e.calls], ServiceScope(service), declared)
        return service_drift(declared, seen, lambda endpoint: lifecycle.speaks(around, endpoint))

    def sensitive(self, data_class: str) -> bool:
        return risk.sensitivity(data_class, self.classes) in _SENSITIVE

    def graph(self) -> Graph:
        found: Graph = self.memo("graph", self._graph)
        return found

    def _graph(self) -> Graph:
        services = self._by_service().keys() | self.scopes.keys()
        operations = [
            Operation(
                endpoint=endpoint,
                lifecycle=self.lifecycle(endpoint),
                risk=self.risk(endpoint).score,
                callers=self._callers(endpoint, services),
                flows=self._flows(endpoint),
                public_calls=self._public(endpoint),
            )
            for endpoint in self.endpoints.values()
        ]
        names = {caller.name for operation in operations for caller in operation.callers if not caller.service}
        runs_as = [
            (service, name)
            for name in names
            if name.startswith("workload:") and (service := service_of(name.partition(":")[2])) in services
        ]
        return assemble(
            operations,
            [Leads(k.source, k.target, k.calls, k.first_seen, k.last_seen, k.evidence, k.confidence) for k in self.links],
            runs_as=runs_as,
            owners={name: scope.owner for name, scope in self.scopes.items()},
            sensitive=self.sensitive,
        )

    def _public(self, endpoint: Endpoint) -> int:
        seen = self.tables.public.get(endpoint.id, {}).get("public")
        return seen.calls if seen is not None else 0

    def _callers(self, endpoint: Endpoint, services: Iterable[str]) -> tuple[Caller, ...]:
        """Whose calls it answered; who was turned away is no caller."""
        found = [
            Caller(name, s.done, s.first_seen, s.last_seen, agent=s.agent > 0, human=name == "user" or name.startswith("user+"))
            for name, s in self.tables.callers.get(endpoint.id, {}).items()
            if s.done
        ]
        for name, s in self.tables.services.get(endpoint.id, {}).items():
            if s.done and (service := service_of(name)) in services and service != endpoint.service:
                found.append(Caller(service, s.done, s.first_seen, s.last_seen, service=True))
        return tuple(found)

    def _flows(self, endpoint: Endpoint) -> tuple[Flow, ...]:
        places: dict[tuple[str, str], list[str]] = {}
        for direction, place, name in endpoint.data_classes:
            places.setdefault((direction, name), []).append(place)
        counted: dict[tuple[str, str], list[Seen]] = {}
        for (direction, name, _), seen in self.tables.data.get(endpoint.id, {}).items():
            counted.setdefault((direction, name), []).append(seen)
        found = []
        for (direction, name), held in sorted(places.items()):
            rows = counted.get((direction, name), [])
            sure = max(_confidence(endpoint, direction, place, name) for place in held)
            found.append(
                Flow(
                    name,
                    direction,
                    tuple(held),
                    sure,
                    # What only samples and names of fields say is not counted call by call.
                    sum(s.done for s in rows) or round(sure * endpoint.calls),
                    min((s.first_seen for s in rows), default=endpoint.first_seen),
                    max((s.last_seen for s in rows), default=endpoint.last_seen),
                )
            )
        return tuple(found)

    def paths(self, limit: int) -> tuple[AttackPath, ...]:
        known: tuple[int, tuple[AttackPath, ...]] = self.memo("paths", lambda: (0, ()))
        if limit > known[0]:
            found = attack_paths(self.graph(), limit, lambda name: risk.sensitivity(name, self.classes))
            known = self._memo["paths"] = (limit, found)
        return known[1][:limit]

    def data(self) -> tuple[DataFlow, ...]:
        found: tuple[DataFlow, ...] = self.memo("data", self._data)
        return found

    def _data(self) -> tuple[DataFlow, ...]:
        found = []
        for endpoint in self.endpoints.values():
            if not endpoint.data_classes:
                continue
            callers: dict[tuple[str, str], list[tuple[str, int]]] = {}
            for (direction, name, caller), seen in self.tables.data.get(endpoint.id, {}).items():
                callers.setdefault((direction, name), []).append((caller, seen.done))
            for direction, place, name in endpoint.data_classes:
                whom = sorted(callers.get((direction, name), ()), key=lambda row: (-row[1], row[0]))
                found.append(
                    DataFlow(
                        data_class=name,
                        service=endpoint.service,
                        endpoint=endpoint.id,
                        method=endpoint.method,
                        template=endpoint.template,
                        direction=direction,
                        place=place,
                        confidence=_confidence(endpoint, direction, place, name),
                        callers=tuple(whom),
                        egress=self.lifecycle(endpoint).exposure == "external",
                    )
                )
        rank = {name: at for at, name in enumerate(reversed(tuple(risk.SENSITIVITY)))}
        return tuple(
            sorted(
                found,
                key=lambda f: (
                    rank[risk.sensitivity(f.data_class, self.classes)], f.data_class, f.service, f.template, f.method, f.direction, f.place,
                ),
            )
        )  # fmt: skip


def _moved(before: Endpoint, now: Endpoint) -> bool:
    """Whether anything was seen of an endpoint since."""
    return before.calls != now.calls or before.last_seen != now.last_seen


def _confidence(endpoint: Endpoint, direction: str, place: str, data_class: str) -> float:
    """Share of the samples that held the class at the place; 1 where the profile does not say."""
    schemas = [endpoint.query, endpoint.request] if direction == "request" else [s for _, s in endpoint.responses]
    found = [f.confidence for s in schemas for f in s.fields if f.place == place and f.data_class == data_class]
    return max(found, default=0.0) or 1.0


def _matcher(operations: Sequence[str]) -> Callable[[Endpoint], bool]:
    """A test for `an endpoint of one of these operations`; patterns were checked when the policy was."""
    patterns: list[OperationPattern] = [parse_operation(text) for text in operations]
    if not patterns:
        return lambda _: False

    def matches(endpoint: Endpoint) -> bool:
        segments = template_segments(endpoint.template.lower())
        return any(method_matches(p.method, endpoint.method) and may_match(p.folded, p.open, segments) for p in patterns)

    return matches
