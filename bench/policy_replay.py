"""How fast `eastwall policy replay` judges recorded calls, reading from the lake included.

    python -m bench.policy_replay [--calls 200000] [--policies 200]

Records are made by the engine from the traffic of made-up worlds (`bench.logic_traffic`), stored in a real lake, and read from there.
Their number is made up by the same calls at later times. The figure is CPU time of the whole process, the lake's threads included.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from bench.logic_rig import SERVICE, Rig
from bench.logic_traffic import legitimate
from bench.logic_worlds import World
from eastwall.model.call import Mode
from eastwall.model.event_id import event_id
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import ServiceScope
from eastwall.policy import PolicySet, parse_files
from eastwall.runtime import policy_replay
from eastwall.stores.chdb.lake import ChdbLake

MADE = 12_000
"""Calls that the engine really judges, over all worlds."""
WORLDS = (1, 5, 9, 10)
TARGET = 20_000.0
"""Recorded calls a second and core."""


def recorded(calls: int) -> tuple[list[CallRecord], policy_replay.World]:
    """Records of the traffic of several worlds, in the order of time, and the endpoints that were learned."""
    records: list[CallRecord] = []
    endpoints = []
    services = []
    for seed in WORLDS:
        rig = Rig(World(seed))
        kept: list[CallRecord] = []
        rig.engine._spool = _Also(rig.engine._spool, kept)  # what the rig learns from it does not keep
        legitimate(rig, calls // len(WORLDS), random.Random(seed))
        rig.publish(Mode.MONITOR)
        name = f"{SERVICE}-{seed}"
        records += [replace(record, service=name) if record.service == SERVICE else record for record in kept]
        endpoints += [policy_replay.bare(replace(one, service=name)) for one in rig.learner.endpoints() if one.service == SERVICE]
        services.append(ServiceScope(name, Mode.MONITOR))
    records.sort(key=lambda record: record.time)
    return records, policy_replay.World(tuple(services), tuple(endpoints))


class _Also:
    """Records that go to two places."""

    def __init__(self, spool: Any, kept: list[CallRecord]) -> None:
        self._spool, self._kept = spool, kept

    def append(self, record: CallRecord) -> None:
        self._kept.append(record)
        self._spool.append(record)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._spool, name)


def fill(lake: ChdbLake, made: list[CallRecord], calls: int) -> tuple[float, float]:
    """Store the calls over and over, each time later; the first and the last time."""
    span = made[-1].time - made[0].time + 1.0
    stored = 0
    batch: list[CallRecord] = []
    while stored < calls:
        shift = span * (stored // len(made))
        for record in made[: calls - stored]:
            at = record.time + shift
            batch.append(replace(record, time=at, id=event_id(at, os.urandom(10))))
            stored += 1
            if len(batch) == 5_000 or stored == calls:
                lake.insert(batch, f"bench {stored}")
                batch = []
    return made[0].time, made[-1].time + shift


def policies(count: int, world: policy_replay.World) -> PolicySet:
    """Access, limit and data policies over the learned operations, some with conditions that records can and cannot judge."""
    texts = []
    operations = [(one.service, f"{one.method} {one.template}") for one in world.endpoints]
    for number in range(count):
        service, operation = operations[number % len(operations)]
        scope: dict[str, Any] = {"services": [service], "operations": [operation]}
        spec: dict[str, Any]
        match number % 5:
            case 0:
                kind, spec = (
                    "AccessPolicy",
                    {"action": "allow", "scope": scope | {"identities": {"kinds": ["user", "client", "workload"]}}},
                )
            case 1:
                kind, spec = "AccessPolicy", {"action": "deny", "scope": scope | {"identities": {"classes": ["anonymous"]}}}
            case 2:
                kind, spec = "LimitPolicy", {"rate": "100/m", "scope": scope}
            case 3:
                # One in ten reads what records do not hold.
                told = (
                    "request.headers['x-debug'] == '1'"
                    if number % 50 == 3
                    else "call.source.startsWith('192.0.2.') && !identity.verified"
                )
                kind, spec = "AccessPolicy", {"action": "deny", "scope": scope, "when": [told]}
            case _:
                kind, spec = "DataPolicy", {"classes": ["email", "pan"], "action": "mask", "scope": scope}
        body = {"apiVersion": "eastwall.dev/v1alpha1", "kind": kind, "metadata": {"name": f"p{number}"}, "spec": spec}
        texts.append(msgspec.json.encode(body).decode())
    found, faults = parse_files({"bench.yaml": "\n---\n".join(texts)})
    assert not faults, faults[:3]
    return found


def run(calls: int, count: int) -> dict[str, float]:
    """Prints the figures."""
    made, world = recorded(min(MADE, calls))
    with tempfile.TemporaryDirectory(prefix="ew-bench-") as directory:
        lake = ChdbLake(Path(directory) / "lake")
        first, last = fill(lake, made, calls)
        new, applied = policies(count, world), policies(count // 2, world)
        compared = policy_replay.comparison(new, applied, world)
        wall, cpu = time.perf_counter(), time.process_time()
        for record in policy_replay.records(lake, first, last + 1.0):
            compared.add(record)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        lake.close()
    totals = compared.totals
    assert totals.calls == calls, totals
    print(
        f"{totals.calls:,} recorded calls under {count} policies and the {count // 2} applied ones: {wall:.2f} s, {cpu:.2f} s of CPU"
    )
    print(f"  {totals.calls / cpu:,.0f} a second and core (target {TARGET:,.0f}); {totals.calls / wall:,.0f} a second")
    print(f"  newly blocked {totals.blocked:,}, passed {totals.passed:,}, changed {totals.changed:,}, unchanged {totals.unchanged:,},"
          f" cannot be judged {totals.unjudged:,}; {len(compared.groups()):,} groups")  # fmt: skip
    return {"replay_per_core_s": totals.calls / cpu, "replay_per_s": totals.calls / wall}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--policies", type=int, default=200)
    options = parser.parse_args()
    run(options.calls, options.policies)
