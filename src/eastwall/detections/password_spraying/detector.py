"""Sign-in attempts through a day (OWASP API2:2023): few tries per account, many accounts; or one account, few tries an hour."""

from __future__ import annotations

from collections.abc import Sequence

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
            found.append(_finding(one, "high" if one.how == "spraying" and one.callers else "medium", message))
    return found


def _finding(one: AuthenticationAbuse, confidence: str, message: str) -> Finding:
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence=confidence,
        owasp=META.owasp,
        where=one.place,
        message=f"{message}; {_usual(one)}",
        evidence=f"{one.count} within {one.window / 3600:g} h, usually at most {one.usual}"[:120],
    )


def _usual(one: AuthenticationAbuse) -> str:
    if not one.callers:
        return "nothing is learned yet of what is usual here"
    return f"{one.callers:,} learned addresses had {one.usual:,} at most"
