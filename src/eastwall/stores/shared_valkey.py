"""Shared state of engines on several machines: one capped stream (XADD, XREAD) on a Valkey server that they all reach.

A thread of its own talks to the server, with `TIMEOUT` for each exchange; `tell` and `hear` only touch memory. When the server is away, slow or
refuses, what was to be told is dropped and counted, and the engine goes by what it sees itself; it tries again after `PAUSES`. A batch
whose fate is unknown is not sent again: a step that is told twice would look like one that was done twice.

Whoever may write to the stream may grant objects: the server is to ask for a password, or be reached by engines alone. The URL is taken from an
environment variable, and neither logged nor told in an error.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from eastwall.ports.shared_state import MAX_ENTRY, MAX_TOPIC, Entry, Health

STREAM = "eastwall:shared"
MAX_STREAM = 20_000
"""Entries that the server keeps, about; an engine that is away for longer misses what went before."""
TIMEOUT = 0.05
"""Seconds for connecting and for one exchange."""
POLL = 0.02
"""Seconds between two exchanges: how late others hear, at most, beside the network's time."""
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds before the 1st, 2nd, ... try in a row."""
WAITING = 4 << 20
"""Bytes that wait to be told, and bytes that wait to be heard, at most."""
BATCH = 1_000
"""Entries of one exchange."""
_SEEN = 60.0
"""Seconds for which an engine that told something counts as a peer."""


class SharedValkey:
    """Implements `ports.SharedState` on a Valkey server."""

    at_once = False

    def __init__(self, url: str, name: str, *, stream: str = STREAM) -> None:
        """Returns at once, whether or not the server is there. Raises `ValueError` for a URL that is none, or without the package `valkey`."""
        try:
            import valkey
        except ImportError:
            raise ValueError("the package `valkey` is not installed, which valkey:// needs; install `eastwall[all]`") from None
        self._errors: tuple[type[Exception], ...] = (valkey.ValkeyError, OSError, UnicodeError)
        try:
            # Any: parts of the library have no types.
            self._client: Any = valkey.Valkey.from_url(
                url,
                socket_timeout=TIMEOUT,
                socket_connect_timeout=TIMEOUT,
                client_name=f"eastwall-{name}",
                protocol=2,
                retry=None,
            )
        except (ValueError, TypeError):
            raise ValueError("the URL of shared state cannot be read; write valkey://[USER:PASSWORD@]HOST[:PORT][/DB]") from None
        self._stream = stream
        self._token = os.urandom(8)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._out: deque[Entry] = deque()
        self._out_bytes = 0
        self._in: deque[Entry] = deque()
        self._in_bytes = 0
        self._last = b"0-0"
        self._peers: dict[bytes, float] = {}
        self._told = self._heard = self._lost = self._damaged = self._dropped = 0
        self._fault = "not connected yet"
        self._thread = threading.Thread(target=self._run, name="shared-state", daemon=True)
        self._thread.start()

    def tell(self, entries: Sequence[Entry]) -> None:
        with self._lock:
            for entry in entries:
                size = len(entry.data)
                if size > MAX_ENTRY or len(entry.topic.encode()) > MAX_TOPIC or self._out_bytes + size > WAITING:
                    self._dropped += 1
                    continue
                self._out.append(entry)
                self._out_bytes += size

    def waiting(self) -> bool:
        return bool(self._in)

    def hear(self) -> Sequence[Entry]:
        if not self._in:
            return ()
        with self._lock:
            found = list(self._in)
            self._in.clear()
            self._in_bytes = 0
        self._heard += len(found)
        return found

    def health(self) -> Health:
        return Health(
            peers=len(self._peers),
            told=self._told,
            heard=self._heard,
            lost=self._lost,
            damaged=self._damaged,
            dropped=self._dropped,
            fault=self._fault,
        )

    def close(self) -> None:
        """Tell what waits, if the server takes it within its time."""
        self._stop.set()
        self._thread.join(4 * TIMEOUT + POLL)

    # -- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while True:
            last = self._stop.is_set()
            try:
                self._send()
                if last:
                    break
                more = self._receive()
                self._fault, failures = "", 0
                pause = 0.0 if more else POLL
            except self._errors as fault:
                self._fault = f"the Valkey server: {_plainly(fault)}"
                pause = PAUSES[min(failures, len(PAUSES) - 1)]
                failures += 1
                if last:
                    break
            self._stop.wait(pause)
        try:
            self._client.close()
        except self._errors:
            return

    def _send(self) -> None:
        with self._lock:
            batch = [self._out.popleft() for _ in range(min(BATCH, len(self._out)))]
            self._out_bytes -= sum(len(entry.data) for entry in batch)
        if not batch:
            return
        pipeline = self._client.pipeline(transaction=False)
        for entry in batch:
            fields: dict[Any, Any] = {b"e": self._token, b"t": entry.topic.encode(), b"d": entry.data}
            pipeline.xadd(self._stream, fields, maxlen=MAX_STREAM, approximate=True)
        try:
            pipeline.execute()
        except self._errors:
            self._dropped += len(batch)
            raise
        self._told += len(batch)

    def _receive(self) -> bool:
        """Take one batch; whether there may be more."""
        if self._in_bytes >= WAITING:
            return False  # the engine does not come to hear it: the stream keeps it, or drops the oldest
        answer: Any = self._client.xread({self._stream: self._last}, count=BATCH)
        items = answer[0][1] if answer else ()
        if len(items) == BATCH:
            first: Any = self._client.xrange(self._stream, count=1)
            if first and _order(first[0][0]) > _order(self._last) > (0, 0):
                self._lost += 1
        now = time.monotonic()
        found = []
        for number, fields in items:
            self._last = number
            sender, topic, data = fields.get(b"e", b""), fields.get(b"t", b""), fields.get(b"d", b"")
            if sender == self._token:
                continue
            if not sender or not topic or len(sender) > 64 or len(topic) > MAX_TOPIC or len(data) > MAX_ENTRY:
                self._damaged += 1
                continue
            self._peers[sender] = now
            found.append(Entry(topic.decode("utf-8", "replace"), data))
        for sender in [sender for sender, seen in self._peers.items() if seen < now - _SEEN or len(self._peers) > 1_000]:
            del self._peers[sender]
        if found:
            with self._lock:
                self._in.extend(found)
                self._in_bytes += sum(len(entry.data) for entry in found)
        return len(items) == BATCH


def _order(number: bytes) -> tuple[int, int]:
    """A stream's entry id as numbers."""
    millis, _, count = number.partition(b"-")
    return int(millis), int(count or 0)


def _plainly(fault: Exception) -> str:
    """What went wrong, by its kind: the library's messages may quote an address, and the server's may quote a command."""
    known = {"AuthenticationError": "it refuses the password", "NoPermissionError": "the user may not use the stream",
             "TimeoutError": f"no answer within {TIMEOUT * 1000:.0f} ms", "ConnectionError": "it cannot be reached",
             "ReadOnlyError": "it is a replica, which takes no writes", "OutOfMemoryError": "it is out of memory"}  # fmt: skip
    return next((known[kind.__name__] for kind in type(fault).__mro__ if kind.__name__ in known), type(fault).__name__)
