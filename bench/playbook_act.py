"""How soon a playbook shuts a caller out: from the answer to the call that completes its count to the first call that is refused for it.

`python -m bench.playbook_act [--runs 12]`: Eastwall with two engines, a playbook that puts an identity into quarantine after two refused
SQL injections, callers told apart by their addresses, one a run.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from http.server import ThreadingHTTPServer
from pathlib import Path

from bench.policy_apply import Shop

POLICY = """\
apiVersion: eastwall.dev/v1alpha1
kind: Service
metadata: {name: shop}
spec: {mode: enforce}
---
apiVersion: eastwall.dev/v1alpha1
kind: Playbook
metadata: {name: shut-out}
spec:
  on: {findings: [sql-injection], count: 2, within: 10m}
  maxPerHour: 20
  for: 10m
  steps: [{quarantine: identity}]
"""
ATTACK = "/search?q=" + urllib.parse.quote("' OR 1=1 --")


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _ask(port: int, path: str, source: str) -> tuple[int, str]:
    """Status and `type` of the problem; from another loopback address, which is who calls."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        kind = answer.getheader("content-type") or ""
        return answer.status, str(json.loads(body).get("type", "")) if "problem" in kind else ""
    finally:
        connection.close()


def _shut_out(port: int, source: str) -> float:
    """Seconds from the answer to the second attack to the first ordinary call that is refused."""
    for _ in range(2):
        status, _kind = _ask(port, ATTACK, source)
        if status != 403:
            raise SystemExit(f"the attack was answered {status}")
    began = time.monotonic()
    while time.monotonic() - began < 20:
        if _ask(port, "/orders/1", source)[1].endswith("/quarantined"):
            return time.monotonic() - began
        time.sleep(0.01)
    raise SystemExit("the playbook did nothing within 20 s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=12, help="at most 20: so many runs an hour are carried out")
    runs = min(parser.parse_args().runs, 20)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = _port()
    with tempfile.TemporaryDirectory(prefix="ewb") as folder:
        rules = Path(folder) / "policy.yaml"
        rules.write_text(POLICY)
        up = subprocess.Popen(
            [
                sys.executable, "-m", "eastwall.cli.main", "up", "--data", f"{folder}/data", "--console", f"127.0.0.1:{_port()}", "--engines", "2",
                "--upstream", f"shop=http://127.0.0.1:{server.server_port}@{port}", "--mode", "enforce", "--policy", str(rules), "--json",
            ],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert up.stdout is not None
            while (line := up.stdout.readline()) not in (b"}\n", b""):
                pass
            if not line:
                raise SystemExit("Eastwall did not start")
            until = time.monotonic() + 20
            while _ask(port, ATTACK, "127.0.0.2")[0] != 403 and time.monotonic() < until:
                time.sleep(0.1)
            time.sleep(3)
            # Each run begins at another moment of the second in which records are gathered.
            took = []
            for number in range(runs):
                time.sleep(1.5 + number * 0.083)
                took.append(_shut_out(port, f"127.0.1.{number + 1}"))
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(60)
    took.sort()
    print(
        f"second attack answered -> shut out: median {statistics.median(took):.2f} s, best {took[0]:.2f} s, worst {took[-1]:.2f} s, {runs} runs"
    )


if __name__ == "__main__":
    main()
