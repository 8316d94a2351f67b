"""Stack traces in answers (CWE-209): the frames are parsed, words alone never make a finding."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.answer_places import confidence, without_index
from eastwall.detections.error_disclosure import frames
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="error-disclosure",
    title="Stack trace shown to the caller",
    severity="medium",
    confidence="high",
    audience="service-owner",
    phases=("response",),
    owasp=("API8:2023", "A05:2021"),
    cwe=("CWE-209", "CWE-497"),
    attack=("T1592.002",),
    stage="reconnaissance",
    on_error="monitor",
    default_action="report",
    families=("stack-trace",),
)

MAX_TEXT = 16_384
"""Characters read together at one place: the items of a list of frames, the pieces of a long text."""


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place; the items of a list are read together, since many services give one frame an item."""
    texts: dict[str, list[str]] = {}
    for value, families in facts.suspects:
        if "stack-trace" in families:
            texts.setdefault(without_index(value.place), []).append(value.text)
    findings: list[Finding] = []
    for place, parts in texts.items():
        text = "\n".join(parts)[:MAX_TEXT]
        found = frames.trace(text)
        if found is not None:
            findings.append(_finding(facts, place, found, text))
    if not findings and len(texts) > 1:
        # One frame a field, all over the answer: Rails gives them so.
        text = "\n".join(part for parts in texts.values() for part in parts)[:MAX_TEXT]
        found = frames.trace(text)
        if found is not None:
            findings.append(_finding(facts, next(iter(texts)), found, text))
    if not findings and isinstance(facts.operation.body, dict | list) and texts:
        for place, found in frames.structured(facts.operation.body):
            findings.append(_finding(facts, place, found, ""))
    return findings


def _finding(facts: Facts, place: str, found: frames.Trace, text: str) -> Finding:
    sure = confidence(facts, place, first=found.start, whole=not text or found.share(text) >= 0.5)
    return Finding(
        id=META.id,
        severity=META.severity,
        confidence=sure,
        owasp=META.owasp,
        where=place,
        message=f"the answer holds a stack trace of {found.language} with {found.frames} frame{'s' if found.frames > 1 else ''}",
        evidence=" ".join(found.sample.split())[:120],
        phase="response",
    )
