"""gRPC and gRPC-Web messages as Operations (HTTP/2 and HTTP/1.1; `application/grpc`, `grpc-web`, `grpc-web-text`, with `+proto`, `+json`).

The method is the name (`shop.v1.Orders/Get`); the body is the message, or the list of the first `MAX_MESSAGES` of a stream. Source:
github.com/grpc/grpc doc/PROTOCOL-HTTP2.md and PROTOCOL-WEB.md. Never raises; what cannot be read as it claims is handed over as
text under a `bad-grpc-frame` fault, as every body here.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from msgspec import Struct
from msgspec.structs import replace

from eastwall.model.call import BodyState, Request, Response
from eastwall.model.operation import Operation, ParserFault
from eastwall.protocols import coding, json, protobuf, rest
from eastwall.protocols.limits import Limits

MAX_MESSAGES = 64
"""Messages of a stream that are read; more of them carry a `too-many-values` fault."""
MAX_NAME = 256
"""Characters of an operation's name."""
_PREFIX = 5
_COMPRESSED, _TRAILERS = 0x01, 0x80
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")


class Method(Struct, frozen=True):
    """How the messages of one method are read."""

    request: type[Message]
    response: type[Message]
    client_stream: bool = False
    server_stream: bool = False


class Descriptors:
    """The methods that are known, by service. Immutable; made by `compile_descriptors`."""

    __slots__ = ("_any", "_by_service", "faults")

    def __init__(self, by_service: Mapping[str, Mapping[str, Method]], faults: tuple[tuple[str, str], ...] = ()) -> None:
        self._by_service = by_service
        self._any: dict[str, Method] = {}
        for methods in by_service.values():
            for name, method in methods.items():
                self._any.setdefault(name, method)
        self.faults = faults
        """(service, one line on what could not be used)."""

    def __bool__(self) -> bool:
        return bool(self._any)

    def of(self, service: str) -> Descriptors:
        """Those of one service before those of all: for two versions of one proto behind two services."""
        own = self._by_service.get(service)
        if own is None or len(self._by_service) == 1:
            return self
        narrowed = Descriptors({service: own})
        narrowed._any = {**self._any, **own}
        return narrowed

    def method(self, name: str) -> Method | None:
        """The method `package.Service/Method`."""
        return self._any.get(name)


NONE = Descriptors({})


def compile_descriptors(pairs: Iterable[tuple[str, bytes]]) -> Descriptors:
    """(service, serialized FileDescriptorSet) -> Descriptors. What cannot be used is left out and told in `Descriptors.faults`."""
    by_service: dict[str, dict[str, Method]] = {}
    faults: list[tuple[str, str]] = []
    for service, data in pairs:
        try:
            methods = methods_of(data)
        except ValueError as error:
            faults.append((service, str(error)))
            continue
        by_service.setdefault(service, {}).update(methods)
    return Descriptors(by_service, tuple(faults))


def methods_of(data: bytes) -> dict[str, Method]:
    """Every method of a serialized FileDescriptorSet. Raises ValueError with one line on what is wrong with it."""
    pool, files = pool_of(data)
    methods: dict[str, Method] = {}
    for name in files:
        for service in pool.FindFileByName(name).services_by_name.values():
            for method in service.methods:
                methods[f"{service.full_name}/{method.name}"] = Method(
                    GetMessageClass(method.input_type),
                    GetMessageClass(method.output_type),
                    method.client_streaming,
                    method.server_streaming,
                )
    return methods


