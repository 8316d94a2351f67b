"""Session cookies without the attributes that keep them (CWE-614, CWE-1004, CWE-1275), by RFC 6265bis."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eastwall.detections.answer_headers import over_tls
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="insecure-cookie",
    title="Session cookie without HttpOnly, Secure or SameSite",
    severity="low",
    confidence="medium",
    audience="service-owner",
    phases=("response",),
    owasp=("API2:2023", "API8:2023", "A05:2021"),
    cwe=("CWE-614", "CWE-1004", "CWE-1275"),
    attack=("T1539",),
    stage="exploitation",
    on_error="monitor",
    default_action="report",
)

MAX_COOKIES = 50
"""Cookies of one answer that are looked at."""
_SESSION = re.compile(
    r"sess|^sid$|[._-]sid$|^sid[._-]|auth|token|jwt|^(?:php|asp|j|cf)\w{0,12}id$|identity|remember|login|credential|^connect\.|^user_?id$|^access|^refresh",
    re.IGNORECASE,
)
_READ_BY_SCRIPTS = re.compile(r"csrf|xsrf|^__cf|consent|locale|theme", re.IGNORECASE)
"""Double-submit tokens must be readable by the page; others are no credentials."""


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per cookie."""
    response = facts.call.response
    if response is None or "set-cookie" not in response.headers:
        return ()
    tls = over_tls(facts)
    findings: dict[str, Finding] = {}
    for line in response.headers["set-cookie"].split("\n")[:MAX_COOKIES]:
        name, missing = judge(line[:4096], tls=tls)
        if missing:
            findings[name] = Finding(
                id=META.id,
                severity=META.severity,
                confidence=META.confidence,
                owasp=META.owasp,
                where=f"header.set-cookie.{name[:64]}",
                message=f"the session cookie `{name[:64]}` is set {' and '.join(missing)}",
                evidence=f"{name[:64]}=****; {'; '.join(_attributes(line))}"[:120],
                phase="response",
            )
    return tuple(findings.values())


def judge(line: str, *, tls: bool) -> tuple[str, list[str]]:
    """(name, what is missing) of one `Set-Cookie` line. Nothing is missing in cookies that are no session's, or that are deleted."""
    pair, _, rest = line.partition(";")
    name, _, value = pair.partition("=")
    name, value = name.strip(), value.strip().strip('"')
    attributes = [part.strip().lower() for part in rest.split(";")[:30]]
    if not _SESSION.search(name) or _READ_BY_SCRIPTS.search(name) or len(value) < 8 or "max-age=0" in attributes:
        return name, []
    if any(part.startswith("expires=") and ("1970" in part or "01-jan-70" in part) for part in attributes):
        return name, []
    missing = []
    if "httponly" not in attributes:
        missing.append("without HttpOnly, so that scripts can read it")
    if "secure" not in attributes and (tls or "samesite=none" in attributes):
        missing.append("without Secure, so that it also goes over plain HTTP")
    if "samesite=none" in attributes and "secure" in attributes and "partitioned" not in attributes:
        missing.append("with SameSite=None, so that other sites' pages send it")
    elif name.startswith("__Host-") and (
        "secure" not in attributes or "path=/" not in attributes or any(p.startswith("domain=") for p in attributes)
    ):
        missing.append("against the rules of its prefix, so that browsers refuse it")
    elif not any(part.startswith("samesite") for part in attributes):
        missing.append("without SameSite, so that it is up to the browser whether other sites' pages send it")
    return name, missing


def _attributes(line: str) -> list[str]:
    return [part.strip() for part in line[:4096].split(";")[1:8]]
