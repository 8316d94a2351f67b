"""Messages as verdicts want them changed: whole bodies and events of streams, odd ones among them."""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.decision.world import DETECTORS, PREFILTER, call, snapshot

from eastwall.decision.changing import Changed, changed
from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.decide import decide
from eastwall.decision.state import LiveState
from eastwall.decision.streams import EventStream
from eastwall.discovery.inventory import endpoint_id
from eastwall.model.call import BodyState, Response
from eastwall.model.endpoint import Endpoint, FieldProfile, KnownSchemas, Schema
from eastwall.protocols.streams import splitter

CARD, MAIL, IBAN = "4111111111111111", "anna.jones@example.com", "DE89370400440532013000"
HIDDEN = (CARD, MAIL, IBAN)
CLASSES = ["pan", "email", "iban"]


def document(kind: str, name: str = "p", **spec: Any) -> str:
    body = {"apiVersion": "eastwall.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    return "---\n" + msgspec.json.encode(body).decode() + "\n"


@lru_cache(maxsize=50)
def world(policy: str) -> LiveSnapshot:
    return LiveSnapshot(snapshot(policy=policy), DETECTORS, PREFILTER)


def answered(policy: str, raw: bytes, kind: str = "application/json", user: str = "alice") -> tuple[Changed, Any]:
    """What becomes of an answer, and the decision on it."""
    live, state = world(policy), LiveState()
    asked = call("GET", "/orders", user=user)
    prior = decide(asked, live, state)
    given_ = replace(asked, response=Response(200, {"content-type": kind}, raw, BodyState.COMPLETE), prior=prior)
    decision = decide(given_, live, state)
    return changed(decision, live), decision


def policy_of(action: str) -> str:
    return document("DataPolicy", classes=CLASSES, action=action, **({"keep": 3} if action == "truncate" else {}))


STYLES = ("redact", "mask", "format", "hash", "tokenise", "truncate", "drop")
trees = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False)
    | st.sampled_from([*HIDDEN, int(CARD), f"to {MAIL} from {IBAN}", 'q"\\\n', "\u2028", "é"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["card", "mail", "a.b", "", "$", 'k"', MAIL]), inner, max_size=4)
    ),
    max_leaves=14,
)


@pytest.mark.parametrize("style", STYLES)
@settings(max_examples=60, deadline=None)
@given(tree=st.dictionaries(st.sampled_from(["a", "items", "card"]), trees, min_size=1))
def test_what_is_changed_is_json_and_holds_no_hidden_value(style: str, tree: dict[str, Any]) -> None:
    raw = json.dumps(tree).encode()
    done, decision = answered(policy_of(style), raw)
    if not decision.facts.data:
        return
    assert done.body is not None
    json.loads(done.body)
    for value in HIDDEN:
        assert value.encode() not in done.body


HOSTILE = [
    b'{"card":"' + CARD.encode() + b'","x":1e400,"n":123456789012345678901234567890}',
    b'\xef\xbb\xbf{"card":"' + CARD.encode() + b'"}',
    b'{"card":"' + CARD.encode() + b'" /* c */, }',
    b'{"a":"\\ud800","card":"' + CARD.encode() + b'"}',
    b'{"a":' * 60 + b'"' + CARD.encode() + b'"' + b"}" * 60,
    b'{"a":' * 80 + b'"' + CARD.encode() + b'"' + b"}" * 80,
    b'{"card":"' + CARD.encode() + b'","card":"' + CARD.encode() + b'"}',
    b'{"c\\u0061rd":"\\u0034111111111111111"}',
    b'{"card":' + CARD.encode() + b"}",
]


@pytest.mark.parametrize("raw", HOSTILE)
@pytest.mark.parametrize("style", [*STYLES, "aggregate"])
def test_hostile_bodies_leak_nothing_and_break_nothing(style: str, raw: bytes) -> None:
    policy = document("DataPolicy", action="aggregate") if style == "aggregate" else policy_of(style)
    done, decision = answered(policy, raw)
    if style == "aggregate":
        assert done.body is None  # no rows
        return
    assert decision.facts.data, raw[:80]
    assert done.body is not None
    assert CARD.encode() not in done.body
    if raw.count(b"{") < 65:  # deeper ones are text to us
        json.loads(done.body.decode("utf-8-sig"))


