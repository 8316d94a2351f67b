"""A service that answers although the token is bad: it does not check what it is given (OWASP API2:2023)."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding
from eastwall.model.identity import Strength

MIN_CALLS = 50
"""Successful calls after which an operation is known to be for identified callers."""
AUTHENTICATED = 0.98
"""Share of them that had credentials. A public operation answers whatever token comes with the call."""

META = Detection(
    id="token-not-checked",
    title="Answer given although the token is bad",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("response",),
    owasp=("API2:2023", "API8:2023"),
    cwe=("CWE-287", "CWE-347", "CWE-613"),
    attack=("T1550.001",),
    stage="exploitation",
    on_error="monitor",
    default_action="report",
    needs=("identity.faults",),
)

_BAD = {
    "jwt-alg-none": ("high", "an unsigned token"),
    "jwt-bad-signature": ("high", "a token whose signature is wrong"),
    "jwt-alg-mismatch": ("high", "a token of another algorithm than the issuer's key"),
    "jwt-expired": ("medium", "a token that had run out"),
    "jwt-wrong-audience": ("medium", "a token that is meant for another audience"),
}


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding, when a bad token was the only thing the caller had and the operation is not a public one."""
    identity, endpoint, response = facts.identity, facts.match.endpoint, facts.call.response
    if not identity.faults or identity.strength > Strength.GUESSED or endpoint is None or response is None:
        return ()
    if not 200 <= response.status < 300 or "fault" in facts.operation.traits:
        return ()
    if endpoint.authenticated < AUTHENTICATED or endpoint.identifiable < MIN_CALLS:
        return ()
    fault = next((fault for fault in identity.faults if fault in _BAD), "")
    if not fault:
        return ()
    confidence, what = _BAD[fault]
    return [
        Finding(
            id=META.id,
            severity=META.severity,
            confidence=confidence,
            owasp=META.owasp,
            where="status",
            message=f"the service answered {response.status} to {what}, on an operation whose callers have credentials in "
            f"{endpoint.authenticated:.1%} of {endpoint.identifiable:,} calls",
            evidence=fault,
            phase="response",
        )
    ]
