"""Closed with one command, on every engine within a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.e2e.harness import Running, Upstream, eventually, free_port


@pytest.fixture(scope="module")
def shop(upstream: Upstream, short_dir: Path, adapter: str) -> Iterator[Running]:
    directory = short_dir / adapter
    directory.mkdir()
    options = ["--upstream", f"orders={upstream.url}@{free_port()}", "--engines", "2", "--mode", "enforce", "--adapter", adapter]
    running = Running(directory, *options)
    yield running
    assert running.stop() == 0


def test_every_engine_refuses_within_a_second_of_the_command_and_lets_in_again(shop: Running) -> None:
    base = shop.address("orders")
    eventually(lambda: httpx.get(f"{base}/orders/1").status_code == 200)
    done = shop.cli(
        "quarantine", "add", "--service", "orders", "--operation", "GET /orders/*", "--name", "old", "--reason", "Closed."
    )
    began = time.monotonic()
    assert done.returncode == 0, done.stderr
    # Each call has a connection of its own, which the engines share: thirty refusals in a row are both engines.
    refused, last = 0, began
    while refused < 30:
        answer = httpx.get(f"{base}/orders/1")
        if answer.status_code == 403:
            refused += 1
        else:
            refused, last = 0, time.monotonic()
        assert time.monotonic() - began < 10
    assert last - began < 1.0, f"let through {last - began:.2f} s after the command"
    assert answer.json()["type"].endswith("/quarantined")
    assert httpx.get(f"{base}/search").status_code == 200
    assert "old" in shop.cli("quarantine", "list").stdout
    assert shop.cli("quarantine", "lift", "old").returncode == 0
    eventually(lambda: httpx.get(f"{base}/orders/1").status_code == 200, timeout=5)
    acts = [entry["act"] for entry in shop.api.get("/audit").json()]
    assert acts[-2:] == ["quarantine", "lift"]
