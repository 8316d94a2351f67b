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
    return [_finding(one, facts) for one in facts.deviations if type(one) is CredentialMoved and one.how != "network"]


def _finding(one: CredentialMoved, facts: Facts) -> Finding:
    rests = (
        f"none of {one.credentials:,} learned credentials of {one.callers:,} callers of its class did so"
        if one.callers
        else "nothing is learned yet of how credentials of its class move"
    )
    message = (
        f"the token of {facts.identity.actor[:80]} was used by `{one.before}` from {_networks(one.networks)} {_ago(one.since)} ago, and now by "
        f"`{one.agent}` from a network and with a client that are both new to it; {rests}"
    )
    confidence = "low" if not one.callers else "high" if one.how == "together" else "medium"
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence=confidence,
        owasp=META.owasp,
        where=one.place,
        message=message,
        evidence=f"{one.before} -> {one.agent}"[:120],
    )


def _networks(count: int) -> str:
    return "one network" if count == 1 else f"{count} networks"


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.0f} h"
