"""XPath injection (CWE-643): a value that, put into a path expression over an XML document, would select other nodes."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.confirming import first
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
    return first(facts, META, _judge, "put into an XPath expression")


def _judge(text: str, place: str) -> tuple[str, str] | None:
    reason = injection(text)
    return (META.confidence, reason) if reason else None
