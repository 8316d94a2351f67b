"""What discovery costs: inline per call of a known endpoint, offline per recorded call, and in memory under a scanner.

Part of `make bench-discovery`; alone: `python -m bench.discovery_cost`.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.decide_cost import HEADERS, bodies, snapshot
from bench.in_memory import Kept, Published
from eastwall import detections
from eastwall.decision.compile import LiveSnapshot
from eastwall.detections.prefilter import Prefilter
from eastwall.discovery.echo import Echoes, identifying
from eastwall.discovery.identity import resolve
from eastwall.discovery.inventory import identify
from eastwall.discovery.shapes import shape
from eastwall.learning.learner import Learner
from eastwall.model.call import BodyState, Call, Completion, Peer, Request, Response
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import SNAPSHOT_FORMAT, Snapshot
from eastwall.protocols import decode, rest
from eastwall.runtime.engine import Engine
from eastwall.runtime.importing import search_cycles_seldom

OFFLINE = 100_000
RECORDS = 20_000
SCANNED = 1_000_000
SETTLED = 32
"""The shape of one call in so many is sent of an endpoint that has settled."""


def run() -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Prints the table; figures and targets."""
    inline = inline_us()
    offline = offline_seconds()
    fold = fold_rate()
    scan = scanned_mb()
    figures = {**{f"inline_{name}_us": value for name, value in inline.items()}, "offline_100k_s": offline, "fold_per_s": fold,
               "scan_1m_paths_mb": scan}  # fmt: skip
    for name, value in inline.items():
        print(f"inline, {name:<28} {value:8.2f} us a call")
    print(f"offline, 100,000 calls             {offline:8.2f} s of one core (decide, record, fold)")
    print(f"learning alone                     {fold:8.0f} records a second and core")
    print(f"1,000,000 distinct random paths    {scan:8.0f} MB resident, whole process")
    targets = [
        {"name": "inline, discovery in all, us", "target": 5.0, "value": inline["in_all"], "met": inline["in_all"] <= 5.0},
        {"name": "offline, 100,000 calls, s", "target": 10.0, "value": offline, "met": offline <= 10.0},
        {"name": "1,000,000 distinct paths, MB", "target": 300.0, "value": scan, "met": scan <= 300.0},
    ]
    return figures, targets


