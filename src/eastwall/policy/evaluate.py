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
enforced too. So a monitored policy neither blocks nor *un*-blocks anything, and `would` may be milder than `action`.

**Default.** A call passes, unless an `allow` policy covers its operation and none selects its caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eastwall.model.call import Mode
from eastwall.model.decision import ALLOWED, Deny, Effect, PolicyMatch, Redact, Throttle, Verdict, Withhold
from eastwall.model.deviations import OwnerMismatch
from eastwall.model.facts import Facts
from eastwall.model.finding import CONFIDENCES, SEVERITIES, Finding
from eastwall.policy.compile import Bound, CompiledRule, Plan, Rules
from eastwall.policy.conditions import ConditionError, request_operation
from eastwall.policy.kinds import DetectionPolicy
from eastwall.policy.limits import LimitTable
from eastwall.policy.patterns import Paths
from eastwall.policy.wording import shown

SEVERITY = {name: rank for rank, name in enumerate(SEVERITIES)}
CONFIDENCE = {name: rank for rank, name in enumerate(CONFIDENCES)}
STRICTNESS = {"mask": 0, "format": 1, "hash": 2, "redact": 3, "drop": 4}
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

    __slots__ = ("action", "deciding", "effects", "matches", "withheld", "withheld_then", "would")

    def __init__(self) -> None:
        self.matches: list[PolicyMatch] = []
        self.effects: tuple[Effect, ...] = ()
        self.action = "allow"
        self.would = "allow"
        self.deciding: PolicyMatch | None = None
        self.withheld: dict[tuple[str | int, ...], PolicyMatch] = {}
        """Paths of items that enforced policies take out, if nothing stops the message."""
        self.withheld_then: PolicyMatch | None = None
        """The first that would take out some, enforced or not."""

    def stop(self, mode: Mode, action: str, match: PolicyMatch, effect: Effect) -> None:
        """A policy of this effective mode stops the call."""
        if mode is Mode.ENFORCE:
            self.stop_now(action, match, effect)
        self.stop_then(action, match)

    def stop_now(self, action: str, match: PolicyMatch, effect: Effect) -> None:
        """The enforced policies alone stop the call; only the first that does counts."""
        if self.action == "allow":
            self.action, self.effects, self.deciding = action, (effect,), match

    def stop_then(self, action: str, match: PolicyMatch) -> None:
        """The enforced and the monitored policies together would stop the call; only the first that does counts."""
        if self.would == "allow":
            self.would = action
            if self.deciding is None:
                self.deciding = match

    def verdict(self) -> Verdict:
        matches = self.matches
        if not matches:
            return ALLOWED
        if self.withheld and self.action in ("allow", "redact"):
            self.action, self.effects = "redact", (Withhold(tuple(self.withheld)), *self.effects)
            self.deciding = self.deciding or next(iter(self.withheld.values()))
        if self.withheld_then is not None and self.would == "allow":
            self.would = "redact"
            self.deciding = self.deciding or self.withheld_then
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
    paths = Paths(operation.path, operation.segments)
    outcome = _Outcome()
    if call.response is None:
        if rules.denies:
            _denies(rules, facts, paths, outcome)
        if rules.allows:
            _allows(rules, facts, paths, outcome)
        if rules.limits and outcome.action == "allow":
            _limits(rules, facts, paths, limits, outcome)
    if findings:
        _detections(rules, facts, paths, findings, outcome)
    for error in errors:
        _detector_error(rules, error, outcome)
    if facts.data:
        _data(rules, facts, paths, outcome)
    return outcome.verdict()


def _meets(bound: Bound, facts: Facts, paths: Paths) -> bool:
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


def _applies(bound: Bound, facts: Facts, paths: Paths, outcome: _Outcome) -> bool:
    """Scope, callers and conditions, with errors carried out as `onError` says. For policies that restrict."""
    if not (bound.always or bound.covers(paths)):
        return False
    try:
        return _meets(bound, facts, paths)
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
    outcome.stop(mode, "block", match, _FAILED)


def _match(rule: CompiledRule, mode: Mode, action: str, reason: str, finding: str = "", to_pass: str = "") -> PolicyMatch:
    return PolicyMatch(rule.name, rule.kind, rule.location, mode, action, reason, finding, to_pass)


