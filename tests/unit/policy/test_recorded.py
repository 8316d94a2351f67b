"""Facts of recorded calls: what a record holds is there, what it does not hold raises."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from tests.unit.policy.build import NOW

from eastwall import policy
from eastwall.discovery.inventory import compile_inventory
from eastwall.model.call import Peer, Request, Response
from eastwall.model.operation import Operation
from eastwall.model.record import CallRecord
from eastwall.policy.conditions import Condition
from eastwall.policy.recorded import (
    Identities,
    RecordedAnswer,
    RecordedFacts,
    RecordedOperation,
    RecordedPeer,
    RecordedRequest,
    RecordedResponse,
    UnrecordedError,
    UnrecordedMap,
    read_record,
)


def facts(**changes: object) -> RecordedFacts:
    values = {"actor": "user:bob", "actor_kind": "user", "actor_class": "user", "strength": 3, "principals": ("user:bob",), "strengths": (3,),
              "body_kind": "none"} | changes  # fmt: skip
    size = values.pop("request_bytes", 0)
    record = CallRecord(1, "ID", NOW, "orders", "GET", "/orders/7", "orders.shop", 200, size, 0, 0, "10.0.0.9", **values)  # type: ignore[arg-type]
    return read_record(record, compile_inventory(()), Identities()).request


def test_every_attribute_of_what_they_stand_for_is_there_or_cannot_be_told() -> None:
    answer = CallRecord(1, "ID", NOW, "orders", "GET", "/", "", 200, 0, 9, 0, "")
    for recorded, whole in (
        (RecordedRequest(answer), Request),
        (RecordedOperation(answer), Operation),
        (RecordedAnswer(answer), Operation),
        (RecordedResponse(answer), Response),
        (RecordedPeer("10.0.0.1"), Peer),
    ):
        for name in whole.__struct_fields__:
            with contextlib.suppress(UnrecordedError):
                getattr(recorded, name)


def test_steps_read_no_fact_that_would_be_guessed() -> None:
    """A fact that records lack stands at its default in a Struct, which a new step would take for the truth: it has to raise instead."""
    told = {
        "call",
        "phase",
        "operation",
        "match",
        "identity",
        "used",
        "data",
        "given",
        "fields",
        "properties",
        "sampled",
        "deviations",
    }
    raising = {"amounts", "assume"}
    for file in Path(policy.__file__).parent.rglob("*.py"):
        if file.name in ("recorded.py", "replay.py"):
            continue
        read = set(re.findall(r"\bfacts\.([a-z_]+)", file.read_text("utf-8")))
        assert read <= told | raising, (
            f"{file.name} reads {read - told - raising}: say in `recorded.RecordedFacts` what a record knows of it"
        )


@pytest.mark.parametrize(
    ("condition", "changes", "value"),
    [
        ("identity.sub == 'bob'", {}, True),
        ("identity.sub == 'bob'", {"principals": ("user:bob", "agent:gpt"), "strengths": (3, 3)}, None),
        ("identity.sub == 'bob'", {"principals": ("user:bob", "agent:curl"), "strengths": (3, 1)}, True),
        ("identity.sub == 'bob'", {"strength": 2, "principals": ("user:bob", "client:web"), "strengths": (2, 3)}, None),
        ("identity.sub == '10.0.0.9'", {"actor": "address:10.0.0.9", "actor_kind": "address", "principals": ("address:10.0.0.9",)}, True),
        ("has(identity.claims.team)", {"actor": "address:10.0.0.9", "actor_kind": "address", "principals": ("address:10.0.0.9",)}, False),
        ("has(identity.claims.team)", {}, None),
        ("has(identity.claims.team) && request.method == 'PUT'", {}, False),
        ("has(identity.claims.team) || request.method == 'GET'", {}, True),
        ("identity.roles.exists(r, r == 'admin')", {"roles": ("admin",)}, True),
        ("identity.claims.exists(c, c == 'x')", {}, None),
        ("has(query.page)", {"query_names": ("page",)}, True),
        ("has(query.q)", {"query_names": ("page",)}, False),
        ("query.page == '1'", {"query_names": ("page",)}, None),
        ("has(query.page)", {"query_names": ("page", "page")}, None),
        ("has(query.page)", {}, False),
        ("request.headers['user-agent'].startsWith('curl')", {"user_agent": "curl/8"}, True),
        ("request.headers['user-agent'].startsWith('curl')", {"user_agent": "c" * 200}, None),
        ("has(request.headers.x)", {}, None),
        ("body.x == 1", {"body_kind": "json"}, None),
        ("body == null", {}, True),
        ("request.size == 0", {}, True),
        ("request.size == 12", {"body_kind": "json", "request_bytes": 12}, True),
        ("request.scheme == 'https'", {}, None),
        ("request.path.matches('^/orders/[0-9]$')", {}, True),
        ("size(request.path) > 2 && size(request.headers) > 0", {}, None),
        ("call.time.getHours() >= 0 && call.source == '10.0.0.9'", {}, True),
    ],
)  # fmt: skip
def test_conditions(condition: str, changes: dict[str, object], value: bool | None) -> None:
    recorded = facts(**changes)
    if value is None:
        with pytest.raises(UnrecordedError) as told:
            Condition(condition).holds(recorded, {})
        assert told.value.condition == condition
        return
    assert Condition(condition).holds(recorded, {}) is value
    # The `cel` package is given whole maps: it may know less, and never says otherwise.
    with contextlib.suppress(UnrecordedError):
        assert Condition(condition, reference=True).holds(recorded, {}) is value


def test_a_map_of_which_only_names_are_known_gives_nothing_else_away() -> None:
    known = UnrecordedMap("values", frozenset({"a"}))
    assert "a" in known
    assert "b" not in known
    for use in (
        lambda: known["a"],
        lambda: len(known),
        lambda: list(known),
        lambda: known == {},
        lambda: known.items(),
        lambda: known.get("a"),
    ):
        with pytest.raises(UnrecordedError, match="records do not hold values"):
            use()
    with pytest.raises(KeyError):
        known["b"]
