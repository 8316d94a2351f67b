"""Segments: what every caller of a zone must show, who may enter it, and what its members may call outside."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.call import Mode
from eastwall.model.decision import Deny
from eastwall.model.facts import Facts
from eastwall.policy.conditions import Condition, ConditionError
from eastwall.policy.kinds import Entrance, Policy, TrustZone
from eastwall.policy.patterns import Paths, compile_globs, method_matches, parse_operation, segments_match
from eastwall.policy.rules import Bound, CompiledRule, params_of
from eastwall.policy.selecting import STRENGTHS, selector_words
from eastwall.policy.steps.applying import FAILED, MODES, NOWHERE, condition_error, holds, match_of
from eastwall.policy.steps.outcome import Outcome
from eastwall.policy.wording import shown
from eastwall.policy.world import World


class Door:
    """One entry of `from`."""

    __slots__ = ("_conditions", "_patterns", "_selects", "_uses_path", "_zones", "words")

    def __init__(self, spec: Entrance, world: World) -> None:
        self._zones = world.zones_named(spec.zones) if spec.zones else None
        self._selects = world.selector(spec.identities, loosens=True)
        self._patterns = tuple(parse_operation(text) for text in spec.operations)
        self._conditions = tuple(Condition(text) for text in spec.when)
        self._uses_path = any(condition.uses_path for condition in self._conditions)
        zones = " or ".join(f"`{name}`" for name in spec.zones)
        who, asked = selector_words(spec.identities), " or ".join(f"`{text}`" for text in spec.operations)
        holds = " and ".join(f"`{text}`" for text in spec.when)
        parts = [f"zone {zones}" if zones else "", f"callers with {who}" if who else "", f"for {asked}" if asked else ""]
        self.words = " ".join(part for part in (*parts, f"if {holds}" if holds else "") if part) or "anywhere"

    def admits(self, facts: Facts, paths: Paths) -> bool:
        """Raises `ConditionError`. As for all that opens: every reading of the path must be meant, to the letter."""
        if self._patterns:
            method = facts.call.request.method
            fitting = [p for p in self._patterns if method_matches(p.method, method)]
            if not all(any(segments_match(p.segments, p.open, way) for p in fitting) for way in paths.plain):
                return False
        identity = facts.identity
        if self._zones is not None and not any(zone.has_caller(identity, loosens=True) for zone in self._zones):
            return False
        if self._selects is not None and not self._selects(identity):
            return False
        if not self._conditions:
            return True
        ways = params_of(self._patterns, paths) if self._uses_path else NOWHERE
        return holds(self._conditions, facts, ways, loosens=True)


class ZoneRule(CompiledRule):
    """A TrustZone."""

    __slots__ = (
        "admission",
        "closed",
        "doors",
        "egress_closed",
        "egress_to",
        "inside_closed",
        "lets_in",
        "world",
        "zone",
    )
    step = "zones"

    def __init__(self, policy: Policy, spec: TrustZone, world: World) -> None:
        super().__init__(policy, spec, world)
        zone = world.zones[policy.name]
        self.world, self.zone = world, zone
        self.closed, self.inside_closed = spec.default == "deny", spec.inside == "deny"
        self.doors = tuple(Door(one, world) for one in spec.entrances)
        self.admission = spec.admission
        self.egress_closed = spec.egress == "deny"
        self.egress_to = compile_globs(spec.egress_to)
        self.services = self._concerns
        self.lets_in = "; ".join(door.words for door in self.doors)

    def guards(self, service: str) -> bool:
        """Whether a service is in the zone."""
        return self.name in self.world.zones_of(service)

    def _concerns(self, service: str) -> bool:
        return self.guards(service) or (self.egress_closed and service in self.world.external)


def admit(rules: Sequence[Bound[ZoneRule]], facts: Facts, outcome: Outcome) -> None:
    """What every caller of the zone's services must show, members too."""
    for bound in rules:
        rule = bound.rule
        asked = rule.admission
        if asked is None or not rule.guards(facts.call.service):
            continue
        peer, identity = facts.call.peer, facts.identity
        missing = []
        if asked.mtls and not (peer.uri_sans or peer.dns_sans or peer.subject):
            missing.append("a client certificate")
        if asked.strength is not None and identity.strength < STRENGTHS[asked.strength]:
            missing.append(f"an identity that is at least {asked.strength}, not {identity.strength.name.lower()}")
        if missing:
            needs = " and ".join(missing)
            reason = rule.reason or f"zone `{rule.name}` asks of every caller {needs}"
            match = match_of(rule, bound.mode, "block", reason, "", f"call with {needs}")
            outcome.matches.append(match)
            outcome.stop(bound.mode, "block", match, not_admitted(rule))


