"""What a streamed call's copies add to its record, and what they leave alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.decision import world

from eastwall.decision.copies import brings_more, meant_status, with_copies
from eastwall.decision.decide import decide
from eastwall.decision.state import LiveState
from eastwall.learning.proto import declared_proto
from eastwall.model.call import BodyState, Completion, Mode, Response
from eastwall.model.decision import Decision
from eastwall.model.endpoint import Endpoint, ObjectParameter
from eastwall.sources.proto_files import compile_proto

DESCRIPTORS = compile_proto((Path(__file__).parents[2] / "e2e/protos/shop.proto").read_bytes(), "shop.proto")
GET = "/shop.v1.Orders/Get"
HEADERS = {"content-type": "application/grpc", "te": "trailers"}


def frame(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def endpoints() -> dict[str, Endpoint]:
    found, _ = declared_proto(DESCRIPTORS, "shop.pb", "orders")
    return {endpoint.operation: replace(endpoint, status="learned") for endpoint in found}


def live(mode: Mode = Mode.ENFORCE, policy: str = "", **more: Any) -> Any:
    kept = endpoints()
    kept["shop.v1.Orders/Get"] = replace(
        kept["shop.v1.Orders/Get"],
        objects=(ObjectParameter("body.order_id", "order", exclusive=True, confidence=0.9, evidence="in 90 calls"),),
        gives=(("order_id", "order"),),
        **more,
    )
    return world.live(mode, policy, endpoints=tuple(kept.values()), descriptors=(("orders", DESCRIPTORS),))


def streamed(
    snapshot: Any, state: LiveState, *, path: str = GET, user: str = "alice", number: int = 0
) -> tuple[Decision, Decision]:
    """Both phases of a call whose bodies passed unseen."""
    call = world.call("POST", path, user=user, headers=HEADERS, number=number)
    call = replace(call, request=replace(call.request, body_state=BodyState.STREAMED))
    request = decide(call, snapshot, state)
    answer = Response(200, {"content-type": "application/grpc"}, b"", BodyState.STREAMED)
    return request, decide(replace(call, response=answer, prior=request), snapshot, state)


def done(
    request: Decision, asked: bytes = b"", answered: bytes = b"", status: int = 0, state: BodyState = BodyState.COMPLETE
) -> Completion:
    return replace(
        world.completion(request.facts.call),
        request_copy=asked,
        request_copy_state=state if asked else BodyState.NONE,
        response_copy=answered,
        response_copy_state=state if answered else BodyState.NONE,
        grpc_status=status,
    )


def test_shapes_properties_objects_and_findings_are_told() -> None:
    snapshot, state = live(), LiveState()
    request, response = streamed(snapshot, state)
    assert (request.facts.fields, request.facts.properties) == ((), ())
    asked = frame(b"\x0a\x1ax' OR 1=1 UNION SELECT 1--")
    answered = frame(b"\x0a\x02o7\x32\x0fbob@example.com")
    after, reply = with_copies(request, response, done(request, asked, answered), snapshot, state)
    assert reply is not None
    assert [field.place for field in after.facts.fields] == ["$", "order_id"]
    assert after.facts.properties == ("order_id",)
    assert [(finding.id, finding.where) for finding in after.findings] == [("sql-injection", "body.order_id")]
    assert after.verdict == request.verdict
    assert after.verdict.action == "allow"
    assert {(hit.data_class, hit.place, hit.direction) for hit in reply.facts.data} == {("email", "email", "response")}
    assert reply.facts.operation.name == "shop.v1.Orders/Get"
    assert after.facts.uninspected == ()


def test_given_objects_are_remembered_and_strangers_uses_are_told() -> None:
    snapshot, state = live(), LiveState()
    request, response = streamed(snapshot, state)
    with_copies(request, response, done(request, frame(b"\x0a\x0217"), frame(b"\x0a\x0217")), snapshot, state)
    other, _ = streamed(snapshot, state, user="mallory", number=1)
    after, _ = with_copies(other, None, done(other, frame(b"\x0a\x0217")), snapshot, state)
    (use,) = after.facts.objects
    assert (use.place, use.granted, use.owners) == ("body.order_id", False, 1)


def test_a_failed_answer_gives_nothing() -> None:
    snapshot, state = live(), LiveState()
    request, response = streamed(snapshot, state)
    completion = done(request, frame(b"\x0a\x0217"), frame(b"\x0a\x0217"), status=7)
    _, reply = with_copies(request, response, completion, snapshot, state)
    assert reply is not None
    assert set(reply.facts.operation.traits) == {"fault", "grpc-status-7"}
    other, _ = streamed(snapshot, state, user="mallory", number=1)
    after, _ = with_copies(other, None, done(other, frame(b"\x0a\x0217")), snapshot, state)
    assert [use.owners for use in after.facts.objects] == [0]


def test_a_status_alone_makes_a_fault() -> None:
    snapshot, state = live(), LiveState()
    request, response = streamed(snapshot, state)
    completion = done(request, status=5)
    assert brings_more(completion)
    before, reply = with_copies(request, response, completion, snapshot, state)
    assert before is request
    assert reply is not None
    assert "fault" in reply.facts.operation.traits


def test_a_part_says_so() -> None:
    snapshot, state = live(), LiveState()
    request, response = streamed(snapshot, state)
    after, _ = with_copies(
        request, response, done(request, frame(b"\x0a\x0217")[:-1], state=BodyState.TRUNCATED), snapshot, state
    )
    assert "request-body-truncated" in after.facts.uninspected


def test_copies_are_sampled_whatever_the_headers_were() -> None:
    """The headers of a call count too: one count for both would sample the same half of the copies for ever."""
    snapshot, state = live(sample_every=2), LiveState()
    sampled = 0
    for number in range(20):
        request, response = streamed(snapshot, state, number=number)
        after, _ = with_copies(request, response, done(request, frame(b"\x0a\x0217")), snapshot, state)
        sampled += bool(after.facts.fields)
    assert sampled >= 10


def test_no_limit_is_spent_twice() -> None:
    policy = """\
