"""Ports of the engine held in memory, for benches that run it in this process."""

from __future__ import annotations

from eastwall.model.record import CallRecord
from eastwall.model.snapshot import Snapshot


class Kept:
    """A spool that keeps records in memory (`ports.spool.RecordWriter`)."""

    lost = 0

    def __init__(self) -> None:
        self.records: list[CallRecord] = []

    def append(self, record: CallRecord) -> None:
        self.records.append(record)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class Published:
    """`ports.snapshots.SnapshotStore` in memory."""

    def __init__(self) -> None:
        self.newest: Snapshot | None = None

    def load(self) -> Snapshot | None:
        return self.newest

    def load_previous(self) -> None:
        return None

    def changed(self) -> bool:
        return False

    def publish(self, snapshot: Snapshot) -> None:
        self.newest = snapshot
