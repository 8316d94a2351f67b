"""Whether a policy applies to a call: scope, callers and conditions, with errors carried out as `onError` says."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.call import Mode
from eastwall.model.decision import Deny, PolicyMatch
from eastwall.model.facts import Facts
from eastwall.policy.conditions import Condition, ConditionError
from eastwall.policy.patterns import Paths
from eastwall.policy.rules import Bound, CompiledRule
from eastwall.policy.steps.outcome import Outcome

MODES = {"block": Mode.ENFORCE, "monitor": Mode.MONITOR}
"""How far an error goes at most, by `onError`; `allow` is not among them."""
FAILED = Deny(503, "Inspection failed", "The call could not be checked, so it was not let through.", "inspection-failed")


def match_of(rule: CompiledRule, mode: Mode, action: str, reason: str, finding: str = "", to_pass: str = "") -> PolicyMatch:
    """What is recorded of a policy that has something to say."""
    return PolicyMatch(rule.name, rule.kind, rule.location, mode, action, reason, finding, to_pass)


def holds(conditions: Sequence[Condition], facts: Facts, ways: Sequence[dict[str, str]], *, loosens: bool) -> bool:
    """Whether all conditions hold. `ways`: path parameters of each reading of the path: what restricts applies when they hold under any of
    them, what `loosens` when they hold under every one, or `/tenants/mine/../theirs` would open theirs. Raises `ConditionError`."""
    if len(ways) == 1:
        params = ways[0]
        return all(condition.holds(facts, params) for condition in conditions)
    found = (all(condition.holds(facts, params) for condition in conditions) for params in ways)
    return all(found) if loosens else any(found)


NOWHERE: tuple[dict[str, str], ...] = ({},)
"""Path parameters for conditions that read none."""


def meets(bound: Bound[CompiledRule], facts: Facts, paths: Paths, *, loosens: bool = False) -> bool:
    """Callers and conditions, of a call in scope. `loosens`: the policy opens something. Raises `ConditionError`."""
    rule = bound.rule
    if rule.selects is not None and not rule.selects(facts.identity):
        return False
    if rule.exempt is not None and rule.exempt(facts.identity):
        return False
    if rule.conditions:
        return holds(rule.conditions, facts, bound.params(paths) if rule.uses_path else NOWHERE, loosens=loosens)
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
