"""`PolicySet` -> `Plan`: everything that does not depend on one call is worked out before it comes.

A plan answers "which rules are there for this operation" with one dictionary look-up; the entries are made when an operation is
first called. The slow twin that scans all policies is in the tests, and a property test holds both to the same verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from eastwall.model.call import Mode
from eastwall.model.decision import PolicyMatch
from eastwall.model.endpoint import Endpoint
from eastwall.model.finding import CONFIDENCES, SEVERITIES, Detection
from eastwall.model.identity import Identity, Strength
from eastwall.model.operation import Operation
from eastwall.model.snapshot import ServiceScope
from eastwall.policy.conditions import Condition, ConditionError
from eastwall.policy.kinds import (
    BUILTIN,
    AccessPolicy,
    DataClass,
    DataPolicy,
    DetectionPolicy,
    Identities,
    LimitPolicy,
    Policy,
    PolicySet,
    Rule,
    RulePack,
    Service,
    decode,
)
from eastwall.policy.limits import parse_rate
from eastwall.policy.parse import builtin_policies
from eastwall.policy.patterns import (
    HEAD,
    OperationPattern,
    Paths,
    compile_globs,
    head,
    head_may_match,
    is_odd,
    may_match,
    method_matches,
    must_match,
    parameters,
    parse_operation,
    segments_match,
    template_segments,
)
from eastwall.policy.services import referenced_files, scopes_of, trust_of

__all__ = ["CompiledRule", "Plan", "Rules", "compile_plan", "referenced_files", "scopes_of", "trust_of"]

MAX_CACHED = 50_000
"""Operations whose rules are kept ready; beyond it all are worked out anew, which takes well under a millisecond each."""
MODES = {"discover": Mode.DISCOVER, "monitor": Mode.MONITOR, "enforce": Mode.ENFORCE}
STRENGTHS = {strength.name.lower(): strength for strength in Strength}
Selector = Callable[[Identity], bool]


def compile_selector(identities: Identities, *, loosens: bool) -> Selector | None:
    """A test of callers; None selects everybody. `loosens`: see `Identities.strength`."""
    if identities == Identities():
        return None
    named = STRENGTHS[identities.strength] if identities.strength is not None else None
    least = named if named is not None else Strength.ASSERTED if loosens else Strength.NONE
    # Addresses are seen on the wire and never claimed: the implied minimum is not meant for them.
    address_least = named if named is not None else Strength.NONE
    actors, classes, tenants = (
        compile_globs(identities.actors),
        compile_globs(identities.classes),
        compile_globs(identities.tenants),
    )
    kinds, roles, scopes = frozenset(identities.kinds), frozenset(identities.roles), frozenset(identities.scopes)

    def selects(identity: Identity) -> bool:
        strength = identity.strength
        if actors is not None and not actors(identity.actor):
            # Not who really calls, but somebody on the way (a workload that carries a user's token): its own strength counts.
            proofs = [
                p.strength
                for p in identity.chain
                if actors(f"{p.kind}:{p.name}") and p.strength >= (address_least if p.kind == "address" else least)
            ]
            if not proofs:
                return False
        elif strength < (address_least if identity.kind == "address" else least):
            return False
        return (
            (classes is None or classes(identity.cls))
            and (not kinds or identity.kind in kinds)
            and (not roles or not roles.isdisjoint(identity.roles))
            and (not scopes or not scopes.isdisjoint(identity.scopes))
            and (tenants is None or tenants(identity.tenant))
        )

    return selects


class CompiledRule:
    """One policy, ready to be asked."""

    __slots__ = (
        "builtin", "burst", "classes", "conditions", "default_actions", "detects", "exempt", "interval", "kind",
        "least_confidence", "least_severity", "limit", "location", "mode", "name", "on_error", "patterns", "per",
        "period", "rate", "reason", "selects", "services", "spec", "style", "to_pass", "uses_path",
    )  # fmt: skip

    def __init__(self, policy: Policy, default_actions: Mapping[str, str]) -> None:
        spec = cast("Rule", policy.spec)
        self.name, self.location, self.kind, self.spec = policy.name, policy.location, policy.kind, spec
        self.builtin = policy.name.startswith(BUILTIN)
        self.mode, self.on_error, self.reason = MODES[spec.mode], spec.on_error, spec.reason
        self.services = compile_globs(spec.scope.services)
        self.patterns = tuple(parse_operation(text) for text in spec.scope.operations)
        self.conditions = tuple(Condition(text) for text in spec.when)
        self.uses_path = any(condition.uses_path for condition in self.conditions)
        loosens = isinstance(spec, AccessPolicy) and spec.action == "allow"
        self.selects = compile_selector(spec.scope.identities, loosens=loosens)
        self.exempt: Selector | None = None
        self.to_pass = _to_pass(spec)
        match spec:
            case LimitPolicy():
                self.rate = spec.rate
                self.limit, self.period = parse_rate(spec.rate)
                self.interval = self.period / self.limit
                self.burst = spec.burst or max(1, round(1.0 / self.interval))
                self.per = frozenset(spec.per)
            case DataPolicy():
                self.classes: frozenset[str] = frozenset(spec.classes)
                self.style: str = spec.action
                if spec.exempt is not None:
                    self.exempt = compile_selector(spec.exempt, loosens=True)
            case DetectionPolicy():
                self.detects = compile_globs(spec.detections)
                self.least_severity = SEVERITIES.index(spec.min_severity)
                self.least_confidence = CONFIDENCES.index(spec.min_confidence)
                self.default_actions = default_actions
            case AccessPolicy():
                pass


def _to_pass(spec: Rule) -> str:
    """What would make a call pass that this policy stops, where that is the same for all calls."""
    who = _selector_words(spec.scope.identities)
    holds = " and ".join(f"`{text}`" for text in spec.when)
    match spec:
        case AccessPolicy(action="allow"):
            parts = [f"be a caller with {who}" if who else "", f"meet {holds}" if holds else ""]
            return ", and ".join(part for part in parts if part)
        case AccessPolicy():
            parts = [f"call with other than {who}" if who else "", f"not meet {holds}" if holds else ""]
            return ", or ".join(part for part in parts if part) or "nothing passes: the policy denies this operation to everybody"
        case DataPolicy():
            exempt = _selector_words(spec.exempt) if spec.exempt is not None else ""
            return f"send no {', '.join(spec.classes)}" + (f", or be a caller with {exempt}" if exempt else "")
        case _:
            return ""


def _selector_words(identities: Identities) -> str:
    words = [
        f"{name} {' or '.join(getattr(identities, name))}"
        for name in ("actors", "classes", "kinds", "roles", "scopes", "tenants")
        if getattr(identities, name)
    ]
    if identities.strength is not None:
        words.append(f"an identity that is at least {identities.strength}")
    return ", ".join(words)


class Bound:
    """A rule as it stands for one operation: with its effective mode, and what must still be looked at in each call's path."""

    __slots__ = ("allowing", "always", "mode", "opens", "patterns", "rule")

    def __init__(
        self, rule: CompiledRule, mode: Mode, patterns: tuple[OperationPattern, ...], *, always: bool, opens: bool
    ) -> None:
        self.rule, self.mode, self.patterns = rule, mode, patterns
        self.allowing = PolicyMatch(
            rule.name, rule.kind, rule.location, mode, "allow", rule.reason or "the policy allows this caller"
        )
        """What is recorded when an `allow` lets a call in."""
        self.always = always
        """Every path of this operation is in scope."""
        self.opens = opens
        """Every path of this operation is in scope when read to the letter: what an `allow` needs to let a call in."""

    def covers(self, paths: Paths) -> bool:
        """Whether some reading of the path is in scope; services may ignore case, so this does."""
        if self.always:
            return True
        return any(segments_match(p.folded, p.open, way) for p in self.patterns for way in paths.folded)

    def admits(self, paths: Paths) -> bool:
        """Whether every reading of the path is in scope, to the letter."""
        return self.opens or all(any(segments_match(p.segments, p.open, way) for p in self.patterns) for way in paths.plain)

    def params(self, paths: Paths) -> dict[str, str]:
        """Path parameters under the names of the policy's own pattern."""
        if any(pattern.names for pattern in self.patterns):
            for way, folded in zip(paths.plain, paths.folded, strict=True):
                for pattern in self.patterns:
                    if segments_match(pattern.folded, pattern.open, folded):
                        return parameters(pattern, way)
        return {}


