"""Guessed one-time codes, PINs and reset codes (OWASP API2:2023): few digits, many tries."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.attempts import attempts
from eastwall.model.deviations import AuthenticationAbuse
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="code-guessing",
    title="One-time codes tried one after the other",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("API2:2023",),
    cwe=("CWE-307", "CWE-640"),
    attack=("T1110.001", "T1111"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding."""
    return [
        attempts(
            META,
            one,
            f"{one.count:,} different codes failed here within an hour, by this caller or for this account",
            confidence="high",
        )
        for one in facts.deviations
        if type(one) is AuthenticationAbuse and one.how == "codes"
    ]
