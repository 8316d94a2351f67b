"""A settled workload calls what it never called, or from where it never called: a release, or the first step of somebody else (TA0008)."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.edges_told import sentence
from eastwall.model.deviations import NewEdge
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="new-edge",
    title="First use of a service, operation or network by a settled caller",
    severity="medium",
    confidence="low",
    audience="security",
    phases=("request",),
    owasp=("API5:2023",),
    cwe=("CWE-284",),
    attack=("T1021", "T1078"),
    stage="lateral-movement",
    on_error="allow",
    default_action="report",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding for each new edge."""
    return [
        Finding(
            id=META.id,
            severity="medium" if found.reach else "low",
            confidence="low" if found.uses <= 1 else "medium",
            owasp=META.owasp,
            where=found.place,
            message=sentence(found),
            evidence=f"{found.caller[:50]} to {found.target[:60]}"[:120],
        )
        for found in facts.deviations
        if type(found) is NewEdge
    ]
