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
from tests.e2e.harness import Running, eventually, free_port

from eastwall.runtime.demo import shop, traffic
from eastwall.runtime.demo.attacker import Attacker
from eastwall.runtime.demo.catalog import SERVICES
from eastwall.runtime.demo.client import CallResult, Targets
from eastwall.runtime.demo.processes import Shop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ROUNDS = 3
SEED = 11


class Road:
    """The shop behind a running Eastwall, and a directory of policies as a team would keep it."""

    def __init__(self, directory: Path, adapter: str) -> None:
        self.visits = 0
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
        return [result for result in results if result.blocked or not result.ok]

    def cli(self, *arguments: str, code: int = 0) -> str:
        done = self.up.cli(*arguments, timeout=120)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def told(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.cli(*arguments, "--json", code=code))

    def recorded(self, count: int) -> None:
        eventually(lambda: self.up.status()["lake"]["calls"] >= count, timeout=30, what=f"{count} calls in the lake")


@pytest.fixture
def road(short_dir: Path, adapter: str) -> Iterator[Road]:
    directory = short_dir / f"road-{adapter}"
    directory.mkdir()
    made = Road(directory, adapter)
    yield made
    assert made.close() == 0
    shutil.rmtree(directory, ignore_errors=True)


def test_the_whole_road(road: Road) -> None:
    # Observe: nothing is configured but whose tokens are believed.
    assert road.ordinary() == []
    road.recorded(900)
    eventually(lambda: len(road.up.api.get("/apis").json()) >= 30, what="the map")

    # Suggest.
    suggested = road.policies / "suggested.yaml"
    road.cli("policy", "suggest", "--out", str(suggested))
    text = suggested.read_text()
    assert "path.user_id == identity.sub" in text
    assert "/vouchers" in text
    road.cli("policy", "check", str(road.policies))

    # Monitor: applied, and nothing is stopped. What would be is told.
    road.cli("policy", "apply", str(road.policies))
    road.cli("mode", "monitor")
    assert road.ordinary(1) == []
    attacker = Attacker(road.targets)
    assert attacker.prepare()
    assert attacker.attack("storefront", "GET", "/v1/users").status == 200, "monitor stops nothing"

    # Enforce.
    suggested.write_text(text.replace("mode: monitor", "mode: enforce"))
    road.cli("policy", "apply", str(road.policies))
    road.cli("mode", "enforce")
    refused = eventually(lambda: (r := attacker.attack("storefront", "GET", "/v1/users")).blocked and r)
    assert refused.status == 403
    assert road.ordinary(1) == []
    why = road.cli("why", refused.event_id)
    assert "suggested-storefront" in why
    attacker.close()


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
