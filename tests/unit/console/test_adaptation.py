"""Baselines and feedback through a real control process: the API, what survives `kill -9`, and what undoing gives back."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from tests.unit.learning.adapting_shop import DAY, Shop
from tests.unit.learning.shop_traffic import record

from eastwall.cli.learning import baselines as baselines_command
from eastwall.cli.learning import feedback as feedback_command
from eastwall.model.endpoint import Endpoint
from eastwall.model.finding import Finding
from eastwall.runtime.importing import Importer
from eastwall.runtime.layout import DataDir, open_data_dir
from eastwall.stores.snapshots import FileSnapshotStore

from .processes import Process, write


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two ordinary days, and what follows a release."""
    importer = Importer(open_data_dir(tmp_path_factory.mktemp("automata")), "automata")
    importer.close()
    made = Shop(40, importer.engine.automata())
    made.ordinary(1_200, 2 * DAY / 1_200)
    made.ordinary(150, 1.0, release=True, every=5)
    return made


def endpoints(data: Path) -> tuple[Endpoint, ...]:
    """What engines get."""
    snapshot = FileSnapshotStore(DataDir(data).snapshots).load()
    return snapshot.endpoints if snapshot is not None else ()


def fed(data: Path, played: Shop) -> Process:
    """A control that has learned the ordinary days."""
    write(data, played.records[:1_200])
    control = Process(data).ready()
    control.until("/api/v1/status", lambda s: s["lake"]["calls"] == 1_200 and s["learner"]["learned"] >= 5)
    return control


def knowledge(data: Path) -> dict[str, bytes]:
    """What engines are told of models of behaviour."""
    snapshot = FileSnapshotStore(DataDir(data).snapshots).load()
    return dict(snapshot.behaviours) if snapshot is not None else {}


def test_what_every_model_learned_survives_kill_9(data: Path, played: Shop) -> None:
    control = fed(data, played)
    try:
        assert control.send("POST", "/api/v1/baselines/shop/deploy", {"reason": "1.1"})[0] == 200  # which publishes
        before = knowledge(data)
    finally:
        control.kill()
    assert before.keys() >= {"sessions", "values", "volumes", "ownership_claims", "exposure"}
    again = Process(data).ready()
    try:
        status = again.until("/api/v1/status", lambda s: s["learner"]["learned"] >= 5)
        assert "learned again" not in str(status["faults"]), "loaded"
        assert again.send("POST", "/api/v1/baselines/shop/unpin", {})[0] == 200
        assert knowledge(data) == before
    finally:
        assert again.stop() == 0, again.log.read_text()


def test_a_promotion_survives_a_crash_before_the_state_is_saved(data: Path, played: Shop) -> None:
    control = fed(data, played)
    log = data / "baselines" / "promotions.jsonl"
    try:
        write(data, played.records[1_200:], engine="1")
        deadline = time.monotonic() + 30
        while not (log.exists() and b'"promoted"' in log.read_bytes()):
            assert time.monotonic() < deadline, control.log.read_text()
            time.sleep(0.005)
    finally:
        control.kill()
    lines = log.read_bytes().splitlines(keepends=True)
    with log.open("ab") as file:
        file.write(lines[-1][:40])  # as a crash in the middle of the next one leaves it
    again = Process(data).ready()
    try:
        status, _, history = again.send("GET", "/api/v1/baselines/shop")
        assert status == 200
        written = [json.loads(line) for line in lines]
        assert [(a["seq"], a["kind"], a["version"]) for a in history["acts"]][: len(written)] == [
            (t["seq"], t["kind"], t["version"]) for t in written
        ]
        assert "promoted" in {a["kind"] for a in history["acts"]}
        promoted = [step["place"] for a in history["acts"] for step in a["steps"] if a["kind"] == "promoted"]
        assert len(promoted) == len(set(promoted))
        again.until("/api/v1/status", lambda s: s["lake"]["calls"] == len(played.records))
    finally:
        assert again.stop() == 0, again.log.read_text()
    previous = "0" * 64
    for line in log.read_bytes().splitlines(keepends=True):
        told = json.loads(line)
        assert told["previous"] == previous
        previous = told["hash"]
        assert hashlib.sha256(line.rpartition(b',"hash"')[0]).hexdigest() == previous


