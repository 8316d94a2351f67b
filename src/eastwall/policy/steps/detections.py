"""What findings do to a call, and detectors that failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eastwall.model.call import Mode
from eastwall.model.decision import Deny, PolicyMatch
from eastwall.model.deviations import OwnerMismatch
from eastwall.model.facts import Facts
from eastwall.model.finding import CONFIDENCES, SEVERITIES, Finding
from eastwall.policy.kinds import DetectionPolicy, Policy
from eastwall.policy.patterns import Paths, compile_globs
from eastwall.policy.rules import Bound, CompiledRule
from eastwall.policy.steps.applying import FAILED, MODES, applies, match_of
from eastwall.policy.steps.outcome import Outcome
from eastwall.policy.world import World

SEVERITY = {name: rank for rank, name in enumerate(SEVERITIES)}
CONFIDENCE = {name: rank for rank, name in enumerate(CONFIDENCES)}


class DetectionRule(CompiledRule):
    """A DetectionPolicy."""

    __slots__ = ("action", "default_actions", "detects", "least_confidence", "least_severity")
    step = "detections"

    def __init__(self, policy: Policy, spec: DetectionPolicy, world: World) -> None:
        super().__init__(policy, spec, world)
        self.action = spec.action
        self.detects = compile_globs(spec.detections)
        self.least_severity = SEVERITIES.index(spec.min_severity)
        self.least_confidence = CONFIDENCES.index(spec.min_confidence)
        self.default_actions = world.default_actions


class DetectorFailure(Protocol):
    """A detector that raised (`detections.DetectorError`)."""

    @property
    def detection(self) -> str: ...
    @property
    def on_error(self) -> str: ...
    @property
    def message(self) -> str: ...


def judge(
    own_rules: Sequence[Bound[DetectionRule]],
    builtin_rules: Sequence[Bound[DetectionRule]],
    facts: Facts,
    paths: Paths,
    findings: Sequence[Finding],
    outcome: Outcome,
) -> None:
    """One's own policies that speak of a finding go before the built-in one."""
    own = [bound for bound in own_rules if applies(bound, facts, paths, outcome)]
    builtin = [bound for bound in builtin_rules if applies(bound, facts, paths, outcome)]
    for finding in findings:
        items = _items(finding, facts)
        speaking = [(bound, _acts(bound.rule, finding, items)) for bound in own if _concerns(bound.rule, finding)]
        fallback = [(bound, _acts(bound.rule, finding, items)) for bound in builtin if _concerns(bound.rule, finding)]
        enforced = [one for one in speaking if one[0].mode is Mode.ENFORCE] or [
            one for one in fallback if one[0].mode is Mode.ENFORCE
        ]
        watched = speaking or fallback
        for bound, acts in dict.fromkeys(enforced + watched):
            rule = bound.rule
            mode = bound.mode
            match = match_of(
                rule,
                mode,
                acts,
                f"{finding.id} ({finding.severity}, {finding.confidence} confidence) at {finding.where}: {finding.message}"
                + (
                    f"; {len(items):,} item{'s are' if len(items) > 1 else ' is'} withheld, counts stay as they are"
                    if acts == "filter"
                    else ""
                ),
                finding.id,
                _mend(finding),
            )
            outcome.matches.append(match)
            if acts == "filter":
                if (bound, acts) in enforced and not outcome.excused(match, Mode.ENFORCE):
                    outcome.withhold(items, match)
                if (bound, acts) in watched and outcome.withheld_then is None and not outcome.excused(match, Mode.MONITOR):
                    outcome.withheld_then = match
            if acts != "block":
                continue
            if (bound, acts) in enforced:
                outcome.stop_now("block", match, _refusal(facts, rule))
            if (bound, acts) in watched:
                outcome.stop_then("block", match)


def _concerns(rule: DetectionRule, finding: Finding) -> bool:
    return (
        (rule.detects is None or rule.detects(finding.id))
        and SEVERITY.get(finding.severity, 4) >= rule.least_severity
        and CONFIDENCE.get(finding.confidence, 2) >= rule.least_confidence
    )


def _acts(rule: DetectionRule, finding: Finding, items: Sequence[tuple[str | int, ...]]) -> str:
    if rule.action == "default":
        acts = rule.default_actions.get(finding.id, "report")
        return "filter" if acts == "block" and items else acts
    return "block" if rule.action == "filter" and not items else rule.action


def _items(finding: Finding, facts: Facts) -> tuple[tuple[str | int, ...], ...]:
    """Paths of the items of lists that a finding is about; empty where it is not about items, or the message cannot be cut."""
    if facts.call.response is None or not facts.deviations or facts.operation.body_kind != "json":
        return ()
    if finding.id != "owner-mismatch" or facts.operation.protocol == "mcp":
        return ()  # MCP says everything twice: structured, and as text
    return next((one.items for one in facts.deviations if type(one) is OwnerMismatch and one.place == finding.where), ())


def _mend(finding: Finding) -> str:
    return f"a call without this in `{finding.where}`; where it is legitimate, a DetectionPolicy with `action: report` for the operation"


def _refusal(facts: Facts, rule: DetectionRule) -> Deny:
    # Nothing of the finding goes to the caller: an attacker would learn what to change.
    if facts.call.response is None:
        return Deny(403, "Request refused", rule.reason or "The request was refused by a security policy.", "request-refused")
    return Deny(403, "Response withheld", rule.reason or "The response was withheld by a security policy.", "response-withheld")


def fail(ceiling: Mode, error: DetectorFailure, outcome: Outcome) -> None:
    """A detector raised; `ceiling` is the service's mode."""
    mode = min(ceiling, MODES.get(error.on_error, Mode.ENFORCE))
    blocks = error.on_error != "allow"
    reason = f"detection {error.detection} failed (its on_error is `{error.on_error}`): {error.message}"
    match = PolicyMatch(
        "builtin/detector-errors", "DetectionPolicy", "builtin", mode, "block" if blocks else "allow", reason, error.detection
    )
    outcome.matches.append(match)
    if blocks:
        outcome.stop(mode, "block", match, FAILED)
