"""Control and engines killed in the midst of acts, again and again: what is in force afterwards is what was, or what was to be, whole."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.harness import Running, Upstream, eventually, free_port

RULES = """\
apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: %s}
spec: {action: deny, scope: {services: [orders], operations: ["GET %s"]}, reason: Closed.}
"""
SETS = {"/cards": {"a.yaml": RULES % ("no-cards", "/cards")}, "/search": {"b.yaml": RULES % ("no-search", "/search")}}
QUARANTINE = {"scope": {"services": ["orders"], "operations": ["GET /echo"]}, "indefinite": True}
KILLS = 4
SECONDS = 8.0
"""After so long no further kill: a machine with other work takes its time to start control again."""


@pytest.fixture(scope="module")
def running(upstream: Upstream, short_dir: Path) -> Iterator[Running]:
    up = Running(short_dir, "--upstream", f"orders={upstream.url}@{free_port()}", "--mode", "enforce")
    for files in SETS.values():
        up.api.put("/policy", json={"files": files, "force": True}).raise_for_status()
    eventually(lambda: status(up, "/search") == 403, what="enforcing")
    yield up
    assert up.stop() == 0


def status(up: Running, path: str) -> int:
    return httpx.get(up.address("orders") + path, timeout=20).status_code


def act(up: Running, number: int, state: str) -> None:
    """Sends one act; whether it is answered is not waited for."""
    other = next(path for path in SETS if path != state)
    with httpx.Client(base_url=up.api.base_url, headers=up.api.headers, timeout=20) as api:
        try:
            if number % 3 == 0:
                api.put("/policy", json={"files": SETS[other], "force": True})
            elif number % 3 == 1:
                api.post("/policy/rollback", json={"to": "-1"})
            elif api.get("/quarantine").json():
                api.delete("/quarantine/echo")
            else:
                api.put("/quarantine/echo", json=QUARANTINE)
        except httpx.HTTPError:
            pass


def told(up: Running, path: str) -> Any:
    """The answer as soon as control answers again."""
    return eventually(lambda: up.api.get(path).raise_for_status(), timeout=30, what=path).json()


def in_force(up: Running) -> str:
    """The operation that the applied set closes, after checking that all who are asked agree."""
    policy = told(up, "/policy")
    (state,) = [path for path, files in SETS.items() if policy["files"] == files]
    history = told(up, "/policy/history")
    assert (history[0]["current"], history[0]["digest"]) == (True, policy["digest"])
    assert all(one["digest"] != two["digest"] for one, two in itertools.pairwise(history))
    assert told(up, "/audit/verification")["ok"]
    assert "audit log" not in told(up, "/status")["faults"]
    last = [entry for entry in told(up, "/audit") if entry["act"] in ("apply", "rollback")][-1]
    failed = [entry for entry in told(up, "/audit") if entry["act"] == "failed" and entry["seq"] > last["seq"]]
    assert last["about"]["digest"] == policy["digest"] or failed, "an act that was not carried out is said not to have been"
    closed = bool(told(up, "/quarantine"))
    for path in SETS:
        eventually(lambda path=path: status(up, path) == (403 if path == state else 200), what=f"{path}, {state} is closed")
    eventually(lambda: status(up, "/echo") == (403 if closed else 200), what=f"/echo, closed: {closed}")
    data = up.data
    assert not [path for name in ("policy", "audit", "playbooks") for path in (data / name).rglob("*.part")]
    return state


@pytest.mark.parametrize("process", ["control_main", "engine_main"])
def test_killed_at_random_moments_in_the_midst_of_acts(running: Running, process: str) -> None:
    rng = random.Random(5)
    state, began = in_force(running), time.monotonic()
    for number in range(KILLS):
        if time.monotonic() - began > SECONDS:
            break
        pid = running.pid_of(process)
        sent = threading.Thread(target=act, args=(running, number, state))
        sent.start()
        time.sleep(rng.random() * 0.08)  # an act takes a few hundredths of a second
        os.kill(pid, signal.SIGKILL)
        sent.join(25)
        eventually(lambda pid=pid: running.pid_of(process) != pid, timeout=30, what="started again")
        state = in_force(running)
