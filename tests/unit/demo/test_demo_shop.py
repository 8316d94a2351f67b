"""The shop alone, without Eastwall: honest people are served, and every attack step works (else the demo would prove nothing)."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate

from eastwall.runtime.demo import attacker, shop, traffic
from eastwall.runtime.demo.catalog import CUSTOMERS, EVERYBODY, MALLORY, SERVICES, SUPPORT
from eastwall.runtime.demo.client import CallResult, Client, Targets


class Shop:
    """Three processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[subprocess.Popen[bytes]] = []
        urls: dict[str, str] = {}
        for name in ("billing", "orders", "storefront"):
            upstreams = [f"--upstream={other}={url}" for other, url in urls.items()]
            port_file = directory / f"{name}.port"
            self.processes.append(self.start(name, "--port", "0", "--port-file", str(port_file), *upstreams))
            urls[name] = f"http://127.0.0.1:{wait_for(port_file)}"
        self.targets = Targets(**urls)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "eastwall.runtime.demo.shop", *arguments, "--state", str(self.directory / "state")]
        return subprocess.Popen(command, stderr=subprocess.PIPE)

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            assert process.wait(10) == 0
            assert process.stderr is not None
            process.stderr.close()


def wait_for(port_file: Path) -> str:
    until = time.monotonic() + 30
    while not port_file.exists():
        assert time.monotonic() < until, "the service did not start"
        time.sleep(0.02)
    return port_file.read_text().strip()


@pytest.fixture(scope="module")
def running() -> Iterator[Shop]:
    directory = Path(tempfile.mkdtemp(prefix="ew"))
    started = Shop(directory)
    try:
        yield started
    finally:
        started.stop()
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def day(running: Shop) -> list[CallResult]:
    """Four rounds of ordinary traffic."""
    calls: list[CallResult] = []
    summary = traffic.run(running.targets, calls.append, seed=7, rounds=4)
    assert summary.sent == len(calls)
    return calls


def test_honest_people_are_served(day: list[CallResult]) -> None:
    assert [(call.method, call.path, call.status, call.body[:100]) for call in day if not call.ok] == []
    assert all(call.label == "legit" and not call.blocked for call in day)
    statuses = {call.status for call in day}
    assert statuses <= {200, 201, 204, 401}
    assert {call.path for call in day if call.status == 401} == {"/login"}
    assert 1 <= sum(call.status == 401 for call in day) <= 24


def test_every_real_operation_is_used_with_many_values(day: list[CallResult]) -> None:
    """Nobody can discover what is never called."""
    for name in SERVICES:
        for method, template in shop.expected_templates(name):
            steps = template.split("/")
            paths = {
                call.path.partition("?")[0]
                for call in day
                if call.service == name
                and call.method == method
                and len(call.path.partition("?")[0].split("/")) == len(steps)
                and all(s == p or s.startswith("{") for s, p in zip(steps, call.path.partition("?")[0].split("/"), strict=True))
            }
            # Two are called by the services only.
            if (name, method, template) not in {("orders", "POST", "/orders"), ("billing", "POST", "/payments")}:
                assert paths, f"{name}: {method} {template}"
                assert "{" not in template or len(paths) >= 4, f"{name}: {method} {template} has {len(paths)} values"


def test_text_that_looks_like_code_is_ordinary(day: list[CallResult]) -> None:
    searches = {call.path for call in day if call.path.startswith("/products/search")}
    assert len(searches) > 10
    assert any("%27" in path for path in searches)
    assert any("select" in path for path in searches)
    boots = next(call for call in day if call.path.endswith("q=O%27Neill"))
    assert boots.json["products"][0]["name"] == "O'Neill hiking boots"


def test_every_attack_step_works_on_the_unprotected_shop(running: Shop, day: list[CallResult]) -> None:
    calls: list[CallResult] = []
    steps: list[attacker.StepResult] = []
    results = attacker.run(running.targets, calls.append, seed=3, on_step=steps.append)
    assert results == steps
    assert [(step.name, step.succeeded) for step in results] == [(name, True) for name in attacker.STEPS]
    assert all(step.loot and step.blocked == 0 for step in results)
    assert {call.label for call in calls} == {"legit", "attack"}
    assert all(call.ok for call in calls if call.label == "legit")
    assert sum(step.sent for step in results) == sum(call.label == "attack" for call in calls)
    loot = {step.name: step.loot for step in results}
    assert "other people" in loot["bola"]
    assert loot["mass-assignment"] == "credit and role admin and role support"
    assert "other people" in loot["list-of-another"]
    assert loot["support-function"] == "credit of 150"
    assert loot["unpaid-delivery"] == "goods that nobody paid for"
    assert loot["coupon-again"] == "one coupon 11 times"
    assert loot["negative-order"] == "an order of -990.00 and an order of -49.50"
    assert loot["sql-injection"] == "hidden products, password digests, the schema"
    assert loot["command-injection"] == "the signing key of billing and a shell"
    assert not any(person.card in step.loot for step in results for person in EVERYBODY)


