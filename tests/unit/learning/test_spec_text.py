"""Specification texts: JSON and YAML within bounds, and bad ones told in one line."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.learning.spec_text import MAX_BYTES, MAX_FAULTS, Faults, SpecError, read_tree, shown


def fault(text: str | bytes, name: str = "") -> tuple[str, str]:
    with pytest.raises(SpecError) as caught:
        read_tree(text.encode() if isinstance(text, str) else text, name)
    assert "\n" not in str(caught.value)
    return caught.value.fault.where, str(caught.value)


def test_yaml_is_read_in_its_core_schema() -> None:
    text = """
openapi: 3.1.0
version: 1.10
country: NO
on: yes
date: 2020-01-01
time: 12:30:45
octal: 0o17
hex: 0x1F
old: 010
float: 1e3
none: ~
empty:
quoted: "1"
tagged: !!str 1
200: ok
true: t
base: &base {a: 1, b: [x, &s y]}
more: {<<: *base, b: 2, c: *s}
list: {<<: [{d: 1}, *base]}
"""
    assert read_tree(text.encode()) == {
        "openapi": "3.1.0", "version": 1.1, "country": "NO", "on": "yes", "date": "2020-01-01", "time": "12:30:45", "octal": 15, "hex": 31,
        "old": 10, "float": 1000.0, "none": None, "empty": None, "quoted": "1", "tagged": "1", "200": "ok", "true": "t",
        "base": {"a": 1, "b": ["x", "y"]}, "more": {"a": 1, "b": 2, "c": "y"}, "list": {"d": 1, "a": 1, "b": ["x", "y"]},
    }  # fmt: skip


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(-1e6, 1e6) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


_NUMBER = re.compile(r"[-+.0-9eE_]+")


def _bare(tree: Any) -> bool:
    """Whether a text in it might be a number of YAML 1.2, which the writer, of YAML 1.1, does not quote."""
    if isinstance(tree, dict):
        return any(_bare(part) for part in (*tree.keys(), *tree.values()))
    if isinstance(tree, list):
        return any(map(_bare, tree))
    return isinstance(tree, str) and _NUMBER.fullmatch(tree) is not None


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
@settings(max_examples=80, deadline=None)
def test_json_and_yaml_of_one_tree_are_one_tree(tree: dict[str, Any]) -> None:
    try:
        written = json.dumps(tree).encode()
        as_yaml = yaml.safe_dump(tree).encode()
    except UnicodeEncodeError:
        return
    assert read_tree(written) == tree
    if not _bare(tree):
        assert read_tree(as_yaml, "x.yaml") == tree


@given(st.text(alphabet="ab:-[]{}&*!|>%@`'\",#? \n\t<01", max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_text_is_read_or_told(text: str) -> None:
    try:
        read_tree(text.encode(), "x.yaml")
    except SpecError as error:
        assert "\n" not in str(error)
        assert str(error)


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ('{"openapi": "3.1.0",\n "paths": {"/a": ', "line 2", "the JSON is not whole"),
        ('{"openapi": "3.1.0",\n "paths": tru}', "line 2, column 15", "not JSON: invalid character"),
        ("{'a': 1}", "line 1, column 2", "not JSON"),
        ("openapi: 3.1.0\npaths:\n  /a: [get, post", "line 4", "not YAML"),
        ("a: b: c", "line 1, column 5", "not YAML: mapping values are not allowed"),
        ("a:\n\t- b", "line 2, column 1", "not YAML"),
        ("", "", "the document is empty"),
        (" \n ", "", "the document is empty"),
        ("a: 1\n---\nb: 2", "line 2, column 1", "more than one document"),
        ("? [a]\n: 1", "line 1", "a key is a list or mapping"),
        ("a: *b", "line 1, column 4", "alias `*b` stands for nothing"),
        ("a: &a [*a]", "line 1, column 8", "alias `*a` stands within what it stands for"),
        ("<<: [1]\n", "line 1", "`<<` merges something that is no mapping"),
        ("[" * 100_000, "line 1", "deep"),
        ("- " * 100_000 + "x", "line 1", "nested deeper than 200 levels"),
        ("{a: " * 10_000, "line 1", "nested deeper than 200 levels"),
        ('{"a":' * 100_000, "", "the JSON is nested too deeply"),
        ("a: \x00", "", "not YAML"),
        ('{"a": ' + "9" * 5_000 + "}", "", "not JSON: integer value out of range"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_with_its_place(text: str, where: str, message: str) -> None:
    name = "x.json" if text.startswith(('{"', "{'")) else "x.yaml"
    at, told = fault(text, name)
    assert at.startswith(where)
    assert message in told


@pytest.mark.parametrize("entry", ["[{}]", "{{<<: [{}]}}"])
def test_a_bomb_of_aliases_ends_at_once(entry: str) -> None:
    lines, before = ["a: &a {k: v}"], "a"
    for name in "bcdefghijklmnop":
        lines.append(f"{name}: &{name} " + entry.format(",".join(["*" + before] * 9)))
        before = name
    started = time.monotonic()
    assert "aliases multiply what they stand for" in fault("\n".join(lines))[1]
    assert time.monotonic() - started < 5


def test_bytes_that_are_no_text() -> None:
    assert fault(b"\xff\xff\xff{}")[1] == "byte 0 is no UTF-8; save it as UTF-8"
    assert read_tree('{"a": 1}'.encode("utf-16")) == {"a": 1}
    assert read_tree(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    assert (
        fault(b'{"a": "' + b"x" * MAX_BYTES + b'"}')[1]
        == "the document has 48.0 MB; 48 MB are the limit; split it, or bundle less"
    )


def test_what_is_shown_is_harmless() -> None:
    assert shown("\x1b[2J<b>\u202e`x`\n") == "`?[2J<b>?'x'?`"
    assert len(shown("x" * 1000)) < 70


def test_faults_are_bounded_and_told_once() -> None:
    faults = Faults()
    for n in range(MAX_FAULTS + 50):
        faults.add(f"/{n}", "wrong")
        faults.add("/0", "wrong")
    told = faults.told()
    assert len(told) == MAX_FAULTS + 1
    assert told[-1].message == "50 more faults"
