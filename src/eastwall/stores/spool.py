"""Records from engines to control through files: the spool is the bus.

    DIRECTORY/<engine>/<time_ns>-<pid>.seg     segments, at most 8 MiB and a record each, written by one engine process
    DIRECTORY/<engine>/lost                    records this engine had to drop (disk full), as text
    DIRECTORY/reader.json                      what was acknowledged, and the batch that is out now (its "intent")

A segment is the magic `EWSPOOL1`, then frames: length (u32), CRC-32 of the payload (u32), payload (MessagePack `CallRecord`).

What is guaranteed
- Death of an engine (kill -9) loses nothing that was flushed: the bytes are in the operating system's cache by then.
- Loss of power loses at most the last 200 ms: a thread calls `fdatasync` that often (which releases the GIL).
- Death of control anywhere loses nothing and stores once: a batch's ranges are on disk (fsynced) before it is handed out, so
  the same ranges come again under the same token until they are acknowledged, and the lake drops a token it has.
- A full disk never raises into an engine: frames stay in a bounded buffer, and are counted in `lost` when that is full.

A writer holds an exclusive `flock` on the segment it writes; a reader that gets the lock knows that nobody will write any more,
and only then gives up a torn tail and deletes the file. The name appears by rename after the lock is held, so that no reader
sees it unlocked before.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from eastwall.model.record import CallRecord
from eastwall.ports.spool import Batch

MAGIC = b"EWSPOOL1"
SEGMENT_BYTES = 8 << 20
"""A writer goes on to the next segment when one has got this long."""
BUFFER_BYTES = 16 << 20
"""Frames kept in memory while the disk takes none; more are dropped and counted."""
SPOOL_BYTES = 4 << 30
"""Unread bytes of one engine on disk; with more, control has been away for too long, and new records are dropped and counted."""
SYNC_SECONDS = 0.2
MAX_FRAME = 16 << 20
"""A longer length in a frame header is a corrupt header."""
_HEADER = struct.Struct("<II")
_EMPTY_HEADER = bytes(_HEADER.size)


class SpoolWriter:
    """Engine side; one per engine process. `append` and `flush` belong to one thread."""

    def __init__(
        self, directory: Path, engine: str, *, segment_bytes: int = SEGMENT_BYTES, buffer_bytes: int = BUFFER_BYTES
    ) -> None:
        if not engine or "/" in engine or engine.startswith("."):
            raise ValueError(f"`{engine}` cannot name an engine: it becomes a folder's name")
        self.directory = directory / engine
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._segment_bytes = segment_bytes
        self._buffer_bytes = buffer_bytes
        self._buffer = bytearray()
        self._encode_into = msgspec.msgpack.Encoder().encode_into
        self._fd = -1
        self._written = 0
        self._full = False
        self._last_name = 0
        self._lost = 0
        self._lost_written = 0
        self._fault = ""
        self._dirty = False
        self._lock = threading.Lock()
        """Guards `_fd` against being closed while the sync thread uses it."""
        self._retired: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sync_loop, name=f"spool-sync-{engine}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Records dropped because the disk took none and the buffer was full."""
        return self._lost

    @property
    def fault(self) -> str:
        """Why the last flush could not write everything; empty when it did."""
        return self._fault

    @property
    def buffered(self) -> int:
        """Bytes not yet handed to the operating system."""
        return len(self._buffer)

    def append(self, record: CallRecord) -> None:
        """Buffer a record. Never raises for a full disk: see `lost`."""
        buffer = self._buffer
        start = len(buffer)
        if start > self._buffer_bytes:
            self._lost += 1
            return
        buffer += _EMPTY_HEADER
        self._encode_into(record, buffer, -1)
        view = memoryview(buffer)[start + 8 :]
        _HEADER.pack_into(buffer, start, len(view), zlib.crc32(view))
        view.release()

    def flush(self) -> None:
        """Hand the buffered records to the operating system with one write. What it does not take stays buffered."""
        buffer = self._buffer
        if not buffer:
            return
        try:
            if self._fd < 0 or (self._written >= self._segment_bytes and self._at_frame_start):
                self._next_segment()
            written = os.write(self._fd, buffer)
        except OSError as error:
            self._fault = f"cannot write the spool in `{self.directory}`: {error.strerror}"
            return
        self._written += written
        self._dirty = True
        if written == len(buffer):
            buffer.clear()
            self._at_frame_start = True
            self._fault = ""
        else:
            # The rest of a cut frame must follow in the same segment: a reader takes the two parts as one.
            del buffer[:written]
            self._at_frame_start = False
            self._fault = f"cannot write the spool in `{self.directory}`: short write"

    def close(self) -> None:
        """Flush, fsync, close."""
        self.flush()
        self._stop.set()
        self._thread.join()
        self._sync()
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    _at_frame_start = True
    """Whether the file ends with a whole frame."""

    def _next_segment(self) -> None:
        """Open a new segment under its lock. Raises `OSError`, and then the old one stays in use."""
        if sum(entry.stat().st_size for entry in os.scandir(self.directory) if entry.name.endswith(".seg")) > SPOOL_BYTES:
            raise OSError(0, f"{SPOOL_BYTES >> 30} GiB wait unread (is control running?)")
        self._last_name = max(time.time_ns(), self._last_name + 1)
        name = f"{self._last_name:020d}-{os.getpid()}"
        fresh = self.directory / f"{name}.new"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.write(fd, MAGIC) != len(MAGIC):
                raise OSError(28, "no space left on device")
            os.rename(fresh, self.directory / f"{name}.seg")
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(fresh)
            raise
        with self._lock:
            if self._fd >= 0:
                self._retired.append(self._fd)
            self._fd = fd
        self._written = len(MAGIC)

    def _sync_loop(self) -> None:
        while not self._stop.wait(SYNC_SECONDS):
            self._sync()

    def _sync(self) -> None:
        with self._lock:
            retired, self._retired = self._retired, []
            dirty, self._dirty = self._dirty, False
            fd = os.dup(self._fd) if dirty and self._fd >= 0 else -1
        for old in retired:
            with contextlib.suppress(OSError):
                os.fdatasync(old)
            os.close(old)
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.fdatasync(fd)
            os.close(fd)
        if retired or dirty:
            _sync_directory(self.directory)
        if self._lost != self._lost_written:
            lost = self._lost
            with contextlib.suppress(OSError):
                (self.directory / "lost").write_text(str(lost))
                self._lost_written = lost


