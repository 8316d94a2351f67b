"""An answer gives a property to callers whose class never got it (OWASP API3:2023, excessive data exposure), before it is delivered."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.discovery.privilege import privileged
from eastwall.model.deviations import FieldNotGiven
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

SURE_ANSWERS = 100
"""Answers to the class without the property, after which one with it is more than chance."""
SURE_OTHERS = 50
"""Answers to classes of authority that had it."""

META = Detection(
    id="excessive-exposure",
    title="Property in an answer to callers that never got it",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("response",),
    owasp=("API3:2023",),
    cwe=("CWE-213", "CWE-200", "CWE-863"),
    attack=("T1530",),
    stage="exfiltration",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """High for what only classes of authority got. What nobody got is told: every release adds properties."""
    return [_finding(one) for one in facts.deviations if type(one) is FieldNotGiven]


def _finding(one: FieldNotGiven) -> Finding:
    cls = one.cls or "anonymous"
    if one.authority:
        sure = one.answers >= SURE_ANSWERS and one.others >= SURE_OTHERS
        severity, confidence = "high", "medium" if sure else "low"
    else:
        severity, confidence = "medium" if privileged(one.place) else "low", "low"
    whose = f"{', '.join(one.classes)} got it in {one.others:,}" if one.classes else "nobody else got it either"
    return Finding(
        id=META.id,
        severity=severity,
        confidence=confidence,
        owasp=META.owasp,
        where=one.place,
        message=f"the answer gives `{one.place}` to {cls}, which none of {one.answers:,} learned answers to {cls} did; {whose}",
        evidence=one.place[:120],
        phase="response",
    )
