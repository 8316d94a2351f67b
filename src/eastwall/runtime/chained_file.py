"""A hash-chained log (`evidence.chain`) as a file: append-only, fsynced before it counts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eastwall.evidence import chain
from eastwall.runtime.durable import sync_folder, write_all


class ChainedFile:
    """Writes; whoever reads it says with `last` where it ends. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = chain.FIRST
        """Hash of the last line."""
        self._before = (0, chain.FIRST)
        """Size and last hash before the latest `append`."""

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Write and fsync. Raises OSError; then none of them counts as written."""
        lines, last = [], self.last
        for entry in entries:
            line, last = chain.link(entry, last)
            lines.append(line)
        if not lines:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = not self.path.exists()
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            at = os.fstat(fd).st_size
            try:
                write_all(fd, b"".join(lines))
                os.fsync(fd)
            except OSError:
                os.ftruncate(fd, at)
                raise
        finally:
            os.close(fd)
        if fresh:
            sync_folder(self.path.parent)
        self._before, self.last = (at, self.last), last

    def take_back(self) -> None:
        """Undo the latest `append`, once. Raises OSError; then it stands."""
        size, last = self._before
        os.truncate(self.path, size)
        self.last = last

    def cut(self, size: int) -> None:
        """Keep the first `size` bytes. Raises OSError."""
        with self.path.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())
