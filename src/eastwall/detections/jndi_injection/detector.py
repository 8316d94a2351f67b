"""JNDI injection (CWE-917, Log4Shell): a value that a logger would expand by asking a directory of the caller's choice."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.confirming import Verdict, confirm
from eastwall.detections.jndi_injection.lookup import jndi_injection
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="jndi-injection",
    title="JNDI injection (Log4Shell)",
    severity="critical",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("A03:2021", "A06:2021", "API8:2023"),
    cwe=("CWE-917", "CWE-502", "CWE-20"),
    attack=("T1190", "T1203"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("jndi",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    return confirm(facts, META, _judge)


def _judge(text: str, place: str) -> Verdict | None:
    return jndi_injection(text)
