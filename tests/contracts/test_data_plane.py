"""What every data-plane adapter must do, over real Envoy, a real service and a real engine process. One suite, both adapters."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import websockets.sync.client
from tests.contracts.rig import (
    SHARED_LIMIT,
    SPIFFE,
    Engine,
    Plane,
    body_of,
    build,
    eventually,
    free_port,
    holds_both_ways,
    running,
    scope,
)

from eastwall.dataplanes.envoy.process import EnvoyError, EnvoyProcess, PortTaken
from eastwall.dataplanes.envoy.proxy import Proxy, Tls, Upstream
from eastwall.model.call import Mode

pytestmark = [pytest.mark.e2e]

ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}\Z")
CARD = b"4111111111111111"


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=15.0) as client:
        yield client


_serial = 0


def tag(path: str) -> str:
    """`path` made unique, so that its records can be found."""
    global _serial
    _serial += 1
    return f"{path}{'&' if '?' in path else '?'}t={_serial}"


def shown(response: httpx.Response) -> dict[str, Any]:
    value: dict[str, Any] = response.json()
    return value


def raw_exchange(port: int, data: bytes, until: int = 1, seconds: float = 10.0) -> bytes:
    """Everything the proxy says to these bytes, up to `until` whole answers with a length."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as sock:
        sock.sendall(data)
        got = b""
        while got.count(b"\r\n\r\n") < until or not _ends(got):
            piece = sock.recv(65536)
            if not piece:
                break
            got += piece
        return got


def _ends(got: bytes) -> bool:
    head, _, rest = got.rpartition(b"\r\n\r\n")
    length = re.findall(rb"content-length: (\d+)", head.rsplit(b"HTTP/1.1", 1)[-1])
    return bool(length) and len(rest) >= int(length[0])


# --- an ordinary call ---


@pytest.mark.parametrize("name", ["enforce", "monitor", "discover", "closed"])
def test_call_passes_unchanged_and_is_shown(plane: Plane, client: httpx.Client, name: str) -> None:
    path = tag("/echo")
    body = b'{"id": 7, "note": "\xc3\xa9"}'
    headers = {"content-type": "application/json", "x-request-id": "mine", "x-forwarded-for": "1.2.3.4", "cookie": "a=1"}
    answer = client.post(plane.url(name, path), content=body, headers=headers)
    assert answer.status_code == 200
    assert "x-eastwall-event-id" not in answer.headers
    assert "server" not in answer.headers
    seen = shown(answer)
    received = dict(seen["headers"])
    assert (seen["method"], seen["target"]) == ("POST", path)
    # Byte for byte, but for the one header that Envoy cannot be kept from adding.
    assert received.pop("x-forwarded-proto") == "http"
    sent = {name.lower(): value for name, value in answer.request.headers.items() if name.lower() != "connection"}
    assert received == sent

    request = plane.engine.record("request", path=path)
    assert ULID.match(request["id"])
    assert (request["service"], request["method"], request["scheme"]) == (name, "POST", "http")
    assert request["authority"] == f"127.0.0.1:{plane.ports[name]}"
    assert body_of(request) == body
    assert request["body_state"] == "COMPLETE"
    assert request["headers"]["x-forwarded-for"] == "1.2.3.4"
    assert request["address"] == "127.0.0.1"
    assert request["port"] > 0
    assert 0 <= request["late"] < 5
    assert not request["tls"]
    response = plane.engine.record("response", id=request["id"])
    assert response["status"] == 200
    assert body_of(response) == answer.content
    done = plane.engine.record("completed", id=request["id"])
    assert (done["service"], done["method"], done["path"], done["status"]) == (name, "POST", path, 200)
    assert (done["request_bytes"], done["response_bytes"]) == (len(body), len(answer.content))
    assert 0 < done["duration_us"] < 5_000_000
    assert done["uninspected"] == []


@pytest.mark.parametrize("name", ["enforce", "monitor"])
def test_bytes_and_repeated_headers_survive(plane: Plane, name: str) -> None:
    body = bytes(range(256)) * 100
    target = tag("/raw")
    request = f"POST {target} HTTP/1.1\r\nhost: a\r\ncookie: x=1\r\ncookie: y=2\r\nx-l: 1\r\nx-l: 2\r\nx-b: \xe9\xff\r\ncontent-length: {len(body)}\r\n\r\n"
    got = raw_exchange(plane.ports[name], request.encode("latin-1") + body)
    head, _, rest = got.partition(b"\r\n\r\n")
    assert rest == body
    assert head.count(b"set-cookie:") == 2
    assert b"x-odd: \xe9" in head
    seen = plane.engine.record("request", path=target)
    assert seen["headers"]["cookie"] == "x=1; y=2"
    assert seen["headers"]["x-l"] in ("1, 2", "1,2")
    assert seen["headers"]["x-b"] == "\xe9\xff"
    assert body_of(seen) == body
    answer = plane.engine.record("response", id=seen["id"])
    assert answer["headers"]["set-cookie"] == "a=1\nb=2; path=/"


