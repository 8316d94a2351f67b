"""`evaluate`: the verdict on one message of a call.

**Order.** First that decides wins; all that matched are recorded.

1. quarantine - what is closed in an emergency, nothing else opens
2. admission (a zone's authentication) - who callers are must be certain before it is asked what they may
3. access deny - before every allow, so that no allow can undo a ban
4. access allow, or the zone's default - who may call is settled before anything is counted or looked into; an AccessPolicy is narrower than a
   zone, so what one allows enters the zone too
5. tools - what an agent's call does within an operation that it may call
6. schema - a body that is not as it should be, of somebody who may send one; before limits, which count what the service will get
7. limits - after access, so that calls which are refused anyway use up nobody's rate; before findings, so that a flood of attacks
   is slowed down like any other flood
8. detections, then detectors that failed - what is wrong with a call of somebody who may make it
9. data - last, because it changes the message instead of refusing it, and what is refused needs no change
10. of answers, what limits count in them, and what of them closes tools to the caller (taint) - after all else, because only what is given
   counts

**Modes.** The effective mode of a policy is the lower of its own and its service's. DISCOVER: not evaluated. `action` and
`effects` come from the policies in ENFORCE alone, as if no others existed; `would` is the outcome if those in MONITOR were
enforced too. So a monitored policy neither blocks nor *un*-blocks anything, and `would` may be milder than `action`.

**Exceptions** are asked wherever a policy would stop a call; what is excused is recorded as such, and the next policy is asked.

**In short.** A request that these steps would let in, of an operation that only asks who calls and how often, is let in by `fast_path` without them.

A policy that is rolled out to a part of the calls, or that its guard took back, counts as monitored where it is not in force.

**Default.** A call passes, unless an `allow` policy covers its operation and none selects its caller, or it comes into a zone from outside.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from eastwall.model.call import Mode
from eastwall.model.decision import ALLOWED, Verdict
from eastwall.model.facts import Facts
from eastwall.model.finding import Finding
from eastwall.policy import fast_path
from eastwall.policy.compile import Plan, Rules
from eastwall.policy.conditions import request_operation
from eastwall.policy.limits import LimitTable
from eastwall.policy.patterns import Paths
from eastwall.policy.steps import access, approvals, data, detections, quarantine, schema, taints, tool_schemas, tools, zones
from eastwall.policy.steps import limits as rate_limits
from eastwall.policy.steps.exceptions import CallExcuses
from eastwall.policy.steps.outcome import Outcome


def evaluate(
    plan: Plan,
    facts: Facts,
    findings: Sequence[Finding],
    errors: Sequence[detections.DetectorFailure],
    limits: LimitTable,
    *,
    event: bool = False,
    stepped_back: Container[str] = (),
) -> Verdict:
    """The verdict on one message; `findings` and `errors` are those of this phase. `event`: it is one of a stream, whose call's request was
    counted. `stepped_back`: policies that their guards took back. Never raises on a checked plan."""
    call, endpoint = facts.call, facts.match.endpoint
    if endpoint is not None and call.response is None and not (facts.data or findings or errors or event):
        fast = plan.fast.get(endpoint.id)
        if fast is not None and (verdict := fast_path.judge(fast, facts, limits)) is not None:
            return verdict
    operation = request_operation(facts)
    rules = plan.rules_for(call.service, call.request.method, endpoint, operation)
    if rules.staged:
        rules = rules.for_call(facts, stepped_back)
    asked = call.response is None
    unread = not facts.data and not (rules.reads_request if asked else rules.reads_response)
    counts = not asked and call.id in limits.meters
    plain = unread and not findings and not errors
    lists = rules.listing and not asked and operation.name == tool_schemas.LISTS
    if plain and (rules.quiet if asked else not (rules.pinning or counts or rules.taints or lists)):
        return ALLOWED
    if rules.mode is Mode.DISCOVER:
        if rules.taints:
            taints.note(rules.taints, facts, limits, Outcome(), event=event)
        return ALLOWED
    if plain and asked and rules.steady:
        return _steady(rules, facts)
    paths = Paths(operation.path, operation.segments)
    outcome = Outcome(CallExcuses(rules.exceptions, facts, paths)) if rules.exceptions else Outcome()
    if asked:
        if rules.quarantines:
            quarantine.judge(rules.quarantines, facts, paths, limits, outcome, event=event)
        if rules.zones:
            zones.admit(rules.zones, facts, outcome)
        if rules.denies:
            access.deny(rules.denies, facts, paths, outcome)
        opened = access.allow(rules.allows, facts, paths, outcome) if rules.allows else (False, False)
        if rules.zones:
            zones.enter(rules.zones, facts, paths, outcome, opened)
        if rules.tools:
            tools.judge(rules.tools, facts, paths, limits, outcome)
    elif rules.pinning:
        tools.compare(rules.pinning, facts, paths, outcome)
    if rules.schemas:
        schema.judge(rules.schemas, rules.pinning, facts, paths, limits, outcome, event=event)
    if rules.limits and call.response is None and outcome.action == "allow" and not event:
        rate_limits.limit(rules.limits, facts, paths, limits, outcome)
    if findings:
        detections.judge(rules.detections, rules.builtin_detections, facts, paths, findings, outcome)
    for error in errors:
        detections.fail(rules.mode, error, outcome)
    if not unread:
        data.judge(rules.data, rules.turning, facts, paths, outcome, event=event)
    if counts:
        rate_limits.answer(facts, limits, outcome, event=event)
    if lists and outcome.action in ("allow", "redact"):
        tool_schemas.learn(rules.pinning, facts, limits)
    if outcome.uses or outcome.waiting:
        approvals.settle(facts, limits, outcome)
    if rules.taints and not asked:
        taints.note(rules.taints, facts, limits, outcome, event=event)
    return outcome.verdict()


_NO_PATHS = Paths("", ())


def _steady(rules: Rules, facts: Facts) -> Verdict:
    """As below, for the most frequent case: a request of which it is only asked who makes it."""
    outcome = Outcome()
    if rules.denies:
        access.deny(rules.denies, facts, _NO_PATHS, outcome)
    if rules.allows:
        access.allow(rules.allows, facts, _NO_PATHS, outcome)
    return outcome.verdict()
