"""The shim's engine pool under sanitizers: threads that ask and die at random, engines that answer, stall, break off and talk rubbish."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.envoy.building import build

from eastwall.dataplanes.envoy import frames
from eastwall.model.decision import Answer

SOURCES = ("engine.c", "engine_thread.c", "frames.c", "settings.c")


class Chaos(threading.Thread):
    """An engine that misbehaves: `mood` names the ways."""

    def __init__(self, path: str, moods: tuple[str, ...], seed: int) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self._random = random.Random(seed)
        self._moods = moods
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(8)
        self._listener.settimeout(0.05)
        self.requests = 0
        self.completed = 0

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                sock, _ = self._listener.accept()
            except TimeoutError:
                continue
            with sock, contextlib.suppress(OSError):
                self._serve(sock)
        self._listener.close()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(0.05)
        data = b""
        while not self.stop.is_set():
            try:
                piece = sock.recv(1 << 16)
            except TimeoutError:
                continue
            if not piece:
                return
            data += piece
            while len(data) >= frames.HEADER.size:
                length, kind, _, wire = frames.parse_header(data)
                if len(data) < length:
                    break
                frame, data = data[:length], data[length:]
                if kind == frames.PING:
                    sock.sendall(frames.encode_bare(frames.PONG))
                elif kind == frames.COMPLETED:
                    frames.decode_completed(frame)
                    self.completed += 1
                elif kind == frames.REQUEST:
                    frames.decode_request(frame)
                    self.requests += 1
                    if not self._answer(sock, wire):
                        return

    def _answer(self, sock: socket.socket, wire: int) -> bool:
        mood = self._random.choice(self._moods)
        if mood == "stall":
            time.sleep(self._random.random() * 0.4)
        elif mood == "close":
            return False
        elif mood == "rubbish":
            sock.sendall(self._random.randbytes(40))
        elif mood == "failed":
            sock.sendall(frames.encode_bare(frames.FAILED, wire))
        elif mood == "stranger":  # an answer to nobody's question
            sock.sendall(frames.encode_verdict(self._random.getrandbits(64), Answer()))
        elif mood == "large":
            sock.sendall(frames.encode_verdict(wire, Answer(body=b"x" * 100_000)))
        else:
            sock.sendall(frames.encode_verdict(wire, Answer()))
        return True


@pytest.fixture
def sockets() -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory(prefix="ew") as directory:
        yield [f"{directory}/{number}" for number in range(3)]


def stress(program: Path, seconds: float, engines: list[Chaos], sockets: list[str]) -> dict[str, int]:
    for engine in engines:
        engine.start()
    done = subprocess.run(
        [str(program), str(seconds), "6", *sockets],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"TSAN_OPTIONS": "halt_on_error=1", "ASAN_OPTIONS": "detect_leaks=1"},
    )
    for engine in engines:
        engine.stop.set()
    for engine in engines:
        engine.join()
    assert done.returncode == 0, done.stderr[-6000:]
    counts: dict[str, int] = json.loads(done.stdout)
    assert counts["wrong"] == 0
    return counts


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_bad_engines(tmp_path: Path, sockets: list[str], sanitizer: str) -> None:
    program = build(tmp_path, "pool", sanitizer, "pool_harness.c", *SOURCES)
    engines = [
        Chaos(sockets[0], ("good",), 1),
        Chaos(sockets[1], ("good",) * 25 + ("close", "rubbish", "failed", "stranger", "large"), 2),
        Chaos(sockets[2], ("good",) * 40 + ("stall",), 3),
    ]
    counts = stress(program, 2.0, engines, sockets)
    assert counts["answered"] > 100
    assert counts["failed"] > 0
    assert counts["held"] > 0
    assert counts["completed"] > counts["answered"]


def test_no_engine_at_all(tmp_path: Path, sockets: list[str]) -> None:
    program = build(tmp_path, "pool", "address,undefined", "pool_harness.c", *SOURCES)
    counts = stress(program, 0.5, [], sockets)
    assert counts["answered"] == 0
    assert counts["refused"] > 100  # at once, not after a deadline
    assert 0 < counts["kept"] <= counts["completed"]


def test_completions_wait_for_an_engine(tmp_path: Path, sockets: list[str]) -> None:
    """What was completed while no engine was there is told to the first that comes."""
    program = build(tmp_path, "pool", "address,undefined", "pool_harness.c", *SOURCES)
    late = Chaos(sockets[0], ("good",), 1)
    late._listener.close()
    Path(sockets[0]).unlink()

    def come() -> None:
        time.sleep(1.0)
        late._listener = socket.socket(socket.AF_UNIX)
        late._listener.bind(sockets[0])
        late._listener.listen(8)
        late._listener.settimeout(0.05)
        late.start()

    helper = threading.Thread(target=come)
    helper.start()
    counts = stress(program, 2.0, [], sockets[:1])
    helper.join()
    late.stop.set()
    late.join()
    assert counts["refused"] > 100
    assert counts["answered"] > 0
    assert late.completed > counts["answered"] + 100