def pool_of(data: bytes) -> tuple[Any, tuple[str, ...]]:
    """(DescriptorPool, names of its files) of a serialized FileDescriptorSet, in whatever order its files stand.

    Raises ValueError with one line: no descriptor set, a file that others need is missing, two that contradict each other.
    """
    try:
        given = FileDescriptorSet.FromString(data)
    except DecodeError:
        raise ValueError("no FileDescriptorSet (make one with `protoc --include_imports --descriptor_set_out=FILE`)") from None
    files = {file.name: file for file in given.file}
    if not files:
        raise ValueError("the descriptor set holds no file")
    pool = DescriptorPool()
    added: set[str] = set()
    # Depth first without recursion: a set of thousands of files may import in one long chain.
    stack = [(name, False) for name in reversed(files)]
    open_files: set[str] = set()
    while stack:
        name, ready = stack.pop()
        if name in added:
            continue
        if not ready:
            if name in open_files:
                raise ValueError(f"`{name[:100]}` imports itself")
            open_files.add(name)
            stack.append((name, True))
            for needed in files[name].dependency:
                if needed not in files:
                    raise ValueError(f"`{name[:100]}` imports `{needed[:100]}`, which is not in the descriptor set")
                if needed not in added:
                    stack.append((needed, False))
            continue
        try:
            pool.AddSerializedFile(files[name].SerializeToString())
        except (TypeError, ValueError) as error:
            raise ValueError(f"`{name[:100]}` cannot be used: {' '.join(str(error).split())[:200]}") from None
        added.add(name)
    return pool, tuple(files)


def decode_request(request: Request, limits: Limits, descriptors: Descriptors | None = None) -> Operation:
    """A gRPC request as an Operation. Never raises."""
    plain = rest.decode_request(replace(request, body=b"", body_state=BodyState.NONE), limits)
    name = method_name(plain.path)
    method = descriptors.method(name) if descriptors is not None else None
    traits = _streams(method)
    if not request.body:
        kind = "unread" if request.body_state > BodyState.TRUNCATED else "none"
        if _form(request.headers)[0]:
            traits.add("grpc-web")
        return replace(plain, protocol="grpc", name=name, traits=tuple(sorted(traits)), body_kind=kind)
    many = method is not None and method.client_stream
    found = _body(request.body, request.body_state, request.headers, method.request if method else None, limits, many=many)
    return replace(
        plain,
        protocol="grpc",
        name=name,
        body=found.tree,
        body_kind=found.kind,
        faults=plain.faults + tuple(found.faults),
        raw_body=found.data,
        traits=tuple(sorted(traits | found.traits)),
    )


def decode_response(
    response: Response, request: Request, limits: Limits, asked: Operation | None = None, descriptors: Descriptors | None = None
) -> Operation:
    """The response message. `asked`: the request's Operation, for its name. `grpc-status` may stand in `response.headers` (an answer
    of trailers only, or the trailers the data plane saw) or in a gRPC-Web body. Never raises."""
    content_type = response.headers.get("content-type", "")
    if content_type and not is_grpc(content_type):
        # Not the service but something before it answered.
        plain = rest.decode_response(response, request, limits)
        return replace(plain, protocol="grpc", name=asked.name if asked is not None else method_name(plain.path))
    plain = rest.decode_response(replace(response, body=b"", body_state=BodyState.NONE), request, limits)
    name = asked.name if asked is not None else method_name(plain.path)
    method = descriptors.method(name) if descriptors is not None else None
    traits = _streams(method)
    status = response.headers.get("grpc-status", "")
    if not response.body:
        kind = "unread" if response.body_state > BodyState.TRUNCATED else "none"
        if _form(response.headers)[0]:
            traits.add("grpc-web")
        return replace(plain, protocol="grpc", name=name, body_kind=kind, traits=tuple(sorted(traits | fault_traits(status))))
    many = method is not None and method.server_stream
    found = _body(response.body, response.body_state, response.headers, method.response if method else None, limits, many=many)
    return replace(
        plain,
        protocol="grpc",
        name=name,
        body=found.tree,
        body_kind=found.kind,
        faults=plain.faults + tuple(found.faults),
        raw_body=found.data,
        traits=tuple(sorted(traits | found.traits | fault_traits(found.status or status))),
    )


