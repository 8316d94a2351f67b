"""Tools of MCP servers: which are called, by whom, with which arguments; and what an answer says that they are."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.decision import Deny
from eastwall.model.facts import Facts
from eastwall.model.identity import Strength
from eastwall.policy.conditions import Condition, ConditionError
from eastwall.policy.kinds import Policy, ToolPolicy
from eastwall.policy.patterns import Paths, compile_globs
from eastwall.policy.rules import Bound, CompiledRule
from eastwall.policy.selecting import human_strength, selector_words
from eastwall.policy.steps.applying import applies, condition_error, match_of
from eastwall.policy.steps.outcome import Outcome
from eastwall.policy.tool_calls import ToolCall, definitions, tool_calls, unreadable
from eastwall.policy.wording import shown
from eastwall.policy.world import World


class ToolRule(CompiledRule):
    """A ToolPolicy."""

    __slots__ = ("approval", "arguments", "callers", "changed", "lists", "named", "pinned", "tools", "who")
    step = "tools"

    def __init__(self, policy: Policy, spec: ToolPolicy, world: World) -> None:
        super().__init__(policy, spec, world)
        self.tools = compile_globs(spec.tools)
        self.named = bool(spec.servers)
        self.callers = world.selector(spec.callers, loosens=True)
        self.who = selector_words(spec.callers)
        self.arguments = tuple(Condition(text) for text in spec.arguments)
        self.approval = spec.approval == "human"
        self.pinned, self.changed = spec.pinned, spec.changed
        self.lists = spec.unlisted == "deny"

    def names(self, tool: str) -> bool:
        """Whether the policy says something of a tool."""
        return self.tools is None or self.tools(tool)


def judge(rules: Sequence[Bound[ToolRule]], facts: Facts, paths: Paths, outcome: Outcome) -> None:
    """Every tool that the request calls, under every policy that names it."""
    calls = tool_calls(facts)
    hidden = unreadable(facts)
    if not calls and not hidden:
        return
    for bound in rules:
        rule = bound.rule
        mine = [call for call in calls if rule.names(call.name)]
        strays = [c for c in calls if not any(other.rule.names(c.name) for other in rules)] if rule.lists else []
        if not mine and not strays and not (hidden and rule.named):
            continue
        if not applies(bound, facts, paths, outcome):
            continue
        if hidden:
            condition_error(
                bound, ConditionError("the request was not read whole, so the tools that it calls are not known"), outcome
            )
            continue
        for call in mine:
            _call(bound, call, facts, outcome)
        for call in strays[:1]:
            _stop(bound, call, "no ToolPolicy names it", "call a tool that a ToolPolicy names", outcome)


def _call(bound: Bound[ToolRule], call: ToolCall, facts: Facts, outcome: Outcome) -> None:
    rule = bound.rule
    if rule.callers is not None and not rule.callers(facts.identity):
        reason = f"{shown(facts.identity.actor)} is not among those who may call it"
        _stop(bound, call, reason, f"be a caller with {rule.who}", outcome)
        return
    if rule.approval and (not facts.identity.human or human_strength(facts.identity) < Strength.ASSERTED):
        _stop(bound, call, "no human is known to stand behind the call", "call it for a human, with the human's token", outcome)
        return
    for condition in rule.arguments:
        try:
            if not condition.holds(facts, {}, call.arguments):
                _stop(bound, call, f"its arguments do not meet `{condition.text}`", f"meet `{condition.text}`", outcome)
                return
        except ConditionError as error:
            condition_error(bound, error, outcome)
            return


def _stop(bound: Bound[ToolRule], call: ToolCall, why: str, to_pass: str, outcome: Outcome) -> None:
    rule = bound.rule
    tool = shown(call.name) if call.name else "a tool without a name"
    reason = f"tool {tool}: {why}" + (f" ({rule.reason})" if rule.reason else "")
    match = match_of(rule, bound.mode, "block", reason, "", to_pass)
    outcome.matches.append(match)
    detail = rule.reason or "You may not call this tool in this way."
    outcome.stop(bound.mode, "block", match, Deny(403, "Tool call refused", detail, "tool-denied"))


def compare(rules: Sequence[Bound[ToolRule]], facts: Facts, paths: Paths, outcome: Outcome) -> None:
    """The tools that an answer defines, with what they were when they were pinned."""
    for name, digest in definitions(facts.operation.body):
        for bound in rules:
            rule = bound.rule
            pinned = rule.pinned.get(name)
            if pinned is None or pinned == digest or not applies(bound, facts, paths, outcome):
                continue
            blocks = rule.changed == "block"
            reason = f"the definition of tool {shown(name)} is {digest}, and {pinned} is pinned"
            match = match_of(rule, bound.mode, "block" if blocks else "report", reason, "", "read the new definition, and pin it")
            outcome.matches.append(match)
            if blocks:
                detail = rule.reason or "The definition of a tool has changed."
                outcome.stop(bound.mode, "block", match, Deny(403, "Response withheld", detail, "tool-changed"))
