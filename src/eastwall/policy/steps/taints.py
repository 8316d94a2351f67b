"""What callers were given, and what they may no longer do because of it.

A language model that has read a page, or a table of customers, may do what the page says, or send the table on (the "lethal trifecta": private
data, untrusted content, a way out; OWASP LLM01:2025, LLM02:2025). Whether it will cannot be told from its calls; that it has read can.

Answers are looked at in every mode of the service that they come from, since to note what passed changes nothing. What is known stands in
`LimitTable.objects`: bounded, told to the other engines, forgotten rather than invented.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from eastwall.discovery.identity import source_of
from eastwall.discovery.shares import network_of
from eastwall.model.call import BodyState
from eastwall.model.decision import Aggregate, Redact
from eastwall.model.facts import DataHit, Facts
from eastwall.model.identity import Identity, Strength
from eastwall.policy.conditions import request_operation
from eastwall.policy.kinds import Taint, TaintSource
from eastwall.policy.limits import LimitTable, key_of
from eastwall.policy.patterns import compile_globs
from eastwall.policy.rollout import parse_within
from eastwall.policy.selecting import agent_strength
from eastwall.policy.steps.outcome import Outcome
from eastwall.policy.tool_calls import tool_calls
from eastwall.policy.wording import shown

READING = frozenset({"tools/call", "resources/read", "prompts/get", "tasks/result"})
"""Methods of MCP whose answers are content; what a server says of itself (`initialize`, `tools/list`) is read in every session."""
_OF_THE_CALL = frozenset({401, 407, 429})
"""Statuses that say something of the call alone."""
CONTENT = 0
"""What stands for an answer that is a taint whatever is in it."""
FRESH = 1.0
"""Seconds in which the same is not noted again: streams have many events."""


class TaintRule:
    """One source of a Taint, ready to be asked."""

    __slots__ = ("classes", "exposure", "keys", "name", "services", "tools", "within", "words")

    def __init__(self, source: TaintSource, within: str) -> None:
        """Raises ValueError on a time that is none."""
        self.classes = tuple(source.data)
        self.keys = {key_of((name,)): name for name in source.data}
        self.tools = compile_globs(source.tools)
        self.services = compile_globs(source.services)
        self.exposure = frozenset(source.exposure)
        self.within = parse_within(within)
        self.name = f"{msgspec.json.encode(source).decode()} {within}"
        """Policies that name the same source for the same time share what is known, and one that is changed begins anew."""
        named = (("tool", source.tools), ("service", source.services), ("exposure", source.exposure))
        self.words = ", ".join(f"{what} {' or '.join(map(shown, names))}" for what, names in named if names)

    def fits(self, service: str, exposure: str) -> bool:
        """Whether answers of a service may be of this source."""
        return (self.services is None or self.services(service)) and (not self.exposure or exposure in self.exposure)

    def key(self, identity: Identity) -> int:
        """What a caller's taint goes by. The agent counts where it is proved: a name in a header can be changed from call to call."""
        agent = identity.agent if identity.agent and agent_strength(identity) >= Strength.ASSERTED else ""
        return key_of(("taint", self.name, identity.actor, agent))


def taint_rules(taint: Taint | None) -> tuple[TaintRule, ...]:
    """Raises ValueError."""
    return tuple(TaintRule(source, taint.within) for source in taint.sources) if taint is not None else ()


def note(rules: Sequence[TaintRule], facts: Facts, limits: LimitTable, outcome: Outcome, *, event: bool) -> None:
    """An answer, or an event of one, was judged: what of it reaches an agent is remembered."""
    response, asked = facts.call.response, request_operation(facts)
    mcp = asked.protocol == "mcp"
    if response is None or outcome.action not in ("allow", "redact") or not (mcp or facts.identity.agent):
        return
    classes = _given(facts.data, outcome, mcp=mcp) if facts.data else set()
    content: bool | None = None
    for rule in rules:
        if rule.classes:
            given = [key for key, name in rule.keys.items() if name in classes]
        else:
            if content is None:
                content = _is_content(facts, mcp=mcp, event=event)
            given = [CONTENT] if content else []
        if not given or (rule.tools is not None and not (mcp and any(rule.tools(call.name) for call in tool_calls(facts)))):
            continue
        key, now = rule.key(facts.identity), limits.at(facts.call.time)
        last = limits.objects.latest(key)
        if last is not None and now - last[1] < FRESH and all(one == last[0] for one in given):
            continue
        limits.objects.add(key, given, now, rule.within, network_of(source_of(facts.identity, facts.call)))


def tainted(rules: Sequence[TaintRule], facts: Facts, limits: LimitTable) -> str:
    """What the caller was given lately, in words; empty: nothing that is known."""
    now = limits.at(facts.call.time)
    for rule in rules:
        last = limits.objects.latest(rule.key(facts.identity))
        if last is not None and last[1] > now - rule.within:
            ago = f"{max(0, round(now - last[1]))} s ago"
            if rule.classes:
                return f"data of class {shown(rule.keys.get(last[0], rule.classes[0]))} {ago}"
            return f"an answer of {rule.words} {ago}"
    return ""


def _given(hits: Sequence[DataHit], outcome: Outcome, *, mcp: bool) -> set[str]:
    """Classes of which values are in the answer as it leaves us: of what is redacted, and of rows that became counts, nothing is."""
    hidden: set[str] = set()
    counted: list[Aggregate] = []
    for effect in (*outcome.effects, *outcome.edits):
        if isinstance(effect, Redact):
            hidden.update(effect.data_classes)
        elif isinstance(effect, Aggregate):
            counted.append(effect)
    return {
        hit.data_class
        for hit in hits
        if hit.data_class not in hidden and not any(_in_rows(hit.place, one, mcp=mcp) for one in counted)
    }


def _in_rows(place: str, effect: Aggregate, *, mcp: bool) -> bool:
    """Whether a value stands in a list that becomes a count. Places in what a tool answered are not those of its envelope."""
    outer, brackets, _ = place.partition("[]")
    return effect.row or (bool(brackets) and (mcp or not effect.places or (outer or "$") in effect.places))


def _is_content(facts: Facts, *, mcp: bool, event: bool) -> bool:
    """Whether an answer holds what somebody wrote, and not what is said of the call or of the server."""
    response, asked = facts.call.response, request_operation(facts)
    if response is None or response.body_state is BodyState.NONE or response.status in _OF_THE_CALL:
        return False
    if not mcp:
        return True
    if asked.body_kind == "none":
        # The stream of a session: answers come there too, beside much that is none.
        body = facts.operation.body if event else None
        return isinstance(body, dict) and "result" in body
    messages = asked.body if isinstance(asked.body, list) else (asked.body,)
    return any(isinstance(one, dict) and one.get("method") in READING for one in messages)
