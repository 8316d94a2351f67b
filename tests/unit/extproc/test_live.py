"""The external processor against a real Envoy: what goes through, is seen, is changed, and what happens when things break."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import httpx
import pytest
from websockets.sync.client import connect
from websockets.sync.server import serve as ws_serve

from eastwall.model.call import BodyState
from eastwall.model.decision import Answer
from extproc import rig as rigs
from extproc.rig import MAX_BODY, Rig, Upstream, wait

pytestmark = pytest.mark.e2e

DENIAL = Answer(True, 403, (("content-type", "application/problem+json"), ("x-event", "one")), (), b'{"status":403}')


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with rigs.rig() as made:
        yield made


def ask(
    rig: Rig, host: str, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, list[tuple[str, str]], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", rig.port, timeout=15)
    try:
        connection.request(
            method, path, body, {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        )
        answer = connection.getresponse()
        return answer.status, [(name.lower(), value) for name, value in answer.getheaders()], answer.read()
    finally:
        connection.close()


VOLATILE = {"date", "x-envoy-upstream-service-time"}


def stable(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name not in VOLATILE]


# -- nothing is changed that need not be ----------------------------------------------------------------------------------

ORDINARY = [
    ("GET", "/a?x=%C3%A9&y=1", None),
    ("POST", "/b", b'{"a": [1, 2.50, "\\u00e9"]}'),
    ("PUT", "/c", bytes(range(256))),
    ("POST", "/d", b""),
    ("DELETE", "/e", None),
    ("OPTIONS", "/f", None),
    ("HEAD", "/g", None),
    ("GET", "/status/204", None),
    ("GET", "/status/304", None),
    ("GET", "/cookies", None),
    ("GET", "/chunked", None),
    ("GET", f"/big/{MAX_BODY * 5}", None),
    ("POST", "/h", b"x" * (MAX_BODY * 5)),
]


@pytest.mark.parametrize("host", ["enforce.test", "closed.test", "observe.test", "waiting.test"])
@pytest.mark.parametrize(("method", "path", "body"), ORDINARY)
def test_ordinary_calls_are_the_same_with_and_without_the_processor(
    rig: Rig, host: str, method: str, path: str, body: bytes | None
) -> None:
    plain = ask(rig, "plain.test", method, path, body, content_type="application/json", cookie="a=1")
    guarded = ask(rig, host, method, path, body, content_type="application/json", cookie="a=1")
    assert guarded[0] == plain[0]
    assert guarded[2] == plain[2]
    assert stable(guarded[1]) == stable(plain[1])
    assert (guarded[2] == b"") == (method == "HEAD" or path.startswith("/status"))


def test_chunked_request_stays_chunked(rig: Rig) -> None:
    status, _, body = ask(rig, "enforce.test", "POST", "/up-chunked", iter([b'{"a"', b":1}"]))
    seen = dict(json.loads(body)["headers"])
    assert (status, seen.get("transfer-encoding"), "content-length" in seen) == (200, "chunked", False)
    assert rig.script.call("/up-chunked").request.body == b'{"a":1}'


# -- what the engine is shown ---------------------------------------------------------------------------------------------


def test_the_call_as_the_inspector_sees_it(rig: Rig) -> None:
    ask(rig, "enforce.test", "POST", "/seen?q=1", b'{"a":1}', content_type="application/json", x_odd="caf\xe9")
    call = rig.script.call("/seen?q=1")
    assert len(call.id) == 26
    assert call.service == "shop"
    assert abs(call.time - time.time()) < 10
    assert (call.peer.address, call.peer.tls, call.peer.uri_sans) == ("127.0.0.1", False, ())
    assert call.peer.port > 0
    request = call.request
    assert (request.method, request.path, request.authority, request.scheme) == ("POST", "/seen?q=1", "enforce.test", "http")
    assert (request.body, request.body_state) == (b'{"a":1}', BodyState.COMPLETE)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-odd"] == "caf\xe9"
    assert not [name for name in request.headers if name.startswith(":")]
    response = rig.script.response_of("/seen?q=1")
    assert (response.status, response.body_state) == (200, BodyState.COMPLETE)
    assert json.loads(response.body)["path"] == "/seen?q=1"
    done = rig.script.completion("/seen?q=1")
    assert (done.id, done.service, done.method, done.status, done.peer_address) == (call.id, "shop", "POST", 200, "127.0.0.1")
    assert (done.request_bytes, done.response_bytes, done.uninspected) == (7, len(response.body), ())
    assert 0 < done.duration_us < 10_000_000


def test_set_cookie_fields_are_kept_apart(rig: Rig) -> None:
    _, headers, _ = ask(rig, "enforce.test", "GET", "/cookies/kept")
    assert [value for name, value in headers if name == "set-cookie"] == ["a=1; Path=/", "b=2"]
    assert rig.script.response_of("/cookies/kept").headers["set-cookie"] == "a=1; Path=/\nb=2"


@pytest.mark.parametrize(("method", "path"), [("HEAD", "/empty/1"), ("GET", "/status/204/empty"), ("GET", "/status/304/empty")])
def test_responses_without_a_body(rig: Rig, method: str, path: str) -> None:
    ask(rig, "enforce.test", method, path)
    response = rig.script.response_of(path)
    assert (response.body, response.body_state) == (b"", BodyState.NONE)
    assert rig.script.completion(path).response_bytes == 0


@pytest.mark.parametrize("host", ["enforce.test", "observe.test"])
def test_oversized_bodies_pass_and_are_known_to_be_cut(rig: Rig, host: str) -> None:
    size = MAX_BODY * 20
    path = f"/over/{host}"
    status, _, body = ask(rig, host, "POST", path, b"x" * size, content_type="text/plain")
    assert (status, len(json.loads(body)["body"])) == (200, size)
    done = rig.script.completion(path)
    assert (done.request_bytes, done.response_bytes) == (size, len(body))
    request, response = rig.script.call(path).request, rig.script.response_of(path)
    assert (len(request.body), request.body_state) == (MAX_BODY, BodyState.TRUNCATED)
    assert (len(response.body), response.body_state) == (MAX_BODY, BodyState.TRUNCATED)


def test_body_of_just_the_limit_is_whole(rig: Rig) -> None:
    ask(rig, "enforce.test", "POST", "/just", b"y" * MAX_BODY)
    assert rig.script.call("/just").request.body_state is BodyState.COMPLETE


def test_trailers_do_not_make_a_body_look_cut(rig: Rig) -> None:
    with socket.create_connection(("127.0.0.1", rig.port), 10) as raw:
        raw.sendall(
            b"POST /trailers HTTP/1.1\r\nhost: enforce.test\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n"
            b"connection: close\r\n\r\n"
            b'7\r\n{"a":1}\r\n0\r\nx-sum: 1\r\n\r\n'
        )
        while raw.recv(65536):
            pass
    request = rig.script.call("/trailers").request
    assert (request.body, request.body_state) == (b'{"a":1}', BodyState.COMPLETE)


@pytest.mark.parametrize("want", [0, 1])
def test_only_as_much_of_the_response_as_was_wanted(rig: Rig, want: int) -> None:
    path = f"/want/{want}"
    rig.script.requests[path] = Answer(want_response=want)
    status, _, body = ask(rig, "enforce.test", "GET", path)
    assert status == 200
    done = rig.script.completion(path)
    assert (done.status, done.response_bytes) == (200, len(body))
    seen = rig.script.seen.get(done.id, [])
    assert [(r.body, r.body_state) for r in seen] == [(b"", BodyState.SKIPPED)] * want


# -- what the engine changes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", b"{}"), ("POST", b"z" * (MAX_BODY * 3))])
def test_refusal_of_a_request(rig: Rig, method: str, body: bytes | None) -> None:
    path = f"/deny/{method}/{len(body or b'')}"
    rig.script.requests[path] = DENIAL
    status, headers, answer = ask(rig, "enforce.test", method, path, body)
    assert (status, answer) == (403, b'{"status":403}')
    assert ("content-type", "application/problem+json") in headers
    assert ("x-event", "one") in headers
    assert ("content-length", "14") in headers
    done = rig.script.completion(path)
    assert (done.status, done.response_bytes) == (403, 14)
    assert done.id not in rig.script.seen


def test_refusal_of_a_response(rig: Rig) -> None:
    rig.script.responses["/deny-response"] = DENIAL
    status, headers, body = ask(rig, "enforce.test", "GET", "/deny-response")
    assert (status, body) == (403, b'{"status":403}')
    assert "x-upstream" not in dict(headers)
    assert rig.script.completion("/deny-response").status == 403


def test_refusal_of_a_head_request(rig: Rig) -> None:
    rig.script.requests["/deny-head"] = DENIAL
    status, _, body = ask(rig, "enforce.test", "HEAD", "/deny-head")
    assert (status, body) == (403, b"")


def test_request_changed(rig: Rig) -> None:
    rig.script.requests["/change"] = Answer(
        headers=(("x-new", "1"), ("x-new", "2"), ("x-old", "new")), remove_headers=("x-gone",), body=b'{"longer": "than before"}'
    )
    status, _, body = ask(rig, "enforce.test", "POST", "/change", b'{"a":1}', x_old="old", x_gone="here")
    seen = json.loads(body)
    assert (status, seen["body"]) == (200, '{"longer": "than before"}')
    headers = [(name.lower(), value) for name, value in seen["headers"]]
    assert [value for name, value in headers if name == "x-new"] == ["1", "2"]
    assert ("x-old", "new") in headers
    assert ("x-old", "old") not in headers
    assert "x-gone" not in dict(headers)
    assert dict(headers)["content-length"] == "25"


@pytest.mark.parametrize("new", [b"", b"short", b"q" * 5000])
@pytest.mark.parametrize("path", ["/replace", "/chunked/replace"])
def test_response_body_replaced(rig: Rig, path: str, new: bytes) -> None:
    path = f"{path}/{len(new)}"
    rig.script.responses[path] = Answer(body=new, headers=(("x-changed", "yes"),), remove_headers=("x-upstream",))
    status, headers, body = ask(rig, "enforce.test", "GET", path)
    assert (status, body) == (200, new)
    named = dict(headers)
    assert named["x-changed"] == "yes"
    assert "x-upstream" not in named
    if path.startswith("/chunked"):
        assert "content-length" not in named
    else:
        assert named["content-length"] == str(len(new))
        assert rig.script.completion(path).response_bytes == len(new)


def test_part_of_an_oversized_body_is_never_replaced(rig: Rig) -> None:
    path = f"/big/{MAX_BODY * 4}/part"
    rig.script.responses[path] = Answer(body=b"FRONT", remove_headers=("content-type",))
    status, headers, body = ask(rig, "enforce.test", "GET", path)
    assert (status, body) == (200, b"B" * (MAX_BODY * 4))
    assert "content-type" in dict(headers)
    done = rig.script.completion(path)
    assert done.uninspected == ("response-body-truncated", "body-not-replaced")
    rig.script.responses[path + "2"] = rig.script.responses[path]
    assert ask(rig, "closed.test", "GET", path + "2")[0] == 503


@pytest.mark.parametrize("chunked", [True, False])
def test_oversized_request_is_refused_where_so_configured(rig: Rig, chunked: bool) -> None:
    path = f"/refused/{chunked}"
    big = b"x" * (MAX_BODY * 3)
    with httpx.Client(timeout=10) as client:
        answer = client.post(
            f"http://127.0.0.1:{rig.port}{path}",
            content=iter([big[:9], big[9:]]) if chunked else big,
            headers={"host": "block.test"},
        )
        assert client.post(
            f"http://127.0.0.1:{rig.port}/fits", content=b"x" * MAX_BODY, headers={"host": "block.test"}
        ).is_success
    done = rig.script.completion(path)
    assert (answer.status_code, answer.json()["event_id"], answer.headers["x-eastwall-event-id"]) == (413, done.id, done.id)
    assert done.status == 413
    assert rig.script.call(path).request.body_state is BodyState.TRUNCATED


@pytest.mark.parametrize("host", ["observe.test", "waiting.test"])
def test_below_enforce_nothing_is_carried_out(rig: Rig, host: str) -> None:
    path = f"/below/{host}"
    rig.script.requests[path] = DENIAL
    rig.script.responses[path] = Answer(body=b"other", headers=(("x-changed", "yes"),))
    status, headers, body = ask(rig, host, "POST", path, b'{"a":1}')
    assert (status, json.loads(body)["body"]) == (200, '{"a":1}')
    assert "x-changed" not in dict(headers)
    assert rig.script.completion(path).status == 200
    assert rig.script.response_of(path).body == body


def test_observation_sees_every_whole_body(rig: Rig) -> None:
    for number in range(50):
        ask(rig, "observe.test", "POST", f"/every/{number}", b'{"n":%d}' % number)
    for number in range(50):
        done = rig.script.completion(f"/every/{number}")
        request, response = rig.script.call(f"/every/{number}").request, rig.script.response_of(f"/every/{number}")
        assert (request.body, request.body_state) == (b'{"n":%d}' % number, BodyState.COMPLETE)
        assert (response.body_state, len(response.body)) == (BodyState.COMPLETE, done.response_bytes)


# -- streams --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["enforce.test", "observe.test"])
def test_event_stream_flows_before_its_end(rig: Rig, host: str) -> None:
    path = f"/sse/{host}"
    Upstream.release.clear()
    connection = http.client.HTTPConnection("127.0.0.1", rig.port, timeout=10)
    try:
        connection.request("GET", path, headers={"host": host})
        answer = connection.getresponse()
        assert answer.read(11) == b"data: one\n\n"
        Upstream.release.set()
        assert answer.read() == b"data: two\n\n"
    finally:
        Upstream.release.set()
        connection.close()
    assert rig.script.completion(path).status == 200
    assert rig.script.response_of(path).body_state is BodyState.STREAMED


@pytest.mark.parametrize("host", ["ws.test", "ws-observe.test"])
def test_websocket_passes(rig: Rig, host: str) -> None:
    path = f"/chat/{host}"

    def echo(socket: Any) -> None:
        for message in socket:
            socket.send(message)

    with ws_serve(echo, "127.0.0.1", rig.ws_port) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with connect(f"ws://{host}:{rig.port}{path}", sock=socket.create_connection(("127.0.0.1", rig.port), 10)) as client:
            for size in (1, 1000, MAX_BODY * 3):
                client.send(b"w" * size)
                assert client.recv(timeout=10) == b"w" * size
        server.shutdown()
        thread.join(10)
    assert rig.script.completion(path).status == 101
    assert rig.script.call(path).request.body_state is BodyState.STREAMED
    assert rig.script.response_of(path).body_state is BodyState.STREAMED


@pytest.mark.parametrize("host", ["grpc.test", "grpc-observe.test"])
def test_grpc_passes_both_ways_at_once(rig: Rig, host: str) -> None:
    class Echo(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return grpc.stream_stream_rpc_method_handler(lambda messages, _: (b"<" + message for message in messages))

    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=(Echo(),))
    assert server.add_insecure_port(f"127.0.0.1:{rig.grpc_port}") == rig.grpc_port
    server.start()
    path = f"/chat.Echo/{host.replace('.', '_')}"
    try:
        with grpc.insecure_channel(f"127.0.0.1:{rig.port}", options=[("grpc.default_authority", host)]) as channel:
            sent: list[int] = []
            turn = threading.Semaphore(1)

            def messages() -> Iterator[bytes]:
                for number in range(5):
                    assert turn.acquire(timeout=10)
                    sent.append(number)
                    yield b"%d" % number

            for number, reply in enumerate(channel.stream_stream(path)(messages(), timeout=15)):
                # Each answer comes before the next message is sent: nothing is held back to the end.
                assert (reply, len(sent)) == (b"<%d" % number, number + 1)
                turn.release()
            assert len(sent) == 5
    finally:
        server.stop(None).wait()
    assert rig.script.completion(path).status == 200
    assert rig.script.call(path).request.body_state is BodyState.STREAMED


def test_refusal_of_a_grpc_call(rig: Rig) -> None:
    rig.script.requests["/chat.Echo/Refused"] = DENIAL
    authority = [("grpc.default_authority", "grpc.test")]
    with grpc.insecure_channel(f"127.0.0.1:{rig.port}", options=authority) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/chat.Echo/Refused")(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert rig.script.completion("/chat.Echo/Refused").id in caught.value.details()


def test_http2_requests_without_a_declared_length(rig: Rig) -> None:
    rig.script.requests["/h2"] = Answer(body=b'{"replaced":true}')
    with httpx.Client(http1=False, http2=True, timeout=10) as client:
        for path in ("/h2", "/h2-untouched"):
            answer = client.post(
                f"http://127.0.0.1:{rig.port}{path}", content=iter([b'{"a":', b"1}"]), headers={"host": "enforce.test"}
            )
            assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
            assert json.loads(answer.content)["body"] == ('{"replaced":true}' if path == "/h2" else '{"a":1}')
        big = client.post(f"http://127.0.0.1:{rig.port}/h2-big", content=b"x" * (MAX_BODY * 8), headers={"host": "enforce.test"})
        assert len(json.loads(big.content)["body"]) == MAX_BODY * 8
    assert rig.script.call("/h2-big").request.body_state is BodyState.TRUNCATED


# -- what breaks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["dead.test", "dead-observe.test"])
def test_upstream_down(rig: Rig, host: str) -> None:
    path = f"/down/{host}"
    status, _, body = ask(rig, host, "POST", path, b'{"a":1}')
    assert status == 503
    done = rig.script.completion(path)
    assert done.status == 503
    # Envoy's own answer can carry the id; where it only observes, it was told none.
    assert body.decode() == (done.id if host == "dead.test" else "-")


def test_upstream_that_breaks_off_its_response(rig: Rig) -> None:
    status, _, _ = ask(rig, "enforce.test", "GET", "/broken/held")
    assert status == 502
    done = rig.script.completion("/broken/held")
    assert (done.status, done.response_bytes, done.uninspected) == (0, 0, ("response-incomplete",))


def test_caller_that_goes_away_in_the_middle_of_its_request(rig: Rig) -> None:
    with socket.create_connection(("127.0.0.1", rig.port), 10) as raw:
        raw.sendall(b"POST /gone HTTP/1.1\r\nhost: enforce.test\r\ncontent-length: 1000\r\n\r\nhalf")
        time.sleep(0.2)
    done = rig.script.completion("/gone")
    assert (done.status, done.uninspected) == (0, ("request-incomplete",))


def test_inspector_that_raises_follows_the_fail_mode(rig: Rig) -> None:
    rig.script.raising |= {"/raise-open", "/raise-closed"}
    assert ask(rig, "enforce.test", "POST", "/raise-open", b"{}")[0] == 200
    status, headers, body = ask(rig, "closed.test", "POST", "/raise-closed", b"{}")
    assert (status, dict(headers)["content-type"]) == (503, "application/problem+json")
    for path, code in (("/raise-open", 200), ("/raise-closed", 503)):
        done = rig.script.completion(path)
        assert (done.status, done.uninspected[0]) == (code, "engine-error")
    assert json.loads(body)["event_id"] == rig.script.completion("/raise-closed").id


def test_every_call_is_completed_once_under_concurrency(rig: Rig) -> None:
    def one(number: int) -> int:
        host = ("enforce.test", "observe.test", "closed.test")[number % 3]
        return ask(rig, host, "POST" if number % 2 else "GET", f"/many/{number}", b"{}" if number % 2 else None)[0]

    with futures.ThreadPoolExecutor(16) as pool:
        assert list(pool.map(one, range(300))) == [200] * 300
    for number in range(300):
        rig.script.completion(f"/many/{number}")
    assert len(rig.script.threads) == 1, "the inspector must be called from one thread"


def test_tick_comes_at_least_every_50_ms(rig: Rig) -> None:
    before = rig.script.ticks
    time.sleep(1.0)
    assert rig.script.ticks - before >= 12  # 20 on an idle machine


def test_nothing_went_wrong_that_only_envoy_counts(rig: Rig) -> None:
    stats = {name.rpartition(".")[2]: int(value) for name, value in rig.stats("ext_proc").items() if value.isdigit()}
    assert stats["streams_started"] > 0
    for name in (
        "spurious_msgs_received",
        "rejected_header_mutations",
        "failure_mode_allowed",
        "message_timeouts",
        "streams_failed",
    ):
        assert stats[name] == 0, name


# -- the engine goes away: last, since these disturb the others -------------------------------------------------------------


def test_hung_engine_is_left_after_the_timeout_and_ejected_then_taken_back() -> None:
    with rigs.rig() as rig:
        rig.script.hang.set()
        time.sleep(0.1)
        started = time.monotonic()
        assert ask(rig, "enforce.test", "GET", "/hung/open")[0] == 200
        assert ask(rig, "observe.test", "GET", "/hung/observe")[0] == 200
        assert time.monotonic() - started < 3
        wait(lambda: b"failed_active_hc" in rig._get("/clusters"), 10)
        started = time.monotonic()
        assert ask(rig, "enforce.test", "GET", "/hung/open2")[0] == 200
        assert ask(rig, "closed.test", "GET", "/hung/closed")[0] == 503
        assert time.monotonic() - started < 0.5, "an ejected engine must cost no time"
        rig.script.hang.clear()
        rig.ready()
        wait(lambda: ask(rig, "closed.test", "GET", "/back")[0] == 200, 2)
        rig.script.completion("/back")


def test_engine_gone_and_back() -> None:
    with rigs.rig() as rig:
        assert ask(rig, "enforce.test", "GET", "/before")[0] == 200
        rig.stop_engine()
        started = time.monotonic()
        assert ask(rig, "enforce.test", "POST", "/away/open", b"{}")[0] == 200
        assert ask(rig, "closed.test", "POST", "/away/closed", b"{}")[0] == 503
        assert ask(rig, "observe.test", "POST", "/away/observe", b"{}")[0] == 200
        assert time.monotonic() - started < 1
        rig.start_engine()
        started = time.monotonic()
        wait(lambda: ask(rig, "closed.test", "GET", "/again")[0] == 200, 5)
        assert time.monotonic() - started < 2


def test_stop_lets_a_call_in_flight_end_and_completes_an_endless_one() -> None:
    with rigs.rig() as rig:
        Upstream.release.clear()
        connection = http.client.HTTPConnection("127.0.0.1", rig.port, timeout=10)
        connection.request("GET", "/sse/endless", headers={"host": "enforce.test"})
        answer = connection.getresponse()
        assert answer.read(11) == b"data: one\n\n"
        rig.stop_engine()
        assert rig.script.completion("/sse/endless").status == 200
        Upstream.release.set()
        assert answer.read() == b"data: two\n\n", "the call outlives the engine"
        connection.close()
        rig.start_engine()


def test_address_that_cannot_be_used_is_one_clear_line() -> None:
    from eastwall.dataplanes.extproc.server import AddressError, serve

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(
            AddressError, match=r"^cannot listen on `127\.0\.0\.1:\d+`: it is in use or not allowed; name another"
        ):
            serve(f"127.0.0.1:{taken.getsockname()[1]}", rigs.Script(), lambda: True)
    with pytest.raises(AddressError, match=r"^cannot listen on `unix:/nonexistent/x\.sock`"):
        serve("unix:/nonexistent/x.sock", rigs.Script(), lambda: True)


def test_socket_of_a_living_engine_is_not_stolen(rig: Rig) -> None:
    from eastwall.dataplanes.extproc.server import AddressError, serve

    with pytest.raises(AddressError, match=r"e\.sock`: another process is; stop it or name another address$"):
        serve(f"unix:{rig.socket}", rigs.Script(), lambda: True)
    assert ask(rig, "closed.test", "GET", "/not-stolen")[0] == 200


def test_client_certificate_names_reach_the_peer(tmp_path: Any) -> None:
    from extproc.certificates import client_context, make, transport_socket

    files = make(tmp_path)
    with rigs.rig(transport_socket(files)) as rig:
        for with_certificate in (True, False):
            context = client_context(files, with_certificate)
            path = f"/mtls/{with_certificate}"
            with contextlib.closing(
                http.client.HTTPSConnection("127.0.0.1", rig.port, timeout=10, context=context)
            ) as connection:
                connection.request("GET", path, headers={"host": "enforce.test"})
                assert connection.getresponse().status == 200
            peer = rig.script.call(path).peer
            assert peer.tls
            assert peer.uri_sans == (("spiffe://shop/ns/web/sa/front",) if with_certificate else ())
            assert peer.dns_sans == (("front.web.svc",) if with_certificate else ())
            assert peer.subject == ("CN=front,O=Shop" if with_certificate else "")
            assert rig.script.call(path).request.scheme == "https"
