"""What is held of the knowledge of models of behaviour: one thing that a model says, as it was agreed on, and as it is published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from eastwall.behaviours import BEHAVIOURS
from eastwall.behaviours.holding import Key, Part

MODEL = "model"
"""Aspect of such elements; their `cls` is the model, their `place` the thing."""
_PARTS: dict[str, Mapping[str, Part]] = {one.name: one.holding.parts for one in BEHAVIOURS if one.holding is not None}
_MARK = "\0"


class Held:
    """One thing that a model says."""

    __slots__ = ("base", "began", "current", "since")

    def __init__(self, base: Any, *, since: float, current: Any = None, began: float = 0.0) -> None:
        self.base = base
        """As callers agreed on it."""
        self.current = base if current is None else current
        """As it is published: with ordinary drift."""
        self.since = since
        """When it rested on enough calls first, Unix seconds; 0: it was agreed on, or gone back to."""
        self.began = began
        """When what is learned went beyond; 0: it does not."""


def place_of(key: Key) -> str:
    """A thing as text."""
    return _MARK.join(key)


def key_of(place: str) -> Key:
    return tuple(place.split(_MARK))


def part_of(model: str, key: Key) -> Part | None:
    """None for what no model here says."""
    return _PARTS.get(model, {}).get(key[0])


def write_value(value: Any) -> str:
    """A thing's value as JSON."""
    return msgspec.json.encode(value).decode()


def read_value(model: str, key: Key, text: str) -> Any:
    """Raises ValueError on what is not a value of the thing."""
    part = part_of(model, key)
    if part is None:
        raise ValueError(f"no model `{model}` says anything of `{key[0]}`")
    return msgspec.json.decode(text, type=part.type)


def dump_held(held: Mapping[tuple[str, Key], Held]) -> list[Any]:
    """Plain data for `load_held`, in one order."""
    return [
        [
            model,
            list(key),
            write_value(one.base),
            write_value(one.current) if one.current is not one.base else "",
            one.since,
            one.began,
        ]
        for (model, key), one in sorted(held.items(), key=lambda item: item[0])
    ]


def load_held(data: Any) -> dict[tuple[str, Key], Held]:
    """Raises ValueError, TypeError. What a model says no more, or otherwise, is left out: it is held anew as it is learned."""
    found = {}
    for model, place, base, current, since, began in data:
        key = tuple(map(str, place))
        try:
            value = read_value(model, key, base)
            now = read_value(model, key, current) if current else None
        except ValueError:
            continue
        found[str(model), key] = Held(value, since=float(since), current=now, began=float(began))
    return found


def merge_held(mine: dict[tuple[str, Key], Held], theirs: Mapping[tuple[str, Key], Held]) -> None:
    """Of two shards' values that which rests on more calls counts; what was agreed on goes first."""
    for thing, other in theirs.items():
        known = mine.get(thing)
        if known is None or _rank(thing, other) > _rank(thing, known):
            mine[thing] = Held(other.base, since=other.since, current=other.current, began=other.began)


def _rank(thing: tuple[str, Key], one: Held) -> tuple[bool, int, str]:
    part = part_of(*thing)
    return not one.since, part.calls(one.base) if part is not None else 0, write_value(one.base)


def moved_held(held: Mapping[tuple[str, Key], Held], renamed: Mapping[str, str]) -> dict[tuple[str, Key], Held]:
    """Operations have new ids (old -> new); of several that become one the first by id counts. Ids stand in things and their values."""
    found: dict[tuple[str, Key], Held] = {}
    for (model, key), one in sorted(held.items(), key=lambda item: item[0]):
        place = moved_text(place_of(key), renamed)
        base, current = write_value(one.base), write_value(one.current)
        changed = key_of(place), moved_text(base, renamed), moved_text(current, renamed)
        if changed == (key, base, current):
            found.setdefault((model, key), one)
            continue
        made = Held(read_value(model, changed[0], changed[1]), since=one.since, began=one.began)
        made.current = read_value(model, changed[0], changed[2])
        found.setdefault((model, changed[0]), made)
    return found


def moved_text(text: str, renamed: Mapping[str, str]) -> str:
    """A text with the new ids."""
    for old, new in renamed.items():
        if old in text:
            text = text.replace(old, new)
    return text