@pytest.mark.parametrize(
    "target", ["/echo/../echo", "/echo//a%2fb", "/echo;x=1?q=%00%ff&q=2", "/echo/%2e%2e/echo?a[]=1", "/e%63ho"]
)
def test_path_is_seen_and_passed_as_sent(plane: Plane, target: str) -> None:
    target = tag(target)
    raw_exchange(plane.ports["enforce"], f"GET {target} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
    assert plane.engine.record("request", path=target)["method"] == "GET"


def test_keep_alive_and_pipelining(plane: Plane) -> None:
    paths = [tag("/echo") for _ in range(5)]
    got = raw_exchange(
        plane.ports["enforce"], b"".join(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode() for path in paths), until=5
    )
    assert [m.decode() for m in re.findall(rb'"target": "([^"]+)"', got)] == paths


def test_chunked_request_and_trailers(plane: Plane, client: httpx.Client) -> None:
    path = tag("/echo")
    answer = client.post(plane.url("enforce", path), content=iter([b"one,", b"two,", b"three"]))
    assert answer.status_code == 200
    assert body_of(plane.engine.record("request", path=path)) == b"one,two,three"
    path = tag("/trailers")
    assert client.get(plane.url("enforce", path)).json() == {"a": 1}
    request = plane.engine.record("request", path=path)
    assert body_of(plane.engine.record("response", id=request["id"])) == b'{"a":1}'


@pytest.mark.parametrize("name", ["enforce", "monitor"])
@pytest.mark.parametrize(("method", "path", "status"), [("HEAD", "/head", 200), ("GET", "/204", 204), ("GET", "/304", 304)])
def test_messages_without_a_body(plane: Plane, client: httpx.Client, name: str, method: str, path: str, status: int) -> None:
    path = tag(path)
    answer = client.request(method, plane.url(name, path))
    assert answer.status_code == status
    assert answer.content == b""
    if method == "HEAD":
        assert answer.headers["content-length"] == "1234"
    request = plane.engine.record("request", path=path)
    assert request["body_state"] == "NONE"
    assert plane.engine.record("response", id=request["id"])["body_state"] == "NONE"
    assert plane.engine.record("completed", id=request["id"])["uninspected"] == []


def test_interim_responses_pass(plane: Plane) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", plane.ports["enforce"], timeout=10)
    connection.request("GET", "/hints")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"{}")
    connection.request("POST", "/sink", body=b"x" * 10, headers={"expect": "100-continue"})
    assert connection.getresponse().status == 200
    connection.close()


def test_http2_caller(plane: Plane, short_dir: Path, certificates: Path, service: dict[str, int], adapter: str) -> None:
    tls = Tls(certificates / "server.pem", certificates / "server.key")
    upstreams = [(scope("secure"), f"https://localhost:{service['https']}", {"ca": certificates / "ca.pem"})]
    with running(adapter, short_dir / f"{adapter}-h2", upstreams, tls=tls) as secured:
        trust = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        with httpx.Client(http2=True, verify=trust, timeout=10) as client:
            answer = client.post(f"https://localhost:{secured.ports['secure']}/echo", content=b"hello")
        assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
        request = secured.engine.record("request")
        assert (request["tls"], request["scheme"], body_of(request)) == (True, "https", b"hello")
        assert request["uri_sans"] == []
        assert body_of(secured.engine.record("response")) == answer.content


# --- what the engine decides ---


def test_denied_call_never_reaches_the_service(plane: Plane, client: httpx.Client) -> None:
    path = tag("/echo")
    answer = client.post(plane.url("enforce", path), content=b"x", headers={"x-test": "deny"})
    request = plane.engine.record("request", path=path)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-why"] == "test"
    assert answer.content == b'{"title":"no"}'
    if plane.adapter == "shim":
        assert answer.headers["x-eastwall-event-id"] == request["id"]
    done = plane.engine.record("completed", id=request["id"])
    assert done["status"] == 403
    assert plane.engine.records("response", id=request["id"]) == []
    # The same connection goes on.
    assert client.post(plane.url("enforce", "/echo"), content=b"x").status_code == 200


@pytest.mark.parametrize("name", ["monitor", "discover"])
def test_only_enforce_changes_a_call(plane: Plane, client: httpx.Client, name: str) -> None:
    for wish in ("deny", "redact", "set", "response-deny", "response-redact"):
        answer = client.post(plane.url(name, "/echo"), content=CARD, headers={"x-test": wish, "x-gone": "no"})
        assert answer.status_code == 200
        seen = shown(answer)
        assert seen["body"] == "NDExMTExMTExMTExMTExMQ=="
        assert ["x-gone", "no"] in seen["headers"]


def test_request_body_is_replaced(plane: Plane, client: httpx.Client) -> None:
    body = b'{"card":"' + CARD + b'"}'
    for content in (body, iter([body[:5], body[5:]])):
        answer = client.post(plane.url("enforce", "/echo"), content=content, headers={"x-test": "redact"})
        seen = shown(answer)
        import base64

        assert base64.b64decode(seen["body"]) == b'{"card":"[card]"}'
        assert dict(seen["headers"]).get("content-length", "17") == "17"


def test_response_body_is_replaced(plane: Plane, client: httpx.Client) -> None:
    path = tag("/card")
    answer = client.get(plane.url("enforce", path), headers={"x-test": "response-redact"})
    assert answer.content == b'{"card":"[card]","name":"Ada"}'
    assert answer.headers["content-length"] == str(len(answer.content))
    request = plane.engine.record("request", path=path)
    assert plane.engine.record("completed", id=request["id"])["status"] == 200


