"""Putting a large set of policies in force on running engines while calls go on: how long, and whether a call is lost."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENGINES = 2
CALLERS = 4
IN_A_ROW = 40
"""Refusals on connections of their own after which every engine is taken to have the set."""
MARK = json.dumps(
    {
        "apiVersion": "eastwall.dev/v1alpha1",
        "kind": "AccessPolicy",
        "metadata": {"name": "mark"},
        "spec": {"action": "deny", "scope": {"services": ["shop"], "operations": ["GET /mark"]}},
    }
)


class Shop(BaseHTTPRequestHandler):
    """A service that answers at once."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


class _Callers:
    """Ordinary calls without pause."""

    def __init__(self, port: int) -> None:
        self.calls, self.failed = 0, 0
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._stop.is_set():
            try:
                connection.request("GET", "/orders/1")
                answer = connection.getresponse()
                answer.read()
                good = answer.status == 200
            except (OSError, http.client.HTTPException):
                connection.close()
                good = False
            self.calls += 1
            self.failed += not good
            time.sleep(0.002)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def apply_to_engines(text: str) -> str:
    """What came of it, for people."""
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    upstream.daemon_threads = True
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="ew") as folder, contextlib.ExitStack() as stack:
        stack.callback(upstream.shutdown)
        port, console = _free_port(), _free_port()
        command = [sys.executable, "-m", "eastwall.cli.main", "up", "--data", folder, "--console", f"127.0.0.1:{console}", "--json",
                   "--engines", str(ENGINES), "--mode", "enforce",
                   "--upstream", f"shop=http://127.0.0.1:{upstream.server_address[1]}@{port}"]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=dict(os.environ))
        stack.callback(_end, process)
        info = _info(process)
        while _status(port, "/orders/1") != 200:
            time.sleep(0.1)
        callers = _Callers(port)
        stack.callback(callers.stop)
        took, whole = _apply(info, text, port)
        callers.stop()
        return (
            f"applied to {ENGINES} running engines: in force on all {took:.2f} s after control had checked and stored the set "
            f"({whole:.2f} s after the request with the YAML); {callers.calls:,} calls meanwhile, {callers.failed} failed"
        )


def _apply(info: dict[str, Any], text: str, port: int) -> tuple[float, float]:
    """Seconds from the set being stored, and from the request, to its being in force on all engines."""
    documents = [*text.split("\n---\n"), MARK]
    files = {f"{at:05}.yaml": "\n---\n".join(documents[at : at + 100]) for at in range(0, len(documents), 100)}
    url = info["console"].rstrip("/") + "/api/v1/policy"
    headers = {"authorization": f"Bearer {info['token']}", "content-type": "application/json"}
    body = json.dumps({"files": files}).encode()
    began = time.time()
    request = urllib.request.Request(url, body, headers, method="PUT")
    answered: list[dict[str, Any]] = []

    def put() -> None:
        try:
            with urllib.request.urlopen(request, timeout=300) as reply:
                answered.append(json.load(reply))
        except urllib.error.HTTPError as error:
            answered.append({"fault": error.read(500).decode(errors="replace")})

    thread = threading.Thread(target=put)
    thread.start()
    refused, last = 0, time.time()
    while refused < IN_A_ROW:
        if _status(port, "/mark") == 403:
            refused += 1
        else:
            refused, last = 0, time.time()
        if answered and "fault" in answered[0]:
            raise SystemExit(f"the policies were not applied: {answered[0]['fault']}")
        if time.time() - began > 300:
            raise SystemExit("the policies did not come into force within five minutes")
    thread.join()
    return max(0.0, last - float(answered[0]["applied"])), last - began


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _info(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    text = b""
    while not text.endswith(b"\n}\n"):
        line = process.stdout.readline()
        if not line:
            raise SystemExit("`eastwall up` did not start")
        text += line
    found: dict[str, Any] = json.loads(text)
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
