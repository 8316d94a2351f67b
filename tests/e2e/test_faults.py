"""Processes die with traffic running: what the caller sees, what is counted, what is recorded."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.e2e.harness import Running, Upstream, eventually, free_port

pytestmark = pytest.mark.e2e


class Load:
    """Calls from a few threads until stopped; counts answers by status."""

    def __init__(self, address: str, threads: int = 4) -> None:
        self.statuses: Counter[int] = Counter()
        self.times: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._number = itertools.count()
        self._address = address
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def _run(self) -> None:
        with httpx.Client(base_url=self._address, timeout=30) as client:
            while not self._stop.is_set():
                try:
                    status = client.post("/orders", json={"note": "x", "n": next(self._number)}).status_code
                except httpx.HTTPError:
                    status = 0
                self.statuses[status] += 1
                self.times.append((time.monotonic(), status))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(40)

    @property
    def total(self) -> int:
        return sum(self.statuses.values())

    def between(self, start: float, end: float) -> Counter[int]:
        return Counter(status for at, status in list(self.times) if start <= at < end)


FAIL_CLOSED = """\
apiVersion: eastwall.dev/v1alpha1
kind: Service
metadata: {name: closed}
spec: {fail: closed, mode: enforce}
"""


@pytest.fixture(scope="module")
def running(upstream: Upstream, short_dir: Path, adapter: str) -> Iterator[Running]:
    directory = short_dir / adapter
    directory.mkdir()
    (directory / "policy.yaml").write_text(FAIL_CLOSED)
    up = Running(
        directory,
        "--upstream", f"orders={upstream.url}@{free_port()}", "--upstream", f"closed={upstream.url}@{free_port()}",
        "--adapter", adapter, "--mode", "enforce", "--deadline-ms", "500", "--policy", str(directory / "policy.yaml"),
    )  # fmt: skip
    with httpx.Client(timeout=20) as client:
        for service in ("orders", "closed"):
            eventually(
                lambda s=service: client.get(up.address(s) + "/search", params={"q": "' OR 1=1 --"}).status_code == 403,
                what="enforcing",
            )
    yield up
    assert up.stop() == 0


def uninspected(running: Running) -> int:
    return int(running.status()["uninspected"]["total"])


def blocks(address: str) -> bool:
    return httpx.get(address + "/search", params={"q": "' OR 1=1 --"}, timeout=20).status_code == 403


def test_engine_killed_fail_open(running: Running) -> None:
    before = uninspected(running)
    with Load(running.address("orders")) as load:
        eventually(lambda: load.total > 50)
        os.kill(running.pid_of("engine_main"), signal.SIGKILL)
        # About a second; several on a machine that has other things to do.
        eventually(lambda: blocks(running.address("orders")), timeout=10, what="inspecting again")
        eventually(lambda: load.total > 200)
    assert set(load.statuses) == {201}, "a service that fails open loses no call"
    eventually(lambda: uninspected(running) > before, what="uninspected calls counted")


def test_engine_killed_fail_closed(running: Running) -> None:
    with Load(running.address("closed")) as load:
        eventually(lambda: load.total > 50)
        os.kill(running.pid_of("engine_main"), signal.SIGKILL)
        eventually(lambda: load.statuses[503] > 0 or blocks(running.address("closed")), timeout=10)
        eventually(lambda: blocks(running.address("closed")), timeout=10, what="inspecting again")
    assert set(load.statuses) <= {201, 503}


def test_engine_hung_is_ejected_and_readmitted(running: Running) -> None:
    pid = running.pid_of("engine_main")
    with Load(running.address("orders"), threads=8) as load:
        eventually(lambda: load.total > 100)
        os.kill(pid, signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            time.sleep(4)
            late = load.between(stopped + 2.5, stopped + 4)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert late[201] > 100, f"throughput must recover while the engine hangs: {late}"
        eventually(lambda: blocks(running.address("orders")), timeout=10, what="inspecting again")
    assert set(load.statuses) == {201}


def test_control_killed_loses_nothing(running: Running) -> None:
    recorded = running.status()["lake"]["calls"]
    with Load(running.address("orders")) as load:
        eventually(lambda: load.total > 50)
        os.kill(running.pid_of("control_main"), signal.SIGKILL)
        sent = load.total
        eventually(lambda: load.total > sent + 200, what="traffic goes on")
    assert set(load.statuses) == {201}
    # At least what this load sent: `recorded` was asked before, and earlier calls may have been on their way.
    eventually(lambda: running.status()["lake"]["calls"] - recorded >= load.total, timeout=60, what="every call is recorded")
    counted = running.api.post("/query", json={"sql": "SELECT count() AS n, uniqExact(id) AS u FROM calls"}).json()[0]
    assert counted["n"] == counted["u"], "stored once"


def test_upstream_down_is_a_502_with_our_id(upstream: Upstream, short_dir: Path, adapter: str) -> None:
    directory = short_dir / f"down-{adapter}"
    directory.mkdir()
    up = Running(
        directory, "--upstream", f"gone=http://127.0.0.1:{free_port()}@{free_port()}", "--adapter", adapter, "--mode", "enforce"
    )
    try:
        answer = httpx.get(up.address("gone") + "/anything")
        assert answer.status_code in (502, 503)
        assert answer.headers["content-type"] == "application/problem+json"
        event = answer.json()["event_id"]
        assert len(event) == 26
        eventually(lambda: up.api.get(f"/calls/{event}").status_code == 200, what="the failed call is recorded")
    finally:
        assert up.stop() == 0


def test_envoy_killed_comes_back(running: Running) -> None:
    os.kill(running.pid_of("envoy"), signal.SIGKILL)
    eventually(lambda: blocks(running.address("orders")), timeout=10, what="Envoy is back")
