"""The feed: what is told, what is not, and once."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery.inventory import endpoint_id
from eastwall.learning import changes
from eastwall.learning.changes import Changes
from eastwall.model.endpoint import Endpoint, FieldProfile, Schema

DAY = 86_400.0
START = 1_000_000.0


def endpoint(template: str = "/orders", **fields: Any) -> Endpoint:
    service, method = fields.pop("service", "shop"), fields.pop("method", "GET")
    basis: dict[str, Any] = {
        "status": "learned", "calls": 100, "first_seen": START, "last_seen": START + DAY, "authenticated": 1.0, "statuses": ((200, 100),),
    }  # fmt: skip
    return Endpoint(
        id=endpoint_id(service, method, template), service=service, method=method, template=template, **(basis | fields)
    )


def schema(*places: str) -> Schema:
    return Schema(100, tuple(FieldProfile(place, ("string",), seen=100, of=100) for place in places))


def told(state: Changes) -> list[tuple[str, str, str]]:
    return [(c.kind, c.template, c.place) for c in state.feed()]


def test_a_service_that_is_first_seen_is_one_entry() -> None:
    state = Changes()
    fresh = state.observe([endpoint(f"/things{n}", query=schema("query.a", "query.b")) for n in range(200)], START + DAY)
    assert told(state) == [("new", "", "")]
    assert state.feed()[0].detail == "the service `shop` was seen for the first time"
    assert fresh == []


def test_nothing_is_news_while_an_operation_is_learned() -> None:
    state = Changes()
    state.observe([endpoint()], START)
    state.observe([endpoint("/carts", status="learning", first_seen=START + 60, query=schema("query.a"))], START + 90)
    state.observe([endpoint("/carts", status="learning", first_seen=START + 60, calls=101, query=schema("query.b"))], START + 99)
    assert told(state) == [("new", "", "")]


def test_new_operations_fields_parameters_statuses_classes() -> None:
    state = Changes()
    state.observe([endpoint(responses=((200, schema("id")),))], START + DAY)
    later = START + 3 * DAY
    changed = endpoint(
        calls=150,
        last_seen=later,
        query=schema("query.debug"),
        request=schema("role"),
        responses=((200, schema("id", "ssn")), (404, schema("error"))),
        statuses=((200, 149), (202, 1), (404, 7)),
        data_classes=(("response", "ssn", "ssn"),),
        body_kinds=("xml",),
    )
    fresh = state.observe([changed, endpoint("/exports", first_seen=later - 10, last_seen=later, calls=3)], later)
    assert {(c.kind, c.place) for c in fresh} == {
        ("new", ""), ("changed", "query.debug"), ("changed", "request.role"), ("changed", "response.200.ssn"), ("changed", "status.202"),
        ("changed", "data.response.ssn.ssn"), ("changed", "body.xml"),
    }  # fmt: skip
    assert {c.time for c in fresh} == {later, later - 10}
    assert state.observe([changed], later + 1) == []
    assert state.feed(since=later - 5, service="other") == ()
    assert len(state.feed(since=later - 5)) == 6


def test_authentication_that_goes_and_comes() -> None:
    state = Changes()
    state.observe([endpoint()], START)
    state.observe([endpoint(calls=200, authenticated=0.5)], START + 1)
    assert told(state) == [("new", "", "")]
    (lost,) = state.observe([endpoint(calls=300, authenticated=0.0)], START + 2)
    assert (lost.place, lost.detail) == ("authentication", "it answers without identity now")


def test_vanished_and_returned() -> None:
    state = Changes()
    other = endpoint("/other", calls=100_000)
    state.observe([endpoint(), other], START + DAY)
    other = endpoint("/other", calls=200_000, last_seen=START + 10 * DAY)
    (gone,) = state.observe([endpoint(), other], START + 10 * DAY)
    assert (gone.kind, gone.template, gone.time) == ("vanished", "/orders", START + 10 * DAY)
    assert state.observe([endpoint(), other], START + 11 * DAY) == []
    other = endpoint("/other", calls=300_000, last_seen=START + 12 * DAY)
    (back,) = state.observe([endpoint(calls=101, last_seen=START + 12 * DAY), other], START + 12 * DAY)
    assert (back.kind, back.time) == ("returned", START + 12 * DAY)


def test_what_is_rarely_called_is_not_missed_early_and_a_silent_service_not_at_all() -> None:
    state = Changes()
    monthly = endpoint("/report", calls=10, first_seen=START - 300 * DAY)
    state.observe([monthly, endpoint()], START + DAY)
    assert state.observe([monthly, endpoint(calls=200, last_seen=START + 60 * DAY)], START + 60 * DAY) == []
    alone = Changes()
    alone.observe([endpoint()], START)
    assert alone.observe([endpoint()], START + 100 * DAY) == []


def test_a_body_with_data_as_names_is_no_flood() -> None:
    state = Changes()
    state.observe([endpoint()], START)
    fresh = state.observe([endpoint(calls=200, request=schema(*(f"key{n}" for n in range(900))))], START + DAY)
    assert len(fresh) == changes.MAX_AT_ONCE
    assert fresh[-1].detail == "881 more places are new"
    assert state.observe([endpoint(calls=300, request=schema(*(f"key{n}" for n in range(900))))], START + DAY) == []


def test_moved_endpoints_are_no_news() -> None:
    state = Changes()
    old = endpoint("/orders/17")
    state.observe([old, endpoint()], START)
    new = endpoint("/orders/{order_id}", last_seen=START + 2 * DAY, calls=300, first_seen=START + 1.5 * DAY)
    state.move({old.id: new.id})
    assert state.observe([new], START + 2 * DAY) == []


def test_the_feed_is_bounded_and_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_CHANGES", 50)
    monkeypatch.setattr(changes, "MAX_OPERATIONS", 60)
    state = Changes()
    state.observe([endpoint()], START)
    for n in range(200):
        at = START + DAY + n
        state.observe([endpoint(f"/x{n}", first_seen=at, last_seen=at)], at)
    assert len(state.feed()) == 50
    assert state.feed()[0].template == "/x199"
    assert len(state.dump()[1]) == 60


def history(rng: random.Random) -> list[list[Endpoint]]:
    """What the learner says at successive times."""
    lists = []
    for day in range(1, 8):
        found = []
        for n in range(4):
            at = START + day * DAY
            found.append(
                endpoint(
                    f"/x{n}",
                    service=f"s{n % 2}",
                    calls=100 * day,
                    last_seen=at if rng.random() < 0.8 else START + DAY,
                    query=schema(*(f"query.{rng.choice('abcdef')}" for _ in range(2))),
                    authenticated=rng.choice((0.0, 1.0)),
                )
            )
        lists.append(found)
    return lists


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_merging_tells_nothing_twice_and_has_no_order(seed: int) -> None:
    rng = random.Random(seed)
    first, second, third = Changes(), Changes(), Changes()
    for at, found in enumerate(history(rng)):
        for state in (first, second, third):
            if rng.random() < 0.7:
                state.observe(found, START + at * DAY)

    def merged(*states: Changes) -> Changes:
        result = Changes()
        for state in states:
            result.merge(state)
        return result

    whole = merged(first, second, third)
    assert whole.feed() == merged(third, first, second).feed()
    assert whole.feed() == merged(merged(first, second), third, first).feed()
    keys = [(c.service, c.endpoint, c.kind, c.place) for c in whole.feed() if c.kind in ("new", "changed")]
    assert len(keys) == len(set(keys))


def test_state_survives_a_restart() -> None:
    rng = random.Random(4)
    state, kept = Changes(), Changes()
    for at, found in enumerate(history(rng)):
        assert state.observe(found, START + at * DAY) == kept.observe(found, START + at * DAY)
        kept = Changes.load(msgspec.msgpack.decode(msgspec.msgpack.encode(kept.dump()), strict=False))
    assert kept.feed() == state.feed()


@pytest.mark.parametrize("data", [None, [], [2, {}, {}, []], [1, {"a": []}, {}, []], [1, {}, {}, [["a"]]], {"x": 1}])
def test_other_data_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="not a feed of changes"):
        Changes.load(data)
