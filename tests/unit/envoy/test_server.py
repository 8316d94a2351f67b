"""The engine's end of the socket: batches, partial frames, garbage, slow readers, failures of the inspector."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eastwall.dataplanes.envoy import frames, server
from eastwall.model.call import BodyState, Call, Completion, Peer, Request, Response
from eastwall.model.decision import Answer


class Inspector:
    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.responses: list[tuple[str, Response]] = []
        self.completions: list[Completion] = []
        self.ticks: list[float] = []

    def request(self, call: Call) -> Answer:
        self.calls.append(call)
        if call.request.path == "/raise":
            raise RuntimeError("asked to")
        if call.request.path == "/bad-answer":
            return Answer(headers=(("x", "a\nb"),))
        if call.request.path == "/large":
            return Answer(body=bytes(1 << 20))
        return Answer(deny=True, status=403, body=b"no") if call.request.path == "/deny" else Answer()

    def response(self, call_id: str, response: Response) -> Answer:
        self.responses.append((call_id, response))
        return Answer(body=b"other")

    def completed(self, completion: Completion) -> None:
        self.completions.append(completion)
        if completion.path == "/raise":
            raise RuntimeError("asked to")

    def tick(self, now: float) -> None:
        self.ticks.append(now)


class Serving:
    def __init__(self, path: str) -> None:
        self.path = path
        self.inspector = Inspector()
        self.stop = threading.Event()
        ready = threading.Event()
        self.thread = threading.Thread(target=server.serve, args=(path, self.inspector, self.stop, ready.set), daemon=True)
        self.thread.start()
        assert ready.wait(5)

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(5)
        sock.connect(self.path)
        return sock


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="ew") as directory:
        yield f"{directory}/e.sock"


@pytest.fixture
def serving(path: str) -> Iterator[Serving]:
    serving = Serving(path)
    yield serving
    serving.stop.set()
    serving.thread.join(5)
    assert not serving.thread.is_alive()


def request(path: str = "/", wire: int = 1, body: bytes = b"", flags: int = 0) -> bytes:
    state = BodyState.COMPLETE if body else BodyState.NONE
    call = Call("0" * 26, "s", 1.0, Peer("127.0.0.1", 2), Request("GET", path, {"a": "b"}, "h", "http", body, state))
    return frames.encode_request(wire, call, flags)


def completed(path: str = "/") -> bytes:
    return frames.encode_completed(Completion("0" * 26, "s", 1.0, "GET", path, "h", 200, 0, 0, 1))


def read_frames(sock: socket.socket, count: int) -> list[tuple[int, int, bytes]]:
    """(kind, wire, frame)"""
    data = b""
    found: list[tuple[int, int, bytes]] = []
    while len(found) < count:
        while len(data) >= 16:
            length, kind, _, wire = frames.parse_header(data)
            if len(data) < length:
                break
            found.append((kind, wire, data[:length]))
            data = data[length:]
        if len(found) < count:
            piece = sock.recv(1 << 20)
            assert piece, f"closed after {len(found)} of {count} frames"
            data += piece
    assert not data
    return found


def test_answers_carry_the_wire_id(serving: Serving) -> None:
    with serving.connect() as sock:
        sock.sendall(
            request("/", 7)
            + request("/deny", 8)
            + frames.encode_response(9, "0" * 26, Response(200, {}))
            + frames.encode_bare(frames.PING, 10)
        )
        got = read_frames(sock, 4)
    assert [(kind, wire) for kind, wire, _ in got] == [
        (frames.VERDICT, 7),
        (frames.VERDICT, 8),
        (frames.VERDICT, 9),
        (frames.PONG, 10),
    ]
    assert frames.decode_verdict(got[0][2]) == Answer()
    assert frames.decode_verdict(got[1][2]) == Answer(True, 403, body=b"no")
    assert frames.decode_verdict(got[2][2]) == Answer(body=b"other")


def test_frames_in_pieces_of_any_size(serving: Serving) -> None:
    rng = random.Random(3)
    stream = b"".join(request(f"/{i}", i, rng.randbytes(rng.choice((0, 10, 5000)))) for i in range(200))
    with serving.connect() as sock:
        at = 0
        while at < len(stream):
            size = rng.choice((1, 3, 15, 16, 17, 100, 4000, 60000))
            sock.sendall(stream[at : at + size])
            at += size
        assert [wire for _, wire, _ in read_frames(sock, 200)] == list(range(200))
    assert [call.request.path for call in serving.inspector.calls] == [f"/{i}" for i in range(200)]


def test_nobody_waits_for_no_reply(serving: Serving) -> None:
    with serving.connect() as sock:
        sock.sendall(
            request("/raise", 1, flags=frames.NO_REPLY)
            + request("/", 2, flags=frames.NO_REPLY)
            + completed()
            + frames.encode_bare(frames.PING, 3)
        )
        assert [wire for _, wire, _ in read_frames(sock, 1)] == [3]
    assert len(serving.inspector.calls) == 2
    assert len(serving.inspector.completions) == 1


def test_failure_of_the_inspector_is_said_and_survived(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    with serving.connect() as sock:
        sock.sendall(request("/raise", 1) + completed("/raise") + request("/bad-answer", 2) + request("/", 3))
        got = read_frames(sock, 3)
    assert [(kind, wire) for kind, wire, _ in got] == [(frames.FAILED, 1), (frames.FAILED, 2), (frames.VERDICT, 3)]
    assert "the inspector failed on a call" in caplog.text


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        bytes(16),
        b"\xff" * 64,
        frames.encode_bare(frames.VERDICT),
        frames.encode_bare(99),
        frames.encode_bare(frames.REQUEST),
        frames.encode_bare(frames.COMPLETED),
    ],
)
def test_garbage_ends_its_connection_only(serving: Serving, caplog: pytest.LogCaptureFixture, garbage: bytes) -> None:
    with serving.connect() as good, serving.connect() as bad:
        bad.sendall(garbage)
        assert bad.recv(100) == b""
        good.sendall(request("/", 5))
        assert read_frames(good, 1)[0][1] == 5
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1
    assert lines[0].startswith("dropped connection ")
    assert "\n" not in lines[0]


def test_peer_that_dies_in_the_middle_of_a_frame(serving: Serving) -> None:
    with serving.connect() as sock:
        sock.sendall(request("/", 1) + request("/", 2, b"x" * 1000)[:-1])
        read_frames(sock, 1)
    with serving.connect() as sock:
        sock.sendall(frames.encode_bare(frames.PING))
        read_frames(sock, 1)
    assert len(serving.inspector.calls) == 1


def test_slow_reader_gets_everything(serving: Serving) -> None:
    with serving.connect() as sock:
        sock.sendall(b"".join(request("/large", i) for i in range(8)))
        time.sleep(0.3)  # 8 MB of verdicts wait, more than the socket holds
        with serving.connect() as other:  # meanwhile others are served
            other.sendall(frames.encode_bare(frames.PING))
            read_frames(other, 1)
        assert [wire for _, wire, _ in read_frames(sock, 8)] == list(range(8))


def test_reader_that_never_reads_is_dropped(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "PENDING_LIMIT", 3 << 20)
    with serving.connect() as sock, contextlib.suppress(ConnectionError):
        for i in range(12):
            sock.sendall(request("/large", i))
        deadline = time.monotonic() + 5
        while "does not read its verdicts" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_ticks_while_idle(serving: Serving) -> None:
    before = len(serving.inspector.ticks)
    time.sleep(0.5)
    assert len(serving.inspector.ticks) - before >= 6
    assert abs(serving.inspector.ticks[-1] - time.time()) < 1


def test_socket_is_private_and_removed(path: str) -> None:
    serving = Serving(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    serving.stop.set()
    serving.thread.join(5)
    assert not Path(path).exists()


def test_stale_socket_is_replaced_and_a_live_one_is_not(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    first = Serving(path)
    with pytest.raises(server.SocketInUse, match="is served by another engine"):
        server.serve(path, Inspector(), lambda: True)
    with first.connect() as sock:
        sock.sendall(frames.encode_bare(frames.PING))
        read_frames(sock, 1)
    first.stop.set()
    first.thread.join(5)


def test_what_arrived_before_the_stop_is_judged(path: str) -> None:
    serving = Serving(path)
    with serving.connect() as sock:
        sock.sendall(frames.encode_bare(frames.PING))
        read_frames(sock, 1)
        serving.stop.set()
        sock.sendall(completed() * 10)
        serving.thread.join(5)
    assert len(serving.inspector.completions) == 10
