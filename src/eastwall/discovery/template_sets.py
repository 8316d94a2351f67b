"""Words judged together: what one word at a position does not show, the words beside it do.

The odds of `template_judgement` are those of each word alone. A parameter that takes a few dozen values, each of them called as often as
an operation, leaves little to tell by, word by word. Together its values show that they lead to one and the same, in words that APIs
do not use for routes, and that there are many of them; the names of routes lead to different things or are built alike (`is-prime`,
`is-cube`). Words of APIs are then told by what the words beside them turned out to be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import log2, sqrt

from eastwall.discovery.template_judgement import REST, Candidate, Level, clipped, grouped, judge_round
from eastwall.discovery.template_weights import SET_BIAS, SET_WEIGHTS

API_WORD = 0.5
"""A word is a stranger when no larger part of it is made of words of APIs."""
SET = 5
"""So many strangers that lead to the same are a set: one parameter, or a name each."""
_ALIKE = 4
"""So many strangers that lead to the same and look alike are told alike."""
_AFFIX, _SHARED = 3, 3
"""Characters of a beginning or an end, and how many words have it in common to be built alike."""
_TAIL, _TAIL_SHARE, _JOINED = 4, 0.2, 5.0
"""So many values, and so many for each head, make the heads values, at such odds."""
_OWN_CALLS = -1.0
"""Calls of a word (log2), against those of usual operations as many as are below it, that show that they are its own."""
_HARDLY = -0.5
"""At higher odds by look and place a word of APIs is hardly one."""
_HIDES, _LOOKALIKES, _USUAL_CALLS = 5, 6, 2.0
"""So many values, or so many of its look, hide a word with up to so many deviations more calls than they have in the mean."""
_LEAST_VARIANCE = 0.25


def judge_sets(level: Level, per_operation: float) -> None:
    """Change the odds of the words at a position, after `judge_by_traffic`, by what they are together."""
    strangers = [c for c in level.candidates if _strange(c)]
    if strangers:
        _agree(level)
        _join(level, strangers)
    if 0 < len(strangers) < len(level.candidates):
        told = [c.odds for c in strangers]
        judge_round(level, per_operation, None)
        for c, odds in zip(strangers, told, strict=True):
            c.odds = odds
        _join(level, strangers)
    _split(level, per_operation)
    _hide(level)


def sets_at(level: Level) -> Iterable[list[Candidate]]:
    """The strangers at a position, those that lead to the same together."""
    return grouped([c for c in level.candidates if _strange(c)], lambda c: (True, _ends(c)))


def set_features(group: Sequence[Candidate]) -> dict[str, float]:
    """What words that lead to the same show: the mean odds of one by look and place and by everything, how many they are (log2), and
    the share of those that are built like others."""
    heads = Counter(c.step[:_AFFIX].lower() for c in group)
    tails = Counter(c.step[-_AFFIX:].lower() for c in group)
    built = sum(max(heads[c.step[:_AFFIX].lower()], tails[c.step[-_AFFIX:].lower()]) >= _SHARED for c in group)
    return {
        "affix": built / len(group),
        "lexical": sum(c.lexical for c in group) / len(group),
        "odds": sum(clipped(c.odds) for c in group) / len(group),
        "size": log2(len(group)),
    }


def _strange(c: Candidate) -> bool:
    return c.features["api_words"] <= API_WORD


def _ends(c: Candidate) -> str:
    """Where a word leads to: the same text for words that lead to the same places with the same methods."""
    return ",".join(sorted({f"{place} {method}" for place, method, _ in c.tails}))


def _agree(level: Level) -> None:
    """Strangers that lead to the same are told alike: the few among them that are called most are not names because of that."""
    for group in sets_at(level):
        if len(group) >= SET:
            odds = SET_BIAS + sum(SET_WEIGHTS.get(name, 0.0) * value for name, value in set_features(group).items())
        elif len(group) >= _ALIKE and len({c.look.style for c in group}) == 1:
            odds = sum(clipped(c.odds) for c in group) / len(group)
        else:
            continue
        for c in group:
            c.odds = odds


def _join(level: Level, strangers: Sequence[Candidate]) -> None:
    """Strangers told as names join the values beside them when they lead nowhere that those do not: the head of a pool has the calls of
    an operation as soon as there is enough traffic, and its tail tells that it is a pool."""
    below = {key[:2] for key in level.rest_tails}
    for c in level.clear + level.candidates:
        if c.odds > 0:
            below.update(key[:2] for key in c.tails)
    for leaf in (False, True):
        group = [c for c in strangers if c.leaf == leaf]
        heads = [c for c in group if c.odds <= 0 and all(key[:2] in below for key in c.tails)]
        values = sum(c.odds > 0 for c in group) + REST * len(level.rest)
        if values >= max(_TAIL, _TAIL_SHARE * len(heads)):
            for c in heads:
                c.odds = _JOINED


def _split(level: Level, per_operation: float) -> None:
    """Words of APIs that were told as values because they lead to the same are names all the same when what is below each has the calls
    of operations of its own: collections of one shape."""
    for c in level.candidates:
        if c.odds <= 0 or c.leaf or c.lexical >= _HARDLY or _strange(c):
            continue
        if log2(c.calls / (c.operations * per_operation)) > _OWN_CALLS:
            c.odds = -_JOINED


def _hide(level: Level) -> None:
    """Words (`history`, `bridge`) that lead to what values lead to, look like them and are called like them, are values: a route of
    that name would have the calls of a route."""
    clear = {id(c) for c in level.clear}
    for group in grouped(level.candidates + level.clear, lambda c: (True, _ends(c))):
        values = [c for c in group if c.odds > 0 and (id(c) in clear or _strange(c))]
        if len(values) < _HIDES or len(values) == len(group):
            continue
        logs = [log2(c.calls) for c in values]
        mean = sum(logs) / len(logs)
        most = mean + _USUAL_CALLS * sqrt(sum((n - mean) ** 2 for n in logs) / len(logs) + _LEAST_VARIANCE)
        looks = Counter(c.look.style for c in values)
        for c in group:
            if c.odds <= 0 and log2(c.calls) <= most and (looks[c.look.style] >= _LOOKALIKES or c.lexical > _HARDLY):
                c.odds = _JOINED
