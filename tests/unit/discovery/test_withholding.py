"""Items leave a list, and no other byte changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eastwall.discovery.withholding import without_items

ROWS = b'{ "page" : 1,\n "total": 3, "items" : [ {"id": 1e400, "n": 12345678901234567890}, {"id":2,"t":"a]}\\""} ,{"id":3}], "z":[1.10]}'


def test_the_rest_stays_byte_by_byte() -> None:
    told = without_items(ROWS, [("items", 1)])
    assert told == b'{ "page" : 1,\n "total": 3, "items" : [{"id": 1e400, "n": 12345678901234567890},{"id":3}], "z":[1.10]}'


@pytest.mark.parametrize(
    ("raw", "paths", "told"),
    [
        (b"[1, 2, 3]", [(0,), (2,)], b"[2]"),
        (b"[1]", [(0,)], b"[]"),
        (b"\xef\xbb\xbf[1,2]", [(1,)], b"\xef\xbb\xbf[1]"),
        (b'{"a":{"b":[[1,2],[3]]}}', [("a", "b", 0, 1), ("a", "b", 1)], b'{"a":{"b":[[1]]}}'),
        (b'{"a":[{"b":[1,2]}]}', [("a", 0), ("a", 0, "b", 1)], b'{"a":[]}'),
        (b'{"\\u0061":[1,2]}', [("a", 0)], b'{"\\u0061":[2]}'),
    ],
)
def test_cuts(raw: bytes, paths: list[tuple[str | int, ...]], told: bytes) -> None:
    assert without_items(raw, paths) == told


@pytest.mark.parametrize(
    ("raw", "paths"),
    [
        (b'{"items":[1],"items":[2]}', [("items", 0)]),
        (b'{"items":[1]', [("items", 0)]),
        (b'{"items":[1,]}', [("items", 0)]),
        (b'{"items":[1]} x', [("items", 0)]),
        (b'{"items":[1]}', [("items", 5)]),
        (b'{"items":[1]}', [("rows", 0)]),
        (b'{"items":{"id":1}}', [("items",)]),
        (b'{"items":[1] // all\n}', [("items", 0)]),
        ('{"items":[1,2]}'.encode("utf-16"), [("items", 0)]),
        (b"", [(0,)]),
    ],
)
def test_what_cannot_be_cut_for_certain(raw: bytes, paths: list[tuple[str | int, ...]]) -> None:
    assert without_items(raw, paths) is None


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


def _items(node: Any, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    if isinstance(node, list):
        return [one for at, item in enumerate(node) for one in [(*path, at), *_items(item, (*path, at))]]
    if isinstance(node, dict):
        return [one for key, item in node.items() for one in _items(item, (*path, key))]
    return []


def _cut(node: Any, path: tuple[str | int, ...], gone: set[tuple[str | int, ...]]) -> Any:
    if isinstance(node, list):
        return [_cut(item, (*path, at), gone) for at, item in enumerate(node) if (*path, at) not in gone]
    if isinstance(node, dict):
        return {key: _cut(item, (*path, key), gone) for key, item in node.items()}
    return node


@given(TREES, st.data(), st.booleans())
def test_it_is_what_cutting_the_tree_gives(tree: Any, data: st.DataObject, spaced: bool) -> None:
    items = _items(tree, ())
    gone = set(data.draw(st.lists(st.sampled_from(items), max_size=5))) if items else set()
    raw = json.dumps(tree, indent=2 if spaced else None, ensure_ascii=not spaced).encode("utf-8", "surrogatepass")
    told = without_items(raw, sorted(gone, key=len))
    assert told is not None
    assert json.loads(told.decode("utf-8", "surrogatepass")) == _cut(tree, (), gone)


@given(st.binary(max_size=60))
def test_nothing_breaks_it(raw: bytes) -> None:
    told = without_items(raw, [("a", 0)])
    assert told is None or len(told) < len(raw)
