"""A header that says another method or path than the request line's, for an operation that the caller's class does not use, or where nobody sends one (OWASP API5:2023)."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import FunctionDeviation
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="method-override",
    title="Header names another method or path, which this class of caller does not use",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("API5:2023",),
    cwe=("CWE-650", "CWE-436"),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)

LIKELY, SURE = 1.0, 5.0
"""As of `function-not-used`. Who hides what is meant in a header needs less to be believed."""


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per header."""
    return [
        _finding(one, facts.identity.cls)
        for one in facts.deviations
        if type(one) is FunctionDeviation
        and one.place.startswith("header.")
        and (one.unheard or (one.privileged and one.expected >= LIKELY))
    ]


def _finding(one: FunctionDeviation, cls: str) -> Finding:
    header = one.place.removeprefix("header.")
    if one.unheard:
        message = f"the header {header} asks for {one.what}; in {one.calls:,} calls of the service no two callers sent a header that means another operation"
        return _told(one, "medium", message)
    where = f"below {one.group[:100]}" if one.group else "of it"
    message = f"the header {header} asks for {one.what}; of {one.calls:,} calls {where} {cls} made none, where {one.expected:,.0f} were to be expected"
    return _told(one, "high" if one.expected >= SURE else "medium", message)


def _told(one: FunctionDeviation, confidence: str, message: str) -> Finding:
    return Finding(
        id=META.id,
        severity="high",
        confidence=confidence,
        owasp=META.owasp,
        where=one.place,
        message=message,
        evidence=one.what[:120],
    )
