"""A workload's credential from a network that it never called from (OWASP API2:2023): workloads do not travel."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import CredentialMoved
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

SURE = 200
"""Calls of the workload after which its networks are known well."""

META = Detection(
    id="unusual-network",
    title="Workload calls from a network that it never called from",
    severity="high",
    confidence="high",
    audience="security",
    phases=("request",),
    owasp=("API2:2023",),
    cwe=("CWE-522", "CWE-294"),
    attack=("T1078", "T1552", "T1550.001"),
    stage="lateral-movement",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding at most."""
    return [_finding(one, facts) for one in facts.deviations if type(one) is CredentialMoved and one.how == "network"]


def _finding(one: CredentialMoved, facts: Facts) -> Finding:
    networks = "one network" if one.networks == 1 else f"{one.networks} networks"
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence="high" if one.credentials >= SURE else "medium",
        owasp=META.owasp,
        where=one.place,
        message=(
            f"{facts.identity.actor[:80]} calls from a network that it never called from, by `{one.agent}`; "
            f"all {one.credentials:,} learned calls of it came from {networks}"
        ),
        evidence=f"{networks} in {one.credentials} calls",
    )
