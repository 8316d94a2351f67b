"""A collection read out (OWASP API6:2023, API4:2023): one caller asks an operation for far more than callers of its class ever did."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import Harvest
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="harvesting",
    title="A collection is read out: pages, queries or objects one after the other",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("API6:2023", "API4:2023"),
    cwe=("CWE-799", "CWE-770"),
    attack=("T1213", "T1119"),
    stage="exfiltration",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)

_SPANS = {60.0: "a minute", 3600.0: "an hour", 86400.0: "a day"}


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding for the operation."""
    return [_finding(one, facts) for one in facts.deviations if type(one) is Harvest]


def _finding(one: Harvest, facts: Facts) -> Finding:
    span = _SPANS.get(one.window, f"{one.window:g} seconds")
    many = f"{one.count:,} calls" if one.how == "pace" else f"{one.count:,} different {one.what}"
    row = " whose ids follow one another" if one.how == "row" else ""
    message = (
        f"{facts.identity.actor[:80]} asked {one.operation} for {many}{row} within {span}; "
        f"{one.callers:,} learned callers of its class had {one.usual:,} at most"
    )
    return Finding(
        id=META.id,
        severity="high",
        confidence="high" if one.how == "row" else "medium",
        owasp=META.owasp,
        where=one.place,
        message=message,
        evidence=f"{one.count} {one.what} within {span}, usually at most {one.usual}"[:120],
    )
