"""The log of promotions: what was changed shows, what was cut short never counted, what only one side has is brought together."""

from __future__ import annotations

from pathlib import Path

import pytest

from eastwall.learning.adopted import Step
from eastwall.learning.baselines import Baselines
from eastwall.runtime.baselines import ActLog, recover


def baselines(acts: int) -> Baselines:
    made = Baselines()
    for n in range(acts):
        made.append("shop", "promoted", 1_000.0 + n, steps=(Step("property", "ep_1", "user", f"p{n}"),), lines=(f"line {n}",))
    return made


def test_what_was_written_is_read(tmp_path: Path) -> None:
    known, log = baselines(3), ActLog(tmp_path / "b" / "promotions.jsonl")
    recover(known, log)
    again = ActLog(log.path)
    assert (again.fault, again.acts, again.seq) == ("", list(known.acts()), 3)
    assert log.path.stat().st_mode & 0o777 == 0o600
    lost = Baselines()
    recover(lost, again)
    assert lost.acts() == known.acts()
    assert lost.summary("shop")["version"] == 4
    recover(lost, again)
    assert ActLog(log.path).seq == 3


@pytest.mark.parametrize("cut", [1, 7, 60])
def test_a_line_that_was_cut_short_never_counted(tmp_path: Path, cut: int) -> None:
    log = ActLog(tmp_path / "promotions.jsonl")
    recover(baselines(3), log)
    log.path.write_bytes(log.path.read_bytes()[:-cut])
    again = ActLog(log.path)
    assert (again.fault, again.seq) == ("", 2)
    recover(baselines(3), again)
    assert ActLog(log.path).seq == 3


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_changed_line_shows_and_is_set_aside_with_what_follows(tmp_path: Path, line: int) -> None:
    log = ActLog(tmp_path / "promotions.jsonl")
    recover(baselines(3), log)
    lines = log.path.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b"promoted", b"rejected")
    log.path.write_bytes(b"".join(lines))
    again = ActLog(log.path)
    assert again.seq == line
    assert f"line {line + 1} of the log of promotions does not verify" in again.fault
    assert log.path.with_suffix(".corrupt").read_bytes() == b"".join(lines)


def test_a_line_that_was_taken_out_shows(tmp_path: Path) -> None:
    log = ActLog(tmp_path / "promotions.jsonl")
    recover(baselines(3), log)
    first, _, third = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(first + third)
    assert "line 2" in ActLog(log.path).fault