_FAILED = Deny(503, "Inspection failed", "The call could not be checked, so it was not let through.", "inspection-failed")


def _denies(rules: Rules, facts: Facts, paths: Paths, outcome: _Outcome) -> None:
    for bound in rules.denies:
        if _applies(bound, facts, paths, outcome):
            rule = bound.rule
            reason = rule.reason or f"the policy denies this to {shown(facts.identity.actor)}"
            match = _match(rule, bound.mode, "block", reason, "", rule.to_pass)
            outcome.matches.append(match)
            outcome.stop(bound.mode, "block", match, _denial(rule))


def _allows(rules: Rules, facts: Facts, paths: Paths, outcome: _Outcome) -> None:
    """Policies that allow: each closes what it covers and opens it to those whom it selects.

    Worked out twice: for the enforced ones alone, and for all.
    """
    closing: list[Bound] = []
    opened = opened_all = False
    failed: list[Mode] = []
    for bound in rules.allows:
        if not (bound.always or bound.covers(paths)):
            continue
        closing.append(bound)
        rule = bound.rule
        enforced = bound.mode is Mode.ENFORCE
        try:
            if (bound.opens or bound.admits(paths)) and _meets(bound, facts, paths):
                outcome.matches.append(bound.allowing)
                opened_all = True
                opened = opened or enforced
        except ConditionError as error:
            reason = f"its condition could not be evaluated: {error}"
            outcome.matches.append(_match(rule, bound.mode, "report", reason))
            if rule.on_error == "allow":
                opened_all = True
            else:
                failed.append(bound.mode)
            # `monitor` does not block the call, but it would have.
            opened = opened or (enforced and rule.on_error != "block")
    now = None if opened else next((bound for bound in closing if bound.mode is Mode.ENFORCE), None)
    then = None if opened_all or not closing else closing[0]
    if now is not None:
        match, effect = _default_deny(now, Mode.ENFORCE, facts, failed=Mode.ENFORCE in failed)
        outcome.matches.append(match)
        outcome.stop_now("block", match, effect)
        if then is not None:
            outcome.stop_then("block", match)
    elif then is not None:
        match, _ = _default_deny(then, Mode.MONITOR, facts, failed=bool(failed))
        outcome.matches.append(match)
        outcome.stop_then("block", match)


def _default_deny(bound: Bound, view: Mode, facts: Facts, *, failed: bool) -> tuple[PolicyMatch, Effect]:
    rule = bound.rule
    because = "a condition could not be evaluated" if failed else f"none allows {shown(facts.identity.actor)}"
    reason = f"the operation is open to those only whom a policy allows, and {because}"
    return _match(rule, view, "block", reason, "", rule.to_pass), _FAILED if failed else _denial(rule)


def _denial(rule: CompiledRule) -> Deny:
    return Deny(403, "Access denied", rule.reason or "You may not call this operation.", "access-denied")


def _limits(rules: Rules, facts: Facts, paths: Paths, limits: LimitTable, outcome: _Outcome) -> None:
    call = facts.call
    for bound in rules.limits:
        if not _applies(bound, facts, paths, outcome):
            continue
        rule = bound.rule
        key = _limit_key(rule, facts)
        allowed, retry, remaining = limits.take(key, call.time, rule.interval, rule.burst)
        if allowed:
            continue
        words = f"more than {rule.rate} ({rule.burst} at once) per {' and '.join(sorted(rule.per))}"
        match = _match(rule, bound.mode, "limit", rule.reason or words, "", f"wait {retry:.3g} s")
        outcome.matches.append(match)
        detail = rule.reason or f"The limit of {rule.rate} is reached."
        outcome.stop(bound.mode, "limit", match, Throttle(retry, rule.limit, remaining, detail))
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


