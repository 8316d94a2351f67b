"""What policies cost: `make bench-policy`.

Evaluation per call with 50, 500 and 5,000 policies over 2,000 operations (it must not grow with the set), compiling and binding them, and putting them in force on
running engines while calls go on.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
from collections.abc import Sequence

import msgspec

from eastwall.discovery.inventory import endpoint_id
from eastwall.model.call import Call, Mode, Peer, Phase, Request
from eastwall.model.endpoint import Endpoint, Match
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity, Principal, Strength
from eastwall.model.operation import Operation
from eastwall.model.snapshot import ServiceScope
from eastwall.policy import LimitTable, Plan, PolicySet, compile_plan, encode, evaluate, parse_files

SIZES = (50, 500, 5_000)
OPERATIONS = 2_000
SERVICES = 20
CALLS = 20_000
BATCH = 200
NOW = 1_700_000_000.0
NOUNS = "orders users invoices carts items reports payments refunds shipments tickets".split()
VERBS = ("GET", "POST", "PUT", "DELETE")


def service(number: int) -> str:
    return f"service-{number:02}"


def operations() -> list[Endpoint]:
    """2,000 operations of 20 services: lists, things, things of things."""
    found: list[Endpoint] = []
    for number in range(OPERATIONS):
        name, rest = service(number % SERVICES), number // SERVICES
        method, rest = VERBS[rest % 4], rest // 4
        noun, form = f"{NOUNS[rest % 10]}{rest // 20 or ''}", rest // 10 % 2
        template = (f"/{noun}/{{{noun}_id}}", f"/{noun}/{{{noun}_id}}/history")[form]
        found.append(Endpoint(endpoint_id(name, method, template), name, method, template))
    return found


def policies(size: int, endpoints: Sequence[Endpoint]) -> str:
    """A set as a company with many teams writes it, two or three policies for each operation that has any: who may call it, and something besides. A few
    are for whole services. JSON, which is YAML."""
    chosen = random.Random(7)
    documents: list[str] = []

    def add(kind: str, **spec: object) -> None:
        body = {"apiVersion": "eastwall.dev/v1alpha1", "kind": kind, "metadata": {"name": f"p{len(documents)}"}, "spec": spec}
        documents.append(msgspec.json.encode(body).decode())

    add("TrustZone", members={"services": [service(0)], "namespaces": ["web"]})
    add("Quarantine", scope={"services": [service(1)], "operations": ["* /old/**"]}, indefinite=True)
    add("Exception", policies=["nothing"], reason="none", owner="team", expires="2030-01-01", scope={"services": [service(2)]})
    for of in covered(size, endpoints):
        scope = {"services": [of.service], "operations": [f"{of.method} {of.template}"]}
        roles = [f"role-{chosen.randrange(3)}", "staff"]
        add("AccessPolicy", action="allow", scope={**scope, "identities": {"roles": roles}})
        draw = chosen.random()
        if draw < 0.25:
            add("AccessPolicy", action="deny", scope={**scope, "identities": {"kinds": ["agent"]}})
        elif draw < 0.35:
            add("AccessPolicy", action="deny", scope=scope, when=["has(query.debug)"])
        elif draw < 0.55:
            add("LimitPolicy", rate="1000000/s", per=["identity", "operation"], scope=scope)
        elif draw < 0.80:
            add("DetectionPolicy", detections=["sql-injection"], action="report", scope=scope)
        else:
            add("DataPolicy", classes=["pan"], action="mask", scope=scope)
    while len(documents) < size:
        of = chosen.choice(endpoints)
        scope = {"services": [of.service], "operations": [f"{of.method} {of.template}"]}
        add("DetectionPolicy", detections=["cross-site-scripting"], action="report", scope=scope)
    return "\n---\n".join(documents)


def covered(size: int, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """The operations that a set of so many policies is about: the calls are made to these."""
    return endpoints[: min(len(endpoints), (size - 3) // 2)]


def calls(chosen: Sequence[Endpoint]) -> list[Facts]:
    """One ordinary request of each of these operations."""
    alice = Principal("user", "alice", Strength.VERIFIED)
    front = Principal("workload", "web/front", Strength.VERIFIED)
    caller = Identity("user:alice", "user", Strength.VERIFIED, "user+staff", (alice, front), ("staff",), workload="web/front")
    found: list[Facts] = []
    for number, of in enumerate(chosen):
        path = "/".join(str(1 + number * 7919 % 9973) if part.startswith("{") else part for part in of.template.split("/"))
        request = Request(of.method, path, {}, f"{of.service}.shop")
        operation = Operation("rest", of.method, tuple(path.strip("/").split("/")), path)
        call = Call(f"{number:026}", of.service, NOW + number / 1000, Peer("10.0.0.9"), request)
        found.append(Facts(call, Phase.REQUEST, operation, Match(of), caller))
    return found


def evaluation(plan: Plan, of: Sequence[Endpoint]) -> tuple[float, float, float]:
    """Microseconds per call: with rules that are in the processor's cache; as calls come, in an order of their own; an operation's first call.

    Calls are made just before they are judged, as in an engine. Medians of 5 runs; the first figure is the least of three passes over each
    batch, so that what else runs on the machine is left out.
    """
    table = LimitTable()
    first = calls(of)
    gc.collect()
    began = time.process_time()
    for facts in first:
        evaluate(plan, facts, (), (), table)
    cold = (time.process_time() - began) / len(first) * 1e6
    weights = [1 / rank for rank in range(1, len(of) + 1)]
    runs = []
    for number in range(5):
        chosen = random.Random(number).choices(of, weights, k=CALLS)
        spent, least = 0.0, 0.0
        for at in range(0, CALLS, BATCH):
            batch = calls(chosen[at : at + BATCH])
            passes = [_pass(plan, batch, table) for _ in range(3)]
            spent += passes[0]
            least += min(passes)
        runs.append((least / CALLS * 1e6, spent / CALLS * 1e6))
    return statistics.median(run[0] for run in runs), statistics.median(run[1] for run in runs), cold


def _pass(plan: Plan, batch: Sequence[Facts], table: LimitTable) -> float:
    began = time.process_time()
    for facts in batch:
        evaluate(plan, facts, (), (), table)
    return time.process_time() - began


def measured(size: int, endpoints: Sequence[Endpoint]) -> tuple[float, ...]:
    """What `evaluation` gives, then seconds to parse and to compile."""
    text = policies(size, endpoints)
    began = time.process_time()
    found = _parsed(text)
    parse = time.process_time() - began
    data = encode(found)
    scopes = [ServiceScope(service(number), Mode.ENFORCE) for number in range(SERVICES)]
    began = time.process_time()
    plan = compile_plan(data, services=scopes, endpoints=endpoints, detections=())
    compiled = time.process_time() - began
    return (*evaluation(plan, covered(size, endpoints)), parse, compiled)


def _parsed(text: str) -> PolicySet:
    """In files of 100 documents each, as many teams have them."""
    documents = text.split("\n---\n")
    files = {f"{at:05}.yaml": "\n---\n".join(documents[at : at + 100]) for at in range(0, len(documents), 100)}
    found, faults = parse_files(files)
    assert not faults, faults[:3]
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--no-engines", action="store_true", help="leave out the part with running engines")
    given = arguments.parse_args()
    endpoints = operations()
    print(
        f"{OPERATIONS:,} operations of {SERVICES} services, {CALLS:,} calls over those that policies are about, the n-th most frequent one 1/n as often as the first; CPU time\n"
    )
    print("policies   evaluate, in cache   as calls come   first call of an operation   parse YAML   compile")
    for size in SIZES:
        cached, warm, cold, parse, compiled = measured(size, endpoints)
        print(f"{size:>8,}   {cached:15.2f} us   {warm:10.2f} us   {cold:23.1f} us   {parse:8.2f} s   {compiled:5.2f} s")
    if not given.no_engines:
        from bench.policy_apply import apply_to_engines

        print(f"\n{apply_to_engines(policies(max(SIZES), endpoints))}")


if __name__ == "__main__":
    main()
