"""Values of a request that do not belong together as they always did: a total that is not price times quantity (OWASP API6:2023)."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import RelationBroken
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="value-relation",
    title="Values that do not belong together as they always did",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("API6:2023",),
    cwe=("CWE-840", "CWE-472", "CWE-602"),
    attack=("T1190", "T1565"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding for each relation."""
    return [_finding(one) for one in facts.deviations if type(one) is RelationBroken]


def _finding(one: RelationBroken) -> Finding:
    return Finding(
        id=META.id,
        severity=META.severity if one.far else "medium",
        confidence="medium" if one.far else "low",
        owasp=META.owasp,
        where=one.place,
        message=f"{one.relation} in {one.held:,} of {one.of:,} learned calls; here {one.shown} instead of {one.expected}",
        evidence=f"{one.shown} instead of {one.expected}"[:120],
    )
