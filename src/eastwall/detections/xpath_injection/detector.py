"""XPath injection (CWE-643): a value that, put into a path expression over an XML document, would select other nodes."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.xpath_injection.expression import injection
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="xpath-injection",
    title="XPath injection",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("A03:2021", "API8:2023"),
    cwe=("CWE-643",),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("xpath",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place: the prefilter's suspects, confirmed by the syntax of XPath."""
    findings: list[Finding] = []
    seen: set[str] = set()
    for value, families in facts.suspects:
        if "xpath" not in families or value.place in seen:
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
                    message=f"the value of `{value.place}`, put into an XPath expression, {reason}",
                    evidence=" ".join(value.text.replace("\x00", "\\0").split())[:120],
                )
            )
    return findings
