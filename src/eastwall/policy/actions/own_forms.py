"""A refusal in the form of the protocol that was spoken, so that clients tell their callers of it instead of failing over an unknown body.

- JSON-RPC and MCP: an error response with the request's id (JSON-RPC 2.0, section 5.1). MCP's own clients give it to whoever called the tool,
  also from an answer that is no 200 (MCP 2025-11-25, transports, "Sending Messages to the Server").
- GraphQL: `errors` without `data` (GraphQL, section 7.1.2; GraphQL over HTTP, section 6.4).

The status and the problem's fields are the same as everybody gets. gRPC callers are given a status by the data plane.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from eastwall.model.call import Call
from eastwall.model.facts import Facts
from eastwall.policy.conditions import request_operation

REFUSED = -32001
"""JSON-RPC leaves -32000 to -32099 to servers."""
GRAPHQL = "application/graphql-response+json"
MAX_ID = 256
"""Characters of an id that is sent back."""
_CODES = {401: "UNAUTHENTICATED", 403: "FORBIDDEN", 429: "RATE_LIMITED"}
"""What GraphQL's servers write by convention."""
_encode = msgspec.json.Encoder().encode


def own_form(problem: Mapping[str, Any], call: Call, facts: Facts) -> tuple[str, bytes] | None:
    """(content type, body) for the problem's fields; None where a problem document is right: REST, batches, and messages without an id."""
    asked = request_operation(facts)
    if asked.protocol in ("jsonrpc", "mcp"):
        number = asked.body.get("id") if isinstance(asked.body, dict) else None
        if isinstance(number, bool) or not isinstance(number, str | int) or len(str(number)) > MAX_ID:
            return None
        error = {"code": REFUSED, "message": f"{problem['title']}: {problem['detail']}", "data": problem}
        return "application/json", _encode({"jsonrpc": "2.0", "id": number, "error": error})
    if asked.protocol == "graphql":
        extensions = {"code": _CODES.get(problem["status"], "REFUSED"), **problem}
        accepted = call.request.headers.get("accept", "")
        body = _encode({"errors": [{"message": f"{problem['title']}: {problem['detail']}", "extensions": extensions}]})
        return GRAPHQL if GRAPHQL in accepted else "application/json", body
    return None
