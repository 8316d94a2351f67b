"""History, roll-back, drift and the audit log through a control process that watches a real repository, by the CLI's own commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

pytest.importorskip("chdb", reason="control is in the extra eastwall[all]")
pytest.importorskip("fastapi", reason="control is in the extra eastwall[all]")

from tests.unit.runtime.repositories import Repo, deny, needs_git

from eastwall.cli.audit import audit
from eastwall.cli.failure import NOT_FOUND, Failure
from eastwall.cli.manage import policy
from eastwall.cli.playbooks import playbook
from eastwall.policy.kinds import decode
from eastwall.runtime.layout import user_name
from eastwall.stores.snapshots import FileSnapshotStore

from .processes import Process, attack, call, write


def run(group, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(group, list(arguments), standalone_mode=False)
    if isinstance(done.exception, Failure):
        return done.exception.exit_code, done.exception.message
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return done.exit_code, done.stdout


@needs_git
def test_the_whole_way(data: Path, tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    first = repo.commit({"p/a.yaml": deny("a")})
    options = [f"--policy-git={repo.url}", "--policy-ref=main", "--policy-path=p", "--policy-interval=0.1"]
    control = Process(data, *options).ready()
    on = ("--data", str(data))
    status = control.until("/api/v1/status", lambda s: s["policy"]["repository"]["in_step"])
    assert (status["policy"]["commit"], status["policy"]["author"]) == (first, "Ada <ada@example.com>")
    # Published right after it is applied, and so a moment after `in_step` is told.
    control.until(
        "/api/v1/status", lambda s: FileSnapshotStore(data / "snapshot").load().policy_status.digest == s["policy"]["digest"]
    )
    snapshot = FileSnapshotStore(data / "snapshot").load()
    assert snapshot.policy_status.commit == first
    assert [p.name for p in decode(snapshot.policy).policies if p.location != "builtin"] == ["a"]

    code, told = run(policy, "show", *on)
    assert code == 0
    assert f"main {first[:12]} by Ada <ada@example.com>" in told
    assert "in step" in told
    assert run(policy, "drift", *on) == (0, "no drift: what is applied is what is there\n")

    (repo.folder / "p" / "b.yaml").write_text(deny("b"))
    code, told = run(policy, "apply", str(repo.folder / "p"), *on)
    assert code == 0
    assert f"{first[:12]} with changes by Ada" in told
    code, told = run(policy, "drift", *on)
    assert code == 1
    assert told.startswith("- b.yaml\napplied by hand since: ")
    assert run(policy, "drift", str(repo.folder / "p"), *on)[0] == 0
    assert run(policy, "drift", str(repo.folder), "--ref", "main", "--path", "p", *on) == (1, "- b.yaml\n")
    assert run(policy, "apply", str(repo.folder), "--path", "p", "--ref", "main", *on)[0] == 0
    assert run(policy, "drift", *on)[0] == 0

    code, told = run(policy, "rollback", "-1", *on)
    assert code == 0
    assert "3 policies" in told  # two, and the built-in one
    assert control.send("PUT", "/api/v1/services/all/mode", {"mode": "monitor"})[0] == 200
    history = json.loads(run(policy, "history", "--json", *on)[1])
    assert [(h["act"], h["who"]["by"], h["count"]) for h in history] == [
        ("rollback", "token", 2), ("apply", "token", 1), ("apply", "token", 2), ("apply", "git", 1)]  # fmt: skip
    assert history[0]["who"]["name"] == user_name()
    assert run(policy, "rollback", "feedfeed", *on)[0] == NOT_FOUND
    assert "+ AccessPolicy/b" in run(policy, "history", *on)[1]

    broken = repo.commit({"p/b.yaml": "kind: Nonsense\n"})
    control.until("/api/v1/status", lambda s: broken[:12] in s["faults"].get("policy repository", ""))
    assert "not applied: p/b.yaml:1:" in run(policy, "show", *on)[1]

    entries = json.loads(run(audit, "log", "--json", *on)[1])
    assert [(e["act"], e["who"]["by"]) for e in entries] == [
        ("apply", "git"), ("apply", "token"), ("apply", "token"), ("rollback", "token"), ("mode", "token"), ("refused", "git")]  # fmt: skip
    assert control.token.strip() not in json.dumps(entries)
    assert "from " in run(audit, "log", "--since", "1h", *on)[1]
    assert control.send("GET", "/api/v1/audit/verification")[2]["ok"] is True
    assert control.stop() == 0
    assert run(audit, "verify", *on)[1].startswith("6 entries, unaltered; head 6:")
    # What was done is still told when nothing runs.
    command = [sys.executable, "-m", "eastwall.cli.main", "policy", "history", "--json", *on]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == history

    control = Process(data, *options).ready()
    control.until("/api/v1/status", lambda s: s["faults"].get("policy repository"))
    assert control.send("GET", "/api/v1/policy")[2]["digest"] == history[0]["digest"], "a restart undoes no roll-back"
    assert control.stop() == 0


def test_what_cannot_be_a_source_is_one_line(data: Path, tmp_path: Path) -> None:
    for source, told in {
        "no-such-dir": "there is no `no-such-dir`",
        "ext::sh": "run a program",
        "--x=y": "no such option",
    }.items():
        code, said = CliRunner().invoke(policy, ["apply", source, "--data", str(data)], standalone_mode=False), ""
        said = str(getattr(code.exception, "message", code.exception)).lower()
        assert told in said
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "a.yaml").write_text(deny("a"))
    assert "--require-signed" in run(policy, "apply", str(folder), "--signers", str(folder / "a.yaml"), "--data", str(data))[1]
    assert "--signers FILE" in run(policy, "apply", str(folder), "--require-signed", "--data", str(data))[1]
    code, said = run(policy, "apply", str(folder), "--ref", "main", "--data", str(data))
    assert (code, said.splitlines()) == (2, [said])


PLAYBOOK = """apiVersion: eastwall.dev/v1alpha1
kind: Playbook
metadata: {name: guard}
spec:
  on: {findings: sql-injection, minSeverity: high, count: 2}
  steps: [{quarantine: identity}, {snapshot: true}]