def test_headers_are_changed(plane: Plane, client: httpx.Client) -> None:
    answer = client.get(plane.url("enforce", "/echo"), headers={"x-test": "set", "x-gone": "1", "x-both": "old"})
    received = dict(shown(answer)["headers"])
    assert received["x-set"] == "by engine"
    assert received["x-both"] == "new"
    assert "x-gone" not in received
    answer = client.post(plane.url("enforce", "/raw"), content=b"x", headers={"x-test": "response-set"})
    assert answer.headers["x-set"] == "by engine"
    assert "x-odd" not in answer.headers


def test_response_is_denied(plane: Plane, client: httpx.Client) -> None:
    path = tag("/card")
    answer = client.get(plane.url("enforce", path), headers={"x-test": "response-deny"})
    assert answer.status_code == 403
    assert answer.content == b'{"title":"no"}'
    assert CARD not in answer.content
    request = plane.engine.record("request", path=path)
    assert plane.engine.record("completed", id=request["id"])["status"] == 403


@pytest.mark.parametrize(("wish", "state"), [("want-0", None), ("want-1", "SKIPPED")])
def test_engine_asks_only_for_what_it_needs(plane: Plane, client: httpx.Client, wish: str, state: str | None) -> None:
    path = tag("/card")
    assert client.get(plane.url("enforce", path), headers={"x-test": wish}).status_code == 200
    request = plane.engine.record("request", path=path)
    done = plane.engine.record("completed", id=request["id"])
    assert done["uninspected"] == []
    responses = plane.engine.records("response", id=request["id"])
    assert [(r["body_state"], r["body"]) for r in responses] == ([] if state is None else [(state, "")])


def test_engine_that_fails_on_a_call_is_not_a_pass(plane: Plane, client: httpx.Client) -> None:
    path = tag("/echo")
    started = time.monotonic()
    answer = client.get(plane.url("closed", path), headers={"x-test": "raise"})
    assert answer.status_code == 503
    assert time.monotonic() - started < 0.9  # said so at once, not by a missed deadline
    assert client.get(plane.url("enforce", "/echo"), headers={"x-test": "raise"}).status_code == 200
    if plane.adapter == "shim":
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["status"] == 503
        assert problem["event_id"] == answer.headers["x-eastwall-event-id"] == plane.engine.record("request", path=path)["id"]
        assert plane.uninspected("closed") == {"engine-error": 1}
        assert plane.engine.record("completed", path=path)["uninspected"] == ["engine-error"]


# --- streams ---


@pytest.mark.parametrize("name", ["enforce", "monitor"])
@pytest.mark.parametrize(("path", "first"), [("/sse", b"data: 0\n\n"), ("/ndjson", b'{"n":0}\n')])
def test_streams_flow(plane: Plane, client: httpx.Client, name: str, path: str, first: bytes) -> None:
    path = tag(path)
    started = time.monotonic()
    times = []
    with client.stream("GET", plane.url(name, path)) as answer:
        got = b""
        for piece in answer.iter_raw():
            times.append(time.monotonic() - started)
            got += piece
    assert got.startswith(first)
    assert times[0] < 0.35
    assert len(times) >= 4
    assert 1.0 < times[-1] < 5.0
    request = plane.engine.record("request", path=path)
    response = plane.engine.record("response", id=request["id"])
    assert (response["body_state"], response["body"]) == ("STREAMED", "")
    done = plane.engine.record("completed", id=request["id"])
    assert "response-streamed" not in done["uninspected"]
    assert (base64.b64decode(done["response_copy"]), done["response_copy_state"]) == (got, "COMPLETE")


@pytest.mark.parametrize("name", ["monitor", "discover"])
def test_watching_delays_nothing(plane: Plane, client: httpx.Client, name: str) -> None:
    path = tag("/trickle?1.0")
    started = time.monotonic()
    with client.stream("GET", plane.url(name, path)) as answer:
        first = next(answer.iter_raw())
        assert first.startswith(b"[")
        assert time.monotonic() - started < 0.5


def test_response_without_end_is_not_held_for_ever(plane: Plane, client: httpx.Client) -> None:
    if plane.adapter != "shim":
        pytest.skip("ext_proc holds a body until its end or its limit; only the shim has a limit of time")
    path = tag("/trickle?2.5")
    started = time.monotonic()
    with client.stream("GET", plane.url("enforce", path)) as answer:
        pieces = answer.iter_raw()
        first = next(pieces)
        assert 0.4 < time.monotonic() - started < 1.6  # hold_ms is 600 here
        rest = b"".join(pieces)
    assert json.loads(first + rest)[0] == 1
    request = plane.engine.record("request", path=path)
    response = plane.engine.record("response", id=request["id"])
    assert response["body_state"] == "TRUNCATED"
    assert body_of(response).startswith(b"[1,")
    assert plane.engine.record("completed", id=response["id"])["uninspected"] == ["response-body-truncated"]


def test_websocket(plane: Plane) -> None:
    with websockets.sync.client.connect(f"ws://127.0.0.1:{plane.ports['websocket']}/chat", open_timeout=10) as sock:
        for message in ("hello", b"\x00\x01", os.urandom(100_000)):
            sock.send(message)
            assert sock.recv(timeout=10) == message
    request = plane.engine.record("request", path="/chat")
    assert request["body_state"] == "STREAMED"
    done = plane.engine.record("completed", id=request["id"])
    assert done["status"] == 101
    if plane.adapter == "shim":  # ext_proc is not shown what passes after the headers
        assert done["request_bytes"] > 100_000


