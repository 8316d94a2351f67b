"""Sliding window counters: how often within the last minute, hour and day, in constant space.

Of each window the counts of the present and of the previous span are kept; the previous one counts by the share of it that the window still
covers. (The approximation that rate limiters use; exact for steady rates, off by at most the previous span's count.)
"""

from __future__ import annotations

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0


class Window:
    """Counts over one window. A clock that goes back stands still; one that jumps ahead empties it."""

    __slots__ = ("current", "previous", "start")

    def __init__(self) -> None:
        self.start = 0.0
        self.current = 0
        self.previous = 0

    def add(self, now: float, width: float, count: int = 1) -> None:
        passed = now - self.start
        if passed >= width:
            if passed >= 2 * width:
                self.start, self.previous, self.current = now, 0, 0
            else:
                self.start, self.previous, self.current = self.start + width, self.current, 0
        elif passed < -width:  # the start is of a clock that ran ahead: it began anew
            self.start, self.previous, self.current = now, 0, 0
        self.current += count

    def count(self, now: float, width: float) -> int:
        """Events of the last `width` seconds, rounded down."""
        passed = now - self.start
        if passed < width:
            return self.current + (int(self.previous * (1 - passed / width)) if self.previous and passed > 0 else self.previous)
        if passed < 2 * width:
            return int(self.current * (2 - passed / width))
        return 0
