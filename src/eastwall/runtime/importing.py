"""Recorded calls through the live engine: the same `decide`, the same records, marked with where they come from.

Nothing is blocked or changed: policies are not evaluated, every service is in `discover`. Records go to the spool under a name of their
own, so that a running control takes them as it takes those of its engines.
"""

from __future__ import annotations

import binascii
import gc
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from eastwall.model.call import BodyState, Call, Completion, Mode, Peer, Request, Response
from eastwall.model.event_id import event_id
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import Snapshot
from eastwall.ports.snapshots import SnapshotStore
from eastwall.ports.spool import RecordWriter
from eastwall.runtime import automata_file
from eastwall.runtime.engine import Engine
from eastwall.runtime.layout import DataDir
from eastwall.sources.observed import ObservedCall, Skipped, shown
from eastwall.stores.snapshots import FileSnapshotStore
from eastwall.stores.spool import SpoolWriter

MAX_SERVICES = 500
"""Services of one import; calls of further ones are left out and counted (the learner keeps 1,000)."""
OLDEST = 946_684_800.0
"""2000-01-01. Older times, and those more than a day ahead, are a recorder's fault: the time of the import stands in their place."""
TICK = 64
"""Calls between two looks at the clock."""
WAIT_BYTES = 4 << 20
"""Records in memory from which on an import waits for the disk, instead of losing any."""
WAIT_SECONDS = 60.0


YOUNG = 500_000
"""Objects made between two searches for reference cycles: more than the records of one batch are, so that these are gone by then."""


def search_cycles_seldom() -> None:
    """Calls and records make no reference cycles: looking for some each 700 objects takes a tenth of the time. For the whole process."""
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 50)


class SpoolFullError(OSError):
    """The records cannot be written; the message says why."""


class _Stamp(RecordWriter):
    """Adds to each record what only the recording knows."""

    def __init__(self, spool: RecordWriter) -> None:
        self._spool = spool
        self.call = ObservedCall("GET", "/")
        """The call that the next record is of."""

    def append(self, record: CallRecord) -> None:
        # In place, which costs a tenth of a copy: nobody else has seen the record yet.
        call = self.call
        force_setattr(record, "origin", call.origin or "import")
        if call.egress:
            force_setattr(record, "egress", True)
        if call.route:
            force_setattr(record, "route", call.route)
        if call.caller:
            force_setattr(record, "caller", call.caller)
        if call.trace or call.span or call.parent:
            force_setattr(record, "trace", call.trace or record.trace)
            force_setattr(record, "span", call.span or record.span)
            force_setattr(record, "parent", call.parent or record.parent)
        self._spool.append(record)

    def flush(self) -> None:
        self._spool.flush()

    def close(self) -> None:
        self._spool.close()

    @property
    def lost(self) -> int:
        return int(getattr(self._spool, "lost", 0))


class _Gathered(RecordWriter):
    """Keeps records in memory for who stores them in this very process; those that nobody takes go to the spool."""

    def __init__(self, spool: SpoolWriter) -> None:
        self._spool = spool
        self.records: list[CallRecord] = []

    def append(self, record: CallRecord) -> None:
        self.records.append(record)

    def take(self) -> list[CallRecord]:
        taken = self.records[:]
        self.records.clear()
        return taken

    def flush(self) -> None:
        """They are written only when nobody takes them: see `Importer.close`."""

    def close(self) -> None:
        self._spool.close()


class _Discovering(SnapshotStore):
    """Snapshots as engines get them, with no policy and every service in `discover`."""

    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self.hosts: dict[str, str] = {}
        """Host -> service, as the services' scopes say."""

    def publish(self, snapshot: Snapshot) -> None:
        raise NotImplementedError("an import publishes nothing")

    def load(self) -> Snapshot | None:
        return self._harmless(self._store.load())

    def load_previous(self) -> Snapshot | None:
        return self._harmless(self._store.load_previous())

    def changed(self) -> bool:
        return self._store.changed()

    def _harmless(self, snapshot: Snapshot | None) -> Snapshot | None:
        if snapshot is None:
            return None
        self.hosts = {host.lower(): scope.name for scope in snapshot.services for host in scope.hosts}
        services = tuple(replace(scope, mode=Mode.DISCOVER) for scope in snapshot.services)
        return replace(snapshot, services=services, policy=b"")


class Imported(Struct):
    """What an import has taken in so far."""

    calls: int = 0
    services: Counter[str] = Counter()
    origins: Counter[str] = Counter()
    first: float = 0.0
    """Time of the earliest call, Unix seconds; 0 when there is none."""
    last: float = 0.0


