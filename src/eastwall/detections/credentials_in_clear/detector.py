"""Credentials over a connection without TLS (CWE-319)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="credentials-in-clear",
    title="Credentials sent without TLS",
    severity="low",
    confidence="medium",
    audience="service-owner",
    phases=("request",),
    owasp=("API8:2023", "API2:2023"),
    cwe=("CWE-319", "CWE-523"),
    attack=("T1040", "T1557"),
    stage="exploitation",
    on_error="monitor",
    default_action="report",
    posture=True,
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding."""
    call = facts.call
    if call.peer.tls or call.request.scheme == "https":
        return ()
    headers = call.request.headers
    if headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower() == "https" or _local(call.peer.address):
        return ()
    scheme = headers.get("authorization", "").partition(" ")[0].lower()
    if scheme in ("basic", "bearer", "token", "apikey"):
        where, what = "header.authorization", f"`{scheme}` credentials"
    elif facts.login is not None:
        where, what = "body", "a password"
    else:
        return ()
    return [
        Finding(
            id=META.id,
            severity=META.severity,
            confidence=META.confidence,
            owasp=META.owasp,
            where=where,
            message=f"{what} came over a connection without TLS from another machine; whoever is on the way can read and use them",
            evidence=f"{what} from {call.peer.address}"[:120],
        )
    ]


def _local(address: str) -> bool:
    """Whether the caller is on this machine (a sidecar that ends TLS is); unknown counts as local."""
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return True
