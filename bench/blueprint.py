"""What the blueprint costs, in seconds of CPU: attack paths over a large graph, and a refresh with everything that readers ask for.

python -m bench.blueprint
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import msgspec

from eastwall.discovery.attack_paths import attack_paths
from eastwall.discovery.inventory import endpoint_id
from eastwall.learning.changes import Changes
from eastwall.learning.edges import Edges
from eastwall.model.blueprint import Edge, Graph, Node
from eastwall.model.endpoint import Endpoint, FieldProfile, Schema
from eastwall.model.facts import DataHit
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import ServiceScope
from eastwall.runtime.blueprint import Blueprint

DATA = ("pan", "ssn", "email", "phone", "secret")


def large_graph(operations: int = 2_000, edges: int = 20_000, services: int = 100, agents: int = 24, seed: int = 1) -> Graph:
    """Random, with a tenth of the operations on the internet and a third with sensitive data."""
    rng = random.Random(seed)
    nodes = [Node("internet", "internet", "internet")]
    nodes += [Node(f"service:s{n}", "service", f"s{n}") for n in range(services)]
    nodes += [Node(f"data:{name}", "data", name, ("sensitive",)) for name in DATA]
    nodes += [Node(f"identity:agent{n}", "identity", f"agent{n}", ("agent",)) for n in range(agents)]
    nodes += [Node(f"identity:user+{n}", "identity", f"user+{n}", ("human",)) for n in range(60)]
    found: dict[tuple[str, str, str], Edge] = {}

    def add(source: str, target: str, kind: str, detail: str = "") -> None:
        if source != target and len(found) < edges:
            calls = int(rng.paretovariate(0.5)) % 1_000_000
            found[source, target, kind] = Edge(source, target, kind, calls, detail=detail, confidence=rng.uniform(0.5, 1))

    for n in range(operations):
        shares = (("internet-facing", 0.1), ("unauthenticated", 0.05), ("admin", 0.03), ("shadow", 0.05))
        flags = tuple(name for name, share in shares if rng.random() < share)
        nodes.append(Node(f"operation:{n}", "operation", f"s{n % services} GET /x{n}", flags))
        add(f"service:s{n % services}", f"operation:{n}", "has")
        if "internet-facing" in flags:
            add("internet", f"operation:{n}", "calls")
        if rng.random() < 0.3:
            add(f"operation:{n}", f"data:{rng.choice(DATA)}", "carries", "response: x")
    while len(found) < edges:
        dice, target = rng.random(), f"operation:{rng.randrange(operations)}"
        if dice < 0.4:
            add(f"identity:user+{rng.randrange(60)}", target, "calls")
        elif dice < 0.5:
            add(f"identity:agent{rng.randrange(agents)}", target, "calls")
        elif dice < 0.8:
            add(f"service:s{rng.randrange(services)}", target, "calls")
        else:
            add(f"operation:{rng.randrange(operations)}", target, "leads-to")
    return Graph(tuple(sorted(nodes, key=lambda n: n.id)), tuple(found[key] for key in sorted(found)))


def large_world(count: int = 10_000, services: int = 100) -> tuple[list[Endpoint], dict[str, list[Endpoint]], Edges]:
    """Endpoints with 20 fields each way, declared but for every twentieth, and five callers each."""
    fields = tuple(FieldProfile(f"field_{n:02}", ("string",), seen=500, of=500, required=None) for n in range(20))
    said = tuple(FieldProfile(f"field_{n:02}", ("string",), required=True) for n in range(18))
    endpoints: list[Endpoint] = []
    declared: dict[str, list[Endpoint]] = {}
    edges = Edges()
    for n in range(count):
        service, template = f"s{n % services}", f"/things{n // services}/{{thing_id}}"
        key = endpoint_id(service, "GET", template)
        known = n % 20 != 0
        endpoints.append(
            Endpoint(
                id=key,
                service=service,
                method="GET",
                template=template,
                origin="both" if known else "observed",
                status="learned",
                calls=500,
                first_seen=1e9,
                last_seen=1e9 + 5_000,
                authenticated=1.0,
                statuses=((200, 500),),
                request=Schema(500, fields),
                responses=((200, Schema(500, fields)),),
                data_classes=(("response", "field_03", "email"),) if n % 3 == 0 else (),
            )
        )
        if known:
            one = Endpoint(key, service, "GET", template, origin="declared", responses=((200, Schema(fields=said)),))
            declared.setdefault(service, []).append(one)
        for caller in range(5):
            edges.fold(_record(1e9 + n % 30, service, template, f"class{(n + caller) % 40}", n % 3 == 0), key)
    return endpoints, declared, edges


def _record(at: float, service: str, path: str, cls: str, sensitive: bool) -> CallRecord:
    return CallRecord(
        version=1, id="", time=at, service=service, method="GET", path=path, authority="", status=200, request_bytes=0, response_bytes=0,
        duration_us=20_000, source="10.0.0.1", actor=f"user:{cls}", actor_kind="user", actor_class=cls, strength=3,
        data=(DataHit("email", "field_03", "***", "response"),) if sensitive else (), user_agent="x",
    )  # fmt: skip


def timed(what: str, task: Callable[[], object]) -> None:
    began = time.process_time()
    task()
    print(f"{what:58} {time.process_time() - began:8.3f} s")


def main() -> None:
    whole = large_graph()
    timed("attack paths, 2,000 operations, 20,000 edges, 20 paths", lambda: attack_paths(whole, 20))
    timed("the same, 1,000 paths", lambda: attack_paths(whole, 1_000))
    endpoints, declared, edges = large_world()
    scopes = [ServiceScope(f"s{n}", owner="team") for n in range(100)]
    changes = Changes()
    timed("changes: first look at 10,000 endpoints", lambda: changes.observe(endpoints, 1e9 + 6_000))
    timed("changes: nothing new", lambda: changes.observe(endpoints, 1e9 + 6_001))
    blueprint = Blueprint()

    def refresh() -> None:
        blueprint.refresh(
            endpoints=endpoints, declared=declared, scopes=scopes, edges=edges, identities=None, changes=changes, now=1e9 + 6_000
        )

    timed("refresh, 10,000 endpoints, 50,000 calls", refresh)
    timed("lifecycle of all", lambda: [blueprint.lifecycle(e.id) for e in endpoints])
    timed("drift and risk of all", lambda: [blueprint.risk(e.id) for e in endpoints])
    timed("graph", blueprint.graph)
    timed("paths", blueprint.paths)
    timed("refresh again", refresh)
    timed("risk of all, nothing called since", lambda: [blueprint.risk(e.id) for e in endpoints])
    record = _record(1e9, "s1", "/x", "user", True)
    began = time.process_time()
    for n in range(100_000):
        edges.fold(record, endpoints[n % 1_000].id)
    print(f"{'Edges.fold':58} {(time.process_time() - began) * 10:8.2f} us")
    edges = Edges()
    rng = random.Random(1)
    calls = [
        msgspec.structs.replace(
            _record(1e9 + n * 0.01, f"s{n % 5}", "/x", f"class{rng.randrange(40)}", False), duration_us=rng.randrange(100_000)
        )
        for n in range(100_000)
    ]
    began = time.process_time()
    for n, call in enumerate(calls):
        edges.fold(call, endpoints[n % 200].id)
    edges.links()
    print(f"{'Edges.fold with its slices judged, 100 calls a second':58} {(time.process_time() - began) * 10:8.2f} us")


if __name__ == "__main__":
    main()
