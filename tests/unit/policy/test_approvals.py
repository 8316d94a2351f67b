"""Calls of tools that wait until somebody approves them."""

from __future__ import annotations

import msgspec
import pytest

from eastwall.model.decision import Verdict
from eastwall.model.facts import DataHit
from eastwall.model.snapshot import Approval
from eastwall.policy.actions.problem import answer
from eastwall.policy.approvals import MAX_OF_ONE, TOLD, Asked, approval_id
from eastwall.policy.steps.approvals import APPROVAL_NEEDED

from .build import NOW, document
from .test_taints import FETCH, World, after, bot

NEEDED = document("ToolPolicy", "big", servers=["bank"], tools=["pay"], approval="operator", show=["amount", "to"])


def waiting(world: World) -> list[Asked]:
    return world.limits.approvals.told(world.now)[0]


def approve(world: World, name: str, **more: object) -> Approval:
    values: dict[str, object] = {"granted": world.now, "until": world.now + 600, "by": "alice@desk", **more}
    made = Approval(name, **values)  # type: ignore[arg-type]
    world.limits.approvals.follow([made])
    return made


def detail(verdict: Verdict) -> str:
    (effect,) = verdict.effects
    assert effect.type == APPROVAL_NEEDED  # type: ignore[union-attr]
    return effect.detail  # type: ignore[union-attr,no-any-return]


def test_refused_with_an_id_approved_once_and_refused_again() -> None:
    world = World(NEEDED)
    verdict = world.tool("pay", bot(), amount=900, to="acct_7", note="x")
    (asked,) = waiting(world)
    assert (asked.tool, asked.actor, asked.arguments) == ("pay", "client:bot", {"amount": "900", "to": "acct_7"})
    assert asked.id in detail(verdict)
    assert verdict.matches[0].to_pass == f"have it approved: eastwall approval grant {asked.id}"
    approve(world, asked.id)
    assert world.tool("pay", bot(), amount=901, to="acct_7", note="x").action == "block", "other arguments are another call"
    assert world.tool("pay", bot("other"), amount=900, to="acct_7", note="x").action == "block", "so is another caller's"
    passed = world.tool("pay", bot(), to="acct_7", note="x", amount=900)
    assert (passed.action, passed.matches[0].action) == ("allow", "allow")
    assert "alice@desk approved it, once" in passed.matches[0].reason
    assert world.limits.approvals.told(world.now)[1] == [(asked.id, world.now)]
    assert world.tool("pay", bot(), amount=900, to="acct_7", note="x").action == "block", "it was for one call"


def test_approved_for_a_time_and_refused_for_a_time() -> None:
    world = World(NEEDED)
    world.tool("pay", bot(), amount=1)
    (asked,) = waiting(world)
    approve(world, asked.id, once=False)
    assert [world.tool("pay", bot(), amount=1).action for _ in range(3)] == ["allow"] * 3
    world.now += 600
    assert world.tool("pay", bot(), amount=1).action == "block"
    approve(world, asked.id, denied=True)
    told = detail(world.tool("pay", bot(), amount=1))
    assert told == f"Approval of this call was refused ({asked.id})."


def test_what_is_refused_for_another_reason_waits_for_nobody() -> None:
    strict = document("ToolPolicy", "small", servers=["bank"], tools=["pay"], arguments=["arguments.amount <= 10"])
    for text in (NEEDED + strict, strict + NEEDED):
        world = World(text)
        assert world.tool("pay", bot(), amount=900).action == "block"
        assert bool(waiting(world)) is (text == NEEDED + strict), "the first that decides wins"
        approve(world, waiting(world)[0].id if waiting(world) else "ap-x")
        assert world.tool("pay", bot(), amount=900).action == "block"
        assert world.limits.approvals.told(world.now)[1] == [], "what is refused uses nothing"


def test_on_trial_nobody_is_asked() -> None:
    world = World(document("ToolPolicy", "big", servers=["bank"], tools=["pay"], approval="operator", mode="monitor"))
    verdict = world.tool("pay", bot(), amount=1)
    assert (verdict.action, verdict.would, waiting(world)) == ("allow", "block", [])


