"""Numbers that this operation never got: a negative amount (OWASP API6:2023), a page of a hundred thousand (API4:2023)."""

from __future__ import annotations

from collections.abc import Sequence
from re import compile as regex

from eastwall.model.deviations import NumberOutside
from eastwall.model.facts import Facts, ValueUse
from eastwall.model.finding import Detection, Finding

SURE = 100
"""Samples after which a range is worth acting upon. That what is counted or paid is not negative needs no more than the learner's 30."""
FAR = 10.0
"""Times the greatest value of a page size; `HUGE` of any other number."""
HUGE = 100.0

META = Detection(
    id="value-out-of-range",
    title="Number outside all that was learned for its place",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("API6:2023", "API4:2023"),
    cwe=("CWE-20", "CWE-840", "CWE-770"),
    attack=("T1190", "T1499.003"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("values", "deviations"),
)

_WORD = regex(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PAID = frozenset(
    "amount amounts price prices total totals subtotal cost fee payment sum cents fare rent salary deposit charge".split()
)
"""What has a price, and is not given away by the caller."""
_COUNTED = _PAID | frozenset(
    "quantity quantities qty count tip items units seats hours days nights guests persons people tickets shares stock weight value duration".split()
)
"""What cannot be less than nothing. (Coordinates, temperatures, differences and balances can.)"""
_PAGE = frozenset(
    "limit size page_size pagesize per_page perpage count first last top take max maxresults max_results rows pagecount".split()
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place, the gravest."""
    found = {use.place: finding for use in facts.values if (finding := _finding(use)) is not None}
    for one in facts.deviations:
        if type(one) is NumberOutside:
            finding = _outside(one)
            known = found.get(one.place)
            if known is None or (known.severity, known.confidence) != ("high", "medium"):
                found[one.place] = finding
    return list(found.values())


def _words(place: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(place.rpartition(".")[2].removesuffix("[]"))}


def _finding(use: ValueUse) -> Finding | None:
    name = use.place.rpartition(".")[2].removesuffix("[]")
    counted = not _words(use.place).isdisjoint(_COUNTED)
    sure = "medium" if use.samples >= SURE else "low"
    if use.value < 0 <= use.minimum:
        severity, what = ("high", "is negative") if counted else ("low", "is negative")
        sure = "medium" if counted else sure
    elif name.lower() in _PAGE and use.value > max(FAR * use.maximum, use.maximum + 100):
        severity, what = "high", "asks for far more at once"
    elif use.maximum > 0 and use.value > HUGE * use.maximum:
        severity, what = "medium", "is far greater"
    else:
        return None
    message = f"`{use.place}` {what}: {use.value:g}, where {use.samples:,} learned calls had {use.minimum:g} to {use.maximum:g}"
    return _told(use.place, severity, sure, message, use.value)


def _outside(one: NumberOutside) -> Finding:
    """High: what nobody means to send. The rest is told: people do buy more than ever before."""
    words = _words(one.place)
    severity = confidence = "low"
    if one.how == "huge":
        severity, confidence = ("high", "medium") if one.far else ("medium", "low")
    elif (one.how == "negative" and words & _COUNTED) or (one.how == "zero" and words & _PAID):
        severity, confidence = "high", "medium"
    what = {"huge": "is far greater", "zero": "is nothing", "negative": "is negative", "fraction": "is no whole number"}
    said = f"`{one.place}` {what.get(one.how, 'is a string')}: {one.value:g}"
    range_ = f"{one.least:g} to {one.most:g}, each end by 3 callers or more"
    return _told(one.place, severity, confidence, f"{said}, where {one.calls:,} learned calls had {range_}", one.value)


def _told(place: str, severity: str, confidence: str, message: str, value: float) -> Finding:
    return Finding(
        id=META.id,
        severity=severity,
        confidence=confidence,
        owasp=META.owasp,
        where=place,
        message=message,
        evidence=f"{value:g}",
    )
