"""Messages that are no single request and answer: WebSocket (RFC 6455) and server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from typing import Any

import msgspec

from eastwall.model.call import Request
from eastwall.protocols.reading import Reading

MAX_EVENTS = 64
"""Events of a body that are decoded."""


def read_request(request: Request) -> Reading | None:
    """An upgrade to WebSocket, else None. What is said over it later is not seen."""
    if "websocket" in request.headers.get("upgrade", "").lower():
        return Reading("websocket", "", ("websocket",))
    return None


def is_event_stream(content_type: str) -> bool:
    """Whether an answer is a stream of events."""
    return content_type[:17].lower() == "text/event-stream"


def events(text: str) -> list[Any]:
    """The data of a stream's first `MAX_EVENTS` events that are JSON, decoded."""
    found: list[Any] = []
    for block in text.replace("\r\n", "\n").replace("\r", "\n").split("\n\n", MAX_EVENTS)[:MAX_EVENTS]:
        data = "\n".join([line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")])
        if data[:1] in ("{", "["):
            try:
                found.append(msgspec.json.decode(data.encode("utf-8", "replace")))
            except (msgspec.DecodeError, RecursionError):
                continue
    return found