def test_two_engines_share_a_single_use() -> None:
    one, other = World(NEEDED), World(NEEDED)
    one.limits.share("a")
    other.limits.share("b")
    one.tool("pay", bot(), amount=1)
    (asked,) = waiting(one)
    for world in (one, other):
        approve(world, asked.id)
    assert one.tool("pay", bot(), amount=1).action == "allow"
    other.limits.hear(one.limits.news())
    assert other.tool("pay", bot(), amount=1).action == "block"


def test_after_reading_the_web_somebody_else_decides() -> None:
    world = World(after({"services": ["web"]}, then="operator"))
    assert world.tool("pay", bot(), amount=1).action == "allow"
    world.answered("web", bot(), FETCH)
    verdict = world.tool("pay", bot(), amount=1)
    assert "the caller was given an answer of service `web` 0 s ago" in verdict.matches[0].reason
    approve(world, waiting(world)[0].id)
    assert world.tool("pay", bot(), amount=1).action == "allow"


def test_a_batch_waits_for_all_its_calls_and_the_same_call_twice_needs_two() -> None:
    world = World(NEEDED)
    calls = [
        {"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": "pay", "arguments": {"amount": amount}}}
        for n, amount in enumerate((1, 1, 2))
    ]
    assert world.judge(world._asked("bank", bot(), calls)).action == "block"
    names = [one.id for one in waiting(world)]
    assert len(names) == 2
    world.limits.approvals.follow([Approval(name, NOW, NOW + 60, "alice") for name in names])
    assert world.judge(world._asked("bank", bot(), calls)).action == "block"
    assert world.judge(world._asked("bank", bot(), calls[1:])).action == "allow"


def test_sensitive_arguments_are_shown_masked_and_long_ones_cut() -> None:
    world = World(NEEDED)
    facts = world._asked(
        "bank", bot(), FETCH | {"params": {"name": "pay", "arguments": {"to": "4111111111111111", "amount": "9" * 500}}}
    )
    hit = DataHit("pan", "params.arguments.to", "************1111")
    world.judge(msgspec.structs.replace(facts, data=(hit,)))
    (asked,) = waiting(world)
    assert asked.arguments["to"] == "pan ************1111"
    assert len(asked.arguments["amount"]) == 200


def test_a_flood_of_one_caller_pushes_out_its_own() -> None:
    world = World(NEEDED)
    world.tool("pay", bot("calm"), amount=1)
    for number in range(3 * MAX_OF_ONE):
        world.tool("pay", bot("wild"), amount=number)
    callers = [one.actor for one in waiting(world)]
    assert (callers.count("client:calm"), callers.count("client:wild")) == (1, MAX_OF_ONE)
    world.now += TOLD
    assert waiting(world) == []


def test_an_id_depends_on_the_key_and_not_on_the_order_of_names() -> None:
    of = ("bank", "pay", "user:a", "")
    assert approval_id(b"k", *of, {"a": 1, "b": 2}) == approval_id(b"k", *of, {"b": 2, "a": 1})
    assert len({approval_id(k, *of, {"a": n}) for k in (b"k", b"l") for n in (1, 2)}) == 4


@pytest.mark.parametrize("number", [7, "seven"])
def test_the_agent_gets_a_tools_error_with_the_reason(number: object) -> None:
    world = World(NEEDED)
    facts = world._asked("bank", bot(), {**FETCH, "id": number, "params": {"name": "pay", "arguments": {}}})
    got = answer(world.judge(facts), facts.call, facts)
    body = msgspec.json.decode(got.body or b"")
    assert (got.deny, got.status, body["id"], body["result"]["isError"]) == (True, 200, number, True)
    assert f"operator: {waiting(world)[0].id}." in body["result"]["content"][0]["text"]
    assert body["result"]["_meta"]["eastwall.dev/problem"]["event_id"] == facts.call.id


@pytest.mark.parametrize("body", [[FETCH], {**FETCH, "id": None}, {k: v for k, v in FETCH.items() if k != "id"}])
def test_what_is_no_single_call_gets_a_problem(body: object) -> None:
    calls = body if isinstance(body, list) else [body]
    made = [{**call, "params": {"name": "pay", "arguments": {}}} for call in calls]
    world = World(NEEDED)
    facts = world._asked("bank", bot(), made if isinstance(body, list) else made[0])
    got = answer(world.judge(facts), facts.call, facts)
    assert (got.status, msgspec.json.decode(got.body or b"")["type"].rpartition("/")[2]) == (403, APPROVAL_NEEDED)
