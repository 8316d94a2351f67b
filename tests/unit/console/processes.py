"""Records to seed with, and control processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from msgspec.structs import replace

from eastwall.model.call import Mode
from eastwall.model.decision import PolicyMatch
from eastwall.model.event_id import event_id
from eastwall.model.facts import DataHit, Field
from eastwall.model.finding import Finding
from eastwall.model.record import CallRecord
from eastwall.stores.spool import SpoolWriter

HOSTILE_PATH = "/orders/<img src=x onerror=window.pwned=1>\"'><script>window.pwned=1</script>"
HOSTILE_ACTOR = "user:<b onmouseover=window.pwned=1>eve</b>"


def call(number: int, **changes) -> CallRecord:
    """An ordinary call; `number` counts back in tenths of a second from now."""
    at = time.time() - 1 - number / 10
    plain = CallRecord(
        version=1,
        id=event_id(at, os.urandom(10)),
        time=at,
        service="orders" if number % 2 else "billing",
        method="GET",
        path=f"/orders/{number}" if number % 2 else f"/invoices/{number}",
        authority="orders.local",
        status=200,
        request_bytes=100,
        response_bytes=900,
        duration_us=2_000,
        source="10.0.0.7",
        actor=f"user:u{number % 7}",
        actor_kind="user",
        actor_class="user",
        strength=3,
        snapshot=1,
        engine="0",
    )
    return replace(plain, **changes)


def attack(**changes) -> CallRecord:
    """A call that was blocked, with values in it that would run as script if a page took them for markup."""
    finding = Finding(
        "sql-injection",
        "critical",
        "high",
        ("A03:2021",),
        "query.q",
        "the value closes <i>a string</i>",
        "<script>window.pwned=1</script>",
    )
    match = PolicyMatch(
        "orders-guard",
        "DetectionPolicy",
        "policies/orders.yaml:14",
        Mode.ENFORCE,
        "block",
        "sql-injection at query.q",
        "sql-injection",
        "send q without SQL",
    )
    changes = {"findings": (finding,), "matches": (match,), "action": "block", "would": "block", "status": 403} | changes
    return call(
        1,
        path=HOSTILE_PATH,
        actor=HOSTILE_ACTOR,
        user_agent="<svg onload=window.pwned=1>",
        uninspected=("request-body-truncated",),
        **changes,
    )


def write(data: Path, records, engine: str = "0") -> None:
    writer = SpoolWriter(data / "spool", engine)
    for record in records:
        writer.append(record)
    writer.close()


class Process:
    """A control process of its own."""

    def __init__(self, data: Path, *options: str, within: tuple[str, ...] = ()) -> None:
        """`within`: a command that runs the one that follows it."""
        self.data = data
        self.log = data / "control.log"
        self.control_file = data / "run" / "control.json"
        self.control_file.unlink(missing_ok=True)
        command = [
            *within,
            sys.executable,
            "-m",
            "eastwall.runtime.control_main",
            "--data",
            str(data),
            "--console",
            "127.0.0.1:0",
            *options,
        ]
        path = os.pathsep.join(p for p in sys.path if p)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": path})

    def ready(self) -> Process:
        deadline = time.monotonic() + 60
        while not self.control_file.exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        self.url = json.loads(self.control_file.read_text())["url"]
        self.token = (self.data / "secrets" / "token").read_text()
        return self

    def send(self, method: str, path: str, body=None, **headers):
        """(status, headers, parsed body); with the token unless `authorization` is given."""
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"} | headers
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {k: v for k, v in headers.items() if v}, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
                content = answer.read()
                return (
                    answer.status,
                    answer.headers,
                    json.loads(content) if "json" in answer.headers["content-type"] or "" else content,
                )
        except urllib.error.HTTPError as error:
            return error.code, error.headers, json.loads(error.read() or b"null")

    def until(self, path: str, good, seconds: float = 30):
        """The answer to GET `path` as soon as `good(answer)`."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self.send("GET", path)[2]
            if good(answer):
                return answer
            assert time.monotonic() < deadline, answer
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(40)


MARKUP = "<img src=x onerror=window.pwned=1>"
SCRIPT = "<script>window.pwned=1</script>"
EXPOSED = """apiVersion: eastwall.dev/v1alpha1
kind: Service
metadata: {name: orders}
spec: {exposure: internet, owner: "<b onmouseover=window.pwned=1>team</b>"}
"""


def discovered() -> list[CallRecord]:
    """Calls of which every view has something to show, with values in them that would run as script if a page took them for markup:
    data classes, an agent, traces from service to service, GraphQL operations, a third party."""
    pan = DataHit("pan", f"cards[].{MARKUP}", "4111********1111", "response")
    email = DataHit("email", "by", "a***@e***", "request")
    card, sender = Field(f"cards[].{MARKUP}", "string", data_class="pan", length=16), Field("by", "string", "email", "email", 9)
    records = []
    for n in range(60):
        trace, span = f"{n + 1:032x}", f"{n + 1:016x}"
        records += [
            call(2 * n + 1, trace=trace, span=span, data=(pan,), sampled=True, response_kind="json", response_fields=(card,)),
            call(
                2 * n,
                path="/invoices",
                trace=trace,
                parent=span,
                data=(email,),
                sampled=True,
                body_kind="json",
                request_fields=(sender,),
                caller="orders",
            ),
        ]
    for n in range(20):
        records += [
            call(2 * n + 1, path=f"/{MARKUP}/status", actor=HOSTILE_ACTOR, actor_class=f"user+{SCRIPT}"),
            call(n, service="shop", path="/graphql", method="POST", protocol="graphql", operation=f"query {MARKUP}", selection=(f"cart.{SCRIPT}",)),
            call(n, service="shop", path="/graphql", method="POST", protocol="graphql", operation="mutation pay"),
            call(n, service=f"pay.{MARKUP}.example", path="/charge", method="POST", egress=True, caller="orders",
                 data=(replace(pan, direction="request"),), sampled=True,
                 body_kind="json", request_fields=(card,)),
            call(
                2 * n + 1, path="/orders/7", actor=f"agent:{MARKUP}", actor_kind="agent", actor_class="agent:shopper", strength=2,
                agent=f"agent:{MARKUP}", user_agent=SCRIPT,
            ),
        ]  # fmt: skip
    return sorted(records, key=lambda record: record.time)
