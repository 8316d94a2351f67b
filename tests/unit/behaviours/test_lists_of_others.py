"""A list filtered by somebody else's name, where nobody filtered before, of objects that one alone holds."""

from __future__ import annotations

import pytest
from tests.unit.behaviours.driven import Engine, Outcome

from eastwall.behaviours.ownership_claims.judging import Broad, Knowledge, Rule
from eastwall.model.endpoint import Endpoint, FieldProfile, ObjectParameter, Parameter, Schema

KNOWN = Knowledge(broad=(Broad("orders", "order", ("user+support",), ("user",)),))
PAGED = Schema(fields=(FieldProfile("query.page", ("string",), seen=20),))
LISTED = ((200, Schema(fields=(FieldProfile("items[].id", ("integer",), seen=20),))),)


def _endpoints(alone: float, query: Schema) -> tuple[Endpoint, ...]:
    order = ObjectParameter("path.order_id", "order", False, 0.6, alone=alone)
    parameter = (Parameter("order_id", "integer"),)
    return (
        Endpoint("ep_order", "orders", "GET", "/orders/{order_id}", parameter, objects=(order,), status="learned"),
        Endpoint("ep_orders", "orders", "GET", "/orders", query=query, responses=LISTED, status="learned"),
    )


def _items(*ids: int) -> dict[str, list[dict[str, int]]]:
    return {"items": [{"id": one} for one in ids]}


def _asked(path: str, *ids: int, alone: float = 0.9, query: Schema = PAGED, roles: tuple[str, ...] = ()) -> Outcome:
    """Alice holds orders 1 to 3, Bob 4 and 5; Bob asks, and the answer holds `ids`."""
    engine = Engine(endpoints=_endpoints(alone, query), ownership_claims=KNOWN)
    engine.ask("GET", "/orders", answer=_items(1, 2, 3), user="alice")
    engine.ask("GET", "/orders", answer=_items(4, 5), user="bob")
    return engine.ask("GET", path, answer=_items(*ids), user="bob", roles=roles)


@pytest.mark.parametrize(
    "path", ["/orders?user_id=4711", "/orders?patient=alice", "/orders?page=1&createdBy=alice%40mail.example"]
)
def test_a_list_of_another(path: str) -> None:
    finding = _asked(path, 1, 2, 3).of("owner-mismatch")
    assert finding is not None
    assert (finding.phase, finding.severity, finding.confidence) == ("response", "high", "medium")
    assert "was to be given 3 of 3 order objects that others hold and it does not; at least 90% of those" in finding.message


def test_what_is_withheld_becomes_nobody_s() -> None:
    engine = Engine(endpoints=_endpoints(0.9, PAGED), ownership_claims=KNOWN)
    engine.ask("GET", "/orders", answer=_items(1, 2, 3), user="alice")
    for _ in "ab":
        told = engine.ask("GET", "/orders?user_id=4711", answer=_items(1, 2, 3), user="bob")
        assert told.of("owner-mismatch") is not None


@pytest.mark.parametrize(
    ("path", "ids", "alone", "query", "roles"),
    [
        pytest.param("/orders?page=2", (1, 2, 3), 0.9, PAGED, (), id="nobody-is-named"),
        pytest.param("/orders?user_id=bob", (4, 5), 0.9, PAGED, (), id="one-s-own"),
        pytest.param("/orders?user_id=bob", (4, 5, 3), 0.9, PAGED, (), id="one-was-shared"),
        pytest.param("/orders?user_id=4711", (8, 9), 0.9, PAGED, (), id="nobody-is-known-to-hold-them"),
        pytest.param("/orders?user_id=4711", (1, 2, 3), 0.5, PAGED, (), id="a-kind-that-many-share"),
        pytest.param("/orders?user_id=4711", (1, 2, 3), 0.9, PAGED, ("support",), id="staff"),
        pytest.param(
            "/orders?user_id=4711",
            (1, 2, 3),
            0.9,
            Schema(fields=(FieldProfile("query.user_id", ("string",), seen=20),)),
            (),
            id="a-filter-that-is-used",
        ),
    ],
)
def test_left_alone(path: str, ids: tuple[int, ...], alone: float, query: Schema, roles: tuple[str, ...]) -> None:
    assert _asked(path, *ids, alone=alone, query=query, roles=roles).of("owner-mismatch") is None


def test_a_kind_that_callers_choose_somewhere_is_nobody_s() -> None:
    chosen = Knowledge(choices=(("ep_order", "path.order_id"),), broad=KNOWN.broad)
    engine = Engine(endpoints=_endpoints(0.9, PAGED), ownership_claims=chosen)
    engine.ask("GET", "/orders", answer=_items(1, 2, 3), user="alice")
    assert engine.ask("GET", "/orders?user_id=4711", answer=_items(1, 2, 3), user="bob").of("owner-mismatch") is None


def test_a_batch_that_says_not_of_what_it_is_holds_what_was_shown_before() -> None:
    """`POST /batch` with ids of orders: those that somebody shared are the caller's to see. Those of others are not, nor is a plain number."""
    rule = Rule("ep_batch", "=body.items[].user_id", "sub", "orders user", 40, 40, True, ("user",))
    batch = Endpoint("ep_batch", "orders", "POST", "/batch", status="learned")
    engine = Engine(endpoints=(*_endpoints(0.9, PAGED), batch), ownership_claims=Knowledge(rules=(rule,), broad=KNOWN.broad))
    engine.ask("GET", "/orders", answer={"items": [{"id": one} for one in ("ord-77aa91", "ord-77aa92", 18)]}, user="alice")
    engine.ask("GET", "/orders", answer={"items": [{"id": one} for one in ("ord-77aa91", 18)]}, user="bob")

    def asked(one: str | int) -> Outcome:
        items = [{"id": one, "user_id": "alice"}, {"id": "ord-55bb01", "user_id": "bob"}]
        return engine.ask("POST", "/batch", answer={"items": items}, user="bob")

    assert asked("ord-77aa91").of("owner-mismatch") is None
    assert asked("ord-77aa92").of("owner-mismatch") is not None
    assert asked(18).of("owner-mismatch") is not None
