"""Who holds how much of a bounded table, and whose entry leaves when it is full: the oldest of whoever holds most.

A table that drops its oldest entries can be emptied by one caller who fills it (CWE-770: what is known of others goes). Here a flood drops
the flood: with 1,000,000 places and a caller who asks for 2,000,000 things, all others keep theirs.

"Most" is told to within a factor of two: holders stand in classes by the binary length of their count, so that a charge costs constant
time. Many holders with one entry each (made-up callers) are bounded by `MAX_HOLDERS`: of them too the oldest smallest leaves first.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

MAX_HOLDERS = 200_000
_LEVELS = 32
_COMPACT = 64
"""Spent places at the head of a holder's queue before it is written anew."""


def network_of(source: str) -> str:
    """The /24 or /64 of an address: what one caller has at hand. Other names of a source stand for themselves."""
    return ":".join(source.split(":")[:4]) if ":" in source else source.rpartition(".")[0] or source


class Shares:
    """Entries by holder, in order of entry. Holders are numbered; numbers of those who left are given again."""

    __slots__ = ("_counts", "_free", "_heads", "_levels", "_numbers", "_queues", "alone", "limit", "listed")

    def __init__(self, limit: int = MAX_HOLDERS) -> None:
        self.limit = limit
        self._numbers: dict[str, int] = {}
        self.alone: list[tuple[str, ...]] = []
        """number -> (name,): what a table answers for an entry with one holder, made once."""
        self.listed: list[int] = []
        """number -> entries that name the holder, charged to it or not. The number is free again when there is none."""
        self._counts: list[int] = []
        self._queues: list[array[int]] = []
        self._heads: list[int] = []
        self._levels: list[dict[int, None]] = [{} for _ in range(_LEVELS)]
        """Numbers by the binary length of their count, those that entered their level first standing first."""
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, holder: str) -> bool:
        """Whether any entry names the holder, charged to it or not."""
        return holder in self._numbers

    def count(self, holder: str) -> int:
        """Entries charged to a holder."""
        number = self._numbers.get(holder)
        return 0 if number is None else self._counts[number]

    def full(self, holder: str) -> bool:
        """Whether there is no number left for the holder, who has none."""
        return holder not in self._numbers and len(self._numbers) >= self.limit

    def number(self, holder: str) -> int:
        """The holder's number, given now if it has none. It stays as long as an entry is `listed` or charged."""
        number = self._numbers.get(holder)
        if number is not None:
            return number
        if self._free:
            number = self._free.pop()
            self.alone[number] = (holder,)
        else:
            number = len(self.alone)
            self.alone.append((holder,))
            self.listed.append(0)
            self._counts.append(0)
            self._queues.append(array("q"))
            self._heads.append(0)
        self._numbers[holder] = number
        return number

    def charge(self, number: int, key: int) -> None:
        """One more entry of the holder."""
        self._queues[number].append(key)
        count = self._counts[number] = self._counts[number] + 1
        if not count & (count - 1):
            level = count.bit_length()
            self._levels[level - 1].pop(number, None)
            self._levels[level][number] = None

    def discharge(self, number: int) -> None:
        """One entry of the holder is gone, or is another's now; its place in the queue is found empty later."""
        count = self._counts[number]
        self._counts[number] = count - 1
        if not count & (count - 1):
            level = count.bit_length()
            self._levels[level].pop(number, None)
            if count > 1:
                self._levels[level - 1][number] = None
        if count == 1:
            self._queues[number] = array("q")
            self._heads[number] = 0
            self.forget(number)

    def forget(self, number: int) -> None:
        """Give the number back, if no entry names its holder."""
        if not self.listed[number] and not self._counts[number] and self._numbers.pop(self.alone[number][0], None) is not None:
            self._free.append(number)

    def largest(self) -> int:
        """A holder with more than half as many entries as whoever has most. There is one: an entry is charged."""
        for level in reversed(self._levels):
            if level:
                return next(iter(level))
        raise LookupError("nothing is charged to anybody")

    def smallest(self) -> int:
        """The holder that stands longest among those with fewest entries."""
        for level in self._levels:
            if level:
                return next(iter(level))
        raise LookupError("nothing is charged to anybody")

    def outweighs(self, number: int, other: int) -> bool:
        """Whether a holder has more than twice as many entries as another, and one more: what passes on to the lighter of two, for ever
        lighter, comes to rest."""
        return self._counts[number] > 2 * self._counts[other] + 1

    def oldest(self, number: int, charged: Callable[[int], int | None]) -> int:
        """Take the holder's oldest entry from its queue, and return it. `charged` says to whom an entry is charged now."""
        queue, head = self._queues[number], self._heads[number]
        while True:
            key = queue[head]
            head += 1
            if charged(key) == number:
                break
        if head >= _COMPACT and head * 2 > len(queue):
            del queue[:head]
            head = 0
        self._heads[number] = head
        return key
