"""Mail injection (CWE-93): a value that, put into a mail or a dialogue with a mail server, would add header fields or commands."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.mail_injection.lines import injection
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="mail-injection",
    title="Mail injection",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("A03:2021", "API8:2023"),
    cwe=("CWE-93", "CWE-77"),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("mail",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place: the prefilter's suspects, read line by line."""
    findings: list[Finding] = []
    seen: set[str] = set()
    for value, families in facts.suspects:
        if "mail" not in families or value.place in seen:
            continue
        reason = injection(value.place, value.text)
        if reason:
            seen.add(value.place)
            findings.append(
                Finding(
                    id=META.id,
                    severity=META.severity,
                    confidence=META.confidence,
                    owasp=META.owasp,
                    where=value.place,
                    message=f"the value of `{value.place}`, put into a mail, {reason}",
                    evidence=" ".join(value.text.replace("\x00", "\\0").split())[:120],
                )
            )
    return findings
