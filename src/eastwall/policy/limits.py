"""Rate limits: GCRA (the generic cell rate algorithm, ITU-T I.371; a leaky bucket as a meter).

One float per key, the *theoretical arrival time* (TAT): when the next call would come if calls came exactly at the rate. A call
that comes earlier than TAT minus the tolerance is too early. No timers, no windows, exact under any spacing of calls. An amount (bytes,
records) is so many calls at once.

**Several engines** tell each other what was taken, as seconds of TAT, and each adds what it hears. A sum does not depend on the order; what two
engines take before either has heard of the other is too much once, and paid back: the TAT stands that much further in the future. So the
rate over time is the stated one, whatever the delay (docs/limits.md has the figures).

**Clocks.** Time here goes forward only: a call whose time is before what was seen (it was uploaded slowly) counts as now, and when the
machine's clock is set back (`tick`), the table's time goes on from where it was. A jump forward is like a pause: at most one burst.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from msgspec import Struct

from eastwall.discovery.shares import Shares
from eastwall.policy.approvals import ApprovalTable
from eastwall.policy.defined_tools import DefinedTools
from eastwall.policy.distinct import DistinctTable
from eastwall.policy.open_calls import FORGET, OpenCalls

if TYPE_CHECKING:
    from eastwall.policy.steps.limits import Meter

PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
RATE = re.compile(r"([1-9][0-9]{0,8})/(s|m|h|d|second|minute|hour|day)")
AMOUNT = re.compile(r"([1-9][0-9]{0,11})(B|KiB|MiB|GiB|KB|MB|GB)?/(s|m|h|d|second|minute|hour|day)")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
SET_BACK = 1.0
"""Seconds that the machine's clock may go back without having been set back."""
SKEW = 1.0
"""Seconds that news may be late, or another machine's clock be behind."""
OLD = 10.0
"""Seconds after which what another engine tells is counted as of the time when it was taken: it is told again after a restart."""
MAX_TOLD = 20_000
"""Keys that are told in one entry."""
_CHANCES = 8


class LimitNews(Struct, frozen=True, array_like=True):
    """What one engine tells others of its limits."""

    time: float
    """When it is told, Unix seconds by its clock."""
    engine: str
    taken: list[tuple[int, float, str]] = []
    """(key, seconds of TAT taken since last time, holder)."""
    objects: list[tuple[int, list[int], str, float]] = []
    """(key, objects used, holder, seconds of the window)."""
    calls: list[tuple[int, int]] = []
    """(key, calls open there)."""


def parse_rate(text: str) -> tuple[int, float]:
    """`100/m` -> (100, 60.0): calls and seconds. Raises `ValueError` with one line."""
    found = RATE.fullmatch(text.replace(" ", ""))
    if found is None:
        raise ValueError(f"`{text[:60]}` is not a rate: write calls per second, minute, hour or day, e.g. `20/s`, `100/m`")
    return int(found[1]), PERIODS[found[2][0]]


def parse_amount(text: str, *, sizes: bool = False) -> tuple[int, float]:
    """`500/d` -> (500, 86400.0), with `sizes` also `10MiB/h`: amount and seconds. Raises `ValueError` with one line."""
    found = AMOUNT.fullmatch(text.replace(" ", ""))
    if found is None or (found[2] and not sizes):
        example = "`10MiB/h`" if sizes else "`500/h`"
        raise ValueError(f"`{text[:60]}` is not an amount per time: write e.g. {example}; per second, minute, hour or day")
    return int(found[1]) * _UNITS[found[2] or "B"], PERIODS[found[3][0]]


@lru_cache(maxsize=65536)
def key_of(parts: tuple[str, ...]) -> int:
    """What a count goes by: a signed 64-bit hash, the same in every engine."""
    joined = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(joined, digest_size=8).digest(), "little", signed=True)


