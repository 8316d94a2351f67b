"""Ids tried one after the other (OWASP API1:2023): objects that were never given to the caller, more of them than callers of its class name."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import ObjectEnumeration
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="object-enumeration",
    title="Ids tried one after the other that the caller was never given",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("API1:2023", "API6:2023"),
    cwe=("CWE-639", "CWE-340"),
    attack=("T1190", "T1595.003"),
    stage="reconnaissance",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)

_WINDOWS = {60.0: "a minute", 3600.0: "an hour", 86400.0: "a day"}


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding for each kind of object."""
    return [_finding(one, facts) for one in facts.deviations if type(one) is ObjectEnumeration]


def _finding(one: ObjectEnumeration, facts: Facts) -> Finding:
    within = _WINDOWS.get(one.window, f"{one.window:g} seconds")
    usual = (
        f"{one.callers:,} learned callers of its class had {one.usual:,} at most"
        if one.callers
        else "nothing is learned yet of callers of its class"
    )
    about = f"{facts.identity.actor[:80]} names {one.kind} {one.shown}"
    refused = f", {one.failing:,} of which the service did not give" if one.failing else ""
    if one.how == "row":
        message = (
            f"{about}, the {_th(one.ids)} in a row of ids that follow one another and that it was never given{refused}; {usual}"
        )
    elif one.how == "failing":
        message = f"{about}: within {within} the service refused or did not know {one.failing:,} that it was never given; {usual}"
    elif one.how == "unknown":
        message = f"{about}: within {within} the service refused or did not know {one.failing:,} that it was never given, and hardly any other"
    elif one.how == "many":
        message = f"{about}, the {_th(one.ids)} within {within} that it was never given{refused}; {usual}"
    else:
        by = "of one address" if one.how == "source" else "with one make of client"
        message = f"{about}, the {_th(one.ids)} in a row of ids that {one.others:,} callers {by} try between them and were never given{refused}"
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence=_confidence(one),
        owasp=META.owasp,
        where=one.place,
        message=message,
        evidence=f"{one.kind} {one.shown}: {one.ids} ids, {one.failing} failed"[:120],
    )


def _confidence(one: ObjectEnumeration) -> str:
    """Nothing learned: no ground to stop anybody, unless the service itself refuses nearly all. What follows one another or fails is no way of working; the number alone may be."""
    if one.how == "unknown":
        return "medium"
    if not one.callers:
        return "low"
    return "high" if one.how in ("row", "failing") else "medium"


def _th(count: int) -> str:
    ending = "th" if 10 <= count % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"{count:,}{ending}"
