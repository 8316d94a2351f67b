"""`evaluate`: the verdict on one message of a call.

**Order.** First that decides wins; all that matched are recorded.

1. (authentication, quarantine: kinds of later issues; they come first because they say who may be here at all)
2. access deny - before every allow, so that no allow can undo a ban
3. access allow, or the default - who may call is settled before anything is counted or looked into
4. limits - after access, so that calls which are refused anyway use up nobody's rate; before findings, so that a flood of attacks
   is slowed down like any other flood
5. detections, then detectors that failed - what is wrong with a call of somebody who may make it
6. data - last, because it changes the message instead of refusing it, and what is refused needs no change

**Modes.** The effective mode of a policy is the lower of its own and its service's. DISCOVER: not evaluated. `action` and
`effects` come from the policies in ENFORCE alone, as if no others existed; `would` is the outcome if those in MONITOR were
enforced too. So a monitored policy neither blocks nor *un*-blocks anything.

**Default.** A call passes, unless an `allow` policy covers its operation and none selects its caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eastwall.model.call import Mode
from eastwall.model.decision import ALLOWED, Deny, Effect, PolicyMatch, Redact, Throttle, Verdict
from eastwall.model.facts import Facts
from eastwall.model.finding import CONFIDENCES, SEVERITIES, Finding
from eastwall.policy.compile import Bound, CompiledRule, Plan, Rules
from eastwall.policy.conditions import ConditionError, request_operation
from eastwall.policy.kinds import DataPolicy, DetectionPolicy
from eastwall.policy.limits import LimitTable
from eastwall.policy.patterns import Segments

SEVERITY = {name: rank for rank, name in enumerate(SEVERITIES)}
CONFIDENCE = {name: rank for rank, name in enumerate(CONFIDENCES)}
STRICTNESS = {"mask": 0, "hash": 1, "redact": 2, "drop": 3}
"""Of several data policies for a class the strictest holds: the one that leaves least."""
MODES = {"block": Mode.ENFORCE, "monitor": Mode.MONITOR}
"""How far an error goes at most, by `onError`; `allow` is not among them."""


class DetectorFailure(Protocol):
    """A detector that raised (`detections.DetectorError`)."""

    @property
    def detection(self) -> str: ...
    @property
    def on_error(self) -> str: ...
    @property
    def message(self) -> str: ...


class _Outcome:
    """What the steps have found so far."""

    __slots__ = ("action", "deciding", "effects", "matches", "would")

    def __init__(self) -> None:
        self.matches: list[PolicyMatch] = []
        self.effects: tuple[Effect, ...] = ()
        self.action = "allow"
        self.would = "allow"
        self.deciding: PolicyMatch | None = None

    def decide(self, mode: Mode, action: str, match: PolicyMatch, effect: Effect) -> None:
        """A policy stops the call; only the first counts, for either of the two outcomes."""
        if mode is Mode.ENFORCE and self.action == "allow":
            self.action, self.effects, self.deciding = action, (effect,), match
        if self.would == "allow":
            self.would = action
            if self.deciding is None:
                self.deciding = match

    def verdict(self) -> Verdict:
        matches = self.matches
        if not matches:
            return ALLOWED
        if self.deciding is not None:
            first = next(
                i for i, match in enumerate(matches) if match.action not in ("allow", "report") or match is self.deciding
            )
            matches.remove(self.deciding)
            matches.insert(first, self.deciding)
        return Verdict(self.action, self.would, self.effects, tuple(matches))


def evaluate(
    plan: Plan, facts: Facts, findings: Sequence[Finding], errors: Sequence[DetectorFailure], limits: LimitTable
) -> Verdict:
    """The verdict on one message; `findings` and `errors` are those of this phase. Never raises on a checked plan."""
    call = facts.call
    operation = request_operation(facts)
    rules = plan.rules_for(call.service, call.request.method, facts.match.endpoint, operation)
    if not findings and not errors and not facts.data and (rules.quiet or call.response is not None):
        return ALLOWED
    if rules.mode is Mode.DISCOVER:
        return ALLOWED
    ways = plan.ways(operation) if rules.patterned else (operation.segments,)
    outcome = _Outcome()
    if call.response is None:
        if rules.denies:
            _denies(rules, facts, ways, outcome)
        if rules.allows:
            _allows(rules, facts, ways, outcome)
        if rules.limits and outcome.action == "allow":
            _limits(rules, facts, ways, limits, outcome)
    if findings:
        _detections(rules, facts, ways, findings, outcome)
    for error in errors:
        _detector_error(rules, error, outcome)
    if facts.data:
        _data(rules, facts, ways, outcome)
    return outcome.verdict()


def _holds(bound: Bound, facts: Facts, ways: Sequence[Segments]) -> bool:
    """Scope, callers and conditions. Raises `ConditionError`."""
    rule = bound.rule
    if not (bound.always or bound.covers(ways)):
        return False
    if rule.selects is not None and not rule.selects(facts.identity):
        return False
    if rule.exempt is not None and rule.exempt(facts.identity):
        return False
    if rule.conditions:
        params = bound.params(ways) if any(condition.uses_path for condition in rule.conditions) else {}
        return all(condition.holds(facts, params) for condition in rule.conditions)
    return True


def _applies(bound: Bound, facts: Facts, ways: Sequence[Segments], outcome: _Outcome) -> bool:
    """`_holds`, with errors carried out as `onError` says. For policies that restrict."""
    try:
        return _holds(bound, facts, ways)
    except ConditionError as error:
        _condition_error(bound, error, outcome)
        return False


def _condition_error(bound: Bound, error: ConditionError, outcome: _Outcome) -> None:
    rule = bound.rule
    if rule.on_error == "allow":
        outcome.matches.append(
            _match(rule, bound.mode, "allow", f"its condition could not be evaluated, `onError: allow` lets it pass: {error}")
        )
        return
    mode = min(bound.mode, MODES[rule.on_error])
    match = _match(rule, mode, "block", f"its condition could not be evaluated: {error}", "", "send what the condition reads")
    outcome.matches.append(match)
    outcome.decide(mode, "block", match, _FAILED)


def _match(rule: CompiledRule, mode: Mode, action: str, reason: str, finding: str = "", to_pass: str = "") -> PolicyMatch:
    return PolicyMatch(rule.name, rule.kind, rule.location, mode, action, reason, finding, to_pass)


_FAILED = Deny(503, "Inspection failed", "The call could not be checked, so it was not let through.", "inspection-failed")


def _denies(rules: Rules, facts: Facts, ways: Sequence[Segments], outcome: _Outcome) -> None:
    for bound in rules.denies:
        if _applies(bound, facts, ways, outcome):
            rule = bound.rule
            match = _match(
                rule,
                bound.mode,
                "block",
                rule.reason or f"the policy denies this to `{facts.identity.actor}`",
                to_pass=rule.to_pass,
            )
            outcome.matches.append(match)
            outcome.decide(
                bound.mode,
                "block",
                match,
                Deny(403, "Access denied", rule.reason or "You may not call this operation.", "access-denied"),
            )


def _allows(rules: Rules, facts: Facts, ways: Sequence[Segments], outcome: _Outcome) -> None:
    """Policies that allow: each closes what it covers and opens it to those it selects.

    Worked out once for the enforced ones and once with the monitored ones.
    """
    closing: dict[Mode, Bound] = {}
    failed: dict[Mode, ConditionError] = {}
    opened = {Mode.ENFORCE: False, Mode.MONITOR: False}
    for bound in rules.allows:
        if not bound.covers(ways):
            continue
        rule = bound.rule
        views = (Mode.ENFORCE, Mode.MONITOR) if bound.mode is Mode.ENFORCE else (Mode.MONITOR,)
        for view in views:
            closing.setdefault(view, bound)
        try:
            if bound.admits(ways) and _holds(bound, facts, ways):
                outcome.matches.append(_match(rule, bound.mode, "allow", rule.reason or "the policy allows this caller"))
                for view in views:
                    opened[view] = True
        except ConditionError as error:
            words = f"its condition could not be evaluated: {error}"
            action = "allow" if rule.on_error == "allow" else "block"
            outcome.matches.append(_match(rule, min(bound.mode, MODES.get(rule.on_error, Mode.ENFORCE)), action, words))
            for view in views:
                # `monitor` does not block the call, but it would have.
                if rule.on_error == "allow" or (rule.on_error == "monitor" and view is Mode.ENFORCE):
                    opened[view] = True
                else:
                    failed[view] = error
    for view in (Mode.ENFORCE, Mode.MONITOR):
        if view in closing and not opened[view]:
            _default_deny(closing[view], view, facts, outcome, failed=view in failed)


def _default_deny(bound: Bound, view: Mode, facts: Facts, outcome: _Outcome, *, failed: bool) -> None:
    if view is Mode.MONITOR and outcome.would != "allow":
        return  # enforcing what is enforced already stops it
    rule = bound.rule
    reason = f"the operation is open to those only whom a policy allows, and none allows `{facts.identity.actor}`"
    match = _match(rule, view, "block", reason, to_pass=rule.to_pass)
    outcome.matches.append(match)
    effect = _FAILED if failed else Deny(403, "Access denied", rule.reason or "You may not call this operation.", "access-denied")
    outcome.decide(view, "block", match, effect)


def _limits(rules: Rules, facts: Facts, ways: Sequence[Segments], limits: LimitTable, outcome: _Outcome) -> None:
    call = facts.call
    for bound in rules.limits:
        if not _applies(bound, facts, ways, outcome):
            continue
        rule = bound.rule
        key = _limit_key(rule, facts)
        allowed, retry, remaining = limits.take(key, call.time, rule.interval, rule.burst)
        if allowed:
            continue
        words = f"more than {rule.spec.rate} ({rule.burst} at once) per {' and '.join(rule.spec.per)}"  # type: ignore[union-attr]
        match = _match(rule, bound.mode, "limit", rule.reason or words, to_pass=f"wait {retry:.3g} s")
        outcome.matches.append(match)
        detail = rule.reason or f"The limit of {rule.spec.rate} is reached."  # type: ignore[union-attr]
        outcome.decide(bound.mode, "limit", match, Throttle(retry, rule.limit, remaining, detail))
        if outcome.action != "allow":
            return  # a call that is turned away uses up no further limit


def _limit_key(rule: CompiledRule, facts: Facts) -> tuple[str, ...]:
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


def _detections(rules: Rules, facts: Facts, ways: Sequence[Segments], findings: Sequence[Finding], outcome: _Outcome) -> None:
    own = [bound for bound in rules.detections if _applies(bound, facts, ways, outcome)]
    builtin = [bound for bound in rules.builtin_detections if _applies(bound, facts, ways, outcome)]
    for finding in findings:
        speaking = [(bound, _acts(bound.rule, finding)) for bound in own if _concerns(bound.rule, finding)]
        fallback = [(bound, _acts(bound.rule, finding)) for bound in builtin if _concerns(bound.rule, finding)]
        enforced = [one for one in speaking if one[0].mode is Mode.ENFORCE] or [
            one for one in fallback if one[0].mode is Mode.ENFORCE
        ]
        watched = speaking or fallback
        for bound, acts in dict.fromkeys(enforced + watched):
            rule = bound.rule
            mode = bound.mode
            match = _match(
                rule,
                mode,
                acts,
                f"{finding.id} ({finding.severity}, {finding.confidence} confidence) at {finding.where}: {finding.message}",
                finding.id,
                _mend(finding),
            )
            outcome.matches.append(match)
            if acts != "block":
                continue
            effect = _refusal(facts, rule)
            if (bound, acts) in enforced:
                outcome.decide(Mode.ENFORCE, "block", match, effect)
            if (bound, acts) in watched:
                outcome.decide(Mode.MONITOR, "block", match, effect)


def _concerns(rule: CompiledRule, finding: Finding) -> bool:
    return (
        (rule.detects is None or rule.detects(finding.id))
        and SEVERITY.get(finding.severity, 4) >= rule.least_severity
        and CONFIDENCE.get(finding.confidence, 2) >= rule.least_confidence
    )


def _acts(rule: CompiledRule, finding: Finding) -> str:
    spec = rule.spec
    assert isinstance(spec, DetectionPolicy)
    return spec.action if spec.action != "default" else rule.default_actions.get(finding.id, "report")


def _mend(finding: Finding) -> str:
    return (
        f"send nothing like this in `{finding.where}`; if it is legitimate, write a DetectionPolicy with `action: report` for it"
    )


def _refusal(facts: Facts, rule: CompiledRule) -> Deny:
    # Nothing of the finding goes to the caller: an attacker would learn what to change.
    if facts.call.response is None:
        return Deny(403, "Request refused", rule.reason or "The request was refused by a security policy.", "request-refused")
    return Deny(403, "Response withheld", rule.reason or "The response was withheld by a security policy.", "response-withheld")


def _detector_error(rules: Rules, error: DetectorFailure, outcome: _Outcome) -> None:
    mode = min(rules.mode, MODES.get(error.on_error, Mode.ENFORCE))
    blocks = error.on_error != "allow"
    reason = f"detection {error.detection} failed (its on_error is `{error.on_error}`): {error.message}"
    match = PolicyMatch(
        "builtin/detector-errors", "DetectionPolicy", "builtin", mode, "block" if blocks else "allow", reason, error.detection
    )
    outcome.matches.append(match)
    if blocks:
        outcome.decide(mode, "block", match, _FAILED)


def _data(rules: Rules, facts: Facts, ways: Sequence[Segments], outcome: _Outcome) -> None:
    direction = "request" if facts.call.response is None else "response"
    found = dict.fromkeys(hit.data_class for hit in facts.data)
    styles: dict[Mode, dict[str, str]] = {Mode.ENFORCE: {}, Mode.MONITOR: {}}
    first: dict[Mode, PolicyMatch] = {}
    for bound in rules.data[direction]:
        rule = bound.rule
        spec = rule.spec
        assert isinstance(spec, DataPolicy)
        classes = [name for name in found if name in spec.classes]
        if not classes or not _applies(bound, facts, ways, outcome):
            continue
        action = "block" if spec.action == "block" else "redact"
        reason = rule.reason or f"{', '.join(classes)} in the {direction}, for `{facts.identity.actor}`: {spec.action}"
        match = _match(rule, bound.mode, action, reason, to_pass=rule.to_pass)
        outcome.matches.append(match)
        if action == "block":
            title = "Request refused" if direction == "request" else "Response withheld"
            detail = rule.reason or f"The {direction} holds data that may not pass."
            outcome.decide(bound.mode, "block", match, Deny(403, title, detail, "data-blocked"))
            continue
        for view in (Mode.ENFORCE, Mode.MONITOR) if bound.mode is Mode.ENFORCE else (Mode.MONITOR,):
            first.setdefault(view, match)
            for name in classes:
                held = styles[view].get(name)
                if held is None or STRICTNESS[spec.action] > STRICTNESS[held]:
                    styles[view][name] = spec.action
    # After all of them: a policy that blocks goes before those that change, wherever it stands.
    for view in (Mode.ENFORCE, Mode.MONITOR):
        if view in first:
            outcome.decide(view, "redact", first[view], Redact((), "redact"))
            if view is Mode.ENFORCE and outcome.action == "redact":
                outcome.effects = _redactions(styles[view])


def _redactions(styles: dict[str, str]) -> tuple[Effect, ...]:
    by_style: dict[str, list[str]] = {}
    for name, style in styles.items():
        by_style.setdefault(style, []).append(name)
    return tuple(Redact(tuple(by_style[style]), style) for style in sorted(by_style, key=lambda style: -STRICTNESS[style]))
