"""Command injection (CWE-78): a value that, put into a command line, would run a command of its own."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.command_injection.code import runs
from eastwall.detections.command_injection.options import takes_effect
from eastwall.detections.command_injection.shell import injection
from eastwall.detections.confirming import first
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
    return first(facts, META, _judge, "read by a shell")


def _judge(text: str, place: str) -> tuple[str, str] | None:
    reason = injection(text) or runs(text)
    if reason:
        return META.confidence, reason
    reason = takes_effect(text)
    return ("medium", reason) if reason else None
