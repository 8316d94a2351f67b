"""The way back to a lost password, misused (OWASP API2:2023): resets for many accounts, or again and again for one."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.attempts import attempts
from eastwall.model.deviations import AuthenticationAbuse
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="reset-flow-abuse",
    title="Password resets for many accounts, or again and again for one",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("API2:2023", "API6:2023"),
    cwe=("CWE-640", "CWE-799"),
    attack=("T1110", "T1098"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding. A flood of one account is told only: to block it would keep its owner from a reset."""
    found: list[Finding] = []
    for one in facts.deviations:
        if type(one) is not AuthenticationAbuse or one.how not in ("resets", "flood"):
            continue
        span = "an hour" if one.window <= 3_600 else "a day"
        if one.how == "resets":
            message = f"this address asked within {span} for resets of {one.count:,} different accounts"
            found.append(attempts(META, one, message, confidence="medium"))
        else:
            message = f"a reset of this account was asked for {one.count:,} times within {span}"
            found.append(attempts(META, one, message, confidence="medium", severity="medium"))
    return found
