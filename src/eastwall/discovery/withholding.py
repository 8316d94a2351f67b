"""Takes items out of the lists of a JSON document and leaves every other byte as it is: numbers keep their digits, members their order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from re import compile as regex

_BLANK = regex(rb"[ \t\r\n]*")
_STRING = regex(rb'"(?:[^"\\\x00-\x1f]|\\.)*"')
_SCALAR = regex(rb"-?[0-9][0-9.eE+-]*|true|false|null")
_INSIDE = regex(rb'"(?:[^"\\\x00-\x1f]|\\.)*"|[\[\]{}]')
_BOM = b"\xef\xbb\xbf"

_Tree = dict["str | int", "_Tree | None"]
"""Steps -> what is below; None: taken out."""


def without_items(raw: bytes, paths: Iterable[tuple[str | int, ...]]) -> bytes | None:
    """The document without the items at `paths`, each of which ends in an index of an array. None when that cannot be done for certain: the
    document is no plain JSON, a path is not in it, or a name on the way stands in its object twice (parsers differ on which one holds).
    """
    tree: _Tree = {}
    for path in paths:
        if not path or type(path[-1]) is not int:
            return None
        node = tree
        for step in path[:-1]:
            below = node.setdefault(step, {})
            if below is None:
                break  # the list that it stands in goes as a whole
            node = below
        else:
            node[path[-1]] = None
    start = len(_BOM) if raw.startswith(_BOM) else 0
    try:
        at = _blank(raw, start)
        new, end = _value(raw, at, tree)
        if _blank(raw, end) != len(raw):
            return None
    except (ValueError, IndexError):
        return None
    return raw[:at] + new + raw[end:]


def _blank(raw: bytes, at: int) -> int:
    found = _BLANK.match(raw, at)
    return found.end() if found else at


def _value(raw: bytes, at: int, tree: _Tree) -> tuple[bytes, int]:
    """(the value that begins at `at`, rewritten, where it ends). Raises ValueError for what is not there."""
    if not tree:
        end = _end(raw, at)
        return raw[at:end], end
    opened = raw[at : at + 1]
    if opened == b"{":
        return _object(raw, at, tree)
    if opened == b"[":
        return _array(raw, at, tree)
    raise ValueError("no container")


def _object(raw: bytes, start: int, tree: _Tree) -> tuple[bytes, int]:
    parts, kept, wanted = [], start, set(tree)
    at = _blank(raw, start + 1)
    while raw[at : at + 1] != b"}":
        name = _STRING.match(raw, at)
        if name is None:
            raise ValueError("no name")
        key = json.loads(name[0])
        at = _blank(raw, name.end())
        if raw[at : at + 1] != b":":
            raise ValueError("no colon")
        at = _blank(raw, at + 1)
        if key in tree:
            wanted.remove(key) if key in wanted else _twice()
            below = tree[key]
            new, end = _value(raw, at, below if below is not None else _twice())
            parts += [raw[kept:at], new]
            kept = end
        else:
            end = _end(raw, at)
        at = _comma(raw, end, b"}")
    if wanted:
        raise ValueError("not there")
    return b"".join([*parts, raw[kept : at + 1]]), at + 1


def _array(raw: bytes, start: int, tree: _Tree) -> tuple[bytes, int]:
    items, number, wanted = [], 0, set(tree)
    at = _blank(raw, start + 1)
    while raw[at : at + 1] != b"]":
        if number in tree:
            wanted.discard(number)
            below = tree[number]
            if below is None:
                end = _end(raw, at)
            else:
                new, end = _value(raw, at, below)
                items.append(new)
        else:
            end = _end(raw, at)
            items.append(raw[at:end])
        number += 1
        at = _comma(raw, end, b"]")
    if wanted:
        raise ValueError("not there")
    return b"[" + b",".join(items) + b"]", at + 1


def _twice() -> _Tree:
    raise ValueError("a name that stands twice, or is to go")


def _comma(raw: bytes, at: int, close: bytes) -> int:
    """Where the next item begins, or the container closes."""
    at = _blank(raw, at)
    if raw[at : at + 1] == b",":
        at = _blank(raw, at + 1)
        if raw[at : at + 1] != close:
            return at
    elif raw[at : at + 1] == close:
        return at
    raise ValueError("neither comma nor end")


def _end(raw: bytes, at: int) -> int:
    """Where the value ends that begins at `at`."""
    if raw[at : at + 1] not in (b"{", b"["):
        found = _STRING.match(raw, at) or _SCALAR.match(raw, at)
        if found is None:
            raise ValueError("no value")
        return found.end()
    depth = 0
    for found in _INSIDE.finditer(raw, at):
        token = found[0]
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return found.end()
    raise ValueError("no end")
