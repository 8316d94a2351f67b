"""Two engines behind one Envoy, as `eastwall up --engines 2` starts them: what one was told, the other judges by; also after kill -9."""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.harness import Running, eventually, free_port

pytestmark = pytest.mark.e2e


class _Orders(BaseHTTPRequestHandler):
    """An orders service that checks nothing: whose an order is only Eastwall can know."""

    protocol_version = "HTTP/1.1"
    numbers = itertools.count(1_000)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _handle(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0) or 0))
        status, body = 200, {"id": self.path.split("/")[2] if self.path.count("/") > 1 else 0, "state": "open"}
        if self.command == "POST" and self.path == "/orders":
            status, body = 201, {"id": next(self.numbers), "state": "open"}
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = _handle  # noqa: N815


def _token(user: str) -> dict[str, str]:
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": user, "roles": ["customer"]}]
    head = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    return {"authorization": f"Bearer {head}.c2lnbmF0dXJl"}


@pytest.fixture(scope="module")
def up(short_dir: Path) -> Iterator[Running]:
    service = ThreadingHTTPServer(("127.0.0.1", 0), _Orders)
    service.daemon_threads = True
    threading.Thread(target=service.serve_forever, daemon=True).start()
    directory = short_dir / "sharing"
    directory.mkdir()
    started = Running(
        directory, "--upstream", f"orders=http://127.0.0.1:{service.server_port}", "--listen", f"127.0.0.1:{free_port()}",
        "--mode", "enforce", "--engines", "2",
    )  # fmt: skip
    yield started
    started.stop()
    service.shutdown()
    service.server_close()


@pytest.fixture(scope="module")
def client(up: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=up.address("orders"), timeout=30) as found:
        for n in range(120):
            user = _token(f"user-{n % 10}")
            order = found.post("/orders", json={"note": "x"}, headers=user).json()["id"]
            for action in ("confirm", "pay"):
                assert found.post(f"/orders/{order}/{action}", json={}, headers=user).status_code == 200
            assert found.get(f"/orders/{order}", headers=user).status_code == 200
        eventually(
            lambda: any(o["exclusive"] for a in up.api.get("/apis").json() for o in _detail(up, a["id"])["objects"]),
            30,
            "orders belong to one user each",
        )
        version = up.status()["snapshot"]["version"]
        eventually(lambda: all(e["snapshot"] >= version for e in up.status()["engines"]), 30, "both engines know")
        yield found


def _detail(up: Running, endpoint: str) -> dict[str, Any]:
    return dict(up.api.get(f"/apis/{endpoint}").raise_for_status().json())


def _sharing(up: Running) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((up.data / "run").glob("sharing-*.json"))]


def _told(up: Running) -> None:
    """Wait until each engine has told, and then heard, what was learned up to now: two of its reports, which follow a tick."""
    for _ in range(2):
        now = time.time()
        reports = list((up.data / "run").glob("sharing-*.json"))
        eventually(
            lambda since=now, all_=reports: all(path.stat().st_mtime > since for path in all_), 30, "a report of each engine"
        )


def _foreign(client: httpx.Client, order: int, names: str) -> list[int]:
    """Answers to a dozen strangers, whose credentials lead them to either engine."""
    return [client.get(f"/orders/{order}", headers=_token(f"{names}-{n}")).status_code for n in range(12)]


def test_an_object_given_by_one_engine_is_foreign_at_both(up: Running, client: httpx.Client) -> None:
    for turn in range(2):
        owner = _token(f"owner-{turn}")
        order = client.post("/orders", json={"note": "x"}, headers=owner).json()["id"]
        _told(up)
        assert _foreign(client, order, f"stranger-{turn}") == [403] * 12
        assert client.get(f"/orders/{order}", headers=owner).status_code == 200
    assert all(engine["calls"] > 20 for engine in up.status()["engines"] if engine["name"] in "01"), "both engines judged"
    assert all(one["heard"] and not one["fault"] for one in _sharing(up))


def test_flows_of_many_callers_are_in_order(client: httpx.Client) -> None:
    for n in range(60):
        maker, payer = _token(f"team-{n % 7}"), _token(f"team-{n % 7}")
        order = client.post("/orders", json={"note": "x"}, headers=maker).json()["id"]
        assert client.post(f"/orders/{order}/confirm", json={}, headers=payer).status_code == 200
        assert client.post(f"/orders/{order}/pay", json={}, headers=maker).status_code == 200


def test_kill_9_of_either_engine_loses_neither_calls_nor_grants(up: Running, client: httpx.Client) -> None:
    stop, failed = threading.Event(), []

    def load() -> None:
        with httpx.Client(base_url=up.address("orders"), timeout=30) as mine:
            for n in itertools.count():
                if stop.is_set():
                    return
                status = mine.post("/orders", json={"note": "x"}, headers=_token(f"load-{n % 5}")).status_code
                if status != 201:
                    failed.append(status)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    owner = _token("victim")
    order = client.post("/orders", json={"note": "x"}, headers=owner).json()["id"]
    _told(up)
    for name in ("0", "1"):
        pid = up.pid_of(f"engine_main --data {up.data} --name {name}")
        os.kill(pid, signal.SIGKILL)  # while it writes
        eventually(
            lambda old=pid, mine=name: any(e["pid"] != old and e["name"] == mine for e in up.status()["engines"]),
            30,
            "started again",
        )
        _told(up)
    stop.set()
    thread.join(30)
    assert failed == [], "every call had its answer"
    assert _foreign(client, order, "late") == [403] * 12, "each engine has heard its past again"
    assert client.get(f"/orders/{order}", headers=owner).status_code == 200
