"""A rule pack put in force, changed and refused while Eastwall runs: engines swap it with the snapshot, nothing is restarted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.e2e.harness import Running, Upstream, eventually, free_port

pytestmark = pytest.mark.e2e

PACK = """\
apiVersion: eastwall.dev/v1alpha1
kind: RulePack
metadata: {{name: shop}}
spec:
  rules:
    - id: internal-host
      title: Host name of the internal network
      severity: high
      confidence: high
      where: [query]
      pattern: '{pattern}'
      detects: detects names of the internal network
      doesNotDetect: does not detect public names
      matches: [{match}]
      nearMisses: [www.example]
"""


@pytest.fixture(scope="module")
def running(upstream: Upstream, short_dir: Path, adapter: str) -> Iterator[Running]:
    directory = short_dir / f"packs-{adapter}"
    directory.mkdir()
    up = Running(directory, "--upstream", f"orders={upstream.url}@{free_port()}", "--adapter", adapter, "--mode", "enforce")
    yield up
    assert up.stop() == 0


def test_packs_are_loaded_changed_and_refused_without_a_restart(running: Running, tmp_path: Path) -> None:
    engines = {engine["name"] for engine in running.status()["engines"]}
    pid = running.pid_of("engine_main")
    file = tmp_path / "pack.yaml"
    with httpx.Client(base_url=running.address("orders"), timeout=20) as client:

        def status(host: str) -> int:
            return client.get("/orders/1", params={"to": host}).status_code

        assert status("db1.corp.example") == 200
        file.write_text(PACK.format(pattern=r"\b[a-z0-9]+\.corp\.example\b", match="db1.corp.example"))
        applied = running.cli("policy", "apply", str(file))
        assert applied.returncode == 0, applied.stderr
        eventually(lambda: status("db1.corp.example") == 403, what="the pack in force")
        assert status("db1.lan.example") == 200

        # A pack that misses its own example is refused with one line, and the old one stays.
        file.write_text(PACK.format(pattern=r"\b[a-z0-9]+\.lan\.example\b", match="db1.corp.example"))
        refused = running.cli("policy", "apply", str(file))
        assert refused.returncode == 1
        assert f"{file}:14:17: the rule misses `db1.corp.example`" in refused.stderr
        assert status("db1.corp.example") == 403

        file.write_text(PACK.format(pattern=r"\b[a-z0-9]+\.lan\.example\b", match="db1.lan.example"))
        assert running.cli("policy", "apply", str(file)).returncode == 0
        eventually(lambda: status("db1.lan.example") == 403, what="the changed pack in force")
        assert status("db1.corp.example") == 200
    assert running.pid_of("engine_main") == pid
    assert {engine["name"] for engine in running.status()["engines"]} == engines
    eventually(lambda: "pack-shop/internal-host" in running.api.get("/findings").text, what="the pack's findings on record")
