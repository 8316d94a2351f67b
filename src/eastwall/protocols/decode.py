"""Which protocol a message speaks, and what it asks for: bytes -> Operation, for `decide`.

`rest` reads every message first: its body tree, query, faults and raw body are what content detections and shapes see, whatever the
protocol. A look at the headers and at the names in the body then says whether more is to be told; for plain REST that look is all. Only
gRPC, whose bodies are frames, has a reader of its own.

A protocol is believed by its body: a header alone, which any caller can add, makes a message nothing that it is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from eastwall.model.call import Request, Response
from eastwall.model.operation import Operation
from eastwall.protocols import jsonrpc, mcp, rest, soap, streams
from eastwall.protocols.limits import Limits as Limits
from eastwall.protocols.reading import Reading

if TYPE_CHECKING:
    from eastwall.protocols.grpc import Descriptors

_SWITCHED = 101


def decode_request(request: Request, limits: Limits, descriptors: Descriptors | None = None) -> Operation:
    """The request as an Operation. Never raises. `descriptors` say how the messages of gRPC services are read."""
    headers = request.headers
    content_type = headers.get("content-type", "")
    # A body that begins like JSON is no frame: it is read as what a service that ignores the type would read.
    if content_type[:16] == "application/grpc" and request.body[:1] not in (b"{", b"["):
        from eastwall.protocols import grpc

        return grpc.decode_request(request, limits, descriptors)
    operation = rest.decode_request(request, limits)
    body = operation.body
    if type(body) is dict:
        if (
            "jsonrpc" in body
            or "query" in body
            or "variables" in body
            or "extensions" in body
            or "documentId" in body
            or operation.body_kind != "json"
        ):
            return _special(operation, request, content_type)
    elif body is not None and (type(body) is str or _listed(operation.raw_body)):
        return _special(operation, request, content_type)
    if operation.query and _in_target(request.path):
        return _special(operation, request, content_type)
    if "upgrade" in headers or mcp.VERSION in headers or mcp.SESSION in headers or "soapaction" in headers:
        return _special(operation, request, content_type)
    return operation


def _listed(raw: bytes) -> bool:
    """Whether an array may hold requests of GraphQL or JSON-RPC: a name that is not there, and not written with escapes, is not used."""
    return b'"query"' in raw or b'"jsonrpc"' in raw or b'"extensions"' in raw or b"\\u" in raw


def _in_target(path: str) -> bool:
    return "query=" in path or "extensions=" in path or "documentId=" in path or "%" in path


def _special(operation: Operation, request: Request, content_type: str) -> Operation:
    """An operation that may be more than REST."""
    reading = _reading(operation, request, content_type)
    if reading is None:
        return operation
    return Operation(
        reading.protocol,
        operation.method,
        operation.segments,
        operation.path,
        operation.query,
        operation.body,
        operation.body_kind,
        operation.faults + reading.faults,
        operation.raw_body,
        reading.name,
        reading.traits,
        reading.selection,
    )


def _reading(operation: Operation, request: Request, content_type: str) -> Reading | None:
    headers = request.headers
    if "upgrade" in headers and (reading := streams.read_request(request)) is not None:
        return reading
    body, method = operation.body, operation.method
    posted = method == "POST"
    graphql = (posted or method == "GET") and _may_be_graphql(operation, content_type)
    if graphql and _graphql().fits(operation.path):
        # Before JSON-RPC: a server at such a path does not look at further members.
        at_home: Reading | None = _graphql().read_request(operation, content_type)
        if at_home is not None:
            return at_home
    if posted or body is None:
        reading = mcp.read_request(operation, headers) or (jsonrpc.read_request(body) if posted else None)
        if reading is not None:
            return reading
    if posted and (reading := soap.read_request(operation, headers, content_type)) is not None:
        return reading
    found: Reading | None = _graphql().read_request(operation, content_type) if graphql else None
    return found


_NAMES = ("query", "extensions", "documentId", "variables", "operations")


def _may_be_graphql(operation: Operation, content_type: str) -> bool:
    """Whether anything at all says so; spares who has no GraphQL the loading of its parser."""
    body, text = operation.body, _text_of
    if operation.body_kind == "text":
        return "graphql" in content_type
    if any(text(value) for name, value in operation.query if name in _NAMES):
        return True
    items = body if type(body) is list else (body,)
    return any(type(one) is dict and any(text(one[name]) for name in _NAMES if name in one) for one in items)


def _text_of(value: Any) -> bool:
    """Whether a member can be a document or go with one: every document has a brace."""
    return type(value) is dict or (type(value) is str and len(value) > 1)


def decode_response(
    response: Response,
    request: Request,
    limits: Limits,
    asked: Operation | None = None,
    descriptors: Descriptors | None = None,
) -> Operation:
    """The response message as an Operation, with its request's protocol and name. Never raises.

    `asked` is the request's Operation; without it the request is decoded again. `traits` are the answer's own: `fault`, `sse`, `websocket`.
    """
    if asked is None:
        asked = decode_request(request, limits, descriptors)
    protocol = asked.protocol
    if protocol == "grpc":
        from eastwall.protocols import grpc

        return grpc.decode_response(response, request, limits, asked, descriptors)
    operation = rest.decode_response(response, request, limits)
    streamed = streams.is_event_stream(response.headers.get("content-type", ""))
    if protocol == "rest" and not streamed and response.status != _SWITCHED:
        return operation
    traits = ["fault"] if _is_fault(protocol, operation, streamed=streamed) else []
    if streamed:
        traits.append("sse")
    if response.status == _SWITCHED:
        traits.append("websocket")
    return Operation(
        protocol,
        operation.method,
        operation.segments,
        operation.path,
        operation.query,
        operation.body,
        operation.body_kind,
        operation.faults,
        operation.raw_body,
        asked.name,
        tuple(traits),
    )


def _is_fault(protocol: str, operation: Operation, *, streamed: bool) -> bool:
    body = operation.body
    if protocol == "graphql":
        return any(map(_graphql().read_response, streams.events(body))) if streamed else _graphql().read_response(body)
    if protocol == "mcp":
        return mcp.is_fault(body, streamed=streamed)
    if protocol == "jsonrpc":
        return jsonrpc.is_fault(body)
    return protocol == "soap" and soap.is_fault(body)


def _graphql() -> Any:
    # The parser takes 0.2 s and 16 MB to load: only who has GraphQL pays for it, with the first call or with `prepare`.
    from eastwall.protocols import graphql

    return graphql


def prepare(protocols: Iterable[str]) -> None:
    """Load what the readers of these protocols need, so that the first call does not wait for it."""
    known = set(protocols)
    if "graphql" in known:
        _graphql()
    if "grpc" in known:
        from eastwall.protocols import grpc  # noqa: F401
