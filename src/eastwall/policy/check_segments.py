"""Checks of zones, quarantines, exceptions, tools and access policies against what there is, and among each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from eastwall.model.snapshot import ServiceScope
from eastwall.policy.kinds import (
    AccessPolicy,
    Identities,
    Members,
    Policy,
    PolicyException,
    PolicySet,
    Quarantine,
    Scope,
    Service,
    ToolPolicy,
    TrustZone,
)
from eastwall.policy.patterns import OperationPattern, Want, compile_globs, parse_operation
from eastwall.policy.times import parse_end
from eastwall.policy.wording import shown, suggestion
from eastwall.policy.world import World

Found = Iterator[tuple[Policy, str, str, str, bool]]
"""(policy, place, message, hint, it is a warning)"""
MAX_WIDE = 200
"""Policies without an operation of their own that others are compared with."""
MODES = ("discover", "monitor", "enforce")


def segment_faults(policies: PolicySet, services: Sequence[ServiceScope], detections: Sequence[str], now: float | None) -> Found:
    """`services`: those that are known; `detections`: ids; `now`: Unix seconds, None where nothing is to be said of what is over."""
    own = [policy for policy in policies.policies if policy.location != "builtin"]
    zones = {policy.name: policy for policy in own if isinstance(policy.spec, TrustZone)}
    known = [*services, *(ServiceScope(p.name, labels=tuple(p.spec.labels.items())) for p in own if isinstance(p.spec, Service))]
    names = sorted({scope.name for scope in known})
    for policy in own:
        yield from _zone_names(policy, sorted(zones))
        spec = policy.spec
        if isinstance(spec, TrustZone):
            yield from _unknown(policy, "spec.members.services", spec.members.services, names, "service")
        if isinstance(spec, ToolPolicy):
            yield from _unknown(policy, "spec.servers", spec.servers, names, "service")
            for i, source in enumerate(spec.taint.sources if spec.taint is not None else ()):
                yield from _unknown(policy, f"spec.taint.sources[{i}].services", source.services, names, "service")
        if isinstance(spec, PolicyException):
            called = sorted({other.name for other in policies.policies})
            yield from _unknown(policy, "spec.policies", spec.policies, called, "policy")
            yield from _unknown(policy, "spec.detections", spec.detections, detections, "detection", warning=False)
            if spec.scope == Scope() and not spec.when and "*" in (*spec.policies, *spec.detections):
                yield policy, "spec.scope", "this excuses everybody from everything", "narrow its scope", True
        end = spec.expires if isinstance(spec, PolicyException) else spec.until if isinstance(spec, Quarantine) else ""
        if end and now is not None and parse_end(end) <= now:
            place = "spec.expires" if isinstance(spec, PolicyException) else "spec.until"
            yield policy, place, f"this was over at {shown(end)}, and has no effect", "remove it, or set a later end", True
    world = World({}, policies, known)
    yield from _overlaps(zones, world, names)
    yield from _closed_to_all(zones, world, names, own)
    yield from _shadowed(own)


def _unknown(policy: Policy, place: str, globs: Sequence[str], known: Sequence[str], what: str, *, warning: bool = True) -> Found:
    for i, name in enumerate(globs):
        matches = compile_globs((name,))
        if known and matches is not None and not any(map(matches, known)):
            yield policy, f"{place}[{i}]", f"{what} {shown(name)} is not known", suggestion(name, known), warning


def _zone_names(policy: Policy, zones: Sequence[str]) -> Found:
    """A zone that is not there selects nobody, and a `deny` that is meant for it does nothing: that is a fault."""
    spec = policy.spec
    named: list[tuple[str, Sequence[str]]] = []

    def selector(place: str, who: Identities | None) -> None:
        if who is not None:
            named.append((f"{place}.zones", who.zones))

    scope = getattr(spec, "scope", None)
    if isinstance(scope, Scope):
        named.append(("spec.scope.zones", scope.zones))
        selector("spec.scope.identities", scope.identities)
    for name, attribute in (("except", "exempt"), ("detokenise", "detokenise"), ("tokensFrom", "tokens_from"),
                            ("maintenance", "maintenance"), ("callers", "callers")):  # fmt: skip
        who = getattr(spec, attribute, None)
        selector(f"spec.{name}", who if isinstance(who, Identities) else None)
    for i, one in enumerate(spec.entrances if isinstance(spec, TrustZone) else ()):
        named.append((f"spec.from[{i}].zones", one.zones))
        selector(f"spec.from[{i}].identities", one.identities)
    for place, globs in named:
        for i, name in enumerate(globs):
            matches = compile_globs((name,))
            if matches is not None and not any(map(matches, zones)):
                hint = suggestion(name, zones) or "a zone is a policy of kind TrustZone"
                yield policy, f"{place}[{i}]", f"zone {shown(name)} is not known", hint, False


def _overlaps(zones: dict[str, Policy], world: World, names: Sequence[str]) -> Found:
    """Services that more than one zone closes."""
    told: set[tuple[str, str]] = set()
    for service in names:
        closing = [zones[name] for name in sorted(world.zones_of(service)) if _closes(zones[name])]
        for other in closing[1:]:
            if (closing[0].name, other.name) not in told:
                told.add((closing[0].name, other.name))
                message = f"service {shown(service)} is in this zone and in `{closing[0].name}` at {closing[0].location}: callers must enter both"
                yield other, "spec.members", message, "give each service one zone", True


def _closes(policy: Policy) -> bool:
    return isinstance(policy.spec, TrustZone) and policy.spec.default == "deny"


def _closed_to_all(zones: dict[str, Policy], world: World, names: Sequence[str], own: Sequence[Policy]) -> Found:
    """Zones whose services nobody may call."""
    allows = [policy.spec for policy in own if isinstance(policy.spec, AccessPolicy) and policy.spec.action == "allow"]
    for name, policy in zones.items():
        spec = policy.spec
        if not isinstance(spec, TrustZone) or spec.default == "allow" or spec.entrances:
            continue
        inside = [service for service in names if name in world.zones_of(service)]
        callers = spec.members != Members(services=spec.members.services) or len(inside) > 1
        if not inside or (callers and spec.inside == "allow"):
            continue
        tests = [world.service_test(one.scope.services, one.scope.zones) for one in allows]
        if not any(test is None or any(map(test, inside)) for test in tests):
            hint = "say who may enter with `from`, or with an AccessPolicy"
            yield policy, "spec.members", f"nobody may call {' or '.join(map(shown, inside[:3]))}", hint, True


def _shadowed(own: Sequence[Policy]) -> Found:
    """Access policies that can never decide anything: another covers all that they are about."""
    rules = [(policy, policy.spec) for policy in own if isinstance(policy.spec, AccessPolicy) and policy.spec.mode != "discover"]
    wide = _Wide([one for one in rules if _is_wide(one[1].scope)][:MAX_WIDE])
    by_operation: dict[str, list[tuple[Policy, AccessPolicy]]] = {}
    for one in rules:
        for text in one[1].scope.operations:
            by_operation.setdefault(text, []).append(one)
    places = {id(policy): at for at, (policy, _) in enumerate(rules)}
    for policy, spec in rules:
        near = by_operation.get(spec.scope.operations[0], ())[:MAX_WIDE] if spec.scope.operations else ()
        for other, covering in (*wide.near(spec.scope), *near):
            if other is policy or not _covers(covering, spec) or MODES.index(covering.mode) < MODES.index(spec.mode):
                continue
            earlier = places[id(other)] < places[id(policy)]
            if (
                covering.action == "deny"
                and spec.action == "allow"
                and not (covering.scope == spec.scope and covering.when == spec.when)
            ):
                message = f"`{other.name}` at {other.location} denies all that this allows, and deny wins"
            elif covering.action == spec.action and (earlier or (spec.action == "allow" and not _covers(spec, covering))):
                message = f"this never decides: `{other.name}` at {other.location} covers all that it is about"
            else:
                continue
            yield policy, "spec.scope" if spec.scope != Scope() else "spec.action", message, "narrow or remove one of them", True
            break


class _Wide:
    """Policies that may cover others, by the last text in their operations' paths: what covers a path has that text where the path has it."""

    def __init__(self, rules: Sequence[tuple[Policy, AccessPolicy]]) -> None:
        self._rules = rules
        self._anywhere: list[int] = []
        self._at: dict[tuple[int, Want], list[int]] = {}
        for number, (_, spec) in enumerate(rules):
            for pattern in map(parse_operation, spec.scope.operations):
                place = max((at for at, want in enumerate(pattern.segments) if isinstance(want, str)), default=-1)
                where = self._at.setdefault((place, pattern.segments[place]), []) if place >= 0 else self._anywhere
                where.append(number)
            if not spec.scope.operations:
                self._anywhere.append(number)

    def near(self, scope: Scope) -> list[tuple[Policy, AccessPolicy]]:
        """Those that may cover all of a scope, in their order."""
        found = set(self._anywhere)
        if scope.operations:
            for place, want in enumerate(parse_operation(scope.operations[0]).segments):
                found.update(self._at.get((place, want), ()))
        return [self._rules[number] for number in sorted(found)]


