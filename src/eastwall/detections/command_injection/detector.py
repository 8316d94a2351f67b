"""Command injection (CWE-78): a value that, put into a command line, would run a command of its own."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.command_injection.code import runs
from eastwall.detections.command_injection.options import takes_effect
from eastwall.detections.command_injection.shell import injection
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="command-injection",
    title="Command injection",
    severity="critical",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("A03:2021", "API8:2023"),
    cwe=("CWE-78", "CWE-77", "CWE-88", "CWE-94"),
    attack=("T1190", "T1059"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("command",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place: the prefilter's suspects, confirmed by the shell's grammar."""
    findings: list[Finding] = []
    seen: set[str] = set()
    for value, families in facts.suspects:
        if "command" not in families or value.place in seen:
            continue
        confidence = META.confidence
        reason = injection(value.text) or runs(value.text)
        if reason is None and (reason := takes_effect(value.text)) is not None:
            confidence = "medium"
        if reason:
            seen.add(value.place)
            findings.append(
                Finding(
                    id=META.id,
                    severity=META.severity,
                    confidence=confidence,
                    owasp=META.owasp,
                    where=value.place,
                    message=f"the value of `{value.place}`, read by a shell, {reason}",
                    evidence=" ".join(value.text.split())[:120],
                )
            )
    return findings
