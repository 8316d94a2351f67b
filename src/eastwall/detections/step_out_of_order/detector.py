"""A step of a business flow skipped or repeated (OWASP API6:2023): by what was learned to come before, and only once."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.facts import Facts, StepUse
from eastwall.model.finding import Detection, Finding

SURE = 30
"""Objects after which a rule is worth acting upon."""
RETRIES = 1
"""Repetitions that an honest client makes after a lost answer."""

META = Detection(
    id="step-out-of-order",
    title="Step of a business flow skipped or repeated",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("API6:2023",),
    cwe=("CWE-841", "CWE-837", "CWE-362"),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("steps",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding for each object."""
    if not facts.steps:
        return ()
    by_object: dict[str, Finding] = {}
    for use in facts.steps:
        by_object.setdefault(f"{use.kind} {use.shown}", _finding(use))
    return list(by_object.values())


def _finding(use: StepUse) -> Finding:
    confidence = "medium" if use.objects >= SURE and (use.missing or use.done > RETRIES) else "low"
    if use.missing:
        message = (
            f"{use.kind} {use.shown} was never given `{use.missing}`, which came before this on {use.objects:,} other objects"
        )
    else:
        message = (
            f"this was carried out on {use.kind} {use.shown} {use.done} times already, and at most once on {use.objects:,} others"
        )
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence=confidence,
        owasp=META.owasp,
        where=use.place,
        message=message,
        evidence=(f"without {use.missing}" if use.missing else f"{use.done} times before")[:120],
    )
