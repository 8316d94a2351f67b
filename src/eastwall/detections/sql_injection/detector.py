"""SQL injection (CWE-89): a value that, put into a statement, would change the statement's structure."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.sql_injection.grammar import injection
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="sql-injection",
    title="SQL injection",
    severity="critical",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("A03:2021", "API8:2023"),
    cwe=("CWE-89",),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("sql",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place: the prefilter's suspects, confirmed by their structure."""
    findings: list[Finding] = []
    seen: set[str] = set()
    for value, families in facts.suspects:
        if "sql" not in families or value.place in seen:
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
                    message=f"the value of `{value.place}`, read as SQL, {reason}",
                    evidence=" ".join(value.text.split())[:120],
                )
            )
    return findings