seeds = st.sampled_from([
    *HOSTILE, b'[{"card":"' + CARD.encode() + b'"},[1,2,{"a":"' + IBAN.encode() + b'"}]]', b"ewt_pan_AAAA~", b"",
    b'{"card":"ewt_pan_' + b"A" * 44 + b'~"}',
])  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=3)), max_size=4),
    seeds,
    st.sampled_from([*STYLES, "aggregate", "cut"]),
)
def test_no_bytes_break_a_change(edits: list[tuple[int, bytes]], raw: bytes, style: str) -> None:
    for at, new in edits:
        raw = raw[:at] + new + raw[at + len(new) :]
    cut = document("DataPolicy", action="truncate", items=1) + document("DataPolicy", "t", classes=CLASSES, action="tokenise",
                   detokenise={"actors": ["user:alice"]}) + document("SchemaPolicy", unknown="strip", direction="both", maxDepth=20)  # fmt: skip
    policy = {"aggregate": document("DataPolicy", action="aggregate"), "cut": cut}.get(style) or policy_of(style)
    done, decision = answered(policy, raw)
    if done.body is not None and decision.facts.operation.body_kind == "json":
        json.loads(done.body.decode("utf-8-sig", "surrogatepass"))


TOKENS = document("DataPolicy", classes=CLASSES, action="tokenise", detokenise={"actors": ["user:settle"]})


def stream(live: LiveSnapshot, kind: str, user: str) -> tuple[EventStream, LiveState]:
    state = LiveState()
    grpc = kind == "application/grpc"
    asked = (
        call("POST", "/shop.v1.Orders/List", user=user, headers={"content-type": kind})
        if grpc
        else call("GET", "/orders", user=user)
    )
    prior = decide(asked, live, state)
    found = splitter(kind)
    assert found is not None
    response = Response(200, {"content-type": kind}, b"", BodyState.STREAMED)
    return EventStream(replace(asked, response=response), prior, found, limit=1 << 20, block_over_limit=False), state


def taken(live: LiveSnapshot, kind: str, user: str, data: bytes) -> tuple[bytes, dict[str, None]]:
    events, state = stream(live, kind, user)
    release = events.take(data, live, state, end=True, watched=False)
    return release.body if release.body is not None else data, events.reasons


def frame(message: bytes) -> bytes:
    return b"\0" + struct.pack(">I", len(message)) + message


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("text/event-stream", b'event: x\nid: 1\ndata: {"card":"' + CARD.encode() + b'","n":1}\n\n: ping\n\ndata: mail ' + MAIL.encode() + b"\n\n"),
        ("application/x-ndjson", b'{"card":' + CARD.encode() + b'}\n{"n":1}\n{"mail":"' + MAIL.encode() + b'"}\n'),
        ("application/grpc", frame(b"\x0a\x10" + CARD.encode()) + frame(b"\x0a\x03abc")),
    ],
)  # fmt: skip
def test_tokens_of_streams_there_and_back(kind: str, data: bytes) -> None:
    live = world(TOKENS)
    new, reasons = taken(live, kind, "front", data)
    assert not any(value.encode() in new for value in HIDDEN)
    assert b"ewt_pan_" in new
    assert reasons == {}
    back, reasons = taken(live, kind, "settle", new)
    assert back == data
    assert reasons == {}
    forged = new.replace(b"ewt_pan_", b"ewt_pan_A", 1) if kind != "application/grpc" else None
    if forged is not None:
        left, reasons = taken(live, kind, "settle", forged)
        assert b"ewt_pan_A" in left
        assert reasons == {"response-tokens-refused": None}


def test_rows_of_lists_in_events_become_counts() -> None:
    live = world(document("DataPolicy", action="aggregate", paths=["rows"]))
    new, _ = taken(live, "text/event-stream", "bot", b'data: {"rows":[{"a":1},{"a":2}]}\n\ndata: {"a":1}\n\n')
    assert new == b'data: {"rows":{"count":2}}\n\ndata: {"a":1}\n\n'


ORDER = Endpoint(endpoint_id("orders", "PUT", "/me"), "orders", "PUT", "/me")
KNOWN = KnownSchemas(
    ORDER.id, declared=Schema(0, (FieldProfile("$", ("object",)), FieldProfile("name", ("string",), required=True)))
)


@settings(max_examples=100, deadline=None)
@given(tree=trees)
def test_what_reaches_the_service_has_no_unknown_property(tree: Any) -> None:
    live = stripping()
    raw = json.dumps({"name": "x", "more": tree}).encode()
    asked = call("PUT", "/me", user="alice", body=raw, headers={"content-type": "application/json"})
    decision = decide(asked, live, LiveState())
    if decision.verdict.action == "block":  # a finding in what is to be stripped counts
        return
    done = changed(decision, live)
    assert done.body == b'{"name": "x"}' or done.body == b'{"name":"x"}'


@lru_cache(maxsize=1)
def stripping() -> LiveSnapshot:
    policy = document("SchemaPolicy", unknown="strip") + document(
        "DetectionPolicy", "builtin/detections", detections=["none"], action="report"
    )
    return LiveSnapshot(snapshot(policy=policy, endpoints=(ORDER,), schemas=(KNOWN,)), DETECTORS, PREFILTER)