def frame(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def completed_grpc(plane: Plane, name: str, method: str) -> dict[str, Any]:
    found = eventually(
        lambda: [r for r in plane.engine.records("completed", service=name) if method in r["path"]], 5.0, "completion"
    )
    assert len(found) == 1
    return dict(found[0])


@pytest.mark.parametrize("name", ["grpc", "watched-grpc"])
@pytest.mark.parametrize("size", [10, 40_000, 300_000])
def test_grpc_messages_are_copied_while_they_pass(plane: Plane, name: str, size: int) -> None:
    message = os.urandom(size)
    method = f"/test.Echo{size}/Unary"
    with grpc.insecure_channel(f"127.0.0.1:{plane.ports[name]}") as channel:
        assert channel.unary_unary(method)(message, timeout=10) == b"re:" + message
    done = completed_grpc(plane, name, method)
    assert ("request-streamed" in done["uninspected"]) == (name == "grpc" and not holds_both_ways(plane.adapter))
    asked, answered = frame(message), frame(b"re:" + message)
    state = "COMPLETE" if len(asked) <= 65536 else "TRUNCATED"
    assert (done["request_copy_state"], done["response_copy_state"]) == (state, state)
    assert base64.b64decode(done["request_copy"]) == asked[:65536]
    assert base64.b64decode(done["response_copy"]) == answered[:65536]
    assert done["grpc_status"] == 0
    # A COMPLETED frame with its copies leaves what follows readable.
    assert done["status"] == 200


@pytest.mark.parametrize("name", ["grpc", "watched-grpc"])
def test_grpc_failure_is_told(plane: Plane, name: str) -> None:
    method = "/test.Echo/Unknown"
    with grpc.insecure_channel(f"127.0.0.1:{plane.ports[name]}") as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(b"one", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert completed_grpc(plane, name, method)["grpc_status"] == 12


@pytest.mark.parametrize("name", ["grpc", "watched-grpc"])
def test_grpc_stream_that_breaks_off_brings_what_came(plane: Plane, name: str) -> None:
    method = "/test.EchoBroken/Both"
    with grpc.insecure_channel(f"127.0.0.1:{plane.ports[name]}") as channel:
        go = threading.Event()

        def requests() -> Iterator[bytes]:
            yield b"a"
            go.wait(10)

        answers = channel.stream_stream(method)(requests(), timeout=10)
        assert next(answers) == b"re:a"
        answers.cancel()
        go.set()
    done = completed_grpc(plane, name, method)
    assert (base64.b64decode(done["request_copy"]), done["request_copy_state"]) == (frame(b"a"), "TRUNCATED")
    assert (base64.b64decode(done["response_copy"]), done["response_copy_state"]) == (frame(b"re:a"), "TRUNCATED")


@pytest.mark.parametrize("name", ["grpc", "watched-grpc"])
def test_grpc(plane: Plane, name: str) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{plane.ports[name]}") as channel:
        unary = channel.unary_unary("/test.Echo/Unary")
        assert unary(b"one", timeout=10) == b"re:one"
        both = channel.stream_stream("/test.Echo/Both")
        go = threading.Event()

        def requests() -> Iterator[bytes]:
            yield b"a"
            go.wait(10)  # the answer to the first must come before the second is sent
            yield b"b"

        answers = both(requests(), timeout=10)
        assert next(answers) == b"re:a"
        go.set()
        assert list(answers) == [b"re:b"]
    found = eventually(
        lambda: [r for r in plane.engine.records("completed", service=name) if "test.Echo/Both" in r["path"]], 5.0, "completion"
    )
    assert found[0]["status"] == 200
    assert ("request-streamed" in found[0]["uninspected"]) == (name == "grpc" and not holds_both_ways(plane.adapter))
    assert base64.b64decode(found[0]["request_copy"]) == frame(b"a") + frame(b"b")
    assert base64.b64decode(found[0]["response_copy"]) == frame(b"re:a") + frame(b"re:b")


def test_grpc_denied(plane: Plane) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{plane.ports['grpc']}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/test.Echo/Unary")(b"one", timeout=10, metadata=(("x-test", "deny"),))
        assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


# --- large bodies ---


@pytest.mark.parametrize("name", ["enforce", "monitor"])
def test_large_request_is_inspected_in_part(plane: Plane, client: httpx.Client, name: str) -> None:
    body = b"0123456789abcdef" * (3 << 16)  # 3 MB
    path = tag("/sink")
    answer = client.post(plane.url(name, path), content=body)
    assert answer.json() == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    request = plane.engine.record("request", path=path)
    assert request["body_state"] == "TRUNCATED"
    assert body.startswith(body_of(request))
    if plane.adapter == "shim":
        assert len(body_of(request)) == SHARED_LIMIT
    done = plane.engine.record("completed", id=request["id"])
    assert "request-body-truncated" in done["uninspected"]
    assert done["request_bytes"] == len(body)


@pytest.mark.parametrize("name", ["enforce", "monitor"])
def test_50_megabytes_come_back_whole(plane: Plane, client: httpx.Client, name: str) -> None:
    size = 50 << 20
    before = rss_of(plane.envoy.pid)
    got = 0
    with client.stream("GET", plane.url(name, f"/big?{size}")) as answer:
        for piece in answer.iter_raw():
            got += len(piece)
    assert got == size
    assert rss_of(plane.envoy.pid) - before < 40 << 20


def rss_of(pid: int | None) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_oversized_body_is_blocked_where_so_configured(plane: Plane, client: httpx.Client) -> None:
    if plane.adapter != "shim":
        pytest.skip("over_limit=block is the shim's; ext_proc inspects a part")
    big = b"x" * (SHARED_LIMIT + 1)
    for content in (big, iter([big[:1000], big[1000:]])):
        answer = client.post(plane.url("block", "/sink"), content=content)
        assert answer.status_code == 413
        assert answer.json()["status"] == 413
        assert ULID.match(answer.headers["x-eastwall-event-id"])
    answer = client.post(plane.url("block", "/sink"), content=big[:-1])
    assert answer.json()["size"] == SHARED_LIMIT


def test_a_part_cannot_be_redacted(plane: Plane, client: httpx.Client) -> None:
    if plane.adapter != "shim":
        pytest.skip("what ext_proc does with a partial body is Envoy's")
    body = CARD + b"x" * (2 * SHARED_LIMIT)
    assert client.post(plane.url("closed", "/sink"), content=body, headers={"x-test": "redact"}).status_code == 503
    before = plane.uninspected("enforce").get("body-not-replaced", 0)
    answer = client.post(plane.url("enforce", "/sink"), content=body, headers={"x-test": "redact"})
    assert answer.json()["size"] == len(body)
    assert plane.uninspected("enforce")["body-not-replaced"] == before + 1


def test_answer_that_begins_before_the_request_ends(plane: Plane) -> None:
    """Full duplex over HTTP/1.1, above the limit, so that the service gets the request while it is still coming."""
    for service in ("enforce", "monitor"):
        body = b"x" * (4 * SHARED_LIMIT)
        with socket.create_connection(("127.0.0.1", plane.ports[service]), timeout=10) as sock:
            sock.sendall(f"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body[:-10])
            time.sleep(0.3)
            sock.sendall(body[-10:])
            got = b""
            while b"0\r\n\r\n" not in got:
                piece = sock.recv(65536)
                assert piece, got
                got += piece
        assert b'{"early":' in got
        assert str(len(body)).encode() in got
    if plane.adapter == "shim":
        assert plane.uninspected("enforce")["response-released"] >= 1
        done = plane.engine.record("completed", service="enforce", path="/early")
        assert done["uninspected"] == ["request-body-truncated", "response-released"]


@pytest.mark.parametrize("name", ["enforce", "monitor"])
@pytest.mark.parametrize(
    "headers",
    [
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",  # curl --http2
        "content-type: application/grpc\r\n",
        "content-type: text/event-stream\r\n",
    ],
)
def test_a_request_that_claims_to_be_a_stream_is_inspected(plane: Plane, name: str, headers: str) -> None:
    path = tag("/echo")
    got = raw_exchange(plane.ports[name], f"POST {path} HTTP/1.1\r\nhost: a\r\n{headers}content-length: 4\r\n\r\nevil".encode())
    assert got.startswith(b"HTTP/1.1 200 ")
    request = plane.engine.record("request", path=path)
    assert body_of(request) == b"evil"
    assert request["body_state"] == "COMPLETE"


# --- errors of HTTP itself ---


def test_service_that_is_down_is_a_502_with_the_event_id(plane: Plane, client: httpx.Client) -> None:
    path = tag("/x")
    answer = client.get(plane.url("dead", path))
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["title"]) == (502, "Bad Gateway")
    request = plane.engine.record("request", path=path)
    assert problem["event_id"] == request["id"]
    done = plane.engine.record("completed", id=request["id"])
    assert done["status"] == 502
    if plane.adapter == "shim":
        assert answer.headers["x-eastwall-event-id"] == request["id"]


@pytest.mark.parametrize("count", [300, 10_000])
def test_too_many_headers(plane: Plane, count: int) -> None:
    lines = "".join(f"x-{i}: {i}\r\n" for i in range(count))
    with socket.create_connection(("127.0.0.1", plane.ports["enforce"]), timeout=10) as sock:
        with contextlib.suppress(ConnectionError):  # answered and closed before all of it was sent
            sock.sendall(f"GET /echo HTTP/1.1\r\nhost: a\r\n{lines}\r\n".encode())
        got = sock.recv(65536)
    assert got.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in got


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: a\x00b\r\n\r\n",
    ],
)
def test_bad_http_is_refused(plane: Plane, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", plane.ports["enforce"]), timeout=5) as sock:
        sock.sendall(data)
        got = sock.recv(65536)
    assert got.startswith(b"HTTP/1.1 400 ") or got == b""


def test_caller_that_goes_away(plane: Plane) -> None:
    path = tag("/hang")
    with socket.create_connection(("127.0.0.1", plane.ports["enforce"]), timeout=5) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        request = plane.engine.record("request", path=path)
    assert plane.engine.record("completed", id=request["id"])["status"] == 0


# --- TLS ---


def test_mutual_tls(adapter: str, short_dir: Path, certificates: Path, service: dict[str, int], server_tls: Tls) -> None:
    upstreams = [
        (scope("mesh"), f"https://localhost:{service['https']}", {"ca": certificates / "ca.pem"}),
        (scope("wrong-ca"), f"https://localhost:{service['https']}", {"ca": certificates / "stranger-ca.pem"}),
        (
            scope("wrong-name"),
            f"https://localhost:{service['https']}",
            {"ca": certificates / "ca.pem", "server_name": "bank.example"},
        ),
    ]
    with running(adapter, short_dir / f"{adapter}-tls", upstreams, tls=server_tls) as secured:

        def call(name: str, who: str | None) -> httpx.Response:
            trust = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
            if who:
                trust.load_cert_chain(certificates / f"{who}.pem", certificates / f"{who}.key")
            with httpx.Client(verify=trust, timeout=10) as client:
                return client.get(f"https://localhost:{secured.ports[name]}/echo")

        assert call("mesh", "client").status_code == 200
        request = secured.engine.record("request")
        assert request["uri_sans"] == [SPIFFE]
        assert request["dns_sans"] == ["front.shop"]
        assert "CN=client" in request["subject"]
        assert "O=Shop" in request["subject"]
        assert request["tls"]
        assert call("mesh", None).status_code == 200  # asked for, not required, here
        with pytest.raises(httpx.TransportError):
            call("mesh", "stranger")
        for name in ("wrong-ca", "wrong-name"):
            refused = call(name, "client")
            assert refused.status_code == 502
            assert b"echo" not in refused.content


def test_client_certificate_can_be_required(adapter: str, short_dir: Path, certificates: Path, service: dict[str, int]) -> None:
    tls = Tls(certificates / "server.pem", certificates / "server.key", certificates / "ca.pem", require_client=True)
    with running(
        adapter, short_dir / f"{adapter}-req", [(scope("mesh"), f"http://127.0.0.1:{service['http']}", {})], tls=tls
    ) as secured:
        trust = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        with httpx.Client(verify=trust, timeout=10) as client, pytest.raises(httpx.TransportError):
            client.get(f"https://localhost:{secured.ports['mesh']}/echo")


# --- load, faults, changes ---


class Load:
    """Callers in threads, each on one keep-alive connection, counting what they get."""

    def __init__(self, url: str, callers: int = 4) -> None:
        parts = urllib.parse.urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._path = parts.path
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.statuses: Counter[int | str] = Counter()
        self.slowest = 0.0
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(callers)]

    def _run(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=10)
        while not self._stop.is_set():
            started = time.monotonic()
            result: int | str
            try:
                connection.request(
                    "POST", self._path, body=b'{"a":1}', headers={"content-type": "application/json", "x-test": "silent"}
                )
                answer = connection.getresponse()
                answer.read()
                result = answer.status
            except (OSError, http.client.HTTPException) as error:
                result = type(error).__name__
                connection.close()
            with self._lock:
                self.statuses[result] += 1
                self.slowest = max(self.slowest, time.monotonic() - started)
        connection.close()

    def taken(self) -> Counter[int | str]:
        """What has come since the last call."""
        with self._lock:
            taken, self.statuses, self.slowest = self.statuses, Counter(), 0.0
        return taken

    @contextmanager
    def running(self) -> Iterator[Load]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(15)


