"""What `eastwall up` runs: starts control, engines and Envoy, restarts what dies, drains in the right order at the end.

Start order: control (publishes the first snapshot), engines and collector (read it), Envoy (asks them). Stop order is the reverse, so that no
call arrives that nobody judges and no record is left that nobody stores.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from eastwall.dataplanes.envoy.process import EnvoyError, EnvoyProcess
from eastwall.dataplanes.envoy.proxy import Proxy
from eastwall.runtime.dataplane import load_proxy, save_proxy
from eastwall.runtime.layout import DataDir
from eastwall.runtime.sharing import ADDRESS

START_TIMEOUT = 60.0
POLL = 0.05
RESTART_PAUSES = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds before the 1st, 2nd, ... restart in a row. Service must be back within 2 s after a single death."""
STABLE = 20.0
"""A child that lived this long starts over with RESTART_PAUSES."""


class StartError(RuntimeError):
    """Something did not start. The message is one line: what, why, how to mend."""


class Options(Struct, frozen=True):
    """How to run."""

    data: DataDir
    proxy: Proxy
    console: tuple[str, int]
    """Host and port of the console and API."""
    policy: Path | None = None
    mode: str | None = None
    """Mode given on the command line; None keeps what was set before (discover on a new data directory)."""
    collector: tuple[str, ...] = ()
    """Arguments of the receivers' process (`collector_main`); empty: there is none."""
    policy_git: tuple[str, ...] = ()
    """Control's arguments about a repository to keep in step with; empty: none."""
    kubernetes: str = ""
    """API server whose pods are known as callers, or `in-cluster`; empty: none."""