def is_grpc(content_type: str) -> bool:
    """Whether a Content-Type is one of gRPC's."""
    return content_type[:16].lower() == "application/grpc" and content_type[16:17] in ("", "+", "-", ";", " ")


def method_name(path: str) -> str:
    """`package.Service/Method`: the last two segments as sent, for gRPC-Web may stand under a prefix. gRPC encodes nothing in a path."""
    return "/".join(path.strip("/").rsplit("/", 2)[-2:])[:MAX_NAME]


def fault_traits(status: str) -> set[str]:
    """Traits of a `grpc-status`: `fault` and `grpc-status-5`; none for 0 and for none."""
    if status in ("", "0"):
        return set()
    known = status.isascii() and status.isdecimal() and len(status) <= 2 and 0 < int(status) <= 16
    return {"fault", f"grpc-status-{int(status)}" if known else "grpc-status-other"}


def _streams(method: Method | None) -> set[str]:
    if method is None:
        return set()
    return {trait for trait, on in (("client-stream", method.client_stream), ("server-stream", method.server_stream)) if on}


class _Found:
    """What came of a body."""

    __slots__ = ("data", "faults", "kind", "status", "traits", "tree")

    def __init__(self, data: bytes) -> None:
        self.tree: Any = None
        self.kind = "protobuf"
        self.faults: list[ParserFault] = []
        self.data = data
        self.traits: set[str] = set()
        self.status = ""
        """`grpc-status` from the trailers in a gRPC-Web body."""