class SpoolBatch(msgspec.Struct):
    """Ranges of segments that left the spool together."""

    token: str
    """SHA-256 of the ranges, 32 hex digits."""
    records: Sequence[CallRecord]
    ranges: tuple[tuple[str, int, int], ...]
    """(segment as `engine/name`, first byte, byte after the last)."""
    encoded: Sequence[bytes] = ()
    """The records in MessagePack, as they were written."""


class _State(msgspec.Struct):
    """`reader.json`."""

    offsets: dict[str, int] = msgspec.field(default_factory=dict)
    """Segment -> bytes acknowledged."""
    intent: list[tuple[str, int, int]] = msgspec.field(default_factory=list)
    """Ranges of the batch that is out."""
    corrupt_bytes: int = 0
    """Bytes given up because they did not verify, ever."""
    undecodable: int = 0
    """Frames that verified, but held no record this version can read, ever."""


class SpoolReader:
    """Control side: reads the segments of all engines. Exactly one; not thread-safe except `pending`, `find` and the counters."""

    def __init__(self, directory: Path, *, batch_bytes: int = 32 << 20) -> None:
        self.directory = directory
        self._batch_bytes = batch_bytes
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._state_file = directory / "reader.json"
        self._decode = msgspec.msgpack.Decoder(CallRecord).decode
        self._out: SpoolBatch | None = None
        self._one_reader = os.open(directory / "reader.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._one_reader, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._one_reader)
            raise SpoolBusyError(f"another control process reads the spool in `{directory}`") from None
        try:
            self._state = msgspec.json.decode(self._state_file.read_bytes(), type=_State)
        except FileNotFoundError:
            self._state = _State()
        except msgspec.DecodeError as error:
            raise SpoolCorruptError(
                f"`{self._state_file}` does not read ({error}); without it records may be stored twice: delete it to go on"
            ) from None
        for path in directory.glob("*/*.new"):
            # A writer died between creating and naming a segment. A minute: another one may be at it right now.
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > 60:
                    path.unlink()

    def close(self) -> None:
        """Let another reader in."""
        os.close(self._one_reader)

    @property
    def corrupt_bytes(self) -> int:
        return self._state.corrupt_bytes

    @property
    def undecodable(self) -> int:
        return self._state.undecodable

    def lost(self) -> int:
        """Records that engines say they dropped, all engines, as far as their folders still tell."""
        total = 0
        for path in self.directory.glob("*/lost"):
            with contextlib.suppress(OSError, ValueError):
                total += int(path.read_text())
        return total

    def read(self, limit: int) -> SpoolBatch | None:
        """The next batch of at most `limit` records (a batch that was out at a crash keeps the size it had), or None."""
        if self._out is not None:
            return self._out
        if self._state.intent:
            self._out = self._again(self._state.intent)
            return self._out
        ranges: list[tuple[str, int, int]] = []
        records: list[CallRecord] = []
        encoded: list[bytes] = []
        budget = self._batch_bytes
        for segment in self._segments():
            if len(records) >= limit or budget <= 0:
                break
            start = self._state.offsets.get(segment, 0)
            found, payloads, end = self._scan(segment, start, limit - len(records), budget)
            if end > start:
                ranges.append((segment, start, end))
                records += found
                encoded += payloads
                budget -= end - start
        if not ranges:
            # Segments that were still open when their last record was acknowledged may be closed by now; a writer that refuses
            # because too much waits looks at these files.
            self._delete_read()
            return None
        self._state.intent = ranges
        self._save()
        self._out = SpoolBatch(_token(ranges), tuple(records), tuple(ranges), tuple(encoded))
        return self._out

    def acknowledge(self, batch: Batch) -> None:
        """The batch is safe elsewhere; segments that are wholly read and closed are deleted."""
        if self._out is None or batch.token != self._out.token:
            raise ValueError(f"batch `{batch.token}` is not the one that is out")
        for segment, _, end in self._out.ranges:
            self._state.offsets[segment] = end
        self._state.intent = []
        self._out = None
        self._save()
        self._delete_read()

    def pending(self) -> int:
        """Bytes that are not acknowledged yet."""
        total = 0
        offsets = dict(self._state.offsets)
        for path in self.directory.glob("*/*.seg"):
            with contextlib.suppress(OSError):
                total += max(0, path.stat().st_size - max(offsets.get(f"{path.parent.name}/{path.name}", 0), len(MAGIC)))
        return total

    def find(self, event_id: str, *, most_bytes: int = 64 << 20) -> CallRecord | None:
        """A record that is not acknowledged yet, by its event id; looks through `most_bytes` at most."""
        needle = event_id.encode()
        offsets = dict(self._state.offsets)
        for segment in self._segments():
            start = max(offsets.get(segment, 0), len(MAGIC))
            data = self._bytes(segment, start, most_bytes)
            most_bytes -= len(data)
            if needle in data:
                for payload, _ in frames(data):
                    if payload is not None and needle in payload:
                        with contextlib.suppress(msgspec.DecodeError):
                            record = self._decode(payload)
                            if record.id == event_id:
                                return record
            if most_bytes <= 0:
                break
        return None

    def _segments(self) -> list[str]:
        """`engine/name`, oldest first."""
        found = [(path.name, path.parent.name) for path in self.directory.glob("*/*.seg")]
        return [f"{engine}/{name}" for name, engine in sorted(found)]

    def _bytes(self, segment: str, start: int, length: int) -> bytes:
        try:
            with open(self.directory / segment, "rb") as file:
                file.seek(start)
                return file.read(length)
        except FileNotFoundError:
            return b""

    def _scan(self, segment: str, start: int, limit: int, budget: int) -> tuple[list[CallRecord], list[bytes], int]:
        """Records from `start`, as they were written, and the offset after the last of them (or after bytes that are given up)."""
        # Order: "closed" is asked before the bytes are read; else a writer could end in between, and the cut frame that we read
        # before its rest came would be taken for a torn tail.
        closed = self._closed(segment)
        offset = start
        if start == 0:
            magic = self._bytes(segment, 0, len(MAGIC))
            if magic != MAGIC:
                if closed:
                    return [], [], self._give_up(segment, 0)
                return [], [], 0
            offset = len(MAGIC)
        data = self._bytes(segment, offset, max(budget, MAX_FRAME + _HEADER.size))
        records: list[CallRecord] = []
        encoded: list[bytes] = []
        used = 0
        for payload, end in frames(data):
            if payload is None:
                self._state.corrupt_bytes += end - used
            else:
                try:
                    records.append(self._decode(payload))
                    encoded.append(payload)
                except msgspec.DecodeError:
                    self._state.undecodable += 1
            used = end
            if len(records) >= limit or used >= budget:
                return records, encoded, offset + used
        if used < len(data) and closed and offset + len(data) >= self._size(segment):
            return records, encoded, self._give_up(segment, offset + used)
        return records, encoded, start if used == 0 else offset + used

    def _give_up(self, segment: str, offset: int) -> int:
        """The rest of a closed segment does not verify: count it and step over it."""
        size = self._size(segment)
        self._state.corrupt_bytes += size - offset
        return size

    def _again(self, ranges: Sequence[tuple[str, int, int]]) -> SpoolBatch:
        """The very batch that was out when control died: same ranges, records and token. Counters were saved with the intent."""
        records: list[CallRecord] = []
        encoded: list[bytes] = []
        for segment, start, end in ranges:
            data = self._bytes(segment, max(start, len(MAGIC)), end - max(start, len(MAGIC)))
            for payload, _ in frames(data):
                if payload is not None:
                    with contextlib.suppress(msgspec.DecodeError):
                        records.append(self._decode(payload))
                        encoded.append(payload)
        return SpoolBatch(_token(ranges), tuple(records), tuple(ranges), tuple(encoded))

    def _closed(self, segment: str) -> bool:
        """Whether no writer holds the segment any more."""
        try:
            fd = os.open(self.directory / segment, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    def _size(self, segment: str) -> int:
        try:
            return os.stat(self.directory / segment).st_size
        except FileNotFoundError:
            return 0

    def _delete_read(self) -> None:
        """Remove what is wholly read and has no writer, and forget the offsets of what is gone (names never come again)."""
        present = set()
        for segment in self._segments():
            if self._closed(segment) and max(self._state.offsets.get(segment, 0), len(MAGIC)) >= self._size(segment):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.directory / segment)
            else:
                present.add(segment)
        self._state.offsets = {segment: offset for segment, offset in self._state.offsets.items() if segment in present}

    def _save(self) -> None:
        fresh = self._state_file.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, msgspec.json.encode(self._state))
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(fresh, self._state_file)
        _sync_directory(self.directory)


