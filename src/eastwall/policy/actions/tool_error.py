"""What an agent gets whose call of an MCP tool waits for approval: a tool's error, which reaches the model with its reason.

An HTTP error would end in the client's transport: models see what is in a result (MCP 2025-11-25, server/tools, "Error Handling").
"""

from __future__ import annotations

import msgspec

from eastwall.model.call import Call
from eastwall.model.decision import Answer, Deny
from eastwall.model.facts import Facts
from eastwall.policy.conditions import request_operation

_encode = msgspec.json.Encoder().encode


def tool_error(effect: Deny, call: Call, facts: Facts, kind: str) -> Answer | None:
    """The answer to a single `tools/call` that has an id; None for all else. `kind`: the problem's type."""
    body = request_operation(facts).body
    if call.request.method != "POST" or not isinstance(body, dict) or body.get("method") != "tools/call":
        return None
    number = body.get("id")
    if isinstance(number, bool) or not isinstance(number, str | int):
        return None
    problem = {"type": kind, "title": effect.title, "status": effect.status, "detail": effect.detail, "event_id": call.id}
    result = {
        "content": [{"type": "text", "text": f"{effect.title}: {effect.detail}"}],
        "isError": True,
        "_meta": {"eastwall.dev/problem": problem},
    }
    headers = (("content-type", "application/json"), ("cache-control", "no-store"), ("x-eastwall-event-id", call.id))
    return Answer(deny=True, status=200, headers=headers, body=_encode({"jsonrpc": "2.0", "id": number, "result": result}))
