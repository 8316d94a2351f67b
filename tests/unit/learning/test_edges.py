"""Counts of who calls what, over records of a small shop."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.learning import edges
from eastwall.learning.edges import Edges, service_of
from eastwall.model.facts import DataHit
from eastwall.model.record import CallRecord


def call(**fields: Any) -> CallRecord:
    basis: dict[str, Any] = {
        "version": 1, "id": "", "time": 1000.0, "service": "orders", "method": "GET", "path": "/orders", "authority": "orders", "status": 200,
        "request_bytes": 0, "response_bytes": 0, "duration_us": 2_000, "source": "10.0.0.7", "actor": "user:alice", "actor_kind": "user",
        "actor_class": "user", "strength": 3,
    }  # fmt: skip
    return CallRecord(**(basis | fields))


def test_callers_are_classes_agents_and_workloads() -> None:
    state = Edges()
    for user in ("alice", "bob"):
        state.fold(call(actor=f"user:{user}"), "ep_1")
    state.fold(
        call(actor="workload:web/front", actor_kind="workload", actor_class="workload:web/front", caller="web/front"), "ep_1"
    )
    proved = {"principals": ("client:support-bot", "user:alice"), "strengths": (3, 3)}
    state.fold(call(agent="client:support-bot", time=1010.0, **proved), "ep_1")
    state.fold(call(agent="agent:mcp", principals=("user:alice", "agent:mcp"), strengths=(3, 1)), "ep_1")  # a User-Agent says so
    state.fold(call(actor="address:10.0.0.7", actor_kind="address", actor_class="anonymous", strength=0), "ep_1")
    found = state.tables()
    assert {name: seen.calls for name, seen in found.callers["ep_1"].items()} == {
        "user": 3, "workload:web/front": 1, "client:support-bot": 1, "anonymous": 1,
    }  # fmt: skip
    assert {name for name, seen in found.callers["ep_1"].items() if seen.agent} == {"client:support-bot"}
    assert list(found.services["ep_1"]) == ["web/front"]
    assert service_of("web/front") == "front"
    assert service_of("front") == "front"


def test_who_is_turned_away_is_counted_apart() -> None:
    state = Edges()
    state.fold(call(status=403), "ep_1")
    state.fold(call(action="block", status=403), "ep_1")
    state.fold(call(status=200), "ep_1")
    seen = state.tables().callers["ep_1"]["user"]
    assert (seen.calls, seen.done) == (3, 1)


def test_data_is_counted_by_class_direction_and_caller() -> None:
    state = Edges()
    hits = (
        DataHit("pan", "card.number", "4***", "request"),
        DataHit("email", "a", "x", "response"),
        DataHit("email", "b", "x", "response"),
    )
    state.fold(call(data=hits), "ep_1")
    state.fold(call(data=hits, status=404), "ep_1")
    rows = state.tables().data["ep_1"]
    assert {key: seen.calls for key, seen in rows.items()} == {("request", "pan", "user"): 1, ("response", "email", "user"): 1}


@pytest.mark.parametrize(
    ("fields", "public"),
    [
        ({"source": "8.8.8.8"}, True),
        ({"source": "10.1.2.3"}, False),
        ({"source": "127.0.0.1"}, False),
        ({"source": "2001:4860:4860::8888"}, True),
        ({"source": "fe80::1"}, False),
        ({"source": "not an address"}, False),
        ({"source": "10.0.0.1", "principals": ("user:alice", "address:8.8.4.4")}, True),
        ({"source": "10.0.0.1", "principals": ("address:2001:4860:4860::8888",)}, True),
        ({"source": "10.0.0.1", "principals": ("user:alice", "address:10.9.9.9")}, False),
    ],
)
def test_the_internet_is_told_by_addresses(fields: dict[str, str], public: bool) -> None:
    state = Edges()
    state.fold(call(**fields), "ep_1")
    assert ("ep_1" in state.tables().public) is public


def test_versions_of_media_types() -> None:
    state = Edges()
    for media in ("application/vnd.shop.v2+json", "application/vnd.shop.v1+json", "application/json", "text/v3ry-odd"):
        state.fold(call(response_type=media), "ep_1")
    assert sorted(state.tables().versions["ep_1"]) == ["1", "2"]


def test_third_parties() -> None:
    state = Edges()
    state.fold(call(service="api.stripe.com", egress=True, caller="billing"), "ep_9")
    assert list(state.tables().egress) == ["api.stripe.com"]


def test_calls_of_unknown_endpoints_are_not_counted() -> None:
    state = Edges()
    state.fold(call(), "")
    assert state.dump() == Edges().dump()


def traffic(rng: random.Random, count: int) -> list[tuple[CallRecord, str]]:
    found = []
    for at in range(count):
        user = f"user:u{rng.randrange(6)}"
        service = rng.choice(("front", "orders", "billing"))
        data = (
            (DataHit(rng.choice(("pan", "email")), "x", "***", rng.choice(("request", "response"))),)
            if rng.random() < 0.3
            else ()
        )
        record = call(
            time=1000.0 + at * 0.05,
            service=service,
            status=rng.choice((200, 200, 201, 404, 403)),
            duration_us=rng.randrange(1_000, 200_000),
            actor=user,
            actor_class=rng.choice(("user", "user+admin", "workload:front")),
            agent=rng.choice(("", "", "client:bot")),
            caller=rng.choice(("", "front", "ns/orders")),
            source=rng.choice(("10.0.0.1", "8.8.8.8")),
            data=data,
            trace=f"t{rng.randrange(40)}" if rng.random() < 0.3 else "",
            egress=rng.random() < 0.05,
            response_type=rng.choice(("", "application/vnd.a.v2+json")),
        )
        found.append((record, f"ep_{service}_{rng.randrange(4)}"))
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 8))
def test_shards_merge_to_what_one_stream_gives(seed: int, shards: int) -> None:
    rng = random.Random(seed)
    rows = traffic(rng, 400)
    whole, parts = Edges(), [Edges() for _ in range(shards)]
    for record, key in rows:
        whole.fold(record, key)
    rng.shuffle(rows)
    for record, key in rows:
        rng.choice(parts).fold(record, key)
    merged = Edges()
    for part in parts:
        before = msgspec.msgpack.encode(part.dump())
        merged.merge(part)
        assert msgspec.msgpack.encode(part.dump()) == before
    assert merged.tables() == whole.tables()
    assert merged.links() == whole.links()


def test_state_survives_a_restart() -> None:
    state = Edges()
    for record, key in traffic(random.Random(1), 500):
        state.fold(record, key)
    loaded = Edges.load(msgspec.msgpack.decode(msgspec.msgpack.encode(state.dump()), strict=False))
    assert loaded.tables() == state.tables()
    assert loaded.links() == state.links()


@pytest.mark.parametrize("data", [None, [], [2, [], []], ["1", [], []], [1, [{}], []], {"a": 1}, [1, 5, []]])
def test_other_data_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="edges"):
        Edges.load(data)


def test_endpoints_with_new_ids_keep_their_counts() -> None:
    state = Edges()
    state.fold(call(service="api.x.com", egress=True), "ep_old")
    state.fold(call(service="api.x.com", egress=True), "ep_new")
    state.move({"ep_old": "ep_new"})
    found = state.tables()
    assert found.callers["ep_new"]["user"].calls == 2
    assert found.egress["api.x.com"]["ep_new"].calls == 2
    assert "ep_old" not in found.callers


def test_tables_are_a_copy() -> None:
    state = Edges()
    state.fold(call(), "ep_1")
    found = state.tables()
    state.fold(call(), "ep_1")
    assert found.callers["ep_1"]["user"].calls == 1


def test_callers_and_operations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who calls most stays."""
    monkeypatch.setattr(edges, "MAX_OPERATIONS", 100)
    state = Edges()
    for _ in range(50):
        state.fold(call(), "ep_busy")
    for at in range(1_000):
        state.fold(call(actor_class=f"user+role{at}"), "ep_busy")
        state.fold(call(time=1000.0 + at), f"ep_{at}")
    found = state.tables()
    assert len(found.callers) <= 100
    assert len(found.callers["ep_busy"]) <= edges.MAX_CALLERS
    assert found.callers["ep_busy"]["user"].calls == 50
