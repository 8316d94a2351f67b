"""An answer to nobody, where only identified callers ever got one (OWASP API2:2023): judged before the answer leaves."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding
from eastwall.model.identity import Strength

FEW, MANY = 50, 500
"""Successful calls, all with credentials, after which an answer without is told; after which it is worth blocking."""

META = Detection(
    id="missing-authentication",
    title="Answer without credentials where callers always have some",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("response",),
    owasp=("API2:2023", "API5:2023"),
    cwe=("CWE-306", "CWE-862"),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding."""
    endpoint, response = facts.match.endpoint, facts.call.response
    if facts.identity.strength > Strength.NONE or endpoint is None or response is None:
        return ()
    if endpoint.login or endpoint.status != "learned" or facts.operation.method == "OPTIONS":
        return ()
    confidence = _confidence(endpoint)
    if not confidence or not 200 <= response.status < 300 or "fault" in facts.operation.traits:
        return ()
    return [
        Finding(
            id=META.id,
            severity=META.severity,
            confidence=confidence,
            owasp=META.owasp,
            where="header.authorization",
            message=f"the service answered {response.status} to a call without credentials; "
            f"{endpoint.authenticated:.1%} of {endpoint.identifiable:,} successful calls had some",
            evidence=f"{endpoint.method} {endpoint.template}"[:120],
            phase="response",
        )
    ]


def _confidence(endpoint: Endpoint) -> str:
    """Empty when the operation may well be public. A single call without credentials among many must not switch this off for good."""
    calls, share = endpoint.identifiable, endpoint.authenticated
    if calls >= MANY and share >= 0.998:
        return "medium"
    return "low" if calls >= FEW and share >= 0.98 else ""
