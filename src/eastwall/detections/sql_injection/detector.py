"""SQL injection (CWE-89): a value that, put into a statement, would change the statement's structure."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.confirming import first
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
    return first(facts, META, _judge, "read as SQL")


def _judge(text: str, place: str) -> tuple[str, str] | None:
    reason = injection(text)
    return (META.confidence, reason) if reason else None
