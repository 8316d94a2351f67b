"""How detections tell of attempts on accounts (`model.deviations.AuthenticationAbuse`)."""

from __future__ import annotations

from eastwall.model.deviations import AuthenticationAbuse
from eastwall.model.finding import Detection, Finding


def attempts(meta: Detection, one: AuthenticationAbuse, message: str, *, confidence: str, severity: str = "") -> Finding:
    """The finding, with what it rests on. `severity`: that of the detection unless given."""
    usual = (
        f"{one.callers:,} learned addresses had {one.usual:,} at most"
        if one.callers
        else "nothing is learned yet of what is usual here"
    )
    return Finding(
        id=meta.id,
        severity=severity or meta.severity,
        confidence=confidence,
        owasp=meta.owasp,
        where=one.place,
        message=f"{message}; {usual}",
        evidence=f"{one.count} within {one.window / 3600:g} h, usually at most {one.usual}"[:120],
    )
