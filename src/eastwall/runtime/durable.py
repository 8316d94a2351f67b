"""Files that are there whole or not at all, also after the power is gone."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_whole(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Atomic, 0600, and durable unless the old content would do as well when the power goes. Raises OSError; then the old content stays."""
    put_in_place(prepare(path, data), path, durable=durable)


def prepare(path: Path, data: bytes) -> Path:
    """Write what is to stand at `path` beside it: the space is taken, and nothing has changed. Raises OSError; then nothing is left of it."""
    part = path.with_suffix(".part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError:
        drop(part)
        raise
    return part


def put_in_place(part: Path, path: Path, *, durable: bool = True) -> None:
    """What `prepare` wrote becomes the content. Raises OSError; then the old content stays."""
    try:
        os.replace(part, path)
    except OSError:
        drop(part)
        raise
    if not durable:
        return
    with contextlib.suppress(OSError):  # the new content is in place
        sync_folder(path.parent)


def drop(part: Path) -> None:
    """Give its space back. Never raises."""
    with contextlib.suppress(OSError):
        os.unlink(part)


def write_all(fd: int, data: bytes) -> None:
    """Unbuffered: a file object would write what is left over when it is closed, after the fault was mended. Raises OSError."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def sync_folder(folder: Path) -> None:
    """Make names that were given in a folder durable. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
