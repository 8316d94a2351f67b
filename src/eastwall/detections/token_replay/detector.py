"""A token in another's hands (OWASP API2:2023): used from a network and with a client that are both new to it."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import CredentialMoved
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="token-replay",
    title="Token used from another network and with another client than its own",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("API2:2023",),
    cwe=("CWE-294", "CWE-522"),
    attack=("T1550.001", "T1539", "T1528"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding at most: a call has one token."""
    return [_finding(one, facts) for one in facts.deviations if type(one) is CredentialMoved and one.how in _RESTS]


_RESTS = {
    "stranger": "of {callers:,} learned callers of its class no two use such a client",
    "together": "its own place uses it at the same time, and hardly a credential of {callers:,} learned callers of its class moved so",
    "moved": "but callers of its class do use such a client",
}


def _finding(one: CredentialMoved, facts: Facts) -> Finding:
    rests = _RESTS[one.how].format(callers=one.callers) if one.callers else "nothing is learned yet of callers of its class"
    message = (
        f"the token of {facts.identity.actor[:80]} was used by `{one.before}` {_ago(one.since)} ago, and now by `{one.agent}` from a network and with "
        f"a client that are both new to its owner; {rests}"
    )
    confidence = "low" if not one.callers or one.how == "moved" else "high" if one.how == "together" else "medium"
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence=confidence,
        owasp=META.owasp,
        where=one.place,
        message=message,
        evidence=f"{one.before} -> {one.agent}"[:120],
    )


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.0f} h"
