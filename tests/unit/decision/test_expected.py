"""What an operation's callers were learned to be, to send and to do before, asked of real calls through `decide`."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.decision.world import ENDPOINTS, HASH_KEY, ORDER, answer, call, live

from eastwall.decision.decide import decide
from eastwall.decision.extract import EVERY_SERVICE
from eastwall.decision.remember import not_done
from eastwall.decision.state import LiveState
from eastwall.decision.streams import judge_event
from eastwall.discovery.inventory import endpoint_id
from eastwall.discovery.objects import object_key
from eastwall.model.call import Call, Response
from eastwall.model.decision import Decision
from eastwall.model.endpoint import Endpoint, FieldProfile, ObjectParameter, Parameter, Precedent, Schema
from eastwall.protocols.streams import Event

ADMIN = Endpoint(
    id=endpoint_id("orders", "GET", "/admin/users"),
    service="orders",
    method="GET",
    template="/admin/users",
    status="learned",
    users=(("user+admin", 40, 2),),
)
CATALOGUE = Endpoint(
    id=endpoint_id("orders", "GET", "/products"),
    service="orders",
    method="GET",
    template="/products",
    status="learned",
    users=(("user", 900, 4), ("user+admin", 20, 2)),
    query=Schema(samples=400, fields=(FieldProfile("query.limit", ("integer",), minimum=10, maximum=50, seen=400, of=400),)),
)
MAKE = Endpoint(
    id=endpoint_id("orders", "POST", "/orders"),
    service="orders",
    method="POST",
    template="/orders",
    status="learned",
    request=Schema(
        samples=400,
        fields=(
            FieldProfile("items[].quantity", ("integer",), minimum=1, maximum=9, seen=400, of=400),
            FieldProfile("total", ("number",), minimum=1.0, maximum=900.0, seen=12, of=400),
        ),
    ),
    properties=(("*", ("items", "items[].quantity", "total")),),
    property_calls=(("*", 400),),
    gives=(("id", "order"),),
)
_PATH = ObjectParameter("path.order_id", "order", exclusive=True, confidence=0.97)
CONFIRM = Endpoint(
    id=endpoint_id("orders", "POST", "/orders/{order_id}/confirm"),
    service="orders",
    method="POST",
    template="/orders/{order_id}/confirm",
    parameters=(Parameter("order_id", "integer"),),
    status="learned",
    objects=(_PATH,),
    once=("order", 200),
)
PAY = replace(
    CONFIRM,
    id=endpoint_id("orders", "POST", "/orders/{order_id}/pay"),
    template="/orders/{order_id}/pay",
    after=(Precedent("order", CONFIRM.id, 200, "POST /orders/{order_id}/confirm"),),
)
LIVE = live(
    endpoints=[
        ADMIN,
        CATALOGUE,
        MAKE,
        CONFIRM,
        PAY,
        replace(ORDER, calls=900),
        *(e for e in ENDPOINTS if e.id not in (MAKE.id, ORDER.id)),
    ]
)


def found(decision: Decision) -> list[tuple[str, str, str]]:
    return [(f.id, f.where, f.confidence) for f in decision.findings]


def both(asked: Call, response: Response, state: LiveState) -> tuple[Decision, Decision]:
    first = decide(asked, LIVE, state)
    return first, decide(replace(asked, response=response, prior=first), LIVE, state)


def test_an_operation_for_administrators() -> None:
    decision = decide(call("GET", "/admin/users", user="mallory"), LIVE, LiveState())
    assert found(decision) == [("function-not-used", "operation", "high")]
    assert decision.verdict.action == "block"
    assert decide(call("GET", "/admin/users", user="root", roles=("admin",)), LIVE, LiveState()).findings == ()
    # A role that hardly calls anything: nothing is to be expected of it.
    assert decide(call("GET", "/products", user="newcomer", roles=("trial",)), LIVE, LiveState()).findings == ()


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        (call("GET", "/products?limit=100000", user="alice"), "query.limit"),
        (call("GET", "/products?limit=" + "9" * 40, user="alice"), "query.limit"),
        (call("GET", "/products?limit=1e9", user="alice"), "query.limit"),
        (call("GET", "/products?limit=%2B1000000.", user="alice"), "query.limit"),
        (call("POST", "/orders", {"items": [{"quantity": 2}, {"quantity": -3}]}, user="alice"), "body.items[].quantity"),
        (call("POST", "/orders", {"items": [*[{"quantity": 2}] * 500, {"quantity": -3}]}, user="alice"), "body.items[].quantity"),
    ],
)
def test_numbers_outside_their_range(asked: Call, where: str) -> None:
    decision = decide(asked, LIVE, LiveState())
    assert [f[:2] for f in found(decision)] == [("value-out-of-range", where)]
    assert decision.verdict.action == "block"


@pytest.mark.parametrize(
    "body",
    [{"items": [{"quantity": 12}]}, {"items": [{"quantity": 0}]}, {"total": -5}, {"items": "x"}, {"items": [1, None]}, [], None],
)
def test_numbers_that_are_let_be(body: Any) -> None:
    """Somewhat more than ever, a range of few samples, and bodies of another form."""
    assert "value-out-of-range" not in [
        f.id for f in decide(call("POST", "/orders", body, user="alice"), LIVE, LiveState()).findings
    ]


def test_a_number_greater_than_any_float() -> None:
    """Told, and no error of ours."""
    decision = decide(call("POST", "/orders", {"items": [{"quantity": 10**400}]}, user="alice"), LIVE, LiveState())
    assert ("value-out-of-range", "body.items[].quantity") in [f[:2] for f in found(decision)]


def made(state: LiveState, number: int, user: str = "alice") -> None:
    both(call("POST", "/orders", {"items": [{"quantity": 1}]}, user=user), answer({"id": number}, 201), state)


def test_a_step_that_is_skipped() -> None:
    state = LiveState()
    made(state, 501)
    assert found(decide(call("POST", "/orders/501/pay", user="alice"), LIVE, state)) == [
        ("step-out-of-order", "path.order_id", "medium")
    ]
    both(call("POST", "/orders/501/confirm", user="alice"), answer({"ok": True}), state)
    assert decide(call("POST", "/orders/501/pay", user="alice"), LIVE, state).findings == ()


def test_a_refused_step_is_not_done() -> None:
    state = LiveState()
    made(state, 501)
    both(call("POST", "/orders/501/confirm", user="alice"), answer({"error": "no stock"}, 409), state)
    assert [f[0] for f in found(decide(call("POST", "/orders/501/pay", user="alice"), LIVE, state))] == ["step-out-of-order"]


def test_an_order_from_before_is_not_judged() -> None:
    """The engine did not see it being made: it may have been confirmed."""
    state = LiveState()
    both(call("GET", "/orders", user="alice"), answer({"items": [{"id": 501}]}), state)
    assert decide(call("POST", "/orders/501/pay", user="alice"), LIVE, state).findings == ()


def test_a_repeated_step_and_an_honest_retry() -> None:
    state = LiveState()
    made(state, 501)
    confirm = call("POST", "/orders/501/confirm", user="alice")
    confidences = [
        [f.confidence for f in both(confirm, answer({"ok": True}), state)[0].findings if f.id == "step-out-of-order"]
        for _ in range(3)
    ]
    assert confidences == [[], ["low"], ["medium"]]


def repeated(decision: Decision) -> list[str]:
    return [f.confidence for f in decision.findings if f.id == "step-out-of-order"]


def test_calls_at_once_see_each_other() -> None:
    """None of them is done when the next is judged: the classic race for a coupon."""
    state = LiveState()
    made(state, 501)
    confirm = call("POST", "/orders/501/confirm", user="alice")
    racing = [decide(confirm, LIVE, state) for _ in range(4)]
    assert [repeated(decision) for decision in racing] == [[], ["low"], ["medium"], ["medium"]]
    assert [decision.verdict.action for decision in racing] == ["allow", "allow", "block", "block"]
    for refused in racing[:2]:
        decide(replace(confirm, response=answer({"error": "no stock"}, 409), prior=refused), LIVE, state)
    assert repeated(decide(confirm, LIVE, state)) == []


def test_a_call_that_is_never_answered_is_no_step() -> None:
    state = LiveState()
    made(state, 501)
    confirm = call("POST", "/orders/501/confirm", user="alice")
    for _ in range(3):
        lost = decide(confirm, LIVE, state)
        assert repeated(lost) == []
        not_done(lost, state, counted=False)


def test_a_streamed_answer_is_one_step() -> None:
    state = LiveState()
    made(state, 501)
    confirm = call("POST", "/orders/501/confirm", user="alice")
    first, answered = both(confirm, answer({"ok": True}), state)
    for _ in range(3):
        judge_event(replace(confirm, response=answered.facts.call.response), first, Event(2, b"{}", b"{}"), LIVE, state)
    assert repeated(decide(confirm, LIVE, state)) == ["low"]
    not_done(first, state, counted=True)  # its trailers said that it failed
    assert state.steps.of(next(key for _, _, key, _ in first.facts.used)) == {}


def test_its_own_body_is_no_repetition() -> None:
    state = LiveState()
    made(state, 501)
    confirm = call("POST", "/orders/501/confirm", user="alice")
    headers = decide(confirm, LIVE, state)
    assert repeated(judge_event(confirm, headers, Event(2, b"{}", b"{}"), LIVE, state)) == []


def test_an_unknown_method_of_a_known_path_names_an_object() -> None:
    state = LiveState()
    both(call("GET", "/orders", user="bob"), answer({"items": [{"id": 77}]}), state)
    decision = decide(call("DELETE", "/orders/77", user="mallory"), LIVE, state)
    assert found(decision) == [("object-not-granted", "path.order_id", "high")]
    first, second = both(call("DELETE", "/orders/77", user="bob"), answer({"deleted": True}), state)
    assert found(first) == []
    assert found(second) == [("hidden-verb", "method", "medium")]


def test_an_unknown_mutation_names_an_object() -> None:
    query = Endpoint(
        id=endpoint_id("orders", "POST", "/graphql", "query order"),
        service="orders",
        method="POST",
        template="/graphql",
        status="learned",
        protocol="graphql",
        operation="query order",
        objects=(ObjectParameter("body.variables.id", "order", exclusive=True, confidence=0.97),),
    )
    world = live(endpoints=[query])
    state = LiveState()
    state.grants.grant(object_key(HASH_KEY, EVERY_SERVICE, "order", "77"), "user:bob")
    body = {"query": "mutation($id: ID!) { deleteOrder(id: $id) { id } }", "variables": {"id": "77"}}
    assert found(decide(call("POST", "/graphql", body, user="mallory"), world, state)) == [
        ("object-not-granted", "body.variables.id", "high")
    ]
    assert decide(call("POST", "/graphql", body, user="bob"), world, state).findings == ()
