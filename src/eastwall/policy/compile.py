"""`PolicySet` -> `Plan`: everything that does not depend on one call is worked out before it comes.

A plan answers "which rules are there for this operation" with one dictionary look-up; the entries are made when an operation is
first called. The slow twin that scans all policies is in the tests, and a property test holds both to the same verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

from eastwall.model.call import Mode
from eastwall.model.endpoint import Endpoint, KnownSchemas
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection
from eastwall.model.operation import Operation
from eastwall.model.snapshot import ServiceScope, Workload
from eastwall.policy.conditions import ConditionError, request_operation
from eastwall.policy.fast_path import FastPath, fast_path
from eastwall.policy.kinds import (
    AccessPolicy,
    DataPolicy,
    DetectionPolicy,
    LimitPolicy,
    PolicyException,
    PolicySet,
    Quarantine,
    SchemaPolicy,
    ToolPolicy,
    TrustZone,
    decode,
)
from eastwall.policy.parse import builtin_policies
from eastwall.policy.patterns import (
    HEAD,
    OperationPattern,
    Paths,
    head,
    head_may_match,
    is_odd,
    may_match,
    method_matches,
    must_match,
    template_segments,
)
from eastwall.policy.rollout import GuardRule
from eastwall.policy.rule_index import RuleIndex
from eastwall.policy.rules import Bound, CompiledRule
from eastwall.policy.services import referenced_files, scopes_of, trust_of
from eastwall.policy.steps.access import AccessRule
from eastwall.policy.steps.data import DataRule
from eastwall.policy.steps.detections import DetectionRule
from eastwall.policy.steps.exceptions import ExceptionRule
from eastwall.policy.steps.limits import LimitRule
from eastwall.policy.steps.quarantine import QuarantineRule
from eastwall.policy.steps.schema import SchemaRule
from eastwall.policy.steps.taints import TaintRule
from eastwall.policy.steps.tools import ToolRule
from eastwall.policy.steps.zones import ZoneRule
from eastwall.policy.world import World

__all__ = ["CompiledRule", "Plan", "Rules", "compile_plan", "referenced_files", "scopes_of", "trust_of"]

MAX_CACHED = 50_000
"""Operations whose rules are kept ready; beyond it all are worked out anew, which takes well under a millisecond each."""

MAX_VARIANTS = 64
"""Combinations of policies in and out of force that are kept ready per operation."""

COMPILED: dict[type[Any], type[Any]] = {
    AccessPolicy: AccessRule,
    LimitPolicy: LimitRule,
    DetectionPolicy: DetectionRule,
    DataPolicy: DataRule,
    SchemaPolicy: SchemaRule,
    TrustZone: ZoneRule,
    Quarantine: QuarantineRule,
    ToolPolicy: ToolRule,
    PolicyException: ExceptionRule,
}
"""What each kind that judges calls is compiled to."""


class Rules:
    """All rules for one operation, split by step, in order of evaluation."""

    __slots__ = (
        "_bound", "_variants", "allows", "builtin_detections", "data", "denies", "detections", "exceptions", "limits", "listing", "mode",
        "patterned", "pinning", "quarantines", "quiet", "reads_request", "reads_response", "schemas", "staged", "steady", "steps", "taints",
        "tools", "turning", "zones",
    )  # fmt: skip

    def __init__(self, mode: Mode, bound: Sequence[Bound[Any]], *, patterned: bool, taints: tuple[TaintRule, ...] = ()) -> None:
        steps: dict[str, list[Bound[Any]]] = {}
        for one in bound:
            steps.setdefault(one.rule.step, []).append(one)
        access, detections, data = (steps.get(step, []) for step in ("access", "detections", "data"))
        self.mode = mode
        self.steps = frozenset(steps)
        """Names of those that have rules."""
        self.staged: tuple[CompiledRule, ...] = tuple(
            one.rule for one in bound if one.mode is Mode.ENFORCE and (one.rule.share is not None or one.rule.guard is not None)
        )
        """Those that may be enforced for one call and monitored for another."""
        self._bound = bound if self.staged else ()
        self._variants: dict[tuple[bool, ...], Rules] = {}
        self.denies: tuple[Bound[AccessRule], ...] = tuple(b for b in access if b.rule.denies)
        self.allows: tuple[Bound[AccessRule], ...] = tuple(b for b in access if not b.rule.denies)
        self.limits: tuple[Bound[LimitRule], ...] = tuple(steps.get("limits", ()))
        self.detections: tuple[Bound[DetectionRule], ...] = tuple(b for b in detections if not b.rule.builtin)
        self.builtin_detections: tuple[Bound[DetectionRule], ...] = tuple(b for b in detections if b.rule.builtin)
        self.data: dict[str, tuple[Bound[DataRule], ...]] = {
            direction: tuple(b for b in data if b.rule.direction == direction) for direction in ("request", "response")
        }
        self.turning: dict[str, tuple[Bound[DataRule], ...]] = {
            direction: tuple(b for b in data if direction in b.rule.turns) for direction in ("request", "response")
        }
        """Those that turn tokens back."""
        self.schemas: tuple[Bound[SchemaRule], ...] = tuple(steps.get("schema", ()))
        reads = {way for way in self.data if self.turning[way] or any(b.rule.shape for b in self.data[way])}.union(
            *(b.rule.directions for b in self.schemas)
        )
        self.reads_request, self.reads_response = "request" in reads, "response" in reads
        """Whether bodies must be looked at whatever was found in them."""
        self.quarantines: tuple[Bound[QuarantineRule], ...] = tuple(steps.get("quarantine", ()))
        self.zones: tuple[Bound[ZoneRule], ...] = tuple(steps.get("zones", ()))
        self.tools: tuple[Bound[ToolRule], ...] = tuple(steps.get("tools", ()))
        self.listing = any(
            "request" in b.rule.directions and b.rule.needs_schema and b.rule.source != "learned" for b in self.schemas
        )
        """Whether what servers say of their tools is to be kept."""
        self.pinning = tuple(b for b in self.tools if b.rule.pinned)
        """Tool policies that look at answers."""
        self.taints = taints
        """What of the service's answers closes tools to whoever was given it, of this service or of others."""
        self.exceptions: tuple[Bound[ExceptionRule], ...] = tuple(steps.get("exceptions", ()))
        self.quiet = not (self.denies or self.allows or self.limits or self.quarantines or self.zones or self.tools)
        """A request with no findings and no sensitive data needs no look at the rules at all."""
        self.steady = not (self.quarantines or self.zones or self.tools or self.exceptions or self.limits) and all(
            b.always and b.opens and not b.rule.uses_path for b in access
        )
        """Of a request in which nothing was found, no rule looks at the path."""
        self.patterned = patterned
        """Some rule of this service looks at paths, so an odd path must be looked at."""

    def for_call(self, facts: Facts, stepped_back: Container[str]) -> Rules:
        """The rules as they stand for one call: what is not rolled out to it, or has stepped back, is monitored."""
        held = tuple(
            [rule.name in stepped_back or (rule.share is not None and not rule.share.holds(facts)) for rule in self.staged]
        )
        if True not in held:
            return self
        found = self._variants.get(held)
        if found is None:
            if len(self._variants) >= MAX_VARIANTS:
                self._variants.clear()
            back = {id(rule) for rule, monitored in zip(self.staged, held, strict=True) if monitored}
            bound = [one.monitored() if id(one.rule) in back else one for one in self._bound]
            found = self._variants[held] = Rules(self.mode, bound, patterned=self.patterned, taints=self.taints)
        return found


