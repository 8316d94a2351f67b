"""Native offload: Envoy refuses by itself what the engine would refuse, and nothing else; every refusal is counted."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

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
"""
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
        ways = [f"--upstream={service}={upstream.url}@{free_port()}" for service in ("orders", "vault")]
        both.append(Running(directory, *ways, "--mode", "enforce", "--adapter", adapter, "--policy", str(rules), *more))
    yield both[0], both[1]
    assert [running.stop() for running in both] == [0, 0]


def ask(running: Running, service: str, method: str, target: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and `type` of the problem. The target goes out as it stands: clients of a higher level would tidy it up."""
    connection = http.client.HTTPConnection(urlsplit(running.address(service)).netloc, timeout=20)
    try:
        connection.request(method, target, headers=headers or {})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    problem = json.loads(body) if answer.getheader("content-type") == "application/problem+json" and body else {}
    return answer.status, f"{problem.get('type', '')} {problem.get('title', '')} {problem.get('detail', '')}"


def refused(running: Running) -> dict[str, dict[str, int]]:
    return dict(running.status()["envoy"].get("refused", {}))


def test_with_and_without_offload_every_call_fares_alike(pair: tuple[Running, Running]) -> None:
    off, on = pair
    for running in pair:
        eventually(lambda running=running: ask(running, "orders", "GET", "/search")[0] == 403)
        eventually(lambda running=running: ask(running, "vault", "GET", "/search")[0] == 403)
    eventually(lambda: {"orders", "vault"} <= refused(on).keys(), what="Envoy refuses by itself")
    calls = [("orders", method, path, {}) for method in METHODS for path in PATHS]
    calls += [("vault", method, path, {}) for method in METHODS for path in ("/", "/orders/1", "//x", "/a%2fb")]
    calls += [("orders", "POST", "/admin/pkg.Service/Call", {"content-type": "application/grpc", "te": "trailers"})]
    before, told = refused(on), {}
    for call in calls:
        told[call[:3]] = ask(off, *call)
        assert ask(on, *call) == told[call[:3]], call
    assert {status for status, _ in told.values()} >= {200, 403, 404}
    assert (
        told["orders", "GET", "/cards"][0] == told["orders", "GET", "/echo"][0] == told["orders", "GET", "/orders/18"][0] == 200
    )
    assert told["orders", "GET", "/admin"] == (403, "https://eastwall.dev/problems/access-denied Access denied Not here: 100 %.")

    def counted() -> int:
        now = refused(on)
        return sum(n - before.get(s, {}).get(p, 0) for s, names in now.items() for p, n in names.items())

    stopped = sum(status == 403 for status, _ in told.values())
    # What is refused is counted by Envoy or recorded by an engine, one of the two.
    eventually(lambda: on.status()["lake"]["blocked"] and off.status()["lake"]["blocked"] >= stopped)
    eventually(
        lambda: counted() + on.status()["lake"]["blocked"] >= stopped,
        what=f"{counted()} counted, {on.status()['lake']}, {stopped}",
    )
    assert counted() >= 40, "Envoy itself refuses what it can"
    assert refused(on)["vault"].keys() == {"vault"}
    assert refused(on)["orders"].keys() == {"no-admin", "old.exports"}
    assert refused(off) == {}
    assert "refused by Envoy itself" in on.cli("status").stdout


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
