"""An old version, or one that checks less than another version of the same operation does (OWASP API9:2023)."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import WeakerUse
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="weaker-version",
    title="Use of an old version, or of one that checks less than another",
    severity="medium",
    confidence="medium",
    audience="both",
    phases=("request", "response"),
    owasp=("API9:2023",),
    cwe=("CWE-1059", "CWE-862"),
    attack=("T1190",),
    stage="exploitation",
    on_error="allow",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding for each check that is missing. Only a call that uses what is missing, on an old version, is severe enough to be blocked."""
    return [_finding(found, facts) for found in facts.deviations if type(found) is WeakerUse]


def _finding(found: WeakerUse, facts: Facts) -> Finding:
    if not found.check:
        severity, message = "low", f"{found.label} is an old version, and {found.other} is there: {found.told}"
    else:
        severity = "high" if found.exploited and found.old else "medium" if found.exploited else "low"
        lacks = "gives more" if found.check == "data" else f"lacks the {found.check} that {found.other} has"
        message = f"{found.label} {lacks}: {found.told}" + ("; this call makes use of it" if found.exploited else "")
    return Finding(
        id=META.id,
        severity=severity,
        confidence=META.confidence,
        owasp=META.owasp,
        where=found.place,
        message=message,
        evidence=f"{found.label} beside {found.other}"[:120],
        phase=facts.phase.name.lower(),
    )