Key = tuple[str, str, str | None, tuple[tuple[str | None, ...], ...]]
"""(service, method, endpoint id or None, for paths without an endpoint: the heads of their readings)."""


class Plan:
    """The compiled policies of one snapshot."""

    __slots__ = (
        "_by_path",
        "_by_service",
        "_cache",
        "_exposures",
        "_heads",
        "_methods",
        "_modes",
        "_shared",
        "_taints",
        "fast",
        "rules",
    )

    def __init__(self, rules: Sequence[CompiledRule], services: Sequence[ServiceScope]) -> None:
        self.rules = tuple(rules)
        patterns = [pattern for rule in rules for pattern in rule.patterns]
        self._modes = {scope.name: scope.mode for scope in services}
        self._exposures = {scope.name: scope.exposure for scope in services}
        self._methods = {"GET", "HEAD"} | {pattern.method for pattern in patterns}
        self._heads = tuple(
            frozenset(want for p in patterns for want in p.folded[place : place + 1] if isinstance(want, str))
            for place in range(HEAD)
        )
        sources = [one for rule in rules if isinstance(rule, ToolRule) and rule.mode is not Mode.DISCOVER for one in rule.taints]
        self._taints = tuple({source.name: source for source in sources}.values())
        self._by_service: dict[str, RuleIndex] = {}
        self._cache: dict[tuple[str, str, str], Rules] = {}
        self._by_path: dict[Key, Rules] = {}
        self._shared: dict[Any, Any] = {}
        self.fast: dict[str, FastPath] = {}
        """Endpoint id -> its fast path, once it was called."""

    def rules_for(self, service: str, method: str, endpoint: Endpoint | None, operation: Operation) -> Rules:
        """The rules of an operation. `operation` is the request's."""
        if endpoint is None:
            return self._unknown(service, method, operation)
        found = self._cache.get((service, method, endpoint.id))
        if found is None:
            found = self._known(service, method, endpoint)
        # What an odd path is to its service, the inventory cannot know: it is judged by its readings.
        if found.patterned and is_odd(operation.path):
            return self._unknown(service, method, operation)
        return found

    def data_classes(self, direction: str) -> frozenset[str]:
        """Classes that some policy, of any service, asks for in this direction."""
        rules = [rule for rule in self.rules if isinstance(rule, DataRule) and rule.direction == direction]
        counted = self.counted_classes() if direction == "response" else frozenset()
        tainting = (source.classes for source in self._taints) if direction == "response" else ()
        return counted.union(*(rule.classes for rule in rules), *tainting)

    def counted_classes(self) -> frozenset[str]:
        """Classes of which some policy counts the values in answers."""
        return frozenset(name for rule in self.rules if isinstance(rule, LimitRule) for name in rule.classes)

    def guards(self) -> dict[str, GuardRule]:
        """Guards of enforced policies, by the policy's name."""
        return {rule.name: rule.guard for rule in self.rules if rule.guard is not None and rule.mode is Mode.ENFORCE}

    def guarding(self, facts: Facts, names: Container[str]) -> list[str]:
        """Those of the enforced policies `names` that are about the operation of a call, and in force for it."""
        call = facts.call
        rules = self.rules_for(call.service, call.request.method, facts.match.endpoint, request_operation(facts))
        return [
            rule.name for rule in rules.staged if rule.name in names and (rule.services is None or rule.services(call.service))
        ]

    def _known(self, service: str, method: str, endpoint: Endpoint) -> Rules:
        # Methods that no policy names are one and the same, or a caller could fill the cache with methods of his own making.
        known = method if method in self._methods else "?"
        found = self._cache.get((service, known, endpoint.id))
        if found is None:
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
                self.fast.clear()
            found = self._bind(service, known, _template_test(endpoint), template_segments(endpoint.template.lower()))
            self._cache[service, known, endpoint.id] = found
            if (service, method) == (endpoint.service, endpoint.method):
                fast = fast_path(found, service, method, lambda value: self._shared.setdefault(value, value))
                if fast is not None:
                    self.fast[endpoint.id] = fast
        return found

    def _unknown(self, service: str, method: str, operation: Operation) -> Rules:
        known = method if method in self._methods else "?"
        paths = Paths(operation.path, operation.segments)
        heads = tuple(dict.fromkeys(head(way, self._heads) for way in paths.folded))
        key = (service, known, None, heads)
        found = self._by_path.get(key)
        if found is None:
            if len(self._by_path) >= MAX_CACHED:
                self._by_path.clear()
            found = self._by_path[key] = self._bind(service, known, _head_test(heads))
        return found

    def _bind(self, service: str, method: str, test: PathTest, template: Sequence[str | None] | None = None) -> Rules:
        """`template`: folded, of the endpoint whose rules these are; None: all rules are looked at."""
        scope_mode = self._modes.get(service, Mode.DISCOVER)
        bound: list[Bound[CompiledRule]] = []
        index = self._rules_of(service)
        for rule in index.rules if template is None else index.for_template(template):
            mode = min(rule.mode, scope_mode)
            if mode is Mode.DISCOVER:
                continue
            if not rule.patterns:
                bound.append(Bound(rule, mode, (), always=True, opens=True))
                continue
            tested = [(p, *test(p)) for p in rule.patterns if method_matches(p.method, method)]
            possible = tuple(pattern for pattern, may, _, _ in tested if may)
            if possible:
                always = any(always for _, _, always, _ in tested)
                opens = any(opens for _, _, _, opens in tested)
                bound.append(Bound(rule, mode, possible, always=always, opens=opens))
        taints = self._taints and tuple(one for one in self._taints if one.fits(service, self._exposures.get(service, "")))
        return Rules(scope_mode, bound, patterned=index.patterned, taints=taints)

    def _rules_of(self, service: str) -> RuleIndex:
        found = self._by_service.get(service)
        if found is None:
            if len(self._by_service) >= MAX_CACHED:
                self._by_service.clear()
            exposure = self._exposures.get(service, "")
            found = self._by_service[service] = RuleIndex(
                rule
                for rule in self.rules
                if rule.mode is not Mode.DISCOVER
                and (rule.services is None or rule.services(service))
                and (not isinstance(rule, DataRule) or not rule.exposure or exposure in rule.exposure)
            )
        return found


