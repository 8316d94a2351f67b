"""What `decide` alone costs, warm, against libmodsecurity + CRS in process on the same call: request and response, both bodies."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from bench import modsecurity
from eastwall import detections
from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.decide import decide
from eastwall.decision.state import LiveState
from eastwall.detections.prefilter import Prefilter
from eastwall.discovery.inventory import endpoint_id
from eastwall.model.call import BodyState, Call, Mode, Peer, Request, Response
from eastwall.model.endpoint import Endpoint, ObjectParameter, Parameter
from eastwall.model.snapshot import SNAPSHOT_FORMAT, ServiceScope, Snapshot

SIZES = {"0.5": 500, "4": 4_000, "64": 64_000}
HEADERS = {
    "user-agent": "bench/1.0",
    "accept": "application/json",
    "content-type": "application/json",
    "authorization": "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsInJvbGVzIjpbImN1c3RvbWVyIl19.c2lnbmF0dXJl",
}


def bodies(size: int) -> tuple[bytes, bytes]:
    """An order as JSON of about `size` bytes, and the answer, about twice that (at most 64 KB)."""
    items: list[dict[str, Any]] = []
    order = {
        "customer": "c-20417",
        "currency": "EUR",
        "express": False,
        "note": "Please ring twice; leave it with O'Brien at no. 5",
        "items": items,
    }
    while len(json.dumps(order)) < size - 40:
        items.append(
            {
                "sku": f"AX-{len(items):04d}-B",
                "quantity": 1 + len(items) % 3,
                "price": 19.95 + len(items),
                "gift": len(items) % 2 == 0,
            }
        )
    order["reference"] = "r" * max(0, size + 7 - len(json.dumps({**order, "reference": ""})))
    answer = {**order, "id": 917, "status": "accepted", "created": "2026-03-01T12:00:00Z"}
    answer["history"] = [
        {"at": f"2026-03-01T12:00:{n:02d}Z", "event": "item checked", "line": n} for n in range(min(500, max(1, size // 75)))
    ]
    return json.dumps(order).encode(), json.dumps(answer).encode()


def snapshot() -> Snapshot:
    """200 learned endpoints; the bench's own among them, learned from the call it gets."""
    endpoints = []
    for n in range(100):
        for method, template in (("GET", f"/resource-{n}/{{id}}"), ("POST", f"/resource-{n}")):
            endpoints.append(_endpoint(method, template))
    endpoints.append(_endpoint("POST", "/orders"))
    scope = ServiceScope(name="orders", mode=Mode.ENFORCE)
    return Snapshot(
        format=SNAPSHOT_FORMAT, version=1, created=0.0, hash_key=b"k" * 32, services=(scope,), endpoints=tuple(endpoints)
    )


def _endpoint(method: str, template: str) -> Endpoint:
    parameters = (Parameter("id", "integer"),) if "{" in template else ()
    objects = (ObjectParameter("path.id", template.split("/")[1], True, 0.99),) if parameters else ()
    places = (
        "customer",
        "currency",
        "express",
        "note",
        "items",
        "items[].sku",
        "items[].quantity",
        "items[].price",
        "items[].gift",
        "reference",
    )
    return Endpoint(
        id=endpoint_id("orders", method, template),
        service="orders",
        method=method,
        template=template,
        parameters=parameters,
        status="learned",
        calls=10_000,
        properties=(("*", places), ("user+customer", places)),
        property_calls=(("*", 10_000), ("user+customer", 10_000)),
        objects=objects,
        sample_every=32,
    )


def call(body: bytes, number: int) -> Call:
    headers = {**HEADERS, "content-length": str(len(body))}
    request = Request(
        method="POST", path="/orders", headers=headers, authority="orders", body=body, body_state=BodyState.COMPLETE
    )
    return Call(
        id=f"{number:026d}",
        service="orders",
        time=1_800_000_000.0 + number / 1000,
        peer=Peer(address="127.0.0.1"),
        request=request,
    )


def decide_times(size: int, calls: int) -> list[float]:
    """Seconds of `decide` on request and response together, per call, after a warm-up."""
    from msgspec.structs import replace

    detectors = detections.load()
    live, state = LiveSnapshot(snapshot(), detectors, Prefilter(detectors)), LiveState()
    body, answer = bodies(size)
    response = Response(status=200, headers={"content-type": "application/json"}, body=answer, body_state=BodyState.COMPLETE)
    spent = []
    for number in range(calls + calls // 5):
        one = call(body, number)
        begin = time.perf_counter()
        first = decide(one, live, state)
        decide(replace(one, response=response, prior=first), live, state)
        spent.append(time.perf_counter() - begin)
    if first.verdict.action != "allow" or first.findings:
        raise SystemExit(f"the bench's own call is not judged clean: {first.verdict} {first.findings}")
    return spent[calls // 5 :]


def measure() -> dict[str, Any]:
    """Medians, us per call, by body size."""
    figures: dict[str, Any] = {}
    problem = modsecurity.missing()
    with tempfile.TemporaryDirectory() as directory:
        peer = None if problem else modsecurity.ModSecurity(Path(directory))
        for name, size in SIZES.items():
            calls = 2_000 if size < 10_000 else 200
            figures[f"decide_us_{name}"] = statistics.median(decide_times(size, calls)) * 1e6
            if peer is None:
                continue
            body, answer = bodies(size)
            headers = [
                (k.encode(), v.encode()) for k, v in {"host": "orders", **HEADERS, "content-length": str(len(body))}.items()
            ]
            times = peer.time(40 if size < 10_000 else 5, b"POST", b"/orders", headers, body, answer)
            figures[f"modsecurity_us_{name}"] = statistics.median(times) * 1e6
            figures[f"times_cheaper_{name}"] = figures[f"modsecurity_us_{name}"] / figures[f"decide_us_{name}"]
    if problem:
        figures["modsecurity"] = problem
    return figures


def table(figures: dict[str, Any]) -> Table:
    shown = Table("one call in process, request + response", "decide us", "libmodsecurity + CRS PL1 us", "times", box=None)
    for name in SIZES:
        peer, times = figures.get(f"modsecurity_us_{name}"), figures.get(f"times_cheaper_{name}")
        shown.add_row(
            f"{name} KB body",
            f"{figures[f'decide_us_{name}']:,.0f}",
            f"{peer:,.0f}" if peer else "-",
            f"{times:,.0f}" if times else "-",
        )
    return shown


if __name__ == "__main__":
    from rich.console import Console

    Console(width=120).print(table(measure()))
