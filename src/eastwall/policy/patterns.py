"""Patterns of authors: operations (`GET /orders/{order_id}`), names (globs).

An operation pattern is a statement about *paths*, never about what the inventory has learned: the same call gets the same
verdict before and after its endpoint is known. Services read paths loosely (`//admin`, `/x/../admin`, `/Admin`, `/admin;a=b`), so a
policy that restricts applies when *any* reading of the path matches, and one that loosens only when *every* reading does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

METHOD = re.compile(r"\*|[A-Z][A-Z-]{0,31}")
SEGMENT = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]{0,63}\}|\*|[^{}*\s?#]+")
ODD = re.compile(r"//|/\.|[;%\\]")
"""Paths that more than one reading is possible of."""
Segments = tuple[str, ...]


class OperationPattern(NamedTuple):
    """A parsed pattern. A segment of None stands for any one segment."""

    text: str
    method: str
    """`*` is every method."""
    segments: tuple[str | None, ...]
    open: bool
    """Ends in `**`."""
    names: tuple[tuple[int, str], ...]
    """(position, parameter name)."""
    folded: tuple[str | None, ...]
    """`segments` in lower case."""


@lru_cache(maxsize=20_000)
def parse_operation(text: str) -> OperationPattern:
    """Raises `ValueError` with one line."""
    method, space, path = text.partition(" ")
    path = path.strip()
    if not space or not METHOD.fullmatch(method) or not path.startswith("/"):
        raise ValueError(f"`{text[:80]}` is not an operation: a method in capitals or `*`, a space, a path")
    parts = [part for part in path.split("/") if part]
    is_open = bool(parts) and parts[-1] == "**"
    if is_open:
        parts.pop()
    segments: list[str | None] = []
    names: list[tuple[int, str]] = []
    for position, part in enumerate(parts):
        if part == "**":
            raise ValueError(f"`{text[:80]}`: `**` is allowed at the end only")
        if not SEGMENT.fullmatch(part):
            raise ValueError(f"`{text[:80]}`: segment `{part[:40]}` is neither plain text, `{{name}}` nor `*`")
        if part.startswith("{"):
            name = part[1:-1]
            if any(name == other for _, other in names):
                raise ValueError(f"`{text[:80]}`: parameter `{name}` comes twice")
            names.append((position, name))
        segments.append(None if part == "*" or part.startswith("{") else part)
    folded = tuple(segment and segment.lower() for segment in segments)
    return OperationPattern(text, method, tuple(segments), is_open, tuple(names), folded)


def method_matches(pattern: str, method: str) -> bool:
    # Frameworks route HEAD to the GET handler, so a rule for GET that left HEAD out would leave a hole.
    return pattern in ("*", method) or (pattern == "GET" and method == "HEAD")


def segments_match(pattern: Sequence[str | None], is_open: bool, segments: Sequence[str]) -> bool:
    size = len(pattern)
    if len(segments) != size and not (is_open and len(segments) > size):
        return False
    return all(want is None or want == have for want, have in zip(pattern, segments, strict=False))


def is_odd(path: str) -> bool:
    """Whether services may read this path (without query) in more than one way."""
    return ODD.search(path) is not None


def readings(path: str, segments: Segments) -> tuple[Segments, ...]:
    """The ways in which a service may read a path, the plain one first."""
    if not is_odd(path):
        return (segments,)
    loose = [piece for segment in segments for piece in segment.replace("\\", "/").split("/")]
    bare = [piece.partition(";")[0] for piece in loose]
    found = dict.fromkeys(
        (segments, tuple(p for p in loose if p), _resolved(loose), tuple(p for p in bare if p), _resolved(bare))
    )
    return tuple(found)


def _resolved(pieces: list[str]) -> Segments:
    """Without `.`, `..` and empty segments (RFC 3986, 5.2.4)."""
    stack: list[str] = []
    for piece in pieces:
        if piece == "..":
            if stack:
                stack.pop()
        elif piece not in ("", "."):
            stack.append(piece)
    return tuple(stack)


def compile_globs(globs: Sequence[str]) -> Callable[[str], bool] | None:
    """A test for `any of these`; None when there are none. `*` stands for any text, all else for itself."""
    if not globs:
        return None
    exact = frozenset(glob for glob in globs if "*" not in glob)
    wild = [glob for glob in globs if "*" in glob]
    if not wild:
        return exact.__contains__
    if "*" in wild:
        return _always
    pattern = re.compile("|".join(".*".join(re.escape(part) for part in re.split(r"\*+", glob)) for glob in wild), re.DOTALL)
    full = pattern.fullmatch
    return lambda text: text in exact or full(text) is not None


def _always(_: str) -> bool:
    return True
