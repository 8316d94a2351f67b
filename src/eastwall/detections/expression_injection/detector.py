"""Expression language injection (CWE-917): a value that an interpreter of OGNL, SpEL, EL or the like would evaluate."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.confirming import Verdict, confirm
from eastwall.detections.expression_injection.language import expression_injection
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="expression-injection",
    title="Expression language injection",
    severity="critical",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("A03:2021", "API8:2023"),
    cwe=("CWE-917", "CWE-94"),
    attack=("T1190", "T1059"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("expression",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    return confirm(facts, META, _judge)


def _judge(text: str, place: str) -> Verdict | None:
    return expression_injection(text)
