"""Calls that Envoy refused by itself (`--native-offload`), from its log of them into the spool: the same records as those of engines, so that
`why`, the console, metrics and playbooks know them.

    RUN/refused.jsonl        written by Envoy, one line a call; moved to refused.old.jsonl and begun anew when it is long
    RUN/refused.place.json   how far it was read

Lines are read as they come, their records flushed to the spool, then the place is noted: killed in between, the few lines that may have been
taken already are looked for before they are taken again. When lines come faster than they can be read for so long that `MOST_BEHIND` waits, what
waits is passed over, and said: these calls are counted by Envoy alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from eastwall.dataplanes.envoy import native
from eastwall.dataplanes.envoy.process import EnvoyError, EnvoyProcess
from eastwall.dataplanes.envoy.proxy import Proxy
from eastwall.model.call import Mode
from eastwall.model.decision import PolicyMatch
from eastwall.model.event_id import named
from eastwall.model.native import NativeRefusal
from eastwall.model.record import RECORD_VERSION, CallRecord
from eastwall.stores.spool import SpoolWriter

log = logging.getLogger("eastwall.control")

ENGINE = "envoy"
"""Who decided, as records name it; also the folder in the spool."""
POLL = 0.1
READ = 4 << 20
"""Bytes of one look."""
LONG = 64 << 20
"""Bytes after which the log is begun anew."""
MOST_BEHIND = 1 << 30
SETTLED = 1.0
"""Seconds without a line after which a log that was moved away is taken to be whole: Envoy has gone over to the new one."""
MAX_DOUBTFUL = 500
"""Lines after a start that are looked for before they are taken."""


class _Place(Struct, frozen=True):
    inode: int = 0
    offset: int = 0
    time: float = 0.0


class Refusals:
    """One per control, with a thread of its own."""

    def __init__(self, proxy: Proxy, spool: Path, faults: dict[str, str], known: Callable[[str], bool]) -> None:
        """`faults`: where to say what does not work. `known`: whether a call with this event id was recorded."""
        self._proxy, self._faults, self._known = proxy, faults, known
        self._path = proxy.run_dir / native.LOG
        self._old = self._path.with_suffix(".old.jsonl")
        self._place_file = self._path.with_suffix(".place.json")
        self._spool = SpoolWriter(spool, ENGINE)
        self._place = self._read_place()
        self._doubtful = MAX_DOUBTFUL if self._place.time else 0
        self._doubtful_until = self._place.time + 1.0
        self._fd = -1
        self._grew = 0.0
        self.unread = 0
        """Lines that could not be read."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="refusals", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take what is there, end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._spool.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _loop(self) -> None:
        while True:
            stopping = self._stop.is_set()
            try:
                more = self.look()
                if self.unread:
                    self._tell(
                        f"{self.unread:,} lines of Envoy's log of refused calls could not be read: these calls have no record"
                    )
                else:
                    self._faults.pop("refused calls", None)
            except (OSError, EnvoyError) as error:
                more = False
                self._tell(f"the log of calls that Envoy refuses cannot be read: {error}")
            except Exception as error:
                more = False
                log.exception("reading Envoy's log of refused calls failed")
                self._tell(f"{type(error).__name__}: {error}")
            if not more:
                if stopping:
                    return
                self._stop.wait(POLL)

    def _tell(self, fault: str) -> None:
        if self._faults.get("refused calls") != fault:
            log.error("%s", fault)
        self._faults["refused calls"] = fault

    def look(self) -> bool:
        """Take the lines that have come; whether there may be more at once. Raises OSError, EnvoyError."""
        if self._spool.buffered:
            self._spool.flush()
            if self._spool.buffered:
                raise OSError(28, self._spool.fault)
        if self._fd < 0 and not self._open():
            return False
        data = os.pread(self._fd, READ, self._place.offset)
        end = data.rfind(b"\n") + 1
        if not end:
            if len(data) == READ:  # no line is so long
                self._advance(len(data))
            self._turn_over()
            return False
        self._grew = time.monotonic()
        for line in data[: end - 1].split(b"\n"):
            self._take(line)
        self._spool.flush()
        self._advance(end)
        behind = os.fstat(self._fd).st_size - self._place.offset
        if behind > MOST_BEHIND:
            log.error(
                "%d MiB of calls that Envoy refused are passed over: they come faster than they can be recorded", behind >> 20
            )
            self._advance(behind)
        self._turn_over()
        return len(data) == READ

    def _advance(self, by: int) -> None:
        self._place = _Place(os.fstat(self._fd).st_ino, self._place.offset + by, time.time())
        part = self._place_file.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(self._place))
        part.replace(self._place_file)

    def _take(self, line: bytes) -> None:
        try:
            refused = native.refusal(line)
        except ValueError:
            self.unread += 1
            return
        record = record_of(refused)
        if self._doubtful > 0:
            self._doubtful -= 1
            if refused.time <= self._doubtful_until and self._known(record.id):
                return
        self._spool.append(record)

    def _open(self) -> bool:
        """Where reading goes on: in the log that was moved away as long as its end was not read."""
        for path in (self._old, self._path):
            with contextlib.suppress(FileNotFoundError):
                fd = os.open(path, os.O_RDONLY)
                inode = os.fstat(fd).st_ino
                if path == self._old and inode != self._place.inode:
                    os.close(fd)
                    continue
                self._fd = fd
                if inode != self._place.inode or os.fstat(fd).st_size < self._place.offset:
                    self._place = _Place(inode)
                self._grew = time.monotonic()
                return True
        return False

    def _turn_over(self) -> None:
        """Move a long log away, or go on to the new one when the old is whole."""
        status = os.fstat(self._fd)
        try:
            current = os.stat(self._path).st_ino
        except FileNotFoundError:
            current = 0
        if current == status.st_ino:
            if status.st_size > LONG:
                os.replace(self._path, self._old)
                EnvoyProcess(self._proxy).reopen_logs()
        elif current and time.monotonic() - self._grew > SETTLED:
            os.close(self._fd)
            self._fd = -1
            self._old.unlink(missing_ok=True)
            self._place = _Place()

    def _read_place(self) -> _Place:
        try:
            return msgspec.json.decode(self._place_file.read_bytes(), type=_Place)
        except (OSError, msgspec.DecodeError):
            return _Place()


def record_of(refused: NativeRefusal) -> CallRecord:
    """The record of a call of which nobody but Envoy knows. Who called is not in it: no engine looked at the caller's credentials."""
    match = PolicyMatch(
        refused.policy, refused.kind, refused.location, Mode.ENFORCE, "block", refused.reason, "", refused.to_pass
    )  # fmt: skip
    return CallRecord(
        version=RECORD_VERSION,
        id=named(refused.event),
        time=refused.time,
        service=refused.service,
        method=refused.method,
        path=refused.path.partition("?")[0],
        authority=refused.authority,
        status=refused.status,
        request_bytes=refused.request_bytes,
        response_bytes=refused.response_bytes,
        duration_us=refused.duration_ms * 1_000,
        source=refused.source,
        action="block",
        would="block",
        matches=(match,),
        user_agent=refused.user_agent,
        engine=ENGINE,
    )