def _detections(rules: Rules, facts: Facts, paths: Paths, findings: Sequence[Finding], outcome: _Outcome) -> None:
    own = [bound for bound in rules.detections if _applies(bound, facts, paths, outcome)]
    builtin = [bound for bound in rules.builtin_detections if _applies(bound, facts, paths, outcome)]
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
            match = _match(
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
                if (bound, acts) in enforced:
                    outcome.withheld.update(dict.fromkeys(items, match))
                if (bound, acts) in watched and outcome.withheld_then is None:
                    outcome.withheld_then = match
            if acts != "block":
                continue
            if (bound, acts) in enforced:
                outcome.stop_now("block", match, _refusal(facts, rule))
            if (bound, acts) in watched:
                outcome.stop_then("block", match)


def _concerns(rule: CompiledRule, finding: Finding) -> bool:
    return (
        (rule.detects is None or rule.detects(finding.id))
        and SEVERITY.get(finding.severity, 4) >= rule.least_severity
        and CONFIDENCE.get(finding.confidence, 2) >= rule.least_confidence
    )


def _acts(rule: CompiledRule, finding: Finding, items: Sequence[tuple[str | int, ...]]) -> str:
    spec = rule.spec
    assert isinstance(spec, DetectionPolicy)
    if spec.action == "default":
        acts = rule.default_actions.get(finding.id, "report")
        return "filter" if acts == "block" and items else acts
    return "block" if spec.action == "filter" and not items else spec.action


def _items(finding: Finding, facts: Facts) -> tuple[tuple[str | int, ...], ...]:
    """Paths of the items of lists that a finding is about; empty where it is not about items, or the message cannot be cut."""
    if facts.call.response is None or not facts.deviations or facts.operation.body_kind != "json":
        return ()
    if finding.id != "owner-mismatch" or facts.operation.protocol == "mcp":
        return ()  # MCP says everything twice: structured, and as text
    return next((one.items for one in facts.deviations if type(one) is OwnerMismatch and one.place == finding.where), ())


def _mend(finding: Finding) -> str:
    return f"a call without this in `{finding.where}`; where it is legitimate, a DetectionPolicy with `action: report` for the operation"


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
        outcome.stop(mode, "block", match, _FAILED)


def _data(rules: Rules, facts: Facts, paths: Paths, outcome: _Outcome) -> None:
    direction = "request" if facts.call.response is None else "response"
    found = dict.fromkeys([hit.data_class for hit in facts.data])
    changing: list[tuple[Bound, list[str], PolicyMatch]] = []
    for bound in rules.data[direction]:
        rule = bound.rule
        classes: list[str] = [name for name in found if name in rule.classes]
        if not classes or not _applies(bound, facts, paths, outcome):
            continue
        blocks = rule.style == "block"
        reason = rule.reason or f"{', '.join(classes)} in the {direction}, for {shown(facts.identity.actor)}: {rule.style}"
        match = _match(rule, bound.mode, "block" if blocks else "redact", reason, "", rule.to_pass)
        outcome.matches.append(match)
        if blocks:
            title = "Request refused" if direction == "request" else "Response withheld"
            detail = rule.reason or f"The {direction} holds data that may not pass."
            outcome.stop(bound.mode, "block", match, Deny(403, title, detail, "data-blocked"))
        else:
            changing.append((bound, classes, match))
    # After all of them: a policy that blocks goes before those that change, wherever it stands.
    for bound, _, match in changing:
        outcome.stop(bound.mode, "redact", match, _UNCHANGED)
    if outcome.action == "redact":
        outcome.effects = _redactions(changing)


_UNCHANGED = Redact((), "redact")
"""Stands in until all data policies are known."""


def _redactions(changing: Sequence[tuple[Bound, list[str], PolicyMatch]]) -> tuple[Effect, ...]:
    """One effect per style, strictest first; each class is under the strictest style of the enforced policies that name it."""
    styles: dict[str, str] = {}
    for bound, classes, _ in changing:
        if bound.mode is Mode.ENFORCE:
            style = bound.rule.style
            for name in classes:
                if name not in styles or STRICTNESS[style] > STRICTNESS[styles[name]]:
                    styles[name] = style
    by_style: dict[str, list[str]] = {}
    for name, style in styles.items():
        by_style.setdefault(style, []).append(name)
    return tuple(Redact(tuple(by_style[style]), style) for style in sorted(by_style, key=STRICTNESS.__getitem__, reverse=True))
