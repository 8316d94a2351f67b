"""The whole road from observed traffic to enforced least privilege and back, on the demo's shop, as the tutorial (docs/tutorial.md) walks it:
observe, suggest, test, replay, monitor, enforce, incident, playbook, roll back. No ordinary call is hurt on the way."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.harness import Running, eventually, free_port, run_cli

from eastwall.runtime.demo import shop, traffic
from eastwall.runtime.demo.attacker import Attacker
from eastwall.runtime.demo.catalog import SERVICES
from eastwall.runtime.demo.client import CallResult, Targets
from eastwall.runtime.demo.processes import Shop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PLAYBOOK = """\
apiVersion: eastwall.dev/v1alpha1
kind: Playbook
metadata: {name: doors-tried}
spec:
  on: {policies: ["suggested-*"], count: 3, within: 5m, per: identity}
  steps:
    - quarantine: identity
    - snapshot: true
  for: 15m
  reason: Shut out while the team looks into it.
"""
CASES = """\
apiVersion: eastwall.dev/v1alpha1
kind: PolicyTest
metadata: {name: road}
spec:
  cases:
    - name: customers see their orders
      call: {service: orders, path: /orders, caller: {actor: "user:alice", class: user}}
      expect: {action: allow, would: allow}
    - name: nobody else's profile
      call: {service: storefront, path: /users/bob, caller: {actor: "user:alice", class: user}}
      expect: {action: allow, would: block}
    - name: vouchers are for support
      call: {service: storefront, method: POST, path: /vouchers, caller: {actor: "user:alice", class: user}}
      expect: {action: allow, would: block}
    - name: what nobody used is closed
      call: {service: storefront, path: /brochure, caller: {actor: "user:alice", class: user}}
      expect: {action: allow, would: block}
