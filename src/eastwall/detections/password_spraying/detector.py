"""Sign-in attempts through a day (OWASP API2:2023): few tries per account, many accounts; or one account, few tries an hour."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.attempts import attempts
from eastwall.model.deviations import AuthenticationAbuse
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="password-spraying",
    title="Sign-in attempts spread over a day, over accounts or over addresses",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("API2:2023",),
    cwe=("CWE-307",),
    attack=("T1110.003", "T1110.001", "T1110.004"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)

_MESSAGES = {
    "spraying": "{count:,} different accounts failed to sign in from this address within a day, and never got in from it",
    "guessing": "this account failed {count:,} times within a day, and never got in from this address",
    "surge": "{count:,} attempts failed within an hour with one make of client from {sources:,} addresses, and hardly any got in",
}


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding."""
    found: list[Finding] = []
    for one in facts.deviations:
        if type(one) is AuthenticationAbuse and one.how in _MESSAGES:
            message = _MESSAGES[one.how].format(count=one.count, sources=one.sources)
            found.append(attempts(META, one, message, confidence="high" if one.how == "spraying" and one.callers else "medium"))
    return found
