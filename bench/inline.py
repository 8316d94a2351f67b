"""`make bench`: what inspection costs inline, against peers in the same run, and `decide` alone against libmodsecurity.

Variants see the same requests: a POST with a 507-byte JSON body and a bearer token, answered with 963 bytes of JSON. Load generator
and upstream are a C program (bench/http_load.c), so that neither is what is measured; all run on this machine's cores together. Rounds
are interleaved (plain, shim, ext_proc, ModSecurity, plain, ...), the median round counts; figures are ratios within the run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import decide_cost, modsecurity, report
from eastwall.dataplanes.envoy.process import envoy_binary

HERE = Path(__file__).parent
TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsInJvbGVzIjpbImN1c3RvbWVyIl19.c2lnbmF0dXJl"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def messages(directory: Path) -> tuple[Path, Path]:
    """Files with the request and the response of every call of the bench."""
    body, answer = decide_cost.bodies(500)
    request = (
        f"POST /orders HTTP/1.1\r\nhost: orders\r\nuser-agent: bench/1.0\r\naccept: application/json\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {TOKEN}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body
    response = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}\r\n\r\n".encode() + answer
    (directory / "request").write_bytes(request)
    (directory / "response").write_bytes(response)
    return directory / "request", directory / "response"


def wait_port(port: int, process: subprocess.Popen[Any], name: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as s:
            s.settimeout(0.2)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{name} did not start (exit code {process.poll()})")
        time.sleep(0.1)


@contextmanager
def running(command: list[str], port: int, name: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **environment})
    try:
        wait_port(port, process, name)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def plain_envoy(directory: Path, port: int, upstream: int) -> list[str]:
    """Envoy with nothing but its router, one worker, as all variants."""
    cluster = {"name": "up", "connect_timeout": "1s", "type": "STATIC", "load_assignment": {"cluster_name": "up", "endpoints": [
        {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}}}]}]}}  # fmt: skip
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "plain",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}
            ]
        },
        "http_filters": [
            {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
        ],
    }
    listener = {"name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}]}  # fmt: skip
    path = directory / "plain.json"
    path.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    return [str(envoy_binary()), "-c", str(path), "--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id"]


def eastwall_up(directory: Path, port: int, upstream: int, adapter: str) -> list[str]:
    command = [str(Path(sys.executable).with_name("eastwall")), "up", "--upstream", f"orders=http://127.0.0.1:{upstream}@{port}"]
    return [
        *command,
        "--mode",
        "enforce",
        "--adapter",
        adapter,
        "--data",
        str(directory / adapter),
        "--console",
        f"127.0.0.1:{free_port()}",
    ]


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    pids, found = [pid], []
    while pids:
        current = pids.pop()
        found.append(current)
        for task in Path(f"/proc/{current}/task").glob("*/children"):
            pids += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its descendants so far, without the control process (learning is off the path, and shown)."""
    ticks = 0
    for member in family(pid):
        if b"control_main" in Path(f"/proc/{member}/cmdline").read_bytes():
            continue
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def rss_megabytes(pid: int, part: str = "") -> float:
    total = 0
    for member in family(pid):
        if part and part.encode() not in Path(f"/proc/{member}/cmdline").read_bytes():
            continue
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{member}/status").read_text())
        total += int(found[1]) if found else 0
    return total / 1024


def load(loader: Path, port: int, request: Path, connections: int, seconds: float, rate: float = 0.0) -> dict[str, float]:
    command = [str(loader), "load", str(port), str(request), str(connections), str(seconds), str(rate)]
    result = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    if result["not_ok"] or result["broken"]:
        print(f"warning: {result['not_ok']} answers were not 2xx, {result['broken']} connections broke", file=sys.stderr)
    return dict(result)


def settle(loader: Path, request: Path, variants: dict[str, tuple[int, subprocess.Popen[bytes]]], directory: Path) -> None:
    """Warm everything up, until Eastwall has learned the endpoint: a new one is sampled more, which is not what most calls meet."""
    deadline = time.monotonic() + 150
    waiting = {"shim", "extproc"}
    for port, _ in variants.values():
        load(loader, port, request, 32, 3)
    while waiting and time.monotonic() < deadline:
        time.sleep(10)
        for adapter in sorted(waiting):
            load(loader, variants[f"Eastwall ({adapter})"][0], request, 4, 0.5)
            command = [str(Path(sys.executable).with_name("eastwall")), "apis", "--json", "--data", str(directory / adapter)]
            found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
            if found and all(api["sample_every"] >= 32 for api in found):
                waiting.discard(adapter)
    if waiting:
        print(f"warning: still learning after 150 s: {', '.join(sorted(waiting))}", file=sys.stderr)


