"""What the data plane may refuse by itself: a subset of what the engine refuses, with the same status; the rest is left to the engine."""

from __future__ import annotations

import re
from typing import Any

import pytest

from eastwall.model.call import Mode
from eastwall.model.decision import Deny
from eastwall.model.endpoint import Match
from eastwall.model.snapshot import ServiceScope
from eastwall.policy import LimitTable, compile_plan, encode, evaluate
from eastwall.policy.offload import native_rules, path_pattern
from eastwall.policy.patterns import parse_operation

from .build import DETECTIONS, NOW, document, endpoint, policies, request, user

DENY = document("AccessPolicy", "deny", action="deny", scope={"operations": ["GET /orders/{id}", "* /admin/**"]})
ALLOW = document("AccessPolicy", "open", action="allow", scope={"operations": ["* /admin/users"]})
SCOPED = {"operations": ["GET /orders/{id}"]}


def rules(text: str, scope: ServiceScope | None = None) -> list[tuple[str, tuple[str, ...], str]]:
    scope = scope or ServiceScope("orders", Mode.ENFORCE)
    plan = compile_plan(encode(policies(text)), services=[scope], endpoints=(), detections=DETECTIONS)
    return [(rule.policy, rule.methods, rule.path) for rule in native_rules(plan, [scope])]


def test_what_is_closed_to_everybody_comes_in_the_order_of_evaluation() -> None:
    zone = document("TrustZone", "vault", members={"services": ["orders"]}, default="allow", admission={"mtls": True})
    closed = document("Quarantine", "shut", scope={"operations": ["POST /orders"]}, indefinite=True)
    found = rules(DENY + zone + closed)
    assert [(policy, methods) for policy, methods, _ in found] == [
        ("shut", ("POST",)),
        ("vault", ()),
        ("deny", ("GET", "HEAD")),
        ("deny", ()),
    ]
    scope = ServiceScope("orders", Mode.ENFORCE)
    plan = compile_plan(encode(policies(zone)), services=[scope], endpoints=(), detections=DETECTIONS)
    assert [rule.without_certificate for rule in native_rules(plan, [scope])] == [True]


@pytest.mark.parametrize(
    "text",
    [
        document("AccessPolicy", "p", action="allow", scope=SCOPED),
        document("AccessPolicy", "p", action="deny", mode="monitor", scope=SCOPED),
        document("AccessPolicy", "p", action="deny", scope={**SCOPED, "identities": {"roles": ["guest"]}}),
        document("AccessPolicy", "p", action="deny", scope=SCOPED, when=["request.size > 10"]),
        document("AccessPolicy", "p", action="deny", scope=SCOPED, rollout={"percent": 10}),
        document("AccessPolicy", "p", action="deny", scope={"services": ["billing"]}),
        document(
            "AccessPolicy", "p", action="deny", scope={"operations": ["GET /a%20b", "GET /report-{n}.csv", "GET /.well-known/x"]}
        ),
        document("Quarantine", "p", scope=SCOPED, until="2999-01-01"),
        document("Quarantine", "p", scope=SCOPED, indefinite=True, maintenance={"roles": ["ops"]}),
        document("Quarantine", "p", scope=SCOPED, indefinite=True, tools=["delete_*"]),
        document("TrustZone", "p", members={"services": ["orders"]}, admission={"strength": "verified"}),
        DENY + document("Exception", "e", policies=["d*"], expires="2999-01-01", reason="r", owner="o"),
        DENY + document("Quarantine", "p", scope={"services": ["orders"]}, issuedAfter="2020-01-01T00:00:00Z", indefinite=True),
        DENY + document("AccessPolicy", "p", action="deny", when=["identity.actor == 'user:eve'"]),
    ],
)
def test_what_is_in_doubt_is_left_to_the_engine(text: str) -> None:
    assert rules(text) == []


SIZED = {"maxSize": "1KiB", "scope": SCOPED}


