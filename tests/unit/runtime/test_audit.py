"""The audit log on disk: durable, verified at the start, set aside when it was altered; and `eastwall audit verify`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from eastwall.cli.audit import audit
from eastwall.cli.failure import NOT_FOUND, Failure
from eastwall.model.audit import Origin, Who
from eastwall.runtime.audit import MAX_ABOUT, MAX_ITEMS, AuditLog

ALICE = Who("token", "alice@desk", "127.0.0.1")


def written(folder: Path, acts: int = 4) -> AuditLog:
    log = AuditLog(folder, lambda: 1_000.0)
    for n in range(acts):
        log.record("mode", ALICE, {"service": f"s{n}", "mode": "enforce"})
    return log


def verify(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(audit, ["verify", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_acts_are_there_after_a_restart_and_go_on(tmp_path: Path) -> None:
    first = written(tmp_path)
    again = AuditLog(tmp_path, lambda: 2_000.0)
    assert again.fault == ""
    assert again.record("apply", ALICE, {"digest": "ab"}).seq == 5
    assert [e.seq for e in again.entries()] == [1, 2, 3, 4, 5]
    assert [e.act for e in again.entries(since=1_500.0)] == ["apply"]
    assert [e.seq for e in again.entries(limit=2)] == [4, 5]
    assert again.entries()[0].who == ALICE
    assert first.path.stat().st_mode & 0o777 == 0o600
    code, told = verify(str(first.path))
    assert (code, told.split(";")[0]) == (0, "5 entries, unaltered")
    noted = told.rpartition("head ")[2].strip()
    assert verify(str(first.path), "--head", noted)[0] == 0
    assert verify("--data", str(tmp_path.parent), str(first.path))[0] == 0


def test_opening_changes_nothing(tmp_path: Path) -> None:
    log = written(tmp_path)
    log.path.write_bytes(log.path.read_bytes().replace(b"s1", b"s9") + b'{"previous":"')
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert "line 2: was altered" in AuditLog(tmp_path, lambda: 1.0).fault
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_altered_log_is_kept_as_it_was_and_the_new_one_says_so(tmp_path: Path) -> None:
    log = written(tmp_path)
    altered = log.path.read_bytes().replace(b"s1", b"s9")
    log.path.write_bytes(altered)
    code, told = verify(str(log.path))
    assert code == 1
    assert f"{log.path}:2: was altered" in told
    again = AuditLog(tmp_path, lambda: 3_000.0)
    again.record("mode", ALICE)
    (aside,) = tmp_path.glob("*.altered.jsonl")
    assert aside.read_bytes() == altered
    restarted, mode = again.entries()
    assert (restarted.act, restarted.about["kept"], mode.seq) == ("log-restarted", aside.name, 2)
    assert "line 2" in restarted.about["fault"]
    # It stays shown, in this life and the next, until somebody has taken the old log away.
    assert aside.name in AuditLog(tmp_path, lambda: 4_000.0).fault
    aside.unlink()
    assert AuditLog(tmp_path, lambda: 4_000.0).fault == ""


def test_lines_gone_at_the_end_show_against_the_head(tmp_path: Path) -> None:
    log = written(tmp_path)
    log.path.write_bytes(b"".join(log.path.read_bytes().splitlines(keepends=True)[:2]))
    assert "entries 3 to 4 are missing at the end" in AuditLog(tmp_path, lambda: 1.0).fault
    assert verify(str(log.path))[0] == 1
    log.path.unlink()
    assert "entries 1 to 4 are missing" in AuditLog(tmp_path, lambda: 1.0).fault


@pytest.mark.parametrize("cut", [1, 30, 100])
def test_an_act_that_a_crash_cut_short_never_counted(tmp_path: Path, cut: int) -> None:
    log = written(tmp_path)
    head = (tmp_path / "head.json").read_bytes()
    log.record("apply", ALICE)
    (tmp_path / "head.json").write_bytes(head)  # it is written after the line
    log.path.write_bytes(log.path.read_bytes()[:-cut])
    again = AuditLog(tmp_path, lambda: 1.0)
    assert (again.fault, again.head().seq) == ("", 4)
    assert again.record("rollback", ALICE).seq == 5
    assert [e.act for e in again.entries()][-1] == "rollback"
    assert verify(str(log.path))[0] == 0


def test_an_act_whose_head_was_not_written_any_more_counts(tmp_path: Path) -> None:
    log = written(tmp_path)
    head = (tmp_path / "head.json").read_bytes()
    log.record("apply", ALICE)
    (tmp_path / "head.json").write_bytes(head)
    again = AuditLog(tmp_path, lambda: 1.0)
    assert (again.fault, again.head().seq) == ("", 5)


def test_a_head_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "head.json").write_text("{")
    assert "head.json" in AuditLog(tmp_path, lambda: 1.0).fault
    with pytest.raises(Failure, match="cannot be read"):
        audit.commands["verify"].main([str(tmp_path / "audit.jsonl")], standalone_mode=False)


def test_what_cannot_be_recorded_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = written(tmp_path)
    size = log.path.stat().st_size

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        log.record("apply", ALICE)
    monkeypatch.undo()
    assert log.path.stat().st_size == size
    assert log.record("apply", ALICE).seq == 5


@pytest.mark.parametrize(
    "about",
    [
        {"added": [f"p{n}" for n in range(5_000)]},
        {"why": "x" * 100_000},
        {f"k{n}": ["y" * 1_000] * 40 for n in range(40)},
        {"origin": Origin("https://git.example/p.git", commit="c" * 40)},
    ],
)
def test_particulars_are_bounded(tmp_path: Path, about: dict[str, Any]) -> None:
    log = AuditLog(tmp_path, lambda: 1.0)
    entry = log.record("apply", ALICE, about)
    assert len(json.dumps(entry.about)) <= 2 * MAX_ABOUT
    assert all(not isinstance(v, list) or len(v) <= MAX_ITEMS + 1 for v in entry.about.values())
    assert AuditLog(tmp_path, lambda: 1.0).entries() == [entry]


def test_no_log_and_a_wrong_head_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(Failure) as missing:
        audit.commands["verify"].main(["--data", str(tmp_path)], standalone_mode=False)
    assert missing.value.exit_code == NOT_FOUND
    path = written(tmp_path).path
    with pytest.raises(Failure, match="NUMBER:HASH"):
        audit.commands["verify"].main([str(path), "--head", "5"], standalone_mode=False)
