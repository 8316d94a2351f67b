"""A session whose calls follow one another as no learned session's did: told, never blocked."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import UnusualSequence
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="unusual-sequence",
    title="Unusual order of calls",
    severity="low",
    confidence="low",
    audience="security",
    phases=("request",),
    owasp=("API6:2023",),
    cwe=("CWE-841",),
    attack=("T1190",),
    stage="reconnaissance",
    on_error="allow",
    default_action="report",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding."""
    for one in facts.deviations:
        if type(one) is UnusualSequence:
            return (_finding(one, facts),)
    return ()


def _finding(one: UnusualSequence, facts: Facts) -> Finding:
    message = (
        f"the last {one.steps} calls of {facts.identity.actor} follow one another with a mean surprise of {one.bits:.1f} bits, where sessions "
        f"of {one.callers} learned callers had {one.usual:.1f} at most; the strangest: `{one.operation}` came directly after "
        f"`{one.before}` in {one.times:,} of {one.of:,} learned cases"
    )
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence=META.confidence,
        owasp=META.owasp,
        where=one.place,
        message=message,
        evidence=f"{one.before} -> {one.operation}"[:120],
    )