def test_a_bound_of_size_is_offloaded_where_nothing_is_asked_before_it() -> None:
    scope = ServiceScope("orders", Mode.ENFORCE)
    plan = compile_plan(
        encode(policies(document("SchemaPolicy", "s", **SIZED))), services=[scope], endpoints=(), detections=DETECTIONS
    )
    (rule,) = native_rules(plan, [scope])
    assert (rule.over, rule.methods, rule.status, rule.type.rpartition("/")[2]) == (
        1024,
        ("GET", "HEAD"),
        400,
        "schema-violation",
    )
    # What the engine says of a body that is larger.
    big = request("GET", "/orders/1", time=NOW, body=b'"' + b"x" * 2_000 + b'"', headers={"content-type": "application/json"})
    verdict = evaluate(plan, big, (), (), LimitTable())
    (denied,) = verdict.effects
    assert isinstance(denied, Deny)
    assert (denied.status, denied.title, denied.detail) == (rule.status, rule.title, rule.detail)
    said = next(match for match in verdict.matches if match.action == "block")
    assert (said.policy, said.kind, said.location, said.reason, said.to_pass) == (
        rule.policy, rule.kind, rule.location, rule.reason, rule.to_pass
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"overLimit": "report"}, ""),
        ({"direction": "response"}, ""),
        ({"maxSize": "64MiB"}, ""),
        ({"mode": "monitor"}, ""),
        ({"when": ["request.size > 10"]}, ""),
        ({"scope": {**SCOPED, "identities": {"roles": ["guest"]}}}, ""),
        ({"rollout": {"percent": 10}}, ""),
        ({}, document("AccessPolicy", "a", action="allow", scope={"operations": ["GET /"]})),
        ({}, document("Quarantine", "q", scope={"operations": ["GET /"]}, until="2999-01-01")),
        ({}, document("TrustZone", "z", members={"services": ["orders"]}, default="allow")),
        ({}, document("Exception", "e", policies=["*"], expires="2999-01-01", reason="r", owner="o")),
    ],
)
def test_a_bound_of_size_that_is_in_doubt_is_left_to_the_engine(changes: dict[str, Any], more: str) -> None:
    assert rules(document("SchemaPolicy", "s", **{**SIZED, **changes}) + more) == []


@pytest.mark.parametrize("text", [DENY, document("Quarantine", "p", scope=SCOPED, indefinite=True, reason="Shut.")])
def test_what_is_recorded_is_what_the_engine_records(text: str) -> None:
    scope = ServiceScope("orders", Mode.ENFORCE)
    plan = compile_plan(encode(policies(text)), services=[scope], endpoints=(), detections=DETECTIONS)
    rule = native_rules(plan, [scope])[0]
    verdict = evaluate(plan, request("GET", "/orders/1", None, time=NOW), (), (), LimitTable())
    (denied,), (said,) = verdict.effects, verdict.matches
    assert isinstance(denied, Deny)
    assert (denied.status, denied.title, denied.detail) == (rule.status, rule.title, rule.detail)
    assert (said.policy, said.kind, said.location, said.to_pass) == (rule.policy, rule.kind, rule.location, rule.to_pass)
    assert rule.reason.startswith(said.reason.partition(" to ")[0])


@pytest.mark.parametrize(
    "scope",
    [ServiceScope("orders", Mode.MONITOR), ServiceScope("orders"), ServiceScope("orders", Mode.ENFORCE, over_limit="block")],
)
def test_nothing_is_offloaded_where_the_service_does_not_enforce_or_may_answer_413(scope: ServiceScope) -> None:
    assert rules(DENY, scope) == []


PATHS = (
    "/orders/1", "/orders/1/", "/orders/a.b", "/orders/..", "/orders/.x", "/orders//1", "//orders/1", "/orders/%31", "/orders/1;a", "/Orders/1",
    "/orders", "/admin", "/admin/", "/admin/users", "/admin/users/7", "/admin/../orders", "/admin//x", "/adminx", "/ADMIN", "/", "/admin/a%2fb",
)  # fmt: skip


@pytest.mark.parametrize("known", [False, True])
def test_whatever_is_refused_natively_the_engine_refuses_with_the_same_status(known: bool) -> None:
    scope = ServiceScope("orders", Mode.ENFORCE)
    ends = [endpoint("GET", "/orders/{id}"), endpoint("GET", "/admin/users")]
    plan = compile_plan(encode(policies(DENY + ALLOW)), services=[scope], endpoints=ends, detections=DETECTIONS)
    native, hit = native_rules(plan, [scope]), 0
    for target in PATHS:
        for method in ("GET", "HEAD", "POST"):
            for identity in (None, user("root", roles=("admin",))):
                fits = [r for r in native if (not r.methods or method in r.methods) and re.fullmatch(r.path, target)]
                if not fits:
                    continue
                hit += 1
                match = Match(ends["admin" in target]) if known else None
                facts = request(method, target, identity, match=match, time=NOW)
                verdict = evaluate(plan, facts, (), (), LimitTable())
                assert isinstance(verdict.effects[0], Deny), (method, target)
                assert (verdict.action, verdict.effects[0].status) == ("block", fits[0].status)
    assert hit == 2 * (3 * 2 + 4 * 3), "plain paths are refused natively, and no odd ones"


def test_a_path_pattern_takes_the_paths_of_one_reading_alone() -> None:
    def fits(operation: str) -> list[str]:
        return [path for path in PATHS if re.fullmatch(path_pattern(parse_operation(operation)) or "$.", path)]

    assert fits("GET /orders/{id}") == ["/orders/1", "/orders/1/", "/orders/a.b"]
    assert fits("GET /admin/**") == ["/admin", "/admin/", "/admin/users", "/admin/users/7"]
    assert fits("GET /") == ["/"]
    assert path_pattern(parse_operation("GET /" + "/".join(["long"] * 100))) is None
