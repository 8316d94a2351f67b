"""What is for people is used by a machine (OWASP API6:2023): changes without a pause, faster than any caller of the class ever was."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import AutomatedPace
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

RUN = 24
"""Changes without a pause from which on it may be stopped."""
CALLERS = 8
"""Learned callers of the class that this takes."""
OPERATIONS = 2
"""Distinct operations: one operation many times is also how a page carries out "mark all as read"."""

META = Detection(
    id="automated-use",
    title="Automated use of a flow for people",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("API6:2023",),
    cwe=("CWE-799", "CWE-837"),
    attack=("T1119",),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding."""
    for one in facts.deviations:
        if type(one) is AutomatedPace:
            return (_finding(one, facts),)
    return ()


def _finding(one: AutomatedPace, facts: Facts) -> Finding:
    if one.hours:
        return _restless(one, facts)
    sure = one.run >= RUN and one.callers >= CALLERS and one.operations >= OPERATIONS
    message = (
        f"{facts.identity.actor} made {one.run} changes without a second's pause, {one.changes} within ten seconds, with gaps that vary by "
        f"{one.variation:.0%}; of {one.callers} learned callers of class {one.cls} none made more than {one.usual_run} without a pause "
        f"and {one.usual} within ten seconds"
    )
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence="medium" if sure else "low",
        owasp=META.owasp,
        where=one.place,
        message=message,
        evidence=f"{one.run} changes without a pause",
    )


def _restless(one: AutomatedPace, facts: Facts) -> Finding:
    message = (
        f"{facts.identity.actor} changed something in {one.hours} of the last 24 hours; none of {one.callers} learned callers of class "
        f"{one.cls} was active in more than {one.usual_hours} of a day"
    )
    return Finding(
        id=META.id,
        severity="low",
        confidence="low",
        owasp=META.owasp,
        where=one.place,
        message=message,
        evidence=f"active in {one.hours} of 24 hours",
    )
