"""No pattern holds what CPython before 3.11.5 gets wrong.

There a possessive repeat of a group whose last round fails after it has moved on does not go back to where that round began, and what
follows is matched from the middle of it (gh-106052, gh-100061): `/\\*(?:[^*]|\\*(?!/))*+\\*/` does not match `/**/`. Atomic groups are right
on every 3.11, but a repeat in one takes memory per round (some hundred bytes); so a possessive one is kept where its rounds fail, if they
do, before anything has moved: a few single characters first, then only what cannot fail. Captures in repeated ones are lost or mixed up
on later versions too (gh-101955).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import eastwall

SINGLE = frozenset((codes.LITERAL, codes.NOT_LITERAL, codes.IN, codes.ANY))
REPEATS = frozenset((codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT))
Item = tuple[Any, Any]


def _is_single(body: Any) -> bool:
    return len(body) == 1 and body[0][0] in SINGLE


def _cannot_fail(items: list[Item]) -> bool:
    return all(
        code in REPEATS
        and value[0] == 0
        and (_is_single(value[2]) or (code is codes.POSSESSIVE_REPEAT and _is_sound(list(value[2]))))
        for code, value in items
    )


def _is_sound(items: list[Item]) -> bool:
    """It fails, if it does, before the engine's place in the text has moved."""
    first = True
    for at, (code, value) in enumerate(items):
        rest = items[at + 1 :]
        if code in SINGLE:
            first = False
        elif code is codes.SUBPATTERN and value[0] is None and first:
            return _is_sound(list(value[3]) + rest)
        elif code is codes.BRANCH and first:
            return all(_is_sound(list(branch) + rest) for branch in value[1])
        elif code in REPEATS and code is not codes.MIN_REPEAT and first and _is_single(value[2]):
            return _cannot_fail(rest)
        else:
            return _cannot_fail(items[at:])
    return True


def _items(tree: Any) -> Iterator[Item]:
    """Every item of a parsed pattern, at any depth."""
    for code, value in tree:
        yield code, value
        parts = value if isinstance(value, tuple) else (value,)
        for part in parts:
            for inner in part if isinstance(part, list) else (part,):
                if isinstance(inner, parser.SubPattern):
                    yield from _items(inner)


def _faults(pattern: str | bytes, flags: int) -> list[str]:
    return [
        f"repeated {value[0]} to {value[1]} times"
        for code, value in _items(parser.parse(pattern, flags))
        if code is codes.POSSESSIVE_REPEAT and not _is_single(value[2]) and not _is_sound(list(value[2]))
    ]


def _patterns(value: object, depth: int = 3) -> Iterator[re.Pattern[Any]]:
    """Those in a global, also within collections and classes (structs hold theirs in instances, which are reached by their fields)."""
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, dict):
        for each in value.values():
            yield from _patterns(each, depth - 1)
    elif depth and isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _patterns(each, depth - 1)
    elif depth and isinstance(value, type) and str(value.__module__).startswith("eastwall"):
        for each in vars(value).values():
            yield from _patterns(each, depth - 1)
    elif depth and str(type(value).__module__).startswith("eastwall"):
        fields = (*getattr(type(value), "__struct_fields__", ()), *getattr(value, "__dict__", {}))
        for field in fields:
            yield from _patterns(getattr(value, field, None), depth - 1)


def _modules() -> list[str]:
    root = Path(eastwall.__path__[0])
    files = (path.relative_to(root.parent).with_suffix("") for path in sorted(root.rglob("*.py")))
    return [".".join(path.parts).removesuffix(".__init__") for path in files if path.name != "__main__"]


def test_possessive_groups_are_right_on_every_python() -> None:
    found: set[str] = set()
    seen = 0
    for name in _modules():
        for pattern in _patterns(vars(importlib.import_module(name)), 4):
            seen += 1
            found.update(f"{name}: {fault} in {pattern.pattern!r}" for fault in _faults(pattern.pattern, pattern.flags))
    assert seen > 400
    assert not found, "\n".join(sorted(found))


@pytest.mark.parametrize(
    "pattern",
    [
        r"/\*(?:[^*]|\*(?!/))*+\*/",
        r"(?:ab?c)*+",
        r"\w+(?:\.\w++)*+",
        r"(?:[^{]++|\"[^\"]*+\")*+",
        r"x(?:a|(b))*+",
        r"(?=(?:(?!c).)++)",
        r"(?:a|(?>(?:ab?c)?+))",
    ],
)
def test_what_is_wrong_is_told(pattern: str) -> None:
    assert _faults(pattern, 0)


@pytest.mark.parametrize(
    "pattern", [r"a*+", r"[^\"\\]*+(?:\\.[^\"\\]*+)*+", r"(?:[^\"\\]++|\\.)*+", r"(?:-[a-z][a-z]*+)++", r"(?>(?:ab?c)*)"]
)
def test_what_is_right_passes(pattern: str) -> None:
    assert not _faults(pattern, 0)
