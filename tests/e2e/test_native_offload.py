"""Native offload: Envoy refuses by itself what the engine would refuse, and nothing else; every refusal is counted and recorded."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.e2e.harness import Running, Upstream, eventually, free_port

POLICIES = """\
apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: no-admin}
spec: {action: deny, scope: {services: [orders], operations: ["* /admin/**", "DELETE /orders/{id}", "GET /search"]}, reason: "Not here: 100 %."}
---
apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: not-for-bots}
spec: {action: deny, scope: {services: [orders], operations: ["GET /cards"], identities: {actors: ["user:bot"]}}}
---
apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: watched}
spec: {action: deny, mode: monitor, scope: {services: [orders], operations: ["GET /echo"]}}
---
apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: excused}
spec: {action: deny, scope: {services: [orders], operations: ["GET /orders/18"]}}
---
apiVersion: eastwall.dev/v1alpha1
kind: Exception
metadata: {name: for-now}
spec: {policies: [excused], expires: "2999-01-01", reason: "Migration.", owner: team-orders}
---
apiVersion: eastwall.dev/v1alpha1
kind: Quarantine
metadata: {name: old.exports}
spec: {scope: {services: [orders], operations: ["POST /orders", "GET /v1.0/{name}/export"]}, indefinite: true, reason: "Closed."}
---
apiVersion: eastwall.dev/v1alpha1
kind: TrustZone
metadata: {name: vault}
spec: {members: {services: [vault]}, default: allow, admission: {mtls: true}}
---
apiVersion: eastwall.dev/v1alpha1
kind: SchemaPolicy
metadata: {name: small}
spec: {types: ignore, unknown: ignore, missing: ignore, maxSize: 1KiB, scope: {services: [intake], operations: ["* /orders", "PUT /echo"]}}
"""
SERVICES = ("orders", "vault", "intake")
METHODS = ("GET", "HEAD", "POST", "DELETE")
PATHS = (
    "/", "/admin", "/admin/", "/admin/users", "/admin/users/7?x=1", "/adminx", "/x/admin", "/Admin", "//admin", "/admin//users", "/x/../admin",
    "/admin/../orders/1", "/admin;a=b/users", "/%61dmin", "/admin%2Fusers", "/admin/%2e%2e/orders/1", "/admin/.hidden", "/./admin",
    "/orders", "/orders/", "/orders?id=1", "/orders/17", "/orders/17/", "/orders/17/items", "/orders/a%20b", "/orders/..", "/orders/a.b",
    "/search", "/search?q=admin", "/SEARCH", "/cards", "/echo", "/orders/18", "/v1.0/a/export", "/v1x0/a/export", "/v1.0//export", "/v1.0/a/b/export",
)  # fmt: skip


@pytest.fixture(scope="module")
def pair(upstream: Upstream, short_dir: Path, adapter: str) -> Iterator[tuple[Running, Running]]:
    """The same policies without offload and with it."""
    rules = short_dir / f"{adapter}.yaml"
    rules.write_text(POLICIES)
    both = []
    for name, more in (("off", ()), ("on", ("--native-offload",))):
        directory = short_dir / f"{adapter}-{name}"
        directory.mkdir()
        ways = [f"--upstream={service}={upstream.url}@{free_port()}" for service in SERVICES]
        both.append(Running(directory, *ways, "--mode", "enforce", "--adapter", adapter, "--policy", str(rules), *more))
    yield both[0], both[1]
    assert [running.stop() for running in both] == [0, 0]


def asked(
    running: Running, service: str, method: str, target: str, headers: dict[str, str] | None = None, body: Any = None
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, problem and headers. The target goes out as it stands: clients of a higher level would tidy it up."""
    connection = http.client.HTTPConnection(urlsplit(running.address(service)).netloc, timeout=20)
    try:
        # Envoy answers large bodies before they have come; what it no longer reads may fail to be sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, target, body, headers or {})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    problem = json.loads(text) if answer.getheader("content-type") == "application/problem+json" and text else {}
    return answer.status, problem, {name.lower(): value for name, value in answer.getheaders()}


def ask(running: Running, *call: Any) -> tuple[int, tuple[str, ...], bool, str]:
    """What is to be the same with offload and without: status, the problem but for the event, that the event is named, caching."""
    status, problem, headers = asked(running, *call)
    event = headers.get("x-eastwall-event-id", "")
    if problem:
        assert problem["event_id"] == event
        assert problem["instance"] == f"urn:eastwall:event:{event}"
        assert problem["status"] == status
        assert problem.keys() == {"type", "title", "status", "detail", "instance", "event_id"}
    return (
        status,
        tuple(problem.get(name, "") for name in ("type", "title", "detail")),
        bool(event),
        headers.get("cache-control", ""),
    )


def refused(running: Running) -> dict[str, dict[str, int]]:
    return dict(running.status()["envoy"].get("refused", {}))


def blocked(running: Running) -> int:
    """Calls of the suite that were recorded as refused."""
    sql = "SELECT count() AS n FROM calls WHERE user_agent = 'suite' AND action = 'block'"
    found = running.api.post("/query", json={"sql": sql}).raise_for_status().json()
    return int(found[0]["n"])


