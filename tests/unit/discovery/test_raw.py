"""What C tells of raw bytes is what the expressions say, on anything."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eastwall.discovery import data_prefilter, links
from eastwall.discovery.data_forms import LONG, TRIGGERS
from eastwall.discovery.data_prefilter import automaton

pytestmark = pytest.mark.skipif(
    not data_prefilter.accelerated, reason="what is told in C is not built (no compiler at installation)"
)

_TRIGGERED = [re.compile(pattern) for pattern in TRIGGERS]
NEAR = st.sampled_from(
    [
        *"0 1 2 3 9 A B C D X Y Z < ( ) . / - \\ a z : _ \" ,".split(),
        *"2A 2B 12 123 1234 123456789 AB12 ABCD ABCDEFGHIJ 1. 255. .123.ABC/ .123.ABC\\/1234- A1A 1-A11-AB12 AB 12".split(),
        " ", "  ", "\n", "x", "0x", "1" + "a" * 24, "0x" + "a" * 39, "\x1f", "\xff", "abcdefghijklmnopqrstuvwxy", "r" * 26,
    ]
).map(lambda text: text.encode("latin-1"))  # fmt: skip
DATA = st.lists(NEAR, max_size=24).map(b"".join) | st.binary(max_size=60)


@settings(max_examples=1500, deadline=None)
@given(DATA)
@example(b"2A 123 123 12")
@example(b"2B12312312")
@example(b"12A 123 123 1")
@example(b".123.ABC/1234-")
@example(b".123.ABC\\/12A4-")
@example(b"AB12 12AB ")
@example(b"1-A11-AB12")
@example(b"1-YY1-YY12")
@example(b"1-Z11-AB12")
@example(b"AB 12 34 56 D")
@example(b"AB 12 34 56 E")
@example(b"1.1.1.1")
@example(b"1.1234.1.1")
@example(b"x1.123.123.1y")
@example(b"1..  2..  3..  4..  5..  6..  7..  8..  9")
@example(b"1  2  3  4  5  6  7  8   9")
@example(b"1  2  3  4  5  6  7  8\\9")
@example(b"ABCDE<<<<9")
@example(b"1" + b"a" * 25)
@example(b"1" + b"a" * 24)
@example(b"3" + b"a" * 34)
@example(b"3" + b"a" * 35)
@example(b'"0x' + b"a" * 40 + b'"')
@example(b'"0x' + b"a" * 41 + b'"')
@example(b"z1" + b"a" * 25)
@example(b"1" + b"a" * 25 + b"\n")
@example(b"aaaaaa1.1.1.1")
@example(b"1.1.1.1aaaaaa")
def test_what_asks_for_a_further_look_is_what_the_expressions_say(data: bytes) -> None:
    from eastwall.discovery import _raw

    found = _raw.triggers(data)
    assert found == automaton().triggered(data)
    assert (found & 1 != 0) == any(pattern.search(data) is not None for pattern in _TRIGGERED)
    assert (found & 2 != 0) == (re.search(LONG, data) is not None)


NAMES = st.sampled_from(
    [
        "href",
        "self",
        "url",
        "uri",
        "link",
        "location",
        "hre",
        "elf",
        "xhref",
        "myself",
        "curl",
        "relocation",
        "_self",
        "next",
        "",
        "f",
        "n",
    ]
)
LINKED = st.lists(
    st.one_of(NAMES.map(lambda name: f'"{name}"'), NAMES, st.sampled_from(['"', ": ", "{", "x", "\\", '""'])), max_size=20
).map(lambda parts: "".join(parts).encode())


@settings(max_examples=800, deadline=None)
@given(
    LINKED | st.dictionaries(NAMES, NAMES).map(lambda tree: json.dumps(tree).encode()) | st.binary(max_size=40),
    st.integers(0, 40),
)
def test_whether_a_body_links_is_what_its_marks_say(data: bytes, before: int) -> None:
    from eastwall.discovery import _raw

    data = b" " * before + data  # marks stand at each offset of a block
    assert _raw.links(data) is links.marked(data)


@pytest.mark.parametrize("mark", links.MARKS)
@pytest.mark.parametrize("before", range(36))
def test_each_mark_is_found_wherever_it_stands(mark: bytes, before: int) -> None:
    from eastwall.discovery import _raw

    for after in range(20):
        assert _raw.links(b"x" * before + mark + b"x" * after)
    assert not _raw.links(b"x" * before + mark[:-1])


@pytest.mark.parametrize("wanted", [b"1.1.1.1", b"123456789", b"2A12312312", b"AB 12 34 56 A", b"1" + b"a" * 25])
@pytest.mark.parametrize("before", range(30))
def test_what_asks_is_found_wherever_it_stands(wanted: bytes, before: int) -> None:
    from eastwall.discovery import _raw

    for after in range(30):
        data = b'"' * before + wanted + b'"' * after
        assert _raw.triggers(data) == automaton().triggered(data) != 0