@pytest.fixture
def fragile(adapter: str, short_dir: Path, service: dict[str, int], request: pytest.FixtureRequest) -> Iterator[Plane]:
    """A data plane that the test may break."""
    http = f"http://127.0.0.1:{service['http']}"
    upstreams: list[Any] = [
        (scope("open"), http, {}),
        (scope("closed", fail="closed"), http, {}),
        (scope("watch", Mode.MONITOR), http, {}),
    ]
    name = f"{adapter}-{abs(hash(request.node.name)) % 10**6}"
    with running(adapter, short_dir / name, upstreams, deadline_ms=500) as plane:
        eventually(lambda: _is_inspected(plane), 5.0, "the first inspected call")
        yield plane


def _is_inspected(plane: Plane) -> bool:
    path = tag("/204")
    httpx.get(plane.url("closed", path))
    time.sleep(0.05)
    return bool(plane.engine.records("request", path=path))


def test_engine_killed_under_load_fail_open(fragile: Plane) -> None:
    with Load(fragile.url("open", "/sink")).running() as load:
        time.sleep(0.5)
        fragile.engine.kill()
        time.sleep(0.7)
        during = load.taken()
        assert set(during) == {200}
        fragile.engine.start()
        eventually(lambda: _is_inspected(fragile), 5.0, "the engine's return")
        load.taken()
        time.sleep(0.5)
    assert set(load.taken()) == {200}
    if fragile.adapter == "shim":
        assert fragile.envoy.stats()["envoy_eastwall_in_flight{}"] == 0
        counted = fragile.uninspected("open")
        assert set(counted) <= {"engine-lost", "engine-unavailable"}
        # Every call is accounted for: inspected ones left a completion without a reason, the others one with it.
        total = fragile.envoy.calls()["open"]

        def complete() -> bool:
            return len(fragile.engine.records("completed", service="open")) >= total - 50

        eventually(complete, 5.0, "the completions of the calls that passed uninspected")
        unseen = [r for r in fragile.engine.records("completed", service="open") if r["uninspected"]]
        assert len(unseen) >= sum(counted.values()) - 50


