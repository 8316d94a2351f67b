"""Packet captures: HTTP/1.1 and h2c calls out of pcap and pcapng files. TLS connections are counted, not read.

The parts: `packets.py` (containers, link layers, IP), `tcp.py` (streams), `http_streams.py` and `h2_frames.py` (calls).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from eastwall.sources.h2_frames import BrokenError, Http2
from eastwall.sources.http_streams import Budget, Http1, sender
from eastwall.sources.observed import ObservedCall, Skipped, SourceError
from eastwall.sources.packets import ACK, RST, SYN, Segment, segments
from eastwall.sources.tcp import Gap, Half

MAX_CONNECTIONS = 20_000
"""Connections that are followed at a time; with more the one that was silent longest is told as it is."""
BUDGET = 256 << 20
"""Bytes of bodies in the making, all connections together."""
UNDECIDED = 4_096
"""Bytes that are kept of a connection of which it is not clear yet what it speaks."""

Address = tuple[str, int]


def read(stream: IO[bytes], name: str, head: bytes = b"", skipped: Skipped | None = None) -> Iterator[ObservedCall]:
    """The calls, in the order in which they ended. Raises `SourceError` where the file breaks off, after all calls before it."""
    skipped = Skipped() if skipped is None else skipped
    budget = Budget(BUDGET)
    connections: dict[tuple[Address, Address], _Connection] = {}
    fault: SourceError | None = None
    try:
        for segment in segments(stream, name, head, skipped):
            a, b = segment.source, segment.target
            key = (a, b) if a <= b else (b, a)
            connection = connections.pop(key, None)
            if connection is not None and connection.renewed_by(segment):
                yield from connection.end(closed=True)
                connection = None
            if connection is None:
                if len(connections) >= MAX_CONNECTIONS:
                    skipped.add("connection-given-up", f"{name}: more than {MAX_CONNECTIONS} at a time")
                    yield from connections.pop(next(iter(connections))).end(closed=False)
                connection = _Connection(budget, skipped)
            yield from connection.feed(segment)
            if connection.over:
                yield from connection.end(closed=True)
            else:
                connections[key] = connection  # at the end: the first one is the one that was silent longest
    except SourceError as error:
        fault = error
    for connection in connections.values():
        yield from connection.end(closed=False)
    if fault is not None:
        raise fault


class _Connection:
    """One TCP connection, and what it speaks."""

    def __init__(self, budget: Budget, skipped: Skipped) -> None:
        self._budget = budget
        self._skipped = skipped
        self._client: Address | None = None
        self._server: Address | None = None
        self._halves: dict[Address, Half] = {}
        self._http: Http1 | Http2 | None = None
        self._off = False
        self._early: list[tuple[Address, bytes, float]] = []
        """What came before it was clear who is the client."""
        self._time = 0.0
        self._reset = False

    @property
    def over(self) -> bool:
        return self._reset or (len(self._halves) == 2 and all(half.ended for half in self._halves.values()))

    def renewed_by(self, segment: Segment) -> bool:
        """Whether a new connection between the same ports begins."""
        return bool(segment.flags & SYN) and not segment.flags & ACK and bool(self._time) and self._spoke

    _spoke = False

    def feed(self, segment: Segment) -> Iterator[ObservedCall]:
        self._time = segment.time or self._time
        if segment.flags & SYN and self._client is None:
            ends = (segment.target, segment.source) if segment.flags & ACK else (segment.source, segment.target)
            self._client, self._server = ends
        if segment.flags & RST:
            self._reset = True
            return
        half = self._halves.get(segment.source)
        if half is None:
            half = self._halves[segment.source] = Half()
        if segment.payload:
            self._spoke = True
        source = segment.source
        for piece in half.feed(segment):
            yield from self._piece(source, segment.target, piece)

    def _piece(self, source: Address, target: Address, piece: bytes | Gap) -> Iterator[ObservedCall]:
        if self._off:
            return
        if self._http is None:
            if isinstance(piece, bytes):
                yield from self._decide(source, target, piece)
            return
        yield from self._pass(source == self._client, piece)

    def _pass(self, from_client: bool, piece: bytes | Gap) -> Iterator[ObservedCall]:
        http = self._http
        assert http is not None
        if isinstance(http, Http1):
            if isinstance(piece, Gap):
                yield from http.gap(from_client, piece.size)
            else:
                yield from http.data(from_client, piece, self._time)
            if http.switched:
                yield from self._switch(http)
            return
        try:
            if isinstance(piece, Gap):
                self._skipped.add("tcp-gap", f"{self._where()}: {piece.size} bytes")
                raise BrokenError("a gap")
            yield from http.data(from_client, piece, self._time)
        except BrokenError as error:
            # Header compression has a memory: behind a gap nothing can be read.
            self._skipped.add("h2-given-up", f"{self._where()}: {error}")
            self._off = True
            yield from http.end(closed=False)

    def _switch(self, http: Http1) -> Iterator[ObservedCall]:
        if http.switched != "h2c" or http.upgraded is None:
            self._skipped.add(
                f"upgraded-{http.switched}" if http.switched in ("websocket", "tunnel") else "upgraded", self._where()
            )
            yield from http.end(closed=True)
            self._off = True
            return
        assert self._client is not None
        assert self._server is not None
        rest = [(side, http.rest(side)) for side in (True, False)]
        self._http = Http2(self._client, self._server, self._budget, self._skipped)
        self._http.adopt(http.upgraded)
        for side, data in rest:
            if data:
                yield from self._pass(side, data)

    def _decide(self, source: Address, target: Address, data: bytes) -> Iterator[ObservedCall]:
        """Tell by the first bytes what is spoken, and by whom."""
        self._early.append((source, data, self._time))
        first = b"".join(piece for whose, piece, _ in self._early if whose == source)
        who = sender(first)
        if self._client is None and who in ("client", "server"):
            self._client, self._server = (source, target) if who == "client" else (target, source)
        if who == "tls" or (not who and source == self._client) or len(first) > UNDECIDED:
            self._skipped.add("tls" if who == "tls" else "not-http", f"{source[0]}:{source[1]} -> {target[0]}:{target[1]}")
            self._off = True
            self._early = []
            return
        if who != "client":
            return
        if first.startswith(b"PRI * HTTP/2.0"):
            self._start(Http2)
        elif b"\n" in first or len(first) > 64:
            self._start(Http1)
        else:
            return
        early, self._early = self._early, []
        for whose, piece, self._time in early:
            if not self._off:
                yield from self._pass(whose == self._client, piece)

    def _start(self, kind: type[Http1] | type[Http2]) -> None:
        assert self._client is not None
        assert self._server is not None
        self._http = kind(self._client, self._server, self._budget, self._skipped)

    def end(self, *, closed: bool) -> Iterator[ObservedCall]:
        for source, half in self._halves.items():
            other = self._server if source == self._client else self._client
            for piece in half.flush():
                yield from self._piece(source, other or source, piece)
        if self._http is not None and not self._off:
            yield from self._http.end(closed)
        elif self._early:
            self._skipped.add("not-http", self._where())
        self._off = True

    def _where(self) -> str:
        if self._client is None or self._server is None:
            return ""
        return f"{self._client[0]}:{self._client[1]} -> {self._server[0]}:{self._server[1]}"