class LimitTable:
    """Live state of all limits of one engine. At most `capacity` keys; when full, the network that most keys come from loses the oldest of
    its own (see `shares`).

    A forgotten key starts fresh, with its whole burst: who makes up that many keys gains at most one burst per key, which a new key
    has anyway, and takes nobody else's count away.
    """

    def __init__(self, capacity: int = 200_000) -> None:
        self._arrivals: dict[int, float] = {}
        self._payers: dict[int, int] = {}
        self._again: set[int] = set()
        """Keys that were used again since they entered, or since they were last spared."""
        self._shares = Shares()
        self.capacity = capacity
        self.evicted = 0
        """Keys forgotten for lack of room: a gauge that should stay at nought."""
        self.meters: dict[str, list[Meter]] = {}
        """Id of an open call -> limits that its answer is charged to."""
        self.calls = OpenCalls()
        self.objects = DistinctTable()
        self.approvals = ApprovalTable()
        self.tools = DefinedTools()
        self.outage = ""
        """Why the store that engines share cannot be reached; empty: it can, or there is none."""
        self.told: dict[int, list[float | str]] | None = None
        """Key -> [seconds taken since other engines were told, holder]; None: nobody is told."""
        self.untold = 0
        self._latest = 0.0
        self._shift = 0.0
        self._ticked = 0.0

    def __len__(self) -> int:
        return len(self._arrivals)

    def __contains__(self, key: int) -> bool:
        return key in self._arrivals

    # -- time -----------------------------------------------------------------------------------------------------

    def tick(self, clock: float) -> None:
        """What the machine's clock says, Unix seconds; asked several times a second."""
        if clock < self._ticked - SET_BACK:
            self._shift += self._ticked - clock
        self._ticked = clock
        self.calls.sweep(self.at(clock))

    def at(self, time: float) -> float:
        """A call's time in this table's, which never goes back."""
        now = time + self._shift
        if now <= self._latest:
            return self._latest
        self._latest = now
        return now

    # -- counting -------------------------------------------------------------------------------------------------

    def take(
        self, key: int, time: float, interval: float, burst: int, amount: float = 1.0, *, holder: str = "", must: bool = False
    ) -> tuple[bool, float, int]:
        """Ask for `amount` calls at `time` (Unix seconds) under one call per `interval` seconds, `burst` at once.

        Returns (allowed, seconds until it would pass, calls that would pass now). What is refused is not counted. `must`: it has happened,
        and is counted however much it is. `holder`: on whose account a new key is.
        """
        now = self.at(time)
        arrivals = self._arrivals
        tat = arrivals.get(key)
        known = tat is not None
        if known:
            self._again.add(key)
        tolerance = interval * burst
        if tat is None or tat < now:
            tat = now
        cost = interval * amount
        after = tat + cost
        # A millionth of an interval of grace: sums of floats around 1.7e9 must not turn the burst's last call away.
        early = after - now - tolerance
        if early > interval * 1e-6 + 1e-6 and not must:
            return False, early, 0
        if not known:
            self._admit(key, holder)
        arrivals[key] = after
        if self.told is not None:
            self._note(key, cost, holder)
        return True, 0.0, max(0, int((tolerance - (after - now)) / interval + 1e-6))

    def left(self, key: int, time: float, interval: float, burst: int) -> tuple[float, float]:
        """(calls that would pass now, seconds until all of the burst would); nothing is counted."""
        now = self.at(time)
        ahead = max(0.0, self._arrivals.get(key, 0.0) - now)
        return burst - ahead / interval + 1e-6 + 1e-6 / interval, ahead

    def _admit(self, key: int, holder: str) -> None:
        shares = self._shares
        while shares.full(holder):
            self._drop(shares.oldest(shares.smallest(), self._payers.get))
        if len(self._payers) >= self.capacity:
            for chance in range(_CHANCES):
                number = shares.largest()
                oldest = shares.oldest(number, self._payers.get)
                if oldest not in self._again or chance == _CHANCES - 1:
                    self._drop(oldest)
                    break
                self._again.discard(oldest)
                shares.charge(number, oldest)  # to the end of the queue
                shares.discharge(number)
        number = self._payers[key] = shares.number(holder)
        shares.charge(number, key)

    def _drop(self, key: int) -> None:
        del self._arrivals[key]
        self._again.discard(key)
        self._shares.discharge(self._payers.pop(key))
        self.evicted += 1

    # -- with other engines ---------------------------------------------------------------------------------------

    def share(self, engine: str) -> None:
        """From now on keep what other engines are to be told. `engine`: this one's name."""
        self.told = {}
        self.calls.share(engine)
        self.objects.told = []

    def urgent(self) -> bool:
        """Whether there is something to tell before the next call is judged anywhere."""
        return bool(self.told or self.objects.told or self.calls.changed)

    def _note(self, key: int, cost: float, holder: str) -> None:
        assert self.told is not None
        one = self.told.get(key)
        if one is not None:
            one[0] += cost  # type: ignore[operator]
        elif len(self.told) < MAX_TOLD:
            self.told[key] = [cost, holder]
        else:
            self.untold += 1

    def news(self) -> LimitNews:
        """What other engines are to be told since last time."""
        taken = [(key, float(cost), str(holder)) for key, (cost, holder) in (self.told or {}).items()]
        objects = list(self.objects.told or ())
        if self.told:
            self.told.clear()
        if self.objects.told:
            self.objects.told.clear()
        return LimitNews(self._latest - self._shift, self.calls.engine, taken, objects, self.calls.news())

    def hear(self, news: LimitNews) -> None:
        """Add what another engine counted. Raises `ValueError` on what is no amount."""
        now = self._latest
        then = news.time + self._shift
        if then > now or now - OLD < then < now - SKEW:
            # Machines' clocks differ: what is told now, and cannot be a memory, was taken now.
            then = now or then
        arrivals = self._arrivals
        for key, cost, holder in news.taken:
            if not 0.0 <= cost < float("inf"):
                raise ValueError(f"an amount that is none: {cost}")
            if key not in arrivals:
                self._admit(key, holder)
            arrivals[key] = max(arrivals.get(key, 0.0), then) + cost
        for key, objects, holder, window in news.objects:
            if then > now - window:
                self.objects.take(key, objects, then, window, holder)
        if news.calls and then > now - FORGET:
            self.calls.hear(news.engine, news.calls)
