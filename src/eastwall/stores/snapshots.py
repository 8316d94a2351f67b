"""Snapshots as files: control publishes, engines look with one `stat`.

    DIRECTORY/current            the newest snapshot (a hard link to its numbered file)
    DIRECTORY/<version>.snap     the last three

A file is the magic `EWSNAP1\n`, SHA-256 of the payload, its length (u64), the payload (MessagePack `Snapshot`). Mode 0600: the
installation's hash key is inside. Publication is temp file, fsync, rename, fsync of the folder: a reader sees the old or the
new, never a part.

When the newest file does not verify, `load` raises `SnapshotCorrupt`; an engine that runs keeps what it has, one that starts
takes `load_previous()`, the newest older one that verifies. Both say so; neither goes on silently.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from pathlib import Path

import msgspec

from eastwall.model.snapshot import SNAPSHOT_FORMAT, Snapshot
from eastwall.ports.snapshots import SnapshotCorrupt

MAGIC = b"EWSNAP1\n"
KEEP = 3
_LENGTH = struct.Struct("<Q")
_HEADER_BYTES = len(MAGIC) + 32 + _LENGTH.size


class FileSnapshotStore:
    """Implements `ports.snapshots.SnapshotStore` on a folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._current = directory / "current"
        self._seen: tuple[int, int, int] | None = None

    def publish(self, snapshot: Snapshot) -> None:
        """Make `snapshot` the current one. Raises `OSError`; then the old one stays current."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        payload = msgspec.msgpack.encode(snapshot)
        numbered = self.directory / f"{snapshot.version:012d}.snap"
        fresh = self.directory / f"{snapshot.version:012d}.new"
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                with os.fdopen(fd, "wb", closefd=False) as file:
                    file.write(MAGIC + hashlib.sha256(payload).digest() + _LENGTH.pack(len(payload)))
                    file.write(payload)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.replace(fresh, numbered)
            os.link(numbered, fresh)
            os.replace(fresh, self._current)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(fresh)
            raise
        folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        for old in self._numbered()[KEEP:]:
            with contextlib.suppress(OSError):
                old.unlink()

    def load(self) -> Snapshot | None:
        """The newest snapshot, None when there never was one. Raises `SnapshotCorrupt` when it does not verify."""
        seen = self._stamp()
        if seen is None:
            return None
        # Taken before the read: a publication in between shows as a change at the next look. Kept for a corrupt file too, so that
        # it is not read again and again.
        self._seen = seen
        return _read(self._current)

    def load_previous(self) -> Snapshot | None:
        """The newest snapshot that verifies, whatever `current` says; None when there is none."""
        for path in self._numbered():
            with contextlib.suppress(SnapshotCorrupt, OSError):
                return _read(path)
        return None

    def changed(self) -> bool:
        """Whether `load` would give another snapshot than last time. One stat."""
        return self._stamp() != self._seen

    def latest_version(self) -> int:
        """Highest version that was ever published here, as far as the names tell; 0 for none."""
        return max((int(path.stem) for path in self._numbered()), default=0)

    def _numbered(self) -> list[Path]:
        """Newest first."""
        return sorted((path for path in self.directory.glob("*.snap") if path.stem.isdigit()), reverse=True)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self._current)
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> Snapshot:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SnapshotCorrupt(f"snapshot `{path}` cannot be read: {error.strerror}") from None
    if len(data) < _HEADER_BYTES or not data.startswith(MAGIC):
        raise SnapshotCorrupt(f"snapshot `{path}` is not a snapshot file, or cut short")
    payload = memoryview(data)[_HEADER_BYTES:]
    (length,) = _LENGTH.unpack_from(data, _HEADER_BYTES - _LENGTH.size)
    if len(payload) != length:
        raise SnapshotCorrupt(f"snapshot `{path}` has {len(payload)} bytes where {length} were written")
    if hashlib.sha256(payload).digest() != data[len(MAGIC) : len(MAGIC) + 32]:
        raise SnapshotCorrupt(f"snapshot `{path}` does not match its checksum")
    try:
        snapshot = msgspec.msgpack.decode(payload, type=Snapshot)
    except msgspec.DecodeError as error:
        raise SnapshotCorrupt(f"snapshot `{path}` is not of this version: {error}") from None
    if snapshot.format != SNAPSHOT_FORMAT:
        raise SnapshotCorrupt(f"snapshot `{path}` has format {snapshot.format}, this version reads {SNAPSHOT_FORMAT}")
    return snapshot
