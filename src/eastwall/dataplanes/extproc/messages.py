"""The parts of external processor messages: headers, peer and kinds read out of them, and the replies that hardly ever differ.

Everything is pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from eastwall.dataplanes.extproc.envoy_config import NAMESPACE
from eastwall.dataplanes.extproc.proto.base_pb2 import HeaderValueOption
from eastwall.dataplanes.extproc.proto.external_processor_pb2 import ProcessingResponse
from eastwall.dataplanes.extproc.proto.processing_mode_pb2 import ProcessingMode
from eastwall.model.call import Peer
from eastwall.model.decision import Answer

STREAMING_TYPES = (
    "application/grpc",
    "text/event-stream",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/stream+json",
    "application/json-seq",
    "multipart/x-mixed-replace",
)
"""Content types (prefixes) whose messages must flow on: waiting for the end of such a body would hang the call."""

# Answers that hardly ever differ are serialized once. A serialized message may be continued by another one's bytes: parsing
# merges them (protobuf encoding guide, "Last One Wins"), which is how the event id gets in without building a Struct per call.
_KINDS = ("request_headers", "response_headers", "request_body", "response_body", "request_trailers", "response_trailers")


def continue_with(kind: str) -> Any:
    reply = ProcessingResponse()
    getattr(reply, kind).SetInParent()
    if not kind.endswith("trailers"):
        getattr(reply, kind).response.SetInParent()
    return reply


def _mode(request_body: int, response_body: int, *, trailers: bool = False) -> Any:
    return ProcessingMode(
        request_header_mode=ProcessingMode.SEND,
        response_header_mode=ProcessingMode.SEND,
        request_body_mode=request_body,
        response_body_mode=response_body,
        request_trailer_mode=ProcessingMode.SKIP,
        response_trailer_mode=ProcessingMode.SEND if trailers else ProcessingMode.SKIP,
    )


def _body_wanted(kind: str, mode: Any) -> bytes:
    reply = continue_with(kind)
    reply.mode_override.CopyFrom(mode)
    serialized: bytes = reply.SerializeToString()
    return serialized


CONTINUE: dict[str, bytes] = {kind: continue_with(kind).SerializeToString() for kind in _KINDS}
WANT_REQUEST_BODY = _body_wanted("request_headers", _mode(ProcessingMode.BUFFERED_PARTIAL, ProcessingMode.NONE))
WANT_REQUEST_PIECES = _body_wanted("request_headers", _mode(ProcessingMode.STREAMED, ProcessingMode.NONE, trailers=True))
WANT_RESPONSE_BODY = _body_wanted("response_headers", _mode(ProcessingMode.NONE, ProcessingMode.BUFFERED_PARTIAL))


def _pieces_wanted(request_body: int) -> bytes:
    reply = continue_with("response_headers")
    # What goes on may be of another length.
    reply.response_headers.response.header_mutation.remove_headers.append("content-length")
    reply.mode_override.CopyFrom(_mode(request_body, ProcessingMode.STREAMED, trailers=True))
    serialized: bytes = reply.SerializeToString()
    return serialized


WANT_RESPONSE_PIECES = _pieces_wanted(ProcessingMode.NONE)
WANT_PIECES_BOTH_WAYS = _pieces_wanted(ProcessingMode.STREAMED)


def _frame(**more: str) -> tuple[bytes, bytes]:
    marker = "?" * 26
    reply = ProcessingResponse()
    reply.dynamic_metadata.get_or_create_struct(NAMESPACE).update({"event_id": marker, **more})
    head, _, tail = reply.SerializeToString().partition(marker.encode())
    return head, tail


_EVENT = _frame()
_ANSWERED = _frame(answered="1")


def event_metadata(call_id: str, *, answered: bool = False) -> bytes:
    """`dynamic_metadata {eastwall: {event_id: call_id}}`, serialized; with `answered: "1"` when the answer is ours.

    `call_id` is a ULID: 26 ASCII characters.
    """
    head, tail = _ANSWERED if answered else _EVENT
    return head + call_id.encode() + tail


PROBLEM_BASE = "https://eastwall.dev/problems/"
"""Start of the `type` URIs of problem documents (RFC 9457) that this adapter writes by itself."""
EVENT_HEADER = "x-eastwall-event-id"


def problem(status: int, slug: str, title: str, detail: str, call_id: str) -> Answer:
    """An answer of the adapter's own, for what the inspector was not asked or could not say."""
    document = {"type": PROBLEM_BASE + slug, "title": title, "status": status, "detail": detail, "event_id": call_id}
    headers = (("content-type", "application/problem+json"), (EVENT_HEADER, call_id))
    return Answer(deny=True, status=status, headers=headers, body=json.dumps(document).encode())


