"""What native offload saves of each call that is refused whoever calls: time until the answer, and processor time of Envoy, engine and control.

`python -m bench.native_offload [--rounds 6] [--calls 3000]`: two Eastwalls side by side with the same policy, one with `--native-offload`; the same
calls over one connection, in turns (paired rounds), medians over the rounds.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

POLICY = """\
apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: no-admin}
spec: {action: deny, scope: {services: [shop], operations: ["* /admin/**"]}, reason: Not from here.}
"""
PARTS = ("envoy", "engine_main", "control_main")


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class _Instance:
    """A running Eastwall."""

    def __init__(self, folder: Path, upstream: int, adapter: str, *more: str) -> None:
        folder.mkdir()
        (folder / "policy.yaml").write_text(POLICY)
        self.port = _port()
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "eastwall.cli.main", "up", "--data", str(folder / "data"), "--console", f"127.0.0.1:{_port()}", "--mode", "enforce",
                "--upstream", f"shop=http://127.0.0.1:{upstream}@{self.port}", "--policy", str(folder / "policy.yaml"), "--adapter", adapter, *more,
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + 60
        while self.calls(1)[1] != 403:
            if time.monotonic() > until:
                raise SystemExit("Eastwall did not start")
            time.sleep(0.2)
        time.sleep(3)  # the routes come a moment after the policy

    def calls(self, count: int) -> tuple[float, int]:
        """(median seconds until the answer, last status)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        took, status = [], 0
        try:
            for _ in range(count):
                began = time.perf_counter()
                connection.request("GET", "/admin/users")
                answer = connection.getresponse()
                answer.read()
                took.append(time.perf_counter() - began)
                status = answer.status
        except OSError:
            return 0.0, 0
        finally:
            connection.close()
        return statistics.median(took), status

    def processor(self) -> dict[str, float]:
        """Processor seconds used so far, by process."""
        used = dict.fromkeys(PARTS, 0.0)
        for pid, command in _children(self.process.pid):
            part = next((one for one in PARTS if one in command), "")
            if part:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                used[part] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return used

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


def _children(parent: int) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"\nPPid:\t{parent}\n" in (entry / "status").read_text():
                    yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue


class _Shop(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404)
        self.end_headers()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--calls", type=int, default=3_000)
    parser.add_argument("--adapter", choices=["shim", "extproc"], default="shim")
    options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Shop)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="ewb") as folder:
        names = {"engine": (), "envoy itself": ("--native-offload",)}
        both = {
            name: _Instance(Path(folder) / str(n), server.server_port, options.adapter, *more)
            for n, (name, more) in enumerate(names.items())
        }
        try:
            times: dict[str, list[float]] = {name: [] for name in both}
            for one in both.values():
                one.calls(200)
            time.sleep(2)
            before = {name: one.processor() for name, one in both.items()}
            for _ in range(options.rounds):
                for name, one in both.items():
                    times[name].append(one.calls(options.calls)[0])
            time.sleep(4)  # records are stored meanwhile
            count = options.rounds * options.calls
            for name, one in both.items():
                used = {part: (value - before[name][part]) / count * 1e6 for part, value in one.processor().items()}
                shown = ", ".join(f"{part.removesuffix('_main')} {value:.0f}" for part, value in used.items())
                print(
                    f"refused by {name:13} median {statistics.median(times[name]) * 1e6:5.0f} us until the answer; processor us a call: {shown}, together {sum(used.values()):.0f}"
                )
            ratio = statistics.median(a / b for a, b in zip(times["engine"], times["envoy itself"], strict=True))
            print(f"{options.adapter}, {options.rounds} paired rounds of {options.calls:,} calls: {ratio:.2f} times as fast")
        finally:
            for one in both.values():
                one.stop()


if __name__ == "__main__":
    main()
