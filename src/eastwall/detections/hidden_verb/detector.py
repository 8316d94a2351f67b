"""A method that nobody uses on a path that everybody uses (OWASP API5:2023): verbs that were left open."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.discovery.objects import SAFE_METHODS
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

MIN_CALLS = 200
"""Calls of the path by other methods, after which a new method is worth a word."""

META = Detection(
    id="hidden-verb",
    title="Method that nobody uses on this path is answered",
    severity="medium",
    confidence="medium",
    audience="both",
    phases=("response",),
    owasp=("API5:2023", "API9:2023"),
    cwe=("CWE-650", "CWE-285"),
    attack=("T1190", "T1595"),
    stage="reconnaissance",
    on_error="monitor",
    default_action="report",
    needs=("match.beside",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding, when the service carried the call out."""
    beside, response = facts.match.beside, facts.call.response
    if beside is None or response is None or not 200 <= response.status < 300 or beside.calls < MIN_CALLS:
        return ()
    method = facts.call.request.method
    if method in SAFE_METHODS:
        return ()
    return [
        Finding(
            id=META.id,
            severity=META.severity,
            confidence=META.confidence,
            owasp=META.owasp,
            where="method",
            message=f"the service carried out {method[:20]} on {beside.template}, where {beside.calls:,} calls knew other methods only",
            evidence=f"{method[:20]} {beside.template}"[:120],
            phase="response",
        )
    ]
