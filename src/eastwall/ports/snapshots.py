"""Where control publishes snapshots and engines find them."""

from __future__ import annotations

from typing import Protocol

from eastwall.model.snapshot import Snapshot


class SnapshotStore(Protocol):
    """Publication is atomic: a reader sees the old or the new, never a part."""

    def publish(self, snapshot: Snapshot) -> None: ...

    def load(self) -> Snapshot | None:
        """The newest readable snapshot, None when there never was one. Raises `SnapshotCorrupt` when the newest does not verify."""
        ...

    def load_previous(self) -> Snapshot | None:
        """The newest snapshot that does verify; None when none does."""
        ...

    def changed(self) -> bool:
        """Cheap (one stat): whether `load` would give another one than last time."""
        ...


class SnapshotCorrupt(ValueError):
    """The snapshot file does not verify; the message names it."""
