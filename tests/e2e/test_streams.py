"""Streams through the whole inline path: real services (aiohttp-free: uvicorn, and an MCP server of the `mcp` package), real Envoy, the
real engine with policies. What the caller gets, and when, is what is asserted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
import websockets.sync.client
from tests.e2e.harness import eventually, free_port
from tests.e2e.test_grpc import Records

from eastwall.dataplanes.envoy.process import EnvoyProcess
from eastwall.dataplanes.envoy.proxy import Proxy, Upstream
from eastwall.model.call import Mode
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import SNAPSHOT_FORMAT, ServiceScope, Snapshot
from eastwall.policy import encode, parse_files
from eastwall.runtime.engine import Engine
from eastwall.stores.snapshots import FileSnapshotStore

pytestmark = pytest.mark.e2e

CARD = "4111 1111 1111 1111"
POLICY = """
apiVersion: eastwall.dev/v1alpha1
kind: DataPolicy
metadata: {name: cards}
spec: {mode: enforce, classes: [pan], direction: response, action: redact}
---
apiVersion: eastwall.dev/v1alpha1
kind: DataPolicy
metadata: {name: accounts}
spec: {mode: enforce, classes: [iban], direction: response, action: block}
"""
IBAN = "DE89 3704 0044 0532 0130 00"
SERVICE = '''
import asyncio, base64, json, sys
import uvicorn
from mcp.server import MCPServer

tools = MCPServer("shop")

@tools.tool()
def look_up(name: str) -> str:
    """Look a customer up."""
    return f"{name} pays with 4111 1111 1111 1111"

inner = tools.streamable_http_app()

async def talk(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        said = message.get("text") or message["bytes"].decode()
        if said != "quiet":
            await send({"type": "websocket.send", "text": json.dumps({"echo": said})})

async def app(scope, receive, send):
    if scope["type"] == "lifespan" or scope["path"].startswith("/mcp"):
        return await inner(scope, receive, send)
    if scope["type"] == "websocket":
        return await talk(receive, send)
    kind, steps = json.loads(base64.urlsafe_b64decode(scope["query_string"]))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind.encode())]})
    for pause, text in steps:
        await asyncio.sleep(pause)
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b""})

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
'''


class Plane:
    """Envoy before the service, once per mode, and the engine in this process."""

    def __init__(self, directory: Path, adapter: str, port: int) -> None:
        directory.mkdir()
        self.adapter = adapter
        self.records = Records()
        self.scopes = (
            ServiceScope("watched", mode=Mode.MONITOR),
            ServiceScope("held", mode=Mode.ENFORCE),
            ServiceScope("small", mode=Mode.ENFORCE, max_body=1000),
            ServiceScope("strict", mode=Mode.ENFORCE, max_body=1000, over_limit="block"),
        )
        policies, faults = parse_files({"p.yaml": POLICY})
        assert not faults, faults
        FileSnapshotStore(directory / "snapshot").publish(
            Snapshot(SNAPSHOT_FORMAT, 1, time.time(), b"k" * 32, self.scopes, policy=encode(policies))
        )
        self.engine = Engine("0", FileSnapshotStore(directory / "snapshot"), self.records)
        self.ports = {scope.name: free_port() for scope in self.scopes}
        socket = str(directory / "e.sock")
        upstreams = tuple(
            Upstream(scope.name, f"http://127.0.0.1:{port}", scope, ("127.0.0.1", self.ports[scope.name]))
            for scope in self.scopes
        )
        self._stop = threading.Event()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(socket, ready), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        self.envoy = EnvoyProcess(
            Proxy(upstreams=upstreams, run_dir=directory / "run", engine_sockets=(socket,), adapter=adapter)  # type: ignore[arg-type]
        )
        self.envoy.start()

    def _serve(self, socket: str, ready: threading.Event) -> None:
        if self.adapter == "shim":
            from eastwall.dataplanes.envoy.server import serve

            serve(socket, self.engine, self._stop, ready.set)
        else:
            from eastwall.dataplanes.extproc.server import serve as serve_extproc

            serve_extproc(f"unix:{socket}", self.engine, self._stop, ready.set)

    def url(self, service: str, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}{path}"

    def stop(self) -> None:
        self.envoy.stop(0.0)
        self._stop.set()
        self._thread.join(10)


@pytest.fixture(scope="module")
def service(short_dir: Path) -> Iterator[int]:
    port = free_port()
    program = short_dir / "service.py"
    program.write_text(SERVICE)
    process = subprocess.Popen([sys.executable, str(program), str(port)])

    def answers() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{port}/?{steps('text/plain', [])}").status_code == 200
        return False

    eventually(answers, what="the service")
    yield port
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def plane(short_dir: Path, adapter: str, service: int) -> Iterator[Plane]:
    plane = Plane(short_dir / adapter, adapter, service)
    yield plane
    plane.stop()


def steps(kind: str, pieces: list[tuple[float, str]]) -> str:
    import base64

    return base64.urlsafe_b64encode(json.dumps([kind, pieces]).encode()).decode()


def streamed(plane: Plane, service: str, kind: str, *pieces: tuple[float, str]) -> tuple[str, list[float], CallRecord]:
    """(what came, when, the record)."""
    agent = os.urandom(6).hex()
    got, times, began = b"", [], time.monotonic()
    with (
        httpx.Client(timeout=20.0) as client,
        client.stream("GET", plane.url(service, "/?" + steps(kind, list(pieces))), headers={"user-agent": agent}) as answer,
    ):
        assert answer.status_code == 200
        with contextlib.suppress(httpx.RemoteProtocolError):  # ext_proc: a stream that was ended is cut when the service goes on
            for piece in answer.iter_raw():
                got += piece
                times.append(time.monotonic() - began)
    found = eventually(lambda: [r for r in plane.records.kept if r.user_agent == agent], what="the record")
    return got.decode(), times, found[0]


def event(value: Any) -> str:
    return f"data: {json.dumps(value)}\n\n"


SSE, LINES = "text/event-stream", "application/x-ndjson"


def test_a_card_in_three_pieces_is_redacted_and_later_events_come_at_once(plane: Plane) -> None:
    wire = "id: 7\n" + event({"card": CARD, "n": 1})
    got, times, record = streamed(
        plane,
        "held",
        SSE,
        (0, wire[:25]),
        (0.2, wire[25:32]),
        (0.2, wire[32:]),
        (0.7, ": alive\n\n"),
        (0, event({"n": 2})),
        (0.7, event({"n": 3})),
    )
    assert got == 'id: 7\ndata: {"card":"[redacted]","n":1}\n\n: alive\n\n' + event({"n": 2}) + event({"n": 3})
    assert 0.3 < times[0] < 0.9 < times[-1] - 0.4
    assert record.action == "redact"
    assert record.response_events == 3
    assert record.uninspected == ()
    assert {hit.data_class for hit in record.data} == {"pan"}


@pytest.mark.parametrize("kind", [SSE, LINES, "application/json-seq"])
def test_a_blocked_event_ends_the_stream_in_its_own_form(plane: Plane, kind: str) -> None:
    def one(value: Any) -> str:
        text = json.dumps(value)
        return {SSE: f"data: {text}\n\n", LINES: f"{text}\n"}.get(kind, f"\x1e{text}\n")

    got, times, record = streamed(
        plane, "held", kind, (0, one({"n": 1})), (0.3, one({"pay to": IBAN})), (0.3, one({"n": 3})), (5, one({"n": 4}))
    )
    assert times[-1] < 2.0
    assert got.startswith(one({"n": 1}))
    rest = got.removeprefix(one({"n": 1}))
    assert IBAN not in got
    assert '"n": 3' not in got
    problem = json.loads(rest.removeprefix("event: error\ndata: ").strip("\x1e\n"))
    assert (problem["status"], problem["type"].rpartition("/")[2]) == (403, "data-blocked")
    assert problem["event_id"] == record.id
    assert (record.action, record.response_events) == ("block", 2)


def test_text_and_lines_are_redacted(plane: Plane) -> None:
    got, _, _ = streamed(plane, "held", SSE, (0, f"data: pay\r\ndata: {CARD} now\r\n\r\n"))
    assert got == "data: pay\r\ndata: [redacted] now\r\n\r\n"
    got, _, _ = streamed(
        plane, "held", LINES, (0, json.dumps({"card": CARD})[:20]), (0.1, json.dumps({"card": CARD})[20:] + "\n\n")
    )
    assert got == '{"card":"[redacted]"}\n\n'


def test_watched_events_are_told_and_pass(plane: Plane) -> None:
    sent = event({"card": CARD}), event({"pay to": IBAN}), event({"n": 3})
    got, times, record = streamed(plane, "watched", SSE, (0, sent[0]), (0.4, sent[1]), (0.4, sent[2]))
    assert got == "".join(sent)
    assert times[0] < 0.35
    assert (record.action, record.would, record.response_events) == ("allow", "block", 3)


def test_an_event_that_is_too_large(plane: Plane) -> None:
    large = event({"note": "x" * 3000})
    got, _, record = streamed(
        plane, "small", SSE, (0, event({"card": CARD})), (0.1, large[:1500]), (0.1, large[1500:]), (0.1, event({"card": CARD}))
    )
    assert got == 'data: {"card":"[redacted]"}\n\n' + large + 'data: {"card":"[redacted]"}\n\n'
    assert record.uninspected == ("response-event-too-large",)
    got, _, record = streamed(plane, "strict", SSE, (0, event({"n": 1})), (0.1, large[:1500]), (0.1, large[1500:]))
    assert got.startswith(event({"n": 1}) + "event: error\ndata: {")
    assert "xxx" not in got
    assert record.uninspected == ("response-event-too-large",)


def test_an_mcp_session(plane: Plane) -> None:
    """Streamable HTTP: the answers of the server are server-sent events."""
    from mcp.client import Client

    async def talk() -> str:
        async with Client(plane.url("held", "/mcp")) as client:
            result = await client.call_tool("look_up", {"name": "Ada"})
            return result.model_dump_json()

    said = asyncio.run(talk())
    assert "Ada pays with [redacted]" in said
    assert CARD not in said


def websocket(plane: Plane, service: str, agent: str = "ws", **more: Any) -> Any:
    if plane.adapter != "shim":
        pytest.skip("ext_proc is not shown what passes over a WebSocket")
    address = f"ws://127.0.0.1:{plane.ports[service]}/chat"
    return websockets.sync.client.connect(address, open_timeout=10, user_agent_header=agent, **more)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_websocket_messages_are_redacted_and_the_rest_is_as_it_was(plane: Plane, compression: str | None) -> None:
    agent = os.urandom(6).hex()
    with websocket(plane, "held", agent, compression=compression) as sock:
        for number in range(30):
            text = f"message {number} " + (CARD if number in (7, 20) else "and nothing else, again and again")
            sock.send([text[:4], text[4:]] if number % 2 else text)
            expected = text.replace(CARD, "[redacted]")
            assert json.loads(sock.recv(timeout=5)) == {"echo": expected}
        sock.ping().wait(5)
    (record,) = eventually(lambda: [r for r in plane.records.kept if r.user_agent == agent], what="the record")
    assert (record.request_events, record.response_events) == (30, 30)
    assert {(hit.data_class, hit.direction) for hit in record.data} == {("pan", "request"), ("pan", "response")}
    assert record.action == "redact"
    assert record.uninspected == ()


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_websocket_message_is_refused(plane: Plane, compression: str | None) -> None:
    agent = os.urandom(6).hex()
    with websocket(plane, "held", agent, compression=compression) as sock:
        sock.send("one")
        assert sock.recv(timeout=5) == '{"echo": "one"}'
        sock.send(f"pay to {IBAN}")  # the answer holds it
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            sock.recv(timeout=5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1008
    (record,) = eventually(lambda: [r for r in plane.records.kept if r.user_agent == agent], what="the record")
    assert record.action == "block"


def test_an_attack_in_a_websocket_message(plane: Plane) -> None:
    with websocket(plane, "held") as sock:
        sock.send(json.dumps({"name": "x' UNION SELECT username, password FROM users --"}))
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            sock.recv(timeout=5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1008
    with websocket(plane, "watched") as sock:
        sock.send("x' UNION SELECT username, password FROM users --")
        assert "UNION" in str(sock.recv(timeout=5))


def test_a_websocket_of_both_sides_at_once(plane: Plane) -> None:
    with websocket(plane, "held", max_size=None) as sock:
        threading.Thread(target=lambda: [sock.send(f"{number} " + "x" * 2000) for number in range(400)]).start()
        for number in range(400):
            assert json.loads(sock.recv(timeout=10))["echo"].startswith(f"{number} ")
