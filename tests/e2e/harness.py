"""A whole Eastwall per test module, started as a user starts it: the installed `eastwall` command, on free loopback ports."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

EASTWALL = Path(sys.executable).with_name("eastwall")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def eventually(check: Callable[[], Any], timeout: float = 15.0, what: str = "") -> Any:
    """The first true result of `check`; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(httpx.HTTPError, KeyError, IndexError):
            result = check()
            if result:
                return result
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout} s: {what or check}")
        time.sleep(0.1)


def run_cli(
    *arguments: str, stdin: str | bytes | None = None, timeout: float = 60.0, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`eastwall ARGUMENTS` to its end."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [EASTWALL, *arguments],
        input=data if data is not None else b"",
        capture_output=True,
        timeout=timeout,
        check=False,
        cwd=cwd,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


class Upstream(ThreadingHTTPServer):
    """An orders service with an owner per order: small, real, and it remembers what reached it."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []
        self.count = 0
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event in these tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _handle(self) -> None:
        length = int(self.headers.get("content-length", 0) or 0)
        body = b""
        while len(body) < length:
            chunk = self.rfile.read(min(1 << 20, length - len(body)))
            if not chunk:
                return
            body += chunk
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunks()
        self.server.count += 1
        if len(self.server.seen) < 10_000:
            self.server.seen.append((self.command, self.path, body[:4096]))
        path = self.path.partition("?")[0]
        if path == "/cards":
            self._answer(200, b'{"cards":[{"holder":"A. Jones","number":"4111111111111111","limit":1000}]}')
        elif path.startswith("/slow"):
            time.sleep(0.5)
            self._answer(200, b'{"slow":true}')
        elif path == "/echo":
            self._answer(200, body, self.headers.get("content-type", "application/octet-stream"))
        elif path.startswith("/orders/"):
            self._answer(
                200, json.dumps({"id": path.rsplit("/", 1)[1], "note": "ok", "items": [{"sku": "a", "qty": 1}]}).encode()
            )
        elif path == "/orders":
            self._answer(201 if self.command == "POST" else 200, b'{"id":17,"ok":true}')
        elif path == "/search":
            self._answer(200, b'{"hits":[]}')
        else:
            self._answer(404, b'{"error":"not found"}')

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _handle  # noqa: N815


class Running:
    """A running `eastwall up`."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.data = directory / "data"
        self.log = (directory / "up.log").open("wb")
        self.process = subprocess.Popen(
            [EASTWALL, "up", "--data", str(self.data), "--console", f"127.0.0.1:{free_port()}", "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=self.log,
        )
        assert self.process.stdout is not None
        text = b""
        while not text.endswith(b"\n}\n"):
            line = self.process.stdout.readline()
            if not line:
                self.process.wait(10)
                raise AssertionError(f"eastwall up ended: {(directory / 'up.log').read_text()}")
            text += line
        self.info: dict[str, Any] = json.loads(text)
        self.api = httpx.Client(
            base_url=self.info["console"].rstrip("/") + "/api/v1", headers={"authorization": f"Bearer {self.info['token']}"}
        )

    def address(self, service: str) -> str:
        listen = next(s["listen"] for s in self.info["services"] if s["name"] == service)
        return str(listen).split(" ", maxsplit=1)[0]

    def cli(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return run_cli(*arguments, "--data", str(self.data), **options)

    def status(self) -> dict[str, Any]:
        return dict(self.api.get("/status").raise_for_status().json())

    def pid_of(self, part: str) -> int:
        """Pid of `engine_main`, `control_main` or the Envoy of this instance (by its data directory in the command line)."""
        for line in Path("/proc").iterdir():
            if not line.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                command = (line / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                parent = re.search(r"PPid:\s+(\d+)", (line / "status").read_text())
                if part in command and parent and int(parent[1]) == self.process.pid:
                    return int(line.name)
        raise KeyError(part)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(45)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.api.close()
        self.log.close()
        return self.process.returncode