apiVersion: eastwall.dev/v1alpha1
kind: LimitPolicy
metadata: {name: slowly}
spec: {mode: enforce, rate: 2/m, burst: 2, per: [identity], scope: {services: [orders]}}
"""
    snapshot, state = live(policy=policy), LiveState()
    for number in range(2):
        request, response = streamed(snapshot, state, number=number)
        assert request.verdict.action == "allow"
        with_copies(request, response, done(request, frame(b"\x0a\x0217")), snapshot, state)
    assert streamed(snapshot, state, number=2)[0].verdict.action == "limit"


@pytest.mark.parametrize(
    ("http", "status", "meant"), [(200, -1, 200), (200, 0, 200), (200, 16, 401), (200, 255, 500), (503, 14, 503)]
)
def test_what_a_status_means(http: int, status: int, meant: int) -> None:
    completion = replace(world.completion(world.call("POST", GET), http), grpc_status=status)
    assert meant_status(completion) == meant
    assert brings_more(completion) == (status > 0)


def test_events_of_an_answer_are_looked_at() -> None:
    snapshot, state = live(), LiveState()
    call = world.call("GET", "/orders", user="alice")
    request = decide(call, snapshot, state)
    headers = {"content-type": "text/event-stream"}
    response = decide(replace(call, response=Response(200, headers, b"", BodyState.STREAMED), prior=request), snapshot, state)
    copied = b'data: {"holder":"A. Jones","number":"4111 1111 1111 1111"}\n\n'
    completion = replace(world.completion(call), response_copy=copied, response_copy_state=BodyState.COMPLETE)
    before, reply = with_copies(request, response, completion, snapshot, state)
    assert before is request
    assert reply is not None
    assert {hit.data_class for hit in reply.facts.data} == {"pan"}
    assert "sse" in reply.facts.operation.traits
