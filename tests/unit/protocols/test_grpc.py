"""Frames, compression, gRPC-Web, statuses: what a body on the wire is read as."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from eastwall.model.call import BodyState, Request, Response
from eastwall.model.operation import Operation
from eastwall.protocols.grpc import MAX_MESSAGES, Descriptors, compile_descriptors, decode_request, decode_response, is_grpc
from eastwall.protocols.limits import DEFAULT
from eastwall.sources.proto_files import compile_proto

GET = "/shop.v1.Orders/Get"
TALK = "/shop.v1.Orders/Talk"
ORDER = b"\x0a\x04o-17\x10\x01\x1a\x07\x0a\x03a-1\x10\x02"
READ = {"order_id": "o-17", "state": "STATE_PAID", "items": [{"sku": "a-1", "quantity": 2}]}
NUMBERS = {"#1": "o-17", "#2": 1, "#3": {"#1": "a-1", "#2": 2}}


def frame(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


@cache
def shop() -> bytes:
    return compile_proto((Path(__file__).parents[2] / "e2e/protos/shop.proto").read_bytes(), "shop.proto")


@cache
def known() -> Descriptors:
    return compile_descriptors([("orders", shop())])


def request(
    body: bytes = b"",
    path: str = GET,
    kind: str = "application/grpc",
    *,
    state: BodyState = BodyState.COMPLETE,
    descriptors: Descriptors | None = None,
    **headers: str,
) -> Operation:
    fields = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return decode_request(Request("POST", path, fields, body=body, body_state=state), DEFAULT, descriptors)


def answer(
    body: bytes = b"",
    path: str = GET,
    kind: str = "application/grpc",
    *,
    state: BodyState = BodyState.COMPLETE,
    descriptors: Descriptors | None = None,
    **headers: str,
) -> Operation:
    asked = Request("POST", path, {"content-type": "application/grpc"})
    fields = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return decode_response(Response(200, fields, body, state), asked, DEFAULT, descriptors=descriptors)


def faults(operation: Operation) -> list[str]:
    return [fault.id for fault in operation.faults]


def test_a_message_by_its_descriptor_and_without() -> None:
    got = answer(frame(ORDER), descriptors=known())
    assert (got.protocol, got.method, got.name, got.body_kind) == ("grpc", "POST", "shop.v1.Orders/Get", "protobuf")
    assert (got.body, got.traits, got.faults, got.raw_body) == (READ, (), (), ORDER)
    assert got.segments == ("shop.v1.Orders", "Get")
    bare = answer(frame(ORDER))
    assert (bare.body, bare.traits) == (NUMBERS, ("field-numbers",))


def test_a_method_that_no_descriptor_knows() -> None:
    assert answer(frame(ORDER), "/other.Service/Get", descriptors=known()).body == NUMBERS


def test_streams_are_lists() -> None:
    note = b"\x0a\x02hi\x10\x07"
    one = request(frame(note), TALK, descriptors=known())
    assert (one.body, one.traits) == ([{"text": "hi", "number": 7}], ("client-stream", "server-stream"))
    assert request(frame(note) * 2, TALK).body == [{"#1": "hi", "#2": 7}] * 2
    assert request(frame(note), TALK).body == {"#1": "hi", "#2": 7}  # nobody says that it is one
    many = request(frame(note) * (MAX_MESSAGES + 1), TALK, descriptors=known())
    assert (len(many.body), faults(many)) == (MAX_MESSAGES, ["too-many-values"])


@pytest.mark.parametrize(("name", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress)])
def test_compression(name: str, compress: Callable[[bytes], bytes]) -> None:
    got = answer(frame(compress(ORDER), 1) + frame(ORDER), grpc_encoding=name, descriptors=known())
    assert (got.body, got.faults, got.raw_body) == ([READ, READ], (), ORDER + ORDER)


def test_compression_that_lies() -> None:
    assert "bad-grpc-frame" in faults(answer(frame(gzip.compress(ORDER), 1)))
    assert "unknown-encoding" in faults(answer(frame(gzip.compress(ORDER), 1), grpc_encoding="snappy"))
    assert "unknown-encoding" in faults(answer(frame(ORDER, 1), grpc_encoding="gzip"))


@pytest.mark.parametrize("trailer", [b"grpc-status: 5\r\ngrpc-message: no\r\n", b"Grpc-Status:5\n"])
def test_grpc_web(trailer: bytes) -> None:
    got = answer(frame(ORDER) + frame(trailer, 0x80), kind="application/grpc-web+proto", descriptors=known())
    assert (got.body, got.traits, got.faults) == (READ, ("fault", "grpc-status-5", "grpc-web"), ())


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 7])
def test_grpc_web_text_in_padded_pieces(cut: int) -> None:
    wire = frame(ORDER) + frame(b"grpc-status:0\r\n", 0x80)
    text = b"".join(base64.b64encode(wire[at : at + cut]) for at in range(0, len(wire), cut))
    got = answer(text, kind="application/grpc-web-text", descriptors=known())
    assert (got.body, got.traits, got.faults) == (READ, ("grpc-web",), ())
    assert "bad-grpc-frame" in faults(answer(text + b"!?", kind="application/grpc-web-text"))


def test_grpc_web_below_a_prefix_keeps_its_name() -> None:
    assert request(frame(b""), "/api/grpc" + GET, "application/grpc-web").name == "shop.v1.Orders/Get"


def test_a_name_is_what_was_sent() -> None:
    assert request(path="/a%1b%5b31m.B/C?x=y").name == "a%1b%5b31m.B/C"
    assert len(request(path="/" + "a" * 5000 + "/C").name) == 256


def test_json_messages() -> None:
    got = request(frame(b'{"order_id":"o-17"}'), kind="application/grpc+json")
    assert (got.body, got.body_kind, got.faults) == ({"order_id": "o-17"}, "json", ())
    bad = request(frame(b"{"), kind="application/grpc+json")
    assert (bad.body, faults(bad)) == ("{", ["invalid-json"])


@pytest.mark.parametrize(
    ("headers", "traits"),
    [
        ({"grpc_status": "0"}, ()),
        ({"grpc_status": "16"}, ("fault", "grpc-status-16")),
        ({"grpc_status": "07"}, ("fault", "grpc-status-7")),
        ({"grpc_status": "99"}, ("fault", "grpc-status-other")),
        ({"grpc_status": "x\x1b[31m"}, ("fault", "grpc-status-other")),
        ({}, ()),
    ],
)
def test_an_answer_of_trailers_only(headers: dict[str, str], traits: tuple[str, ...]) -> None:
    got = answer(state=BodyState.NONE, **headers)  # type: ignore[arg-type]
    assert (got.body, got.body_kind, got.traits) == (None, "none", traits)


def test_an_answer_by_somebody_before_the_service() -> None:
    got = answer(b'{"title":"no"}', kind="application/problem+json")
    assert (got.protocol, got.name, got.body, got.body_kind) == ("grpc", "shop.v1.Orders/Get", {"title": "no"}, "json")


@pytest.mark.parametrize(
    ("body", "kind", "tree"),
    [
        (b"hello world", "text", "hello world"),
        (b'{"order_id":"x"}', "json", {"order_id": "x"}),
        (b"\x02\0\0\0\1a", "text", "\x02\0\0\0\1a"),
        (b"\0\0", "text", "\0\0"),
        (b"\0\0\0\0\x09abc", "text", "\0\0\0\0\tabc"),
    ],
)
def test_what_is_no_frame_is_told_and_seen(body: bytes, kind: str, tree: Any) -> None:
    got = request(body)
    assert (got.body_kind, got.body) == (kind, tree)
    assert "bad-grpc-frame" in faults(got)


def test_what_follows_a_whole_message_is_told() -> None:
    got = request(frame(b"\x0a\x01a") + b"\x77rest of it")
    assert (got.body, faults(got)) == ({"#1": "a"}, ["bad-grpc-frame"])


def test_a_copied_beginning_is_no_fault() -> None:
    got = answer((frame(ORDER) * 2)[:-4], descriptors=known(), state=BodyState.TRUNCATED)
    assert got.faults == ()
    assert got.body == [READ, {"order_id": "o-17", "state": "STATE_PAID"}]


def test_a_stream_that_was_not_copied() -> None:
    assert request(state=BodyState.STREAMED).body_kind == "unread"


def test_content_types() -> None:
    assert all(
        is_grpc(kind) for kind in ("application/grpc", "application/grpc+proto", "application/grpc-web", "Application/gRPC; x")
    )
    assert not any(is_grpc(kind) for kind in ("", "application/grpcx", "application/json", "text/application/grpc"))


def _changed(**fields: str) -> bytes:
    """The shop's descriptors with another name for a field."""
    given = FileDescriptorSet.FromString(shop())
    for file in given.file:
        for message in file.message_type:
            for field in message.field:
                field.name = fields.get(field.name, field.name)
                field.ClearField("json_name")
    return given.SerializeToString()


