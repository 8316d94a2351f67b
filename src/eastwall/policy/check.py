"""Checks of a policy set against what there is: services, endpoints, detections, and the policies among each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from eastwall.discovery.data_prefilter import CLASSES
from eastwall.model.endpoint import Endpoint
from eastwall.model.finding import Detection
from eastwall.model.snapshot import ServiceScope
from eastwall.policy.check_conditions import condition_faults
from eastwall.policy.check_segments import segment_faults
from eastwall.policy.kinds import (
    AccessPolicy,
    DataClass,
    DataPolicy,
    DetectionPolicy,
    Fault,
    LimitPolicy,
    Playbook,
    Policy,
    PolicySet,
    RulePack,
    SchemaPolicy,
    Service,
    ToolPolicy,
)
from eastwall.policy.known_operations import KnownByService
from eastwall.policy.patterns import compile_globs, parse_operation
from eastwall.policy.rule_packs import content_rules
from eastwall.policy.wording import shown, suggestion


def check(
    policies: PolicySet,
    *,
    services: Sequence[ServiceScope],
    endpoints: Sequence[Endpoint],
    detections: Sequence[Detection],
    now: float | None = None,
) -> list[Fault]:
    """All faults, sorted by place. Faults of single documents are found by `parse_files`; these need the whole. `now`: Unix seconds, by which
    exceptions and quarantines are over.

    Unknown services are warnings, since a policy may be there before its service is; unknown operations too, and they are looked
    for only in services of which endpoints are known. Unknown detections are faults: they come with the program.
    """
    faults = [*_duplicates(policies)]
    own = [policy for policy in policies.policies if isinstance(policy.spec, Service)]
    names = sorted({scope.name for scope in services} | {policy.name for policy in own})
    ids = sorted({detection.id for detection in detections} | {rule.id for rule in content_rules(policies)})
    exposures = {scope.exposure for scope in services} | {p.spec.exposure for p in own if isinstance(p.spec, Service)}
    known = KnownByService(endpoints)
    classes = [*CLASSES, *sorted(policy.name for policy in policies.policies if isinstance(policy.spec, DataClass))]
    for policy in policies.policies:
        if isinstance(policy.spec, Service):
            faults += _known_operations(policy, "spec.deprecated", policy.spec.deprecated, (policy.name,), known)
            faults += _known_operations(policy, "spec.admin", policy.spec.admin, (policy.name,), known)
        if isinstance(policy.spec, RulePack):
            faults += _pack(policy, policy.spec, names, known)
        if policy.location == "builtin" or isinstance(policy.spec, (Service, DataClass, RulePack, Playbook)):
            faults += _playbook(policy, policy.spec, names, ids) if isinstance(policy.spec, Playbook) else []
            continue
        faults += _services(policy, "spec.scope.services", policy.spec.scope.services, names)
        faults += _known_operations(
            policy, "spec.scope.operations", policy.spec.scope.operations, policy.spec.scope.services, known
        )
        if isinstance(policy.spec, DetectionPolicy):
            faults += _detections(policy, policy.spec, ids)
        if isinstance(policy.spec, DataPolicy):
            faults += _exposures(policy, "spec.exposure", policy.spec.exposure, exposures)
        if isinstance(policy.spec, SchemaPolicy):
            faults += _declared(policy, policy.spec, known)
        if isinstance(policy.spec, (DataPolicy, LimitPolicy)):
            faults += _classes(policy, "spec.classes", policy.spec.classes, classes)
        if isinstance(policy.spec, ToolPolicy) and policy.spec.taint is not None:
            for at, source in enumerate(policy.spec.taint.sources):
                faults += _classes(policy, f"spec.taint.sources[{at}].data", source.data, classes)
                faults += _exposures(policy, f"spec.taint.sources[{at}].exposure", source.exposure, exposures)
    faults += _conflicts(policies)
    found = (*segment_faults(policies, services, ids, now), *condition_faults(policies, services, known))
    faults += [_fault(policy, place, message, hint, warning=warning) for policy, place, message, hint, warning in found]
    return sorted(set(faults))


def _playbook(policy: Policy, spec: Playbook, services: Sequence[str], detections: Sequence[str]) -> Iterator[Fault]:
    yield from _services(policy, "spec.on.services", spec.on.services, services)
    for i, glob in enumerate(spec.on.findings):
        if (tests := compile_globs((glob,))) is not None and not any(map(tests, detections)):
            hint = suggestion(glob, detections) or "`eastwall findings` shows ids"
            yield _fault(policy, f"spec.on.findings[{i}]", f"no detection is called {shown(glob)}", hint)


def _fault(policy: Policy, place: str, message: str, hint: str = "", *, warning: bool = False) -> Fault:
    line, column = policy.marks.get(place) or (int(policy.location.rpartition(":")[2] or 1), 1)
    return Fault(policy.file, line, column, message, hint, warning)


def _duplicates(policies: PolicySet) -> Iterator[Fault]:
    seen: dict[tuple[str, str], Policy] = {}
    for policy in policies.policies:
        first = seen.setdefault((policy.kind, policy.name), policy)
        if first is not policy:
            yield _fault(
                policy,
                "metadata.name",
                f"there is another {policy.kind} `{policy.name}`, at {first.location}",
                "give one a new name",
            )


def _services(policy: Policy, place: str, services: Sequence[str], names: Sequence[str]) -> Iterator[Fault]:
    for i, name in enumerate(services):
        matches = compile_globs((name,))
        if names and matches is not None and not any(map(matches, names)):
            yield _fault(policy, f"{place}[{i}]", f"service `{name[:60]}` is not known", suggestion(name, names), warning=True)


def _pack(policy: Policy, spec: RulePack, names: Sequence[str], known: KnownByService) -> Iterator[Fault]:
    for at, rule in enumerate(spec.rules):
        yield from _services(policy, f"spec.rules[{at}].services", rule.services, names)
        yield from _known_operations(policy, f"spec.rules[{at}].operations", rule.operations, rule.services, known)


def _known_operations(
    policy: Policy, place: str, operations: Sequence[str], services: tuple[str, ...], known: KnownByService
) -> Iterator[Fault]:
    """Patterns that no known operation is in; none are looked for where nothing is known."""
    if not operations:
        return
    mine = known.of(services)
    if not mine.endpoints:
        return
    for i, text in enumerate(operations):
        if not mine.matching(parse_operation(text)):
            hint = suggestion(text, sorted({f"{endpoint.method} {endpoint.template}" for endpoint in mine.endpoints}))
            yield _fault(policy, f"{place}[{i}]", f"no known operation matches `{text[:80]}`", hint, warning=True)


def _detections(policy: Policy, spec: DetectionPolicy, ids: Sequence[str]) -> Iterator[Fault]:
    for i, name in enumerate(spec.detections):
        matches = compile_globs((name,))
        if ids and matches is not None and not any(map(matches, ids)):
            yield _fault(policy, f"spec.detections[{i}]", f"detection `{name[:60]}` is not known", suggestion(name, ids))


def _classes(policy: Policy, place: str, names: Sequence[str], known: Sequence[str]) -> Iterator[Fault]:
    for i, name in enumerate(names):
        if name not in known:
            hint = suggestion(name, known) or "docs/data-classes.md lists them; a class of your own is a policy of kind DataClass"
            yield _fault(policy, f"{place}[{i}]", f"data class {shown(name)} is not known", hint)


def _exposures(policy: Policy, place: str, named: Sequence[str], known: Set[str | None]) -> Iterator[Fault]:
    if named and known.isdisjoint(named):
        words = " or ".join(f"`{one}`" for one in named)
        message = f"no service is said to be {words}, so the policy does nothing"
        yield _fault(policy, place, message, "set `exposure` of the Service", warning=True)


def _declared(policy: Policy, spec: SchemaPolicy, all_known: KnownByService) -> Iterator[Fault]:
    """A policy on declared schemas in whose services nothing is declared."""
    known = all_known.of(spec.scope.services).endpoints
    if spec.source == "declared" and known and all(endpoint.origin == "observed" for endpoint in known):
        message = "no specification declares an operation in scope, so nothing is held against a schema"
        yield _fault(policy, "spec.source", message, "name one as `spec` of the Service, or use `either`", warning=True)


def _conflicts(policies: PolicySet) -> Iterator[Fault]:
    """Pairs of access policies of which one can never have an effect."""
    rules = [(policy, policy.spec) for policy in policies.policies if isinstance(policy.spec, AccessPolicy)]
    denies = {(spec.scope, spec.when): policy for policy, spec in rules if spec.action == "deny"}
    for policy, spec in rules:
        other = denies.get((spec.scope, spec.when))
        if spec.action == "allow" and other is not None:
            message = f"this allows exactly what `{other.name}` at {other.location} denies, and deny wins"
            yield _fault(policy, "spec.action", message, "narrow one of them", warning=True)
