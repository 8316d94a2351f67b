"""Refusals in the form of the protocol that was spoken, read by those protocols' own clients."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp.types import JSONRPCError

from eastwall.model.call import BodyState, Call, Peer, Request
from eastwall.model.decision import Answer, Deny, Throttle, Verdict
from eastwall.model.facts import Facts, Match, Phase
from eastwall.policy import answer
from eastwall.protocols.decode import decode_request
from eastwall.protocols.limits import DEFAULT

from .build import user

DENIED = Verdict("block", "block", (Deny(403, "Access denied", "Closed.", "access-denied"),))


def facts(body: Any, target: str = "/mcp", accept: str = "") -> Facts:
    raw = json.dumps(body).encode()
    headers = {"content-type": "application/json"} | ({"accept": accept} if accept else {})
    asked = Request("POST", target, headers, "tools.corp", body=raw, body_state=BodyState.COMPLETE)
    call = Call("01HF0000000000000000000000", "tools", 1.8e9, Peer("10.0.0.9"), asked)
    return Facts(call, Phase.REQUEST, decode_request(asked, DEFAULT), Match(None), user())


def refused(one: Facts, verdict: Verdict = DENIED) -> Answer:
    return answer(verdict, one.call, one)


def calls(number: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "refund", "arguments": {"order": 7}}}


@pytest.mark.parametrize("number", [7, "a-1", 0])
def test_an_mcp_client_reads_the_reason(number: Any) -> None:
    one = facts(calls(number))
    got = refused(one)
    assert one.operation.protocol == "mcp"
    assert (got.status, dict(got.headers)["content-type"]) == (403, "application/json")
    error = JSONRPCError.model_validate_json(got.body or b"")
    assert (error.id, error.error.code, error.error.message) == (number, -32001, "Access denied: Closed.")
    assert error.error.data["event_id"] == one.call.id
    assert error.error.data["status"] == 403


def test_json_rpc_that_is_no_mcp() -> None:
    got = refused(facts({"jsonrpc": "2.0", "id": 3, "method": "eth_call", "params": []}, "/rpc"))
    assert json.loads(got.body or b"")["error"]["data"]["type"].endswith("/access-denied")


@pytest.mark.parametrize(
    "body", [[calls(1), calls(2)], {k: v for k, v in calls(1).items() if k != "id"}, calls(True), calls("x" * 300)]
)
def test_batches_notifications_and_odd_ids_get_the_problem_document(body: Any) -> None:
    got = refused(facts(body))
    assert (got.status, dict(got.headers)["content-type"]) == (403, "application/problem+json")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "application/json"),
        ("application/json", "application/json"),
        ("application/graphql-response+json, application/json;q=0.9", "application/graphql-response+json"),
    ],
)
def test_graphql_gets_errors_without_data(accept: str, form: str) -> None:
    one = facts({"query": "{ order(id: 7) { total } }"}, "/graphql", accept)
    got = refused(one)
    assert one.operation.protocol == "graphql"
    assert (got.status, dict(got.headers)["content-type"]) == (403, form)
    body = json.loads(got.body or b"")
    assert list(body) == ["errors"]
    assert body["errors"][0]["message"] == "Access denied: Closed."
    assert body["errors"][0]["extensions"] == {
        "code": "FORBIDDEN",
        "type": "https://eastwall.dev/problems/access-denied",
        "title": "Access denied",
        "status": 403,
        "detail": "Closed.",
        "instance": f"urn:eastwall:event:{one.call.id}",
        "event_id": one.call.id,
    }


def test_too_many_requests_keep_their_headers() -> None:
    got = refused(
        facts({"query": "{ orders { id } }"}, "/graphql"), Verdict("limit", "limit", (Throttle(2.2, 100, 0, "Slowly."),))
    )
    assert (got.status, dict(got.headers)["retry-after"]) == (429, "3")
    assert json.loads(got.body or b"")["errors"][0]["extensions"]["code"] == "RATE_LIMITED"


def test_a_rest_call_keeps_the_problem_document() -> None:
    got = refused(facts({"order": 7}, "/orders"))
    assert dict(got.headers)["content-type"] == "application/problem+json"
