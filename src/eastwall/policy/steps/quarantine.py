"""What is closed for now: asked before everything else."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.decision import Deny, Throttle
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity, Strength
from eastwall.policy.kinds import Policy, Quarantine
from eastwall.policy.limits import LimitTable, key_of, parse_rate
from eastwall.policy.patterns import Paths, compile_globs
from eastwall.policy.rules import Bound, CompiledRule
from eastwall.policy.selecting import selector_words
from eastwall.policy.steps.applying import applies, match_of
from eastwall.policy.steps.outcome import Outcome
from eastwall.policy.times import parse_end, shown_end
from eastwall.policy.tool_calls import tool_calls
from eastwall.policy.world import World

SIGN_IN = "The token was issued too long ago. Sign in again."


class QuarantineRule(CompiledRule):
    """A Quarantine."""

    __slots__ = ("burst", "detail", "interval", "issued_after", "limit", "may_enter", "period", "rate", "tools", "until", "words")
    step = "quarantine"

    def __init__(self, policy: Policy, spec: Quarantine, world: World) -> None:
        super().__init__(policy, spec, world)
        self.tools = compile_globs(spec.tools)
        self.may_enter = world.selector(spec.maintenance, loosens=True) if spec.maintenance is not None else None
        self.until = float("inf") if spec.indefinite else parse_end(spec.until)
        self.issued_after = parse_end(spec.issued_after) if spec.issued_after else 0.0
        self.rate = spec.rate
        self.limit, self.period = parse_rate(spec.rate) if spec.rate else (0, 0.0)
        self.interval = self.period / self.limit if self.limit else 0.0
        self.burst = max(1, round(1.0 / self.interval)) if self.limit else 0
        ends = "until it is lifted" if spec.indefinite else f"until {shown_end(self.until)}"
        self.words = f"{'signed out' if spec.issued_after else 'in quarantine'} {ends}" + (
            f": {spec.reason}" if spec.reason else ""
        )
        self.detail = spec.reason or "This is closed at present."
        who = selector_words(spec.maintenance) if spec.maintenance is not None else ""
        waits = "wait until it is lifted" if spec.indefinite else f"wait until {shown_end(self.until)}"
        self.to_pass = waits + (f", or be a caller with {who}" if who else "")


def judge(
    rules: Sequence[Bound[QuarantineRule]], facts: Facts, paths: Paths, limits: LimitTable, outcome: Outcome, *, event: bool
) -> None:
    """Refuses what is in quarantine; lets maintenance in, at the rate that is stated. `event`: one of a stream, which is not counted."""
    now = facts.call.time
    for bound in rules:
        rule = bound.rule
        if now >= rule.until:
            continue
        tests = rule.tools
        if tests is not None and not any(tests(call.name) for call in tool_calls(facts)):
            continue
        if not applies(bound, facts, paths, outcome):
            continue
        if rule.may_enter is not None and rule.may_enter(facts.identity):
            if not event:
                _slow(bound, facts, limits, outcome)
            continue
        if rule.issued_after:
            if not _issued_since(facts.identity, rule.issued_after):
                match = match_of(rule, bound.mode, "block", rule.words, "", "sign in again, for a newer token")
                outcome.matches.append(match)
                outcome.stop(
                    bound.mode, "block", match, Deny(401, "Sign in again", rule.reason or SIGN_IN, "reauthentication-required")
                )
            continue
        match = match_of(rule, bound.mode, "block", rule.words, "", rule.to_pass)
        outcome.matches.append(match)
        outcome.stop(bound.mode, "block", match, closed(rule))


def closed(rule: QuarantineRule) -> Deny:
    """What the refused caller gets."""
    return Deny(403, "In quarantine", rule.detail, "quarantined")


def _issued_since(identity: Identity, after: float) -> bool:
    """A token's `iat` (RFC 7519, section 4.1.6: seconds, fractions allowed) counts where its signature was checked."""
    try:
        return identity.strength is Strength.VERIFIED and float(identity.claims.get("iat", "")) >= after
    except ValueError:
        return False


def _slow(bound: Bound[QuarantineRule], facts: Facts, limits: LimitTable, outcome: Outcome) -> None:
    rule = bound.rule
    if not rule.limit:
        outcome.matches.append(match_of(rule, bound.mode, "allow", "maintenance may enter what is in quarantine"))
        return
    allowed, retry, remaining = limits.take(key_of(("quarantine", rule.name)), facts.call.time, rule.interval, rule.burst)
    if allowed:
        outcome.matches.append(
            match_of(rule, bound.mode, "allow", f"maintenance may enter what is in quarantine, at {rule.rate}")
        )
        return
    match = match_of(rule, bound.mode, "limit", f"maintenance may call {rule.rate} in quarantine", "", f"wait {retry:.3g} s")
    outcome.matches.append(match)
    outcome.stop(bound.mode, "limit", match, Throttle(retry, rule.limit, remaining, f"The limit of {rule.rate} is reached."))
