"""Facts of recorded calls: what a record holds is there, what it does not hold raises."""

from __future__ import annotations

import contextlib

import pytest
from tests.unit.policy.build import NOW

from eastwall.discovery.inventory import compile_inventory
from eastwall.model.call import Request
from eastwall.model.operation import Operation
from eastwall.model.record import CallRecord
from eastwall.policy.conditions import Condition
from eastwall.policy.recorded import (
    Identities,
    RecordedFacts,
    RecordedOperation,
    RecordedRequest,
    UnrecordedError,
    UnrecordedMap,
    read_record,
)


def facts(**changes: object) -> RecordedFacts:
    values = {"actor": "user:bob", "actor_kind": "user", "actor_class": "user", "strength": 3, "principals": ("user:bob",), "strengths": (3,),
              "body_kind": "none"} | changes  # fmt: skip
    record = CallRecord(1, "ID", NOW, "orders", "GET", "/orders/7", "orders.shop", 200, 0, 0, 0, "10.0.0.9", **values)  # type: ignore[arg-type]
    return read_record(record, compile_inventory(()), Identities()).request


def test_every_attribute_of_requests_and_operations_is_there() -> None:
    for recorded, whole in ((RecordedRequest, Request), (RecordedOperation, Operation)):
        missing = [name for name in whole.__struct_fields__ if not hasattr(recorded, name)]
        assert not missing, (
            f"{recorded.__name__} lacks {missing}: a policy that reads it would fail, and not be `cannot be judged`"
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
        ("request.size == 0", {"body_kind": "json"}, None),
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
