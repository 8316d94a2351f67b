"""`policy replay --file`: recordings and exported records in place of the lake; the same report and exit codes, bad input in one line."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from tests.unit.cli.test_learn import START, entry, first
from tests.unit.console.processes import Process, attack, call

from eastwall.cli.manage import policy
from eastwall.model.record import CallRecord
from eastwall.runtime.control_views import named
from eastwall.runtime.layout import DataDir

pytest.importorskip("chdb", reason="control is in the extra eastwall[all]")

NO_DELETE = """\
apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: no-delete}
spec: {action: deny, scope: {operations: ["DELETE /orders/{id}"]}, reason: Nothing is deleted.}
"""
NOT_U1 = """\
apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: not-u1}
spec: {action: deny, scope: {identities: {actors: ["user:u1"]}}, reason: u1 has left.}
"""
LOG = '10.0.0.{n} - - [22/Nov/2026:10:{n:02d}:00 +0000] "{method} /orders/{n} HTTP/1.1" 200 12 "-" "curl/8"\n'


__all__ = ["first"]


@pytest.fixture(scope="module")
def data(first: DataDir) -> Iterator[Path]:
    """Control on a data directory in which nothing was recorded."""
    control = Process(first.root).ready()
    yield first.root
    assert control.stop() == 0, control.log.read_text()


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ew"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def run(folder: Path, data: Path, text: str, *arguments: str) -> Result:
    rules = folder / "p.yaml"
    rules.write_text(text)
    return CliRunner().invoke(policy, ["replay", str(rules), "--data", str(data), *arguments])


def written(folder: Path, name: str, content: bytes | str) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def plain(record: CallRecord) -> dict[str, Any]:
    return dict(msgspec.json.decode(msgspec.json.encode(named(record))))


def test_an_access_log_says_who_would_be_blocked(folder: Path, data: Path) -> None:
    log = written(folder, "access.log", "".join(LOG.format(n=n, method="DELETE" if n % 10 == 0 else "GET") for n in range(1, 41)))
    told = run(folder, data, NO_DELETE, "--file", log, "--service", "shop")
    assert told.exit_code == 1, told.output
    assert f"40 calls of {log}" in told.output.replace("\n", "")
    assert "Nothing is deleted." in told.output
    found = json.loads(run(folder, data, NO_DELETE, "--file", log, "--limit", "10", "--allow-blocked", "1", "--json").stdout)
    assert (found["totals"]["calls"], found["totals"]["blocked_legitimate"]) == (10, 1)
    assert run(folder, data, NO_DELETE, "--file", log, "--limit", "9").exit_code == 0
    assert not list((data / "spool").glob("*/*.seg")), "nothing is kept"
    assert not (data / "learner" / "state").exists()


def test_no_data_directory_is_needed_and_none_is_made(folder: Path) -> None:
    records = written(folder, "records.json", json.dumps([plain(call(n)) for n in range(70, 0, -1)]))
    told = run(folder, folder / "none", NOT_U1, "--file", records, "--allow-blocked", "50%", "--json")
    found = json.loads(told.stdout)
    assert (told.exit_code, found["totals"]["calls"], found["totals"]["blocked"]) == (0, 70, 10)
    assert any("there is no data directory" in note for note in found["notes"])
    assert not (folder / "none").exists()


def test_a_recording_with_credentials_tells_callers_apart(folder: Path, data: Path) -> None:
    calls = [entry(START + n, f"u{n % 4}", "GET", f"/orders/{n}", None, {"id": n}) for n in range(20)]
    har = written(folder, "a.har", json.dumps({"log": {"version": "1.2", "entries": calls}}))
    found = json.loads(run(folder, data, NOT_U1, "--file", har, "--json").stdout)
    assert (found["totals"]["calls"], found["totals"]["blocked"]) == (20, 5)


def test_exported_records_in_each_form(folder: Path, data: Path) -> None:
    records = [*(call(n) for n in range(70, 0, -1)), attack()]
    mine = sum(record.actor == "user:u1" for record in records)
    forms = {
        "records.jsonl": b"\n".join(json.dumps(plain(record)).encode() for record in reversed(records)),
        "records.json": json.dumps([plain(record) for record in records]).encode(),
        "evidence.json": json.dumps({"run": "run_1", "calls": [plain(record) for record in records]}).encode(),
        "records.bin": msgspec.msgpack.encode([msgspec.msgpack.encode(record) for record in records]),
    }
    for name, content in forms.items():
        told = run(folder, data, NOT_U1, "--file", written(folder, name, content), "--json")
        found = json.loads(told.stdout)
        assert (found["totals"]["calls"], found["totals"]["blocked"]) == (71, mine), name
        assert told.exit_code == 1
        assert {one["id"] for group in found["groups"] for one in group["examples"]} <= {record.id for record in records}
    one = json.loads(run(folder, data, NOT_U1, "--file", str(folder / "records.bin"), "--service", "billing", "--json").stdout)
    assert one["totals"]["calls"] == 35


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.log", b"", "is empty; expected"),
        ("bad.har", b'{"log": {"entries": [', "bad.har"),
        (
            "bad.jsonl",
            b'{"principals": [], "identity_faults": [], "strength": 0, "id": 1}\n{"x": 1}\n',
            "bad.jsonl:1: not the record of a call: it has no `time`",
        ),
        ("cut.json", b'[{"principals": [], "identity_faults": [], "strength": 0', "does not hold records"),
        ("cut.bin", b"\xdc\x00\x02\xc4\x05abc", "does not hold records"),
        ("junk.log", b"%%%\n\x01\x02\n", "junk.log"),
    ],
)
def test_bad_files_are_one_line_and_no_report(folder: Path, data: Path, name: str, content: bytes, said: str) -> None:
    told = run(folder, data, NO_DELETE, "--file", written(folder, name, content), "--json")
    assert told.exit_code == 2, told.output
    assert said in told.stderr
    assert told.stderr.count("\n") == 1
    assert told.stdout == ""


def test_what_does_not_go_together_is_said(folder: Path, data: Path) -> None:
    log = written(folder, "a.log", LOG.format(n=1, method="GET"))
    records = written(folder, "a.json", json.dumps([plain(call(1))]))
    assert "--since is about what was recorded here" in run(folder, data, NO_DELETE, "--file", log, "--since", "1d").output
    assert "cannot be replayed together" in run(folder, data, NO_DELETE, "--file", log, "--file", records).output
    missing = run(folder, data, NO_DELETE, "--file", str(folder / "none.log"))
    assert (missing.exit_code, "cannot be read: No such file" in missing.output) == (2, True)
