"""Rate limits: GCRA (the generic cell rate algorithm, ITU-T I.371; a leaky bucket as a meter).

One float per key, the *theoretical arrival time* (TAT): when the next call would come if calls came exactly at the rate. A call
that comes earlier than TAT minus the tolerance is too early. No timers, no windows, exact under any spacing of calls.
"""

from __future__ import annotations

import re
from collections.abc import Hashable

PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
RATE = re.compile(r"([1-9][0-9]{0,8})/(s|m|h|d|second|minute|hour|day)")


def parse_rate(text: str) -> tuple[int, float]:
    """`100/m` -> (100, 60.0): calls and seconds. Raises `ValueError` with one line."""
    found = RATE.fullmatch(text.replace(" ", ""))
    if found is None:
        raise ValueError(f"`{text[:60]}` is not a rate: write calls per second, minute, hour or day, e.g. `20/s`, `100/m`")
    return int(found[1]), PERIODS[found[2][0]]


class LimitTable:
    """Live state of all rate limits of one engine. At most `capacity` keys; beyond it the one least recently used is forgotten.

    A forgotten key starts fresh, with its whole burst: an attacker who makes that many keys gains at most one burst per key,
    which a new key has anyway.
    """

    __slots__ = ("_arrivals", "capacity", "evicted")

    def __init__(self, capacity: int = 200_000) -> None:
        self._arrivals: dict[Hashable, float] = {}
        self.capacity = capacity
        self.evicted = 0
        """Keys forgotten for lack of room: a gauge that should stay at nought."""

    def __len__(self) -> int:
        return len(self._arrivals)

    def take(self, key: Hashable, now: float, interval: float, burst: int) -> tuple[bool, float, int]:
        """Ask for one call at `now` (Unix seconds) under one call per `interval` seconds, `burst` at once.

        Returns (allowed, seconds until a call would pass, calls that would pass now). A clock that goes backwards never grants
        more; what it finds in its future counts as a used-up burst, so that a key recovers at its rate and not at the old time.
        """
        arrivals = self._arrivals
        tat = arrivals.pop(key, 0.0)  # popped and put back: the dict stays in order of use
        tolerance = interval * burst
        if tat < now:
            tat = now
        elif tat > now + tolerance:
            tat = now + tolerance
        after = tat + interval
        # A millionth of an interval of grace: sums of floats around 1.7e9 must not turn the burst's last call away.
        early = after - now - tolerance
        if early > interval * 1e-6 + 1e-6:
            arrivals[key] = tat
            return False, early, 0
        if len(arrivals) >= self.capacity:
            del arrivals[next(iter(arrivals))]
            self.evicted += 1
        arrivals[key] = after
        return True, 0.0, max(0, int((tolerance - (after - now)) / interval + 1e-6))
