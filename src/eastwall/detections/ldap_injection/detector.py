"""LDAP injection (CWE-90): a value that, put into a search filter, would close it and add filters of its own."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.ldap_injection.filter import injection
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="ldap-injection",
    title="LDAP injection",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("A03:2021", "API8:2023"),
    cwe=("CWE-90",),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("ldap",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place: the prefilter's suspects, read as part of a filter."""
    findings: list[Finding] = []
    seen: set[str] = set()
    for value, families in facts.suspects:
        if "ldap" not in families or value.place in seen:
            continue
        reason = injection(value.text)
        if reason:
            seen.add(value.place)
            findings.append(
                Finding(
                    id=META.id,
                    severity=META.severity,
                    confidence=META.confidence,
                    owasp=META.owasp,
                    where=value.place,
                    message=f"the value of `{value.place}`, put into a search filter of LDAP, {reason}",
                    evidence=" ".join(value.text.replace("\x00", "\\0").split())[:120],
                )
            )
    return findings
