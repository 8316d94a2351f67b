"""The blueprint of a small shop of records with known truth: who calls what, what it carries, where it leads, what is wrong with it."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from eastwall.discovery.inventory import compile_inventory, identify
from eastwall.exports.graph import render
from eastwall.learning.changes import Changes
from eastwall.learning.declare import read_declared
from eastwall.learning.edges import Edges
from eastwall.learning.learner import Learner
from eastwall.model.blueprint import IdentityProfile
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import DataHit, Field
from eastwall.model.operation import Operation
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import CustomDataClass, ServiceScope
from eastwall.runtime.blueprint import Blueprint

START = 1_700_000_000.0
CARDS = (DataHit("pan", "number", "4***", "response"),)
ORDERS_SPEC = b"""
openapi: 3.0.3
info: {title: orders, version: "1"}
paths:
  /orders:
    post:
      security: [{key: []}]
      requestBody: {content: {application/json: {schema: {type: object, properties: {sku: {type: string}}}}}}
      responses: {'201': {description: made}}
  /orders/{order_id}:
    get:
      parameters: [{name: order_id, in: path, required: true, schema: {type: integer}}]
      responses: {'200': {description: one}}
    delete:
      parameters: [{name: order_id, in: path, required: true, schema: {type: integer}}]
      responses: {'204': {description: gone}}
