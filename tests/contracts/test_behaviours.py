"""What every model of behaviour must hold, whatever it learns: merging, loading, bounds, bad notes, knowledge that compiles."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from bench.in_memory import Kept
from bench.logic import FLOWS
from bench.logic_rig import Rig
from bench.logic_strike import Strike
from bench.logic_traffic import legitimate
from bench.logic_worlds import World as Service
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from eastwall.behaviours import BEHAVIOURS, Behaviour, Models, Watches, World, compile_known
from eastwall.discovery.inventory import compile_inventory
from eastwall.learning.held import Held, dump_held, load_held, merge_held, moved_held
from eastwall.learning.learner import Learner
from eastwall.model.call import Mode
from eastwall.model.record import CallRecord
from eastwall.runtime.engine import Engine

SHARDS = 8
CALLS = 500
TELLING = (
    "API1 change",
    "API1 enumeration, f",
    "API2 brute force",
    "API2 token",
    "API3 exposure",
    "API4 h",
    "API6 coupon",
    "API6 huge",
)
"""Flows of the bench by which most watches have something to say."""
each = pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda one: one.name)


@pytest.fixture(scope="module")
def learned() -> tuple[Learner, list[tuple[CallRecord, str, bool]]]:
    """Records of the ordinary calls of two worlds with what their watches noted, each with its operation."""
    records: list[CallRecord] = []
    learner = Learner(bytes(range(32)))
    for seed in (2, 5):
        rig = Rig(Service(seed))
        fold = rig.learner.fold

        def kept(batch: list[CallRecord], fold: Any = fold) -> None:
            records.extend(batch)
            fold(batch)

        rig.learner.fold = kept  # type: ignore[method-assign, assignment]
        rng = random.Random(seed)
        for _ in range(2):  # some watches note calls of operations that are known
            legitimate(rig, CALLS // 2, rng)
            rig.publish()
    learner.fold(records)
    return learner, [(r, r.endpoint or "ep_1", not r.findings and 200 <= r.status < 300) for r in records]


def _folded(behaviour: Behaviour, records: list[tuple[CallRecord, str, bool]]) -> Any:
    model = behaviour.model()
    for record, endpoint, clean in records:
        model.fold(record, endpoint, dict(record.notes).get(behaviour.name), clean=clean)
    return model


def _plain(data: Any) -> Any:
    """As it comes back from a file."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(data), strict=False)


def _same(data: Any) -> Any:
    """For comparison: sums of numbers may differ in their last digit by the order."""
    if isinstance(data, float):
        return pytest.approx(data, rel=1e-9)
    if isinstance(data, dict):
        return {key: _same(value) for key, value in data.items()}
    return [_same(value) for value in data] if isinstance(data, list) else data


@each
def test_shards_merge_to_what_one_stream_gives(behaviour: Behaviour, learned: Any) -> None:
    records = list(learned[1])
    whole = _plain(_folded(behaviour, records).dump())
    for seed in range(2):
        rng = random.Random(seed)
        rng.shuffle(records)
        shards = [_folded(behaviour, records[at::SHARDS]) for at in range(SHARDS)]
        rng.shuffle(shards)
        first = shards[0]
        for other in shards[1:]:
            first.merge(other)
        assert _plain(first.dump()) == _same(whole)


@each
def test_a_model_of_notes_alone_learns_nothing_without(behaviour: Behaviour, learned: Any) -> None:
    model = behaviour.model()
    for record, endpoint, clean in learned[1]:
        model.fold(record, endpoint, None, clean=clean)
    if getattr(behaviour.model, "noted_only", False):
        assert _plain(model.dump()) == _plain(behaviour.model().dump())
        assert _plain(_folded(behaviour, learned[1]).dump()) != _plain(model.dump())


@each
def test_what_is_dumped_loads_and_publishes_the_same(behaviour: Behaviour, learned: Any) -> None:
    learner, records = learned
    model = _folded(behaviour, records)
    again = behaviour.model.load(_plain(model.dump()))
    endpoints = learner.endpoints()
    assert _plain(again.dump()) == _plain(model.dump())
    assert again.publish(endpoints) == model.publish(endpoints)
    assert _plain(behaviour.model.load(_plain(behaviour.model().dump())).dump()) == _plain(behaviour.model().dump())


def test_knowledge_compiles_and_watches_take_it(learned: Any) -> None:
    learner, _ = learned
    endpoints = learner.endpoints()
    world = World(endpoints, bytes(32), compile_inventory(endpoints))
    assert len(compile_known(learner.behaviours.publish(endpoints), world)) == len(BEHAVIOURS)
    assert len(compile_known((), World((), bytes(32), compile_inventory(())))) == len(BEHAVIOURS)
    assert Watches().sizes().keys() == {one.name for one in BEHAVIOURS}
    assert Models.load({}).dump().keys() == {"formats", *(one.name for one in BEHAVIOURS)}
    assert _plain(Models.load(_plain(learner.behaviours.dump())).dump()) == _plain(learner.behaviours.dump())
    without = {name: data for name, data in learner.behaviours.dump().items() if name != "formats"}
    assert _plain(Models.load(_plain(without)).dump()) == _plain(learner.behaviours.dump()), "before formats were told"
    with pytest.raises(ValueError, match="what model `sessions` learned has format 7, expected 1"):
        Models.load({**without, "formats": {"sessions": 7}})


