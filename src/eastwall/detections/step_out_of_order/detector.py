"""A step of a business flow skipped or repeated (OWASP API6:2023): by what was learned to come before, and only once."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.repetition import abusive, often
from eastwall.model.facts import Facts, StepUse
from eastwall.model.finding import Detection, Finding

SURE = 12
"""Objects after which it is worth acting upon that a step is missing: the order is a habit, and the next object the first without, with a
probability of 1 / (12 + 2)^2 (see `behaviours.sessions.evidence`)."""
_IDEMPOTENT = frozenset(("PUT", "DELETE"))
"""RFC 9110, section 9.2.2: a second one is no second step."""

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
        if not use.missing and facts.operation.method in _IDEMPOTENT:
            continue
        by_object.setdefault(f"{use.kind} {use.shown}", _finding(use))
    return list(by_object.values())


def _finding(use: StepUse) -> Finding:
    sure = use.objects >= SURE if use.missing else abusive(use.objects, use.done)
    confidence = "medium" if sure else "low"
    if use.missing:
        message = (
            f"{use.kind} {use.shown} was never given `{use.missing}`, which came before this on {use.objects:,} other objects"
        )
    else:
        message = f"this was carried out on {use.kind} {use.shown} {often(use.done)} already, and at most once on {use.objects:,} others"
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence=confidence,
        owasp=META.owasp,
        where=use.place,
        message=message,
        evidence=(f"without {use.missing}" if use.missing else f"{use.done} times before")[:120],
    )
