"""Where everything lies under `--data DIR`, and who may read it."""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

MAX_SOCKET_PATH = 100
"""Unix socket paths are limited to 107 bytes (unix(7)); some room for our file names."""


class DataDirError(ValueError):
    """The data directory cannot be used; the message says why and how to mend it."""


class DataDir(Struct, frozen=True):
    """Paths of one installation. `open_data_dir` makes them."""

    root: Path

    @property
    def run(self) -> Path:
        """Sockets, rendered Envoy configuration, heartbeats; safe to delete when nothing runs."""
        inside = self.root / "run"
        if len(str(inside)) + 20 < MAX_SOCKET_PATH:
            return inside
        name = hashlib.blake2b(str(self.root).encode(), digest_size=6).hexdigest()
        return Path(tempfile.gettempdir()) / f"eastwall-{os.getuid()}-{name}"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshot"

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    @property
    def policy(self) -> Path:
        return self.root / "policy"

    @property
    def specs(self) -> Path:
        """Specifications that were imported."""
        return self.root / "specs"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def token_file(self) -> Path:
        return self.secrets / "token"

    @property
    def proxy_file(self) -> Path:
        """The data plane's description (JSON), written by `eastwall up`, read by control when a mode changes."""
        return self.run / "proxy.json"

    @property
    def control_file(self) -> Path:
        """Where the control API listens (JSON `{"url": ...}`), written by control."""
        return self.run / "control.json"

    def token(self) -> str:
        return self.token_file.read_text().strip()


def user_name() -> str:
    """`user@host` of the operating system, for logs of who did what; the numeric id where the user has no name."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def default_data_dir() -> Path:
    """`$EASTWALL_DATA`, else `.eastwall` in the working directory: one per project, easy to find and to delete."""
    return Path(os.environ.get("EASTWALL_DATA", ".eastwall"))


def open_data_dir(root: Path) -> DataDir:
    """Create what is missing, 0700. Raises DataDirError."""
    data = DataDir(root.resolve())
    try:
        for path in (data.root, data.run, data.spool, data.snapshots, data.policy, data.secrets, data.logs):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if data.run.parent != data.root:
            _check_owner(data.run)
        # Made by somebody else before us, or by an archive: what is in them is nobody else's business. The root is the user's.
        for path in (data.run, data.spool, data.snapshots, data.policy, data.secrets, data.logs):
            path.chmod(0o700)
        _generate(data.token_file, lambda: secrets.token_urlsafe(24).encode())
        _generate(data.secrets / "hash.key", lambda: secrets.token_bytes(32))
    except OSError as error:
        raise DataDirError(
            f"the data directory `{root}` cannot be used: {error.strerror}; name another one with --data"
        ) from None
    return data


def existing_data_dir(root: Path) -> DataDir:
    """The data directory of something that runs or ran. Raises DataDirError when there is none."""
    data = DataDir(root.resolve())
    if not data.token_file.exists():
        raise DataDirError(f"no Eastwall data in `{root}`; start one with `eastwall up`, or name its directory with --data")
    return data


def _check_owner(path: Path) -> None:
    # The fallback lies in a shared temporary directory: someone else's directory or link there must not be trusted.
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise DataDirError(f"`{path}` is a link and not a directory; remove it or name another directory with --data")
    if found.st_uid != os.getuid():
        raise DataDirError(f"`{path}` belongs to another user; remove it or name another directory with --data")


def _generate(path: Path, content: Callable[[], bytes]) -> None:
    if path.exists():
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content())
