"""Findings of what the reader of credentials found wrong with them (`Identity.faults`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

Meaning = tuple[str, str, str]
"""(severity, confidence, a clause that goes on from `the caller's token`)."""


def told(facts: Facts, meta: Detection, meanings: Mapping[str, Meaning]) -> Sequence[Finding]:
    """One finding for each fault of the credentials that has a meaning here, in order."""
    faults = facts.identity.faults
    if meanings.keys().isdisjoint(faults):
        return ()
    return [
        Finding(
            id=meta.id,
            severity=meanings[fault][0],
            confidence=meanings[fault][1],
            owasp=meta.owasp,
            where="header.authorization",
            message=f"the caller's token {meanings[fault][2]}",
            evidence=fault,
            standing=meta.audience == "service-owner",
        )
        for fault in faults
        if fault in meanings
    ]
