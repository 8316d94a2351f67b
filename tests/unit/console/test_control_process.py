"""The control process under faults: kill -9 while recording, a taken port, a full disk for the lake, lost learner state, restarts."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("chdb", reason="control is in the extra eastwall[all]")
pytest.importorskip("fastapi", reason="control is in the extra eastwall[all]")

from eastwall.model.call import Mode
from eastwall.stores.snapshots import FileSnapshotStore
from eastwall.stores.spool import SpoolWriter

from .processes import Process, call, write


def test_kill_9_while_recording_stores_and_learns_every_call_once(data):
    total = 6_000
    done = threading.Event()

    def engine():
        writer = SpoolWriter(data / "spool", "0", segment_bytes=100_000)
        for n in range(total):
            writer.append(call(n, id=f"ID{n:024d}", service="orders", path=f"/orders/{n}"))
            if n % 20 == 0:
                writer.flush()
                time.sleep(0.02)
        writer.close()
        done.set()

    thread = threading.Thread(target=engine)
    thread.start()
    for life in range(4):
        control = Process(data)
        # At other moments of its life each time: before it is ready, in the middle of a batch, between batches.
        if life:
            control.ready()
        time.sleep((0.4, 0.15, 1.1, 1.7)[life])
        control.kill()
    thread.join()
    assert done.is_set()
    control = Process(data).ready()
    status = control.until("/api/v1/status", lambda s: s["lake"]["calls"] >= total and s["spool"]["pending_bytes"] == 0)
    assert status["lake"]["calls"] == total
    (row,) = control.send("POST", "/api/v1/query", {"sql": "SELECT count() AS n, uniqExact(id) AS ids FROM calls"})[2]
    assert row == {"n": total, "ids": total}
    apis = control.until("/api/v1/apis", lambda a: sum(x["calls"] for x in a) >= total)
    assert sum(api["calls"] for api in apis) == total, "the learner folded each call once"
    assert control.stop() == 0
    assert list((data / "spool" / "0").glob("*.seg")) == []


def test_sigterm_drains_what_engines_wrote(data):
    control = Process(data).ready()
    control.until("/api/v1/status", lambda s: s["lake"]["calls"] == 0)
    write(data, [call(n) for n in range(300)])
    assert control.stop() == 0, control.log.read_text()
    assert not control.control_file.exists()
    assert list((data / "spool" / "0").glob("*.seg")) == []
    control = Process(data).ready()
    control.until("/api/v1/status", lambda s: s["lake"]["calls"] == 300 and s["learner"]["endpoints"] == 2)
    assert control.stop() == 0
    assert "Traceback" not in control.log.read_text()


def test_a_call_is_answered_for_before_the_lake_has_it(data):
    control = Process(data).ready()
    try:
        fresh = call(1)
        write(data, [fresh])
        assert control.send("GET", f"/api/v1/calls/{fresh.id}")[0] == 200
    finally:
        control.stop()


def test_a_taken_port_is_one_line_and_exit_code_1(data):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, text = start_fails(data, "--console", address)
    assert code == 1
    assert (
        text
        == f"eastwall control: the console cannot listen on {address}: Address already in use; name another address with --console\n"
    )


@pytest.mark.parametrize("console", ["nonsense", "127.0.0.1:99999", "127.0.0.1:x"])
def test_a_bad_address_is_one_line(data, console):
    code, text = start_fails(data, "--console", console)
    assert (code, text.count("\n")) == (1, 1)
    assert "write HOST:PORT" in text


def test_policies_with_faults_are_one_line_with_file_and_line(data, tmp_path):
    (tmp_path / "a.yaml").write_text("apiVersion: eastwall.dev/v1alpha1\nkind: Nonsense\n")
    code, text = start_fails(data, "--policy", str(tmp_path))
    assert code == 1
    assert text.startswith(f"eastwall control: the policy has faults: {tmp_path}/a.yaml:")
    assert text.count("\n") == 1
    code, text = start_fails(data, "--policy", str(data / "nothing.yaml"))
    assert (code, text.count("\n")) == (1, 1)


def test_a_second_control_is_refused(data):
    control = Process(data).ready()
    try:
        code, text = start_fails(data)
        assert code == 1
        assert "another control process" in text
        assert text.count("\n") == 1
    finally:
        assert control.stop() == 0


def test_a_base_install_says_what_is_missing(data):
    blocked = (
        "import sys; sys.modules['fastapi'] = None\nfrom eastwall.runtime.control_main import main\nsys.exit(main(sys.argv[1:]))"
    )
    code, text = start_fails(data, program=["-c", blocked])
    assert (code, text) == (1, "eastwall control: control needs the package `fastapi`: install eastwall[all]\n")


def start_fails(data, *options, program=("-m", "eastwall.runtime.control_main")):
    console = () if "--console" in options else ("--console", "127.0.0.1:0")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, *program, "--data", str(data), *console, *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    return done.returncode, done.stderr


def test_modes_survive_a_restart_and_reach_the_snapshot(data):
    write(data, [call(n) for n in range(50)])
    control = Process(data, "--mode", "monitor").ready()
    control.until("/api/v1/services", lambda s: len(s) == 2)
    control.send("PUT", "/api/v1/services/orders/mode", {"mode": "enforce"})
    control.kill()
    control = Process(data, "--mode", "monitor").ready()
    services = {s["name"]: s["mode"] for s in control.send("GET", "/api/v1/services")[2]}
    assert services["orders"] == "enforce", "restarted by the same parent: --mode is not applied over what was set since"
    assert control.stop() == 0
    snapshot = FileSnapshotStore(data / "snapshot").load()
    assert {s.name: s.mode for s in snapshot.services}["orders"] is Mode.ENFORCE
    assert snapshot.hash_key == (data / "secrets" / "hash.key").read_bytes()


def test_a_lost_learner_state_is_said_and_learned_again(data):
    write(data, [call(n) for n in range(100)])
    control = Process(data).ready()
    control.until("/api/v1/status", lambda s: s["learner"]["endpoints"] == 2)
    assert control.stop() == 0
    state = data / "learner" / "state"
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    control = Process(data).ready()
    status = control.send("GET", "/api/v1/status")[2]
    assert status["learner"]["endpoints"] == 2
    assert "does not verify" in status["faults"]["learner"]
    control.kill()
    control = Process(data).ready()
    status = control.send("GET", "/api/v1/status")[2]
    assert (status["learner"]["endpoints"], status["faults"]) == (2, {}), "what was learned again is kept, whatever comes next"
    assert control.stop() == 0


def test_while_the_lake_refuses_the_spool_keeps_and_status_says_so(data):
    control = Process(data).ready()
    parts = data / "lake" / "store"
    aside = data / "lake" / "store.aside"
    shutil.move(parts, aside)
    parts.write_text("no folder: every insert fails, as on a full disk")
    write(data, [call(n) for n in range(100)])
    status = control.until("/api/v1/status", lambda s: s.get("faults", {}).get("recorder") or s.get("status") == 503)
    if "faults" in status:
        assert "did not take" in status["faults"]["recorder"]
        assert status["spool"]["pending_bytes"] > 0
    parts.unlink()
    shutil.move(aside, parts)
    status = control.until("/api/v1/status", lambda s: s.get("lake", {}).get("calls") == 100 and not s["faults"])
    assert status["faults"] == {}
    assert control.stop() == 0


def test_nothing_secret_is_printed(data):
    write(data, [call(n) for n in range(10)])
    control = Process(data).ready()
    control.send("GET", "/api/v1/status")
    control.send("GET", "/api/v1/status", authorization="Bearer wrong")
    assert control.stop() == 0
    log = control.log.read_bytes()
    assert control.token.encode() not in log
    assert (data / "secrets" / "hash.key").read_bytes().hex().encode() not in log
    assert {p.stat().st_mode & 0o777 for p in (data / "secrets").iterdir()} == {0o600}
    assert json.dumps(control.url)
