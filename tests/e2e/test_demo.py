"""`eastwall demo` as users run it, over both adapters; and that its report can say no."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.harness import EASTWALL, free_port, run_cli

from eastwall.cli.client import Client
from eastwall.cli.up import build_options
from eastwall.runtime.demo import shop
from eastwall.runtime.demo.attacker import LEARNED, STEPS
from eastwall.runtime.demo.catalog import BILLING_SECRET, SERVICES
from eastwall.runtime.demo.run import Demo, Screen, Settings
from eastwall.runtime.supervisor import Supervisor

KEYS = {
    *("endpoints", "templates_expected", "templates_found", "attacks_sent", "attacks_blocked"),
    *("legit_sent", "legit_blocked", "seconds"),
}


def left_running(mark: str) -> list[str]:
    """Command lines of our processes that name `mark`."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if mark in command and ("eastwall." in command or "envoy" in command):
                    found.append(command)
    return found


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ew") as directory:
        yield Path(directory)


def test_once_finds_everything_stops_every_attack_and_disturbs_nobody(adapter: str, place: Path) -> None:
    report_file, seed = place / "report.json", "1" if adapter == "shim" else "2"
    done = run_cli("demo", "--once", "--report", str(report_file), "--adapter", adapter, "--seed", seed,
                   "--data", str(place / "data"), timeout=150)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(report_file.read_text())
    assert report.keys() >= KEYS
    assert report["adapter"] == adapter
    assert report["templates_expected"] == sum(len(shop.expected_templates(name)) for name in SERVICES)
    assert report["templates_found"] == report["templates_expected"] == report["endpoints"] - len(report["invented"])
    assert report["attacks_sent"] == report["attacks_blocked"] == len(STEPS) == len(report["steps"])
    assert report["legit_blocked"] == report["legit_failed"] == 0
    assert report["legit_sent"] > 1000
    assert 0 < report["seconds"] < 90
    for step in report["steps"]:
        assert (step["stopped"], step["loot"]) == (True, ""), step
        assert 0 < step["blocked"] <= step["sent"]
        assert all((step["event_id"], step["by"])), step
        assert step["status"] in (403, 429, 200 if step["name"] == "list-of-another" else 403), "refused, or cut out of the list"
        if step["name"] in LEARNED:
            assert step["policies"] == ["builtin/detections"], "by what was learned, and by no rule of the demo"
            assert step["evidence"] in done.stdout
    shadow = {(d["service"], d["method"], d["template"]) for d in report["drift"] if d["kind"] == "shadow"}
    undeclared = {(n, *o) for n in SERVICES for o in set(shop.expected_templates(n)) - set(shop.declared_templates(n))}
    assert shadow == undeclared
    ghosts = {(d["service"], d["method"], d["template"]) for d in report["drift"] if d["kind"] == "ghost"}
    assert ghosts == {(name, *operation) for name, operations in shop.GHOSTS.items() for operation in operations}
    # What a person reads agrees with it, names the first story and leaks nothing that was attacked.
    assert f"{report['attacks_blocked']}/{report['attacks_sent']}" in done.stdout
    assert "$ eastwall why 0" in done.stdout
    assert BILLING_SECRET not in done.stdout
    assert not left_running(str(place)), "something still runs"
    assert (place / "data" / "lake").is_dir(), "--data keeps what was learned"


class _Finished(Screen):
    def __init__(self) -> None:
        self.stories: list[dict[str, Any]] = []

    def stopped(self, why: dict[str, Any]) -> None:
        self.stories.append(why)


def test_report_says_so_when_the_attack_passes(adapter: str, place: Path) -> None:
    """The same run with act 2 in `monitor`: everything is seen, nothing is stopped, and the report must not be green."""
    if adapter == "extproc":
        pytest.skip("what the report counts does not depend on the adapter")

    def supervise(upstreams: tuple[str, ...], policy: Path) -> Supervisor:
        console = f"127.0.0.1:{free_port()}"
        return Supervisor(
            build_options(upstreams, "127.0.0.1:8080", console, policy, "discover", place / "data", adapter, 1, 1000), print
        )

    screen = _Finished()
    run = Demo(Settings(work=place, seed=3, supervise=supervise, connect=Client, mode="monitor"), screen)
    try:
        run.start()
        run.discover()
        run.enforce()
    finally:
        run.close()
    report = run.report
    assert (report.attacks_sent, report.attacks_blocked) == (len(STEPS), 0)
    assert report.legit_blocked == report.legit_failed == 0
    assert {step["name"] for step in report.steps if step["loot"]} == set(STEPS), "each attack gets what it is for"
    assert any("not stopped" in fault for fault in report.faults())
    assert not screen.stories
    assert not left_running(str(place))


def _until(process: subprocess.Popen[bytes], text: str, seconds: float) -> str:
    """What it printed up to `text`."""
    assert process.stdout is not None
    seen, until = b"", time.monotonic() + seconds
    while text.encode() not in seen:
        assert time.monotonic() < until, f"no `{text}` in {seen.decode()}"
        if select.select([process.stdout], [], [], 0.5)[0]:
            chunk = os.read(process.stdout.fileno(), 65536)
            assert chunk, f"ended without `{text}`: {seen.decode()}"
            seen += chunk
    return seen.decode()


@pytest.mark.parametrize(("moment", "code"), [("Still up", 0), ("Act 1", 130)])
def test_ctrl_c_ends_cleanly(place: Path, moment: str, code: int) -> None:
    environment = {**os.environ, "TMPDIR": str(place), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([EASTWALL, "demo"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    try:
        seen = _until(process, moment if code else "Ctrl-C drains and stops.", 120)
        if not code:
            assert re.search(r"console  http://127\.0\.0\.1:\d+/?\n +token    \S{20,}\n", seen)
        process.send_signal(signal.SIGINT)
        assert process.wait(45) == code
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    assert not left_running(str(place)), "something still runs"
    assert not list(place.glob("eastwall-demo-*")), "the temporary directory is gone"


def test_faults_are_one_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(place))
    (place / "full").mkdir()
    (place / "full" / "file").write_text("x")
    taken = socket.create_server(("127.0.0.1", 0))
    with taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for arguments, code, said in (
            (("--data", str(place / "full")), 2, "is not empty"),
            (("--report", str(place / "none" / "r.json")), 2, "there is no directory"),
            (("--console", "nowhere"), 2, "write HOST:PORT"),
            (("--data", "/proc/none"), 2, "cannot be used"),
            (("--console", address, "--data", str(place / "data")), 1, f"cannot listen on {address}"),
        ):
            done = run_cli("demo", "--once", *arguments)
            assert done.returncode == code, done.stderr
            lines = done.stderr.strip().splitlines()
            assert len(lines) == 1, done.stderr
            assert lines[0].startswith("eastwall: ")
            assert said in lines[0]
    assert not left_running(str(place))
