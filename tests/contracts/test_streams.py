"""Streams whose events are inspected: over real Envoy, a real service and an engine that ends its events at line ends."""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tests.contracts.rig import Plane, eventually, holds_both_ways, running, scope
from tests.contracts.test_data_plane import tag

pytestmark = [pytest.mark.e2e]


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=15.0) as client:
        yield client


def script(*pieces: tuple[float, str], kind: str = "text/event-stream") -> str:
    """The path of a stream that sends these pieces, each after a pause."""
    steps = base64.urlsafe_b64encode(json.dumps([kind, pieces]).encode()).decode()
    return tag(f"/script?{steps}")


def read(client: httpx.Client, url: str, wish: str) -> tuple[bytes, list[float]]:
    """(what came, when each piece did), also of a stream that is cut."""
    got, times, began = b"", [], time.monotonic()
    with client.stream("GET", url, headers={"x-test": wish}) as answer, contextlib.suppress(httpx.RemoteProtocolError):
        for piece in answer.iter_raw():
            got += piece
            times.append(time.monotonic() - began)
    return got, times


def pieces(plane: Plane, path: str) -> list[dict[str, Any]]:
    return plane.engine.records("piece", id=plane.engine.record("request", path=path)["id"])


def test_an_event_in_pieces_is_changed_as_one_and_later_ones_come_while_the_stream_is_open(
    plane: Plane, client: httpx.Client
) -> None:
    path = script((0.0, "data: 41 CA"), (0.2, "RD 11"), (0.2, "\n\n"), (0.6, "data: two\n\n"), (0.6, "data: three\n\n"))
    got, times = read(client, plane.url("enforce", path), "stream-lines")
    assert got == b"data: 41 [redacted] 11\n\ndata: two\n\ndata: three\n\n"
    assert 0.35 < times[0] < 0.9 < times[-2] < 1.3 < times[-1]
    done = plane.engine.record("completed", path=path)
    assert done["uninspected"] == []
    assert done["response_copy_state"] == "COMPLETE"


def test_a_refused_event_ends_the_stream(plane: Plane, client: httpx.Client) -> None:
    path = script((0.0, "data: one\n\n"), (0.2, "data: BAD\n\n"), (0.2, "data: three\n\n"), (5.0, "data: four\n\n"))
    got, times = read(client, plane.url("enforce", path), "stream-lines")
    assert got == b"data: one\n\nREFUSED\n"
    assert times[-1] < 1.5


def test_a_refused_event_in_the_last_piece(plane: Plane, client: httpx.Client) -> None:
    got, _ = read(client, plane.url("enforce", script((0.0, "data: one\n\ndata: BAD\n\n"))), "stream-lines")
    assert got == b"data: one\n\nREFUSED\n"


def test_what_is_not_ended_is_let_go_at_the_end(plane: Plane, client: httpx.Client) -> None:
    got, _ = read(client, plane.url("enforce", script((0.0, "data: one\n\nda"), (0.1, "ta: CARD"))), "stream-lines")
    assert got == b"data: one\n\ndata: [redacted]"


def test_a_fast_stream_is_whole_and_in_order(plane: Plane, client: httpx.Client) -> None:
    lines = "".join(f"{number} CARD {'x' * 500}\n" for number in range(20_000))
    path = script((0.0, lines), kind="application/x-ndjson")
    got, _ = read(client, plane.url("enforce", f"/many?20000&t={path[-6:]}"), "stream-lines")
    assert got == lines.replace("CARD", "[redacted]").encode()


def test_watching_holds_nothing_and_sees_each_event_when_it_passes(plane: Plane, client: httpx.Client) -> None:
    path = script((0.0, "data: CARD"), (0.5, " BAD\n\n"), (0.5, "data: two\n\n"))
    got, times = read(client, plane.url("monitor", path), "stream-lines")
    assert got == b"data: CARD BAD\n\ndata: two\n\n"
    assert times[0] < 0.4
    done = plane.engine.record("completed", path=path)
    seen = pieces(plane, path)
    assert b"".join(base64.b64decode(piece["body"]) for piece in seen) == got
    assert all(piece["watched"] for piece in seen)
    assert seen[-1]["at"] - seen[0]["at"] > 0.7
    assert done["uninspected"] == []


def test_watching_a_stream_costs_the_engine_no_more_than_its_budget(plane: Plane, client: httpx.Client) -> None:
    if plane.adapter != "shim":
        pytest.skip("what ext_proc is told Envoy decides")
    path = tag("/many?20000")
    got, _ = read(client, plane.url("monitor", path), "stream-lines")
    assert len(got) > 10_000_000
    done = plane.engine.record("completed", path=path)
    assert done["uninspected"] == ["response-body-truncated"]
    assert sum(len(base64.b64decode(piece["body"])) for piece in pieces(plane, path)) < 2_000_000


# --- gRPC ---


@pytest.fixture
def both_ways(plane: Plane) -> None:
    if not holds_both_ways(plane.adapter):
        pytest.skip("Envoy 1.38")


def call(plane: Plane, kind: str, messages: list[bytes], wish: str = "stream-grpc") -> tuple[list[bytes], grpc.RpcError | None]:
    got: list[bytes] = []
    with grpc.insecure_channel(f"127.0.0.1:{plane.ports['grpc']}") as channel:
        try:
            answers = channel.stream_stream(f"/test.Stream/{kind}")(iter(messages), timeout=10, metadata=(("x-test", wish),))
            got.extend(answers)
        except grpc.RpcError as error:
            return got, error
    return got, None


