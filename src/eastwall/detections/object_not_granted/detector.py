"""Broken object level authorization by provenance (OWASP API1:2023): the id was never given to this actor, and others hold it."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import ChosenFreely, NeverGiven
from eastwall.model.facts import Facts, ObjectUse
from eastwall.model.finding import Detection, Finding
from eastwall.model.identity import Strength

META = Detection(
    id="object-not-granted",
    title="Object that was never given to this actor and belongs to another",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("API1:2023",),
    cwe=("CWE-639", "CWE-284"),
    attack=("T1190", "T1530"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("objects", "deviations"),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding for each object of an exclusive kind that the actor does not hold and somebody else does, and for each that it was never
    given where callers of its class name nothing else."""
    if not facts.objects and not facts.deviations:
        return ()
    # Without any identity the actor is an address: many people may stand behind it, so "never given to it" says nothing.
    if facts.identity.strength == Strength.NONE:
        return ()
    others = [use for use in facts.objects if use.exclusive and not use.granted and use.owners >= 1]
    if others and facts.deviations:
        free = {one.place for one in facts.deviations if type(one) is ChosenFreely}
        others = [use for use in others if use.place not in free]
    told = {(use.place, use.shown) for use in others}
    never = [one for one in facts.deviations if type(one) is NeverGiven and (one.place, one.shown) not in told]
    return [_finding(use, facts) for use in others] + [_unprecedented(one, facts) for one in never]


def _unprecedented(one: NeverGiven, facts: Facts) -> Finding:
    held = " and others hold" if one.others else ""
    message = (
        f"{facts.identity.actor} asks for {one.kind} {one.shown}, which it was never given and did not make{held}. In {one.given:,} of "
        f"{one.of:,} learned calls {one.actors:,} callers of its class named what an answer had given them before"
    )
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence=one.confidence,
        owasp=META.owasp,
        where=one.place,
        message=message,
        evidence=one.shown[:120],
    )


def _finding(use: ObjectUse, facts: Facts) -> Finding:
    # No count of holders: staff who may see everything are among them.
    message = (
        f"{facts.identity.actor} asks for {use.kind} {use.shown}, which it was never given and did not make, and others hold"
    )
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence=_confidence(use.confidence),
        owasp=META.owasp,
        where=use.place,
        message=f"{message}. {use.evidence}" if use.evidence else message,
        evidence=use.shown[:120],
    )


def _confidence(share: float) -> str:
    # The learner calls a kind exclusive from about 0.7 on; above 0.9 hardly any learned call contradicts it.
    return "high" if share >= 0.9 else "medium" if share >= 0.6 else "low"
