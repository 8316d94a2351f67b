"""A header that says another method or path than the request line's, for an operation that the caller's class does not use (OWASP API5:2023)."""

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
        if type(one) is FunctionDeviation and one.place.startswith("header.") and one.privileged and one.expected >= LIKELY
    ]


def _finding(one: FunctionDeviation, cls: str) -> Finding:
    header = one.place.removeprefix("header.")
    where = f"below {one.group[:100]}" if one.group else "of it"
    return Finding(
        id=META.id,
        severity="high",
        confidence="high" if one.expected >= SURE else "medium",
        owasp=META.owasp,
        where=one.place,
        message=f"the header {header} asks for {one.what}; of {one.calls:,} calls {where} {cls} made none, where {one.expected:,.0f} were to be expected",
        evidence=one.what[:120],
    )
