"""Broken object level authorization by whose the data is (OWASP API1:2023): a place that holds the caller's own holds another's."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.call import Phase
from eastwall.model.deviations import OthersGiven, OwnerMismatch
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding
from eastwall.model.identity import Strength

META = Detection(
    id="owner-mismatch",
    title="Data of another owner than the caller",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request", "response"),
    owasp=("API1:2023",),
    cwe=("CWE-639", "CWE-863"),
    attack=("T1190", "T1530"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding for each place that says so."""
    if facts.identity.strength == Strength.NONE:
        return ()
    found = [_finding(one, facts) for one in facts.deviations if type(one) is OwnerMismatch]
    return found + [_listed(one, facts) for one in facts.deviations if type(one) is OthersGiven]


def _listed(one: OthersGiven, facts: Facts) -> Finding:
    what = f"{one.count:,} of {one.listed:,} {one.kind} objects that others hold and it does not"
    message = (
        f"{facts.identity.actor} names somebody in `{one.place}`, which was never sent to this operation, and was to be given {what}; "
        f"at least {one.alone:.0%} of those learned are used by one actor only"
    )
    return _told(one, message, one.kind, Phase.RESPONSE)


def _finding(one: OwnerMismatch, facts: Facts) -> Finding:
    answer = facts.phase is Phase.RESPONSE
    what = f"was to be given {one.subject or 'data'}" if answer else f"asks for {one.subject or f'what is {one.shown} alone'}"
    if one.items:
        what = f"was to be given {len(one.items):,} of {one.listed:,} items that are others'"
        what += f", the first {one.subject}" if one.subject else ""
    whose = {
        "alias": "held the caller's own id at the service",
        "tenant-alias": "held the id of the caller's tenant at the service",
    }.get(one.claim, f"equalled the caller's `{one.claim}`")
    message = f"{facts.identity.actor} {what}; in {one.equal:,} of {one.of:,} earlier calls `{one.place}` {whose}; here it is {one.shown}"
    if one.confidence == "low":
        message += ", and the caller holds the object"
    return _told(one, message, f"{one.shown}", facts.phase)


def _told(one: OwnerMismatch | OthersGiven, message: str, evidence: str, phase: Phase) -> Finding:
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence=one.confidence,
        owasp=META.owasp,
        where=one.place,
        message=message,
        evidence=evidence[:120],
        phase="response" if phase is Phase.RESPONSE else "request",
    )