def _is_wide(scope: Scope) -> bool:
    return not scope.operations or any("*" in text or "{" in text for text in scope.operations)


def _covers(one: AccessPolicy, other: AccessPolicy) -> bool:
    """Whether every call that `other` is about is one that `one` is about; False where that cannot be told."""
    if one.when and one.when != other.when:
        return False
    if one.scope.identities not in (Identities(), other.scope.identities):
        return False
    if one.scope.zones and one.scope.zones != other.scope.zones:
        return False
    if one.scope.services and not (other.scope.services and _names_cover(one.scope.services, other.scope.services)):
        return False
    if not one.scope.operations:
        return True
    patterns = [parse_operation(text) for text in one.scope.operations]
    return bool(other.scope.operations) and all(
        any(_pattern_covers(p, parse_operation(text)) for p in patterns) for text in other.scope.operations
    )


def _names_cover(globs: Sequence[str], names: Sequence[str]) -> bool:
    test: Callable[[str], bool] | None = compile_globs(globs)
    return test is not None and all(name in globs or ("*" not in name and test(name)) for name in names)


def _pattern_covers(one: OperationPattern, other: OperationPattern) -> bool:
    if one.method not in ("*", other.method):
        return False
    if len(one.segments) > len(other.segments) or (not one.open and (other.open or len(one.segments) != len(other.segments))):
        return False
    # As texts, to the letter: what an `allow` covers so, it opens; and a `deny` covers more.
    return all(want is None or want == have for want, have in zip(one.segments, other.segments, strict=False))
