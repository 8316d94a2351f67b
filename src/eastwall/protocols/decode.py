"""Which protocol a message speaks, and what it asks for: bytes -> Operation, for `decide`.

`rest` reads every message first: its body tree, query, faults and raw body are what content detections and shapes see, whatever the
protocol. A look at the headers and at the names in the body then says whether more is to be told; for plain REST that look is all. Only
gRPC, whose bodies are frames, has a reader of its own.

A protocol is believed by its body: a header alone, which any caller can add, makes a message nothing that it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from re import IGNORECASE
from re import compile as regex
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
    if content_type[:16].lower() == "application/grpc" and request.body[:1] not in (b"{", b"["):
        from eastwall.protocols import grpc

        return grpc.decode_request(request, limits, descriptors)
    operation = rest.decode_request(request, limits)
    body = operation.body
    kind = type(body)
    # What follows asks only whether there is anything to look at: names that the messages of a protocol must have.
    if kind is dict:
        if (
            "jsonrpc" in body
            or "query" in body
            or "variables" in body
            or "extensions" in body
            or "documentId" in body
            or "operations" in body
            or "Body" in body
        ):
            return _special(operation, request, content_type)
    elif kind is list:
        if _listed(operation.raw_body):
            return _special(operation, request, content_type)
    elif (kind is str or operation.body_kind == "binary") and _typed(content_type):
        return _special(operation, request, content_type)
    if operation.query and _in_target(operation):
        return _special(operation, request, content_type)
    if "upgrade" in headers or mcp.VERSION in headers or mcp.SESSION in headers or "soapaction" in headers:
        return _special(operation, request, content_type)
    return operation


def _listed(raw: bytes) -> bool:
    """Whether an array may hold requests of GraphQL or JSON-RPC: a name that is not there, and not written with escapes, is not used."""
    return b'"query"' in raw or b'"jsonrpc"' in raw or b'"extensions"' in raw or b"\\u" in raw


def _typed(content_type: str) -> bool:
    """Whether a content type says GraphQL, or SOAP in text that could not be read or among attachments."""
    lowered = content_type.lower()
    return "graphql" in lowered or "soap" in lowered or "xop" in lowered


def _in_target(operation: Operation) -> bool:
    return not _IN_TARGET.isdisjoint([name for name, _ in operation.query])


_IN_TARGET = frozenset(("query", "extensions", "documentId"))


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
        reading.arguments,
    )


def _reading(operation: Operation, request: Request, content_type: str) -> Reading | None:
    headers = request.headers
    if "upgrade" in headers and (reading := streams.read_request(request)) is not None:
        return reading
    body, method = operation.body, operation.method
    posted = method == "POST"
    at_home = _says_graphql(content_type) or _says_graphql(operation.path)
    graphql = (posted or method == "GET") and _may_be_graphql(operation, content_type, at_home)
    if graphql and at_home:
        # Before JSON-RPC: a server at such a path does not look at further members.
        reading = _graphql_request()(operation, content_type, True)
        if reading is not None:
            return reading
    found = jsonrpc.messages(body) if posted else []
    if found:
        return mcp.read_request(found, operation, headers) or jsonrpc.read_request(found, body)
    if body is None and not posted and (reading := mcp.read_session(method, headers)) is not None:
        return reading
    if posted and (reading := soap.read_request(operation, headers, content_type)) is not None:
        return reading
    return _graphql_request()(operation, content_type, False) if graphql and not at_home else None


_GRAPHQL = regex(r"(?:^|[/._+-])(?:graph-?i?ql|gql)(?:$|[/._:;+-])", IGNORECASE)


@lru_cache(maxsize=1024)
def _remembered(text: str) -> bool:
    return _GRAPHQL.search(text) is not None


def _says_graphql(text: str) -> bool:
    """Whether a path (`/graphql`, `/api/gql`, `/v1/graphql/`) or a content type (`application/graphql`) says GraphQL."""
    return _remembered(text) if len(text) <= 256 else _GRAPHQL.search(text) is not None


_ANYWHERE = ("query", "extensions")
_AT_HOME = (*_ANYWHERE, "documentId", "variables", "id", "operationId")
"""Members that count where the path says GraphQL."""


def _may_be_graphql(operation: Operation, content_type: str, at_home: bool) -> bool:
    """Whether anything at all says so. Who has no GraphQL never loads its parser, and a search for words does not meet it."""
    body = operation.body
    if type(body) is dict and type(query := body.get("query")) is str and (at_home or "{" in query):
        return True
    if operation.body_kind == "text":
        return at_home
    if operation.body_kind == "multipart":
        return type(body) is dict and "operations" in body and "map" in body
    names = _AT_HOME if at_home else _ANYWHERE
    if any(name in names and _telling(value) for name, value in operation.query):
        return True
    items = body if type(body) is list else (body,)
    return any(type(one) is dict and any(name in one and _telling(one[name]) for name in names) for one in items)


def _telling(value: Any) -> bool:
    """Whether a member can be a document, or the hash of one: documents and what comes with them have braces."""
    return type(value) is dict or (type(value) is str and ("{" in value or _HASH.fullmatch(value) is not None))


_HASH = regex(r"(?:sha256:)?[0-9A-Za-z_-]{16,128}")


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
    traits = ["fault"] if _is_fault(protocol, operation.body, streamed=streamed) else []
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


# The parser of GraphQL takes 0.2 s and 16 MB to load: only who has GraphQL pays for it, with the first call or with `prepare`.
@cache
def _graphql_request() -> Callable[[Operation, str, bool], Reading | None]:
    from eastwall.protocols import graphql

    return graphql.read_request


@cache
def _graphql_fault() -> Callable[[Any], bool]:
    from eastwall.protocols import graphql

    return graphql.read_response


_FAULTS: dict[str, Callable[[Any], bool]] = {
    "graphql": lambda body: _graphql_fault()(body),
    "jsonrpc": jsonrpc.is_fault,
    "mcp": mcp.is_fault,
    "soap": soap.is_fault,
}


def _is_fault(protocol: str, body: Any, *, streamed: bool) -> bool:
    """Whether an answer is an error in its protocol's own form, whatever its status. The events of a stream are answers each."""
    test = _FAULTS.get(protocol)
    if test is None:
        return False
    return any(map(test, streams.events(body))) if streamed and type(body) is str else test(body)


def prepare(protocols: Iterable[str]) -> None:
    """Load what the readers of these protocols need, so that the first call does not wait for it."""
    known = set(protocols)
    if "graphql" in known:
        _graphql_request()
    if "grpc" in known:
        from eastwall.protocols import grpc  # noqa: F401
