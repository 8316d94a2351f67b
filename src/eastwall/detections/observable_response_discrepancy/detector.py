"""Answers that tell who has an account (OWASP API2:2023; CWE-204, CWE-208), told of the operation and not of a caller."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import AnswersTell
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="observable-response-discrepancy",
    title="Answers tell existing accounts from others",
    severity="medium",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("API2:2023",),
    cwe=("CWE-204", "CWE-208"),
    attack=("T1589.002", "T1087"),
    stage="reconnaissance",
    on_error="monitor",
    default_action="report",
    needs=("deviations",),
    posture=True,
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding for the operation."""
    return [
        Finding(
            id=META.id,
            severity=META.severity,
            confidence="high" if one.by == "answer" else "medium",
            owasp=META.owasp,
            where=one.place,
            message=(
                f"{one.operation} tells by its {one.by} whether an account exists: {one.shown}, in {one.existing:,} failures of existing accounts "
                f"and {one.others:,} of others"
            ),
            evidence=one.shown[:120],
        )
        for one in facts.deviations
        if type(one) is AnswersTell
    ]
