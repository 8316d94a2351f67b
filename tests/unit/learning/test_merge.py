"""Shards merge to one stream: the whole learner, on records of a real engine before a living world, with all that goes wrong on the way.

What is compared is all that is published: endpoints with schemas, properties, users, habits, order of steps; who holds what; identity
classes; edges; and whatever each folder of `behaviours` tells engines. Records are shuffled over shards, repeated, and told at times that jump.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pytest
from bench.logic_rig import Rig
from bench.logic_traffic import legitimate
from bench.logic_worlds import World
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from eastwall.behaviours import BEHAVIOURS
from eastwall.learning.learner import Learner
from eastwall.model.record import CallRecord

KEY = bytes(range(32))
SHARDS = 8
CALLS = 350


@cache
def recorded(seed: int) -> tuple[CallRecord, ...]:
    """What an engine that learns as it goes wrote of a world's first calls."""
    rig = Rig(World(seed))
    kept: list[CallRecord] = []
    fold = rig.learner.fold

    def keep(records: Any) -> None:
        kept.extend(records)
        fold(list(records))

    rig.learner.fold = keep  # type: ignore[method-assign]
    legitimate(rig, CALLS, random.Random(seed))
    rig.publish()
    return tuple(kept)


def learned(records: list[CallRecord]) -> Learner:
    learner = Learner(KEY)
    learner.fold(records)
    assert learner.unlearned == 0, learner.fault
    return learner


def published(learner: Learner) -> dict[str, Any]:
    """All that engines and people get to know, by name."""
    endpoints = learner.endpoints()
    services = sorted({endpoint.service for endpoint in endpoints})
    told = {f"endpoint {e.service} {e.method} {e.template} {e.operation}": e for e in endpoints}
    return {
        **told,
        "holders": sorted(learner.ownership(100_000)),
        "classes": learner.identities.classes(),
        "edges": learner.edges.tables(),
        "findings": learner.findings(),
        "kinds": {service: learner.kinds(service) for service in services},
        **{f"behaviour {name}": known for name, known in learner.behaviours.publish(endpoints)},
    }


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def disturbed(records: tuple[CallRecord, ...], rng: random.Random) -> list[CallRecord]:
    """The records with a tenth repeated (a batch that came twice) and a tenth at another time (clocks that jump)."""
    found = list(records)
    found += rng.sample(records, len(records) // 10)
    for at in rng.sample(range(len(found)), len(found) // 10):
        found[at] = replace(found[at], time=found[at].time + rng.choice((-86_400.0, -3.0, 5.0, 7_200.0)))
    return found


def test_there_are_models_to_merge() -> None:
    assert BEHAVIOURS
    assert any(record.notes for record in recorded(1)), "and records with something for them"


# Without shrinking: a seed has nothing to shrink, and a failure is to be told at once.
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.integers(0, 2**32), st.sampled_from((1, 2)))
def test_eight_shards_in_any_order_are_one_stream(seed: int, world: int) -> None:
    rng = random.Random(seed)
    records = disturbed(recorded(world), rng)
    whole = learned(records)
    parts: list[list[CallRecord]] = [[] for _ in range(SHARDS)]
    for record in rng.sample(records, len(records)):
        parts[rng.randrange(SHARDS)].append(record)
    merged = Learner(KEY)
    for part in parts:
        shard = learned(part)
        if rng.random() < 0.5:  # as it comes from disk
            shard = Learner.from_bytes(shard.to_bytes(), KEY)
        merged.merge(shard)
    assert merged.folded == whole.folded
    assert differing(published(merged), published(whole)) == []


@pytest.mark.parametrize("world", [1, 2])
def test_the_order_of_one_stream_does_not_matter(world: int) -> None:
    rng = random.Random(world)
    records = disturbed(recorded(world), rng)
    first = published(learned(records))
    assert differing(first, published(learned(records[::-1]))) == []
    assert differing(first, published(learned(rng.sample(records, len(records))))) == []
