"""Records from engines to control, surviving the death of either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eastwall.model.record import CallRecord


class RecordWriter(Protocol):
    """Engine side. One writer per engine process."""

    def append(self, record: CallRecord) -> None:
        """Buffer a record; cheap."""
        ...

    def flush(self) -> None:
        """Hand the buffered records to the operating system (they now survive the death of this process)."""
        ...

    def close(self) -> None:
        """Flush, fsync, close."""
        ...


class Batch(Protocol):
    """Records that left the spool together. The same batch comes again, with the same token and content, until it is acknowledged."""

    token: str
    """Deterministic name of the batch (for insert deduplication)."""
    records: Sequence[CallRecord]
    encoded: Sequence[bytes]
    """The same in MessagePack, as they were written."""


class RecordReader(Protocol):
    """Control side. Exactly one."""

    def read(self, limit: int) -> Batch | None:
        """The next batch of at most `limit` records, or None when there is nothing new."""
        ...

    def acknowledge(self, batch: Batch) -> None:
        """The batch is safe elsewhere; its space may be freed."""
        ...