def test_the_same_seed_gives_the_same_calls(running: Shop) -> None:
    def shape(seed: int) -> list[tuple[str, str, str]]:
        seen: list[tuple[str, str, str]] = []

        def note(call: CallResult) -> None:
            path = "/".join("#" if any(c.isdigit() for c in part) else part for part in call.path.split("/"))
            seen.append((call.step, call.method, path.partition("?")[0]))

        traffic.run(running.targets, note, seed=seed, rounds=1, first_round=40, workers=1)
        return seen

    # What a person does after an order depends on the orders so far, so only the part before is the same for sure.
    first, again, other = (
        [entry for entry in shape(seed) if entry[0] in ("sign in", "browse", "search", "profile")] for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


def test_traffic_stops_when_told(running: Shop) -> None:
    stop = threading.Event()
    counted: list[CallResult] = []

    def note(call: CallResult) -> None:
        counted.append(call)
        if len(counted) == 50:
            stop.set()

    begun = time.monotonic()
    traffic.run(running.targets, note, rounds=None, stop=stop, pause=0.001)
    assert 50 <= len(counted) < 70
    assert time.monotonic() - begun < 10


def test_a_service_that_is_gone_is_a_result_and_no_exception() -> None:
    client = Client(Targets("http://127.0.0.1:9", "http://127.0.0.1:9", "http://127.0.0.1:9"), label="legit")
    result = client.call("x", "orders", "GET", "/")
    assert (result.status, result.ok, result.blocked) == (0, False, False)
    assert "Refused" in result.error


def signed_in(running: Shop, person: Any) -> Client:
    client = Client(running.targets, label="legit")
    answer = client.call("x", "storefront", "POST", "/login", {"email": person.email, "password": person.password})
    client.token = answer.json["access_token"]
    return client


def test_what_is_not_a_hole_is_closed(running: Shop) -> None:
    """Else an attack step would prove something other than it says."""
    nobody, customer, support = (
        Client(running.targets, label="legit"),
        signed_in(running, CUSTOMERS[5]),
        signed_in(running, SUPPORT[0]),
    )
    other = CUSTOMERS[0].id
    for client, status in ((nobody, 401), (customer, 403)):
        for service, path in (
            ("storefront", f"/users/{other}"),
            ("storefront", "/users?email=x"),
            ("billing", f"/customers/{other}/cards"),
        ):
            assert client.call("x", service, "GET", path).status == status
        assert client.call("x", "storefront", "PATCH", f"/users/{other}", {"role": "admin"}).status == status
    assert support.call("x", "storefront", "GET", f"/users/{other}").status == 200
    nobody.token = customer.token[:-6] + "AAAAAA"
    assert nobody.call("x", "orders", "GET", "/orders").status == 401
    assert nobody.call("x", "orders", "GET", "/nothing").status == 404
    assert customer.call("x", "orders", "DELETE", "/orders/1").status == 405


@pytest.mark.parametrize(
    "climb",
    [
        "../../jwks.json",
        "../../signing-key.json",
        "../../../../../../etc/passwd",
        "/etc/passwd",
        "../exports/../../jwks.json",
        "..",
        "a\0b",
    ],
)
def test_the_holes_end_at_the_sandbox(running: Shop, climb: str) -> None:
    client = signed_in(running, MALLORY)
    exported = client.call("x", "billing", "GET", "/invoices/export?file=" + "".join(f"%{b:02x}" for b in climb.encode()))
    assert exported.status in (404, 500)
    report = client.call("x", "billing", "POST", "/reports", {"name": f"a; cat exports/../{climb}"})
    assert b"root:" not in report.body
    assert b'"kty"' not in report.body


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b"[" * 5000, b'{"email":{"a":1},"password":null}'])
def test_bad_bodies_are_the_callers_fault(running: Shop, body: bytes) -> None:
    connection = http.client.HTTPConnection(running.targets.storefront.removeprefix("http://"), timeout=10)
    connection.request("POST", "/login", body)
    assert connection.getresponse().status in (400, 401)
    connection.close()


def test_chunked_bodies_are_read(running: Shop) -> None:
    person = CUSTOMERS[1]
    body = json.dumps({"email": person.email, "password": person.password}).encode()
    connection = http.client.HTTPConnection(running.targets.storefront.removeprefix("http://"), timeout=10)
    connection.request(
        "POST", "/login", iter([body[:10], body[10:]]), encode_chunked=True, headers={"transfer-encoding": "chunked"}
    )
    assert connection.getresponse().status == 200
    connection.close()


def test_openapi_files_are_valid_and_wrong_only_where_they_shall_be(day: list[CallResult]) -> None:
    for name in SERVICES:
        document = yaml.safe_load(shop.openapi(name))
        validate(document)
        declared = sorted(
            (method.upper(), path) for path, item in document["paths"].items() for method in item if method != "parameters"
        )
        assert declared == sorted([*shop.declared_templates(name), *shop.GHOSTS.get(name, ())])
        used = {
            (call.method, call.path.partition("?")[0], pair.partition("=")[0])
            for call in day
            if call.service == name and "?" in call.path
            for pair in call.path.partition("?")[2].split("&")
        }
        undeclared = {
            (path, query)
            for method, path, query in used
            if path in document["paths"]
            and query not in {parameter["name"] for parameter in document["paths"][path][method.lower()].get("parameters", [])}
        }
        assert undeclared == ({("/orders", "status")} if name == "orders" else set())
    assert set(shop.expected_templates("orders")) - set(shop.declared_templates("orders")) == {
        ("GET", "/orders/{order_id}/tracking")
    }


def test_a_taken_port_is_one_clear_line(running: Shop) -> None:
    port = running.targets.orders.rpartition(":")[2]
    process = running.start("orders", "--port", port)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.decode().count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{port}" in errors.decode()


def test_a_service_ends_with_whoever_started_it(running: Shop) -> None:
    port_file = running.directory / "orphan.port"
    code = (
        "import subprocess,sys,time,pathlib\n"
        "p=subprocess.Popen([sys.executable,'-m','eastwall.runtime.demo.shop','orders',\n"
        f"'--state',{str(running.directory / 'state')!r},'--port-file',{str(port_file)!r}])\n"
        f"while not pathlib.Path({str(port_file)!r}).exists(): time.sleep(0.02)\n"
        "print(p.pid, flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=True)
    pid = int(done.stdout)
    until = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and _state(pid) != "Z":
        assert time.monotonic() < until, "the service is still there"
        time.sleep(0.05)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
