"""From the prefilter's suspects to findings, for detections whose confirmer judges one text at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from msgspec import Struct

from eastwall.model.facts import Facts
from eastwall.model.finding import CONFIDENCES, SEVERITIES, Detection, Finding

_PASSWORD = re.compile(r"(://[^/\s:@]{0,60}:)[^/\s@]{1,100}@")
"""The password in a URL, which no finding shows."""


class Verdict(Struct, frozen=True):
    """Why a text is an attack."""

    reason: str
    """A clause that goes on from `the value of ...`: `starts a script`. Safe to show."""
    evidence: str = ""
    """The part that says so; the whole text when empty."""
    severity: str = ""
    """One of SEVERITIES; the detection's own when empty."""
    confidence: str = ""
    """One of CONFIDENCES; the detection's own when empty."""


def confirm(facts: Facts, meta: Detection, judge: Callable[[str, str], Verdict | None]) -> Sequence[Finding]:
    """One finding per place: the gravest of what `judge(text, place)` says of the suspects there (a value is one suspect per layer of
    its encoding), the first of equals."""
    wanted = frozenset(meta.families)
    best: dict[str, tuple[int, Finding]] = {}
    for value, families in facts.suspects:
        if wanted.isdisjoint(families):
            continue
        verdict = judge(value.text, value.place)
        if verdict is None and "+" in value.text and " " not in value.text:
            # Encoded like a form's value and put where nobody decodes `+`: path, header, multipart, JSON.
            verdict = judge(value.text.replace("+", " "), value.place)
        if verdict is None:
            continue
        found = finding(meta, value.place, verdict, value.text, facts.phase.name.lower())
        weight = SEVERITIES.index(found.severity) * len(CONFIDENCES) + CONFIDENCES.index(found.confidence)
        if value.place not in best or best[value.place][0] < weight:
            best[value.place] = (weight, found)
    return [found for _, found in best.values()]


def first(facts: Facts, meta: Detection, judge: Callable[[str, str], tuple[str, str] | None], read_as: str) -> Sequence[Finding]:
    """One finding per place: the first suspect there of which `judge(text, place)` gives (confidence, reason). `read_as`: between the
    place and the reason, `read as SQL`."""
    wanted = frozenset(meta.families)
    found: dict[str, Finding] = {}
    for value, families in facts.suspects:
        if wanted.isdisjoint(families) or value.place in found:
            continue
        judged = judge(value.text, value.place)
        if judged is not None:
            confidence, reason = judged
            found[value.place] = Finding(
                id=meta.id,
                severity=meta.severity,
                confidence=confidence,
                owasp=meta.owasp,
                where=value.place,
                message=f"the value of `{value.place}`, {read_as}, {reason}",
                evidence=" ".join(value.text.replace("\x00", "\\0").split())[:120],
            )
    return list(found.values())


def finding(meta: Detection, place: str, verdict: Verdict, text: str, phase: str = "request") -> Finding:
    """The finding of a verdict. Its evidence is one line of printable text."""
    shown = _PASSWORD.sub(r"\1***@", verdict.evidence or text[:480])
    shown = "".join(c if c.isprintable() else " " for c in shown[:480])
    return Finding(
        id=meta.id,
        severity=verdict.severity or meta.severity,
        confidence=verdict.confidence or meta.confidence,
        owasp=meta.owasp,
        where=place,
        message=f"the value of `{place}` {verdict.reason}",
        evidence=" ".join(shown.split())[:120] or verdict.reason[:120],
        phase=phase,
    )