def test_engine_killed_under_load_fail_closed(fragile: Plane) -> None:
    with Load(fragile.url("closed", "/sink")).running() as load:
        time.sleep(0.4)
        assert set(load.taken()) == {200}
        fragile.engine.kill()
        eventually(lambda: load.statuses[503] > 20, 5.0, "refusals")
        load.taken()
        time.sleep(0.3)
        refused = load.taken()
        assert set(refused) == {503}
        answer = httpx.get(fragile.url("closed", "/echo"))
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        if fragile.adapter == "shim":
            assert ULID.match(answer.json()["event_id"])
        # Where nothing is enforced nothing is refused.
        assert httpx.get(fragile.url("watch", "/echo")).status_code == 200
        fragile.engine.start()
        eventually(lambda: _is_inspected(fragile), 5.0, "the engine's return")
        load.taken()
        time.sleep(0.3)
        assert set(load.taken()) == {200}


def test_hung_engine_is_ejected_and_comes_back(fragile: Plane) -> None:
    if fragile.adapter != "shim":
        pytest.skip("the breaker is the shim's; for ext_proc Envoy's health checks take its place")
    with Load(fragile.url("open", "/sink")).running() as load:
        time.sleep(0.4)
        healthy = sum(load.taken().values())
        fragile.engine.signal(signal.SIGSTOP)
        time.sleep(1.2)  # deadline 0.5 s, then ejected
        load.taken()
        time.sleep(0.4)
        hung = load.taken()
        assert set(hung) == {200}
        assert sum(hung.values()) > healthy / 4  # not one call per deadline
        assert load.slowest < 0.4
        assert fragile.uninspected("open")["engine-timeout"] >= 3
        fragile.engine.signal(signal.SIGCONT)
        eventually(lambda: _is_inspected(fragile), 5.0, "re-admission")
    assert set(load.statuses) <= {200}


