"""Answers that let pages of other sites read them with the user's cookies (CWE-942), by the Fetch standard's CORS protocol."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="cors-misconfiguration",
    title="Other sites may read the answer with the user's credentials",
    severity="medium",
    confidence="medium",
    audience="service-owner",
    phases=("response",),
    owasp=("API8:2023", "A05:2021"),
    cwe=("CWE-942", "CWE-346"),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
    default_action="report",
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding. Without credentials any site may read what everybody may read, so `*` alone is none."""
    response = facts.call.response
    if response is None or "access-control-allow-origin" not in response.headers:
        return ()
    headers = response.headers
    if headers.get("access-control-allow-credentials", "").strip().lower() != "true":
        return ()
    allowed = headers["access-control-allow-origin"].strip()
    found = judge(allowed, facts.call.request.headers.get("origin", ""), facts.call.request.authority, facts.call.request.scheme)
    if found is None:
        return ()
    severity, sure, why = found
    return (
        Finding(
            id=META.id,
            severity=severity,
            confidence=sure,
            owasp=META.owasp,
            where="header.access-control-allow-origin",
            message=f"pages of other sites may read this answer with the user's credentials: {why}",
            evidence=f"access-control-allow-origin: {allowed}, access-control-allow-credentials: true"[:120],
            phase="response",
        ),
    )


def judge(allowed: str, origin: str, authority: str, scheme: str) -> tuple[str, str, str] | None:
    """(severity, confidence, why) for an answer that allows credentials to `allowed`; None when nothing is wrong. Never raises."""
    if allowed == "*":
        return "low", "medium", "`*` beside credentials; browsers refuse it, and the next change makes it a reflected origin"
    if allowed.lower() == "null":
        return "high", "medium", "the origin `null` is allowed, which every sandboxed frame has"
    if not origin or allowed.lower() != origin.lower():
        return None
    host, own = _host(origin), _host(authority)
    if not host or not own or _same_site(host, own):
        if origin.lower().startswith("http://") and scheme == "https" and host not in ("localhost", "127.0.0.1"):
            return "medium", "medium", "an origin without TLS is allowed, which anybody on the network can speak for"
        return None
    if own in host:
        return "high", "medium", "the allowed origin only looks like the service's own"
    # A partner's page, or any page there is: one answer cannot tell.
    return "medium", "low", "the caller's origin, of another site, was sent back as allowed"


def _host(origin: str) -> str:
    text = origin.partition("://")[2] or origin
    return text.partition("/")[0].rpartition("@")[2].partition(":")[0].lower().rstrip(".")


_SECOND = frozenset(("co", "com", "org", "net", "ac", "gov", "edu"))


def _site(host: str) -> str:
    """The registrable part, by rule of thumb: two labels, three where the second is one like `co` and the first has two letters."""
    labels = host.split(".")
    count = 3 if len(labels) > 2 and labels[-2] in _SECOND and len(labels[-1]) == 2 else 2
    return ".".join(labels[-count:])


def _same_site(host: str, own: str) -> bool:
    return host == own or ("." in own and not own.replace(".", "").isdigit() and _site(host) == _site(own))
