"""Snapshot (a file's content) -> LiveSnapshot (what `decide` reads): look-up tables instead of lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from eastwall.behaviours import World, compile_known
from eastwall.behaviours.functions.matrix import Novelty, changed_by, function_use, novelty
from eastwall.decision.expected import outside, ranges_of
from eastwall.decision.grants import HeldObjects
from eastwall.decision.sent import sent_by
from eastwall.detections import Detector, Detectors
from eastwall.detections.packs import Packs
from eastwall.detections.prefilter import Prefilter
from eastwall.discovery.data_classes import BY_NAME, DataClasses, compile_classes
from eastwall.discovery.identity import Trust, compile_trust
from eastwall.discovery.inventory import Inventory, compile_inventory
from eastwall.discovery.privilege import privileged
from eastwall.model.endpoint import Endpoint, ObjectParameter
from eastwall.model.facts import FunctionUse, ValueUse
from eastwall.model.operation import Operation
from eastwall.model.snapshot import ServiceScope, Snapshot
from eastwall.policy import content_rules, decode, scope_of
from eastwall.policy.compile import Plan, compile_plan
from eastwall.protocols.decode import prepare
from eastwall.protocols.limits import Limits

if TYPE_CHECKING:
    from eastwall.protocols.grpc import Descriptors

UNKNOWN_SCOPE = ServiceScope(name="")
"""How a service is treated that no snapshot names yet: discover, fail open."""

MIN_CLASS_CALLS = 5
"""With fewer clean calls of an identity class, the union over all classes speaks for it."""


class Profile:
    """An endpoint's learned behaviour, ready for look-up."""

    __slots__ = (
        "_classes",
        "_functions",
        "_known",
        "_lone",
        "_maps",
        "_new",
        "_ranges",
        "accustomed",
        "endpoint",
        "exclusive",
        "naming",
        "response_only",
    )

    def __init__(
        self, endpoint: Endpoint, lone: frozenset[str] = frozenset(), new: tuple[Novelty | None, Novelty | None] = (None, None)
    ) -> None:
        """`lone`: identity classes of the service that have a single actor; `new`: see `function_use`."""
        calls = dict(endpoint.property_calls)
        self.endpoint = endpoint
        self.exclusive: dict[str, ObjectParameter] = {o.place: o for o in endpoint.objects if o.exclusive}
        self.naming = frozenset(o.place for o in endpoint.objects)
        """Places that name objects."""
        self.response_only = frozenset(endpoint.response_only)
        self.accustomed = {(detection, place): calls for detection, place, calls in endpoint.accustomed}
        self._classes = {cls: (frozenset(places), calls.get(cls, 0)) for cls, places in endpoint.properties}
        self._maps = tuple({f.place.partition("{}")[0] for f in endpoint.request.fields if "{}" in f.place})
        self._lone = lone
        self._new = new
        self._functions: dict[str, FunctionUse | None] = {}
        self._ranges = ranges_of(endpoint)
        # Bodies of one operation come in few combinations of properties; each is compared once per class.
        self._known: dict[tuple[str, tuple[str, ...]], tuple[tuple[str, ...], int]] = {}

    def function(self, cls: str, totals: Counter[str], changed: Counter[str] | None = None) -> FunctionUse | None:
        """What is strange about this class calling the operation; None when it uses it, or too little is learned. `totals`: clean calls
        of each class in the whole service; `changed`: those of them that changed something."""
        if cls in self._functions:
            return self._functions[cls]
        if len(self._functions) > 1_000:
            self._functions.clear()
        use = self._functions[cls] = function_use(
            self.endpoint, cls, totals, lone=cls in self._lone, changed=changed, new=self._new
        )
        return use

    def out_of_range(self, operation: Operation) -> tuple[ValueUse, ...]:
        """Numbers of the request outside what was learned."""
        return outside(self._ranges, operation) if self._ranges is not None else ()

    def unknown_properties(self, cls: str, places: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        """Those of `places` the class never sent, and the clean calls that this rests on. Nothing while still learning."""
        known = self._known.get((cls, places))
        if known is None:
            allowed, calls = self._classes.get(cls, (frozenset(), 0))
            if calls < MIN_CLASS_CALLS:
                allowed, calls = self._classes.get("*", (frozenset(), 0))
            # A new key of a map is nothing new, unless its name means privilege.
            unknown = (
                tuple(p for p in places if p not in allowed and (privileged(p) or not p.startswith(self._maps))) if calls else ()
            )
            if len(self._known) > 1_000:
                self._known.clear()
            known = self._known[(cls, places)] = (unknown, calls)
        return known


class LiveSnapshot:
    """An immutable world for `decide`. Swapped whole; a call that began under one may end under the next."""

    __slots__ = (
        "_descriptors",
        "behaviours",
        "class_calls",
        "class_changes",
        "counted",
        "data_asked",
        "data_classes",
        "data_skip",
        "detectors",
        "exclusive_kinds",
        "flow_kinds",
        "guards",
        "hash_key",
        "inventory",
        "limits",
        "own_kinds",
        "ownership",
        "packs",
        "plan",
        "policy_status",
        "prefilter",
        "profiles",
        "rearmed",
        "scopes",
        "sent",
        "stepped_back",
        "trust",
        "version",
    )

    def __init__(self, snapshot: Snapshot, detectors: Sequence[Detector], prefilter: Prefilter) -> None:
        """Raises what `compile_trust` and `compile_plan` raise on content that control should not have published."""
        self.version = snapshot.version
        self.policy_status = snapshot.policy_status
        self.hash_key = snapshot.hash_key
        self.scopes = {scope.name: scope for scope in snapshot.services}
        self.trust: Trust = compile_trust(snapshot.trust, snapshot.hash_key, snapshot.identity_classes)
        self.inventory: Inventory = compile_inventory(snapshot.endpoints)
        self.packs = _packs(snapshot)
        own = (self.packs.detector(),) if self.packs.rules else ()
        self.detectors = Detectors((*(d for d in detectors if d.meta.id not in snapshot.detections_off), *own))
        self.prefilter = prefilter
        metas = [*(d.meta for d in detectors), *self.packs.details()]
        self.plan: Plan = compile_plan(
            snapshot.policy,
            services=snapshot.services,
            endpoints=snapshot.endpoints,
            detections=metas,
            workloads=snapshot.trust.workloads,
            schemas=snapshot.schemas,
            key=snapshot.hash_key,
        )
        self.data_classes: DataClasses = compile_classes(snapshot.data_classes)
        self.guards = self.plan.guards()
        self.stepped_back, self.rearmed = snapshot.stepped_back, snapshot.rearmed
        self.counted = self.plan.counted_classes()
        """Classes of which some policy counts the values that are given."""
        asked = {way: self.plan.data_classes(way) for way in ("request", "response")}
        self.data_asked = frozenset(way for way, classes in asked.items() if classes)
        """Directions in which some policy is about data."""
        # What only fields' names give away is common, and a walk each time: where no policy asks for it, the sampled calls say enough.
        self.data_skip = {way: BY_NAME - classes for way, classes in asked.items()}
        lone = _lone_classes(snapshot.endpoints)
        new = novelty(snapshot.endpoints)
        self.profiles = {
            e.id: Profile(e, lone[e.service], (new.get((e.service, False)), new.get((e.service, True))))
            for e in snapshot.endpoints
        }
        self.sent = sent_by(snapshot.endpoints)
        """(service, identity class) -> the properties that its callers send."""
        self.class_calls: dict[str, Counter[str]] = {endpoint.service: Counter() for endpoint in snapshot.endpoints}
        """Service -> identity class -> clean calls."""
        for endpoint in snapshot.endpoints:
            self.class_calls[endpoint.service].update({cls: calls for cls, calls, _ in endpoint.users})
        self.class_changes = changed_by(snapshot.endpoints)
        """Service -> identity class -> clean calls that changed something."""
        self.behaviours = compile_known(snapshot.behaviours, World(snapshot.endpoints, snapshot.hash_key, self.inventory))
        """What each model of `behaviours` knows."""
        self.exclusive_kinds = _exclusive_kinds(snapshot.endpoints)
        """Service -> kind -> what is known of its objects: for operations that nobody used before."""
        self.own_kinds = frozenset(one.kind for endpoint in snapshot.endpoints for one in endpoint.objects if one.own_names)
        """Kinds of objects that are the callers themselves: a caller's own name is its own, also when no answer gave it yet."""
        self.flow_kinds = _flow_kinds(snapshot.endpoints)
        """Service -> kinds of objects whose flows have a learned order."""
        self.ownership = HeldObjects(snapshot.holdings) if snapshot.holdings.count else dict(snapshot.ownership)
        self.limits = Limits()
        self._descriptors = _descriptors(snapshot.descriptors)
        prepare({endpoint.protocol for endpoint in snapshot.endpoints})  # not the first call is to wait for a parser

    def descriptors(self, service: str) -> Descriptors | None:
        """How gRPC messages of a service are read; None: by their wire format alone."""
        if self._descriptors is None:
            return None
        return self._descriptors.get(service) or self._descriptors[""]

    def scope(self, service: str) -> ServiceScope:
        return self.scopes.get(service, UNKNOWN_SCOPE)


def _packs(snapshot: Snapshot) -> Packs:
    """The rules of the policy's packs, as control compiled them; compiled here where that does not fit this machine."""
    if not snapshot.policy:
        return Packs(())
    policies = decode(snapshot.policy)
    rules = content_rules(policies)
    on = tuple(rule for rule in rules if rule.id not in snapshot.detections_off)
    return Packs(on, policies.rule_automata if on == rules else b"", scope_of)


def _exclusive_kinds(endpoints: Sequence[Endpoint]) -> dict[str, dict[str, ObjectParameter]]:
    found: dict[str, dict[str, ObjectParameter]] = {}
    for endpoint in endpoints:
        for one in endpoint.objects:
            if one.exclusive:
                known = found.setdefault(endpoint.service, {})
                if one.kind not in known or known[one.kind].confidence < one.confidence:
                    known[one.kind] = one
    return found


def _flow_kinds(endpoints: Sequence[Endpoint]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for endpoint in endpoints:
        if endpoint.after or endpoint.once:
            kinds = found.setdefault(endpoint.service, set())
            kinds.update(one.kind for one in endpoint.after)
            kinds.update(endpoint.once[:1] if endpoint.once else ())
    return {service: frozenset(kinds) for service, kinds in found.items()}


def _lone_classes(endpoints: Sequence[Endpoint]) -> dict[str, frozenset[str]]:
    """Service -> identity classes that never had two actors."""
    most: dict[str, Counter[str]] = {endpoint.service: Counter() for endpoint in endpoints}
    for endpoint in endpoints:
        for cls, _, actors in endpoint.users:
            most[endpoint.service][cls] = max(most[endpoint.service][cls], actors)
    return {service: frozenset(cls for cls, actors in counts.items() if actors < 2) for service, counts in most.items()}


def _descriptors(pairs: tuple[tuple[str, bytes], ...]) -> dict[str, Descriptors] | None:
    """By service, and under the empty name those of all services."""
    if not pairs:
        return None
    from eastwall.protocols.grpc import compile_descriptors  # protobuf is loaded where it is needed only

    whole = compile_descriptors(pairs)
    return {service: whole.of(service) for service, _ in pairs} | {"": whole}
