"""Takes items out of the lists of a JSON document, and members out of its objects, and leaves every other byte as it is: numbers keep their
digits, members their order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from re import compile as regex
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from eastwall.model.operation import Operation

_BLANK = regex(rb"[ \t\r\n]*")
_STRING = regex(rb'"(?:[^"\\\x00-\x1f]|\\.)*"')
_SCALAR = regex(rb"-?[0-9][0-9.eE+-]*|true|false|null")
_INSIDE = regex(rb'"(?:[^"\\\x00-\x1f]|\\.)*"|[\[\]{}]')
_BOM = b"\xef\xbb\xbf"
_JSON = msgspec.json.Decoder(float_hook=lambda text: msgspec.Raw(text.encode()))
"""Keeps each float as its own text."""

_Tree = dict["str | int", "_Tree | None"]
"""Steps -> what is below; None: taken out."""


def without_items(raw: bytes, paths: Iterable[tuple[str | int, ...]]) -> bytes | None:
    """The document without the items at `paths`, each of which ends in an index of an array. None when that cannot be done for certain: the
    document is no plain JSON, a path is not in it, or a name on the way stands in its object twice (parsers differ on which one holds).
    """
    found = list(paths)
    if any(not path or type(path[-1]) is not int for path in found):
        return None
    return _without(raw, found)


def without_members(operation: Operation, paths: Iterable[tuple[str | int, ...]]) -> bytes | None:
    """The body of a message without the members at `paths`, each of which ends in a name: JSON, or a form. None for other bodies.

    A document that parsers may read in different ways (a name that stands twice, comments) is written anew as it was judged.
    """
    found = [path for path in paths if path]
    if operation.body_kind == "form":
        names = {path[0] for path in found}
        pairs = parse_qsl(operation.raw_body.decode("utf-8", "surrogateescape"), keep_blank_values=True, errors="surrogateescape")
        return urlencode([pair for pair in pairs if pair[0] not in names], errors="surrogateescape").encode()
    if operation.body_kind != "json":
        return None
    new = _without(operation.raw_body, found)
    if new is not None and not operation.faults:
        return new
    try:
        tree = _JSON.decode(operation.raw_body)
    except (ValueError, RecursionError):
        tree = operation.body  # what a lenient reader made of it
    for path in found:
        tree = _removed(tree, path)
    return msgspec.json.encode(tree)


def _removed(tree: Any, path: tuple[str | int, ...], at: int = 0) -> Any:
    """The tree with a member less; what is not there is not missed. Only what is on the way is copied."""
    step = path[at]
    if type(tree) is dict and type(step) is str and step in tree:
        if at == len(path) - 1:
            return {key: value for key, value in tree.items() if key != step}
        return {**tree, step: _removed(tree[step], path, at + 1)}
    if type(tree) is list and type(step) is int and at < len(path) - 1 and 0 <= step < len(tree):
        return [*tree[:step], _removed(tree[step], path, at + 1), *tree[step + 1 :]]
    return tree


def _without(raw: bytes, paths: Iterable[tuple[str | int, ...]]) -> bytes | None:
    tree: _Tree = {}
    for path in paths:
        node = tree
        for step in path[:-1]:
            below = node.setdefault(step, {})
            if below is None:
                break  # what it stands in goes as a whole
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
    members, wanted, whole = [], set(tree), True
    kept = start
    parts = []
    at = _blank(raw, start + 1)
    while raw[at : at + 1] != b"}":
        begin = at
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
            if below is None:
                end, whole = _end(raw, at), False
            else:
                new, end = _value(raw, at, below)
                parts += [raw[kept:at], new]
                kept = end
                members.append(raw[begin:at] + new)
        else:
            end = _end(raw, at)
            members.append(raw[begin:end])
        at = _comma(raw, end, b"}")
    if wanted:
        raise ValueError("not there")
    if whole:
        return b"".join([*parts, raw[kept : at + 1]]), at + 1
    return b"{" + b",".join(members) + b"}", at + 1


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


def _twice() -> None:
    raise ValueError("a name that stands twice")


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