def test_baselines_by_api_and_command_line(data: Path, played: Shop) -> None:
    control = fed(data, played)
    try:
        write(data, played.records[1_200:1_260], engine="1")
        found = control.until("/api/v1/baselines?service=shop", lambda b: any(c["place"] == "plan" for c in b["candidates"]))
        (plan,) = (c for c in found["candidates"] if c["place"] == "plan")
        assert plan["what"] == "`user+user` may send `plan` in POST /profile"
        assert control.send("POST", f"/api/v1/baselines/candidates/{plan['id']}/promote")[0] == 200
        assert "plan" in dict(next(e for e in endpoints(data) if e.template == "/profile").properties)["user+user"]
        assert control.send("POST", f"/api/v1/baselines/candidates/{plan['id']}/promote")[0] == 404
        assert control.send("POST", "/api/v1/baselines/shop/rollback", {"version": 9})[0] == 400
        assert control.send("GET", "/api/v1/baselines/nothing")[0] == 404
        assert control.send("POST", "/api/v1/baselines/shop/unpin", authorization="")[0] == 403
        assert control.send("GET", "/api/v1/baselines", authorization="")[0] == 401
        run = CliRunner()
        told = run.invoke(baselines_command, ["rollback", "shop", "1", "--data", str(data)])
        assert told.exit_code == 0, told.output
        assert "rolled-back by operator: to version 1" in told.output
        assert "plan" not in dict(next(e for e in endpoints(data) if e.template == "/profile").properties)["user+user"]
        told = run.invoke(baselines_command, ["--data", str(data)])
        assert "pinned to version 1" in told.output
        assert run.invoke(baselines_command, ["deploy", "shop", "2.0", "--data", str(data)]).exit_code == 0
        told = run.invoke(baselines_command, ["diff", "shop", "--data", str(data)])
        assert "no more: `user+user` may send `plan` in POST /profile" in told.output
        assert "deployed by operator: 2.0" in told.output
    finally:
        assert control.stop() == 0, control.log.read_text()


def test_feedback_and_undoing_it(data: Path, played: Shop) -> None:
    """`attack` takes a caller's calls out of what was learned, `fine` lowers a finding; undoing either gives back what was before."""
    finding = Finding("mass-assignment", "high", "high", ("API3:2023",), "body.plan", "the request sets `plan`", "plan")
    at = played.records[1_199].time
    odd = record("POST", "/profile", user="u1", cls="user+user", body={"name": "x", "plan": 1}, time=at, findings=(finding,))
    control = fed(data, played)
    try:
        key = next(e.id for e in endpoints(data) if e.template == "/profile")
        known = replace(odd, endpoint=key, template="/profile")
        write(data, [known], engine="1")
        control.until("/api/v1/status", lambda s: s["lake"]["calls"] == 1_201)
        before = settled(control, data)
        victim = next(r for r in played.records[600:] if r.actor not in ("user:u1", ""))
        actor = victim.actor

        status, _, said = control.send(
            "POST", f"/api/v1/calls/{victim.id}/feedback", {"judgement": "attack", "window": 4 * DAY, "note": "pen test"}
        )
        assert status == 200, said
        assert said["state"] == "holds"
        assert f"the calls of {actor} to `shop` from 345,600 seconds before this one" in said["said"]
        without = settled(control, data)
        mine = sum(r.actor == actor for r in played.records[:1_200])
        assert sum(e.calls for e in without) == sum(e.calls for e in before) - mine
        run = CliRunner()
        listed = run.invoke(feedback_command, ["list", "--data", str(data)])
        assert "note: pen test" in listed.output
        assert run.invoke(feedback_command, ["undo", said["id"], "--data", str(data)]).exit_code == 0
        assert settled(control, data) == before

        told = run.invoke(feedback_command, [known.id, "fine", "--data", str(data)])
        assert told.exit_code == 0, told.output
        assert "is told with low confidence for 30 days" in told.output
        fine = settled(control, data)
        (excused,) = next(e for e in fine if e.template == "/profile").excused
        assert excused[:3] == ("mass-assignment", "body.plan", "user+user")
        assert 29 * 86_400 < excused[3] - time.time() < 31 * 86_400
        control.kill()
        control = Process(data).ready()
        assert settled(control, data) == fine
        (entry,) = (f for f in control.send("GET", "/api/v1/feedback")[2] if f["state"] == "holds")
        assert control.send("DELETE", f"/api/v1/feedback/{entry['id']}")[2]["state"] == "undone"
        assert settled(control, data) == before
        assert control.send("DELETE", f"/api/v1/feedback/{entry['id']}")[0] == 400
        assert control.send("DELETE", "/api/v1/feedback/f_nothing")[0] == 404
        assert control.send("POST", f"/api/v1/calls/{victim.id}/feedback", {"judgement": "fine"})[0] == 400
        assert control.send("POST", "/api/v1/calls/01NOTHING/feedback", {"judgement": "fine"})[0] == 404
        assert control.send("POST", f"/api/v1/calls/{victim.id}/feedback", {"judgement": "maybe"})[0] == 422
    finally:
        control.stop()


def settled(control: Process, data: Path) -> tuple[Endpoint, ...]:
    """What engines get, once it is published: setting a mode publishes."""
    assert control.send("PUT", "/api/v1/services/all/mode", {"mode": "enforce"})[0] == 200
    return endpoints(data)
