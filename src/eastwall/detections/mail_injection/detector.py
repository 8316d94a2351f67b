"""Mail injection (CWE-93): a value that, put into a mail or a dialogue with a mail server, would add header fields or commands."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.confirming import first
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
    return first(facts, META, _judge, "put into a mail")


def _judge(text: str, place: str) -> tuple[str, str] | None:
    reason = injection(place, text)
    return (META.confidence, reason) if reason else None
