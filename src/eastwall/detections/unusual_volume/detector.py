"""Far more than callers of this class ever had in an hour, a day, a week (OWASP API4:2023, API6:2023): an answer that adds to it is held back."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import UnusualVolume
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

CRITICAL = 3.0
"""Times the limit from which on it is critical."""
_WINDOW = {"hour": "in this hour", "day": "within a day", "week": "within a week"}

META = Detection(
    id="unusual-volume",
    title="Far more data or calls than callers of this class ever had",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("response",),
    owasp=("API4:2023", "API6:2023"),
    cwe=("CWE-770", "CWE-799"),
    attack=("T1530", "T1020", "T1030"),
    stage="exfiltration",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding."""
    return [_finding(found) for found in facts.deviations if type(found) is UnusualVolume]


def _finding(found: UnusualVolume) -> Finding:
    span = found.window
    if found.derived:
        what = f"too few {span}s are known, and of {found.cells:,} shorter windows of {found.cls} callers the greatest had {found.greatest:,}"
    else:
        what = f"of {found.cells:,} caller-{span}s of class {found.cls} the greatest had {found.greatest:,}"
    return Finding(
        id=META.id,
        severity="critical" if found.amount > CRITICAL * found.limit else META.severity,
        confidence=found.confidence,
        owasp=META.owasp,
        where=found.place,
        message=f"{found.shown} comes to {found.amount:,} {found.measure} {_WINDOW[span]}; {what} ({found.actors} callers)",
        evidence=f"{found.amount:,} {found.measure}, limit {found.limit:,}"[:120],
        phase="response",
    )
