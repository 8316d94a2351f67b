"""Accounts asked about one after the other (OWASP API2:2023): who has one is worth money."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.attempts import attempts
from eastwall.model.deviations import AuthenticationAbuse
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="user-enumeration",
    title="One address asks about many accounts without going on",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("API2:2023", "API3:2023"),
    cwe=("CWE-204", "CWE-799"),
    attack=("T1589.002", "T1087"),
    stage="reconnaissance",
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
            f"this address asked within an hour about {one.count:,} different accounts, and went on with none",
            confidence="medium",
        )
        for one in facts.deviations
        if type(one) is AuthenticationAbuse and one.how == "lookups"
    ]
