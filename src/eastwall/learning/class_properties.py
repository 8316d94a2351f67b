"""Which properties an identity class sends to one operation (mass assignment, OWASP API3:2023): counted per place."""

from __future__ import annotations

MAX_PROPERTIES = 500
"""Property places per identity class. When there are more, the quarter sent least leaves."""
CLASS_ACTORS = 8
"""Actors of a class that are told apart."""


class ClassProperties:
    """Properties that one identity class sends in clean calls."""

    __slots__ = ("actors", "calls", "places")

    def __init__(self) -> None:
        self.calls = 0
        self.actors: set[int] = set()
        """Hashes of up to `CLASS_ACTORS` actors: the lowest."""
        self.places: dict[str, list[int]] = {}
        """place -> [clean calls, lowest actor hash, another actor's hash or 0]."""

    def fold(self, places: tuple[str, ...], actor: int) -> None:
        self.calls += 1
        if actor not in self.actors:
            self._actor(actor)
        for place in places:
            entry = self.places.get(place)
            if entry is None:
                if len(self.places) >= MAX_PROPERTIES:
                    self._prune()
                self.places[place] = [1, actor, 0]
                continue
            entry[0] += 1
            second = entry[2]
            if (actor < second or not second) and actor != entry[1]:
                _second(entry, actor)

    def merge(self, other: ClassProperties) -> None:
        self.calls += other.calls
        for actor in other.actors:
            self._actor(actor)
        for place, (count, first, second) in other.places.items():
            entry = self.places.get(place)
            if entry is None:
                if len(self.places) >= MAX_PROPERTIES:
                    self._prune()
                self.places[place] = [count, first, second]
                continue
            entry[0] += count
            _second(entry, first)
            if second:
                _second(entry, second)

    def known(self) -> tuple[str, ...]:
        """The places this class is known to send, sorted.

        One actor alone teaches a class nothing: a place counts when two actors sent it, or when the class has no two actors here.
        """
        alone = len(self.actors) < 2
        return tuple(sorted(place for place, entry in self.places.items() if alone or entry[2]))

    def _prune(self) -> None:
        kept = sorted(self.places, key=lambda place: (-self.places[place][0], place))[: MAX_PROPERTIES * 3 // 4]
        self.places = {place: self.places[place] for place in kept}

    def _actor(self, actor: int) -> None:
        if actor not in self.actors:
            self.actors.add(actor)
            if len(self.actors) > CLASS_ACTORS:
                self.actors.remove(max(self.actors))


def _second(entry: list[int], actor: int) -> None:
    """Keep the two lowest distinct actor hashes, 0 standing for none: the same whatever the order."""
    hashes = sorted({entry[1], entry[2], actor} - {0})
    entry[1] = hashes[0]
    entry[2] = hashes[1] if len(hashes) > 1 else 0
