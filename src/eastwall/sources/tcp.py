"""Byte streams of TCP connections out of segments as a capture saw them: out of order, twice, overlapping, with holes (RFC 9293).

What the capture lost becomes a `Gap`, told as soon as it is clear that the bytes will not come: when too much waits behind them, or when the
connection or the capture ends.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from eastwall.sources.packets import FIN, SYN, Segment

MAX_WAITING = 256
"""Segments that may wait for a missing one."""
MAX_WAITING_BYTES = 1 << 20
_WRAP = 1 << 32
_HALF = 1 << 31


class Gap(Struct, frozen=True):
    """Bytes that the capture does not hold."""

    size: int


class Half:
    """One direction of a connection."""

    __slots__ = ("_expected", "_size", "_waiting", "ended", "started")

    def __init__(self) -> None:
        self.started = False
        """Whether the capture saw the start of the stream (SYN)."""
        self.ended = False
        """Whether the stream was seen to its end (FIN)."""
        self._expected = -1
        self._waiting: dict[int, Segment] = {}
        self._size = 0

    def feed(self, segment: Segment) -> Iterator[bytes | Gap]:
        """What can be told now, in order."""
        if segment.flags & SYN:
            self._expected = (segment.sequence + 1) % _WRAP
            self.started = True
            segment.sequence = self._expected
        elif self._expected < 0:
            self._expected = segment.sequence
        if not segment.payload and not segment.missing and not segment.flags & FIN:
            return
        ahead = self._ahead(segment.sequence)
        if ahead > 0:
            known = self._waiting.get(segment.sequence)
            if known is None or len(known.payload) < len(segment.payload):
                self._size += len(segment.payload) - (len(known.payload) if known else 0)
                self._waiting[segment.sequence] = segment
            if len(self._waiting) > MAX_WAITING or self._size > MAX_WAITING_BYTES:
                yield from self._over_gap()
            return
        yield from self._take(segment, -ahead)
        yield from self._follow()

    def flush(self) -> Iterator[bytes | Gap]:
        """The stream is over: tell what still waits, with the gaps between."""
        while self._waiting:
            yield from self._over_gap()

    def _ahead(self, sequence: int) -> int:
        return (sequence - self._expected + _HALF) % _WRAP - _HALF

    def _take(self, segment: Segment, known: int) -> Iterator[bytes | Gap]:
        """A segment of which the first `known` bytes were there before."""
        length = len(segment.payload) + segment.missing
        if known < length or not length:
            payload = segment.payload[known:]
            if payload:
                yield payload
            if segment.missing:
                yield Gap(segment.missing - max(0, known - len(segment.payload)))
            self._expected = (segment.sequence + length) % _WRAP
        if segment.flags & FIN and known <= length:
            self.ended = True

    def _follow(self) -> Iterator[bytes | Gap]:
        """Waiting segments that join on now."""
        while self._waiting:
            nearest = min(self._waiting, key=self._ahead)
            ahead = self._ahead(nearest)
            if ahead > 0:
                return
            segment = self._waiting.pop(nearest)
            self._size -= len(segment.payload)
            yield from self._take(segment, -ahead)

    def _over_gap(self) -> Iterator[bytes | Gap]:
        nearest = min(self._waiting, key=self._ahead)
        yield Gap(self._ahead(nearest))
        self._expected = nearest
        yield from self._follow()