def not_admitted(rule: ZoneRule) -> Deny:
    """What the refused caller gets."""
    detail = rule.reason or "This service asks its callers for a stronger proof of who they are."
    return Deny(403, "Not admitted", detail, "not-admitted")


def enter(rules: Sequence[Bound[ZoneRule]], facts: Facts, paths: Paths, outcome: Outcome, opened: tuple[bool, bool]) -> None:
    """The default of every zone that the call goes into or comes out of.

    `opened`: whether an AccessPolicy lets the caller in: an enforced one, any.
    """
    for bound in rules:
        rule = bound.rule
        if rule.guards(facts.call.service):
            _inward(bound, facts, paths, outcome, opened)
        elif rule.egress_closed:
            _outward(bound, facts, outcome, opened)


def _inward(bound: Bound[ZoneRule], facts: Facts, paths: Paths, outcome: Outcome, opened: tuple[bool, bool]) -> None:
    rule = bound.rule
    if not (rule.closed or rule.inside_closed):
        return
    inside = rule.zone.has_caller(facts.identity, loosens=True)
    if not (rule.inside_closed if inside else rule.closed):
        return
    failed: ConditionError | None = None
    for door in rule.doors:
        try:
            if door.admits(facts, paths):
                outcome.matches.append(bound.allowing)
                return
        except ConditionError as error:
            failed = error
    service = facts.call.service
    if failed is not None and opened != (True, True):
        if rule.on_error == "allow":
            condition_error(bound, failed, outcome)
            return
        reason = f"a condition of `from` could not be evaluated: {failed}"
        to_pass, mode = "send what the condition reads", min(bound.mode, MODES[rule.on_error])
    else:
        lets = f"from {rule.lets_in} only" if rule.doors else "no members of its own accord" if inside else "nobody from outside"
        reason = (
            f"`{service}` (zone `{rule.name}`) lets in {lets}; the caller is {shown(facts.identity.actor)}{_from(rule, facts)}"
        )
        to_pass = f"call from {rule.lets_in}" if rule.doors else "be let in by an AccessPolicy with `action: allow`"
        mode = bound.mode
    _stop(rule, mode, reason, to_pass, outcome, opened, failed=failed is not None)


def _from(rule: ZoneRule, facts: Facts) -> str:
    """Where the caller is, for the explanation."""
    names = [name for name, zone in rule.world.zones.items() if zone.has_caller(facts.identity, loosens=True)]
    return f", of zone {' and '.join(f'`{name}`' for name in names[:3])}" if names else ", of no zone"


def _outward(bound: Bound[ZoneRule], facts: Facts, outcome: Outcome, opened: tuple[bool, bool]) -> None:
    rule, service = bound.rule, facts.call.service
    names = rule.world.external[service]
    if rule.egress_to is not None and any(map(rule.egress_to, names)):
        return
    # A claim to be a member is enough: the restriction is to hold for whoever may be one.
    if not rule.zone.has_caller(facts.identity, loosens=False):
        return
    reason = f"members of zone `{rule.name}` may not call the third party `{service}`"
    _stop(rule, bound.mode, reason, "name the third party in the zone's `egressTo`", outcome, opened, failed=False)


def _stop(
    rule: ZoneRule, mode: Mode, reason: str, to_pass: str, outcome: Outcome, opened: tuple[bool, bool], *, failed: bool
) -> None:
    enforced, watched = opened
    if watched and (enforced or mode is not Mode.ENFORCE):
        return
    match = match_of(rule, mode, "block", reason, "", to_pass)
    outcome.matches.append(match)
    effect = FAILED if failed else Deny(403, "Access denied", rule.reason or "You may not call this operation.", "access-denied")
    if mode is Mode.ENFORCE and not enforced:
        outcome.stop_now("block", match, effect)
    if not watched:
        outcome.stop_then("block", match)