def test_what_is_not_asked_would_have_said_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Watch.asks`, `remembers` and `notes` spare calls and change nothing: the same traffic through an engine that asks every watch every
    time."""
    rig, rng = Rig(Service(5)), random.Random(5)
    legitimate(rig, 900, rng)
    rig.publish(Mode.ENFORCE)
    rig.recording = []
    legitimate(rig, 100, rng)
    for flow in FLOWS:
        if flow.name.startswith(TELLING):
            rig.time += 3_600.0
            flow.carry(Strike(rig, rig.world.members()[0], random.Random(3)))

    def told(exchanges: list[Any]) -> list[CallRecord]:
        kept = Kept()
        engine = Engine("0", rig.store, kept, ready=False)
        for call, response, completion in exchanges:
            engine.request(call)
            if response is not None:
                engine.response(call.id, response)
            engine.completed(completion)
        return [replace(record, decide_us=0) for record in kept.records]

    spared = told(rig.recording)
    for behaviour in BEHAVIOURS:
        for when in ("asks", "remembers", "notes"):
            monkeypatch.setattr(behaviour.watch, when, lambda *_: True)
    assert told(rig.recording) == spared
    by_asked = {"credential-stuffing", "excessive-exposure", "harvesting", "object-enumeration", "owner-mismatch", "token-replay"}
    assert len(by_asked & {finding.id for record in spared for finding in record.findings}) >= 4, "enough was said to compare"


@each
def test_operations_that_get_new_ids_and_their_old_ones_again_lose_nothing(behaviour: Behaviour, learned: Any) -> None:
    learner, records = learned
    endpoints = learner.endpoints()
    model = _folded(behaviour, records)
    before = _known(model.publish(endpoints))
    ids = {endpoint for _, endpoint, _ in records}
    model.move({endpoint: f"{endpoint}x" for endpoint in ids})
    model.move({f"{endpoint}x": endpoint for endpoint in ids})
    assert _known(model.publish(endpoints)) == before


def _known(knowledge: Any) -> dict[str, Any]:
    """Without what tells engines which ids are old, and what is empty."""
    told: dict[str, Any] = msgspec.to_builtins(knowledge) if knowledge is not None else {}
    return {name: value for name, value in told.items() if value and name != "moved"}


@pytest.mark.parametrize("behaviour", [one for one in BEHAVIOURS if one.holding is not None], ids=lambda one: one.name)
def test_knowledge_is_what_its_things_say(behaviour: Any, learned: Any) -> None:
    """`holding.py`: what baselines compare is all that is published, and survives a file and new ids."""
    holding = behaviour.holding
    learner, records = learned
    model = _folded(behaviour, records)
    known = model.publish(learner.endpoints())
    assert known is not None or behaviour.name in ("authentication", "single_use"), "something to compare"
    things = holding.split(known) if known is not None else {}
    assert known is None or holding.join(known, things) == known
    assert holding.join(behaviour.knowledge(), {}) == behaviour.knowledge()
    kept: dict[Any, Held] = {}
    for key, value in things.items():
        part = holding.parts[key[0]]
        assert not part.looser(value, value)
        assert part.what(key)
        assert part.shown(value)
        backers = holding.backers(model, key, value)
        assert backers is None or len(backers.beyond) <= 1, "at most the one who is left out goes beyond what was just learned"
        kept[behaviour.name, key] = Held(value, since=5.0)
    dumped = msgspec.msgpack.decode(msgspec.msgpack.encode(dump_held(kept)), strict=False)
    again = load_held(dumped)
    assert {thing: one.base for thing, one in again.items()} == {thing: one.base for thing, one in kept.items()}
    ids = {e.id for e in learner.endpoints()}
    there = moved_held(kept, {one: f"{one}x" for one in ids})
    back = moved_held(there, {f"{one}x": one for one in ids})
    assert {thing: one.base for thing, one in back.items()} == {thing: one.base for thing, one in kept.items()}
    merged = dict(load_held(dumped))
    merge_held(merged, again)
    assert dump_held(merged) == dump_held(kept)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@each
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(note=plain)
def test_a_note_that_is_none_is_passed_over(behaviour: Behaviour, learned: Any, note: Any) -> None:
    model = behaviour.model()
    for record, endpoint, clean in learned[1][:3]:
        model.fold(record, endpoint, note, clean=clean)
    model.merge(behaviour.model())
    model.publish(learned[0].endpoints())
    behaviour.model.load(_plain(model.dump()))


@each
def test_replayed_records_and_clocks_that_jump(behaviour: Behaviour, learned: Any) -> None:
    model = behaviour.model()
    rng = random.Random(1)
    for record, endpoint, clean in learned[1][:300]:
        for when in (record.time, 0.0, 9e10, record.time - rng.random() * 1e6):
            model.fold(replace(record, time=when), endpoint, dict(record.notes).get(behaviour.name), clean=clean)
    model.publish(learned[0].endpoints())


@each
def test_a_flood_of_names_is_bounded(behaviour: Behaviour, learned: Any) -> None:
    noted = [one for one in learned[1] if dict(one[0].notes).get(behaviour.name) is not None] or learned[1]
    model = behaviour.model()
    sizes = []
    for number in range(6_000):
        record, _, clean = noted[number % len(noted)]
        flood = replace(
            record, actor=f"user:{number}", actor_class=f"user+r{number}", service=f"s{number % 1_500}", scopes=(f"x{number}",)
        )
        model.fold(flood, f"ep_{number:012x}", dict(record.notes).get(behaviour.name), clean=clean)
        if number % 3_000 == 2_999:
            sizes.append(len(msgspec.msgpack.encode(model.dump())))
    assert sizes[-1] < 30 << 20
