"""Tokens and keys of third parties in answers, and in requests where they do not belong (CWE-200, CWE-598)."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.credentials import given
from eastwall.detections.secret_disclosure import rules
from eastwall.model.call import Phase
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="secret-disclosure",
    title="Secret where it does not belong",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request", "response"),
    owasp=("API3:2023", "API8:2023", "A02:2021"),
    cwe=("CWE-200", "CWE-522", "CWE-598"),
    attack=("T1552",),
    stage="exfiltration",
    on_error="monitor",
    default_action="report",
    families=("secret",),
)

MAX_FINDINGS = 20
"""Per message; a dump of secrets needs no more."""


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place: the gravest secret of its first values."""
    findings: dict[str, Finding] = {}
    for value, families in facts.suspects:
        if "secret" not in families or value.place in findings or len(findings) >= MAX_FINDINGS:
            continue
        found = rules.find(value.text)
        if found is None:
            continue
        if facts.phase is Phase.RESPONSE:
            severity, sure = found.severity, "low" if given(facts, value.place) else found.confidence
            message = f"the answer holds what is, by its form, a secret: {found.title}"
        else:
            why = _misplaced(value.place, value.text, found)
            if not why:
                continue
            severity, sure = "medium", found.confidence
            message = f"{why} holds what is, by its form, a secret: {found.title}"
        findings[value.place] = Finding(
            id=META.id,
            severity=severity,
            confidence=sure,
            owasp=META.owasp,
            where=value.place,
            message=message,
            evidence=found.masked,
            phase="request" if facts.phase is Phase.REQUEST else "response",
        )
    return tuple(findings.values())


def _misplaced(place: str, text: str, found: rules.Secret) -> str:
    """Why a secret does not belong there in a request; empty where it may: in its own header, or in a field of a body."""
    if place.startswith("path"):
        return "the path, which logs and proxies keep,"
    if place.startswith("query."):
        return "the query, which logs and proxies keep,"
    if place == "header.referer":
        return "the referring address"
    if place.startswith("body") and len(text) >= 2 * found.length + 20 and text.count(" ") >= 4:
        return f"the text of `{place}`"
    return ""
