"""Shared state of the engines of one machine, without a server: each engine writes a ring file of its own, the others read along.

    DIRECTORY/<engine>.ring    header (64 bytes), then `size` bytes that are written round and round

    header   magic `EWRING1\\n`, size, tail, head: unsigned 64-bit little-endian. `head` counts all bytes ever written, `tail` is where the
             oldest whole frame begins; a byte at position p stands at p % size
    frame    length of the payload (u32), CRC-32 of it (u32), payload: length of the topic (u8), topic, data

One writer per file. It moves `tail` past what it is about to overwrite, writes the frame, then moves `head`: a writer that is killed in
mid-write leaves a frame that no `head` ever covered, and goes on there when it is started again. A reader that finds its place behind
`tail`, before or after copying a frame, has been overtaken: it goes on at `tail` and counts what it missed. A frame whose checksum does not
hold is asked for again (the writes of another core may arrive in any order), then passed over and counted.

Space is reserved when the file is made: a full disk is found then, and not by a write to the mapping.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import struct
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

from eastwall.ports.shared_state import MAX_ENTRY, MAX_TOPIC, Entry, Health

MAGIC = b"EWRING1\n"
HEADER = 64
SIZE = 8 << 20
"""Bytes of one engine's ring."""
MAX_RINGS = 64
"""Rings that are read; there are as many engines at most."""
MAX_HEARD = 20_000
"""Entries of one `hear`; the rest comes with the next."""
TRIES = 50
"""How often a frame that does not verify is asked for before it is passed over."""
AGAIN = 1.0
"""Seconds between two tries of what could not be made or read."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FRAME = struct.Struct("<II")
_SIZE, _TAIL, _HEAD = 1, 2, 3
"""Places in the header, in words of 8 bytes."""


class RingError(OSError):
    """A ring cannot be made or read. One line: what, and why."""


class _Ring:
    """One mapped file."""

    def __init__(self, path: Path, *, write: bool) -> None:
        """Raises `RingError` when it is no ring."""
        descriptor = os.open(path, os.O_RDWR if write else os.O_RDONLY)
        try:
            status = os.fstat(descriptor)
            self.identity = (status.st_dev, status.st_ino)
            if status.st_size <= HEADER:
                raise RingError(f"`{path}` is no ring: it has {status.st_size} bytes")
            self.map = mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        self.words = memoryview(self.map).cast("Q")[:8] if not status.st_size % 8 else memoryview(b"").cast("Q")
        self.size = status.st_size - HEADER
        if self.map[: len(MAGIC)] != MAGIC or not self.words or self.words[_SIZE] != self.size:
            self.close()
            raise RingError(f"`{path}` is no ring of this version")
        self.place = 0
        """Where this reader stands: what it missed before it came counts as lost."""
        self.until = -1
        """Where it stops for good; -1: nowhere."""
        self.tries = 0

    def close(self) -> None:
        self.words.release()
        with contextlib.suppress(BufferError):
            self.map.close()

    def copy(self, place: int, length: int) -> bytes:
        at = HEADER + place % self.size
        end = at + length
        if end <= HEADER + self.size:
            return self.map[at:end]
        return self.map[at : HEADER + self.size] + self.map[HEADER : end - self.size]

    def put(self, place: int, data: bytes) -> None:
        at = HEADER + place % self.size
        room = HEADER + self.size - at
        self.map[at : at + min(room, len(data))] = data[:room]
        if room < len(data):
            self.map[HEADER : HEADER + len(data) - room] = data[room:]

    def append(self, frame: bytes) -> None:
        words = self.words
        head, tail = words[_HEAD], words[_TAIL]
        while head + len(frame) - tail > self.size:
            length, _ = _FRAME.unpack(self.copy(tail, _FRAME.size))
            tail += _FRAME.size + length
            if tail > head:  # what stands there is no frame: begin anew
                tail = head
        words[_TAIL] = tail
        self.put(head, frame)
        words[_HEAD] = head + len(frame)


def make(path: Path, size: int) -> None:
    """Make an empty ring file. Raises `OSError`."""
    fresh = path.with_suffix(".new")
    try:
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, HEADER + size)
            os.pwrite(descriptor, MAGIC + struct.pack("<Q", size), 0)
        finally:
            os.close(descriptor)
        os.replace(fresh, path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise


class SharedRings:
    """Implements `ports.SharedState` for engines on one machine."""

    def __init__(self, directory: Path, name: str, *, size: int = SIZE) -> None:
        """Never raises for the disk's sake: where no ring can be made, nobody is told anything, and `health` says why. `ValueError` for a
        name that is none, or a size that is no multiple of 8 that holds an entry."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"`{name[:80]}` is no name of an engine")
        if size % 8 or size < 1024:
            raise ValueError(f"a ring of {size} bytes")
        self.at_once = sys.byteorder == "little"
        self._directory, self._name, self._size = directory, name, size
        self._limit = min(MAX_ENTRY, size // 4)
        self._rings: dict[str, _Ring] = {}
        self._own: _Ring | None = None
        self._watched: list[tuple[memoryview, _Ring]] = []
        self._stamp = -1
        self._told = self._heard = self._lost = self._damaged = self._dropped = 0
        self._faults: dict[str, str] = {}
        """What does not work right now: by the file's name, or empty for the place and the ring of our own."""
        self._again = 0.0
        """When it is tried again, monotonic seconds."""
        self._open_own()

    def _open_own(self) -> None:
        """Our own ring, made where there is none; until that succeeds nobody is told anything."""
        path = self._directory / f"{self._name}.ring"
        try:
            if sys.byteorder != "little":
                raise RingError("rings are read on little-endian machines only")
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                own = _Ring(path, write=True)
                if own.words[_HEAD] < own.words[_TAIL] or own.words[_HEAD] - own.words[_TAIL] > own.size:
                    own.close()
                    raise RingError(f"`{path}` is no ring")
            except (RingError, FileNotFoundError):
                make(path, self._size)
                own = _Ring(path, write=True)
            mine = _Ring(path, write=False)
        except OSError as fault:
            self._faults[""] = f"`{self._directory}`: {fault.strerror or fault}"
            self._again = time.monotonic() + AGAIN
            return
        self._faults.pop("", None)
        self._own = own
        mine.until = own.words[_HEAD]  # what an earlier process of this name told, and nothing of our own
        self._rings[path.name] = mine

    def tell(self, entries: Sequence[Entry]) -> None:
        own = self._own
        for entry in entries:
            topic = entry.topic.encode()
            if own is None or len(topic) > MAX_TOPIC or len(entry.data) > self._limit:
                self._dropped += 1
                continue
            payload = bytes((len(topic),)) + topic + entry.data
            own.append(_FRAME.pack(len(payload), zlib.crc32(payload)) + payload)
            self._told += 1

    def waiting(self) -> bool:
        for words, ring in self._watched:  # noqa: SIM110 - asked before each call; a generator costs three times as much
            if words[_HEAD] != ring.place:
                return True
        return False

    def hear(self) -> Sequence[Entry]:
        self._look()
        found: list[Entry] = []
        for ring in self._rings.values():
            self._read(ring, found)
        self._heard += len(found)
        return found

    def health(self) -> Health:
        return Health(
            peers=sum(name != f"{self._name}.ring" for name in self._rings),
            told=self._told,
            heard=self._heard,
            lost=self._lost,
            damaged=self._damaged,
            dropped=self._dropped,
            fault=next(iter(self._faults.values()), ""),
        )

    def close(self) -> None:
        for ring in [*self._rings.values(), *([self._own] if self._own is not None else [])]:
            ring.close()
        self._rings.clear()
        self._watched.clear()
        self._own = None

    def _look(self) -> None:
        """Take up rings that are new, or were made anew; what did not work is tried again, and is a fault as long as it does not."""
        again = bool(self._faults) and time.monotonic() >= self._again
        if again and self._own is None:
            self._open_own()
        try:
            stamp = os.stat(self._directory).st_mtime_ns
            if stamp == self._stamp and not again:
                return
            names = sorted(entry.name for entry in os.scandir(self._directory) if entry.name.endswith(".ring"))
        except OSError as fault:
            self._faults[""] = f"`{self._directory}`: {fault.strerror or fault}"
            self._again = time.monotonic() + AGAIN
            return
        self._stamp = stamp
        self._faults = {"": self._faults[""]} if self._own is None and "" in self._faults else {}
        for name in names[:MAX_RINGS]:
            known = self._rings.get(name)
            try:
                status = os.stat(self._directory / name)
                if name == f"{self._name}.ring" or (known is not None and known.identity == (status.st_dev, status.st_ino)):
                    continue
                ring = _Ring(self._directory / name, write=False)
            except FileNotFoundError:
                continue  # taken away since its name was read
            except OSError as fault:
                self._faults[name] = str(fault) if isinstance(fault, RingError) else f"`{name}`: {fault.strerror}"
                continue
            if known is not None:
                known.close()
            self._rings[name] = ring
        if self._faults:
            self._again = time.monotonic() + AGAIN
        self._watch()

    def _watch(self) -> None:
        self._watched = [(ring.words, ring) for ring in self._rings.values() if ring.until < 0]

    def _read(self, ring: _Ring, found: list[Entry]) -> None:
        """Append what a ring has that was not read."""
        words = ring.words
        while len(found) < MAX_HEARD:
            head, tail = words[_HEAD], words[_TAIL]
            if ring.until >= 0:
                head = min(head, ring.until)
                if ring.place >= head:
                    return
            if ring.place < tail or ring.place > head:
                self._lost += max(1, tail - ring.place)
                ring.place = tail
            if ring.place >= head:
                return
            length, checksum = _FRAME.unpack(ring.copy(ring.place, _FRAME.size))
            whole = length <= MAX_ENTRY + MAX_TOPIC + 1 and ring.place + _FRAME.size + length <= head
            payload = ring.copy(ring.place + _FRAME.size, length) if whole else b""
            if ring.place < words[_TAIL]:
                continue  # overtaken while it was copied
            if not whole or zlib.crc32(payload) != checksum or not payload or payload[0] >= len(payload):
                ring.tries += 1
                if ring.tries < TRIES:
                    return
                self._damaged += 1
                ring.place = ring.place + _FRAME.size + length if whole else head
                ring.tries = 0
                continue
            ring.tries = 0
            ring.place += _FRAME.size + length
            topic, data = payload[1 : 1 + payload[0]], payload[1 + payload[0] :]
            found.append(Entry(topic.decode("utf-8", "replace"), data))
