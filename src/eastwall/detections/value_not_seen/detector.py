"""A word where callers only ever send a few others: a currency, a state, a plan (OWASP API6:2023, API3:2023)."""

from __future__ import annotations

from collections.abc import Sequence
from re import compile as regex

from eastwall.discovery.privilege import privileged
from eastwall.model.deviations import WordNotSeen
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="value-not-seen",
    title="Word that no caller sends there",
    severity="high",
    confidence="medium",
    audience="both",
    phases=("request",),
    owasp=("API6:2023", "API3:2023"),
    cwe=("CWE-20", "CWE-840", "CWE-915"),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)

MANY_CALLS = 300
"""Learned calls after which even a currency in which the service itself answers is one that callers do not send: it would be in fewer than one call in
a hundred (with 95 % certainty; 0.99 ** 300 = 4.9 %)."""
MANY_CALLERS = 12
"""With fewer calls: callers who sent the others, since most keep to one currency."""
_MONEY = regex(r"(?i)currency|(?:^|[._])iso_?4217$")


def detect(facts: Facts) -> Sequence[Finding]:
    """High where the word decides on money, privilege or state; otherwise it is a client's new option, and told."""
    return [_finding(one) for one in facts.deviations if type(one) is WordNotSeen]


def _foreign(one: WordNotSeen) -> bool:
    """Whether a currency is none that the service deals in."""
    return one.calls >= MANY_CALLS or (one.actors >= MANY_CALLERS and not one.answered)


def _finding(one: WordNotSeen) -> Finding:
    grave = privileged(one.place) or (_MONEY.search(one.place) is not None and _foreign(one))
    listed = ", ".join(f"`{word[:20]}`" for word in one.words)
    whose = ", which only answers hold" if one.answered else ""
    if one.classes:
        whose = f", which only {', '.join(name[:30] or 'anonymous' for name in one.classes[:3])} send"
    return Finding(
        id=META.id,
        severity="high" if grave else "low",
        confidence="medium" if grave else "low",
        owasp=META.owasp,
        where=one.place,
        message=f"`{one.place}` is `{one.shown}`{whose}; in {one.calls:,} learned calls it was {listed}",
        evidence=one.shown[:120],
    )
