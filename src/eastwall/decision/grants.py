"""Who holds which object: what live answers gave, and what the snapshot says. Both exact, both built for a million objects.

Measured with 1,000,000 objects of 100,000 actors (`make bench-state`): see docs/models/state.md. Nothing here is probabilistic, so there
is no false "granted" that would hide an attack, and no false "foreign" that would block a caller.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable

from eastwall.discovery.shares import Shares
from eastwall.model.holdings import EMPTY, Holdings

MAX_OBJECTS = 1_000_000
MAX_OWNERS = 8
MORE = -1
"""The last of the numbers of an object's owners, where there was no room for a further one."""
MAX_STAFF = 10_000


class GrantTable:
    """Which actors hold an object: they were given its id in a response, or made it.

    At most MAX_OWNERS actors per object are kept, those who see everybody's leaving first; of an object with more it is known that nobody
    can tell who holds it (`crowded`). When full, the actor that most objects are charged to loses its oldest one; an object is charged to
    the first of its owners.
    """

    def __init__(self, limit: int = MAX_OBJECTS) -> None:
        self._owners: dict[int, int | tuple[int, ...]] = {}
        """key -> number of its only owner, or the numbers of several in order."""
        self._shares = Shares()
        self._limit = limit
        self.told: list[tuple[int, str]] | None = None
        """(key, actor) granted since other engines were told; None: nobody is told."""
        self._staff: dict[str, None] = {}

    def staff(self, actor: str) -> None:
        """The actor sees everybody's: it makes room for owners."""
        if actor not in self._staff:
            if len(self._staff) >= MAX_STAFF:
                del self._staff[next(iter(self._staff))]
            self._staff[actor] = None

    def is_staff(self, actor: str) -> bool:
        """Whether the actor is known to see everybody's."""
        return actor in self._staff

    def crowded(self, key: int) -> bool:
        """Whether there are owners that no room was left for."""
        entry = self._owners.get(key)
        return type(entry) is tuple and entry[-1] == MORE

    def knows(self, actor: str) -> bool:
        """Whether the actor holds anything."""
        return actor in self._shares

    def owners(self, key: int) -> tuple[str, ...]:
        """The actors that hold an object, the first first."""
        entry = self._owners.get(key)
        if entry is None:
            return ()
        return self._shares.alone[entry] if type(entry) is int else self._several(entry)  # type: ignore[arg-type]

    def owners_of(self, keys: Iterable[int]) -> list[tuple[str, ...]]:
        """`owners` of several objects, in their order."""
        alone, several = self._shares.alone, self._several
        return [
            () if entry is None else alone[entry] if type(entry) is int else several(entry)  # type: ignore[arg-type]
            for entry in map(self._owners.get, keys)
        ]

    def _several(self, entry: tuple[int, ...]) -> tuple[str, ...]:
        alone = self._shares.alone
        return tuple([alone[number][0] for number in entry if number != MORE])

    def grant(self, key: int, actor: str) -> None:
        """The actor holds the object from now on."""
        if self.take(key, actor) and self.told is not None:
            self.told.append((key, actor))

    def take(self, key: int, actor: str) -> bool:
        """`grant`, told to nobody. Whether that was new."""
        entry = self._owners.get(key)
        shares = self._shares
        if entry is None:
            if shares.full(actor):
                self._dismiss(shares.smallest())
                if shares.full(actor):  # whoever left is still named by others' objects
                    return False
            if len(self._owners) >= self._limit:
                self._evict()
            number = shares.number(actor)
            self._owners[key] = number
            shares.listed[number] += 1
            shares.charge(number, key)
            return True
        if type(entry) is int:
            if shares.alone[entry][0] == actor:
                return False
            entry = (entry,)
        assert type(entry) is tuple
        if entry[-1] == MORE or any(shares.alone[number][0] == actor for number in entry):
            return False
        if len(entry) >= MAX_OWNERS and (entry := self._with_room(entry))[-1] == MORE:
            self._owners[key] = entry
            return False
        if shares.full(actor):
            # To keep the object without this owner would make a stranger of it: forget the object.
            self._drop(key)
            return False
        number = shares.number(actor)
        shares.listed[number] += 1
        self._owners[key] = (*entry, number)
        return True

    def _with_room(self, entry: tuple[int, ...]) -> tuple[int, ...]:
        """Owners without one who sees everybody's; where there is none, with `MORE`."""
        alone = self._shares.alone
        left = next((number for number in entry[1:] if alone[number][0] in self._staff), MORE)
        if left == MORE:
            return (*entry, MORE)
        self._shares.listed[left] -= 1
        self._shares.forget(left)
        return tuple([number for number in entry if number != left])

    def held(self, actor: str) -> int:
        """Objects charged to an actor."""
        return self._shares.count(actor)

    def __len__(self) -> int:
        return len(self._owners)

    def _charged(self, key: int) -> int | None:
        entry = self._owners.get(key)
        return entry[0] if type(entry) is tuple else entry  # type: ignore[return-value]

    def _evict(self) -> None:
        """Make room. What others hold too is charged to one of them, if that one has much less; what is dropped is dropped for all its
        owners: with one of them missing, that one would be a stranger to its own object."""
        shares = self._shares
        while True:
            number = shares.largest()
            key = shares.oldest(number, self._charged)
            entry = self._owners[key]
            heir = next((n for n in entry if n != MORE and shares.outweighs(number, n)), None) if type(entry) is tuple else None
            if heir is None:
                self._drop(key)
                return
            assert type(entry) is tuple
            self._owners[key] = (heir, *[n for n in entry if n != heir])
            shares.charge(heir, key)
            shares.discharge(number)

    def _dismiss(self, number: int) -> None:
        """Drop all objects of an actor."""
        (name,) = self._shares.alone[number]
        while self._shares.count(name):
            self._drop(self._shares.oldest(number, self._charged))

    def _drop(self, key: int) -> None:
        entry = self._owners.pop(key)
        numbers: tuple[int, ...] = tuple([n for n in entry if n != MORE]) if type(entry) is tuple else (entry,)  # type: ignore[assignment]
        for number in numbers:
            self._shares.listed[number] -= 1
        self._shares.discharge(numbers[0])
        for number in numbers[1:]:
            self._shares.forget(number)


