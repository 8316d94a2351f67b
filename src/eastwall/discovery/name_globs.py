"""Globs over names (`client:support-*`, `workload:spiffe://shop/ns/web/sa/front/pod/*`), looked up by their beginnings.

A table of a thousand globs costs a few dictionary look-ups: only globs that begin as the name does are tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, TypeVar

V = TypeVar("V")


class GlobTable(Generic[V]):
    """What the first glob that matches a name stands for."""

    __slots__ = ("_exact", "_lengths", "_wild")

    def __init__(self, pairs: Iterable[tuple[str, V]], *, steps: bool = False) -> None:
        """`*` stands for any text. With `steps` it stands for a text within one step of the name: it does not pass a `/`, nor, where
        the glob is no URI, a `.`. All else stands for itself."""
        self._exact: dict[str, tuple[int, V]] = {}
        self._wild: dict[str, list[tuple[int, re.Pattern[str], V]]] = {}
        for number, (glob, value) in enumerate(pairs):
            start, star, rest = glob.partition("*")
            if not star:
                self._exact.setdefault(glob, (number, value))
            else:
                form = _form(rest, "." if not steps else "[^/]" if "://" in glob else "[^/.]")
                self._wild.setdefault(start, []).append((number, form, value))
        self._lengths = sorted({len(start) for start in self._wild})

    def get(self, name: str) -> V | None:
        found = self._exact.get(name)
        for length in self._lengths:
            if length > len(name):
                break
            for number, form, value in self._wild.get(name[:length], ()):
                if (found is None or number < found[0]) and form.fullmatch(name, length) is not None:
                    found = (number, value)
                    break
        return found[1] if found is not None else None

    def __bool__(self) -> bool:
        return bool(self._exact or self._wild)


def _form(rest: str, char: str) -> re.Pattern[str]:
    """What follows the first `*`. Each `*` but the last ends where the text after it first occurs and that is not reconsidered, so
    that a match takes linear time; nothing is lost by it, since a later end leaves the rest no more to match in."""
    texts = [re.escape(text) for text in re.split(r"\*+", rest)]
    if len(texts) == 1:
        return re.compile(f"{char}*{texts[0]}", re.DOTALL)
    if not texts[0]:  # `**`: the same as one
        texts.pop(0)
    middle = "".join(f"(?>{char}*?{text})" for text in texts[:-1])
    return re.compile(f"{middle}{char}*{texts[-1]}", re.DOTALL)
