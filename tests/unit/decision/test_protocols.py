"""Calls beyond REST through `decide`: found by their operation, and inspected like any other."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.decision.world import ENDPOINTS, answer, call, live

from eastwall.decision.decide import decide
from eastwall.decision.state import LiveState
from eastwall.discovery.inventory import endpoint_id
from eastwall.discovery.objects import used
from eastwall.discovery.walk import read_request, read_request_slowly
from eastwall.model.call import Call
from eastwall.model.endpoint import Endpoint, Match, ObjectParameter
from eastwall.protocols.decode import decode_request


def operation(path: str, protocol: str, name: str) -> Endpoint:
    key = endpoint_id("orders", "POST", path, name)
    return Endpoint(key, "orders", "POST", path, protocol=protocol, operation=name, status="learned")


QUERY = operation("/graphql", "graphql", "query order")
PAY = operation("/graphql", "graphql", "mutation pay")
SEARCH = operation("/mcp", "mcp", "tools/call search")
WORLD = live(endpoints=(*ENDPOINTS, QUERY, PAY, SEARCH))


def graphql(text: str, **variables: Any) -> Call:
    return call("POST", "/graphql", {"query": text, "variables": variables}, user="alice")


def tool(name: str, headers: dict[str, str] | None = None, **arguments: Any) -> Call:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    return call("POST", "/mcp", body, user="alice", headers=headers)


@pytest.mark.parametrize(
    ("asked", "endpoint"),
    [
        (graphql("query Q($id: ID!) { mine: order(id: $id) { id } }", id="5"), QUERY),
        (graphql("mutation { pay }"), PAY),
        (graphql("{ order(id: 1) { id } users { id } }"), None),
        (tool("search"), SEARCH),
        (tool("delete"), None),
    ],
)
def test_the_endpoint_is_the_operations(asked: Call, endpoint: Endpoint | None) -> None:
    state = LiveState()
    first = decide(asked, WORLD, state)
    assert first.match.endpoint == endpoint
    second = decide(
        replace(asked, response=answer({"errors": [{"message": "no"}], "jsonrpc": "2.0", "error": {"code": 1}}), prior=first),
        WORLD,
        state,
    )
    assert second.facts.operation.name == first.facts.operation.name
    assert second.facts.operation.protocol == first.facts.operation.protocol
    assert second.facts.operation.traits == ("fault",)


ATTACK = "1' OR '1'='1' --"


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        (graphql("query Q($id: ID!) { order(id: $id) { id } }", id=ATTACK), "body.variables.id"),
        (tool("search", text=ATTACK), "body.params.arguments.text"),
        (
            call("POST", "/soap", f"<o><note>{ATTACK}</note></o>".encode(), user="alice", headers={"content-type": "text/xml"}),
            "body.note",
        ),
        (
            call("POST", "/soap", b"<o note=\"1&#39; OR &apos;1'='1' --\"/>", user="alice", headers={"content-type": "text/xml"}),
            "body.@note",
        ),
    ],
)
def test_an_attack_is_found_where_it_stands(asked: Call, place: str) -> None:
    decision = decide(asked, WORLD, LiveState())
    assert [(finding.id, finding.where) for finding in decision.findings] == [("sql-injection", place)]
    assert decision.verdict.action == "block"


def test_the_id_of_a_message_is_no_object() -> None:
    for body in (
        {"jsonrpc": "2.0", "id": "5f0c", "method": "tools/call", "params": {"name": "search", "arguments": {"order_id": 7}}},
        {"jsonrpc": "2.0", "id": 9, "method": "GetOrder", "params": {"order_id": 7}},
    ):
        asked = call("POST", "/mcp?customer_id=4", body, user="alice")
        for match in (Match(SEARCH), Match(None)):
            operation = decode_request(asked.request, WORLD.limits)
            for read in (read_request, read_request_slowly):
                named = read(operation, match, b"k" * 32, "")[1]
                assert [(place.rpartition(".")[2], kind) for place, kind, _, _ in named] == [
                    ("customer_id", "customer"),
                    ("order_id", "order"),
                ]
            assert used(operation, match, b"k" * 32, "") == named


def test_clean_calls_pass() -> None:
    for asked in (
        graphql("query Q($id: ID!) { order(id: $id) { id items { sku } } }", id="5"),
        tool("search", text="select a gift for O'Brien"),
        call("POST", "/soap", b"<o><note>Tom &amp; Jerry</note></o>", user="alice", headers={"content-type": "text/xml"}),
    ):
        decision = decide(asked, WORLD, LiveState())
        assert (decision.findings, decision.verdict.action, decision.facts.uninspected) == ((), "allow", ())


def test_a_gateways_header_that_lies_is_blocked() -> None:
    decision = decide(tool("search", {"mcp-method": "tools/call", "mcp-name": "list"}), WORLD, LiveState())
    assert [(finding.id, finding.where) for finding in decision.findings] == [("parser-differential", "header.mcp-name")]
    assert decision.verdict.action == "block"


def test_what_was_refused_is_counted_as_not_inspected() -> None:
    xxe = b'<!DOCTYPE o [<!ENTITY x SYSTEM "file:///etc/passwd">]><o>&x;</o>'
    decision = decide(call("POST", "/soap", xxe, user="alice", headers={"content-type": "text/xml"}), WORLD, LiveState())
    assert decision.facts.uninspected == ("request-xml-entity",)
    assert decision.verdict.action == "block"


CANCEL = Endpoint(
    endpoint_id("orders", "POST", "/orders/cancel"),
    "orders",
    "POST",
    "/orders/cancel",
    status="learned",
    objects=(ObjectParameter("body.id", "order", exclusive=True, confidence=0.97, evidence="in 400 calls"),),
)


@pytest.mark.parametrize(
    "dress",
    [
        {},
        {"jsonrpc": "2.0", "method": "x"},
        {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "x"}},
        {"query": "query q($id: ID!) { user(id: $id) { name } }", "variables": {}},
    ],
)
def test_members_of_another_protocol_hide_no_object(dress: dict[str, Any]) -> None:
    """The service ignores them and cancels the order; so it is an order that is judged, and not a message's id or a user."""
    world, state = live(endpoints=(*ENDPOINTS, CANCEL)), LiveState()
    for user, number in (("bob", 17), ("alice", 18)):
        asked = call("GET", "/orders", user=user)
        first = decide(asked, world, state)
        decide(replace(asked, response=answer({"items": [{"id": number}]}), prior=first), world, state)
    own = decide(call("POST", "/orders/cancel", {"id": 18, **dress}, user="alice"), world, state)
    others = decide(call("POST", "/orders/cancel", {"id": 17, **dress}, user="alice"), world, state)
    assert [finding.id for finding in own.findings] == []
    assert [finding.id for finding in others.findings] == ["object-not-granted"]