def best(work: Callable[[], object], calls: int, rounds: int = 15) -> float:
    """Microseconds a call: the median of several rounds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        times.append((time.perf_counter() - start) / calls * 1e6)
    return statistics.median(times)


def inline_us() -> dict[str, float]:
    """Each part of discovery on a call of a known, settled endpoint with bodies of 0.5 and 1 KB, and their sum."""
    detectors = detections.load()
    live = LiveSnapshot(snapshot(), detectors, Prefilter(detectors))
    body, answered = bodies(500)
    request = Request("POST", "/orders?full=1", dict(HEADERS), authority="orders", body=body, body_state=BodyState.COMPLETE)
    response = Response(201, {"content-type": "application/json"}, answered, BodyState.COMPLETE)
    call = Call(id="0" * 26, service="orders", time=1e9, peer=Peer("10.0.0.1", 4711), request=request)
    asked = decode.decode_request(request, live.limits)
    got = decode.decode_response(response, request, live.limits, asked)
    echoes = Echoes()
    protocol = best(lambda: decode.decode_request(request, live.limits), 2_000) - best(
        lambda: rest.decode_request(request, live.limits), 2_000
    )
    protocol += best(lambda: decode.decode_response(response, request, live.limits, asked), 2_000)
    protocol -= best(lambda: rest.decode_response(response, request, live.limits), 2_000)
    found = {
        "protocol": max(0.0, protocol),
        "endpoint": best(lambda: identify("orders", asked, live.inventory), 10_000),
        "identity": best(lambda: resolve(call, live.trust), 10_000),
        "schema_sample": best(lambda: (shape(asked, ()), shape(got, ()), echoes.add(identifying(got.body))), 500) / SETTLED,
    }
    return {name: round(value, 3) for name, value in found.items()} | {"in_all": round(sum(found.values()), 3)}


def shop(count: int, seed: int = 0) -> Iterator[tuple[Call, Response]]:
    """Calls of a shop: 40 operations over 8 collections, JSON bodies, 200 users, reused ids."""
    rng = random.Random(seed)
    collections = [f"things{n}" for n in range(8)]
    for number in range(count):
        name = rng.choice(collections)
        item = int(rng.paretovariate(0.8)) % 50_000
        user = rng.randrange(200)
        method, path, body = rng.choice(
            (
                ("GET", f"/v1/{name}", b""),
                ("GET", f"/v1/{name}/{item}", b""),
                ("GET", f"/v1/{name}/{item}/parts", b""),
                ("POST", f"/v1/{name}", json.dumps({"name": f"n{item}", "quantity": item % 7, "price": 9.5}).encode()),
                ("PUT", f"/v1/{name}/{item}/parts/{item % 91}", b'{"note":"new","active":true}'),
            )
        )
        headers = {"content-type": "application/json", "x-api-key": f"key-{user}", "user-agent": "bench/1.0"}
        state = BodyState.COMPLETE if body else BodyState.NONE
        answer = {
            "id": item,
            "name": f"n{item}",
            "owner": {"id": user, "email": f"u{user}@example.com"},
            "created": "2026-03-01T12:00:00Z",
        }
        data = json.dumps({"items": [answer] * 3, "total": 3} if path.endswith(name) and method == "GET" else answer).encode()
        request = Request(method, path, headers, authority="shop", body=body, body_state=state)
        call = Call(id=f"{number:026d}", service="shop", time=1e9 + number / 100, peer=Peer(f"10.0.0.{user}", 1), request=request)
        yield call, Response(200, {"content-type": "application/json"}, data, BodyState.COMPLETE)


def judge(engine: Engine, call: Call, response: Response) -> None:
    """One call from its request to its record."""
    engine.request(call)
    engine.response(call.id, response)
    method, path = call.request.method, call.request.path
    engine.completed(Completion(call.id, call.service, call.time, method, path, "shop", 200, 100, 300, 900, call.peer.address))


def offline_seconds() -> float:
    """CPU seconds that 100,000 recorded calls with bodies take, from bytes to learned state."""
    calls = list(shop(OFFLINE))
    kept = Kept()
    store = Published()
    engine = Engine("bench", store, kept)
    learner = Learner(bytes(32))
    search_cycles_seldom()  # as an import does
    start = time.process_time()
    for at in range(0, len(calls), 5_000):
        for call, response in calls[at : at + 5_000]:
            judge(engine, call, response)
        learner.fold(kept.records)
        kept.records.clear()
        # As control does while a recording is imported: what was learned so far is known to the engine from here on.
        endpoints = learner.endpoints()
        store.publish(Snapshot(format=SNAPSHOT_FORMAT, version=at + 1, created=0.0, hash_key=bytes(32), endpoints=endpoints))
        engine.load()
    return round((time.process_time() - start) * 100_000 / OFFLINE, 2)


def fold_rate() -> float:
    """Records a second that one core folds."""
    kept = Kept()
    engine = Engine("bench", Published(), kept)
    for call, response in shop(RECORDS, seed=1):
        judge(engine, call, response)
    learner = Learner(bytes(32))
    start = time.process_time()
    learner.fold(kept.records)
    return round(RECORDS / (time.process_time() - start), 0)


def scanned_mb() -> float:
    """Resident memory of a process of its own that has learned from a million distinct paths, megabytes."""
    done = subprocess.run([sys.executable, "-m", "bench.discovery_cost", "--scan"], capture_output=True, text=True, check=True)
    return float(done.stdout)


def scan() -> None:
    """A scanner asks for a million paths that nobody ever asks for again, some of them answered 200."""
    rng = random.Random(0)
    learner = Learner(bytes(32))
    batch: list[CallRecord] = []
    for number in range(SCANNED):
        depth = rng.randint(1, 4)
        path = "/" + "/".join(f"{rng.getrandbits(40):x}" if rng.random() < 0.5 else _word(rng) for _ in range(depth))
        status = rng.choice((200, 403, 404, 404))
        batch.append(
            CallRecord(
                1,
                f"{number:026d}",
                1e9 + number / 1000,
                "shop",
                "GET",
                path,
                "shop",
                status,
                0,
                0,
                100,
                "10.0.0.9",
                actor=f"address:10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
                actor_kind="address",
                actor_class="anonymous",
            )
        )
        if len(batch) == 5_000:
            learner.fold(batch)
            batch.clear()
    learner.endpoints()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _word(rng: random.Random) -> str:
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 9)))


if __name__ == "__main__":
    if "--scan" in sys.argv:
        scan()
    else:
        run()
