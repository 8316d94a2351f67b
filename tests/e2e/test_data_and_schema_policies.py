"""Tokens there and back, and properties that are no part of a request, through the whole product."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.harness import Running, Upstream, eventually, free_port

pytestmark = pytest.mark.e2e

PAN = "4111111111111111"
POLICY = """\
apiVersion: eastwall.dev/v1alpha1
kind: Service
metadata: {name: orders}
spec:
  mode: enforce
  spec: orders.json
  identity: {trustedProxies: [127.0.0.0/8], userHeader: x-forwarded-user}
---
apiVersion: eastwall.dev/v1alpha1
kind: DataPolicy
metadata: {name: card-tokens}
spec:
  classes: [pan]
  action: tokenise
  detokenise: {actors: ["user:settlement"]}
  tokensFrom: {actors: ["user:front"]}
---
apiVersion: eastwall.dev/v1alpha1
kind: SchemaPolicy
metadata: {name: orders-as-declared}
spec:
  source: declared
  unknown: strip
  types: block
  missing: block
  maxDepth: 4
  scope: {operations: ["POST /orders"]}
"""
ORDER = {
    "type": "object",
    "required": ["sku"],
    "properties": {"sku": {"type": "string"}, "lines": {"type": "array", "items": {"type": "object", "properties": {"qty": {"type": "integer"}}}}},
}  # fmt: skip
SPEC = {
    "openapi": "3.1.0",
    "info": {"title": "orders", "version": "1"},
    "paths": {"/orders": {"post": {"requestBody": {"content": {"application/json": {"schema": ORDER}}}, "responses": {}}}},
}


@pytest.fixture(scope="module")
def running(upstream: Upstream, short_dir: Path, adapter: str) -> Iterator[Running]:
    directory = short_dir / f"ds-{adapter}"
    directory.mkdir()
    (directory / "orders.json").write_text(json.dumps(SPEC))
    (directory / "policy.yaml").write_text(POLICY)
    listen = f"orders={upstream.url}@{free_port()}"
    up = Running(directory, "--upstream", listen, "--adapter", adapter, "--policy", str(directory / "policy.yaml"))
    with httpx.Client(base_url=up.address("orders"), timeout=20) as client:
        eventually(lambda: PAN.encode() not in client.get("/cards").content, what="the policies in force")
    yield up
    assert up.stop() == 0


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.address("orders"), timeout=20) as client:
        yield client


def as_user(name: str) -> dict[str, str]:
    return {"x-forwarded-user": name}


def reached(upstream: Upstream) -> Any:
    return json.loads(upstream.seen[-1][2])


def test_a_front_end_holds_tokens_only_and_the_service_gets_the_originals(client: httpx.Client, upstream: Upstream) -> None:
    card = client.get("/cards", headers=as_user("front")).json()["cards"][0]
    token = card["number"]
    assert token.startswith("ewt_pan_")
    assert (card["holder"], card["limit"]) == ("A. Jones", 1000)
    assert client.get("/cards", headers=as_user("somebody")).json()["cards"][0]["number"] == token, "equal values, equal tokens"
    assert client.get("/cards", headers=as_user("settlement")).json()["cards"][0]["number"] == PAN

    echoed = client.post("/echo", json={"pay": token, "note": f"with {token}!"}, headers=as_user("front"))
    assert reached(upstream) == {"pay": PAN, "note": f"with {PAN}!"}
    assert echoed.json() == {"pay": token, "note": f"with {token}!"}, "what comes back is tokens again"

    other = client.post("/echo", json={"pay": token}, headers=as_user("somebody"))
    assert reached(upstream) == {"pay": token}
    assert other.json() == {"pay": token}
    assert client.post("/echo", json={"pay": token}, headers=as_user("settlement")).json() == {"pay": PAN}


def test_a_forged_token_reaches_nobody_as_a_value_and_is_told(running: Running, client: httpx.Client, upstream: Upstream) -> None:
    token = client.get("/cards", headers=as_user("front")).json()["cards"][0]["number"]
    forged = token[:12] + ("A" if token[12] != "A" else "B") + token[13:]
    client.post("/echo", json={"pay": forged}, headers=as_user("front"))
    assert reached(upstream) == {"pay": forged}
    eventually(lambda: "request-tokens-refused" in json.dumps(running.status()), what="the refused token is counted")


def test_what_is_not_declared_does_not_reach_the_service(client: httpx.Client, upstream: Upstream) -> None:
    body = b'{"sku":"a1", "role":"admin", "lines":[{"qty":2,"price":0.01}, {"qty":1}]}'
    answer = client.post("/orders", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 201
    assert upstream.seen[-1][2] == b'{"sku":"a1","lines":[{"qty":2},{"qty":1}]}'
    fitting = b'{ "sku": "a1" }'
    assert client.post("/orders", content=fitting, headers={"content-type": "application/json"}).status_code == 201
    assert upstream.seen[-1][2] == fitting, "what fits stays as it is, byte by byte"

    before = len(upstream.seen)
    refused = client.post("/orders", json={"sku": 7})
    assert refused.status_code == 400
    assert refused.json()["detail"] == "The request is not as it should be: `sku`: expected a string, got an integer."
    assert client.post("/orders", json={"lines": []}).status_code == 400
    assert client.post("/orders", json={"sku": "a", "lines": [{"qty": 1, "x": {"y": {"z": 1}}}]}).status_code == 400
    assert len(upstream.seen) == before


def test_why_says_what_was_not_as_declared(running: Running, client: httpx.Client) -> None:
    event = client.post("/orders", json={"sku": 7}).headers["x-eastwall-event-id"]
    why = eventually(lambda: (w := running.cli("why", event, "--json")).returncode == 0 and json.loads(w.stdout))
    assert "`sku`: expected a string, got an integer" in json.dumps(why, ensure_ascii=False)