class HeldObjects:
    """The snapshot's table of holders, read where it lies: nothing is decoded when a snapshot is loaded. Like a `dict` to look things up."""

    __slots__ = ("_actors", "_groups", "_keys", "_mask", "_values", "count")

    def __init__(self, holdings: Holdings) -> None:
        """Raises `ValueError` when the parts do not fit together."""
        slots = len(holdings.keys) // 8
        if len(holdings.keys) % 8 or slots & (slots - 1) or len(holdings.values) != slots * 4:
            raise ValueError(f"a table of holders with {len(holdings.keys)} and {len(holdings.values)} bytes")
        self.count = holdings.count
        if slots and self.count >= slots:
            raise ValueError(f"a table of holders with {slots} slots for {self.count} objects")
        self._keys: memoryview | array[int] = memoryview(holdings.keys).cast("q")
        self._values: memoryview | array[int] = memoryview(holdings.values).cast("I")
        if sys.byteorder == "big":
            self._keys, self._values = array("q", holdings.keys), array("I", holdings.values)
            self._keys.byteswap()
            self._values.byteswap()
        self._mask = slots - 1
        self._actors = [(name,) for name in holdings.actors]
        self._groups = [tuple([holdings.actors[n] for n in group]) for group in holdings.groups]

    def get(self, key: int, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The actors that hold an object, the first first."""
        keys, mask = self._keys, self._mask
        if mask < 0 or key == EMPTY:
            return default
        at = key & mask
        while (found := keys[at]) != key:
            if found == EMPTY:
                return default
            at = (at + 1) & mask
        value = self._values[at]
        actors = self._actors
        return actors[value] if value < len(actors) else self._groups[value - len(actors)]

    def __contains__(self, key: int) -> bool:
        return bool(self.get(key))

    def __len__(self) -> int:
        return self.count
