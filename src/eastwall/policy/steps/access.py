"""Who may call: denials, then what is open to those only whom a policy allows."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.call import Mode
from eastwall.model.decision import Deny, Effect, PolicyMatch
from eastwall.model.facts import Facts
from eastwall.policy.conditions import ConditionError
from eastwall.policy.kinds import AccessPolicy, Policy
from eastwall.policy.patterns import Paths
from eastwall.policy.rules import Bound, CompiledRule
from eastwall.policy.selecting import selector_words
from eastwall.policy.steps.applying import FAILED, applies, match_of, meets
from eastwall.policy.steps.outcome import Outcome
from eastwall.policy.wording import shown
from eastwall.policy.world import World


class AccessRule(CompiledRule):
    """An AccessPolicy."""

    __slots__ = ("denies",)
    step = "access"

    def __init__(self, policy: Policy, spec: AccessPolicy, world: World) -> None:
        super().__init__(policy, spec, world, loosens=spec.action == "allow")
        self.denies = spec.action == "deny"
        who = selector_words(spec.scope.identities)
        holds = " and ".join(f"`{text}`" for text in spec.when)
        if self.denies:
            parts = [f"call with other than {who}" if who else "", f"not meet {holds}" if holds else ""]
            nobody = "nothing passes: the policy denies this operation to everybody"
            self.to_pass = ", or ".join(part for part in parts if part) or nobody
        else:
            parts = [f"be a caller with {who}" if who else "", f"meet {holds}" if holds else ""]
            self.to_pass = ", and ".join(part for part in parts if part)


def deny(rules: Sequence[Bound[AccessRule]], facts: Facts, paths: Paths, outcome: Outcome) -> None:
    """Policies that deny."""
    for bound in rules:
        if applies(bound, facts, paths, outcome):
            rule = bound.rule
            reason = rule.reason or f"the policy denies this to {shown(facts.identity.actor)}"
            match = match_of(rule, bound.mode, "block", reason, "", rule.to_pass)
            outcome.matches.append(match)
            outcome.stop(bound.mode, "block", match, denial(rule))


def allow(rules: Sequence[Bound[AccessRule]], facts: Facts, paths: Paths, outcome: Outcome) -> tuple[bool, bool]:
    """Policies that allow: each closes what it covers and opens it to those whom it selects.

    Worked out twice: for the enforced ones alone, and for all. Returns whether one of them opens it.
    """
    closing: list[Bound[AccessRule]] = []
    opened = opened_all = False
    failed: list[Mode] = []
    for bound in rules:
        if not (bound.always or bound.covers(paths)):
            continue
        closing.append(bound)
        rule = bound.rule
        enforced = bound.mode is Mode.ENFORCE
        try:
            if (bound.opens or bound.admits(paths)) and meets(bound, facts, paths, loosens=True):
                outcome.matches.append(bound.allowing)
                opened_all = True
                opened = opened or enforced
        except ConditionError as error:
            reason = f"its condition could not be evaluated: {error}"
            outcome.matches.append(match_of(rule, bound.mode, "report", reason))
            if rule.on_error == "allow":
                opened_all = True
            else:
                failed.append(bound.mode)
            # `monitor` does not block the call, but it would have.
            opened = opened or (enforced and rule.on_error != "block")
    if opened and opened_all:
        return True, True
    now = () if opened else tuple(bound for bound in closing if bound.mode is Mode.ENFORCE)
    then = () if opened_all else tuple(closing)
    told: PolicyMatch | None = None
    for bound in now:  # the first of them stands for all, unless it is excused
        told, effect = _default_deny(bound, Mode.ENFORCE, facts, failed=Mode.ENFORCE in failed)
        outcome.matches.append(told)
        if outcome.stop_now("block", told, effect):
            break
    if told is not None and then and outcome.stop_then("block", told):
        return opened, opened_all
    for bound in then:
        if bound in now and told is not None:
            continue
        told, _ = _default_deny(bound, Mode.MONITOR, facts, failed=bool(failed))
        outcome.matches.append(told)
        if outcome.stop_then("block", told):
            break
    return opened, opened_all


def _default_deny(bound: Bound[AccessRule], view: Mode, facts: Facts, *, failed: bool) -> tuple[PolicyMatch, Effect]:
    rule = bound.rule
    because = "a condition could not be evaluated" if failed else f"none allows {shown(facts.identity.actor)}"
    reason = f"the operation is open to those only whom a policy allows, and {because}"
    return match_of(rule, view, "block", reason, "", rule.to_pass), FAILED if failed else denial(rule)


def denial(rule: AccessRule) -> Deny:
    """What the refused caller gets."""
    return Deny(403, "Access denied", rule.reason or "You may not call this operation.", "access-denied")
