"""Records with something in them, as soon as engines have written them: read beside the spool's reader, which takes all of them later.

Nothing is acknowledged and nothing is kept: who looks sees each record once, and what is missed here comes with the reader's batches.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from eastwall.model.record import CallRecord
from eastwall.stores.spool import MAGIC, MAX_FRAME, frames

MOST = 4 << 20
"""Bytes of one segment that one look reads; the rest is there at the next."""


class FlaggedAhead:
    """One reader's places in the segments of all engines. Not thread-safe."""

    def __init__(self, directory: Path) -> None:
        """What is in the spool now is left to the reader."""
        self._directory = directory
        self._decode = msgspec.msgpack.Decoder(CallRecord).decode
        self._places = self._sizes()

    def look(self) -> list[CallRecord]:
        """Records written since the last look, of calls with a finding or that were not let pass. Raises OSError."""
        sizes = self._sizes()
        self._places = {segment: place for segment, place in self._places.items() if segment in sizes}
        found: list[CallRecord] = []
        for segment, size in sizes.items():
            place = self._places.get(segment, len(MAGIC))
            if size > place:
                self._places[segment] = self._read(segment, place, found)
        return found

    def _sizes(self) -> dict[str, int]:
        sizes = {}
        for path in self._directory.glob("*/*.seg"):
            with contextlib.suppress(FileNotFoundError):  # read, stored and deleted meanwhile
                sizes[str(path)] = path.stat().st_size
        return sizes

    def _read(self, segment: str, place: int, found: list[CallRecord]) -> int:
        """The place after the last whole frame."""
        try:
            fd = os.open(segment, os.O_RDONLY)
        except FileNotFoundError:
            return place
        try:
            data = os.pread(fd, max(MOST, MAX_FRAME), place)
        finally:
            os.close(fd)
        used = 0
        for payload, end in frames(data):
            used = end
            if payload is not None:
                with contextlib.suppress(msgspec.DecodeError):  # the reader counts it
                    record = self._decode(payload)
                    if record.findings or record.action != "allow":
                        found.append(record)
        # A header that leads nowhere: the rest of the segment is the reader's.
        return place + (used if used or len(data) < MAX_FRAME else len(data))
