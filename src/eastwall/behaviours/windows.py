"""Sliding window counters: how often within the last minute, hour and day, in constant space.

Of each window the counts of the present and of the previous span are kept; the previous one counts by the share of it that the window still
covers. (The approximation that rate limiters use; exact for steady rates, off by at most the previous span's count.)

A counter is three slots of whatever counts: when the present span began, events of the previous span, events of the present one. An event that
comes within `width` seconds of the beginning (to either side: a clock that goes back stands still) is one more of the present span, which its owner
adds itself; for any other `rolled` says what the three are then.
"""

from __future__ import annotations

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0


def rolled(start: float, current: int, now: float, width: float) -> tuple[float, int, int]:
    """The three slots after an event at `now`, which is `width` seconds or more from `start`: (start, previous, present). A clock that jumps
    ahead empties the counter, as does one that goes far back: the start was of a clock that ran ahead."""
    if width <= now - start < 2 * width:
        return start + width, current, 1
    return now, 0, 1


def within(start: float, previous: int, current: int, now: float, width: float) -> int:
    """Events of the last `width` seconds, rounded down; never more than `previous + current`."""
    passed = now - start
    if passed < width:
        return current + (int(previous * (1 - passed / width)) if previous and passed > 0 else previous)
    if passed < 2 * width:
        return int(current * (2 - passed / width))
    return 0
