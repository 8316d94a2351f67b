"""The whole road from observed traffic to enforced least privilege and back, on the demo's shop, as the tutorial (docs/tutorial.md) walks it:
observe, suggest, test, replay, monitor, enforce, incident, playbook, roll back. No ordinary call is hurt on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
        """The same visits each time: everybody pays `rounds` of them. What was refused or failed."""
        results: list[CallResult] = []
        traffic.run(self.targets, results.append, seed=SEED, rounds=rounds, workers=4)
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