class Importer:
    """Takes calls one by one. Not thread-safe."""

    def __init__(
        self,
        data: DataDir,
        name: str,
        *,
        service: str = "",
        beat: Path | None = None,
        wait: bool = True,
        gather: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`gather`: records are kept for `gathered`, and do not go to the spool. `name` is the spool's folder. `service` stands in place of what the calls say. `wait`: rather wait for the disk than lose
        records; without it the caller has to look at `waiting`."""
        self.skipped = Skipped()
        self.taken = Imported(services=Counter(), origins=Counter())
        self._service = service
        self._clock = clock
        self._wait_for_disk = wait
        self._spool = SpoolWriter(data.spool, name)
        self._gathered = _Gathered(self._spool) if gather else None
        self._stamp = _Stamp(self._gathered or self._spool)
        self._store = _Discovering(FileSnapshotStore(data.snapshots))
        known = automata_file.known(data.run / "automata")
        self.engine = Engine(name, self._store, self._stamp, beat=beat, clock=clock, automata=known, ready=False)
        self._now = clock()

    @property
    def directory(self) -> Path:
        """Where the records of this import wait to be stored."""
        return self._spool.directory

    def gathered(self) -> list[CallRecord]:
        """The records since the last time; always empty without `gather`."""
        return self._gathered.take() if self._gathered is not None else []

    def spill(self, records: Sequence[CallRecord]) -> None:
        """Records that could not be stored, into the spool: whoever reads it next stores them. Raises SpoolFullError."""
        for record in records:
            self._spool.append(record)
        self.flush()

    def add(self, observed: ObservedCall) -> None:
        """Judge and record. Raises SpoolFullError when the records can be written no more."""
        taken = self.taken
        service = self._service or self._store.hosts.get(observed.service, observed.service)
        if service not in taken.services and len(taken.services) >= MAX_SERVICES:
            self.skipped.add("too-many-services", f"{shown(service)}: more than {MAX_SERVICES}; name one with --service")
            return
        when = observed.time
        if not OLDEST <= when <= self._now + 86_400:
            if when:
                self.skipped.add("time-replaced", f"{when!r} of {observed.method} {shown(observed.url)}")
            when = self._now
        call = _call(observed, service, when)
        self._stamp.call = observed
        engine = self.engine
        engine.request(call)
        status = observed.status or 0
        # Of an answer that a log only counts there is nothing to judge: that no credentials are told says nothing of the service.
        if status and (observed.response_headers or observed.response_body_state is not BodyState.NONE):
            engine.response(
                call.id,
                Response(status, observed.response_headers, observed.response_body, observed.response_body_state),
            )
        request = call.request
        engine.completed(
            Completion(
                call.id,
                service,
                when,
                request.method,
                request.path,
                request.authority,
                status,
                observed.request_bytes,
                observed.response_bytes,
                observed.duration_us,
                observed.peer_address,
            )
        )
        taken.calls += 1
        taken.services[service] += 1
        taken.origins[observed.origin] += 1
        if when < taken.first or not taken.first:
            taken.first = when
        if when > taken.last:
            taken.last = when
        if not taken.calls % TICK:
            self.tick()

    def tick(self) -> None:
        """Write what has gathered, look for a new snapshot, say that we live. Raises SpoolFullError."""
        self._now = self._clock()
        self.engine.tick(self._now)
        if self._wait_for_disk and self.waiting:
            self._wait()

    def reload(self) -> None:
        """Judge by the newest snapshot from the next call on, so that an import is the same however fast it goes."""
        self.engine.load()

    @property
    def waiting(self) -> bool:
        """Whether records gather in memory because the disk takes none."""
        return self._spool.buffered > WAIT_BYTES

    def _wait(self) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while self._spool.buffered:
            self._spool.flush()
            if not self._spool.fault:
                return
            if time.monotonic() > deadline:
                raise SpoolFullError(0, self._spool.fault)
            time.sleep(0.1)

    def flush(self) -> None:
        """Hand everything to the operating system. Raises SpoolFullError."""
        self._spool.flush()
        if self._spool.buffered:
            self._wait()

    def close(self) -> None:
        """Flush, fsync, close. What the disk still does not take is lost and told as SpoolFullError."""
        self.spill(self.gathered())
        try:
            self.flush()
        finally:
            self._spool.close()


def _call(observed: ObservedCall, service: str, when: float) -> Call:
    authority, target = _target(observed.url)
    headers = observed.request_headers
    if observed.user and "authorization" not in headers:
        # The recorder had the caller's name from Basic authentication (RFC 7617); the engine reads it from there.
        name = observed.user.replace(":", "_").encode("utf-8", "replace")[:256]
        headers = {**headers, "authorization": "Basic " + binascii.b2a_base64(name + b":", newline=False).decode()}
    request = Request(
        observed.method,
        target if target.isascii() else quote(target, safe="/?&=%:@!$'()*+,;~-._[]{}|\\^`\"<> #"),
        headers,
        authority or headers.get("host", ""),
        "https" if observed.tls or observed.url[:6].lower() == "https:" else "http",
        observed.request_body,
        observed.request_body_state,
    )
    peer = Peer(observed.peer_address, observed.peer_port, observed.tls, observed.uri_sans)
    return Call(_event_id(when), service, when, peer, request)


class _EventIds:
    """As `model.event_id`, a tenth of its time: calls of a log come many to a millisecond, and of the 80 random bits the last 20 count up
    (monotonic ULIDs, github.com/ulid/spec) until new ones are drawn."""

    def __init__(self) -> None:
        self._milliseconds = -1
        self._time = self._drawn = ""
        self._left: Iterator[str] = iter(())

    def __call__(self, when: float) -> str:
        if int(when * 1000) != self._milliseconds:
            self._milliseconds = int(when * 1000)
            self._time = event_id(when, bytes(10))[:10]
        last = next(self._left, None)
        if last is None:
            self._drawn = event_id(0.0, os.urandom(10))[10:22]
            self._left = map("".join, product(_LETTERS, repeat=4))
            last = next(self._left)
        return self._time + self._drawn + last


_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_event_id = _EventIds()


def _target(url: str) -> tuple[str, str]:
    """Authority without user information, and path with query, of an absolute URL or a path. The fragment never went over the wire."""
    url = url.partition("#")[0]
    if url[:1] == "/":
        return "", url
    rest = url.partition("://")[2]
    at = min((i for i in (rest.find("/"), rest.find("?")) if i >= 0), default=len(rest))
    target = rest[at:]
    return rest[:at].rpartition("@")[2], target if target[:1] == "/" else "/" + target