def test_grpc_messages_pass_both_ways(plane: Plane) -> None:
    got, error = call(plane, "Both", [b"%d\n" % number for number in range(200)])
    assert error is None
    assert got == [b"re:%d\n" % number for number in range(200)]


def test_grpc_bidirectional_message_by_message(plane: Plane) -> None:
    turn = threading.Semaphore(1)

    def requests() -> Iterator[bytes]:
        for number in range(50):
            assert turn.acquire(timeout=10)
            yield b"%d\n" % number

    with grpc.insecure_channel(f"127.0.0.1:{plane.ports['grpc']}") as channel:
        answers = channel.stream_stream("/test.Stream/Both")(requests(), timeout=20, metadata=(("x-test", "stream-grpc"),))
        for number in range(50):
            assert next(answers) == b"re:%d\n" % number
            turn.release()


def test_grpc_request_message_refused(plane: Plane, both_ways: None) -> None:
    def requests() -> Iterator[bytes]:
        yield b"one\n"
        yield b"two\n"
        time.sleep(0.3)
        yield b"BAD\n"
        time.sleep(0.3)
        yield b"four\n"

    got = []
    with grpc.insecure_channel(f"127.0.0.1:{plane.ports['grpc']}") as channel:
        with pytest.raises(grpc.RpcError) as caught:  # noqa: PT012
            for answer in channel.stream_stream("/test.Stream/Both")(
                requests(), timeout=10, metadata=(("x-test", "stream-grpc"),)
            ):
                got.append(answer)  # noqa: PERF402 - what came before the error is kept
        # ext_proc cannot add trailers to an answer that has begun: it is reset.
        expected = grpc.StatusCode.PERMISSION_DENIED if plane.adapter == "shim" else grpc.StatusCode.INTERNAL
        assert caught.value.code() is expected
    assert got == [b"re:one\n", b"re:two\n"]


def test_grpc_request_refused_before_anything_was_answered(plane: Plane, both_ways: None) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{plane.ports['grpc']}") as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Stream/Unary")(b"BAD\n", timeout=10, metadata=(("x-test", "stream-grpc"),))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_grpc_response_message_refused(plane: Plane, both_ways: None) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{plane.ports['grpc']}") as channel, pytest.raises(grpc.RpcError) as caught:
        list(channel.unary_stream("/test.Stream/Count")(b"5 bad at 3", timeout=10, metadata=(("x-test", "stream-grpc"),)))
    expected = grpc.StatusCode.PERMISSION_DENIED if plane.adapter == "shim" else grpc.StatusCode.INTERNAL
    assert caught.value.code() is expected


# --- when the engine does not answer ---


@pytest.fixture
def weak(adapter: str, short_dir: Path, service: dict[str, int], request: pytest.FixtureRequest) -> Iterator[Plane]:
    http, name = f"http://127.0.0.1:{service['http']}", f"w{abs(hash(request.node.nodeid)) % 10**6}"
    upstreams = [(scope("open"), http, {}), (scope("closed", fail="closed"), http, {})]
    with running(adapter, short_dir / name, upstreams, deadline_ms=400) as plane:
        yield plane


@pytest.mark.parametrize("how", ["killed", "hung", "failing"])
@pytest.mark.parametrize("name", ["open", "closed"])
def test_engine_lost_in_the_middle(weak: Plane, client: httpx.Client, name: str, how: str) -> None:
    path = script((0.0, "data: one\n\nhalf an "), (1.0, "event\n\n"), (0.8, "data: three\n\n"))
    threading.Timer(0.5, {"killed": weak.engine.kill, "hung": lambda: weak.engine.signal(signal.SIGSTOP)}.get(how, bool)).start()
    got, _ = read(client, weak.url(name, path), "stream-lines" if how != "failing" else "stream-raise")
    reason = {"killed": "engine-lost", "hung": "engine-timeout", "failing": "engine-error"}[how]
    shim = weak.adapter == "shim"
    held = b"half an " if shim or how == "failing" else b""  # ext_proc: what an engine holds is lost with it
    if name == "open":
        assert got == b"data: one\n\n" + held + b"event\n\ndata: three\n\n"
    elif shim:
        head, _, problem = got.partition(b"event: error\ndata: ")
        assert head == (b"" if how == "failing" else b"data: one\n\n")
        assert json.loads(problem)["status"] == 503
    elif how == "failing":
        assert not got or json.loads(got)["status"] == 503  # cut, when the answer's headers had gone on
    else:
        assert got == b"data: one\n\n"  # and the connection is cut
    if not shim:
        return
    eventually(lambda: weak.uninspected(name).get(reason) == 1, 5.0, "the count")


def test_a_slow_reader_does_not_grow_memory(plane: Plane) -> None:
    from tests.contracts.test_data_plane import rss_of

    before = rss_of(plane.envoy.pid)
    with (
        httpx.Client(timeout=30.0) as client,
        client.stream("GET", plane.url("enforce", tag("/many?200000")), headers={"x-test": "stream-lines"}) as answer,
    ):
        time.sleep(3.0)
        grown = rss_of(plane.envoy.pid) - before
        size = sum(len(piece) for piece in answer.iter_raw())
    assert grown < 30 << 20
    assert size > 100_000_000
