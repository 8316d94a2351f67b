"""Whether a policy applies to a call: scope, callers and conditions, with errors carried out as `onError` says."""

from __future__ import annotations

from eastwall.model.call import Mode
from eastwall.model.decision import Deny, PolicyMatch
from eastwall.model.facts import Facts
from eastwall.policy.conditions import ConditionError
from eastwall.policy.patterns import Paths
from eastwall.policy.rules import Bound, CompiledRule
from eastwall.policy.steps.outcome import Outcome

MODES = {"block": Mode.ENFORCE, "monitor": Mode.MONITOR}
"""How far an error goes at most, by `onError`; `allow` is not among them."""
FAILED = Deny(503, "Inspection failed", "The call could not be checked, so it was not let through.", "inspection-failed")


def match_of(rule: CompiledRule, mode: Mode, action: str, reason: str, finding: str = "", to_pass: str = "") -> PolicyMatch:
    """What is recorded of a policy that has something to say."""
    return PolicyMatch(rule.name, rule.kind, rule.location, mode, action, reason, finding, to_pass)


def meets(bound: Bound[CompiledRule], facts: Facts, paths: Paths) -> bool:
    """Callers and conditions, of a call in scope. Raises `ConditionError`."""
    rule = bound.rule
    if rule.selects is not None and not rule.selects(facts.identity):
        return False
    if rule.exempt is not None and rule.exempt(facts.identity):
        return False
    if rule.conditions:
        params = bound.params(paths) if rule.uses_path else {}
        return all(condition.holds(facts, params) for condition in rule.conditions)
    return True


def applies(bound: Bound[CompiledRule], facts: Facts, paths: Paths, outcome: Outcome) -> bool:
    """Scope, callers and conditions, with errors carried out as `onError` says. For policies that restrict."""
    if not (bound.always or bound.covers(paths)):
        return False
    rule = bound.rule
    if not rule.conditions and rule.exempt is None:  # as `meets`, in short: this is asked most
        return rule.selects is None or rule.selects(facts.identity)
    try:
        return meets(bound, facts, paths)
    except ConditionError as error:
        condition_error(bound, error, outcome)
        return False


def condition_error(bound: Bound[CompiledRule], error: ConditionError, outcome: Outcome) -> None:
    rule = bound.rule
    if rule.on_error == "allow":
        outcome.matches.append(
            match_of(rule, bound.mode, "allow", f"its condition could not be evaluated, `onError: allow` lets it pass: {error}")
        )
        return
    mode = min(bound.mode, MODES[rule.on_error])
    match = match_of(rule, mode, "block", f"its condition could not be evaluated: {error}", "", "send what the condition reads")
    outcome.matches.append(match)
    outcome.stop(mode, "block", match, FAILED)
