"""Modes mean what they say, through the whole product: only `enforce` changes a call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.e2e.harness import Running, Upstream, eventually, free_port

pytestmark = pytest.mark.e2e

INJECTION = {"q": "x' UNION SELECT username, password FROM users --"}
POLICY = """\
apiVersion: eastwall.dev/v1alpha1
kind: DataPolicy
metadata: {name: no-card-numbers}
spec: {mode: enforce, classes: [pan], direction: response, action: mask}
---
apiVersion: eastwall.dev/v1alpha1
kind: LimitPolicy
metadata: {name: search-rate}
spec: {mode: enforce, rate: 3/m, burst: 3, per: [source], scope: {services: [orders], operations: ["GET /limited"]}}
"""


@pytest.fixture(scope="module")
def running(upstream: Upstream, short_dir: Path, adapter: str) -> Iterator[Running]:
    directory = short_dir / adapter
    directory.mkdir()
    (directory / "policy.yaml").write_text(POLICY)
    up = Running(
        directory,
        "--upstream",
        f"orders={upstream.url}@{free_port()}",
        "--adapter",
        adapter,
        "--policy",
        str(directory / "policy.yaml"),
    )
    yield up
    assert up.stop() == 0


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.address("orders"), timeout=20) as client:
        yield client


def set_mode(running: Running, client: httpx.Client, mode: str) -> None:
    assert running.cli("mode", mode).returncode == 0
    eventually(
        lambda: (s := running.status()) and all(e["snapshot"] >= s["snapshot"]["version"] for e in s["engines"]), what="engines"
    )
    blocked = mode == "enforce"
    eventually(lambda: (client.get("/search", params=INJECTION).status_code == 403) == blocked, what=f"mode {mode} in force")


def test_discover_changes_nothing_and_finds_the_api(running: Running, client: httpx.Client, upstream: Upstream) -> None:
    set_mode(running, client, "discover")
    for number in range(30):
        answer = client.get(f"/orders/{number}")
        assert answer.status_code == 200
        assert answer.json()["id"] == str(number)
    assert b"4111111111111111" in client.get("/cards").content
    body = b'{ "a" :  1,\t"b":[1.10, 2e5] }'
    answer = client.post("/echo", content=body, headers={"content-type": "application/json"})
    assert answer.content == body
    assert "x-eastwall-event-id" not in answer.headers
    assert upstream.seen[-1][2] == body
    found = eventually(lambda: [a for a in running.api.get("/apis").json() if "{" in a["template"]])
    assert [(a["method"], a["template"]) for a in found] == [("GET", "/orders/{order_id}")]


def test_monitor_records_what_enforce_would_do_and_changes_nothing(running: Running, client: httpx.Client) -> None:
    set_mode(running, client, "monitor")
    answer = client.get("/search", params=INJECTION)
    assert answer.status_code == 200
    assert b"4111111111111111" in client.get("/cards").content
    finding = eventually(
        lambda: [f for f in running.api.get("/findings").json() if f["would"] == "block" and f["action"] == "allow"]
    )
    assert "sql-injection" in [f["id"] for f in finding]


def test_enforce_blocks_limits_and_redacts_and_why_explains(running: Running, client: httpx.Client, upstream: Upstream) -> None:
    set_mode(running, client, "enforce")
    before = len(upstream.seen)
    answer = client.get("/search", params=INJECTION)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(upstream.seen) == before, "a blocked request must not reach the service"
    event = answer.headers["x-eastwall-event-id"]
    assert answer.json()["event_id"] == event

    why = eventually(lambda: (w := running.cli("why", event, "--json")).returncode == 0 and json.loads(w.stdout))
    assert why["id"] == event
    assert why["action"] == "block"
    assert why["findings"][0]["id"] == "sql-injection"
    text = running.cli("why", event).stdout
    assert event in text
    assert "sql-injection" in text
    assert "builtin" in text

    cards = client.get("/cards")
    assert b"4111111111111111" not in cards.content
    assert cards.json()["cards"][0]["number"].endswith("1111")
    assert cards.json()["cards"][0]["limit"] == 1000

    statuses = [client.get("/limited").status_code for _ in range(6)]
    assert statuses.count(429) == 3
    limited = client.get("/limited")
    assert int(limited.headers["retry-after"]) >= 1


def test_an_unknown_event_is_not_found(running: Running) -> None:
    done = running.cli("why", "01HZZZZZZZZZZZZZZZZZZZZZZZ")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1


def test_status_and_listings_speak_to_people_and_machines(running: Running) -> None:
    status = json.loads(running.cli("status", "--json").stdout)
    assert status["services"][0]["name"] == "orders"
    assert "orders" in running.cli("status").stdout
    assert "/orders/{order_id}" in running.cli("apis").stdout
    assert json.loads(running.cli("apis", "orders", "--json").stdout)
    assert "sql-injection" in running.cli("findings").stdout
