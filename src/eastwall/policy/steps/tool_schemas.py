"""Arguments of MCP tools, held against what the tools themselves say that they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eastwall.discovery.body_schemas import Violation
from eastwall.model.call import BodyState
from eastwall.model.facts import Facts
from eastwall.policy.conditions import request_operation
from eastwall.policy.limits import LimitTable
from eastwall.policy.recorded import UnrecordedMap
from eastwall.policy.rules import Bound
from eastwall.policy.steps.tools import ToolRule
from eastwall.policy.tool_calls import defined

LISTS = "tools/list"


def learn(pinning: Sequence[Bound[ToolRule]], facts: Facts, limits: LimitTable) -> None:
    """Keep what an answer to `tools/list` says of tools. What is pinned otherwise is not kept."""
    asked = request_operation(facts)
    response = facts.call.response
    if response is not None and response.body_state in (BodyState.TRUNCATED, BodyState.SKIPPED):
        limits.tools.forget()  # what stands there nobody has read
        return
    pins = pinned(pinning)
    for name, definition, digest in defined(facts.operation.body):
        if pins.get(name, digest) == digest:
            limits.tools.note(facts.call.service, asked.path, name, digest, definition.get("inputSchema"), facts.call.time)


def pinned(pinning: Sequence[Bound[ToolRule]]) -> Mapping[str, str]:
    """Tool -> digest of its definition, where policies pin it."""
    return {name: digest for bound in pinning for name, digest in bound.rule.pinned.items()}


def violations(pinning: Sequence[Bound[ToolRule]], facts: Facts, limits: LimitTable) -> list[Violation] | None:
    """What of the arguments of a request is not as its tools say; None: it calls none of which a definition is known."""
    asked = facts.operation
    if asked.protocol != "mcp":
        return None
    body = asked.body
    if isinstance(body, UnrecordedMap):
        return None
    found: list[Violation] | None = None
    pins = pinned(pinning)
    several = isinstance(body, list)
    for at, message in enumerate(body if several else (body,)):
        params = message.get("params") if isinstance(message, dict) and message.get("method") == "tools/call" else None
        name = params.get("name") if isinstance(params, dict) else None
        if not isinstance(params, dict) or not isinstance(name, str):
            continue
        forms = limits.tools.of(facts.call.service, asked.path, name, facts.call.time)
        pin = pins.get(name)
        forms = [form for form in forms if pin is None or form.digest == pin]
        if forms:
            arguments: Any = {} if params.get("arguments") is None else params["arguments"]
            path = (at, "params", "arguments") if several else ("params", "arguments")
            told = [form.schema.violations(arguments, "params.arguments", path) for form in forms]
            found = (found or []) + ([] if any(not one for one in told) else told[0])
    return found
