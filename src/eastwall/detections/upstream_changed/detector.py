"""A third party's answer of another shape or size than its answers had (OWASP API10:2023)."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import UpstreamChange
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

SURE = 30
"""Answers that were learned before a single difference is more than chance. Where types changed and fields are missing at once, the
`ENOUGH` of the watch are."""
_WHAT = {"type": "is {found} and was {expected}", "missing": "is missing and was always there", "new": "was never there"}

META = Detection(
    id="upstream-changed",
    title="A third party answers in another shape",
    severity="high",
    confidence="medium",
    audience="service-owner",
    phases=("response",),
    owasp=("API10:2023",),
    cwe=("CWE-20", "CWE-345"),
    attack=("T1195",),
    stage="exploitation",
    on_error="allow",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding: a new field is news, a changed one a fault, and both together no longer the same interface."""
    changes = [found for found in facts.deviations if type(found) is UpstreamChange]
    if not changes:
        return ()
    kinds = {change.kind for change in changes}
    broken = {"type", "missing"} <= kinds
    first = changes[0]
    told = "; ".join(_sentence(change) for change in changes)
    return [
        Finding(
            id=META.id,
            severity="high" if broken else "low" if kinds == {"new"} else "medium",
            confidence="medium" if broken or first.samples >= SURE else "low",
            owasp=META.owasp,
            where=first.place,
            message=f"the answer of {facts.call.service} is not as {first.samples:,} answers were: {told}",
            evidence=f"{first.place}: {first.found}"[:120],
            phase="response",
        )
    ]


def _sentence(change: UpstreamChange) -> str:
    more = f" (and {change.changes - 1} more)" if change.changes > 1 else ""
    if change.kind == "size":
        return f"it has {change.found}, and they had {change.expected}"
    return f"`{change.place}` {_WHAT[change.kind].format(found=change.found, expected=change.expected)}{more}"
