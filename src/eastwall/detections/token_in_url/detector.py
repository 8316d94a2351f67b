"""Credentials in a URL (CWE-598): they end in logs, histories and referers, and whoever reads these has them."""

from __future__ import annotations

from collections.abc import Sequence
from re import compile as regex

from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="token-in-url",
    title="Credentials in a URL",
    severity="medium",
    confidence="high",
    audience="service-owner",
    phases=("request",),
    owasp=("API2:2023", "API8:2023"),
    cwe=("CWE-598", "CWE-522"),
    attack=("T1552", "T1528"),
    stage="exploitation",
    on_error="monitor",
    default_action="report",
)

_SURE = frozenset(
    "access_token accesstoken id_token refresh_token auth_token authtoken jwt bearer client_secret api_key apikey api-key x-api-key password passwd "
    "pwd secret session_id sessionid jsessionid phpsessid sid session authorization".split()
)
_PASSWORDS = frozenset(("password", "passwd", "pwd", "client_secret", "secret"))
_DOUBTFUL = frozenset(("token", "key", "auth", "ticket"))
"""One-time links and signed downloads have these too."""
_JWT = regex(r"eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{2,8192}\.[A-Za-z0-9_-]{0,2048}")
_TOKEN = regex(r"(?=[^0-9]{0,512}[0-9])(?=[^A-Za-z]{0,512}[A-Za-z])[A-Za-z0-9._~+/=:-]{16,8192}")


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per parameter; the value itself is never shown."""
    operation = facts.operation
    if not operation.query and ";" not in operation.path and "eyJ" not in operation.path:
        return ()
    found = [
        _finding(f"query.{name[:64]}", confidence, what, len(value))
        for name, value in operation.query
        if value and (judged := _judge(name.lower(), value))
        for confidence, what in (judged,)
    ]
    for segment in operation.segments:
        name, _, value = segment.partition(";")[2].partition("=")
        if name.lower() in ("jsessionid", "phpsessid", "sid") and value:
            found.append(_finding("path", "high", f"a session id (`;{name.lower()}=`)", len(value)))
        elif segment.startswith("eyJ") and _JWT.fullmatch(segment):
            found.append(_finding("path", "high", "a JWT", len(segment)))
    return found


def _judge(name: str, value: str) -> tuple[str, str] | None:
    """(confidence, what it is), or None."""
    if value.startswith("eyJ") and _JWT.fullmatch(value):
        return "high", "a JWT"
    if name in _PASSWORDS:
        return "high", "a password or secret"
    if name in _SURE and _TOKEN.fullmatch(value):
        return "high", "an access token, key or session id"
    if name in _DOUBTFUL and _TOKEN.fullmatch(value):
        return "low", "what may be an access token (or the token of a one-time link)"
    return None


def _finding(where: str, confidence: str, what: str, length: int) -> Finding:
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence=confidence,
        owasp=META.owasp,
        where=where,
        message=f"`{where}` holds {what}: URLs end in logs, histories and referers",
        evidence=f"{length:,} characters, not shown",
        standing=True,
    )
