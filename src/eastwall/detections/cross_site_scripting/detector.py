"""Cross-site scripting (CWE-79): a value that, put into a page, runs script in the browser of whoever sees it."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.confirming import Verdict, confirm
from eastwall.detections.cross_site_scripting.xss import cross_site_scripting
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="cross-site-scripting",
    title="Cross-site scripting",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("A03:2021", "API8:2023"),
    cwe=("CWE-79", "CWE-80"),
    attack=("T1190", "T1059.007"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("xss",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    return confirm(facts, META, _judge)


def _judge(text: str, place: str) -> Verdict | None:
    return cross_site_scripting(text)
