"""Which policies are asked about a recorded call, in the order in which `evaluate` asks them, and what each says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from eastwall.model.decision import Verdict
from eastwall.policy.compile import Plan, Rules
from eastwall.policy.conditions import ConditionError
from eastwall.policy.evaluate import evaluate
from eastwall.policy.limits import LimitTable
from eastwall.policy.patterns import Paths
from eastwall.policy.recorded import STOPPED, RecordedCall, UnrecordedError
from eastwall.policy.rules import Bound
from eastwall.policy.steps.applying import NOWHERE, holds
from eastwall.policy.wording import shown


class Asked(Struct, frozen=True):
    """One policy in whose scope the call is."""

    step: str
    """`quarantine`, `zone`, `access deny`, `access allow`, `tools`, `schema`, `limits`, `detections`, `data of the request`, ..."""
    policy: str
    kind: str
    location: str
    mode: str
    """As it is in force: the lower of its own and its service's."""
    applies: bool | None
    """None: the record does not tell."""
    why: str
    """Why it does not apply, or cannot be told; empty when it applies."""


def trace(plan: Plan, call: RecordedCall) -> list[Asked]:
    """Policies in whose scope the call is, in order."""
    facts = call.request
    rules = plan.rules_for(call.record.service, call.record.method, facts.match.endpoint, facts.operation)
    paths = Paths(facts.operation.path, facts.operation.segments)
    found = []
    for step, bound in _in_order(rules):
        if not (bound.always or bound.covers(paths)):
            continue
        applies, why = _says(bound, call, paths, loosens=step in ("access allow", "exception"))
        rule = bound.rule
        found.append(Asked(step, rule.name, rule.kind, rule.location, bound.mode.name.lower(), applies, why))
    return found


def verdicts(plan: Plan, call: RecordedCall) -> list[Verdict]:
    """Of the request, and of the answer where there was one that anything is about. Raises UnrecordedError."""
    limits = LimitTable()
    found = [evaluate(plan, call.request, call.findings, (), limits)]
    if found[0].action not in STOPPED and (call.data or call.response_findings):
        found.append(evaluate(plan, call.response(), call.response_findings, (), limits))
    return found


def _in_order(rules: Rules) -> Iterator[tuple[str, Bound[Any]]]:
    """As `evaluate` states it; exceptions last, since they are asked only when something would stop the call."""
    for step, bound in (
        ("quarantine", rules.quarantines),
        ("zone", rules.zones),
        ("access deny", rules.denies),
        ("access allow", rules.allows),
        ("tools", rules.tools),
        ("schema", rules.schemas),
        ("limits", rules.limits),
        ("detections", rules.detections),
        ("detections", rules.builtin_detections),
        ("data of the request", rules.data["request"]),
        ("data of the response", rules.data["response"]),
        ("exception", rules.exceptions),
    ):
        for one in bound:
            yield step, one


def _says(bound: Bound[Any], call: RecordedCall, paths: Paths, *, loosens: bool) -> tuple[bool | None, str]:
    rule, facts = bound.rule, call.request
    if loosens and not (bound.opens or bound.admits(paths)):
        return False, "not every reading of the path is in its scope"
    if rule.selects is not None and not rule.selects(facts.identity):
        return False, f"it is not about callers such as {shown(facts.identity.actor)} ({facts.identity.strength.name.lower()})"
    if rule.exempt is not None and rule.exempt(facts.identity):
        return False, "the caller is exempt"
    ways = bound.params(paths) if rule.uses_path else NOWHERE
    for condition in rule.conditions:
        try:
            if not holds((condition,), facts, ways, loosens=loosens):
                return False, f"{shown(condition.text)} is false"
        except UnrecordedError as error:
            return None, f"{shown(condition.text)}: {error}"
        except ConditionError as error:
            return False, f"its condition cannot be evaluated, so its `onError: {rule.on_error}` holds: {error}"
    return True, ""
