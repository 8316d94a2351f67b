"""What a caller was given closes tools to it for a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pytest

from eastwall.model.call import BodyState, Mode, Response
from eastwall.model.decision import Verdict
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity, Principal, Strength
from eastwall.model.snapshot import ServiceScope
from eastwall.policy import LimitTable, compile_plan, encode, evaluate

from .build import DETECTIONS, NOW, document, policies, request, response

SERVICES = [
    ServiceScope("bank", Mode.ENFORCE),
    ServiceScope("web", Mode.ENFORCE),
    ServiceScope("crm", Mode.DISCOVER),
    ServiceScope("weather", Mode.MONITOR, exposure="external"),
]


def bot(name: str = "bot", strength: Strength = Strength.VERIFIED, human: str = "") -> Identity:
    agent = Principal("client", name, strength)
    chain = (agent, *([Principal("user", human, Strength.VERIFIED)] if human else []))
    actor, behind = (f"user:{human}", f"user:{human}") if human else (f"client:{name}", "")
    return Identity(actor, actor.partition(":")[0], strength, "x", chain, agent=f"client:{name}", human=behind)


class World:
    """Calls one after another, under one set of policies."""

    def __init__(self, text: str) -> None:
        own = encode(policies(text))
        self.plan = compile_plan(own, services=SERVICES, endpoints=(), detections=DETECTIONS)
        self.limits = LimitTable()
        self.now = NOW

    def _asked(self, service: str, who: Identity, body: object) -> Facts:
        asked = request("POST", "/x", who, service=service, body=body, time=self.now)
        protocol = "mcp" if body is not None else "rest"
        return msgspec.structs.replace(asked, operation=msgspec.structs.replace(asked.operation, protocol=protocol))

    def tool(self, name: str, who: Identity, service: str = "bank", **arguments: object) -> Verdict:
        return self.judge(self._asked(service, who, message("tools/call", name=name, arguments=arguments)))

    def answered(self, service: str, who: Identity, body: object = None, data: Sequence[str] = (), status: int = 200) -> Verdict:
        """An answer of a service to a plain call, or to an MCP message."""
        answer = Response(status, {}, body_state=BodyState.COMPLETE)
        return self.judge(response(self._asked(service, who, body), data, answered=answer))

    def judge(self, facts: Facts) -> Verdict:
        return evaluate(self.plan, facts, (), (), self.limits)


def message(method: str, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def after(*sources: Mapping[str, object], **more: object) -> str:
    return document("ToolPolicy", "careful", servers=["bank"], tools=["pay"], taint={"sources": list(sources), **more})


FETCH = message("tools/call", name="fetch", arguments={"url": "https://example.com"})


def test_after_reading_the_web_no_payments_for_a_time() -> None:
    world = World(after({"tools": ["fetch"]}, within="30m"))
    assert world.tool("pay", bot()).action == "allow"
    world.answered("web", bot(), FETCH)
    world.now += 60
    verdict = world.tool("pay", bot())
    assert verdict.action == "block"
    assert verdict.matches[0].reason == "tool `pay`: the caller was given an answer of tool `fetch` 60 s ago, less than 30m"
    assert verdict.matches[0].to_pass == "wait until 30m have passed since"
    assert verdict.effects[0].detail == "This tool may not be called for 30m after what was read before."  # type: ignore[union-attr]
    assert world.tool("balance", bot()).action == "allow"
    assert world.tool("pay", bot("other")).action == "allow"
    world.now += 29 * 60
    assert world.tool("pay", bot()).action == "allow"


def test_what_was_given_is_what_left_us() -> None:
    redact = document("DataPolicy", "no-cards", action="redact", classes=["pan"], scope={"services": ["web"]})
    block = document("DataPolicy", "no-ssn", action="block", classes=["ssn"], scope={"services": ["web"]})
    world = World(after({"data": ["pan", "ssn"]}) + redact + block)
    assert world.plan.data_classes("response") >= {"pan", "ssn"}
    assert world.answered("web", bot(), data=["pan"]).action == "redact"
    assert world.answered("web", bot(), data=["ssn"]).action == "block"
    assert world.answered("web", bot(), data=["email"]).action == "allow"
    assert world.tool("pay", bot()).action == "allow"
    world.answered("crm", bot(), data=["pan"])  # discover mode changes nothing, and what passes there is noted
    assert "data of class `pan` 0 s ago" in world.tool("pay", bot()).matches[0].reason


def test_rows_that_became_counts_were_not_given() -> None:
    count = document("DataPolicy", "counts", action="aggregate", scope={"services": ["web"]})
    world = World(after({"data": ["pan"]}) + count)
    rows = [{"pan": "4111111111111111"}, {"pan": "4111111111111111"}]
    facts = response(world._asked("web", bot(), None), ["pan"], body=rows)
    inside = msgspec.structs.replace(facts, data=(msgspec.structs.replace(facts.data[0], place="[].pan"),))
    assert world.judge(inside).action == "redact"
    assert world.tool("pay", bot()).action == "allow"
    world.judge(facts)  # one beside the list
    assert world.tool("pay", bot()).action == "block"


def test_all_fields_of_a_source_agree_and_one_source_is_enough() -> None:
    world = World(after({"services": ["web"], "data": ["pan"]}, {"exposure": ["external"]}))
    world.answered("web", bot(), FETCH)
    world.answered("crm", bot(), data=["pan"])
    assert world.tool("pay", bot()).action == "allow"
    world.answered("weather", bot())
    assert "an answer of exposure `external`" in world.tool("pay", bot()).matches[0].reason


@pytest.mark.parametrize(
    ("body", "status", "noted"),
    [
        (message("initialize", protocolVersion="2025-11-25"), 200, False),
        (message("tools/list"), 200, False),
        (FETCH, 401, False),
        (FETCH, 429, False),
        (FETCH, 500, True),
        (message("resources/read", uri="file:///x"), 200, True),
        ([message("tools/list"), FETCH], 200, True),
    ],
)
def test_what_a_server_says_of_itself_is_no_content(body: object, status: int, noted: bool) -> None:
    world = World(after({"services": ["web"]}))
    world.answered("web", bot(), body, status=status)
    assert world.tool("pay", bot()).action == ("block" if noted else "allow")


def test_the_stream_of_a_session_counts_by_its_answers() -> None:
    world = World(after({"services": ["web"]}))
    asked = request("GET", "/mcp", bot(), service="web", time=NOW)
    asked = msgspec.structs.replace(asked, operation=msgspec.structs.replace(asked.operation, protocol="mcp"))
    evaluate(world.plan, response(asked), (), (), world.limits)
    ping = response(asked, body={"jsonrpc": "2.0", "method": "notifications/progress"})
    evaluate(world.plan, ping, (), (), world.limits, event=True)
    assert world.tool("pay", bot()).action == "allow"
    told = response(asked, body={"jsonrpc": "2.0", "id": 1, "result": {"content": []}})
    evaluate(world.plan, told, (), (), world.limits, event=True)
    assert world.tool("pay", bot()).action == "block"


def test_people_who_call_without_an_agent_are_not_concerned() -> None:
    world = World(after({"data": ["pan"]}))
    alone = Identity("user:alice", "user", Strength.VERIFIED, "x", (Principal("user", "alice", Strength.VERIFIED),))
    world.answered("crm", alone, data=["pan"])
    assert world.tool("pay", bot(human="alice")).action == "allow"
    world.answered("crm", bot(human="alice"), data=["pan"])
    assert world.tool("pay", bot(human="alice")).action == "block"
    assert world.tool("pay", bot(human="bob")).action == "allow"


def test_an_agent_that_is_only_claimed_stays_the_same_caller() -> None:
    world = World(after({"services": ["web"]}))
    first, second = (bot(name, Strength.GUESSED, human="eve") for name in ("one", "two"))
    world.answered("web", first, FETCH)
    assert world.tool("pay", second).action == "block", "another User-Agent is no other caller"


def test_a_human_behind_the_call_is_enough_where_the_policy_says_so() -> None:
    world = World(after({"services": ["web"]}, then="human"))
    for who, action in ((bot(human="alice"), "allow"), (bot(), "block")):
        world.answered("web", who, FETCH)
        assert world.tool("pay", who).action == action


def test_engines_tell_each_other_and_clocks_may_jump() -> None:
    one, other = World(after({"services": ["web"]})), World(after({"services": ["web"]}))
    one.limits.share("a")
    other.limits.share("b")
    one.answered("web", bot(), FETCH)
    other.limits.hear(one.limits.news())
    assert other.tool("pay", bot()).action == "block"
    one.now -= 86_400
    assert one.tool("pay", bot()).action == "block", "a clock that was set back opens nothing"
    one.now += 2 * 86_400
    assert one.tool("pay", bot()).action == "allow"


def test_a_source_that_was_changed_begins_anew() -> None:
    world = World(after({"services": ["web"]}))
    world.answered("web", bot(), FETCH)
    changed = World(after({"services": ["web", "crm"]}))
    changed.limits = world.limits
    assert changed.tool("pay", bot()).action == "allow"


def test_a_flood_of_callers_takes_no_more_room_than_there_is() -> None:
    from eastwall.policy.distinct import DistinctTable

    world = World(after({"services": ["web"]}))
    world.limits.objects = DistinctTable(100)
    for number in range(1_000):
        world.answered("web", bot(f"b{number}"), FETCH)
    assert len(world.limits.objects) == 100