class Rules:
    """All rules for one operation, split by step, in order of evaluation."""

    __slots__ = ("allows", "builtin_detections", "data", "denies", "detections", "limits", "mode", "patterned", "quiet")

    def __init__(self, mode: Mode, bound: Sequence[Bound], *, patterned: bool) -> None:
        def of(kind: type, **fields: str) -> tuple[Bound, ...]:
            return tuple(
                b for b in bound if isinstance(b.rule.spec, kind) and all(getattr(b.rule.spec, k) == v for k, v in fields.items())
            )

        self.mode = mode
        self.denies = of(AccessPolicy, action="deny")
        self.allows = of(AccessPolicy, action="allow")
        self.limits = of(LimitPolicy)
        self.data = {"request": of(DataPolicy, direction="request"), "response": of(DataPolicy, direction="response")}
        detections = of(DetectionPolicy)
        self.detections = tuple(b for b in detections if not b.rule.builtin)
        self.builtin_detections = tuple(b for b in detections if b.rule.builtin)
        self.quiet = not (self.denies or self.allows or self.limits)
        """A request with no findings and no sensitive data needs no look at the rules at all."""
        self.patterned = patterned
        """Some rule of this service looks at paths, so an odd path must be looked at."""


Key = tuple[str, str, str | None, tuple[tuple[str | None, ...], ...]]
"""(service, method, endpoint id or None, for paths without an endpoint: the heads of their readings)."""