def _endless(message: bytes) -> Iterator[bytes]:
    """One message, and no end of the stream."""
    yield message
    threading.Event().wait(10)


def test_waiting_calls_and_copies_are_bounded(adapter: str, short_dir: Path, service: dict[str, int]) -> None:
    if adapter != "shim":
        pytest.skip("the bounds are the shim's")
    http = f"http://127.0.0.1:{service['http']}"
    upstreams: list[Any] = [
        (scope("closed", fail="closed"), http, {}),
        (scope("watch", Mode.MONITOR), http, {}),
        (scope("stream", Mode.MONITOR), f"http://127.0.0.1:{service['grpc']}", {"http2": True}),
    ]
    bounds = {"outstanding": 1, "copy_bytes": 1 << 16, "deadline_ms": 1500}
    with running(adapter, short_dir / "bounds", upstreams, **bounds) as plane, httpx.Client(timeout=10) as client:
        eventually(lambda: client.get(plane.url("closed", "/204")).status_code == 204, 5.0, "the engine")
        body = b"x" * 150_000
        path = tag("/sink")
        assert client.post(plane.url("watch", path), content=body).json()["size"] == len(body)
        request = plane.engine.record("request", path=path)
        assert request["body_state"] == "TRUNCATED"
        assert len(body_of(request)) <= 1 << 16
        # A stream gets half of the room, and passes whole without more.
        echo = f"127.0.0.1:{plane.ports['stream']}"
        with grpc.insecure_channel(echo, options=(("grpc.max_receive_message_length", -1),)) as channel:
            assert channel.unary_unary("/test.Echo/Unary")(b"y" * 60_000, timeout=10) == b"re:" + b"y" * 60_000
        done = plane.engine.record("completed", service="stream")
        assert len(base64.b64decode(done["request_copy"])) + len(base64.b64decode(done["response_copy"])) <= 1 << 15
        assert "engine-overloaded" in done["uninspected"]
        # What a copy took is given back, also by calls that end badly: later ones find room.
        with grpc.insecure_channel(echo) as channel:
            for number in range(8):
                answers = channel.stream_stream("/test.EchoBroken/Both")(_endless(b"z" * 10_000), timeout=10)
                assert next(answers)
                answers.cancel()
                eventually(
                    lambda n=number: len(plane.engine.records("completed", path="/test.EchoBroken/Both")) > n, 5.0, "its end"
                )
            assert channel.unary_unary("/test.Echo10/Unary")(b"y" * 10_000, timeout=10)
        done = plane.engine.record("completed", path="/test.Echo10/Unary")
        assert (done["request_copy_state"], done["response_copy_state"]) == ("COMPLETE", "COMPLETE")
        assert plane.engine.record("completed", id=request["id"])["uninspected"] == [
            "engine-overloaded",
            "request-body-truncated",
        ]

        plane.engine.signal(signal.SIGSTOP)
        first = threading.Thread(target=httpx.get, args=(plane.url("closed", "/204"),), kwargs={"timeout": 10})
        first.start()
        eventually(lambda: plane.envoy.stats()["envoy_eastwall_in_flight{}"] == 1, 1.0, "the waiting call")
        started = time.monotonic()
        assert client.get(plane.url("closed", "/204")).status_code == 503
        assert time.monotonic() - started < 0.5
        first.join()
        plane.engine.signal(signal.SIGCONT)
        assert plane.uninspected("closed") == {"engine-overloaded": 1, "engine-timeout": 1}
        assert plane.envoy.stats()["envoy_eastwall_in_flight{}"] == 0
        # Both the slot and the room for copies are free again.
        assert client.get(plane.url("closed", "/204")).status_code == 204
        path = tag("/sink")
        client.post(plane.url("watch", path), content=b"x" * 60_000)
        assert plane.engine.record("request", path=path)["body_state"] == "COMPLETE"


