"""Answers to refused callers."""

from __future__ import annotations

import json

import pytest

from eastwall.model.decision import ALLOWED, PASS, Deny, Redact, Throttle, Verdict
from eastwall.policy import LimitTable, answer, evaluate

from .build import document, finding, judge, plan, request, response, user

HOSTILE = "<script>alert(1)</script>' OR 1=1 -- \r\nset-cookie: x=1"


def test_a_denied_call_gets_problem_details() -> None:
    facts = request()
    got = answer(judge(document("AccessPolicy", action="deny", reason="Closed."), facts), facts.call, facts)
    assert got.deny
    assert got.body is not None
    assert json.loads(got.body) == {
        "type": "https://eastwall.dev/problems/access-denied",
        "title": "Access denied",
        "status": 403,
        "detail": "Closed.",
        "instance": f"urn:eastwall:event:{facts.call.id}",
        "event_id": facts.call.id,
    }
    headers = dict(got.headers)
    assert (got.status, headers["content-type"], headers["cache-control"]) == (403, "application/problem+json", "no-store")
    assert headers["x-eastwall-event-id"] == facts.call.id


def test_a_throttled_call_is_told_when_to_come_back() -> None:
    facts = request()
    verdict = Verdict("limit", "limit", (Throttle(2.2, 100, 0, "Slowly."),))
    got = answer(verdict, facts.call)
    headers = dict(got.headers)
    assert (got.status, headers["retry-after"], headers["ratelimit-limit"], headers["ratelimit-remaining"]) == (
        429,
        "3",
        "100",
        "0",
    )
    assert headers["ratelimit-reset"] == "3"
    assert headers["ratelimit"] == '"default";r=0;t=3'
    assert headers["ratelimit-policy"] == '"default";q=100'


def test_retry_after_is_never_nought() -> None:
    got = answer(Verdict("limit", "limit", (Throttle(0.0001, 1, 0, "x"),)), request().call)
    assert dict(got.headers)["retry-after"] == "1"


def test_head_gets_no_body() -> None:
    facts = request("HEAD")
    got = answer(judge(document("AccessPolicy", action="deny"), facts), facts.call, facts)
    assert (got.status, got.body) == (403, b"")


@pytest.mark.parametrize("effects", [(), (Redact(("pan",), "mask"),)])
def test_what_refuses_nothing_passes(effects: tuple[Redact, ...]) -> None:
    assert answer(Verdict("redact", "redact", effects), request().call) is PASS
    assert answer(ALLOWED, request().call) is PASS


def test_the_first_refusal_is_the_answer() -> None:
    verdict = Verdict("block", "block", (Redact(("pan",), "mask"), Deny(403, "a", "b", "c"), Throttle(1, 1, 0, "d")))
    assert answer(verdict, request().call).status == 403


def test_nothing_of_the_callers_text_comes_back() -> None:
    facts = request(
        "GET", "/orders/" + "marker" + "?q=marker", user("marker" + HOSTILE), headers={"x-a": "marker"}, body={"a": "marker"}
    )
    texts = [
        document("AccessPolicy", action="deny"),
        document("AccessPolicy", action="allow", scope={"identities": {"roles": ["x"]}}),
        document("AccessPolicy", action="deny", when="request.headers['marker'] == 'x'"),
        document("LimitPolicy", rate="1/d", burst=1),
        document("DataPolicy", classes=["pan"], action="block"),
        "",
    ]
    seen = 0
    for text in texts:
        compiled, table = plan(text), LimitTable()
        for one in (facts, facts, response(facts, ["pan"])):
            found = [finding()] if text == "" else []
            got = answer(evaluate(compiled, one, found, (), table), one.call, one)
            if got.deny:
                seen += 1
                whole = (got.body or b"") + repr(got.headers).encode()
                assert b"marker" not in whole
                assert b"script" not in whole
                assert b"sql" not in whole
                assert all("\n" not in value and "\r" not in value for _, value in got.headers)
    assert seen >= 8
