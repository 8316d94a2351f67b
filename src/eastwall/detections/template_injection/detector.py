"""Server-side template injection (CWE-1336): a value that, rendered as a template, makes the engine compute."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.confirming import Verdict, confirm
from eastwall.detections.template_injection.expression import template_injection
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="template-injection",
    title="Template injection",
    severity="critical",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("A03:2021", "API8:2023"),
    cwe=("CWE-1336", "CWE-94"),
    attack=("T1190", "T1059"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("template",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    return confirm(facts, META, _judge)


def _judge(text: str, place: str) -> Verdict | None:
    return template_injection(text)
