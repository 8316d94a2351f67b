"""Calls of MCP tools in a request, and definitions of tools in an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from eastwall.model.call import BodyState
from eastwall.model.facts import Facts
from eastwall.policy.conditions import request_operation


class ToolCall(NamedTuple):
    """One `tools/call`."""

    name: str
    """Empty: it names none that can be read."""
    arguments: dict[str, Any]


def tool_calls(facts: Facts) -> tuple[ToolCall, ...]:
    """The tools that a request calls, in order. By what stands in the body alone: whether it also says that it is MCP is the caller's choice."""
    body = request_operation(facts).body
    found = []
    for one in body if isinstance(body, list) else (body,):
        if isinstance(one, dict) and one.get("method") == "tools/call":
            params = one.get("params")
            name = params.get("name") if isinstance(params, dict) else None
            arguments = params.get("arguments") if isinstance(params, dict) else None
            found.append(ToolCall(name if isinstance(name, str) else "", arguments if isinstance(arguments, dict) else {}))
    return tuple(found)


def unreadable(facts: Facts) -> bool:
    """Whether the request has a body that was not, or not wholly, read: it may call any tool."""
    return facts.call.request.body_state > BodyState.COMPLETE or request_operation(facts).body_kind == "unread"


def definitions(body: Any) -> Iterator[tuple[str, str]]:
    """(tool, digest of its definition) of an answer to `tools/list`, of each message in it."""
    return ((name, one) for name, _, one in defined(body))


def defined(body: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(tool, its definition, digest of it), of each message of an answer to `tools/list`."""
    for one in body if isinstance(body, list) else (body,):
        result = one.get("result") if isinstance(one, dict) else None
        tools = result.get("tools") if isinstance(result, dict) else None
        for tool in tools if isinstance(tools, list) else ():
            if isinstance(tool, dict) and isinstance(tool.get("name"), str):
                yield tool["name"], tool, digest(tool)


def digest(definition: dict[str, Any]) -> str:
    """`sha256:` over the definition as JSON with sorted keys and no spaces: what `jq -cjS . | sha256sum` gives for it."""
    return "sha256:" + hashlib.sha256(msgspec.json.encode(definition, order="sorted")).hexdigest()