components: {securitySchemes: {key: {type: apiKey, in: header, name: k}}}
"""


def call(time: float, service: str, method: str, path: str, user: str, **fields: Any) -> CallRecord:
    basis: dict[str, Any] = {
        "version": 1, "id": "", "authority": service, "status": 200, "request_bytes": 10, "response_bytes": 10, "duration_us": 20_000,
        "source": "10.0.0.9", "actor": f"user:{user}", "actor_kind": "user", "actor_class": "user", "strength": 3, "user_agent": "browser",
    }  # fmt: skip
    return CallRecord(time=time, service=service, method=method, path=path, **(basis | fields))


def records(count: int = 120) -> list[CallRecord]:
    rng = random.Random(11)
    found = []
    for n in range(count):
        at, user = START + n * 2.0 + rng.random(), f"u{n % 12}"
        order = 1_000 + n
        found.append(call(at, "front", "POST", "/checkout", user, source="8.8.8.8", duration_us=200_000, status=201))
        found.append(
            call(at + 0.02, "orders", "POST", "/orders", user, status=201, duration_us=120_000, user_agent="front/1", properties=("sku", "role"),
                 sampled=True, request_fields=(Field("$", "object"), Field("role", "string"), Field("sku", "string")))
        )  # fmt: skip
        found.append(
            call(at + 0.05, "billing", "GET", f"/cards/{order}", user, user_agent="orders/1", duration_us=40_000, data=CARDS, sampled=True,
                 response_fields=(Field("$", "object"), Field("number", "string", data_class="pan")))
        )  # fmt: skip
        found.append(call(at + 0.7, "orders", "GET", f"/orders/{order}", user))
        if n % 4 == 0:
            found.append(
                call(
                    at + 0.9,
                    "orders",
                    "GET",
                    f"/orders/{order}",
                    user,
                    agent="client:support-bot",
                    user_agent="bot",
                    principals=("client:support-bot",),
                    strengths=(3,),
                )
            )
            found.append(call(at + 1.1, "orders", "GET", "/debug/heapdump", "admin", actor_class="user+admin"))
        if n % 6 == 0:
            found.append(call(at + 1.2, "api.pay.example", "POST", "/charges", "w", egress=True, caller="billing", actor_kind="workload",
                              actor="workload:shop/billing", actor_class="workload:shop/billing"))  # fmt: skip
    return sorted(found, key=lambda r: r.time + r.duration_us / 1e6)


class _Identities:
    """What identities are given; their learning has tests of its own."""

    def profiles(self, limit: int) -> tuple[IdentityProfile, ...]:
        found = (
            IdentityProfile("user:u1", "user", "user", 3, 40),
            IdentityProfile("client:support-bot", "agent", "agent", 3, 30),
        )
        return found[:limit]


def learned(rows: list[CallRecord]) -> tuple[tuple[Endpoint, ...], Edges, dict[str, tuple[Endpoint, ...]]]:
    spec = read_declared(ORDERS_SPEC, "orders.yaml", "orders").endpoints
    learner, edges = Learner(bytes(16)), Edges()
    learner.declare("orders", spec)
    learner.fold(rows)
    endpoints = learner.endpoints()
    inventory = compile_inventory(endpoints)
    for row in rows:
        segments = tuple(part for part in row.path.split("/") if part)
        found = identify(row.service, Operation("rest", row.method, segments, row.path), inventory).endpoint
        edges.fold(row, found.id if found else "")
    return endpoints, edges, {"orders": spec}


@pytest.fixture(scope="module")
def world() -> tuple[Blueprint, dict[str, str]]:
    rows = records()
    endpoints, edges, declared = learned(rows)
    blueprint, changes = Blueprint(), Changes()
    now = rows[-1].time + 5
    changes.observe(endpoints, now)
    blueprint.refresh(
        endpoints=endpoints,
        declared=declared,
        scopes=[
            ServiceScope("front", owner="web"),
            ServiceScope("orders", owner="orders", deprecated=("GET /old/**",)),
            ServiceScope("billing", sensitivity=("GET /cards/{id}",)),
        ],
        edges=edges,
        identities=_Identities(),
        changes=changes,
        now=now,
        findings={e.id: {"high": 2} for e in endpoints if e.template == "/checkout"},
        classes=[CustomDataClass("badge", sensitivity="critical")],
    )
    return blueprint, {f"{e.service} {e.method} {e.template}": e.id for e in endpoints}


def test_lifecycle(world: tuple[Blueprint, dict[str, str]]) -> None:
    blueprint, ids = world
    states = {name: blueprint.lifecycle(key).state for name, key in ids.items()}
    assert states == {
        "front POST /checkout": "observed",
        "orders POST /orders": "managed",
        "orders GET /orders/{order_id}": "managed",
        "orders DELETE /orders/{order_id}": "ghost",
        "orders GET /debug/heapdump": "shadow",
        "billing GET /cards/{card_id}": "observed",
        "api.pay.example POST /charges": "observed",
    }
    flags = {name: blueprint.lifecycle(key).flags for name, key in ids.items()}
    assert flags["front POST /checkout"] == ("internet-facing",)
    assert flags["orders GET /orders/{order_id}"] == ("agent-reachable",)
    assert flags["orders GET /debug/heapdump"] == ("admin", "non-production")
    assert flags["billing GET /cards/{card_id}"] == ("admin", "orphan")
    assert flags["api.pay.example POST /charges"] == ("orphan", "third-party")


def test_callers_drift_and_risk(world: tuple[Blueprint, dict[str, str]]) -> None:
    blueprint, ids = world
    assert [row[:2] for row in blueprint.callers(ids["orders GET /orders/{order_id}"])] == [
        ("user", 120),
        ("client:support-bot", 30),
    ]
    assert blueprint.callers("ep_unknown") == []
    drifts = {(d.kind, d.template, d.place) for d in blueprint.drift("orders")}
    assert drifts == {
        ("undeclared-operation", "/debug/heapdump", ""),
        ("undeclared-field", "/orders", "request.role"),
        ("unseen-operation", "/orders/{order_id}", ""),
    }
    assert blueprint.drift()[0].severity == "high"
    assert blueprint.drift(endpoint=ids["orders GET /orders/{order_id}"]) == ()
    cards = blueprint.risk(ids["billing GET /cards/{card_id}"])
    assert cards.score == sum(r.points for r in cards.reasons)
    assert "it gives pan" in [r.text for r in cards.reasons]
    ghost = blueprint.risk(ids["orders DELETE /orders/{order_id}"])
    assert ghost.score < blueprint.risk(ids["orders GET /debug/heapdump"]).score < cards.score
    assert any("2 findings of late" in r.text for r in blueprint.risk(ids["front POST /checkout"]).reasons)


def test_graph_and_paths(world: tuple[Blueprint, dict[str, str]]) -> None:
    blueprint, ids = world
    graph = blueprint.graph()
    edges = {(e.source, e.target, e.kind): e for e in graph.edges}
    node = {name: f"operation:{key}" for name, key in ids.items()}
    checkout, order, cards = node["front POST /checkout"], node["orders POST /orders"], node["billing GET /cards/{card_id}"]
    assert edges["internet", checkout, "calls"].calls == 120
    assert edges[checkout, order, "leads-to"].evidence == "timing"
    assert edges[order, cards, "leads-to"].confidence <= 0.95
    assert edges[cards, "data:pan", "carries"].detail == "response: number"
    assert edges["service:billing", node["api.pay.example POST /charges"], "calls"].calls == 20
    assert edges["service:billing", "identity:workload:shop/billing", "runs-as"]
    assert edges["service:front", order, "calls"].evidence == "timing"
    kinds = {n.id: n.kind for n in graph.nodes}
    assert kinds["external:api.pay.example"] == "external"
    assert {e.source for e in graph.edges} | {e.target for e in graph.edges} == set(kinds)
    assert {(s, t) for s, t, k in edges if k == "leads-to"} == {(checkout, order), (order, cards)}
    pytest.importorskip("rustworkx")
    path = next(p for p in blueprint.paths() if p.target == "data:pan" and p.entry == "internet")
    assert path.nodes == ("internet", checkout, order, cards, "data:pan")
    assert path.cut_paths >= 1
    assert blueprint.paths(1) == blueprint.paths()[:1]
    for form in ("dot", "json", "graphml"):
        assert "heapdump" in render(graph, form)


def test_data_identities_changes(world: tuple[Blueprint, dict[str, str]]) -> None:
    blueprint, _ = world
    (flow,) = blueprint.data()
    assert (flow.data_class, flow.direction, flow.place, flow.callers) == ("pan", "response", "number", (("user", 120),))
    assert blueprint.data("ssn") == ()
    assert [p.actor for p in blueprint.identities("agent")] == ["client:support-bot"]
    assert blueprint.identity("user:u1").calls == 40
    assert {c.detail.split("`")[1] for c in blueprint.changes()} == {"front", "orders", "billing", "api.pay.example"}
    assert blueprint.changes(service="orders")[0].service == "orders"
    for question in (lambda: blueprint.identity("user:x"), lambda: blueprint.risk("ep_x"), lambda: blueprint.lifecycle("ep_x")):
        with pytest.raises(LookupError, match="there is no"):
            question()


def test_any_specification_can_be_held_against_it(world: tuple[Blueprint, dict[str, str]]) -> None:
    blueprint, _ = world
    spec = read_declared(ORDERS_SPEC.replace(b"/orders:", b"/baskets:"), "other.yaml", "orders").endpoints
    found = {(d.kind, d.method, d.template) for d in blueprint.diff("orders", spec)}
    assert found == {
        ("undeclared-operation", "POST", "/orders"),
        ("undeclared-operation", "GET", "/debug/heapdump"),
        ("unseen-operation", "POST", "/baskets"),
        ("unseen-operation", "DELETE", "/orders/{order_id}"),
    }
    assert all(
        d.kind == "unseen-operation" for d in blueprint.diff("nobody", read_declared(ORDERS_SPEC, "o.yaml", "nobody").endpoints)
    )


def test_before_the_first_refresh_there_is_nothing() -> None:
    blueprint = Blueprint()
    assert (blueprint.drift(), blueprint.changes(), blueprint.paths(), blueprint.data(), blueprint.identities()) == (
        (),
        (),
        (),
        (),
        (),
    )
    assert blueprint.graph().nodes == ()


def test_readers_see_one_state_or_the_next() -> None:
    """Two lists of endpoints in turns: every graph that is read is wholly of one of them."""
    rows = records(40)
    endpoints, edges, _ = learned(rows)
    halves = [e for e in endpoints if e.service == "orders"], [e for e in endpoints if e.service != "orders"]
    blueprint, changes, stop = Blueprint(), Changes(), threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not stop.is_set():
            services = {n.label for n in blueprint.graph().nodes if n.kind in ("service", "external")}
            if "orders" in services and "billing" in services:
                wrong.append(services)
            blueprint.drift()

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for n in range(60):
        blueprint.refresh(
            endpoints=halves[n % 2], declared={}, scopes=(), edges=edges, identities=None, changes=changes, now=START + n
        )
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
