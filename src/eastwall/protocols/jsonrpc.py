"""JSON-RPC 2.0 over HTTP (jsonrpc.org/specification): single requests, batches, notifications."""

from __future__ import annotations

from typing import Any

from eastwall.protocols.reading import Reading, label

MAX_BATCH = 100
"""Messages of a batch that are named."""


def messages(body: Any) -> list[dict[str, Any]]:
    """The JSON-RPC messages of a body: itself, or those of a batch; empty when it is none. An item that is none is left out: servers
    answer it with an error and carry out the others."""
    if isinstance(body, dict):
        return [body] if is_message(body) else []
    if isinstance(body, list):
        return [one for one in body if isinstance(one, dict) and is_message(one)]
    return []


def is_message(one: dict[str, Any]) -> bool:
    """Whether an object is a request, a notification or an answer."""
    return isinstance(one.get("jsonrpc"), str) and (isinstance(one.get("method"), str) or "result" in one or "error" in one)


def read_request(found: list[dict[str, Any]], body: Any) -> Reading:
    """What the messages of a body call: the method, of a batch the distinct methods, sorted and joined by commas."""
    if len(found) == 1:
        return Reading("jsonrpc", method_of(found[0]), traits_of(body, found))
    names = sorted({method_of(one) for one in found[:MAX_BATCH]})
    return Reading("jsonrpc", label(",".join(names)), traits_of(body, found))


def method_of(one: dict[str, Any]) -> str:
    """The method, or `response` for an answer that is sent as a request (what a server had asked its client)."""
    method = one.get("method")
    return label(method) if isinstance(method, str) else "response"


def traits_of(body: Any, found: list[dict[str, Any]]) -> tuple[str, ...]:
    """`batch` for an array, `notification` when nothing in it asks for an answer."""
    for one in found:
        if "id" in one or "method" not in one:
            return ("batch",) if isinstance(body, list) else ()
    return ("batch", "notification") if isinstance(body, list) else ("notification",)


def is_fault(body: Any) -> bool:
    """Whether an answer is an error in JSON-RPC's own form; of a batch, any of them."""
    if isinstance(body, list):
        return any(isinstance(one, dict) and is_fault(one) for one in body[:MAX_BATCH])
    return isinstance(body, dict) and "jsonrpc" in body and bool(body.get("error"))
