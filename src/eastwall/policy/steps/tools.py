"""Tools of MCP servers: which are called, by whom, with which arguments; and what an answer says that they are."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.decision import Deny
from eastwall.model.facts import Facts
from eastwall.model.identity import Strength
from eastwall.policy.conditions import Condition, ConditionError
from eastwall.policy.kinds import Policy, ToolPolicy
from eastwall.policy.limits import LimitTable
from eastwall.policy.patterns import Paths, compile_globs
from eastwall.policy.rules import Bound, CompiledRule
from eastwall.policy.selecting import human_strength, selector_words
from eastwall.policy.steps import approvals
from eastwall.policy.steps.applying import applies, condition_error, match_of
from eastwall.policy.steps.outcome import Outcome
from eastwall.policy.steps.taints import taint_rules, tainted
from eastwall.policy.tool_calls import ToolCall, definitions, tool_calls, unreadable
from eastwall.policy.wording import shown
from eastwall.policy.world import World

FOR_A_HUMAN = "call it for a human, with the human's token"
REFUSED = "You may not call this tool in this way."
TAINTED = "This tool may not be called for {} after what was read before."


class ToolRule(CompiledRule):
    """A ToolPolicy."""

    __slots__ = (
        "approval",
        "arguments",
        "callers",
        "changed",
        "closes",
        "key",
        "lasts",
        "lists",
        "named",
        "pinned",
        "shows",
        "taints",
        "tools",
        "who",
    )
    step = "tools"

    def __init__(self, policy: Policy, spec: ToolPolicy, world: World) -> None:
        super().__init__(policy, spec, world)
        self.tools = compile_globs(spec.tools)
        self.named = bool(spec.servers)
        self.callers = world.selector(spec.callers, loosens=True)
        self.who = selector_words(spec.callers)
        self.arguments = tuple(Condition(text) for text in spec.arguments)
        self.approval: str = spec.approval
        self.pinned, self.changed = spec.pinned, spec.changed
        self.lists = spec.unlisted == "deny"
        self.taints = taint_rules(spec.taint)
        self.closes: str = spec.taint.then if spec.taint is not None else ""
        """What is asked of whoever was given what taints: `deny`, `human`, `operator`."""
        self.shows, self.key = spec.show, world.key
        self.lasts = spec.taint.within if spec.taint is not None else ""

    def names(self, tool: str) -> bool:
        """Whether the policy says something of a tool."""
        return self.tools is None or self.tools(tool)


def judge(rules: Sequence[Bound[ToolRule]], facts: Facts, paths: Paths, limits: LimitTable, outcome: Outcome) -> None:
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
            _call(bound, call, facts, limits, outcome)
        for call in strays[:1]:
            _stop(bound, call, "no ToolPolicy names it", "call a tool that a ToolPolicy names", outcome)


def _call(bound: Bound[ToolRule], call: ToolCall, facts: Facts, limits: LimitTable, outcome: Outcome) -> None:
    rule = bound.rule
    if rule.callers is not None and not rule.callers(facts.identity):
        reason = f"{shown(facts.identity.actor)} is not among those who may call it"
        _stop(bound, call, reason, f"be a caller with {rule.who}", outcome)
        return
    proved = bool(facts.identity.human) and human_strength(facts.identity) >= Strength.ASSERTED
    if rule.approval == "human" and not proved:
        _stop(bound, call, "no human is known to stand behind the call", FOR_A_HUMAN, outcome)
        return
    given = tainted(rule.taints, facts, limits) if rule.taints and (rule.closes != "human" or not proved) else ""
    why = f"the caller was given {given}, less than {rule.lasts}" if given else "it needs approval by an operator"
    if given and rule.closes == "deny":
        _stop(bound, call, why, f"wait until {rule.lasts} have passed since", outcome, TAINTED.format(rule.lasts))
        return
    if given and rule.closes == "human":
        _stop(bound, call, f"{why}, and no human is known to stand behind the call", FOR_A_HUMAN, outcome)
        return
    for condition in rule.arguments:
        try:
            if not condition.holds(facts, {}, call.arguments):
                _stop(bound, call, f"its arguments do not meet `{condition.text}`", f"meet `{condition.text}`", outcome)
                return
        except ConditionError as error:
            condition_error(bound, error, outcome)
            return
    # Last: nobody is asked to approve what is refused anyway.
    if given or rule.approval == "operator":
        approvals.require(bound, call, facts, limits, outcome, key=rule.key, shows=rule.shows, why=why)


def _stop(bound: Bound[ToolRule], call: ToolCall, why: str, to_pass: str, outcome: Outcome, detail: str = REFUSED) -> None:
    rule = bound.rule
    tool = shown(call.name) if call.name else "a tool without a name"
    reason = f"tool {tool}: {why}" + (f" ({rule.reason})" if rule.reason else "")
    match = match_of(rule, bound.mode, "block", reason, "", to_pass)
    outcome.matches.append(match)
    outcome.stop(bound.mode, "block", match, Deny(403, "Tool call refused", rule.reason or detail, "tool-denied"))


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