def measure(rounds: int, seconds: float) -> tuple[dict[str, Any], list[str]]:
    """Figures per variant, and what could not be measured and why."""
    absent: list[str] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ewb", ignore_cleanup_errors=True)))
        loader = directory / "http_load"
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", str(loader), str(HERE / "http_load.c")], check=True)
        request, response = messages(directory)
        upstream = free_port()
        stack.enter_context(
            running([str(loader), "serve", str(upstream), str(response)], upstream, "the upstream", directory / "up.log")
        )
        variants: dict[str, tuple[int, subprocess.Popen[bytes]]] = {}

        def add(name: str, command: list[str], port: int) -> None:
            variants[name] = (
                port,
                stack.enter_context(running(command, port, name, directory / f"{name.replace(' ', '-')}.log")),
            )

        port = free_port()
        add("plain Envoy", plain_envoy(directory, port, upstream), port)
        for adapter in ("shim", "extproc"):
            port = free_port()
            add(f"Eastwall ({adapter})", eastwall_up(directory, port, upstream, adapter), port)
        problem = modsecurity.missing_nginx()
        if problem:
            absent.append(f"nginx + ModSecurity + CRS: {problem}")
        else:
            port = free_port()
            config = modsecurity.nginx_config(directory, port, upstream, 1)
            nginx = shutil.which("nginx") or "/usr/sbin/nginx"
            add("nginx + ModSecurity + CRS", [nginx, "-c", str(config), "-p", str(directory)], port)
        engine_rss = rss_megabytes(variants["Eastwall (shim)"][1].pid, "engine_main")
        settle(loader, request, variants, directory)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
        for _ in range(rounds):
            for name, (port, process) in variants.items():
                before = cpu_seconds(process.pid)
                result = load(loader, port, request, 32, seconds)
                result["cpu_us"] = (cpu_seconds(process.pid) - before) / max(result["requests"], 1) * 1e6
                runs[name].append(result)
        figures: dict[str, Any] = {}
        for name, (port, process) in variants.items():
            middle = {
                key: statistics.median(run[key] for run in runs[name]) for key in ("per_second", "p50_us", "p99_us", "cpu_us")
            }
            if name != "nginx + ModSecurity + CRS":  # it does not reach 1,000 requests/s
                steady = load(loader, port, request, 32, seconds, rate=1_000)
                middle |= {"p50_us_at_1000": steady["p50_us"], "p99_us_at_1000": steady["p99_us"]}
            middle["rss_mb"] = rss_megabytes(process.pid)
            figures[name] = middle
        figures["engine_rss_mb_at_start"] = engine_rss
    return figures, absent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    figures, absent = measure(options.rounds, options.seconds)
    cost = decide_cost.measure()
    figures["decide"] = cost
    plain, shim = figures["plain Envoy"], figures["Eastwall (shim)"]
    peer = figures.get("nginx + ModSecurity + CRS")
    share = shim["per_second"] / plain["per_second"]
    times = shim["per_second"] / peer["per_second"] if peer else None
    added_p50 = (shim["p50_us_at_1000"] - plain["p50_us_at_1000"]) / 1000
    added_p99 = (shim["p99_us_at_1000"] - plain["p99_us_at_1000"]) / 1000
    cheaper = cost.get("times_cheaper_0.5")
    targets = [
        report.target("shim / plain Envoy, requests/s", ">= 0.35", share, share >= 0.35),
        report.target("shim / nginx + ModSecurity + CRS, requests/s", ">= 20", times, times >= 20 if times else None),
        report.target("decide, warm, 0.5 KB, p50 us", "<= 60", cost["decide_us_0.5"], cost["decide_us_0.5"] <= 60),
        report.target(
            "decide against libmodsecurity + CRS in process", ">= 50 x cheaper", cheaper, cheaper >= 50 if cheaper else None
        ),
        report.target("p50 added at 1,000 requests/s, ms", "<= 0.4", added_p50, added_p50 <= 0.4),
        report.target("p99 added at 1,000 requests/s, ms", "<= 5", added_p99, added_p99 <= 5),
        report.target(
            "engine RSS at start, MB", "<= 150", figures["engine_rss_mb_at_start"], figures["engine_rss_mb_at_start"] <= 150
        ),
    ]
    show(figures, targets, absent)
    print(f"\nwritten: {report.write('inline', figures, targets)}")


def show(figures: dict[str, Any], targets: list[dict[str, Any]], absent: list[str]) -> None:
    out = Console(width=130, highlight=False)
    table = Table(
        "variant", "requests/s", "of plain", "p50 / p99 ms", "CPU us/request", "RSS MB", "at 1,000/s: p50 / p99 ms", box=None
    )
    plain = figures["plain Envoy"]["per_second"]
    for name, row in figures.items():
        if isinstance(row, dict) and "per_second" in row:
            steady = (
                f"{row['p50_us_at_1000'] / 1000:.2f} / {row['p99_us_at_1000'] / 1000:.2f}" if "p50_us_at_1000" in row else "-"
            )
            table.add_row(name, f"{row['per_second']:,.0f}", f"{row['per_second'] / plain:.3f}", f"{row['p50_us'] / 1000:.1f} / {row['p99_us'] / 1000:.1f}",
                          f"{row['cpu_us']:,.0f}", f"{row['rss_mb']:.0f}", steady)  # fmt: skip
    out.print(table)
    out.print(decide_cost.table(figures["decide"]))
    for line in absent:
        out.print(f"not measured: {line}")
    for row in targets:
        mark = {True: "met", False: "NOT MET", None: "not measured"}[row["met"]]
        value = "-" if row["value"] is None else f"{row['value']:.2f}"
        out.print(f"{mark:>12}  {row['name']}: {value} (target {row['target']})")


if __name__ == "__main__":
    main()
