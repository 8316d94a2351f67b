"""What rules are compiled against, beside their own text: detections, and who is in which zone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from eastwall.model.endpoint import KnownSchemas
from eastwall.model.identity import Identity, Strength
from eastwall.model.snapshot import ServiceScope, Workload
from eastwall.policy.kinds import Identities, Members, PolicySet, TrustZone
from eastwall.policy.patterns import compile_globs
from eastwall.policy.selecting import Selector, agent_strength, compile_selector
from eastwall.policy.workloads import Carrier, carriers

MAX_CACHED = 20_000
"""Names of services whose zones are kept."""


def _never(_: str) -> bool:
    return False


class Zone:
    """The members of one TrustZone."""

    __slots__ = ("_agents", "_any_caller", "_labels", "_loose", "_namespaces", "_services", "_strict", "_world", "name")

    def __init__(self, name: str, members: Members, world: World) -> None:
        self.name, self._world = name, world
        self._services = compile_globs(members.services) or _never
        self._namespaces = compile_globs(members.namespaces) or _never
        self._labels = compile_globs(members.labels) or _never
        self._agents = compile_globs(members.agents)
        self._any_caller = members.identities != Identities()
        self._strict = compile_selector(members.identities, loosens=True, world=world)
        self._loose = compile_selector(members.identities, loosens=False, world=world)

    def has_service(self, name: str) -> bool:
        """Whether a service is in the zone."""
        if self._services(name):
            return True
        labels = self._world.service_labels.get(name, {})
        namespace = labels.get("namespace")
        if namespace is not None and self._namespaces(namespace):
            return True
        return any(self._labels(f"{key}={value}") for key, value in labels.items())

    def has_caller(self, identity: Identity, *, loosens: bool, strength: Strength | None = None) -> bool:
        """Whether a caller is in the zone. `loosens`: its membership opens something, so it must be proved; otherwise a claim is enough.
        `strength`: how well, at least, where that was named."""
        least = strength if strength is not None else Strength.ASSERTED if loosens else Strength.NONE
        if self._any_caller:
            selects = self._strict if loosens else self._loose
            if (selects is None or selects(identity)) and (strength is None or identity.strength >= strength):
                return True
        agents = self._agents
        if agents is not None and identity.agent and agents(identity.agent) and agent_strength(identity) >= least:
            return True
        return any(one.strength >= least and self._has(one, loosens=loosens) for one in carriers(identity, loosens=loosens))

    def _has(self, carrier: Carrier, *, loosens: bool) -> bool:
        if carrier.namespace and self._namespaces(carrier.namespace):
            return True
        if any(map(self._labels, self._world.workload_labels(carrier.name, loosens=loosens))):
            return True
        service = carrier.account
        home = self._world.service_labels.get(service, {}).get("namespace")
        return (home is None or home == carrier.namespace) and service in self._world.services and self.has_service(service)


class World:
    """What is known of the detections, and what policies say that others refer to."""

    __slots__ = (
        "_labels",
        "_selectors",
        "_zones_of",
        "default_actions",
        "external",
        "key",
        "schemas",
        "service_labels",
        "services",
        "zones",
    )

    def __init__(
        self,
        default_actions: Mapping[str, str],
        policies: PolicySet | None = None,
        services: Sequence[ServiceScope] = (),
        workloads: Sequence[Workload] = (),
        key: bytes = b"",
    ) -> None:
        self.key = key
        """The installation's, for who is in a roll-out."""
        self.default_actions = default_actions
        """Detection id -> what it does of itself."""
        self.services = frozenset(scope.name for scope in services)
        self.service_labels = {scope.name: dict(scope.labels) for scope in services if scope.labels}
        self.external = {scope.name: (scope.name, *scope.hosts) for scope in services if scope.exposure == "external"}
        """Third parties -> their names."""
        self.schemas: Mapping[str, KnownSchemas] = {}
        """Endpoint id -> what is known of its messages."""
        self._selectors: dict[tuple[Identities, bool], Selector | None] = {}
        self._labels: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        self._zones_of: dict[str, frozenset[str]] = {}
        for workload in workloads:
            labels = frozenset(f"{name}={value}" for name, value in workload.labels)
            every, some = self._labels.get(workload.name, (labels, labels))
            self._labels[workload.name] = (every & labels, some | labels)
        zones = [policy for policy in policies.policies if isinstance(policy.spec, TrustZone)] if policies else []
        self.zones: dict[str, Zone] = {}
        for policy in zones:
            assert isinstance(policy.spec, TrustZone)
            self.zones[policy.name] = Zone(policy.name, policy.spec.members, self)

    def selector(self, identities: Identities, *, loosens: bool) -> Selector | None:
        """A test of callers; None selects everybody. `loosens`: see `Identities.strength`."""
        # Many policies select the same callers: one test for all of them stays in the processor's cache.
        key = (identities, loosens)
        if key not in self._selectors:
            self._selectors[key] = compile_selector(identities, loosens=loosens, world=self)
        return self._selectors[key]

    def zones_of(self, service: str) -> frozenset[str]:
        """Names of the zones that a service is in."""
        found = self._zones_of.get(service)
        if found is None:
            if len(self._zones_of) >= MAX_CACHED:
                self._zones_of.clear()
            found = self._zones_of[service] = frozenset(name for name, zone in self.zones.items() if zone.has_service(service))
        return found

    def service_test(self, services: Sequence[str], zones: Sequence[str]) -> Callable[[str], bool] | None:
        """A test of services by name and by zone, both of which must agree where they are given; None: all."""
        named, zoned = compile_globs(services), compile_globs(zones)
        if zoned is None:
            return named
        return lambda service: (named is None or named(service)) and any(map(zoned, self.zones_of(service)))

    def zones_named(self, globs: Sequence[str]) -> tuple[Zone, ...]:
        test = compile_globs(globs)
        return tuple(zone for name, zone in self.zones.items() if test is not None and test(name))

    def workload_labels(self, name: str, *, loosens: bool) -> frozenset[str]:
        """Labels of a workload, `NAME=VALUE`: where they open something those that all its instances bear, otherwise those of any."""
        every, some = self._labels.get(name, _NO_LABELS)
        return every if loosens else some


_NO_LABELS: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