def immediate(answer: Answer, call_id: str, *, grpc: bool) -> bytes:
    """A denial as a serialized ProcessingResponse. A gRPC caller gets Envoy's translation of the status, in gRPC's own form."""
    headers = [(name, value) for name, value in answer.headers if not (grpc and name.lower().startswith("content-"))]
    names = {name.lower() for name, _ in headers}
    if EVENT_HEADER not in names:
        headers.append((EVENT_HEADER, call_id))
    if not grpc and answer.body and "content-type" not in names:
        headers.append(("content-type", "application/problem+json"))
    reply = ProcessingResponse()
    response = reply.immediate_response
    response.status.code = answer.status
    set_headers(response.headers, headers)
    if grpc:
        response.body = b"refused with HTTP status %d; event %s" % (answer.status, call_id.encode())
    else:
        response.body = answer.body or b""
    # The prefix `eastwall_` tells the listener's local_reply_config to leave this answer alone.
    response.details = "eastwall_denied"
    serialized: bytes = reply.SerializeToString()
    return serialized + event_metadata(call_id, answered=True)


_JOINTS = {"cookie": "; ", "set-cookie": "\n"}


def read_headers(fields: Any) -> tuple[dict[str, str], dict[str, str]]:
    """(pseudo-headers, headers). Bytes are read as Latin-1: every byte has a character, and none is lost (RFC 9110, 5.5).

    Repeated fields are joined as `model.call` says.
    """
    pseudo: dict[str, str] = {}
    headers: dict[str, str] = {}
    for field in fields:
        name = field.key
        value = field.raw_value.decode("latin-1") or field.value
        if name[:1] == ":":
            pseudo[name] = value
        elif name in headers:
            headers[name] += _JOINTS.get(name, ", ") + value
        else:
            headers[name] = value
    return pseudo, headers


def set_headers(mutation: Any, headers: Iterable[tuple[str, str]]) -> None:
    """Put `headers` into a HeaderMutation: the first of a name overwrites, further ones of it are added."""
    seen: set[str] = set()
    for name, value in headers:
        option = mutation.set_headers.add()
        option.header.key = name
        option.header.raw_value = value.encode("latin-1", "replace")
        if name in seen:
            option.append.value = True
        else:
            option.append_action = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
        seen.add(name)


def peer_of(attributes: Any) -> Peer:
    """The peer from Envoy's attributes (`REQUEST_ATTRIBUTES`); absent ones are simply not there."""
    for struct in attributes.values():
        fields = struct.fields
        address, port = split_address(_text(fields, "source.address"))
        if "connection.tls_version" not in fields:
            return Peer(address, port)
        uri = _text(fields, "connection.uri_san_peer_certificate")
        dns = _text(fields, "connection.dns_san_peer_certificate")
        subject = _text(fields, "connection.subject_peer_certificate")
        return Peer(address, port, True, (uri,) if uri else (), (dns,) if dns else (), subject)
    return Peer()


def _text(fields: Any, name: str) -> str:
    return str(fields[name].string_value) if name in fields else ""


def split_address(text: str) -> tuple[str, int]:
    """`10.0.0.7:41000` or `[::1]:41000` into address and port; a Unix socket peer is given as it is, with port 0."""
    address, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        return text, 0
    return address.removeprefix("[").removesuffix("]"), int(port)


def host_of(authority: str) -> str:
    """The host of `:authority` without port, lower case; the service's name when the route does not say it."""
    host, colon, port = authority.rpartition(":")
    return (host if colon and port.isdecimal() else authority).lower()


def length_of(headers: dict[str, str]) -> int:
    """Content-Length, or -1. Envoy has refused malformed and conflicting ones."""
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1


def request_is_stream(headers: dict[str, str], pseudo: dict[str, str], attributes: Any) -> bool:
    """Whether a request's body must flow on. A caller's mere word is not enough, or it would be a way around inspection: only what
    Envoy treats as another protocol (upgrades, CONNECT), and gRPC over HTTP/2 without a length."""
    if "upgrade" in headers or ":protocol" in pseudo or pseudo.get(":method") == "CONNECT":
        return True
    if not headers.get("content-type", "").lower().startswith("application/grpc") or "content-length" in headers:
        return False
    return any(_text(struct.fields, "request.protocol") == "HTTP/2" for struct in attributes.values())


def is_stream(headers: dict[str, str]) -> bool:
    """Whether the body of this response may have no end, or belongs to another protocol."""
    return "upgrade" in headers or headers.get("content-type", "").lower().startswith(STREAMING_TYPES)


def streams_messages(headers: dict[str, str]) -> bool:
    """Whether the stream is one of messages that can be read (gRPC, events, lines), not another protocol."""
    return (
        "upgrade" not in headers
        and headers.get("content-encoding", "identity") == "identity"
        and headers.get("content-type", "").lower().startswith(STREAMING_TYPES[:-1])
    )


def grpc_status_of(headers: dict[str, str], grpc: bool) -> int:
    """`grpc-status` of headers or trailers: 0..16, 255 for what is no status, -1 for none or where the call is no gRPC."""
    text = headers.get("grpc-status") if grpc else None
    if text is None:
        return -1
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 2 and int(text) <= 16 else 255
