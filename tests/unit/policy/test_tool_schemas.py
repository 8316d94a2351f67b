"""SchemaPolicies hold the arguments of tools against what their servers say that they take."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from eastwall.model.call import BodyState, Response
from eastwall.model.decision import Strip, Verdict
from eastwall.policy.defined_tools import MAX_FORMS, MAX_SCHEMA, STANDS, DefinedTools
from eastwall.policy.tool_calls import digest

from .build import NOW, document, response
from .test_taints import World, bot, message

SCHEMA = document("SchemaPolicy", "tools", types="block", unknown="block", missing="block", scope={"services": ["bank"]})
PAY = {
    "name": "pay",
    "description": "Pays.",
    "inputSchema": {"type": "object", "properties": {"amount": {"type": "number", "maximum": 100}}, "required": ["amount"]},
}
WIDER = {**PAY, "inputSchema": {**PAY["inputSchema"], "properties": {"amount": {"type": "number"}, "to": {"type": "string"}}}}


def listed(
    world: World, *tools: Any, state: BodyState = BodyState.COMPLETE, service: str = "bank", event: bool = False
) -> Verdict:
    from eastwall.policy import evaluate

    asked = world._asked(service, bot(), message("tools/list"))
    asked = msgspec.structs.replace(asked, operation=msgspec.structs.replace(asked.operation, name="tools/list"))
    body = {"jsonrpc": "2.0", "id": 1, "result": {"tools": list(tools)}} if state is BodyState.COMPLETE else None
    facts = response(asked, body=body, answered=Response(200, {}, body_state=state))
    return evaluate(world.plan, facts, (), (), world.limits, event=event)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"amount": "5"}, "`params.arguments.amount`: expected a number, got a string"),
        ({"amount": 500}, "`params.arguments.amount`: expected at most 100, got another number"),
        ({}, "`params.arguments.amount`: expected the argument, got none"),
        ({"amount": 5, "cc": "eve"}, "`params.arguments.cc`: expected no such argument, got one"),
    ],
)
def test_arguments_that_are_not_as_the_tool_says(arguments: dict[str, Any], said: str) -> None:
    world = World(SCHEMA)
    assert world.tool("pay", bot(), **arguments).action == "allow", "nothing is known yet"
    listed(world, PAY)
    verdict = world.tool("pay", bot(), **arguments)
    assert (verdict.action, verdict.effects[0].type, verdict.matches[0].reason) == ("block", "schema-violation", said)  # type: ignore[union-attr]
    assert world.tool("pay", bot(), amount=5).action == "allow"
    assert world.tool("other", bot(), x=1).action == "allow"
    assert world.tool("pay", bot(), service="web", **arguments).action == "allow"


def test_unknown_arguments_are_taken_out() -> None:
    world = World(document("SchemaPolicy", "tools", unknown="strip", scope={"services": ["bank"]}))
    listed(world, PAY, event=True)
    verdict = world.tool("pay", bot(), amount=5, cc="eve")
    assert verdict.effects == (Strip((("params", "arguments", "cc"),)),)
    calls = [message("tools/call", name="pay", arguments=one) for one in ({"amount": 1}, {"amount": 1, "cc": "eve"})]
    assert world.judge(world._asked("bank", bot(), calls)).effects == (Strip(((1, "params", "arguments", "cc"),)),)


def test_arguments_that_are_no_object() -> None:
    world = World(SCHEMA)
    listed(world, PAY)
    verdict = world.judge(world._asked("bank", bot(), message("tools/call", name="pay", arguments=[1])))
    assert verdict.matches[0].reason == "`params.arguments`: expected an object, got an array"


def test_definitions_stand_beside_each_other_for_a_day() -> None:
    world = World(SCHEMA)
    listed(world, WIDER)
    world.now += 3600
    listed(world, PAY)
    assert world.tool("pay", bot(), amount=5, to="x").action == "allow", "another caller may have been told otherwise"
    world.now += STANDS - 1800
    assert world.tool("pay", bot(), amount=5, to="x").action == "block"


def test_a_tool_that_is_never_the_same_is_held_against_nothing() -> None:
    world = World(SCHEMA)
    for number in range(MAX_FORMS + 1):
        listed(world, {**PAY, "description": f"For tenant {number}."})
    assert world.tool("pay", bot(), amount="5").action == "allow"


def test_what_is_pinned_otherwise_does_not_count() -> None:
    pin = document("ToolPolicy", "pin", servers=["bank"], pinned={"pay": digest(PAY)}, changed="report")
    world = World(SCHEMA + pin)
    listed(world, WIDER)
    assert world.tool("pay", bot(), amount="5").action == "allow", "nothing is known of the pinned one"
    listed(world, PAY)
    assert world.tool("pay", bot(), amount=5, to="x").action == "block"
    unpinned = World(SCHEMA)
    listed(unpinned, WIDER)
    listed(unpinned, PAY)
    world.limits = unpinned.limits
    assert world.tool("pay", bot(), amount=5, to="x").action == "block", "also what was seen before it was pinned"


def test_a_list_that_was_not_read_whole_leaves_nothing_known() -> None:
    world = World(SCHEMA)
    listed(world, PAY)
    listed(world, PAY, state=BodyState.TRUNCATED)
    assert world.tool("pay", bot(), amount="5").action == "allow"


def test_a_policy_on_learned_schemas_alone_does_not_ask_the_tool() -> None:
    world = World(document("SchemaPolicy", "tools", types="block", source="learned", scope={"services": ["bank"]}))
    listed(world, PAY)
    assert (world.tool("pay", bot(), amount="5").action, len(world.limits.tools)) == ("allow", 0)


def test_engines_tell_each_other() -> None:
    from eastwall.decision.state import LiveState

    one, other = LiveState(), LiveState()
    one.share(at_once=True, engine="a")
    one.limits.tools.note("bank", "/x", "pay", "sha256:1", PAY["inputSchema"], NOW)
    assert one.urgent()
    for topic, entry in one.news():
        other.hear(topic, entry)
    assert [form.digest for form in other.limits.tools.of("bank", "/x", "pay", NOW)] == ["sha256:1"]
    with pytest.raises(ValueError, match="none"):
        other.hear("tools", msgspec.msgpack.encode([("bank", "/x", "pay", "d", b"[]", NOW)]))


def test_room_is_bounded_and_what_is_too_large_says_nothing() -> None:
    table = DefinedTools()
    for number in range(3_000):
        table.note("bank", f"/{number}", "pay", "d", {"x": "y" * 10_000}, NOW)
    assert len(table) < 2_000
    table.note("bank", "/", "huge", "d", {"required": ["x" * MAX_SCHEMA]}, NOW)
    assert table.of("bank", "/", "huge", NOW)[0].schema.violations({}) == []
