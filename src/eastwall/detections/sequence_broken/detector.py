"""A step was skipped that always comes before this one (OWASP API6:2023): on the same object, or by the same caller."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import SkippedStep
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

SURE = 12
"""Cases after which a rule is worth acting upon: it is a habit, and the next case the first to break it, with a probability of
1 / (12 + 2)^2 (see `behaviours.sessions.evidence`)."""
BY_NAME = 10
"""Cases that it is worth if the name of the operation presumes the missing one: nobody is given back what was not paid."""

META = Detection(
    id="sequence-broken",
    title="Step of a business flow skipped",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("API6:2023",),
    cwe=("CWE-841",),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding: the step with the most evidence."""
    skipped = [one for one in facts.deviations if type(one) is SkippedStep]
    if not skipped:
        return ()
    return (_finding(max(skipped, key=lambda one: (_sure(one), one.held)), facts),)


def _sure(one: SkippedStep) -> bool:
    cases = one.calls + one.pooled + (BY_NAME if one.named else 0)
    return one.causal and cases >= SURE and one.repeats != 1


def _finding(one: SkippedStep, facts: Facts) -> Finding:
    whom = f"{one.kind} {one.shown}" if one.kind else facts.identity.actor
    of = f" of class {one.cls}" if one.cls else ""
    how = "before each such call" if one.each else "before the first such call"
    alike = f" (and in {one.pooled:,} of the same step on other kinds)" if one.pooled else ""
    said = f"`{one.missing}` came {how} in {one.held:,} of {one.calls:,} learned cases{of}{alike}"
    if one.stale:
        message = f"{said}, within half an hour; the last time of {whom} was {one.stale / 3_600:,.1f} h ago"
    elif one.repeats:
        message = f"{whom} does this again without it: {said}; it was done {one.repeats} times in a row already"
    else:
        message = f"{said}; {'nobody did it on' if one.kind else 'now'} {whom}{'' if one.kind else ' has not done it'}"
    if not one.causal:
        message += "; that may be a habit of callers rather than a rule"
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence="medium" if _sure(one) else "low",
        owasp=META.owasp,
        where=one.place,
        message=message,
        evidence=f"without {one.missing}"[:120],
    )