PathTest = Callable[[OperationPattern], tuple[bool, bool, bool]]
"""Of a pattern, for a group of paths: some may be in it; all are; all are to the letter."""


def _template_test(endpoint: Endpoint) -> PathTest:
    template = template_segments(endpoint.template)
    folded = template_segments(endpoint.template.lower())
    return lambda p: (
        may_match(p.folded, p.open, folded),
        must_match(p.folded, p.open, folded),
        must_match(p.segments, p.open, template),
    )


def _head_test(heads: Sequence[Sequence[str | None]]) -> PathTest:
    return lambda p: (any(head_may_match(p.folded, p.open, start) for start in heads), False, False)


def compile_plan(
    data: bytes,
    *,
    services: Sequence[ServiceScope],
    endpoints: Sequence[Endpoint],
    detections: Sequence[Detection],
    workloads: Sequence[Workload] = (),
    schemas: Sequence[KnownSchemas] = (),
    key: bytes = b"",
) -> Plan:
    """Compile a snapshot's policy set; empty bytes are the built-in policies alone. `key`: the installation's, for who is in a roll-out.

    Raises `ValueError` with one line, naming the policy's file and line, on content that `parse_files` would not have let pass.
    """
    # Rules are bound to operations when these are first called; what `endpoints` are there now makes no difference to a verdict.
    del endpoints
    policies: PolicySet = decode(data) if data else PolicySet(builtin_policies())
    world = World({detection.id: detection.default_action for detection in detections}, policies, services, workloads, key)
    world.schemas = {known.endpoint: known for known in schemas}
    rules: list[CompiledRule] = []
    for policy in policies.policies:
        if type(policy.spec) not in COMPILED:
            continue
        try:
            rules.append(COMPILED[type(policy.spec)](policy, policy.spec, world))
        except (ConditionError, ValueError) as error:
            raise ValueError(f"{policy.location}: policy `{policy.name}`: {error}") from None
    return Plan(rules, services)
