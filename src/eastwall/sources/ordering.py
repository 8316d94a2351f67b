"""Calls of a recording in the order of their time: recorders write a call when it ends, so long ones come late."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from operator import itemgetter

from eastwall.sources.observed import ObservedCall, SourceError

WINDOW = 2_000
"""Calls that are held back to be put in order; a call that comes later than so many younger ones stays out of order."""
WINDOW_BYTES = 32 << 20
"""Bytes of bodies that are held back; with more, the oldest calls go on early."""
_TIME = itemgetter(0)


def in_time_order(calls: Iterable[ObservedCall], window: int = WINDOW) -> Iterator[ObservedCall]:
    """Sorted within a sliding window; calls without a time keep their place behind the one before them.

    A `SourceError` of the reader comes after all calls that it gave before.
    """
    waiting: deque[tuple[float, int, ObservedCall]] = deque()
    """(time, bytes of bodies, call), by time; of equal times in the order of the recording."""
    held = 0
    last = newest = 0.0
    fault: SourceError | None = None
    source = iter(calls)
    while True:
        try:
            call = next(source)
        except StopIteration:
            break
        except SourceError as error:
            fault = error
            break
        last = call.time or last
        size = len(call.request_body) + len(call.response_body)
        held += size
        if last >= newest or not waiting:
            newest = last
            waiting.append((last, size, call))
        else:
            waiting.insert(bisect_right(waiting, last, key=_TIME), (last, size, call))
        while waiting and (len(waiting) > window or held > WINDOW_BYTES):
            _, gone, first = waiting.popleft()
            held -= gone
            yield first
    while waiting:
        yield waiting.popleft()[2]
    if fault is not None:
        raise fault
