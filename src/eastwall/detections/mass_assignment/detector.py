"""Mass assignment (OWASP API3:2023): a request sets a property that callers of this class never set."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.facts import Facts, Property
from eastwall.model.finding import Detection, Finding

LEARNED_FROM = 20
"""Clean calls with a body that must stand behind "never": below it a new property is only a property not seen yet."""
SURE = 12
"""The same of names that mean privilege, of what answers carry and nobody sets: see `behaviours.sessions.evidence`, whose bound this is."""
CHANCE = 3e-4
"""How likely it may be, by the rule of succession over the names that the class sends, that a body is the first with one: as a third of all calls at
most have bodies, one call in ten thousand. Asked of names that mean privilege, of what answers carry and nobody sets."""
RESOURCE_FROM = 50
"""Clean calls of the resource's operations together, where the operation itself has fewer: nobody sends it there either."""
FEW = 3
"""Of them, those of the operation itself."""

META = Detection(
    id="mass-assignment",
    title="Property set that this class of caller never sets",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("API3:2023",),
    cwe=("CWE-915",),
    attack=("T1190", "T1548"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("new_properties",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """High for privileged or read-only properties; low (reported, never blocked by default) for other unknown ones."""
    if not facts.new_properties:
        return ()
    return [finding for entry in facts.new_properties if (finding := _judge(entry, facts)) is not None]


def _judge(entry: Property, facts: Facts) -> Finding | None:
    if entry.learned_from < (SURE if entry.privileged and entry.response_only else LEARNED_FROM):
        return _by_resource(entry, facts)
    who = facts.identity.cls or "anonymous"
    never = f"in {entry.learned_from} clean calls no `{who}` caller ever sent it"
    # A declared property is legal to send: the schema's owner meant it. It stays of interest when it grants privilege.
    if entry.response_only and not entry.declared:
        return _finding(
            entry, "high", "high", f"the request sets `{entry.place}`, which this service returns but nobody sets; {never}"
        )
    if entry.privileged:
        confidence = "medium" if entry.declared else "high"
        return _finding(
            entry, "high", confidence, f"the request sets `{entry.place}`, whose name means privilege or state; {never}"
        )
    if entry.declared:
        return None
    return _finding(entry, "low", "low", f"the request sets `{entry.place}`, which is not declared; {never}")


def _by_resource(entry: Property, facts: Facts) -> Finding | None:
    """Of an operation that is called little: what answers carry and no operation of the resource was ever sent, or the class never sends anywhere.
    Of any operation: what makes of somebody one of those who run the service."""
    if entry.declared:
        return None
    who = facts.identity.cls or "anonymous"
    nowhere = f"in {entry.bodies:,} clean calls of any operation no `{who}` caller ever sent a property of this name"
    sent_nowhere = entry.bodies and entry.chance <= CHANCE
    if entry.authority and sent_nowhere:
        return _finding(entry, "high", "medium", f"the request gives authority by `{entry.place}`; {nowhere}")
    if not entry.response_only or entry.learned_from < FEW:
        return None
    if entry.resource_from >= RESOURCE_FROM:
        sent = f"in {entry.resource_from:,} clean calls of this resource's operations nobody ever sent it"
    elif entry.privileged and sent_nowhere:
        sent = nowhere
    else:
        return None
    return _finding(entry, "high", "medium", f"the request sets `{entry.place}`, which this service returns; {sent}")


def _finding(entry: Property, severity: str, confidence: str, message: str) -> Finding:
    where = entry.place if entry.place.startswith("body") else f"body.{entry.place}"
    return Finding(
        id=META.id,
        severity=severity,
        confidence=confidence,
        owasp=META.owasp,
        where=where,
        message=message,
        evidence=entry.place[:120],
    )
