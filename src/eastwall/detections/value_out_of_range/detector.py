"""Numbers that this operation never got: a negative amount (OWASP API6:2023), a page of a hundred thousand (API4:2023)."""

from __future__ import annotations

from collections.abc import Sequence
from re import compile as regex

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
    needs=("values",),
)

_WORD = regex(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_COUNTED = frozenset(
    "amount amounts price prices total totals subtotal quantity quantities qty count cost fee tip items units seats hours days nights guests persons "
    "people tickets shares stock weight value payment sum cents fare rent salary duration".split()
)
"""What cannot be less than nothing. (Coordinates, temperatures, differences and balances can.)"""
_PAGE = frozenset(
    "limit size page_size pagesize per_page perpage count first last top take max maxresults max_results rows pagecount".split()
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    return [found for use in facts.values if (found := _finding(use)) is not None]


def _finding(use: ValueUse) -> Finding | None:
    name = use.place.rpartition(".")[2].removesuffix("[]")
    words = {word.lower() for word in _WORD.findall(name)}
    sure = "medium" if use.samples >= SURE else "low"
    if use.value < 0 <= use.minimum:
        severity, what = ("high", "is negative") if words & _COUNTED else ("low", "is negative")
        sure = "medium" if words & _COUNTED else sure
    elif name.lower() in _PAGE and use.value > max(FAR * use.maximum, use.maximum + 100):
        severity, what = "high", "asks for far more at once"
    elif use.maximum > 0 and use.value > HUGE * use.maximum:
        severity, what = "medium", "is far greater"
    else:
        return None
    return Finding(
        id=META.id,
        severity=severity,
        confidence=sure,
        owasp=META.owasp,
        where=use.place,
        message=f"`{use.place}` {what}: {use.value:g}, where {use.samples:,} learned calls had {use.minimum:g} to {use.maximum:g}",
        evidence=f"{use.value:g}",
    )
