"""What one caller of one service had in the present and the previous hour, day and week.

Sums are kept by hour; an hour that ends is added to its day, a day to its week. Of two windows that follow one another the
earlier one counts by the share that a window ending now still covers of it (the sliding window of rate limiters).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import log

EXACT = 512
"""Distinct objects, of all kinds together, that are told apart exactly."""
BITS = 8_192
"""Beyond, linear counting (Whang et al., 1990) by so many bits for each kind: standard error 2 % at 10,000 objects; more than 40,000 are
told as 40,000."""
MAX_NAMES = 64
"""Operations, and data classes, of one caller and window."""
MAX_KINDS = 8
"""Kinds of objects of one caller and window that are counted by bits."""
_MOST = 40_000

Given = tuple[str, int]
"""(kind, key) of an object."""


class Objects:
    """Distinct objects by kind."""

    __slots__ = ("bits", "seen")

    def __init__(self) -> None:
        self.seen: set[Given] = set()
        """Those that are told apart exactly."""
        self.bits: dict[str, int] = {}
        """Kind -> bitmap of the others."""

    def add(self, given: Iterable[Given]) -> None:
        self.seen.update(given)
        if len(self.seen) > EXACT:
            self.spill()

    def spill(self) -> None:
        """Into the bitmaps."""
        for kind, keys in by_kind(self.seen).items():
            if kind in self.bits or len(self.bits) < MAX_KINDS:
                self.bits[kind] = self.bits.get(kind, 0) | _bits(keys)
        self.seen.clear()

    def join(self, other: Objects) -> None:
        for kind, bits in other.bits.items():
            if kind in self.bits or len(self.bits) < MAX_KINDS:
                self.bits[kind] = self.bits.get(kind, 0) | bits
        self.add(other.seen)

    def counts(self) -> dict[str, int]:
        """Estimate for each kind."""
        if not self.bits:
            return dict(Counter([kind for kind, _ in self.seen]))
        found = by_kind(self.seen)
        counts = {kind: len(keys) for kind, keys in found.items()}
        return counts | {kind: _estimate(bits | _bits(found.get(kind, ()))) for kind, bits in self.bits.items()}

    def __bool__(self) -> bool:
        return bool(self.seen or self.bits)


def _estimate(bits: int) -> int:
    zeros = BITS - bits.bit_count()
    return _MOST if zeros == 0 else min(_MOST, round(-BITS * log(zeros / BITS)))


def by_kind(given: Iterable[Given]) -> dict[str, list[int]]:
    """Keys of each kind."""
    found: dict[str, list[int]] = {}
    for kind, key in given:
        if kind in found:
            found[kind].append(key)
        else:
            found[kind] = [key]
    return found


def _bits(keys: Iterable[int]) -> int:
    found = bytearray(BITS // 8)
    for key in keys:
        at = key % BITS
        found[at >> 3] |= 1 << (at & 7)
    return int.from_bytes(found, "little")


class Sums:
    """Sums and distinct objects of one window."""

    __slots__ = ("calls", "data", "objects", "operations", "records", "size")

    def __init__(
        self, calls: int = 0, size: int = 0, records: int = 0, operations: dict[str, int] | None = None,
        data: dict[str, int] | None = None, objects: Objects | None = None,
    ) -> None:  # fmt: skip
        self.calls, self.size, self.records = calls, size, records
        self.operations: dict[str, int] = {} if operations is None else operations
        self.data: dict[str, int] = {} if data is None else data
        self.objects = Objects() if objects is None else objects

    def get(self, name: str, which: str) -> int:
        """Of a measure that is no object (see `model.Measure`), `which` being what follows the space."""
        if which:
            return (self.operations if name[0] == "c" else self.data).get(which, 0)
        return self.calls if name == "calls" else self.size if name == "bytes" else self.records

    def join(self, other: Sums) -> None:
        self.calls += other.calls
        self.size += other.size
        self.records += other.records
        for mine, theirs in ((self.operations, other.operations), (self.data, other.data)):
            for name, count in theirs.items():
                if name in mine or len(mine) < MAX_NAMES:
                    mine[name] = mine.get(name, 0) + count
        self.objects.join(other.objects)


MUCH = 1 << 62
"""Stands for no limit."""
_LEFT = ("calls_left", "bytes_left", "records_left", "objects_left", "values_left")


class Tally:
    """One caller at one service.

    What a call of a caller far from all limits touches stands here and in two containers. Of the present hour only what is left is counted
    down; what was used is what was left when the hour began, without it.
    """

    __slots__ = (
        "at", "begun", "bytes_left", "calls_left", "caps", "closed", "data", "ends", "kinds_left", "last", "longer", "objects",
        "objects_left", "operations", "past", "records_left", "until", "values_left",
    )  # fmt: skip

    SPANS = (3_600, 86_400, 604_800)

    def __init__(self, time: float) -> None:
        self.at = [int(time // seconds) for seconds in self.SPANS]
        """Number of the present hour, day and week."""
        self.longer: list[Sums | None] = [None, None]
        """What of the present day came before this hour; what of the present week came before that day."""
        self.past: list[Sums | None] = [None, None, None]
        """The whole hour, day and week before."""
        self.ends = (self.at[0] + 1) * 3_600.0
        """When the present hour is over."""
        self.last = ""
        """Id of the call counted last: the events of a stream are one call."""
        self.until = 0.0
        """So long the following hold; 0: no limits were known."""
        self.calls_left = self.bytes_left = self.records_left = self.objects_left = self.values_left = MUCH
        """How many may follow before any limit can be passed."""
        self.begun = [MUCH] * 5
        """The same when the hour began."""
        self.caps: dict[str, int] = {}
        """Calls of single operations in this hour that no limit can be passed with. Maybe that of others too: never changed in place."""
        self.kinds_left: dict[str, int] | None = None
        """Kind -> objects that may follow at least before a limit of that kind can be passed, whatever `objects_left` says; None: never asked."""
        self.closed = True
        """Whether the next call may pass a limit of calls, or of one operation's, or limits are to be looked up: for a caller of whom this is
        not so the containers below need not be touched to know it."""
        self.operations: dict[str, int] = {}
        self.data: dict[str, int] = {}
        self.objects = Objects()

    def left(self, what: int) -> int:
        """`what`: 0 calls, 1 bytes, 2 records, 3 objects, 4 values."""
        return int(getattr(self, _LEFT[what]))

    def leave(self, what: int, left: int) -> None:
        """So many may follow from now on."""
        self.begun[what] += left - self.left(what)
        setattr(self, _LEFT[what], left)

    def spares(self, given: Iterable[Given]) -> bool:
        """Whether these objects can pass no limit of their kinds."""
        left = self.kinds_left
        return left is not None and all(count <= left.get(kind, MUCH) for kind, count in Counter([k for k, _ in given]).items())

    def near(self) -> bool:
        """Whether a limit of calls can be passed with the next one."""
        if self.calls_left <= 0:
            return True
        caps = self.caps
        return any(count >= caps.get(name, MUCH) for name, count in self.operations.items())

    def turn(self, time: float) -> None:
        """Go on to the hour of `time`. A clock that goes back stands still."""
        if time < self.ends:
            return
        carried = self.present
        self.begun = [self.left(what) for what in range(5)]
        if self.caps:
            self.caps = {name: cap - carried.operations.get(name, 0) for name, cap in self.caps.items()}
        self.operations, self.data, self.objects = {}, {}, Objects()
        self.closed = self.closed or time >= self.until
        number = int(time // 3_600)
        self.past[0] = carried if number == self.at[0] + 1 else None
        self.at[0] = number
        self.ends = (number + 1) * 3_600.0
        for index in (1, 2):
            here = self.longer[index - 1]
            if here is None:
                here = self.longer[index - 1] = Sums()
            here.join(carried)
            number = int(time // self.SPANS[index])
            if number <= self.at[index]:
                break
            self.past[index] = here if number == self.at[index] + 1 else None
            carried, self.longer[index - 1], self.at[index] = here, None, number

    @property
    def present(self) -> Sums:
        """The present hour."""
        calls, size, records = (self.begun[what] - self.left(what) for what in range(3))
        return Sums(calls, size, records, self.operations, self.data, self.objects)

    def _now(self, index: int) -> list[Sums]:
        """Of the window of a length what there was, from the present hour on."""
        return [self.present, *[sums for sums in self.longer[:index] if sums is not None]]

    def amount(self, index: int, name: str, which: str, time: float) -> int:
        """Of a measure that is no object (see `model.Measure`), in the window of a length that ends now."""
        past = self.past[index]
        before = int(past.get(name, which) * self.share(index, time)) if past is not None else 0
        return before + sum([sums.get(name, which) for sums in self._now(index)])

    def distinct(self, index: int, time: float) -> dict[str, int]:
        """Distinct objects of each kind in the window of a length that ends now."""
        whole = self.objects
        if index and any(sums is not None and sums.objects for sums in self.longer[:index]):
            whole = Objects()
            for sums in self._now(index):
                whole.join(sums.objects)
        found = whole.counts()
        past = self.past[index]
        if past is not None:
            share = self.share(index, time)
            for kind, count in past.objects.counts().items():
                found[kind] = found.get(kind, 0) + int(count * share)
        return found

    def share(self, index: int, time: float) -> float:
        """How much of the window before a window that ends now covers, 0..1."""
        seconds = self.SPANS[index]
        return min(1.0, max(0.0, 1.0 - (time - self.at[index] * seconds) / seconds))
