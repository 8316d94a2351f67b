"""Tokens signed with an HMAC secret that anybody can guess: whoever knows it makes tokens for any user."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.credential_faults import told
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="weak-token-secret",
    title="Token signed with a secret that anybody can guess",
    severity="critical",
    confidence="high",
    audience="service-owner",
    phases=("request",),
    owasp=("API2:2023", "API8:2023"),
    cwe=("CWE-521", "CWE-1391", "CWE-798"),
    attack=("T1110.002", "T1606.001"),
    stage="exploitation",
    on_error="monitor",
    default_action="report",
    needs=("identity.faults",),
)
_MEANING = {
    "jwt-weak-secret": (
        "critical",
        "high",
        "is signed with one of the common secrets that every list holds; anybody can make such tokens",
    )
}


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding. Which secret it is stays unsaid."""
    return told(facts, META, _MEANING)
