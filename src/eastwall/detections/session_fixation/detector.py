"""A sign-in that keeps the session it came with (CWE-384): whoever planted that session is signed in too."""

from __future__ import annotations

from collections.abc import Sequence
from re import compile as regex

from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="session-fixation",
    title="Sign-in that keeps the session it came with",
    severity="medium",
    confidence="medium",
    audience="service-owner",
    phases=("response",),
    owasp=("API2:2023",),
    cwe=("CWE-384",),
    attack=("T1550.004", "T1539"),
    stage="exploitation",
    on_error="monitor",
    default_action="report",
)

_SESSION = regex(
    r"(?i)^(?:__(?:host|secure)-)?(?:.{0,40}sess(?:ion)?(?:[_.-]?id)?|connect\.sid|sid|jsessionid|phpsessid|asp\.net_sessionid)$"
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding, on successful sign-ins only."""
    prior, response = facts.call.prior, facts.call.response
    if prior is None or response is None or prior.facts.login is None or not 200 <= response.status < 400:
        return ()
    sent = _sessions(facts.call.request.headers.get("cookie", ""), ";")
    if not sent:
        return ()
    given = _sessions(response.headers.get("set-cookie", ""), "\n")
    for name, value in sent.items():
        if given.get(name) == value:
            return [_finding(name, "medium", "sets the same session again that the caller came with")]
    if not given and not _token_answer(facts):
        name = next(iter(sent))
        return [_finding(name, "low", "leaves the caller's session as it is: no new one is set")]
    return ()


def _token_answer(facts: Facts) -> bool:
    """Whether the answer gives a token instead: then the session is not what the caller is known by."""
    body = facts.operation.body
    return isinstance(body, dict) and any("token" in key.lower() or key.lower() in ("jwt", "data") for key in list(body)[:50])


def _sessions(header: str, separator: str) -> dict[str, str]:
    """Session cookies of a `Cookie` header, or of `Set-Cookie` lines."""
    found: dict[str, str] = {}
    for part in header.split(separator, 100):
        name, _, value = part.strip().partition("=")
        if separator == "\n":
            value = value.partition(";")[0]
        if value and len(name) < 80 and _SESSION.match(name):
            found[name] = value
    return found


def _finding(name: str, confidence: str, what: str) -> Finding:
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence=confidence,
        owasp=META.owasp,
        where=f"cookie.{name[:64]}",
        message=f"a successful sign-in {what}; whoever knew it before is signed in too",
        evidence=f"{name[:64]}: the same before and after" if confidence == "medium" else f"{name[:64]}: not set anew",
        phase="response",
    )
