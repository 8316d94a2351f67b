"""JWTs made to pass a careless verifier (RFC 8725): what the reader of tokens found wrong with header and signature."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.credential_faults import told
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="token-forgery",
    title="Token made to pass a careless verifier",
    severity="high",
    confidence="high",
    audience="security",
    phases=("request",),
    owasp=("API2:2023",),
    cwe=("CWE-347", "CWE-345", "CWE-290"),
    attack=("T1550.001", "T1606.001"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("identity.faults",),
)

# Fault of the identity -> (severity, confidence, what it means).
_MEANING = {
    "jwt-alg-none": ("high", "high", "asks to be believed without a signature (`alg: none`)"),
    "jwt-alg-mismatch": (
        "high",
        "high",
        "asks for an algorithm that is not that of the issuer's key, as a token signed with a public key used as an HMAC secret does",
    ),
    "jwt-bad-signature": ("high", "medium", "has a signature that none of the issuer's keys has made"),
    "jwt-embedded-key": ("high", "high", "brings the key along with which it wants to be verified (`jwk`)"),
    "jwt-foreign-key-url": ("high", "medium", "wants its key to be fetched from a host that is not its issuer's (`jku`, `x5u`)"),
    "jwt-key-url": (
        "low",
        "low",
        "names an address to fetch its key from, which cannot be compared with its issuer (`jku`, `x5u`)",
    ),
    "jwt-kid-injection": ("high", "high", "has a key id that is a path, a statement or a command (`kid`)"),
}


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per fault of the credentials."""
    return told(facts, META, _MEANING)