class _Child:
    """A process of ours that is started again when it dies."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name = name
        self.command = command
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths = 0
        self.started = 0.0
        self.restart_at = 0.0

    def start(self) -> None:
        with self.log.open("ab") as output:
            # A session of its own: Ctrl-C reaches us alone, and we stop the children in order.
            self.process = subprocess.Popen(
                self.command,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self.started = time.monotonic()

    def stop(self, timeout: float) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        """The last line of its log, for an error message."""
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        # `eastwall control: ...`: the message that quotes it says who speaks.
        return lines[-1].removeprefix(f"eastwall {self.name.partition('-')[0]}: ")[:500] if lines else ""


class Supervisor:
    """One running Eastwall. `start`, then `wait` until `stop` is set, then `shutdown`."""

    def __init__(self, options: Options, tell: Callable[[str], None]) -> None:
        self.options = options
        self.stop = threading.Event()
        self.restarts: dict[str, int] = {}
        self._tell = tell
        self.envoy = EnvoyProcess(options.proxy)
        self._children = [self._control(), *self._engines(), *self._collector()]
        self._envoy_deaths = 0
        self._envoy_started = 0.0

    def _control(self) -> _Child:
        host, port = self.options.console
        command = [sys.executable, "-m", "eastwall.runtime.control_main", "--data", str(self.options.data.root)]
        command += ["--console", f"{host}:{port}"]
        if self.options.policy is not None:
            command += ["--policy", str(self.options.policy)]
        if self.options.mode is not None:
            command += ["--mode", self.options.mode]
        command += self.options.policy_git
        if self.options.kubernetes:
            command += ["--kubernetes", self.options.kubernetes]
        return _Child("control", command, self.options.data.logs / "control.log")

    def _engines(self) -> list[_Child]:
        children = []
        for index, socket in enumerate(self.options.proxy.engine_sockets):
            command = [sys.executable, "-m", "eastwall.runtime.engine_main", "--data", str(self.options.data.root)]
            command += ["--name", str(index), "--adapter", self.options.proxy.adapter, "--socket", str(socket)]
            if len(self.options.proxy.engine_sockets) > 1 or os.environ.get(ADDRESS):
                command.append("--share")
            children.append(_Child(f"engine-{index}", command, self.options.data.logs / f"engine-{index}.log"))
        return children

    def _collector(self) -> list[_Child]:
        if not self.options.collector:
            return []
        command = [sys.executable, "-m", "eastwall.runtime.collector_main", "--data", str(self.options.data.root)]
        return [_Child("collector", [*command, *self.options.collector], self.options.data.logs / "collector.log")]

    def start(self) -> None:
        """Start everything and wait until calls pass. Raises StartError; what had started is stopped again."""
        data = self.options.data
        self._lock_data_dir()
        data.control_file.unlink(missing_ok=True)
        try:
            save_proxy(data, self.options.proxy)
            control, *others = self._children
            engines = others[: len(self.options.proxy.engine_sockets)]
            control.start()
            self._await(control, data.control_file.exists)
            for engine, socket in zip(engines, self.options.proxy.engine_sockets, strict=True):
                Path(socket).unlink(missing_ok=True)
                self._beat(engine).unlink(missing_ok=True)
                engine.start()
            for engine, socket in zip(engines, self.options.proxy.engine_sockets, strict=True):
                self._await(engine, Path(socket).exists)
            for engine in engines:
                self._await(engine, self._beat(engine).exists)
                if self._snapshot_of(engine) == 0:
                    # It would let everything pass: it knows no service.
                    raise StartError(f"{engine.name} cannot use the snapshot: {engine.last_words()} (log: {engine.log})")
            for collector in others[len(engines) :]:
                beat = data.run / "engine-collector.json"
                beat.unlink(missing_ok=True)
                collector.start()
                self._await(collector, beat.exists)
            # Control has applied the modes that were set before.
            self.envoy = EnvoyProcess(load_proxy(data) or self.options.proxy)
            self.envoy.start()
            self._envoy_started = time.monotonic()
        except BaseException:
            self.shutdown(drain=0.0)
            raise

    def _beat(self, engine: _Child) -> Path:
        """Where an engine says once a second what it is doing."""
        return self.options.data.run / f"{engine.name}.json"

    def _snapshot_of(self, engine: _Child) -> int:
        return int(json.loads(self._beat(engine).read_text())["snapshot"])

    def _lock_data_dir(self) -> None:
        path = self.options.data.run / "lock"
        self._lock = path.open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartError(
                f"another Eastwall runs on `{self.options.data.root}`; stop it, or name another directory with --data"
            ) from None

    def _await(self, child: _Child, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not ready():
            if self.stop.is_set():
                raise StartError("stopped before everything had started")
            if child.process is None or child.process.poll() is not None:
                raise StartError(f"{child.name} did not start: {child.last_words() or 'it said nothing'} (log: {child.log})")
            if time.monotonic() > deadline:
                raise StartError(f"{child.name} was not ready after {START_TIMEOUT:.0f} s (log: {child.log})")
            time.sleep(POLL)

    def wait(self) -> None:
        """Watch the children until `stop` is set."""
        while not self.stop.wait(POLL):
            for child in self._children:
                self._watch(child)
            self._watch_envoy()

    def _watch(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.restart_at:
                child.start()
            return
        code = child.process.poll()
        if code is None:
            return
        if now - child.started > STABLE:
            child.deaths = 0
        pause = RESTART_PAUSES[min(child.deaths, len(RESTART_PAUSES) - 1)]
        child.deaths += 1
        child.process = None
        child.restart_at = now + pause
        self.restarts[child.name] = self.restarts.get(child.name, 0) + 1
        self._tell(
            f"{child.name} ended ({_how(code)}); starting it again{f' in {pause:g} s' if pause else ''} (log: {child.log})"
        )

    def _watch_envoy(self) -> None:
        code = self.envoy.poll()
        if code is None:
            return
        now = time.monotonic()
        if now - self._envoy_started > STABLE:
            self._envoy_deaths = 0
        pause = RESTART_PAUSES[min(self._envoy_deaths, len(RESTART_PAUSES) - 1)]
        self._envoy_deaths += 1
        self.restarts["envoy"] = self.restarts.get("envoy", 0) + 1
        self._tell(f"envoy ended ({_how(code)}); starting it again (log: {self.options.proxy.run_dir / 'envoy.log'})")
        if self.stop.wait(pause):
            return
        try:
            # Control may have changed modes since: the description on disk is the one in force.
            self.envoy = EnvoyProcess(load_proxy(self.options.data) or self.options.proxy)
            self.envoy.start()
        except (EnvoyError, OSError) as error:  # the next round tries again
            self._tell(f"envoy did not start: {error}")
        self._envoy_started = time.monotonic()

    def shutdown(self, drain: float = 5.0) -> None:
        """Stop in order: Envoy drains, engines write their last records, control stores them."""
        self.envoy.stop(drain)
        control, *others = self._children
        for child in others:
            child.stop(5.0)
        control.stop(30.0)
        for path in (self.options.data.control_file, self.options.data.proxy_file):
            path.unlink(missing_ok=True)

    def control_url(self) -> str:
        return str(json.loads(self.options.data.control_file.read_text())["url"])

    def install_signals(self) -> None:
        """SIGINT and SIGTERM stop it; a second one within the drain does not wait any longer."""

        def on_signal(*_: object) -> None:
            if self.stop.is_set():  # the user does not want to wait: nothing acknowledged is lost, the spool is on disk
                for child in self._children:
                    if child.process is not None:
                        child.process.kill()
                self.envoy.stop(0.0)
                os._exit(130)
            self.stop.set()

        signal.signal(signal.SIGINT, on_signal)
        signal.signal(signal.SIGTERM, on_signal)


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """In the child: get SIGTERM when the supervisor dies, however it dies (prctl(2)); no engine outlives its supervisor."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
