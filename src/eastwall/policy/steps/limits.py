"""How often: limits by GCRA."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.decision import Throttle
from eastwall.model.facts import Facts
from eastwall.policy.kinds import LimitPolicy, Policy
from eastwall.policy.limits import LimitTable, parse_rate
from eastwall.policy.patterns import Paths
from eastwall.policy.rules import Bound, CompiledRule
from eastwall.policy.steps.applying import applies, match_of
from eastwall.policy.steps.outcome import Outcome
from eastwall.policy.world import World


class LimitRule(CompiledRule):
    """A LimitPolicy."""

    __slots__ = ("burst", "interval", "limit", "per", "period", "rate")
    step = "limits"

    def __init__(self, policy: Policy, spec: LimitPolicy, world: World) -> None:
        super().__init__(policy, spec, world)
        self.rate = spec.rate
        self.limit, self.period = parse_rate(spec.rate)
        self.interval = self.period / self.limit
        self.burst = spec.burst or max(1, round(1.0 / self.interval))
        self.per = frozenset(spec.per)


def limit(rules: Sequence[Bound[LimitRule]], facts: Facts, paths: Paths, limits: LimitTable, outcome: Outcome) -> None:
    """Counts the call under every limit that concerns it, until one turns it away."""
    call = facts.call
    for bound in rules:
        if not applies(bound, facts, paths, outcome):
            continue
        rule = bound.rule
        key = _limit_key(rule, facts)
        allowed, retry, remaining = limits.take(key, call.time, rule.interval, rule.burst)
        if allowed:
            continue
        words = f"more than {rule.rate} ({rule.burst} at once) per {' and '.join(sorted(rule.per))}"
        match = match_of(rule, bound.mode, "limit", rule.reason or words, "", f"wait {retry:.3g} s")
        outcome.matches.append(match)
        detail = rule.reason or f"The limit of {rule.rate} is reached."
        outcome.stop(bound.mode, "limit", match, Throttle(retry, rule.limit, remaining, detail))
        if outcome.action != "allow":
            return  # a call that is turned away uses up no further limit


def _limit_key(rule: LimitRule, facts: Facts) -> tuple[str, ...]:
    call, per = facts.call, rule.per
    endpoint = facts.match.endpoint
    parts = [rule.name]
    if "identity" in per:
        parts.append(facts.identity.actor)
    if "source" in per:
        parts.append(call.peer.address)
    if "tenant" in per:
        parts.append(facts.identity.tenant)
    if "operation" in per:
        # All unknown operations of a service share one count, or a caller could have a fresh limit for every path he makes up.
        parts.append(endpoint.id if endpoint is not None else f"{call.service} ?")
    if "service" in per:
        parts.append(call.service)
    return tuple(parts)