class Plan:
    """The compiled policies of one snapshot."""

    __slots__ = ("_by_path", "_by_service", "_cache", "_heads", "_methods", "_modes", "rules")

    def __init__(self, rules: Sequence[CompiledRule], services: Sequence[ServiceScope]) -> None:
        self.rules = tuple(rules)
        patterns = [pattern for rule in rules for pattern in rule.patterns]
        self._modes = {scope.name: scope.mode for scope in services}
        self._methods = {"GET", "HEAD"} | {pattern.method for pattern in patterns}
        self._heads = tuple(
            frozenset(want for p in patterns for want in p.folded[place : place + 1] if isinstance(want, str))
            for place in range(HEAD)
        )
        self._by_service: dict[str, tuple[CompiledRule, ...]] = {}
        self._cache: dict[tuple[str, str, str], Rules] = {}
        self._by_path: dict[Key, Rules] = {}

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
        specs = [rule.spec for rule in self.rules]
        return frozenset(name for s in specs if isinstance(s, DataPolicy) and s.direction == direction for name in s.classes)

    def _known(self, service: str, method: str, endpoint: Endpoint) -> Rules:
        # Methods that no policy names are one and the same, or a caller could fill the cache with methods of his own making.
        known = method if method in self._methods else "?"
        found = self._cache.get((service, known, endpoint.id))
        if found is None:
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
            found = self._bind(service, known, _template_test(endpoint))
            self._cache[service, known, endpoint.id] = found
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

    def _bind(self, service: str, method: str, test: PathTest) -> Rules:
        scope_mode = self._modes.get(service, Mode.DISCOVER)
        bound: list[Bound] = []
        patterned = False
        for rule in self._rules_of(service):
            mode = min(rule.mode, scope_mode)
            if mode is Mode.DISCOVER:
                continue
            if not rule.patterns:
                bound.append(Bound(rule, mode, (), always=True, opens=True))
                continue
            patterned = True
            tested = [(p, *test(p)) for p in rule.patterns if method_matches(p.method, method)]
            possible = tuple(pattern for pattern, may, _, _ in tested if may)
            if possible:
                always = any(always for _, _, always, _ in tested)
                opens = any(opens for _, _, _, opens in tested)
                bound.append(Bound(rule, mode, possible, always=always, opens=opens))
        return Rules(scope_mode, bound, patterned=patterned)

    def _rules_of(self, service: str) -> tuple[CompiledRule, ...]:
        found = self._by_service.get(service)
        if found is None:
            if len(self._by_service) >= MAX_CACHED:
                self._by_service.clear()
            found = tuple(rule for rule in self.rules if rule.services is None or rule.services(service))
            self._by_service[service] = found
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
    data: bytes, *, services: Sequence[ServiceScope], endpoints: Sequence[Endpoint], detections: Sequence[Detection]
) -> Plan:
    """Compile a snapshot's policy set; empty bytes are the built-in policies alone.

    Raises `ValueError` with one line, naming the policy's file and line, on content that `parse_files` would not have let pass.
    """
    # Rules are bound to operations when these are first called; what `endpoints` are there now makes no difference to a verdict.
    del endpoints
    policies: PolicySet = decode(data) if data else PolicySet(builtin_policies())
    default_actions = {detection.id: detection.default_action for detection in detections}
    rules: list[CompiledRule] = []
    for policy in policies.policies:
        if isinstance(policy.spec, (Service, DataClass, RulePack)):
            continue
        try:
            rules.append(CompiledRule(policy, default_actions))
        except (ConditionError, ValueError) as error:
            raise ValueError(f"{policy.location}: policy `{policy.name}`: {error}") from None
    return Plan(rules, services)
