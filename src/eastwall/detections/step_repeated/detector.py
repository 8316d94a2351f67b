"""A step that is taken once is taken again by the same caller (OWASP API6:2023): one coupon on every order, one refund ten times at once."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.repetition import abusive, often
from eastwall.model.deviations import RepeatedStep
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

BY_NAME = 10
"""Things on which a step was done once that a name like `refund` or `redeem` is worth, or that what is repeated is a code."""

MAX_AGAIN = 0.02
"""Share of the things on which a step was done again, up to which it is taken once though no name says so: who reads by POST comes back."""

META = Detection(
    id="step-repeated",
    title="One-time step repeated",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("API6:2023",),
    cwe=("CWE-837", "CWE-362"),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding: the repetition with the most evidence."""
    repeated = [one for one in facts.deviations if type(one) is RepeatedStep]
    if not repeated:
        return ()
    return (_finding(max(repeated, key=lambda one: (_sure(one), one.scope != "actor", one.times)), facts),)


def _sure(one: RepeatedStep) -> bool:
    # That a caller does something once in a day is a habit more often than a rule.
    if one.scope == "actor" or (not one.named and one.again > MAX_AGAIN * one.things):
        return False
    things = one.things // (1 + one.again) + one.pooled + (BY_NAME if one.named else 0)
    return abusive(things, one.times, named=one.named)


def _finding(one: RepeatedStep, facts: Facts) -> Finding:
    on = {"value": f" with the code {one.shown}", "actor": ""}.get(
        one.scope, f" on {one.scope.removeprefix('object ')} {one.shown}"
    )
    others = {"value": "codes", "actor": "callers"}.get(one.scope, "others")
    message = (
        f"{facts.identity.actor} did this{on} {often(one.times)} already, the last time {one.seconds:,.3f} s ago, and it was done a second "
        f"time on {one.again:,} of {one.things:,} learned {others}"
    )
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence="medium" if _sure(one) else "low",
        owasp=META.owasp,
        where=one.place,
        message=message,
        evidence=f"{one.times} times before",
    )