def test_with_and_without_offload_every_call_fares_alike(pair: tuple[Running, Running]) -> None:
    off, on = pair
    for running in pair:
        eventually(lambda running=running: ask(running, "orders", "GET", "/search")[0] == 403)
        eventually(lambda running=running: ask(running, "vault", "GET", "/search")[0] == 403)
    eventually(lambda: {"orders", "vault"} <= refused(on).keys(), what="Envoy refuses by itself")
    calls = [("orders", method, path, {}) for method in METHODS for path in PATHS]
    calls += [("vault", method, path, {}) for method in METHODS for path in ("/", "/orders/1", "//x", "/a%2fb")]
    calls += [("orders", "POST", "/admin/pkg.Service/Call", {"content-type": "application/grpc", "te": "trailers"})]
    json_body = {"content-type": "application/json"}
    for size in (1024, 1025):
        body = b'"' + b"x" * (size - 2) + b'"'
        for method, path in (("POST", "/orders"), ("PUT", "/echo"), ("POST", "//orders")):
            calls += [("intake", method, path, kind, body) for kind in (json_body, {"content-type": "application/json; charset=utf-8"}, {"content-type": "text/plain"})]  # fmt: skip
        calls += [("intake", "POST", "/orders", json_body, [body])]  # in chunks: no length is stated
    before, told = refused(on), []
    for service, method, path, headers, *body in calls:
        call = (service, method, path, {**headers, "user-agent": "suite"}, *body)
        told.append(ask(off, *call))
        assert ask(on, *call) == told[-1], call
    assert {one[0] for one in told} >= {200, 400, 403, 404}
    by_call = {call[:3]: one[0] for call, one in zip(calls, told, strict=True) if len(call) == 4}
    assert (
        by_call["orders", "GET", "/cards"] == by_call["orders", "GET", "/echo"] == by_call["orders", "GET", "/orders/18"] == 200
    )
    problem = ("https://eastwall.dev/problems/access-denied", "Access denied", "Not here: 100 %.")
    assert ask(on, "orders", "GET", "/admin") == (403, problem, True, "no-store")

    def counted() -> int:
        now = refused(on)
        return sum(n - before.get(s, {}).get(p, 0) for s, names in now.items() for p, n in names.items())

    # Who refuses makes no difference to what is recorded.
    stopped = sum(event for _, _, event, _ in told)
    for running in pair:
        eventually(lambda running=running: blocked(running) == stopped, what=f"{blocked(running)} of {stopped} recorded")
    assert counted() >= 40, "Envoy itself refuses what it can"
    assert refused(on)["vault"].keys() == {"vault"}
    assert refused(on)["orders"].keys() == {"no-admin", "old.exports"}
    assert refused(on)["intake"].keys() == {"small"}
    assert refused(off) == {}
    assert "refused by Envoy itself" in on.cli("status").stdout


def test_calls_that_envoy_refuses_are_explained_listed_and_in_the_metrics(pair: tuple[Running, Running]) -> None:
    whys = []
    for running in pair:
        eventually(lambda running=running: ask(running, "orders", "DELETE", "/orders/9")[0] == 403)
        _, problem, _ = asked(running, "orders", "DELETE", "/orders/9?token=secret", {"user-agent": "curl/8"})
        why = eventually(
            lambda running=running, problem=problem: running.api.get(f"/calls/{problem['event_id']}").raise_for_status()
        )
        whys.append(why.json())
        shown = running.cli("why", problem["event_id"])
        assert "no-admin" in shown.stdout, shown
        assert "Not here: 100 %." in shown.stdout
    off, on = whys
    same = (
        "service",
        "method",
        "path",
        "authority",
        "status",
        "source",
        "action",
        "would",
        "user_agent",
        "to_pass",
        "explanation",
    )
    assert [on[name] for name in same if name != "authority"] == [off[name] for name in same if name != "authority"]
    assert on["matches"][0] == off["matches"][0]
    assert (on["engine"], off["engine"]) == ("envoy", "0")
    assert len(on["id"]) == len(off["id"]) == 26
    assert abs(on["time"] - off["time"]) < 60
    running = pair[1]
    eventually(lambda: on["id"] in [call["id"] for call in running.api.get("/live").json()["events"]], what="on the console")
    metrics = httpx.get(running.info["console"].rstrip("/") + "/metrics", headers=running.api.headers, timeout=20).text
    (counted,) = [float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("eastwall_calls_blocked_total ")]
    assert counted >= 2


def test_control_that_was_away_records_what_was_refused_meanwhile_once(pair: tuple[Running, Running]) -> None:
    _, on = pair
    eventually(lambda: ask(on, "orders", "DELETE", "/orders/9")[0] == 403)
    events = []
    for number in range(40):
        if number == 10:
            os.kill(on.pid_of("control_main"), signal.SIGKILL)
        _, problem, _ = asked(on, "orders", "DELETE", f"/orders/{number}")
        events.append(problem["event_id"])
    for event in events:
        eventually(lambda event=event: on.api.get(f"/calls/{event}").status_code == 200, timeout=30, what=event)
    found = on.api.post(
        "/query", json={"sql": "SELECT count() AS n, uniqExact(id) AS ids FROM calls WHERE method = 'DELETE'"}
    ).json()
    assert found[0]["n"] == found[0]["ids"]


def test_what_is_lifted_passes_again_and_what_is_closed_by_a_command_is_closed(
    pair: tuple[Running, Running], tmp_path: Path
) -> None:
    _, on = pair
    assert on.cli("mode", "monitor", "--service", "orders").returncode == 0
    eventually(lambda: ask(on, "orders", "GET", "/search")[0] == 200, timeout=5)
    assert on.cli("mode", "enforce", "--service", "orders").returncode == 0
    eventually(lambda: ask(on, "orders", "GET", "/search")[0] == 403, timeout=5)
    rules = tmp_path / "fewer.yaml"
    rules.write_text(POLICIES.replace(', "GET /search"', ""))
    done = on.cli("policy", "apply", str(rules))
    assert done.returncode == 0, done.stderr
    eventually(lambda: ask(on, "orders", "GET", "/search")[0] == 200, timeout=5)
    assert ask(on, "orders", "GET", "/admin")[0] == 403