def test_calls_of_one_caller_stay_with_one_engine(adapter: str, short_dir: Path, service: dict[str, int]) -> None:
    if adapter != "shim":
        pytest.skip("ext_proc spreads calls over engines")
    upstreams: list[Any] = [(scope("many"), f"http://127.0.0.1:{service['http']}", {})]
    with running(adapter, short_dir / "many", upstreams, engines=3) as plane, httpx.Client(timeout=10) as client:
        eventually(
            lambda: [client.get(plane.url("many", "/echo")) for _ in range(2)] and plane.uninspected("many") == {}, 5.0, "engines"
        )

        def where(actor: int) -> set[int]:
            path = tag(f"/echo/{actor}")
            for _ in range(4):
                client.get(plane.url("many", path), headers={"authorization": f"Bearer {actor}"})
            done = {n: len(engine.records("request", path=path)) for n, engine in enumerate(plane.engines)}
            return {n for n, count in done.items() if count}

        homes = [where(actor) for actor in range(12)]
        assert all(len(home) == 1 for home in homes)
        assert len(set.union(*homes)) == 3
        plane.engines[0].kill()
        time.sleep(0.2)
        assert all(len(where(actor)) == 1 and 0 not in where(actor) for actor in range(12))
        # The other two take over: nothing goes uninspected (but for calls in the moment of death, and there were none).
        assert plane.uninspected("many") == {}


def test_mode_changes_while_calls_run(fragile: Plane) -> None:
    proxy = fragile.envoy.proxy
    denied = {"x-test": "deny"}

    def with_mode(mode: Mode) -> Proxy:
        changed = tuple(
            Upstream(**{**_fields(u), "scope": scope("open", mode)}) if u.name == "open" else u for u in proxy.upstreams
        )
        return Proxy(**{**_fields(proxy), "upstreams": changed})

    with Load(fragile.url("open", "/sink")).running() as load, httpx.Client() as client:
        for mode in (Mode.DISCOVER, Mode.ENFORCE, Mode.MONITOR, Mode.ENFORCE):
            fragile.envoy.reload(with_mode(mode))
            expected = 403 if mode is Mode.ENFORCE else 200
            assert client.get(fragile.url("open", "/echo"), headers=denied).status_code == expected
            time.sleep(0.2)
    assert set(load.statuses) == {200}
    assert load.statuses[200] > 50
    assert fragile.envoy.proxy == with_mode(Mode.ENFORCE)
    assert fragile.envoy.stats()["envoy_listener_manager_listener_modified{}"] == 0


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}


def test_upstreams_come_and_go(fragile: Plane, service: dict[str, int]) -> None:
    proxy = fragile.envoy.proxy
    shared, port = ("127.0.0.1", free_port()), free_port()
    more = (
        Upstream("late", f"http://127.0.0.1:{service['http']}", scope("late"), listen=("127.0.0.1", port)),
        Upstream("by-name", f"http://127.0.0.1:{service['http']}", scope("by-name"), hosts=("shop.example", "*.shop.example")),
        Upstream("other-name", f"http://127.0.0.1:{service['http']}", scope("other-name", hosts=("api.example",))),
    )
    fragile.envoy.reload(Proxy(**{**_fields(proxy), "upstreams": proxy.upstreams + more, "listen": shared}))
    assert httpx.get(f"http://127.0.0.1:{port}/echo").status_code == 200
    for host, name in (("shop.example", "by-name"), ("a.shop.example", "by-name"), ("api.example:8080", "other-name")):
        path = tag("/echo")
        assert httpx.get(f"http://127.0.0.1:{shared[1]}{path}", headers={"host": host}).status_code == 200
        assert fragile.engine.record("request", path=path)["service"] == name
    unknown = httpx.get(f"http://127.0.0.1:{shared[1]}/", headers={"host": "nobody.example"})
    assert unknown.status_code == 404
    assert unknown.json()["title"] == "Not Found"
    fragile.envoy.reload(proxy)
    with pytest.raises(httpx.ConnectError):
        eventually(lambda: httpx.get(f"http://127.0.0.1:{port}/echo") and False, 3.0)


def test_taken_port_is_one_clear_line(adapter: str, short_dir: Path, service: dict[str, int]) -> None:
    directory = short_dir / f"{adapter}-taken"
    engine = Engine(adapter, directory)
    proxy, ports = build(adapter, directory, [(scope("a"), f"http://127.0.0.1:{service['http']}", {})], [engine])
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", ports["a"]))
        squatter.listen()
        with pytest.raises(PortTaken, match=rf"^port {ports['a']} on 127\.0\.0\.1 is taken"):
            EnvoyProcess(proxy).start()
    assert not (directory / "envoy.log").exists()


def test_configuration_that_envoy_refuses(adapter: str, short_dir: Path, service: dict[str, int]) -> None:
    directory = short_dir / f"{adapter}-refused"
    engine = Engine(adapter, directory)
    nowhere = Tls(short_dir / "nowhere.pem", short_dir / "nowhere.key")
    proxy, _ = build(adapter, directory, [(scope("a"), f"http://127.0.0.1:{service['http']}", {})], [engine], tls=nowhere)
    envoy = EnvoyProcess(proxy)
    with pytest.raises(EnvoyError, match=r"nowhere\.(pem|key)") as caught:
        envoy.start()
    assert "\n" not in str(caught.value)
    assert envoy.poll() is not None
    good, ports = build(adapter, directory, [(scope("a"), f"http://127.0.0.1:{service['http']}", {})], [engine])
    envoy = EnvoyProcess(good)
    try:
        envoy.start()
        with pytest.raises(EnvoyError, match=r"nowhere\.(pem|key)"):
            envoy.reload(Proxy(**{**_fields(good), "tls": nowhere}))
        assert httpx.get(f"http://127.0.0.1:{ports['a']}/204").status_code == 204  # the old one is in force
    finally:
        assert envoy.stop() == 0