def _form(headers: dict[str, str]) -> tuple[bool, bool, bool]:
    """(gRPC-Web, its text form, JSON messages) by the Content-Type."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    web = kind.startswith("application/grpc-web")
    return web, kind.startswith("application/grpc-web-text"), kind.endswith("+json")


def _body(
    wire: bytes, state: BodyState, headers: dict[str, str], kind: type[Message] | None, limits: Limits, *, many: bool
) -> _Found:
    """The messages of a body. `many`: of a stream, a list even when it holds one message."""
    web, text, as_json = _form(headers)
    whole = state is not BodyState.TRUNCATED
    found = _Found(wire)
    if web:
        found.traits.add("grpc-web")
    if "content-encoding" in headers:
        undone = coding.decode(wire, headers["content-encoding"], limits, truncated=not whole)
        found.faults += undone.faults
        wire, whole = undone.data, whole and undone.complete
    if text:
        wire = _unbased(wire, found)
    found.data = wire
    messages, stop = _frames(wire, found, web=web)
    trees: list[Any] = []
    plain: list[bytes] = []
    budget = protobuf.Budget(limits)
    left = limits.max_decoded
    for compressed, start, end in messages:
        data = wire[start:end]
        complete = end <= len(wire)
        if compressed:
            data, complete = _unpacked(data, headers, replace(limits, max_decoded=max(1, left)), found, whole=complete)
            left -= len(data)
        plain.append(data)
        _read(data, kind, as_json, limits, budget, found, trees, whole=complete)
        if left <= 0 or budget.left < 0:
            break
    if stop:
        _cut(wire, messages, stop, found, trees, limits, whole=whole)
    if plain:
        found.data = plain[0] if len(plain) == 1 else b"".join(plain)
    if found.kind == "protobuf":
        found.tree = trees if many or len(trees) > 1 else trees[0] if trees else None
        if as_json:
            found.kind = "json"
    found.faults = list(dict.fromkeys(found.faults))[:16]
    return found


def _frames(wire: bytes, found: _Found, *, web: bool) -> tuple[list[tuple[bool, int, int]], str]:
    """((compressed, start, end) of each message, why it ended before the body did). The last `end` may lie beyond the body."""
    messages: list[tuple[bool, int, int]] = []
    at, size = 0, len(wire)
    while at < size:
        if size - at < _PREFIX:
            return messages, "a frame's head is cut short"
        flag = wire[at]
        end = at + _PREFIX + int.from_bytes(wire[at + 1 : at + _PREFIX], "big")
        if flag & ~_COMPRESSED and not (web and flag & ~_COMPRESSED == _TRAILERS):
            return messages, f"flag {flag} at byte {at}"
        if flag & _TRAILERS:
            if not flag & _COMPRESSED:
                found.status = _status(wire[at + _PREFIX : end])
        elif len(messages) >= MAX_MESSAGES:
            found.faults.append(ParserFault("too-many-values", "body", f"more than {MAX_MESSAGES} messages"))
            return messages, ""
        else:
            messages.append((bool(flag & _COMPRESSED), at + _PREFIX, end))
        at = end
    return messages, "a message is cut short" if at > size else ""


def _cut(
    wire: bytes,
    messages: list[tuple[bool, int, int]],
    stop: str,
    found: _Found,
    trees: list[Any],
    limits: Limits,
    *,
    whole: bool,
) -> None:
    """The frames ended before the body did. Of a copied beginning that is no fault."""
    if not whole and "flag" not in stop:
        return
    found.faults.append(ParserFault("bad-grpc-frame", "body", stop))
    if any(trees) and messages and messages[0][2] <= len(wire):
        return
    # Not one whole message: then it is no gRPC, whatever its type says, and read as what it looks like.
    parsed = json.parse(wire, limits) if wire.lstrip(b" \t\r\n")[:1] in (b"{", b"[") else None
    if parsed is not None and parsed.ok:
        found.kind, found.tree = "json", parsed.tree
        found.faults += parsed.faults
    else:
        found.kind, found.tree = "text", wire.decode("utf-8", "replace")
    found.data = wire


def _read(
    data: bytes,
    kind: type[Message] | None,
    as_json: bool,
    limits: Limits,
    budget: protobuf.Budget,
    found: _Found,
    trees: list[Any],
    *,
    whole: bool,
) -> None:
    """One message into `trees`."""
    if as_json:
        parsed = json.parse(data, limits) if whole else json.Parsed(False)
        found.faults += parsed.faults
        trees.append(parsed.tree if parsed.ok else data.decode("utf-8", "replace"))
        return
    read = protobuf.read(data, kind, limits, budget, whole=whole)
    found.faults += read.faults
    if read.numbered and data:
        found.traits.add("field-numbers")
    trees.append(data.decode("utf-8", "replace") if read.tree is None else read.tree)


def _unpacked(data: bytes, headers: dict[str, str], limits: Limits, found: _Found, *, whole: bool) -> tuple[bytes, bool]:
    """(the message behind the compression flag, whether it is whole)."""
    name = headers.get("grpc-encoding", "identity").strip().lower()
    if name == "identity":
        found.faults.append(ParserFault("bad-grpc-frame", "body", "compressed, but no `grpc-encoding` says how"))
        return data, whole
    undone = coding.decode(data, name, limits, truncated=not whole)
    found.faults += undone.faults
    return undone.data, whole and undone.complete


def _unbased(wire: bytes, found: _Found) -> bytes:
    """gRPC-Web text: base64, in pieces that may each be padded."""
    pieces: list[bytes] = []
    for match in _BASE64.finditer(wire):
        piece = match.group()
        solid = piece.rstrip(b"=")
        # A copied beginning may end within a group of four: what it holds whole is read.
        pieces.append(binascii.a2b_base64(solid[: len(solid) - (len(solid) % 4 == 1)] + b"==="))
    if _BASE64.sub(b"", wire).strip():
        found.faults.append(ParserFault("bad-grpc-frame", "body", "not all of it is base64"))
    return b"".join(pieces)


def _status(block: bytes) -> str:
    """`grpc-status` of the trailers in a gRPC-Web body."""
    for line in block[:4096].split(b"\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"grpc-status":
            return value.strip().decode("latin-1")[:8]
    return ""
