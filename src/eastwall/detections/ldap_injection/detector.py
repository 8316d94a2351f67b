"""LDAP injection (CWE-90): a value that, put into a search filter, would close it and add filters of its own."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.confirming import first
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
    return first(facts, META, _judge, "put into a search filter of LDAP")


def _judge(text: str, place: str) -> tuple[str, str] | None:
    reason = injection(text)
    return (META.confidence, reason) if reason else None
