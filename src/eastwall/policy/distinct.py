"""Distinct objects by key, over a window that slides: exact, since a limit needs no more of them than it allows."""

from __future__ import annotations

from collections.abc import Iterable

from eastwall.discovery.shares import Shares

MAX_OBJECTS = 1_000_000
"""Objects that are remembered, of all keys together."""


class DistinctTable:
    """Objects by key, each with the time of its last use. When there are `MAX_OBJECTS`, the network that most keys come from loses the
    oldest of its own, which then starts fresh."""

    def __init__(self, limit: int = MAX_OBJECTS) -> None:
        self._limit = limit
        self._seen: dict[int, dict[int, float]] = {}
        self._payers: dict[int, int] = {}
        self._shares = Shares()
        self._total = 0
        self.told: list[tuple[int, list[int], str, float]] | None = None
        """(key, objects, holder, window) since other engines were told; None: nobody is told."""

    def __len__(self) -> int:
        return self._total

    def fresh(self, key: int, objects: Iterable[int], now: float, window: float) -> tuple[int, int]:
        """(how many of the objects the key has not used in the last `window` seconds, how many others it has used)."""
        seen = self._seen.get(key)
        if seen is None:
            return len(set(objects)), 0
        self._expire(key, seen, now - window)
        if not seen:
            self._drop(key)
        return len({one for one in objects if one not in seen}), len(seen)

    def latest(self, key: int) -> tuple[int, float] | None:
        """(object, when) of the key's last use; None: none is known."""
        seen = self._seen.get(key)
        return next(reversed(seen.items()), None) if seen else None

    def oldest(self, key: int) -> float:
        """When the object was used that leaves the window next; 0: there is none."""
        return next(iter(self._seen.get(key, {}).values()), 0.0)

    def add(self, key: int, objects: Iterable[int], now: float, window: float, holder: str = "") -> None:
        """The key has used objects."""
        used = list(objects)
        if self.told is not None and used:
            self.told.append((key, used, holder, window))
        self.take(key, used, now, window, holder)

    def take(self, key: int, objects: Iterable[int], now: float, window: float, holder: str) -> None:
        """`add`, told to nobody."""
        seen = self._seen.get(key)
        if seen is None:
            shares = self._shares
            while shares.full(holder):
                self._drop(shares.oldest(shares.smallest(), self._payers.get))
            seen = self._seen[key] = {}
            number = self._payers[key] = shares.number(holder)
            shares.charge(number, key)
        else:
            self._expire(key, seen, now - window)
        before = len(seen)
        for one in objects:
            seen.pop(one, None)  # put back at the end: in order of use
            seen[one] = now
        self._total += len(seen) - before
        while self._total > self._limit:
            self._drop(self._shares.oldest(self._shares.largest(), self._payers.get))

    def _expire(self, key: int, seen: dict[int, float], least: float) -> None:
        while seen:
            one = next(iter(seen))
            if seen[one] > least:
                return
            del seen[one]
            self._total -= 1

    def _drop(self, key: int) -> None:
        self._total -= len(self._seen.pop(key))
        self._shares.discharge(self._payers.pop(key))