"""
ROUNDS = 3
SEED = 11


class Road:
    """The shop behind a running Eastwall, and a directory of policies as a team would keep it."""

    def __init__(self, directory: Path, adapter: str) -> None:
        self.visits = self.sent = 0
        self.listeners = {name: free_port() for name in SERVICES}
        self.targets = Targets(**{name: f"http://127.0.0.1:{port}" for name, port in self.listeners.items()})
        self.shop = Shop(directory, self.listeners)
        urls = self.shop.start()
        self.policies = shop.write_policies(directory / "policy", self.shop.state)
        for name in ("access.yaml", "data.yaml"):  # what the demo writes by hand: here it is suggested
            (self.policies / name).unlink()
        upstreams = [part for name in SERVICES for part in ("--upstream", f"{name}={urls[name]}@{self.listeners[name]}")]
        self.up = Running(directory, *upstreams, "--policy", str(self.policies), "--adapter", adapter)

    def close(self) -> int:
        code = self.up.stop()
        self.shop.stop()
        return code

    def ordinary(self, rounds: int = ROUNDS) -> list[CallResult]:
        """Everybody pays `rounds` visits, other ones each time (a coupon is used once). What was refused or failed."""
        results: list[CallResult] = []
        self.visits += 1
        traffic.run(self.targets, results.append, seed=SEED + 1000 * self.visits, rounds=rounds, workers=4)
        assert len(results) > 300 * rounds
        self.sent += len(results)
        eventually(lambda: self.up.status()["lake"]["calls"] >= self.sent, timeout=60, what=f"{self.sent} calls in the lake")
        return [result for result in results if result.blocked or not result.ok]

    def cli(self, *arguments: str, code: int = 0) -> str:
        done = self.up.cli(*arguments, timeout=120)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def tested(self, code: int) -> str:
        done = run_cli("policy", "test", str(self.policies))
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def told(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.cli(*arguments, "--json", code=code))


@pytest.fixture
def road(short_dir: Path, adapter: str) -> Iterator[Road]:
    directory = short_dir / f"road-{adapter}"
    directory.mkdir()
    made = Road(directory, adapter)
    yield made
    assert made.close() == 0
    shutil.rmtree(directory, ignore_errors=True)


def honest(attacker: Attacker) -> CallResult:
    """What anybody does."""
    return attacker.attack("storefront", "GET", "/me")


def test_the_whole_road(road: Road) -> None:
    # Observe: nothing is configured but whose tokens are believed.
    assert road.ordinary() == []
    eventually(lambda: len(road.up.api.get("/apis").json()) >= 30, what="the map")

    # Suggest.
    suggested = road.policies / "suggested.yaml"
    road.cli("policy", "suggest", "--out", str(suggested))
    text = suggested.read_text()
    assert "path.user_id == identity.sub" in text
    assert "/vouchers" in text
    road.cli("policy", "check", str(road.policies))

    # Test: what must pass and what must not, beside the policies.
    (road.policies / "road.test.yaml").write_text(CASES)
    assert "4 cases, none failed" in road.tested(code=0)
    (road.policies / "wrong.test.yaml").write_text(CASES.replace("would: block", "would: allow"))
    assert "suggested-" in road.tested(code=1), "a case that does not hold is told"
    (road.policies / "wrong.test.yaml").unlink()

    # Replay: as if enforced, on what was recorded.
    replayed = road.told("policy", "replay", str(road.policies), "--since", "1h")
    assert replayed["totals"]["blocked"] == 0, replayed
    assert replayed["groups"] == [], replayed

    # Monitor: applied, and nothing is stopped. What would be is told.
    road.cli("policy", "apply", str(road.policies))
    road.cli("mode", "monitor")
    assert road.ordinary(1) == []
    attacker = Attacker(road.targets)
    assert attacker.prepare()
    for path in ("/v1/users", "/debug/config"):
        assert attacker.attack("storefront", "GET", path).status == 200, "monitor stops nothing"
    # Refined by what was seen since: what passed and was no attack is allowed too.
    road.cli("policy", "suggest", "--out", str(suggested))
    text = suggested.read_text()

    # Enforce, with a playbook for those who try doors.
    suggested.write_text(text.replace("mode: monitor", "mode: enforce"))
    (road.policies / "playbook.yaml").write_text(PLAYBOOK)
    road.cli("policy", "apply", str(road.policies))
    road.cli("mode", "enforce")
    assert road.ordinary(1) == []
    refused = eventually(lambda: (r := attacker.attack("storefront", "GET", "/brochure")).blocked and r)
    assert refused.status == 403
    assert "suggested-storefront" in eventually(lambda: road.up.cli("why", refused.event_id).stdout, what="the reason")

    # Incident: the playbook shuts the caller out, and nobody else.
    assert honest(attacker).ok
    for path in ("/users", "/v1/users", "/debug/config"):
        attacker.attack("storefront", "GET", path)
    run = eventually(
        lambda: [act for act in road.told("playbook", "acts") if not act["ended"] and act["policies"]],
        timeout=30,
        what="the playbook",
    )[0]
    eventually(lambda: honest(attacker).blocked, what="the quarantine holds")
    assert road.ordinary(1) == []

    # Roll back: first what the playbook did, then the policies.
    road.cli("playbook", "undo", run["id"])
    eventually(lambda: honest(attacker).ok, what="the quarantine is lifted")
    road.cli("policy", "rollback")
    eventually(lambda: attacker.attack("storefront", "GET", "/brochure").status == 404, what="monitored again")
    attacker.close()
    acts = [entry["act"] for entry in road.told("audit", "log")]
    assert {"apply", "mode", "rollback"} <= set(acts), acts
    road.cli("audit", "verify")


@pytest.fixture
def library(short_dir: Path) -> Iterator[str]:
    """datasette, unmodified, on a SQLite file."""
    path = short_dir / "library.db"
    if not path.exists():
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT, author TEXT)")
            db.executemany("INSERT INTO books VALUES (?, ?, ?)", [(n, f"The {n}th book", "A. Writer") for n in range(1, 200)])
            db.commit()
    port = free_port()
    with (short_dir / "datasette.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "datasette", str(path), "--port", str(port)], stdout=log, stderr=log)
    eventually(lambda: httpx.get(f"http://127.0.0.1:{port}/-/versions.json").status_code == 200, timeout=60, what="datasette")
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(10)


def test_the_road_of_software_that_we_did_not_write(library: str, short_dir: Path, adapter: str) -> None:
    directory = short_dir / f"library-{adapter}"
    directory.mkdir()
    up = Running(directory, "--upstream", f"library={library}@{free_port()}", "--adapter", adapter)
    try:
        with httpx.Client(base_url=up.address("library"), timeout=30) as client:
            reading = [f"/library/books/{n}.json?_shape=array" for n in range(1, 60)] + ["/library/books.json?_size=3"] * 5
            assert {client.get(path).status_code for path in reading} == {200}
            eventually(lambda: up.status()["lake"]["calls"] >= len(reading), what="the calls in the lake")
            eventually(lambda: any("{" in api["template"] for api in up.api.get("/apis").json()), what="the template")
            policies = directory / "policies"
            policies.mkdir()
            written = up.cli("policy", "suggest", "--out", str(policies / "library.yaml"))
            assert written.returncode == 0, written.stderr
            text = (policies / "library.yaml").read_text()
            assert '"GET /library/books/{book_id}.json"  # 59 calls of 1 caller' in text, text
            assert up.cli("policy", "replay", str(policies), "--since", "1h").returncode == 0
            (policies / "library.yaml").write_text(text.replace("mode: monitor", "mode: enforce"))
            assert up.cli("policy", "replay", str(policies), "--since", "1h").returncode == 0, "it hurts nobody who was there"
            assert up.cli("policy", "apply", str(policies)).returncode == 0
            assert client.get("/-/databases.json").status_code == 200, "discover stops nothing"
            assert up.cli("mode", "enforce").returncode == 0
            eventually(lambda: client.get("/-/databases.json").status_code == 403, what="what nobody used is closed")
            assert {client.get(path).status_code for path in reading} == {200}
    finally:
        assert up.stop() == 0
