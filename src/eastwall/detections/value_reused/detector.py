"""A code that is for once is used again: a coupon on every order, a one-time code twice (OWASP API6:2023)."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import ValueReused
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

RETRIES = 1
"""Repetitions that an honest client makes after a lost answer."""

META = Detection(
    id="value-reused",
    title="Code used again that is used once",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("API6:2023", "API2:2023"),
    cwe=("CWE-837", "CWE-294", "CWE-841"),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding for each code; the first repetition is told, since honest clients retry."""
    return [_finding(one) for one in facts.deviations if type(one) is ValueReused]


def _finding(one: ValueReused) -> Finding:
    who = "no caller used one twice" if one.by == "caller" else "each was used once"
    times = "once" if one.times == 1 else f"{one.times} times"
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence="medium" if one.times > RETRIES else "low",
        owasp=META.owasp,
        where=one.place,
        message=f"`{one.place}` is {one.shown}, which was used {times} already; in {one.uses:,} learned uses {who}",
        evidence=one.shown[:120],
    )
