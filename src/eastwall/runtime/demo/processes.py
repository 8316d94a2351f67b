"""The shop's three services as processes of their own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from eastwall.runtime.demo.catalog import SERVICES

CALLS = {"storefront": ("orders",), "orders": ("billing",), "billing": ()}
"""Who calls whom. These calls go through Eastwall as everybody's do."""
_START_SECONDS = 30.0


class DemoError(RuntimeError):
    """The demo cannot go on; one line."""


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Shop:
    """Starts and stops them. Their state, ports and logs are in `work`."""

    def __init__(self, work: Path, listeners: Mapping[str, int]) -> None:
        """`listeners`: service -> port of Eastwall's listener before it."""
        self.state = work / "shop"
        self._logs = work / "logs"
        self._listeners = listeners
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> dict[str, str]:
        """Service -> its own URL, when all of them listen. Raises DemoError."""
        self.state.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        for name in SERVICES:
            self._file(name).unlink(missing_ok=True)
            command = [sys.executable, "-m", "eastwall.runtime.demo.shop", name, "--state", str(self.state)]
            command += ["--port-file", str(self._file(name))]
            command += [f"--upstream={other}=http://127.0.0.1:{self._listeners[other]}" for other in CALLS[name]]
            with self._log(name).open("wb") as log:
                # A session of its own: Ctrl-C reaches the demo alone, which ends the services last.
                self._processes[name] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        until = time.monotonic() + _START_SECONDS
        while not all(self._file(name).exists() for name in SERVICES):
            self.check()
            if time.monotonic() > until:
                raise DemoError(f"the shop's services did not listen within {_START_SECONDS:.0f} s (logs: {self._logs})")
            time.sleep(0.02)
        return {name: f"http://127.0.0.1:{int(self._file(name).read_text())}" for name in SERVICES}

    def check(self) -> None:
        """Raises DemoError when a service has ended."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                lines = self._log(name).read_text(errors="replace").strip().splitlines()
                said = lines[-1][:300] if lines else "it said nothing"
                raise DemoError(f"the shop's service {name} ended: {said} (log: {self._log(name)})")

    def stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _file(self, name: str) -> Path:
        return self.state / f"{name}.port"

    def _log(self, name: str) -> Path:
        return self._logs / f"shop-{name}.log"
