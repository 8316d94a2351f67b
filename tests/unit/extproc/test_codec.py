"""The stream codec without Envoy: exact replies, every order of messages, and the small readers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from eastwall.dataplanes.extproc import codec, messages
from eastwall.dataplanes.extproc.codec import Settings, Stream
from eastwall.dataplanes.extproc.proto import external_processor_pb2 as pb
from eastwall.dataplanes.extproc.proto.processing_mode_pb2 import ProcessingMode
from eastwall.dataplanes.extproc.server import ulid
from eastwall.model.call import BodyState, Call, Mode, Peer, Response
from eastwall.model.decision import PASS, Answer, Piece, Release

ID = "01HZX3VJ8Q6M5N4P3R2S1T0V9W"
DENY = Answer(True, 403, (("content-type", "application/problem+json"),), (), b"{}")


def headers(kind: str, fields: dict[str, str], *, end: bool = False, observing: bool = False) -> Any:
    message = pb.ProcessingRequest(observability_mode=observing)
    part = getattr(message, kind)
    part.end_of_stream = end
    for key, value in fields.items():
        part.headers.headers.add(key=key, raw_value=value.encode("latin-1"))
    return message


def request(method: str = "POST", path: str = "/a", *, end: bool = False, observing: bool = False, **more: str) -> Any:
    fields = {":method": method, ":path": path, ":authority": "shop:8080", ":scheme": "http"}
    fields |= {key.replace("_", "-"): value for key, value in more.items()}
    return headers("request_headers", fields, end=end, observing=observing)


def response(status: int = 200, *, end: bool = False, observing: bool = False, **more: str) -> Any:
    fields = {":status": str(status)} | {key.replace("_", "-"): value for key, value in more.items()}
    return headers("response_headers", fields, end=end, observing=observing)


def body(kind: str, content: bytes, *, end: bool = True, observing: bool = False) -> Any:
    message = pb.ProcessingRequest(observability_mode=observing)
    part = getattr(message, kind)
    part.body = content
    part.end_of_stream = end
    return message


def stream(**settings: Any) -> Stream:
    return Stream(ID, Settings(**({"service": "shop", "mode": Mode.ENFORCE} | settings)), time=1000.0, clock=5.0)


def drive(on: Stream, message: Any, *answers: Answer) -> tuple[tuple[Any, ...], Any]:
    """(what was asked, parsed reply)."""
    asks = on.receive(message)
    for ask, answer in zip(asks, answers or (PASS,) * len(asks), strict=True):
        on.answer(ask, answer)
    reply = on.reply()
    return asks, None if reply is None else pb.ProcessingResponse.FromString(reply)


def text(reply: Any) -> str:
    return text_format.MessageToString(reply, as_one_line=True)


EVENT_FIELD = f'fields {{ key: "event_id" value {{ string_value: "{ID}" }} }}'
EVENT = f'dynamic_metadata {{ fields {{ key: "eastwall" value {{ struct_value {{ {EVENT_FIELD} }} }} }} }}'
ANSWERED = EVENT.replace("struct_value { ", 'struct_value { fields { key: "answered" value { string_value: "1" } } ')
NO_OTHERS = "request_header_mode: SEND response_header_mode: SEND"
NO_TRAILERS = "request_trailer_mode: SKIP response_trailer_mode: SKIP"


def test_replies_to_an_ordinary_call() -> None:
    on = stream()
    asks, reply = drive(on, request(content_length="2"))
    assert asks == ()
    wanted = f"mode_override {{ {NO_OTHERS} request_body_mode: BUFFERED_PARTIAL {NO_TRAILERS} }}"
    assert text(reply) == f"request_headers {{ response {{ }} }} {EVENT} {wanted}"
    asks, reply = drive(on, body("request_body", b"{}"))
    assert [type(ask) for ask in asks] == [Call]
    assert text(reply) == "request_body { response { } }"
    asks, reply = drive(on, response(content_length="3"))
    wanted = f"mode_override {{ {NO_OTHERS} response_body_mode: BUFFERED_PARTIAL {NO_TRAILERS} }}"
    assert (asks, text(reply)) == ((), f"response_headers {{ response {{ }} }} {wanted}")
    asks, reply = drive(on, body("response_body", b"abc"))
    assert asks == (Response(200, {"content-length": "3"}, b"abc", BodyState.COMPLETE),)
    assert text(reply) == "response_body { response { } }"
    done = on.completion(5.25)
    assert done is not None
    assert (done.status, done.request_bytes, done.response_bytes, done.duration_us, done.time) == (200, 2, 3, 250_000, 1000.0)


def test_call_without_bodies_takes_two_messages() -> None:
    on = stream()
    (call,), reply = drive(on, request("GET", end=True))
    assert call.request.body_state is BodyState.NONE
    assert text(reply) == f"request_headers {{ response {{ }} }} {EVENT}"
    (seen,), reply = drive(on, response(204, end=True))
    assert (seen.body_state, text(reply)) == (BodyState.NONE, "response_headers { response { } }")


def test_refusal() -> None:
    _, reply = drive(stream(), request("GET", end=True), DENY)
    assert text(reply) == (
        "immediate_response { status { code: 403 } "
        'headers { set_headers { header { key: "content-type" raw_value: "application/problem+json" } '
        f'append_action: OVERWRITE_IF_EXISTS_OR_ADD }} set_headers {{ header {{ key: "x-eastwall-event-id" raw_value: "{ID}" }} '
        f'append_action: OVERWRITE_IF_EXISTS_OR_ADD }} }} body: "{{}}" details: "eastwall_denied" }} {ANSWERED}'
    )


def test_changes() -> None:
    on = stream()
    drive(on, request("GET", end=True), Answer(headers=(("x-a", "1"), ("x-a", "2")), remove_headers=("x-b",)))
    drive(on, response(content_length="4"))
    _, reply = drive(on, body("response_body", b"four"), Answer(body=b"fives", remove_headers=("etag",)))
    assert text(reply) == (
        'response_body { response { header_mutation { set_headers { header { key: "content-length" raw_value: "5" } '
        'append_action: OVERWRITE_IF_EXISTS_OR_ADD } remove_headers: "etag" } body_mutation { body: "fives" } } }'
    )
    done = on.completion(6.0)
    assert done is not None
    assert done.response_bytes == 5


def test_a_body_cannot_be_put_where_there_is_none() -> None:
    _, reply = drive(stream(), request("GET", end=True), Answer(body=b"x"))
    assert not reply.request_headers.response.HasField("body_mutation")


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("content", ["part", "stream"])
def test_what_is_not_held_whole_cannot_be_replaced(closed: bool, content: str) -> None:
    on = stream(max_body=10, fail_closed=closed)
    change = Answer(body=b"new", remove_headers=("content-encoding",))
    if content == "part":
        drive(on, request())
        _, reply = drive(on, body("request_body", b"x" * 11, end=False), change)
    else:
        _, reply = drive(on, request(upgrade="websocket"), change)
    assert reply.WhichOneof("response") == (
        "immediate_response" if closed else f"request_{'body' if content == 'part' else 'headers'}"
    )
    assert "content-encoding" not in text(reply), "the body goes on as it is, so its headers must"
    done = on.completion(6.0)
    assert done is not None
    assert "body-not-replaced" in done.uninspected
    assert done.status == (503 if closed else 0)


@pytest.mark.parametrize("declared", [True, False])
def test_body_over_the_limit_is_refused_where_so_configured(declared: bool) -> None:
    on = stream(max_body=10, block_over_limit=True)
    if declared:
        asks, reply = drive(on, request(content_length="11"))
    else:
        drive(on, request())
        asks, reply = drive(on, body("request_body", b"x" * 11, end=False))
    assert [ask.request.body_state for ask in asks] == [BodyState.TRUNCATED]
    assert reply.immediate_response.status.code == 413
    assert json.loads(reply.immediate_response.body)["event_id"] == ID
    done = on.completion(6.0)
    assert done is not None
    assert (done.status, done.uninspected) == (413, ("request-body-truncated",))
    watching = stream(max_body=10, block_over_limit=True, mode=Mode.MONITOR)
    drive(watching, request(content_length="11"))
    assert drive(watching, body("request_body", b"x" * 11))[1].WhichOneof("response") == "request_body"


def test_refusal_of_a_grpc_call_is_in_its_own_form() -> None:
    message = request(content_type="application/grpc")
    message.attributes["envoy.filters.http.ext_proc"].update({"request.protocol": "HTTP/2"})
    _, reply = drive(stream(), message, DENY)
    shown = text(reply)
    assert "problem+json" not in shown
    assert f"event {ID}" in shown


@pytest.mark.parametrize(
    "kind",
    [
        {"content_type": "application/grpc+proto", "attribute": "HTTP/2"},
        {"upgrade": "websocket", "connection": "upgrade"},
        {":protocol": "websocket"},
    ],
)
def test_streams_are_never_waited_for(kind: dict[str, str]) -> None:
    on = stream()
    message = request("GET", **{key: value for key, value in kind.items() if key[0] != ":" and key != "attribute"})
    if "attribute" in kind:
        message.attributes["envoy.filters.http.ext_proc"].update({"request.protocol": kind["attribute"]})
    for key in kind:
        if key[0] == ":":
            message.request_headers.headers.headers.add(key=key, raw_value=kind[key].encode())
    (call,), reply = drive(on, message)
    assert (call.request.body_state, call.request.body) == (BodyState.STREAMED, b"")
    # gRPC comes message by message, other protocols not at all.
    wanted = ProcessingMode.STREAMED if "attribute" in kind else ProcessingMode.NONE
    assert reply.mode_override.request_body_mode == wanted


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/x-ndjson", "application/grpc"])
def test_a_mere_word_of_a_caller_makes_no_stream(content_type: str) -> None:
    message = request("POST", content_type=content_type)
    message.attributes["envoy.filters.http.ext_proc"].update({"request.protocol": "HTTP/1.1"})
    asks, reply = drive(stream(), message)
    assert asks == ()
    assert reply.HasField("mode_override"), "the body must be asked for"


def test_response_to_a_request_that_was_never_whole() -> None:
    on = stream()
    drive(on, request(content_length="100"))
    asks, reply = drive(on, response(413, end=True), Answer(headers=(("x-late", "1"),)), PASS)
    assert [type(ask) for ask in asks] == [Call, Response]
    assert asks[0].request.body_state is BodyState.TRUNCATED
    assert text(reply) == "response_headers { response { } }", "a change of the request comes too late"


def test_late_refusal_is_carried_out_and_ends_the_asking() -> None:
    on = stream()
    on.receive(request(content_length="100"))
    asks = on.receive(response(200, end=True))
    on.answer(asks[0], DENY)
    assert on.denied
    assert pb.ProcessingResponse.FromString(on.reply() or b"").WhichOneof("response") == "immediate_response"
    assert on.receive(body("response_body", b"x")) == ()


@pytest.mark.parametrize(("size", "state"), [(9, BodyState.COMPLETE), (10, BodyState.COMPLETE), (11, BodyState.TRUNCATED)])
@pytest.mark.parametrize("end", [True, False])
def test_the_limit_decides_what_is_whole(size: int, state: BodyState, end: bool) -> None:
    on = stream(max_body=10)
    drive(on, request())
    (call,), _ = drive(on, body("request_body", b"x" * size, end=end))
    assert (call.request.body, call.request.body_state) == (b"x" * min(size, 10), state)


def test_observed_pieces_are_put_together_and_nothing_is_answered() -> None:
    on = stream(mode=Mode.DISCOVER, max_body=10)
    assert drive(on, request(observing=True)) == ((), None)
    assert drive(on, body("request_body", b"abc", end=False, observing=True)) == ((), None)
    (call,), reply = drive(on, body("request_body", b"de", observing=True), DENY)
    assert (call.request.body, call.request.body_state, reply) == (b"abcde", BodyState.COMPLETE, None)
    assert drive(on, response(observing=True)) == ((), None)
    assert drive(on, body("response_body", b"0123456789", end=False, observing=True)) == ((), None)
    (seen,), _ = drive(on, body("response_body", b"x", end=False, observing=True))
    assert (seen.body, seen.body_state) == (b"0123456789", BodyState.TRUNCATED)
    for _ in range(1000):
        assert drive(on, body("response_body", b"y" * 1000, end=False, observing=True)) == ((), None)
    assert sum(map(len, on._parts)) == 10
    assert not on.over
    drive(on, body("response_body", b"", observing=True))
    assert on.over
    done = on.completion(6.0)
    assert done is not None
    assert (done.status, done.response_bytes) == (200, 1_000_011)


def test_observed_response_that_breaks_off_is_still_judged() -> None:
    on = stream(mode=Mode.DISCOVER)
    drive(on, request("GET", end=True, observing=True))
    drive(on, response(observing=True, content_length="9"))
    drive(on, body("response_body", b"par", end=False, observing=True))
    (seen,) = on.close()
    assert (seen.body, seen.body_state) == (b"par", BodyState.TRUNCATED)
    assert on.close() == ()


@pytest.mark.parametrize(("closed", "expected"), [(True, "immediate_response"), (False, "request_headers")])
def test_error_of_ours(closed: bool, expected: str) -> None:
    on = stream(fail_closed=closed)
    on.receive(request("GET", end=True))
    on.failed()
    reply = pb.ProcessingResponse.FromString(on.reply() or b"")
    assert reply.WhichOneof("response") == expected
    done = on.completion(6.0)
    assert done is not None
    assert (done.uninspected, done.status) == (("engine-error",), 503 if closed else 0)


def test_modes_below_enforce_never_fail_closed() -> None:
    on = stream(fail_closed=True, mode=Mode.MONITOR)
    on.receive(request("GET", end=True))
    on.failed()
    assert pb.ProcessingResponse.FromString(on.reply() or b"").WhichOneof("response") == "request_headers"


def test_stream_that_says_nothing_has_no_completion() -> None:
    assert stream().completion(6.0) is None
    with pytest.raises(ValueError, match="without content"):
        stream().receive(pb.ProcessingRequest())


# -- any order of messages --------------------------------------------------------------------------------------------------

MESSAGES = st.one_of(
    st.builds(request, st.sampled_from(["GET", "POST", "CONNECT", ""]), end=st.booleans(), observing=st.booleans()),
    st.builds(request, content_length=st.sampled_from(["0", "5", "x", "-1", "99999999999999999999"]), observing=st.booleans()),
    st.builds(response, st.sampled_from([0, 101, 200, 204, 304, 500]), end=st.booleans(), observing=st.booleans()),
    st.builds(
        response, content_length=st.sampled_from(["0", "5", "\xb2"]), content_type=st.sampled_from(["", "application/grpc"])
    ),
    st.builds(body, st.sampled_from(["request_body", "response_body"]), st.binary(max_size=30), end=st.booleans()),
    st.builds(lambda kind: headers_free(kind), st.sampled_from(["request_trailers", "response_trailers"])),
)
ANSWERS = st.one_of(
    st.just(PASS),
    st.just(DENY),
    st.builds(Answer, body=st.one_of(st.none(), st.binary(max_size=20)), want_response=st.integers(0, 2)),
    st.builds(Answer, headers=st.just((("x-a", "\u20ac"),)), remove_headers=st.just(("x-b",))),
)


def headers_free(kind: str) -> Any:
    message = pb.ProcessingRequest()
    getattr(message, kind).SetInParent()
    return message


@given(
    st.lists(st.tuples(MESSAGES, ANSWERS, ANSWERS), max_size=12),
    st.sampled_from([None, *Mode]),
    st.booleans(),
    st.integers(0, 40),
    st.sampled_from([Release(0), Release(0, b"x"), Release(0, b"y", end=True), Release(0, part=True)]),
)
def test_any_order_of_messages_keeps_the_contract(
    steps: list[Any], mode: Mode | None, closed: bool, limit: int, release: Release
) -> None:
    on = stream(mode=mode, fail_closed=closed, max_body=limit)
    asked: list[Any] = []
    refused = False
    for message, *answers in steps:
        kind = message.WhichOneof("request")
        asks = on.receive(message)
        assert not (refused and asks)
        for ask, answer in zip(asks, answers, strict=False):
            if on.denied:
                break
            asked.append(ask)
            if isinstance(ask, Piece):
                on.release(ask, release)
            else:
                on.answer(ask, answer)
        observing = on._observing
        reply = on.reply()
        assert (reply is None) == observing
        if reply is not None:
            parsed = pb.ProcessingResponse.FromString(reply)
            assert parsed.WhichOneof("response") in (kind, "immediate_response")
            if mode in (Mode.DISCOVER, Mode.MONITOR):
                assert parsed.WhichOneof("response") == kind
                assert "mutation" not in text(parsed)
        refused = on.denied
    if not on.denied:
        asked.extend(on.close())
    kinds = [type(ask) for ask in asked if not isinstance(ask, Piece)]
    assert kinds in ([], [Call], [Call, Response]), "a call is judged once, before its response, and each response once"
    for ask in asked:
        if isinstance(ask, Piece):
            assert asked.index(ask) > 0, "pieces come after the headers"
            continue
        assert len(ask.request.body if isinstance(ask, Call) else ask.body) <= limit
    done = on.completion(4.0)
    if any(message.WhichOneof("request") == "request_headers" for message, *_ in steps):
        assert done is not None
        assert (done.id, done.duration_us) == (ID, 0)
    else:
        assert done is None


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_raise_or_are_survived(data: bytes) -> None:
    try:
        message = pb.ProcessingRequest.FromString(data)
    except DecodeError:
        return
    on = stream()
    try:
        asks = on.receive(message)
    except ValueError:
        return
    for ask in asks:
        on.answer(ask, PASS)
    on.reply()


# -- the small readers --------------------------------------------------------------------------------------------------------


def test_settings() -> None:
    assert codec.settings(()) == Settings()
    assert codec.settings(
        [
            ("x-eastwall-service", "orders"),
            ("x-eastwall-mode", "monitor"),
            ("x-eastwall-fail", "closed"),
            ("x-eastwall-max-body", "9"),
            ("x-eastwall-over-limit", "block"),
        ]
    ) == Settings("orders", Mode.MONITOR, True, 9, True)
    assert codec.settings([("x-eastwall-max-body", "9" * 19)]).max_body == codec.MAX_BODY_CEILING
    assert codec.settings([("other", "1"), ("x-eastwall-service-bin", b"\x00")]) == Settings()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("x-eastwall-mode", "block", "x-eastwall-mode: `block` is not a mode; write discover, monitor or enforce"),
        ("x-eastwall-fail", "shut", "x-eastwall-fail: `shut` is not a fail mode; write open or closed"),
        ("x-eastwall-over-limit", "drop", "x-eastwall-over-limit: `drop` is neither pass nor block"),
        ("x-eastwall-max-body", "1MB", "x-eastwall-max-body: `1MB` is not a number of bytes"),
        ("x-eastwall-max-body", "\u0663", "x-eastwall-max-body: `\u0663` is not a number of bytes"),
        ("x-eastwall-max-body", "9" * 5000, "is not a number of bytes"),
    ],
)
def test_bad_settings_are_one_clear_line(key: str, value: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        codec.settings([(key, value)])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_repeated_fields() -> None:
    message = pb.ProcessingRequest()
    for key, value in [("a", "1"), ("a", "2"), ("cookie", "x=1"), ("cookie", "y=2"), ("set-cookie", "p"), ("set-cookie", "q")]:
        message.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    assert messages.read_headers(message.request_headers.headers.headers) == (
        {},
        {"a": "1, 2", "cookie": "x=1; y=2", "set-cookie": "p\nq"},
    )


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True), st.binary(max_size=20), max_size=8))
def test_header_bytes_survive_the_way_there_and_back(fields: dict[str, bytes]) -> None:
    message = pb.ProcessingRequest()
    for key, value in fields.items():
        message.request_headers.headers.headers.add(key=key, raw_value=value)
    _, read = messages.read_headers(message.request_headers.headers.headers)
    mutation = pb.HeaderMutation()
    messages.set_headers(mutation, read.items())
    assert {option.header.key: option.header.raw_value for option in mutation.set_headers} == fields


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("10.0.0.7:41000", ("10.0.0.7", 41000)),
        ("[::1]:9", ("::1", 9)),
        ("/run/app.sock", ("/run/app.sock", 0)),
        ("", ("", 0)),
        ("10.0.0.7", ("10.0.0.7", 0)),
    ],
)
def test_peer_addresses(given_text: str, expected: tuple[str, int]) -> None:
    assert messages.split_address(given_text) == expected


def test_peer_attributes() -> None:
    message = pb.ProcessingRequest()
    assert messages.peer_of(message.attributes) == Peer()
    message.attributes["envoy.filters.http.ext_proc"].update(
        {
            "source.address": "1.2.3.4:5",
            "connection.tls_version": "TLSv1.3",
            "connection.uri_san_peer_certificate": "spiffe://a/b",
        }
    )
    assert messages.peer_of(message.attributes) == Peer("1.2.3.4", 5, True, ("spiffe://a/b",))


@pytest.mark.parametrize(
    ("authority", "host"), [("Shop:80", "shop"), ("shop", "shop"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("", "")]
)
def test_service_of_a_route_that_says_none(authority: str, host: str) -> None:
    assert messages.host_of(authority) == host


def test_event_ids_are_ulids_in_order_of_time() -> None:
    ids = [ulid() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(len(each) == 26 and set(each) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ") and each[0] <= "7" for each in ids)
    assert [each[:10] for each in ids] == sorted(each[:10] for each in ids)


def test_generated_code_is_that_of_the_proto_files(tmp_path: Path) -> None:
    # The wheel has no .proto files, nor need it have: this is about the source tree.
    here = Path(__file__).parents[3] / "src/eastwall/dataplanes/extproc/proto"
    package = tmp_path / "eastwall/dataplanes/extproc/proto"
    package.mkdir(parents=True)
    for file in here.glob("*.proto"):
        (package / file.name).write_bytes(file.read_bytes())
    (package / "__main__.py").write_bytes((here / "__main__.py").read_bytes())
    subprocess.run([sys.executable, str(package / "__main__.py")], check=True, timeout=60)
    made = sorted(package.glob("*_pb2.py"))
    assert [file.name for file in made] == sorted(file.name for file in here.glob("*_pb2.py"))
    for file in made:
        assert file.read_text() == (here / file.name).read_text(), f"{file.name}: run python -m eastwall.dataplanes.extproc.proto"
