"""The supervisor's care for its children, with real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eastwall.dataplanes.envoy.proxy import Proxy, Upstream
from eastwall.model.snapshot import ServiceScope
from eastwall.runtime import supervisor as supervisor_module
from eastwall.runtime.layout import open_data_dir
from eastwall.runtime.supervisor import RESTART_PAUSES, Options, StartError, Supervisor, _Child


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ew"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def supervisor(directory: Path, told: list[str]) -> Iterator[Supervisor]:
    data = open_data_dir(directory / "d")
    upstream = Upstream(name="a", url="http://127.0.0.1:1", scope=ServiceScope("a"))
    proxy = Proxy(
        upstreams=(upstream,), listen=("127.0.0.1", 1), engine_sockets=(str(data.run / "e.sock"),), run_dir=data.run / "envoy"
    )
    made = Supervisor(Options(data=data, proxy=proxy, console=("127.0.0.1", 0)), told.append)
    yield made
    for child in made._children:
        child.stop(1.0)


def child(directory: Path, code: str, name: str = "engine-0") -> _Child:
    return _Child(name, [sys.executable, "-c", textwrap.dedent(code)], directory / "child.log")


def until(check: Callable[[], object], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def test_one_death_is_mended_at_once_and_a_row_of_them_ever_later(
    directory: Path, supervisor: Supervisor, told: list[str]
) -> None:
    log = directory / "starts"
    failing = child(directory, f"open({str(log)!r}, 'a').write('x'); raise SystemExit(3)")
    failing.start()
    pauses = []
    deadline = time.monotonic() + 4.0
    while time.monotonic() < deadline and failing.deaths < 4:
        supervisor._watch(failing)
        if failing.process is None and (not pauses or len(pauses) < failing.deaths):
            pauses.append(round(failing.restart_at - time.monotonic(), 1))
        time.sleep(0.005)
    assert failing.deaths == 4
    assert pauses == list(RESTART_PAUSES[:4])
    assert log.read_text() == "x" * 4
    assert supervisor.restarts == {"engine-0": 4}
    assert "exit code 3" in told[0]
    assert "in 1 s" in told[3]


def test_a_child_that_lived_long_starts_over(directory: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "STABLE", 0.0)
    failing = child(directory, "raise SystemExit(1)")
    for _ in range(3):
        failing.start()
        assert failing.process is not None
        failing.process.wait(10)
        supervisor._watch(failing)
        assert failing.deaths == 1
        assert failing.restart_at <= time.monotonic()


def test_a_signal_is_named(directory: Path, supervisor: Supervisor, told: list[str]) -> None:
    failing = child(directory, "import os; os.kill(os.getpid(), 9)")
    failing.start()
    assert failing.process is not None
    failing.process.wait(10)
    supervisor._watch(failing)
    assert "SIGKILL" in told[0]
    assert str(directory / "child.log") in told[0]


def test_stop_asks_first_and_kills_who_does_not_hear(directory: Path) -> None:
    polite = child(
        directory,
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print('ready', flush=True); time.sleep(60)",
    )
    deaf = child(directory, "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)")
    deaf.log = directory / "deaf.log"
    for one in (polite, deaf):
        one.start()
        until(lambda one=one: "ready" in one.log.read_text())  # type: ignore[misc]
    polite.stop(10.0)
    assert polite.process is not None
    assert polite.process.returncode == 0
    started = time.monotonic()
    deaf.stop(0.3)
    assert time.monotonic() - started < 5
    assert deaf.process is not None
    assert deaf.process.returncode == -signal.SIGKILL
    deaf.stop(0.3)  # a second time is nothing


def test_who_does_not_start_is_quoted(directory: Path, supervisor: Supervisor) -> None:
    failing = child(
        directory, "import sys; print('eastwall control: the port is taken', file=sys.stderr); sys.exit(1)", "control"
    )
    failing.start()
    with pytest.raises(StartError, match=r"^control did not start: the port is taken \(log: ") as caught:
        supervisor._await(failing, lambda: False)
    assert "\n" not in str(caught.value)
    quiet = child(directory, "raise SystemExit(0)", "control")
    quiet.log = directory / "quiet.log"
    quiet.start()
    with pytest.raises(StartError, match="it said nothing"):
        supervisor._await(quiet, lambda: False)


def test_who_never_gets_ready_is_not_waited_for_for_ever(
    directory: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "START_TIMEOUT", 0.2)
    sleeping = child(directory, "import time; time.sleep(60)")
    sleeping.start()
    with pytest.raises(StartError, match="not ready after"):
        supervisor._await(sleeping, lambda: False)
    supervisor.stop.set()
    with pytest.raises(StartError, match="stopped before"):
        supervisor._await(sleeping, lambda: False)
    sleeping.stop(0.0)


def test_one_supervisor_per_data_directory(supervisor: Supervisor, told: list[str]) -> None:
    supervisor._lock_data_dir()
    second = Supervisor(supervisor.options, told.append)
    with pytest.raises(StartError, match="another Eastwall runs"):
        second._lock_data_dir()
    supervisor._lock.close()  # what the end of the process does
    second._lock_data_dir()
    second._lock.close()


def test_children_do_not_outlive_a_killed_supervisor(directory: Path) -> None:
    """kill -9 of the parent: the child gets SIGTERM from the kernel."""
    code = f"""
    import sys, time
    from pathlib import Path
    from eastwall.runtime.supervisor import _Child
    made = _Child("x", [sys.executable, "-c", "import time; time.sleep(60)"], Path({str(directory / "x.log")!r}))
    made.start()
    print(made.process.pid, flush=True)
    time.sleep(60)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3])
    assert os.getpid() != pid
