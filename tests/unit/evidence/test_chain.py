"""The chained log: whole logs verify, and whatever is done to one line shows at that line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eastwall.evidence import chain


def log(entries: list[dict[str, Any]]) -> list[bytes]:
    lines, last = [], chain.FIRST
    for seq, entry in enumerate(entries, 1):
        line, last = chain.link({"seq": seq, **entry}, last)
        lines.append(line)
    return lines


LOG = log([{"act": f"act {n}", "about": {"n": n}} for n in range(6)])
HEAD = chain.verify(LOG).head


def messages(lines: list[bytes], head: chain.Head | None = None) -> list[str]:
    return [str(fault) for fault in chain.verify(lines, head).faults]


_scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12)
_values = _scalars | st.lists(_scalars, max_size=2) | st.dictionaries(st.text(max_size=6), _scalars, max_size=2)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(st.sampled_from(["act", "about", 'x","hash":"y', "who"]), _values, max_size=3), max_size=4))
def test_what_is_written_verifies_and_is_read_back(entries: list[dict[str, Any]]) -> None:
    lines = log(entries)
    report = chain.verify(lines)
    assert (report.entries, report.head.seq, report.faults) == (len(entries), len(entries), ())
    assert messages(lines, report.head) == []
    for seq, (line, entry) in enumerate(zip(lines, entries, strict=True), 1):
        assert line.count(b"\n") == 1
        found = chain.read(line)
        assert found is not None
        assert found.entry == {"seq": seq, **entry}


@given(st.integers(0, 5), st.data())
def test_every_changed_byte_shows_at_its_line(line: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(LOG[line]) - 2))  # not the newline: that makes two lines of one
    byte = data.draw(st.integers(0, 255).filter(lambda b: b not in (LOG[line][at], 10)))
    changed = list(LOG)
    changed[line] = LOG[line][:at] + bytes([byte]) + LOG[line][at + 1 :]
    faults = chain.verify(changed).faults
    assert faults
    assert faults[0].line == line + 1


@given(st.integers(0, 4), st.integers(1, 3))
def test_lines_that_are_taken_out_are_named(first: int, count: int) -> None:
    kept = [*LOG[:first], *LOG[first + count :]]
    (told,) = messages(kept, HEAD)
    last = min(first + count, 6)
    named = f"entry {first + 1} is missing" if last == first + 1 else f"entries {first + 1} to {last} are missing"
    assert named in told
    assert told.startswith(f"line {first + 1}: ")


def test_the_end_being_gone_shows_against_a_head_only() -> None:
    assert messages(LOG[:4]) == []
    assert messages(LOG[:4], HEAD) == ["line 5: entries 5 to 6 are missing at the end"]
    assert messages([], HEAD) == ["line 1: entries 1 to 6 are missing at the end"]


def test_a_line_with_a_new_hash_shows_at_the_next() -> None:
    entry = {**json.loads(LOG[2]), "act": "nothing happened"}
    previous = entry.pop("previous")
    del entry["hash"]
    changed = [*LOG[:2], chain.link(entry, previous)[0], *LOG[3:]]
    assert messages(changed) == ["line 4: does not follow line 3: one of them was altered and given a new hash"]
    assert messages([*LOG[:5], chain.link({"seq": 6, "act": "x"}, json.loads(LOG[5])["previous"])[0]], HEAD) == [
        "line 6: entry 6 is another than was noted: it was written anew"
    ]


def test_a_log_that_was_written_anew_shows_against_a_head() -> None:
    anew = log([{"act": "x"}] * 8)
    assert messages(anew) == []
    assert messages(anew, HEAD) == ["line 6: entry 6 is another than was noted: it was written anew"]


def test_lines_that_were_moved_or_doubled_show() -> None:
    assert messages([LOG[0], LOG[1], LOG[1], *LOG[2:]])[0].startswith("line 3: is entry 2 where entry 3 belongs")
    assert messages([LOG[0], LOG[2], LOG[1], *LOG[3:]])[:2] == [
        "line 2: entry 2 is missing before it",
        "line 3: is entry 2 where entry 4 belongs: it was put in or moved",
    ]


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"{}\n", b"[]\n", b'{"seq":1}\n', b"\xff\xfe\n", b'{"hash":"\n', b"[" * 5000 + b"\n"]
)
def test_what_is_no_line_of_a_log_is_told_as_altered(line: bytes) -> None:
    assert chain.read(line) is None
    assert messages([line]) == ["line 1: was altered: it does not have the hash that it states"]


def test_faults_are_bounded() -> None:
    report = chain.verify([b"x\n"] * 1_000)
    assert (len(report.faults), report.more) == (chain.MAX_FAULTS, 1_000 - chain.MAX_FAULTS)
