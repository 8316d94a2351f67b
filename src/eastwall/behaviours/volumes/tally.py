"""What one caller of one service had in the present and the previous hour, day and week.

Sums are kept by hour; an hour that ends is added to its day, a day to its week. Of two windows that follow one another the
earlier one counts by the share that a window ending now still covers of it (the sliding window of rate limiters).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import log

EXACT = 256
"""Distinct objects that are told apart exactly."""
BITS = 8_192
"""Beyond, linear counting (Whang et al., 1990) by so many bits: standard error 2 % at 10,000 objects; more than 40,000 are told as 40,000."""
MAX_NAMES = 64
"""Operations, data classes and the like, of one caller and window."""
MAX_KINDS = 8
"""Kinds of objects, of one caller and window."""
_MOST = 40_000


class Objects:
    """Distinct object keys."""

    __slots__ = ("bits", "keys")

    def __init__(self) -> None:
        self.keys: set[int] | None = set()
        self.bits: int = 0

    def add(self, keys: Iterable[int]) -> None:
        if self.keys is not None:
            self.keys.update(keys)
            if len(self.keys) <= EXACT:
                return
            keys, self.keys = self.keys, None
        self.bits |= _bits(keys)

    def join(self, other: Objects) -> None:
        if other.keys is not None:
            self.add(other.keys)
            return
        if self.keys is not None:
            self.bits, self.keys = _bits(self.keys), None
        self.bits |= other.bits

    def count(self) -> int:
        if self.keys is not None:
            return len(self.keys)
        zeros = BITS - self.bits.bit_count()
        return _MOST if zeros == 0 else min(_MOST, round(-BITS * log(zeros / BITS)))

    def copy(self) -> Objects:
        other = Objects()
        other.keys = None if self.keys is None else set(self.keys)
        other.bits = self.bits
        return other


def _bits(keys: Iterable[int]) -> int:
    found = bytearray(BITS // 8)
    for key in keys:
        at = key % BITS
        found[at >> 3] |= 1 << (at & 7)
    return int.from_bytes(found, "little")


class Sums:
    """Sums and distinct objects of one window."""

    __slots__ = ("counts", "objects", "weight")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.objects: dict[str, Objects] = {}
        self.weight = 0
        """No measure is greater: calls, records, objects, and bytes by `BYTES`, all together."""

    def objects_of(self, kind: str) -> Objects | None:
        """Those of a kind; None when there are too many kinds."""
        found = self.objects.get(kind)
        if found is None and len(self.objects) < MAX_KINDS:
            found = self.objects[kind] = Objects()
        return found

    def count(self, name: str, more: int) -> None:
        counts = self.counts
        if name in counts:
            counts[name] += more
        elif len(counts) < MAX_NAMES:
            counts[name] = more

    def join(self, other: Sums) -> None:
        for name, count in other.counts.items():
            self.count(name, count)
        for kind, objects in other.objects.items():
            mine = self.objects_of(kind)
            if mine is not None:
                mine.join(objects)
        self.weight += other.weight


class Tally:
    """One caller at one service."""

    __slots__ = ("at", "now", "past")

    SPANS = (3_600, 86_400, 604_800)

    def __init__(self, time: float) -> None:
        self.at = [int(time // seconds) for seconds in self.SPANS]
        """Number of the present hour, day and week."""
        self.now = [Sums(), Sums(), Sums()]
        """The present hour; what of the present day came before it; what of the present week came before that day."""
        self.past: list[Sums | None] = [None, None, None]
        """The whole hour, day and week before."""

    def turn(self, time: float) -> None:
        """Go on to the hour of `time`. A clock that goes back stands still."""
        if time < (self.at[0] + 1) * 3_600:
            return
        carried: Sums | None = None
        for index, seconds in enumerate(self.SPANS):
            number = int(time // seconds)
            here = self.now[index]
            if carried is not None:
                here.join(carried)
            carried = None
            if number > self.at[index]:
                self.past[index] = here if number == self.at[index] + 1 else None
                carried, self.now[index], self.at[index] = here, Sums(), number
            else:
                return

    def present(self, index: int) -> list[Sums]:
        """What the present window of a length is made of."""
        return self.now[: index + 1]

    def share(self, index: int, time: float) -> float:
        """How much of the window before a window that ends now covers, 0..1."""
        seconds = self.SPANS[index]
        return min(1.0, max(0.0, 1.0 - (time - self.at[index] * seconds) / seconds))