"""


def test_a_playbook_acts_on_recorded_calls_survives_kill_9_and_is_undone(data: Path, tmp_path: Path) -> None:
    def acts_in_force() -> list[str]:
        found = decode(FileSnapshotStore(data / "snapshot").load().policy).policies
        return [p.spec.scope.identities.actors[0] for p in found if p.location.startswith("playbook ")]

    (tmp_path / "p.yaml").write_text(PLAYBOOK)
    on = ("--data", str(data))
    control = Process(data).ready()
    assert run(policy, "apply", str(tmp_path / "p.yaml"), *on)[0] == 0
    mallory, framed = (
        {"actor": f"user:{name}", "actor_kind": "user", "strength": strength} for name, strength in (("mallory", 3), ("f", 1))
    )
    attacks = [replace(attack(), **who) for who in (mallory, mallory, framed, framed)]
    write(data, [call(2), *attacks, call(1)])
    (one,) = control.until("/api/v1/playbooks/runs", bool)
    control.until("/api/v1/status", lambda _: acts_in_force() == ["user:mallory"])
    assert (one["key"], one["count"], one["ended"]) == ("identity user:mallory", 2, 0.0)
    evidence = json.loads((data / "playbooks" / "evidence" / one["evidence"]).read_bytes())
    assert {c["actor"] for c in evidence["calls"]} == {"user:mallory"}
    assert evidence["policy"]["digest"] == control.send("GET", "/api/v1/policy")[2]["digest"]

    control.kill()
    control = Process(data).ready()
    assert acts_in_force() == ["user:mallory"]
    assert "* " + one["id"] in run(playbook, "acts", *on)[1]
    assert "guard" in run(playbook, "list", *on)[1]
    assert run(playbook, "undo", one["id"], *on) == (0, f"undone: {one['id']}, 1 policy taken back\n")
    assert acts_in_force() == []
    assert run(playbook, "undo", one["id"], *on)[0] == 1
    acts = [entry["act"] for entry in control.send("GET", "/api/v1/audit")[2]]
    assert acts == ["apply", "playbook", "evidence", "playbook-step", "playbook-step", "playbook-end"]
    assert control.stop() == 0
