"""The fast path says what all the steps say, or nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.model.call import Mode
from eastwall.model.decision import Verdict
from eastwall.model.endpoint import Match
from eastwall.model.identity import Strength
from eastwall.model.snapshot import ServiceScope
from eastwall.policy import LimitTable, Plan, compile_plan, encode, evaluate, fast_path
from eastwall.policy.fast_path import FastPath
from eastwall.policy.patterns import is_odd

from .build import DETECTIONS, NOW, document, endpoint, policies, request, user

ENDPOINTS = (endpoint("GET", "/orders/{order_id}"), endpoint("POST", "/orders"), endpoint("GET", "/other"))
CALLERS = (
    user("alice", roles=("support",)),
    user("bob", Strength.GUESSED, roles=("support",)),
    user("eve", Strength.ASSERTED, agent="client:bot"),
)


class _Slow(dict[str, FastPath]):
    """Keeps no fast path."""

    def __setitem__(self, key: str, value: FastPath) -> None:
        pass


def plans(text: str) -> tuple[Plan, Plan]:
    """With and without fast paths."""
    made = []
    for _ in range(2):
        scopes = [ServiceScope("orders", Mode.ENFORCE)]
        made.append(compile_plan(encode(policies(text)), services=scopes, endpoints=ENDPOINTS, detections=DETECTIONS))
    made[1].fast = _Slow()
    return made[0], made[1]


def verdicts(plan: Plan, asked: Sequence[tuple[str, str, int, int]]) -> list[Verdict]:
    table = LimitTable()
    found = []
    for step, (method, target, caller, known) in enumerate(asked):
        match = Match(ENDPOINTS[known])
        facts = request(method, target, CALLERS[caller], match=match, time=NOW + step)
        found.append(evaluate(plan, facts, (), (), table))
    return found


scopes = st.fixed_dictionaries(
    {"operations": st.sampled_from([[], ["GET /orders/*"], ["GET /orders/{id}", "POST /orders"], ["* /**"], ["GET /orders/7"]])},
    optional={"identities": st.sampled_from([{"roles": ["support"]}, {"agents": ["client:*"]}, {"strength": "asserted"}])},
)
WHEN = st.sampled_from([["has(query.debug)"], ["query.debug == '1'"], ["path.id == '7'"], ["identity.sub == 'alice'"]])
MODES = st.sampled_from(["enforce", "enforce", "enforce", "monitor"])
access = st.fixed_dictionaries(
    {"action": st.sampled_from(["allow", "deny"]), "scope": scopes, "mode": MODES}, optional={"when": WHEN}
)
limited = st.fixed_dictionaries(
    {"rate": st.sampled_from(["1/s", "2/m"]), "scope": scopes, "mode": MODES},
    optional={"concurrency": st.just(3), "when": WHEN, "per": st.just(["source"]), "headers": st.just(True)},
)
excused = st.fixed_dictionaries(
    {"policies": st.just(["p0"]), "reason": st.just("known"), "owner": st.just("team"), "expires": st.just("2030-01-01")}
)
segment = st.fixed_dictionaries(
    {
        "members": st.sampled_from([{"services": ["orders"]}, {"services": ["orders"], "identities": {"roles": ["support"]}}]),
        "mode": MODES,
    },
    optional={"default": st.sampled_from(["allow", "deny"]), "inside": st.just("deny"), "egress": st.just("deny")},
)
written = st.one_of(
    st.tuples(st.just("TrustZone"), segment),
    st.tuples(st.just("AccessPolicy"), access),
    st.tuples(st.just("AccessPolicy"), access),
    st.tuples(st.just("LimitPolicy"), limited),
    st.tuples(st.just("Exception"), excused),
)
asked = st.tuples(
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.sampled_from(["/orders/7", "/orders/8", "/orders/%37", "/orders//7", "/orders", "/other", "/other?debug=1"]),
    st.integers(0, 2),
    st.integers(0, 2),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(written, max_size=4), st.lists(asked, min_size=2, max_size=12))
def test_it_agrees_with_the_steps(specs: list[tuple[str, dict[str, object]]], calls: list[tuple[str, str, int, int]]) -> None:
    fast, slow = plans("".join(document(kind, f"p{i}", **spec) for i, (kind, spec) in enumerate(specs)))
    assert verdicts(fast, calls) == verdicts(slow, calls)
    assert slow.fast == {}


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (document("AccessPolicy", action="allow", scope={"operations": ["GET /orders/*"]}), True),
        (document("AccessPolicy", action="deny", when=["has(query.debug)"]), True),
        (document("LimitPolicy", rate="5/s"), True),
        (document("DetectionPolicy", detections=["*"], action="block"), True),
        (document("TrustZone", members={"services": ["orders"], "identities": {"roles": ["support"]}}), True),
        (document("TrustZone", members={"services": ["orders"]}), False),
        (document("AccessPolicy", action="deny"), False),
        (document("AccessPolicy", action="allow", scope={"operations": ["GET /orders/7"]}), False),
        (document("AccessPolicy", action="deny", when=["path.order_id == 'x'"]), False),
        (document("LimitPolicy", rate="5/s", headers=True), False),
        (document("SchemaPolicy", source="learned", unknown="block"), False),
        (document("TrustZone", members={"services": ["orders"]}, admission={"mtls": True}), False),
    ],
)
def test_it_is_taken_where_only_callers_and_rates_are_asked(text: str, taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, _ = plans(text)
    real, answers = fast_path.judge, []
    monkeypatch.setattr(fast_path, "judge", lambda *given: answers.append(real(*given)) or answers[-1])
    verdicts(plan, [("GET", "/orders/7", 0, 0), ("GET", "/orders/7", 0, 0)])
    assert any(answer is not None for answer in answers) == taken


def test_a_second_engine_is_told_on_whose_account_a_call_is() -> None:
    plan, _ = plans(document("LimitPolicy", rate="5/m", burst=5))
    table = LimitTable()
    table.share("one")
    for step in range(3):
        evaluate(plan, request(match=Match(ENDPOINTS[0]), time=NOW + step), (), (), table)
    ((_, cost, holder),) = table.news().taken
    assert (round(cost), bool(holder)) == (36, True)


@given(st.text("a/.;%\\-1", max_size=12))
def test_a_path_is_odd_when_it_can_be_read_in_several_ways(path: str) -> None:
    assert is_odd(path) == (re.search(r"//|/\.|[;%\\]", path) is not None)
