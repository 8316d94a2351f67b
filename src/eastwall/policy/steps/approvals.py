"""Calls of tools that somebody outside the call must approve: let through when that was done, else refused with an id to ask for."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from eastwall.discovery.identity import source_of
from eastwall.discovery.shares import network_of
from eastwall.model.call import Mode
from eastwall.model.decision import Deny, PolicyMatch
from eastwall.model.facts import Facts
from eastwall.model.identity import Strength
from eastwall.model.snapshot import Approval
from eastwall.policy.approvals import Asked, approval_id
from eastwall.policy.limits import LimitTable, key_of
from eastwall.policy.recorded import UnrecordedMap
from eastwall.policy.rules import Bound, CompiledRule
from eastwall.policy.selecting import agent_strength
from eastwall.policy.steps.applying import match_of
from eastwall.policy.steps.outcome import Outcome
from eastwall.policy.times import shown_end
from eastwall.policy.tool_calls import ToolCall
from eastwall.policy.wording import shown

MAX_SHOWN = 200
"""Characters of an argument that whoever approves sees."""
APPROVAL_NEEDED = "approval-required"
"""Problem type."""


class Use(NamedTuple):
    """A single use, made if the call passes."""

    approval: Approval
    key: int


class Waiting(NamedTuple):
    """A call that waits, if nothing else refuses it."""

    asked: Asked
    match: PolicyMatch


def require(
    bound: Bound[CompiledRule], call: ToolCall, facts: Facts, limits: LimitTable, outcome: Outcome, *, key: bytes, shows: tuple[str, ...],
    why: str,
) -> None:  # fmt: skip
    """`key`: the installation's; `shows`: names of arguments that whoever approves sees; `why`: what makes it necessary."""
    rule, identity = bound.rule, facts.identity
    agent = identity.agent if identity.agent and agent_strength(identity) >= Strength.ASSERTED else ""
    tool = shown(call.name) if call.name else "a tool without a name"
    approval = None
    if not isinstance(call.arguments, UnrecordedMap):  # of recorded calls it is not known which they were
        name = approval_id(key, facts.call.service, call.name, identity.actor, agent, call.arguments)
        approval = limits.approvals.given.get(name)
    else:
        name = ""
    now = limits.at(facts.call.time)
    if approval is not None and now < approval.until:
        use = Use(approval, key_of(("approved", name, repr(approval.granted))))
        if approval.denied:
            reason = f"tool {tool}: {why}, and {approval.by} refused it ({name})"
            match = match_of(rule, bound.mode, "block", reason, "", "ask again later, or otherwise")
            outcome.matches.append(match)
            detail = f"Approval of this call was refused ({name})."
            outcome.stop(bound.mode, "block", match, Deny(403, "Approval refused", detail, APPROVAL_NEEDED))
            return
        if not approval.once or (limits.objects.latest(use.key) is None and not any(u.key == use.key for u in outcome.uses)):
            length = "once" if approval.once else f"until {shown_end(approval.until)}"
            reason = f"tool {tool}: {why}, and {approval.by} approved it, {length} ({name})"
            outcome.matches.append(match_of(rule, bound.mode, "allow", reason))
            if approval.once and bound.mode is Mode.ENFORCE:
                outcome.uses = (*outcome.uses, use)
            return
    reason = f"tool {tool}: {why}" + (f" ({rule.reason})" if rule.reason else "")
    match = match_of(rule, bound.mode, "block", reason, "", f"have it approved: eastwall approval grant {name}" if name else "")
    outcome.matches.append(match)
    said = f"{rule.reason} " if rule.reason else ""
    detail = f"{said}This call of the tool needs approval by an operator: {name}. Once it is given, make the same call again."
    outcome.stop(bound.mode, "block", match, Deny(403, "Approval needed", detail, APPROVAL_NEEDED))
    if bound.mode is Mode.ENFORCE and name:
        outcome.waiting = (*outcome.waiting, Waiting(_asked(name, call, facts, agent, rule, why, shows), match))


def settle(facts: Facts, limits: LimitTable, outcome: Outcome) -> None:
    """The request was judged by all policies: what it used is used only if it passes, and it waits only if that is what stops it."""
    if outcome.action in ("allow", "redact"):
        for use in outcome.uses:
            now = limits.at(facts.call.time)
            holder = network_of(source_of(facts.identity, facts.call))
            limits.objects.add(use.key, (1,), now, max(1.0, use.approval.until - now), holder)
            limits.approvals.use(use.approval, facts.call.time)
    elif any(one.match is outcome.deciding for one in outcome.waiting):
        for one in outcome.waiting:
            limits.approvals.ask(one.asked)


def _asked(name: str, call: ToolCall, facts: Facts, agent: str, rule: CompiledRule, why: str, shows: tuple[str, ...]) -> Asked:
    identity = facts.identity
    arguments = {one: _shown(one, call.arguments[one], facts) for one in shows if one in call.arguments}
    return Asked(
        id=name,
        time=facts.call.time,
        call=facts.call.id,
        service=facts.call.service,
        tool=call.name[:MAX_SHOWN],
        actor=identity.actor[:MAX_SHOWN],
        agent=(agent or identity.agent)[:MAX_SHOWN],
        human=identity.human[:MAX_SHOWN],
        policy=rule.name,
        why=why,
        arguments=arguments,
    )


def _shown(name: str, value: Any, facts: Facts) -> str:
    """An argument as text; when sensitive data stands in it, only that."""
    place = f"arguments.{name}"
    hits = [hit for hit in facts.data if place in hit.place]
    if hits:
        return ", ".join(f"{hit.data_class} {hit.masked}" for hit in hits[:3])[:MAX_SHOWN]
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    plain = "".join(character if character.isprintable() else " " for character in text[: MAX_SHOWN + 1])
    return plain if len(plain) <= MAX_SHOWN else plain[: MAX_SHOWN - 3] + "..."