def test_two_versions_of_a_proto_behind_two_services() -> None:
    both = compile_descriptors([("orders", shop()), ("old-orders", _changed(order_id="number"))])
    assert both.faults == ()
    assert answer(frame(b"\x0a\x01a"), descriptors=both.of("old-orders")).body == {"number": "a"}
    assert answer(frame(b"\x0a\x01a"), descriptors=both.of("orders")).body == {"order_id": "a"}
    assert answer(frame(b"\x0a\x01a"), descriptors=both.of("stranger")).body == {"order_id": "a"}


def test_files_in_any_order_and_twice() -> None:
    given = FileDescriptorSet.FromString(shop())
    turned = FileDescriptorSet(file=reversed(given.file)).SerializeToString()
    assert bool(compile_descriptors([("orders", turned + shop())]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff", "no FileDescriptorSet"),
        (b"", "holds no file"),
        (b"\x0a\x0c\x0a\x01a\x1a\x07x.proto", "`a` imports `x.proto`, which is not in the descriptor set"),
        (b"\x0a\x06\x0a\x01a\x1a\x01a", "`a` imports itself"),
        (b"\x0a\x0c\x0a\x01a\x1a\x01b" + b"\x22\x04\x0a\x02\x0a\x00" + b"\x0a\x06\x0a\x01b\x1a\x01a", "imports itself"),
        (b"\x0a\x0d\x0a\x01a\x22\x03\x0a\x01M\x22\x03\x0a\x01M", "`a` cannot be used: "),
    ],
)
def test_descriptors_that_cannot_be_used_are_told(data: bytes, reason: str) -> None:
    compiled = compile_descriptors([("orders", data), ("shop", shop())])
    assert [service for service, _ in compiled.faults] == ["orders"]
    assert reason in compiled.faults[0][1]
    assert compiled.method("shop.v1.Orders/Get") is not None
