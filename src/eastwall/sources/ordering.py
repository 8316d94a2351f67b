"""Calls of a recording in the order of their time: recorders write a call when it ends, so long ones come late."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from eastwall.sources.observed import ObservedCall, SourceError

WINDOW = 2_000
"""Calls that are held back to be put in order; a call that comes later than so many younger ones stays out of order."""
WINDOW_BYTES = 32 << 20
"""Bytes of bodies that are held back; with more, the oldest calls go on early."""


def in_time_order(calls: Iterable[ObservedCall], window: int = WINDOW) -> Iterator[ObservedCall]:
    """Sorted within a sliding window; calls without a time keep their place behind the one before them.

    A `SourceError` of the reader comes after all calls that it gave before.
    """
    heap: list[tuple[float, int, int, ObservedCall]] = []
    held = 0
    last = 0.0
    fault: SourceError | None = None
    source = enumerate(calls)
    while True:
        try:
            number, call = next(source)
        except StopIteration:
            break
        except SourceError as error:
            fault = error
            break
        last = call.time or last
        size = len(call.request_body) + len(call.response_body)
        held += size
        heapq.heappush(heap, (last, number, size, call))
        while heap and (len(heap) > window or held > WINDOW_BYTES):
            _, _, gone, first = heapq.heappop(heap)
            held -= gone
            yield first
    while heap:
        yield heapq.heappop(heap)[3]
    if fault is not None:
        raise fault
