"""A privilege that was never used is used (OWASP API5:2023): by a token in a place that is not its owner's, the work of whoever took it."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import CredentialMoved, FirstUse
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="privilege-first-used",
    title="Privilege used for the first time",
    severity="high",
    confidence="medium",
    audience="security",
    phases=("request",),
    owasp=("API5:2023", "API2:2023"),
    cwe=("CWE-269", "CWE-522"),
    attack=("T1078", "T1098"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)

_ELSEWHERE = frozenset(("issued", "moved", "stranger", "together"))


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding: severe where the token is in a strange place, else told of callers with authority."""
    first = next((one for one in facts.deviations if type(one) is FirstUse), None)
    if first is None:
        return ()
    moved = next(
        (one for one in facts.deviations if type(one) is CredentialMoved and one.how in _ELSEWHERE and one.foreign), None
    )
    if moved is None and not (first.authority and first.others):
        return ()
    return (_finding(first, moved, facts),)


def _finding(first: FirstUse, moved: CredentialMoved | None, facts: Facts) -> Finding:
    actor = facts.identity.actor[:80]
    if first.own:
        said = f"{actor} never changed anything by {first.what} before, which its class {first.cls} does"
    else:
        others = f", and {first.others:,} calls were made by others" if first.others else ", nor did anybody else"
        said = f"nobody of {first.cls} ever used {first.what}, in {first.calls:,} calls of that class{others}"
    if moved is not None:
        said += (
            f"; and the token is used by `{moved.agent}` from a network and with a client that are both new to {actor}, a client that no two of "
            f"{moved.callers:,} learned callers use"
        )
    return Finding(
        id=META.id,
        severity="high" if moved is not None else "low",
        confidence="medium" if moved is not None else "low",
        owasp=META.owasp,
        where=first.place,
        message=said,
        evidence=first.what[:120],
    )
