"""Model Context Protocol over streamable HTTP, versions 2025-11-25 (sessions) and 2026-07-28 (stateless, routed by headers).

A name is the method, with the tool or prompt that is asked for: `tools/call search`, `prompts/get review`, `resources/read`. From
2026-07-28 on `Mcp-Method` and `Mcp-Name` repeat both for proxies; whoever sends headers that say something else than the body has them
read one way by a gateway and another by the server, which is told as `mcp-header-mismatch`.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any

from eastwall.model.operation import Operation, ParserFault
from eastwall.protocols import jsonrpc
from eastwall.protocols.reading import Reading, label

METHOD, NAME, VERSION, SESSION = "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id"
_SUBJECT = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Method -> the parameter that `Mcp-Name` repeats."""
_NAMED = frozenset(("tools/call", "prompts/get"))
"""Methods whose subject is part of the name. The URIs of resources are without end."""
_OWN = frozenset(
    "tools/list tools/call prompts/list prompts/get resources/list resources/read resources/subscribe resources/unsubscribe "
    "resources/templates/list completion/complete logging/setLevel sampling/createMessage elicitation/create roots/list "
    "server/discover subscriptions/listen notifications/initialized notifications/cancelled notifications/progress "
    "notifications/roots/list_changed notifications/tools/list_changed tasks/get tasks/result tasks/list tasks/cancel".split()
)
"""Methods that no other protocol over JSON-RPC has; `initialize` and `ping` are shared."""


def read_session(method: str, headers: dict[str, str]) -> Reading | None:
    """The stream of a session (GET) and its end (DELETE), which have no body; else None."""
    return Reading("mcp") if method in ("GET", "DELETE") and (VERSION in headers or SESSION in headers) else None


def read_request(found: list[dict[str, Any]], operation: Operation, headers: dict[str, str]) -> Reading | None:
    """What JSON-RPC messages ask of an MCP server, None when nothing says that it is one."""
    spoken = VERSION in headers or SESSION in headers or METHOD in headers
    if not spoken and not any(_is_own(one) for one in found[: jsonrpc.MAX_BATCH]):
        return None
    faults = _mismatches(found, headers) if METHOD in headers or NAME in headers else ()
    traits = jsonrpc.traits_of(operation.body, found)
    if len(found) == 1:
        return Reading("mcp", _name(found[0]), traits, faults=faults)
    names = sorted({_name(one) for one in found[: jsonrpc.MAX_BATCH]})
    return Reading("mcp", label(",".join(names)), traits, faults=faults)


def _is_own(one: dict[str, Any]) -> bool:
    method, params = one.get("method"), one.get("params")
    if method == "initialize":
        return isinstance(params, dict) and "protocolVersion" in params
    return isinstance(method, str) and method in _OWN


def _name(one: dict[str, Any]) -> str:
    method = jsonrpc.method_of(one)
    if method not in _NAMED or (subject := _subject(one, method)) is None:
        return method
    return label(f"{method} {subject}")


def _subject(one: dict[str, Any], method: str) -> str | None:
    key = _SUBJECT.get(method)
    params = one.get("params")
    value = params.get(key) if key is not None and isinstance(params, dict) else None
    return value if isinstance(value, str) else None


def _mismatches(found: list[dict[str, Any]], headers: dict[str, str]) -> tuple[ParserFault, ...]:
    """Where headers and body say different things. A header that is absent says nothing: servers of 2026-07-28 refuse that themselves."""
    faults = []
    method = headers.get(METHOD)
    if method is not None and any(method.strip() != one.get("method", "response") for one in found):
        faults.append(
            ParserFault("mcp-header-mismatch", f"header.{METHOD}", f"the body asks for `{label(_name(found[0]))[:60]}`")
        )
    name = headers.get(NAME)
    if name is not None:
        said = _decoded(name.strip())
        subjects = {_subject(one, jsonrpc.method_of(one)) for one in found if "method" in one}
        if subjects != {None} and subjects != {said}:
            faults.append(
                ParserFault("mcp-header-mismatch", f"header.{NAME}", f"the body asks for `{label(_name(found[0]))[:60]}`")
            )
    version = headers.get(VERSION)
    for one in found:
        params = one.get("params")
        meta = params.get("_meta") if isinstance(params, dict) else None
        inner = meta.get("io.modelcontextprotocol/protocolVersion") if isinstance(meta, dict) else None
        if isinstance(inner, str) and version is not None and inner != version:
            faults.append(ParserFault("mcp-header-mismatch", f"header.{VERSION}", f"the body says `{label(inner)[:40]}`"))
            break
    return tuple(faults)


def _decoded(value: str) -> str | None:
    """A header's value without its `=?base64?...?=` form (2026-07-28, for what is not plain ASCII); None when that is broken."""
    if not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return b64decode(value[9:-2], validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def is_fault(body: Any) -> bool:
    """Whether an answer is an error in the protocol's own form: of JSON-RPC, or a tool's (`isError`)."""
    return jsonrpc.is_fault(body) or _tool_failed(body)


def _tool_failed(one: Any) -> bool:
    if isinstance(one, list):
        return any(_tool_failed(each) for each in one[: jsonrpc.MAX_BATCH] if isinstance(each, dict))
    result = one.get("result") if isinstance(one, dict) else None
    return isinstance(result, dict) and result.get("isError") is True
