"""The queryable store of everything that happened. One process owns it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from eastwall.model.record import CallRecord


class Lake(Protocol):
    """Blocking; control calls it from worker threads."""

    def insert(self, records: Sequence[CallRecord], token: str, encoded: Sequence[bytes] = ()) -> None:
        """Durably store; the same token twice stores once. `encoded`: the records in MessagePack, where they are at hand."""
        ...

    def call(self, event_id: str) -> CallRecord | None:
        """One call whole, or None."""
        ...

    def calls(
        self, *, service: str = "", actor: str = "", since: float = 0.0, limit: int = 100, only_findings: bool = False
    ) -> list[CallRecord]:
        """Newest first."""
        ...

    def count(self) -> int:
        """Calls stored."""
        ...

    def query(self, sql: str, *, seconds: float = 10.0, rows: int = 10_000) -> list[dict[str, Any]]:
        """Read-only analyst SQL under time and row limits. Raises `ValueError` with one clear line."""
        ...

    def close(self) -> None: ...
