"""Data of a class in an answer to callers who never had it from this operation (OWASP API3:2023), before it is delivered."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import DataNotSeen
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

SURE_ANSWERS = 100
"""Answers without the class, after which one with it is more than chance."""
_SEVERITY = {"medium": "medium", "high": "high", "critical": "high"}

META = Detection(
    id="data-class-not-seen",
    title="Sensitive data to a class of callers that never had it here",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("response",),
    owasp=("API3:2023",),
    cwe=("CWE-200", "CWE-213"),
    attack=("T1530",),
    stage="exfiltration",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding for each data class."""
    return [_finding(found) for found in facts.deviations if type(found) is DataNotSeen]


def _finding(found: DataNotSeen) -> Finding:
    others = f"; {', '.join(found.others)} get it" if found.others else ", and nobody else got it either"
    return Finding(
        id=META.id,
        severity=_SEVERITY[found.sensitivity],
        confidence="medium" if found.sure and found.answers >= SURE_ANSWERS else "low",
        owasp=META.owasp,
        where=found.place,
        message=f"none of {found.answers:,} answers of this operation to {found.cls} held {found.data_class}{others}; this one does",
        evidence=(found.masked or found.data_class)[:120],
        phase="response",
    )
