"""A step that is taken once is taken again by the same caller (OWASP API6:2023): one coupon on every order, one refund ten times at once."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

from eastwall.model.deviations import RepeatedStep
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

ODDS = 100
"""To one against a caller who does it as others do: see `odds`."""
BY_NAME = 8
"""Things on which a step was done once that a name like `refund` or `redeem` is worth, or that what is repeated is a code."""
RETRIES = 1
"""Repetitions that an honest client makes: a double click, a lost answer."""

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


def odds(things: int, times: int) -> int:
    """To one against `times` repetitions on a further thing, when none was repeated on `things`: by the rule of succession, with a share
    of repeating callers of which nothing is known before (a uniform prior; repetitions of one who repeats are geometric)."""
    return comb(things + 1 + times, times)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding: the repetition with the most evidence."""
    repeated = [one for one in facts.deviations if type(one) is RepeatedStep]
    if not repeated:
        return ()
    return (_finding(max(repeated, key=lambda one: (_sure(one), one.scope != "actor", one.times)), facts),)


def _sure(one: RepeatedStep) -> bool:
    # That a caller does something once in a day is a habit more often than a rule.
    if one.scope == "actor" or one.times <= RETRIES:
        return False
    return odds(one.things // (1 + one.again) + (BY_NAME if one.named else 0), one.times) >= ODDS


def _finding(one: RepeatedStep, facts: Facts) -> Finding:
    on = {"value": f" with the code {one.shown}", "actor": ""}.get(
        one.scope, f" on {one.scope.removeprefix('object ')} {one.shown}"
    )
    others = {"value": "codes", "actor": "callers"}.get(one.scope, "others")
    message = (
        f"{facts.identity.actor} did this{on} {one.times} times already, the last time {one.seconds:,.3f} s ago, and it was done a second "
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
