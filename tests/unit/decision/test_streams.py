"""The events of a stream, judged as they pass: what goes on, what ends the stream, what is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.decision.world import DETECTORS, PREFILTER, call, snapshot

from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.decide import decide
from eastwall.decision.state import LiveState
from eastwall.decision.streams import HOLD_LIMIT, MAX_TOLD, EventStream, judge_event
from eastwall.model.call import BodyState, Call, Response
from eastwall.model.decision import Decision, Release
from eastwall.protocols.streams import Event, splitter

POLICY = "".join(
    "---\napiVersion: eastwall.dev/v1alpha1\nkind: DataPolicy\n"
    f"metadata: {{name: {name}}}\nspec: {{mode: enforce, classes: [{name}], direction: response, action: {action}}}\n"
    for name, action in (("pan", "redact"), ("email", "mask"), ("iban", "block"))
) + (
    "---\napiVersion: eastwall.dev/v1alpha1\nkind: LimitPolicy\nmetadata: {name: one}\n"
    "spec: {mode: enforce, per: [identity], rate: 1/h}\n"
)
CARD, IBAN = "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00"


class World:
    def __init__(self, policy: str = POLICY) -> None:
        self.snapshot = LiveSnapshot(snapshot(policy=policy), DETECTORS, PREFILTER)
        self.state = LiveState()

    def begun(self, **more: Any) -> tuple[Call, Decision]:
        asked = call("GET", "/orders", user="alice", **more)
        return asked, decide(asked, self.snapshot, self.state)

    def stream(self, kind: str = "application/x-ndjson", *, limit: int = 1 << 20, block: bool = False) -> EventStream:
        asked, prior = self.begun()
        response = Response(200, {"content-type": kind, "x-contact": "none"}, b"", BodyState.STREAMED)
        found = splitter(kind)
        assert found is not None
        return EventStream(replace(asked, response=response), prior, found, limit=limit, block_over_limit=block)

    def take(self, stream: EventStream, data: bytes, *, end: bool = False, watched: bool = False) -> Release:
        return stream.take(data, self.snapshot, self.state, end=end, watched=watched)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def test_what_is_clean_goes_on_as_it_is(world: World) -> None:
    stream = world.stream()
    data = line({"n": 1}) + b"\n" + line({"n": 2})
    assert world.take(stream, data + b'{"n"') == Release(len(data))
    assert world.take(stream, b":3}", end=True) == Release(7)
    assert stream.events == 3
    assert stream.reasons == {}


def test_an_event_is_redacted_by_several_styles_and_no_limit_is_spent(world: World) -> None:
    stream = world.stream()
    for _ in range(5):  # the policy allows one call an hour
        data = line({"card": CARD, "mail": "ann@shop.example"})
        release = world.take(stream, data)
        assert (release.consumed, release.end) == (len(data), False)
        body = json.loads(release.body or b"")
        assert body["card"] == "[redacted]"
        assert body["mail"].endswith("@shop.example")
        assert not body["mail"].startswith("ann")
    assert stream.decided is not None
    assert stream.decided.verdict.action == "redact"
    assert len(stream.decided.verdict.matches) == 2  # each policy once


def test_messages_of_a_request_spend_no_limit(world: World) -> None:
    asked, prior = world.begun()
    verdicts = [
        judge_event(asked, prior, Event(1, b"", b'{"a":1}'), world.snapshot, world.state, "application/json") for _ in range(5)
    ]
    assert {decision.verdict.action for decision in verdicts} == {"allow"}
    assert {decide(asked, world.snapshot, world.state).verdict.action for _ in range(3)} == {"limit"}  # calls do


def test_a_refused_event_ends_the_stream_after_those_before_it(world: World) -> None:
    stream = world.stream()
    release = world.take(stream, line({"card": CARD}) + line({"to": IBAN}) + line({"n": 3}))
    assert release.end
    first, problem = (release.body or b"").splitlines()
    assert json.loads(first) == {"card": "[redacted]"}
    assert json.loads(problem)["status"] == 403
    assert stream.ended
    assert stream.events == 2
    assert stream.decided is not None
    assert stream.decided.verdict.action == "block"


def test_what_is_watched_is_told_and_never_ended(world: World) -> None:
    stream = world.stream()
    release = world.take(stream, line({"to": IBAN}) + line({"n": 3}), watched=True)
    assert not release.end
    assert stream.events == 2
    assert stream.decided is not None
    assert stream.decided.verdict.would == "block"


@pytest.mark.parametrize("block", [False, True])
def test_an_event_beyond_the_limit(world: World, block: bool) -> None:
    stream = world.stream(limit=1000, block=block)
    release = world.take(stream, line({"n": 1}) + b'{"note":"' + b"x" * 2000)
    assert (release.end, release.part) == (block, not block)
    assert stream.reasons == {"response-event-too-large": None}
    if block:
        first, problem = (release.body or b"").splitlines()
        assert (json.loads(first), json.loads(problem)["status"]) == ({"n": 1}, 413)
        return
    assert release.consumed == len(line({"n": 1})) + 2009
    rest = b'yyy"}\n'
    assert world.take(stream, rest + line({"card": CARD})) == Release(
        len(rest) + len(line({"card": CARD})), rest + b'{"card":"[redacted]"}\n'
    )


def test_no_room_for_unfinished_events_makes_them_too_large(world: World) -> None:
    stream = world.stream()
    release = stream.take(line({"n": 1}) + b'{"n":', world.snapshot, world.state, end=False, watched=False, room=3)
    assert (release.consumed, release.part, stream.held) == (len(line({"n": 1})) + 5, True, 0)


def test_a_whole_event_may_be_larger_than_what_is_held_back(world: World) -> None:
    stream = world.stream()
    data = line({"note": "x" * (HOLD_LIMIT + 100), "card": CARD})
    assert b"[redacted]" in (world.take(stream, data).body or b"")


def test_what_is_told_is_bounded(world: World) -> None:
    quiet = World("")
    stream = quiet.stream()
    for number in range(MAX_TOLD + 50):
        quiet.take(stream, line({f"key{number}": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA"}))
    assert stream.events == MAX_TOLD + 50
    assert stream.decided is not None
    assert len(stream.decided.findings) <= MAX_TOLD


def test_an_event_is_judged_with_the_endpoint_and_identity_of_its_call(world: World) -> None:
    asked, prior = world.begun()
    asked = replace(asked, response=Response(200, {"content-type": "text/event-stream"}))
    decision = judge_event(asked, prior, Event(1, b"", b'{"a":1}'), world.snapshot, world.state, "application/json")
    assert (decision.match, decision.identity) == (prior.match, prior.identity)
    assert decision.facts.operation.body == {"a": 1}


def counting(*, classes: bool = False, **more: Any) -> World:
    spec = {"action": "aggregate", **({"classes": ["pan"]} if classes else {}), **more}
    return World(
        "---\napiVersion: eastwall.dev/v1alpha1\nkind: DataPolicy\nmetadata: {name: counts}\nspec: " + json.dumps(spec) + "\n"
    )


def test_rows_of_a_stream_become_the_count_so_far() -> None:
    world = counting(measures=["total", "card"])
    stream = world.stream()
    rows = [{"name": f"ann{n}", "total": n, "card": CARD} for n in range(1, 7)]
    release = world.take(stream, b"".join(map(line, rows)) + b"\n" + line("done"))
    got = [json.loads(one) for one in (release.body or b"").split(b"\n") if one]
    assert [one["count"] for one in got[:-1]] == [1, 2, 3, 4, 5, 6]
    assert got[3] == {"count": 4, "fields": {"total": {"count": 4}}}, "of few rows nothing is measured, of cards never"
    assert got[5] == {"count": 6, "fields": {"total": {"count": 6, "min": 1, "max": 6}}}
    assert got[6] == "done", "what is no row passes"
    assert b"ann" not in (release.body or b"")
    more = world.take(stream, line({"total": 0.50}), end=True)
    assert b'"count":7,"min":0.5,' in (more.body or b"")


def test_rows_that_come_as_server_sent_events() -> None:
    world = counting()
    stream = world.stream("text/event-stream")
    release = world.take(stream, b'event: row\ndata: {"name":"ann"}\n\n: ping\n\ndata: [1,2]\n\ndata: done\n\n')
    assert release.body == b'event: row\ndata: {"count":1}\n\n: ping\n\ndata: {"count":2}\n\ndata: done\n\n'
    assert stream.decided is not None
    assert stream.decided.verdict.matches[0].policy == "counts"


def test_with_classes_rows_that_hold_them_count_and_with_paths_the_lists_there() -> None:
    release = counting(classes=True).take(counting(classes=True).stream(), line({"n": 1}) + line({"card": CARD}))
    assert release.body == line({"n": 1}) + b'{"count":1}\n'
    inner = line({"n": 1, "items": [{"a": 1}, {"a": 2}]})
    only = counting(paths=["items"])
    assert only.take(only.stream(), inner).body == b'{"n":1,"items":{"count":2}}\n'
    whole = counting(paths=["$"])
    assert whole.take(whole.stream(), inner).body == b'{"count":1}\n'


def test_the_messages_of_a_protocol_are_no_rows() -> None:
    world = counting()
    stream = world.stream("text/event-stream")
    answered = b'data: {"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"rows":[{"a":1},{"a":2}]}}}\n\n'
    assert world.take(stream, answered).body is not None, "of a plain call it is a row"
    asked = call("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "q"}}, user="alice")
    prior = decide(asked, world.snapshot, world.state)
    response = Response(200, {"content-type": "text/event-stream"}, b"", BodyState.STREAMED)
    found = splitter("text/event-stream")
    assert found is not None
    mcp = EventStream(replace(asked, response=response), prior, found, limit=1 << 20, block_over_limit=False)
    body = json.loads((world.take(mcp, answered).body or b"")[6:])
    assert body["result"]["structuredContent"] == {"rows": {"count": 2}}
