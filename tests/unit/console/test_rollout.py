"""A policy that stepped back, through a control process: told, kept over a restart, armed again by the CLI's own command."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("chdb", reason="control is in the extra eastwall[all]")
pytest.importorskip("fastapi", reason="control is in the extra eastwall[all]")

from eastwall.cli.failure import Failure
from eastwall.cli.manage import policy
from eastwall.model.call import Mode
from eastwall.model.decision import PolicyMatch
from eastwall.stores.snapshots import FileSnapshotStore

from .processes import Process, call, write

POLICY = """
apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: no-orders}
spec: {action: deny, scope: {services: [orders]}, rollout: {percent: 10}, guard: {legitimate: 3}}
"""


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(policy, list(arguments), standalone_mode=False)
    if isinstance(done.exception, Failure):
        return done.exception.exit_code, done.exception.message
    assert done.exception is None, done.output
    return 0, done.stdout


def test_the_whole_way(data: Path, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    match = PolicyMatch("no-orders", "AccessPolicy", "p.yaml:2", Mode.ENFORCE, "block", "denied")
    write(data, [call(2 * n + 1, matches=(match,), action="block", would="block", status=403) for n in range(4)])
    control, on = Process(data).ready(), ("--data", str(data))
    assert run("apply", str(tmp_path / "p.yaml"), *on)[0] == 0
    control.until("/api/v1/status", lambda s: s["lake"]["calls"] == 4)
    control.send("PUT", "/api/v1/services/all/mode", {"mode": "enforce"})
    (one,) = (p for p in control.send("GET", "/api/v1/policy/effect")[2] if p["policy"] == "no-orders")
    assert (one["rollout"], one["stepped_back"]) == ({"percent": 10, "by": "identity"}, None)
    assert one["last_hour"] == {"matched": 4, "stopped": 4, "would": 0}
    assert "enforce 10%" in run("effect", *on)[1]

    step = {"policy": "no-orders", "time": time.time(), "reason": "4 calls of 2 callers", "calls": ["01HF"]}
    part = data / "run" / "engine-0.part"
    part.write_text(json.dumps({"name": "0", "stepped_back": [step], "guard_hits": []}))
    os.replace(part, data / "run" / "engine-0.json")
    status = control.until("/api/v1/status", lambda s: "policy no-orders" in s["faults"])
    assert "4 calls of 2 callers" in status["faults"]["policy no-orders"]
    control.until("/api/v1/status", lambda _: FileSnapshotStore(data / "snapshot").load().stepped_back)
    assert [one.policy for one in FileSnapshotStore(data / "snapshot").load().stepped_back] == ["no-orders"]
    code, told = run("effect", *on)
    assert (code, "stepped back" in told) == (0, True)
    control.stop()

    control = Process(data).ready()
    assert "policy no-orders" in control.send("GET", "/api/v1/status")[2]["faults"], "also after a restart"
    code, told = run("rearm", "no-ordrs", *on)
    assert (code, "those that have: `no-orders`" in told) == (4, True)
    assert run("rearm", "no-orders", *on) == (0, "policy no-orders is enforced again, and its guard counts anew\n")
    assert not FileSnapshotStore(data / "snapshot").load().stepped_back
    acts = control.send("GET", "/api/v1/audit")[2]
    assert [act["act"] for act in acts][-2:] == ["step-back", "rearm"]
    control.stop()
