"""JWTs that are past their time or meant for somebody else: ordinary mistakes, and what a stolen token looks like."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.credential_faults import told
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="token-invalid",
    title="Token that ran out or is meant for others",
    severity="medium",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("API2:2023",),
    cwe=("CWE-613", "CWE-345"),
    attack=("T1550.001",),
    stage="exploitation",
    on_error="monitor",
    default_action="report",
    needs=("identity.faults",),
)

_MEANING = {
    "jwt-expired": ("low", "high", "ran out before the call"),
    "jwt-not-yet-valid": ("low", "medium", "is not valid yet at the time of the call"),
    "jwt-wrong-audience": ("medium", "medium", "is meant for another audience"),
    "jwt-wrong-issuer": ("medium", "medium", "comes from an issuer whose keys are not configured"),
    "jwt-unknown-key": ("medium", "low", "names a key that its issuer's key set does not hold"),
    "jwt-malformed": ("low", "medium", "is no well-formed JWT"),
    "jwt-too-large": ("medium", "medium", "is too large to be read"),
}


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per fault of the credentials."""
    return told(facts, META, _MEANING)
