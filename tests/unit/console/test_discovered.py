"""A real control process on recorded calls: lifecycle, drift, documents, specifications that are imported, a cluster that it follows,
and the same answers from the command line when nothing runs."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.sources.cluster import Cluster, pod, served

from .processes import Process, call, write

pytest.importorskip("chdb", reason="control is in the extra eastwall[all]")
pytest.importorskip("fastapi", reason="control is in the extra eastwall[all]")

SPEC = {
    "openapi": "3.1.0",
    "info": {"title": "orders", "version": "1"},
    "paths": {
        "/orders/{id}": {
            "get": {"responses": {"200": {"description": "ok"}}},
            "delete": {"responses": {"204": {"description": "gone"}}},
        }
    },
}


def recorded(data: Path) -> Process:
    write(data, [call(n) for n in range(120, 0, -1)] + [call(0, method="GET", path="/internal/debug", service="orders")])
    control = Process(data).ready()
    control.until("/api/v1/status", lambda s: s["lake"]["calls"] == 121)
    control.until("/api/v1/apis", lambda found: len(found) == 3)
    return control


def cli(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "eastwall.cli.main", *arguments, "--data", str(data)]
    path = ":".join(p for p in sys.path if p)
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"}
    )


def test_a_specification_is_compared_and_nothing_is_kept_of_it(data: Path) -> None:
    control = recorded(data)
    try:
        status, _, told = control.send("POST", "/api/v1/diff/orders", {"document": json.dumps(SPEC), "name": "orders.json"})
        assert status == 200
        kinds = {(d["kind"], d["method"], d["template"]) for d in told["drift"]}
        assert ("undeclared-operation", "GET", "/internal/debug") in kinds
        assert ("unseen-operation", "DELETE", "/orders/{id}") in kinds
        assert ("undeclared-operation", "GET", "/orders/{order_id}") not in kinds
        assert all(a["state"] == "observed" for a in control.send("GET", "/api/v1/apis?service=orders")[2])
        status, _, told = control.send("POST", "/api/v1/diff/orders", {"document": "no: spec"})
        assert (status, told["endpoints"], told["drift"]) == (
            200,
            0,
            [d for d in told["drift"] if d["kind"] == "undeclared-operation"],
        )
        assert "declares no API" in told["faults"][0]
        assert control.send("POST", "/api/v1/diff/nobody", {"document": "{}"})[0] == 404
    finally:
        assert control.stop() == 0


def test_an_imported_specification_makes_shadows_and_ghosts_and_survives_a_restart(data: Path) -> None:
    control = recorded(data)
    assert control.stop() == 0
    file = data / "orders.openapi.json"
    file.write_text(json.dumps(SPEC))
    done = cli(data, "import", str(file), "--service", "orders")
    assert done.returncode == 0, done.stderr
    control = Process(data).ready()
    try:
        found = control.until("/api/v1/apis?service=orders", lambda apis: any(a["state"] == "ghost" for a in apis))
        states = {(a["method"], a["template"]): a["state"] for a in found}
        assert states == {
            ("GET", "/orders/{id}"): "managed",
            ("DELETE", "/orders/{id}"): "ghost",
            ("GET", "/internal/debug"): "shadow",
        }
    finally:
        assert control.stop() == 0


def test_the_command_line_answers_when_nothing_runs(data: Path) -> None:
    control = recorded(data)
    running = control.send("GET", "/api/v1/apis")[2]
    assert control.stop() == 0
    done = cli(data, "apis", "--json")
    assert done.returncode == 0, done.stderr
    assert "does not run" in done.stderr
    at_rest = json.loads(done.stdout)
    assert {(a["id"], a["calls"], a["state"]) for a in at_rest} == {(a["id"], a["calls"], a["state"]) for a in running}
    assert (
        json.loads(cli(data, "apis", "list", "orders", "--search", "debug", "--json").stdout)[0]["template"] == "/internal/debug"
    )
    assert cli(data, "apis", "show", "GET /nothing").returncode == 4
    assert cli(data, "apis", "export", "--service", "billing", "--format", "graphql").returncode == 4
    who = json.loads(cli(data, "identities", "user:u1", "--json").stdout)
    assert who["calls"] == sum(o["calls"] for o in who["operations"]) == 18
    assert cli(data, "status").returncode == 3, "what runs can only be told of what runs"


def test_callers_are_known_by_their_pods(data: Path) -> None:
    cluster = Cluster()
    cluster.put(pod("front-1", "10.244.1.17"))
    with served(cluster) as address:
        control = Process(data, "--kubernetes", address).ready()
        try:
            told = control.until("/api/v1/status", lambda s: s["kubernetes"]["synced"])
            assert (told["kubernetes"]["pods"], told["kubernetes"]["fault"]) == (1, "")
            seen = workloads(data, 1)
            assert seen[0].name == "web/front"
            cluster.put(pod("front-2", "10.244.1.18"))
            assert {w.address for w in workloads(data, 2)} == {"10.244.1.17", "10.244.1.18"}
        finally:
            assert control.stop() == 0


def workloads(data: Path, count: int) -> tuple:
    """Those that engines get, as soon as there are so many."""
    import time

    from eastwall.stores.snapshots import FileSnapshotStore

    deadline = time.monotonic() + 20
    while True:
        snapshot = FileSnapshotStore(data / "snapshot").load()
        if snapshot is not None and len(snapshot.trust.workloads) == count:
            return snapshot.trust.workloads
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("server", ["nowhere", "ftp://x", "http://"])
def test_a_cluster_that_is_none_is_told_at_the_start(data: Path, server: str) -> None:
    control = Process(data, "--kubernetes", server)
    assert control.process.wait(30) == 1
    last = control.log.read_text().strip().splitlines()[-1]
    assert last.startswith("eastwall control: --kubernetes: ")


def test_a_graphql_schema_is_at_the_path_where_graphql_is_served(data: Path) -> None:
    asked = {"method": "POST", "path": "/", "service": "shop", "protocol": "graphql", "body_kind": "json", "sampled": True}
    write(data, [call(n, **asked, operation="query order", selection=("order.id",)) for n in range(40)])
    control = Process(data).ready()
    try:
        control.until("/api/v1/apis?service=shop", lambda found: len(found) == 1)
        sdl = base64.b64encode(b"type Query { order(id: ID!): Order, never: Order }\ntype Order { id: ID! }").decode()
        assert control.send("PUT", "/api/v1/specs/shop", {"name": "shop.graphql", "document": sdl})[0] == 200
        found = control.until("/api/v1/apis?service=shop", lambda found: len(found) == 2)
        assert {(a["template"], a["operation"], a["state"]) for a in found} == {
            ("/", "query order", "managed"),
            ("/", "query never", "ghost"),
        }
        assert control.send("PUT", "/api/v1/specs/shop", {"name": "x", "document": "%%%"})[0] == 422
    finally:
        assert control.stop() == 0
