"""NoSQL injection (CWE-943): operators or code where a query of a document database, cache or graph expects a plain value."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.nosql_injection import script, structure
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="nosql-injection",
    title="NoSQL injection",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("A03:2021", "API8:2023"),
    cwe=("CWE-943", "CWE-89"),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("nosql",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place: keys that are operators, and texts that break out of a query."""
    findings: list[Finding] = []
    seen: set[str] = set()
    for value, families in facts.suspects:
        if "nosql" not in families or value.place in seen:
            continue
        judged = structure.operator(value.place, value.text) if value.place.endswith("}") else None
        what = "key"
        if judged is None:
            judged, what = script.injection(value.place, value.text), "value"
        if judged is None:
            continue
        confidence, reason = judged
        seen.add(value.place)
        findings.append(
            Finding(
                id=META.id,
                severity=META.severity,
                confidence=confidence,
                owasp=META.owasp,
                where=value.place,
                message=f"the {what} at `{value.place}`, put into a query of a document database, {reason}",
                evidence=" ".join(value.text.split())[:120],
            )
        )
    return findings
