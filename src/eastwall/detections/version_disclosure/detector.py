"""Names and versions of server software in headers of answers (CWE-200, CWE-497)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="version-disclosure",
    title="Version of server software in a header",
    severity="low",
    confidence="high",
    audience="service-owner",
    phases=("response",),
    owasp=("API8:2023", "A05:2021"),
    cwe=("CWE-200", "CWE-497"),
    attack=("T1592.002",),
    stage="reconnaissance",
    on_error="monitor",
    default_action="report",
    posture=True,
)

_HEADERS = (
    "server", "x-powered-by", "x-aspnet-version", "x-aspnetmvc-version", "via", "x-generator", "x-drupal-cache", "x-version", "x-php-version",
    "x-jenkins", "x-owa-version", "microsoftsharepointteamservices", "liferay-portal", "x-oracle-dms-ecid", "x-backend-version",
)  # fmt: skip
_NAMES = frozenset(_HEADERS)
_NAMED = re.compile(r"[A-Za-z][\w.+-]{1,40}(?: [A-Z][\w.+-]{1,20}){0,2}[/ (-]{1,2}v?\d{1,4}\.\d{1,5}(?:[.\w-]{0,24})?")
_BARE = re.compile(r"v?\d{1,4}\.\d{1,6}(?:\.\d{1,8}){0,3}")
_PROTOCOL = re.compile(r"(?:^|, ?)(?:HTTP/)?[123](?:\.[01])? ", re.IGNORECASE)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per header. `Express` alone says no version and is none."""
    response = facts.call.response
    if response is None:
        return ()
    headers = response.headers
    if _NAMES.isdisjoint(headers):
        return ()
    findings = []
    for name in _HEADERS:
        value = headers.get(name)
        if value and (found := version(name, value[:400])):
            findings.append(
                Finding(
                    id=META.id,
                    severity=META.severity,
                    confidence=META.confidence,
                    owasp=META.owasp,
                    where=f"header.{name}",
                    message=f"the header `{name}` names server software with its version",
                    evidence=found[:120],
                    phase="response",
                )
            )
    return findings


def version(name: str, value: str) -> str:
    """The software and version that a header names; empty when it names none. Never raises, linear."""
    if name == "via":
        # It begins with the version of the protocol (RFC 9110, 7.6.3).
        value = _PROTOCOL.sub(" ", value)
    found = _NAMED.search(value)
    if found is not None:
        return found[0]
    bare = _BARE.fullmatch(value.strip()) if name not in ("server", "via", "x-powered-by") else None
    return f"{name}: {bare[0]}" if bare else ""
