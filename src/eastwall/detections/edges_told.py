"""A new edge in one sentence, for the detections that judge it."""

from __future__ import annotations

from eastwall.model.deviations import NewEdge


def sentence(found: NewEdge) -> str:
    """What was expected, and what happened."""
    what = {"service": "calls the service", "operation": "calls", "source": "calls from"}[found.kind]
    knows = {"service": "services", "operation": "operations", "source": "networks"}[found.kind]
    reach = f", which reaches {', '.join(found.reach)}" if found.reach and found.kind != "source" else ""
    return (
        f"{found.caller} {what} {found.target}{reach}, for the first time after {found.calls:,} calls in {found.days:g} days that kept to "
        f"{found.known} {knows}"
    )