class SpoolBusyError(RuntimeError):
    """Another process reads this spool."""


class SpoolCorruptError(ValueError):
    """The reader's own state does not read."""


def frames(data: bytes) -> Iterator[tuple[bytes | None, int]]:
    """(payload, end) of every whole frame; (None, end) for a damaged one that leads to a good frame. Stops at a torn tail."""
    view = memoryview(data)
    position = 0
    size = len(data)
    while position + 8 <= size:
        length, checksum = _HEADER.unpack_from(data, position)
        end = position + 8 + length
        if 0 < length <= MAX_FRAME and end <= size:
            payload = view[position + 8 : end]
            if zlib.crc32(payload) == checksum:
                yield bytes(payload), end
                position = end
                continue
            # The length still leads to a good frame: only the payload is damaged.
            if _good_frame(data, end):
                yield None, end
                position = end
                continue
        return


def _good_frame(data: bytes, position: int) -> bool:
    if position + 8 > len(data):
        return False
    length, checksum = _HEADER.unpack_from(data, position)
    end = position + 8 + length
    return bool(0 < length <= MAX_FRAME and end <= len(data)) and zlib.crc32(memoryview(data)[position + 8 : end]) == checksum


def _token(ranges: Sequence[tuple[str, int, int]]) -> str:
    return hashlib.sha256(json.dumps(ranges).encode()).hexdigest()[:32]


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
