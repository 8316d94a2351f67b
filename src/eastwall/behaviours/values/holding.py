"""See `behaviours.holding`: numbers, words and relations of requests."""

from __future__ import annotations

from typing import Any

from eastwall.behaviours.holding import Holding, Key, Part, never
from eastwall.behaviours.values.model import Held, Knowledge, Known, Model
from eastwall.behaviours.values.numbers import Number, Words, reaches
from eastwall.behaviours.values.relations import sentence


def _split(known: Knowledge) -> dict[Key, Any]:
    found: dict[Key, Any] = {}
    for one in known.operations:
        found |= {("number", one.endpoint, number.place): number for number in one.numbers}
        found |= {("words", one.endpoint, words.place): words for words in one.words}
        found |= {("relation", one.endpoint, *relation_key(held)): held for held in one.relations}
    return found


def relation_key(held: Held) -> Key:
    """Which relation it is."""
    return ("/".join(held.frame), held.how, held.target, *held.sources)


def _join(known: Knowledge, things: dict[Key, Any]) -> Knowledge:
    found: dict[str, tuple[list[Number], list[Words], list[Held]]] = {}
    for key, value in things.items():
        at = ("number", "words", "relation").index(key[0])
        found.setdefault(key[1], ([], [], []))[at].append(value)
    return Knowledge(
        tuple(
            Known(
                endpoint,
                tuple(sorted(numbers, key=lambda one: one.place)),
                tuple(sorted(words, key=lambda one: one.place)),
                tuple(sorted(relations, key=lambda one: (one.frame, one.how, one.target, one.sources))),
            )
            for endpoint, (numbers, words, relations) in sorted(found.items())
        )
    )


def _wider(first: Number, second: Number) -> bool:
    return second.most > first.most or second.least < first.least or (first.whole and not second.whole)


def near_number(first: Number, second: Number) -> bool:
    """Whether a range is at most twice as wide as one that was agreed on: see `behaviours.holding.drift`."""
    return reaches(first, second.least) and reaches(first, second.most) and not (first.whole and not second.whole)


def _range(value: Number) -> str:
    return f"{value.least:g} to {value.most:g}{', whole' if value.whole else ''}"


def _words(value: Words) -> str:
    told = sorted(word for word, _, _ in value.words)
    return ", ".join(told[:8]) + (f" and {len(told) - 8} more" if len(told) > 8 else "")


def _more_words(first: Words, second: Words) -> bool:
    return not {word for word, _, _ in second.words} <= {word for word, _, _ in first.words}


def _place(key: Key) -> str:
    return f"`{key[2]}`" if key[2].startswith("query.") else f"`body.{key[2]}`"


HOLDING = Holding(
    {
        "number": Part(Number, lambda value: int(value.calls), _wider, near_number, _place, _range, lost=True),
        "words": Part(Words, lambda value: int(value.calls), _more_words, never, _place, _words, lost=True),
        "relation": Part(
            Held,
            lambda value: int(value.of),
            never,
            never,
            lambda key: f"`{key[4]}`",
            lambda value: sentence((value.how, value.target, value.sources)),
            lost=True,
            firm=100,
        ),
    },
    _split,
    _join,
    Model.backers,
)
