"""TRACE answered (RFC 9110, 9.3.8): the request comes back, with headers that scripts must not read and proxies added (CWE-693)."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="trace-method",
    title="TRACE is answered with the request",
    severity="medium",
    confidence="high",
    audience="service-owner",
    phases=("response",),
    owasp=("API8:2023", "A05:2021"),
    cwe=("CWE-693", "CWE-16"),
    attack=("T1592.002",),
    stage="reconnaissance",
    on_error="monitor",
    default_action="report",
)


def detect(facts: Facts) -> Sequence[Finding]:
    """A finding when a successful answer to TRACE (or IIS's TRACK) holds the request's line."""
    method = facts.call.request.method
    response = facts.call.response
    if method not in ("TRACE", "TRACK") or response is None or not 200 <= response.status < 300:
        return ()
    echoed = response.headers.get("content-type", "").lower().startswith("message/http")
    line = f"{method} {facts.call.request.path}".encode("utf-8", "replace")
    if not echoed and not response.body.lstrip().startswith(line[:200]):
        return ()
    return (
        Finding(
            id=META.id,
            severity=META.severity,
            confidence=META.confidence,
            owasp=META.owasp,
            where="body",
            message=f"the service answers {method} with the request as it came, headers of proxies and cookies included",
            evidence=f"{method} {facts.call.request.path.partition('?')[0]}"[:120],
            phase="response",
        ),
    )
