"""Broken function level authorization (OWASP API5:2023): an operation that the caller's class does not use, and others do."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.facts import Facts, FunctionUse
from eastwall.model.finding import Detection, Finding

SURE, LIKELY = 5.0, 2.0
"""Calls that the class would have made had it used the operation as it uses the service: by chance alone, none of five happens in less than one
of a hundred cases, none of two in one of seven."""

META = Detection(
    id="function-not-used",
    title="Operation that this class of caller does not use",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("API5:2023",),
    cwe=("CWE-285", "CWE-269"),
    attack=("T1190", "T1078", "T1548"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("function",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding: severe where the operation is for those who run the service, else told."""
    use, endpoint = facts.function, facts.match.endpoint
    if use is None or endpoint is None or use.expected < LIKELY:
        return ()
    what = endpoint.operation or f"{endpoint.method} {endpoint.template}"
    who = ", ".join(use.classes[:3]) + (f" and {len(use.classes) - 3} more" if len(use.classes) > 3 else "")
    return [
        Finding(
            id=META.id,
            severity="high" if use.privileged else "medium",
            confidence=_confidence(use),
            owasp=META.owasp,
            where="operation",
            message=f"{facts.identity.cls} never uses {what}; {use.calls:,} calls were made by {who}, and {use.expected:,.0f} were to be "
            f"expected of {facts.identity.cls} if it did",
            evidence=what[:120],
        )
    ]


def _confidence(use: FunctionUse) -> str:
    return "high" if use.expected >= SURE and use.privileged else "medium" if use.expected >= LIKELY else "low"
