"""From what a workload is for to what is worth taking: a new edge to something grave, and signs that it is no release (TA0008)."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.edges_told import sentence
from eastwall.model.deviations import NewEdge
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

SURE_CALLS, SURE_DAYS = 20, 4 / 24
"""Learned calls of the caller before a lone sign is enough to act upon; days that they span before many objects are such a sign: the calls
of one job come together, and a program whose second job has not come yet looks like one that has no other."""
OBJECTS = 4
"""Objects over new edges within an hour that a look round does not explain."""
REFUSALS = 3
"""Refusals within ten minutes that mistakes do not explain."""

META = Detection(
    id="pivot",
    title="Lateral movement of a workload to what it never reached",
    severity="high",
    confidence="medium",
    audience="security",
    phases=("request",),
    owasp=("API5:2023",),
    cwe=("CWE-284", "CWE-269"),
    attack=("T1021", "T1078", "T1550"),
    stage="lateral-movement",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding: of the new edges the one with the most signs."""
    edges = [found for found in facts.deviations if type(found) is NewEdge]
    signs = [(tuple(_signs(edge)), edge) for edge in edges]
    signs = [(said, edge) for said, edge in signs if said]
    if not signs:
        return ()
    said, edge = max(signs, key=lambda one: len(one[0]))
    return [
        Finding(
            id=META.id,
            severity=META.severity,
            confidence="medium" if len(said) > 1 or _sure(edge) else "low",
            owasp=META.owasp,
            where=edge.place,
            message=f"{sentence(edge)}; {', and '.join(said)}",
            evidence=f"{edge.caller[:50]} to {edge.target[:60]}"[:120],
        )
    ]


def _sure(edge: NewEdge) -> bool:
    return edge.calls >= SURE_CALLS and (edge.days >= SURE_DAYS or not {"admin", "public network"}.isdisjoint(edge.reach))


def _signs(edge: NewEdge) -> list[str]:
    """What speaks against a release."""
    signs = []
    if "public network" in edge.reach:
        signs.append("it always called from private networks")
    if "admin" in edge.reach:
        signs.append("that is for those who run the service")
    grave = [reach for reach in edge.reach if reach != "public network"]
    if grave and edge.uses >= OBJECTS:
        signs.append(f"{edge.uses} objects were asked for over new edges within the hour")
    if grave and edge.failures >= REFUSALS:
        signs.append(f"it was refused {edge.failures} times in the last minutes")
    if grave and edge.suspicious:
        signs.append("an attack by it was seen in the last minutes")
    return signs
