"""Which operation comes after which: counts of contexts of up to three operations, for a variable-order Markov model.

Prediction by partial matching, method C (Moffat, "Implementing the PPM data compression scheme", 1990): the longest context that was seen
speaks, and what it never saw before goes to the next shorter one, with the weight of its distinct successors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2
from typing import Any

from msgspec import Struct

ORDER = 3
MAX_CONTEXTS = 2_000
"""Contexts of one service; when there are more, the quarter seen least leaves."""
MAX_NEXT = 64
"""Successors of one context; further ones are not taken."""
SEPARATOR = "\0"


class Followers(Struct, frozen=True, array_like=True):
    """What came after a context."""

    context: tuple[str, ...]
    following: tuple[tuple[str, int], ...]
    """(operation, calls), of operations that two actors called there."""


class Contexts:
    """Counts of one service. Nothing depends on the order of calls while there are no more than `MAX_CONTEXTS`."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: dict[str, dict[str, list[int]]] = {}
        """context -> operation -> [calls, lowest actor hash, another or 0]."""

    def fold(self, before: Sequence[str], operation: str, actor: int, weight: int) -> None:
        """One call. `before`: the operations before it in its session, the last one last. `weight`: calls that this one stands for."""
        context = ""
        seen = self.seen
        for at in range(len(before), -1, -1):
            if at < len(before):
                context = before[at] + SEPARATOR + context if context else before[at]
            following = seen.get(context)
            if following is None:
                if len(seen) >= MAX_CONTEXTS:
                    self._prune()
                    seen = self.seen
                following = seen[context] = {}
            entry = following.get(operation)
            if entry is None:
                if len(following) < MAX_NEXT:
                    following[operation] = [weight, actor, 0]
                continue
            entry[0] += weight
            second = entry[2]
            if (actor < second or not second) and actor != entry[1]:
                _also(entry, actor)

    def merge(self, other: Contexts) -> None:
        for context, theirs in other.seen.items():
            mine = self.seen.setdefault(context, {})
            for operation, (calls, first, second) in theirs.items():
                entry = mine.get(operation)
                if entry is None:
                    if len(mine) < MAX_NEXT:
                        mine[operation] = [calls, first, second]
                    continue
                entry[0] += calls
                _also(entry, first)
                if second:
                    _also(entry, second)
        if len(self.seen) > MAX_CONTEXTS:
            self._prune()

    def move(self, renamed: Mapping[str, str]) -> None:
        old, self.seen = self.seen, {}
        for context, following in old.items():
            moved = SEPARATOR.join([renamed.get(one, one) for one in context.split(SEPARATOR)]) if context else ""
            part = Contexts()
            for operation, entry in following.items():
                one = Contexts()
                one.seen = {moved: {renamed.get(operation, operation): list(entry)}}
                part.merge(one)
            self.merge(part)

    def known(self) -> tuple[Followers, ...]:
        """What two actors did, by context, sorted."""
        found = []
        for context in sorted(self.seen):
            following = tuple((name, entry[0]) for name, entry in sorted(self.seen[context].items()) if entry[2])
            if following:
                found.append(Followers(tuple(context.split(SEPARATOR)) if context else (), following))
        return tuple(found)

    def dump(self) -> Any:
        return {context: dict(sorted(following.items())) for context, following in sorted(self.seen.items())}

    @classmethod
    def load(cls, data: Any) -> Contexts:
        state = cls()
        state.seen = {str(c): {str(o): [int(n) for n in entry] for o, entry in f.items()} for c, f in data.items()}
        return state

    def _prune(self) -> None:
        calls = {context: sum(entry[0] for entry in following.values()) for context, following in self.seen.items()}
        kept = sorted(calls, key=lambda context: (-calls[context], context))[: MAX_CONTEXTS * 3 // 4]
        self.seen = {context: self.seen[context] for context in kept}


def _also(entry: list[int], actor: int) -> None:
    """Keep the two lowest distinct actor hashes, 0 standing for none."""
    hashes = sorted({entry[1], entry[2], actor} - {0})
    entry[1] = hashes[0]
    entry[2] = hashes[1] if len(hashes) > 1 else 0


class Predictor:
    """How likely a next call is, by what was learned of one service."""

    __slots__ = ("_counts", "_tables", "_unseen", "calls")

    def __init__(self, followers: Sequence[Followers]) -> None:
        self._counts = {one.context[0]: dict(one.following) for one in followers if len(one.context) == 1}
        self._tables = {one.context: _bits(one.following) for one in followers}
        first = next((one.following for one in followers if not one.context), ())
        self.calls = sum(calls for _, calls in first)
        self._unseen = log2(2 + len(first))

    def surprise(self, before: tuple[str, ...], operation: str) -> float:
        """Bits: -log2 of its probability after these operations (at most `ORDER`, the last one last)."""
        tables = self._tables
        table = tables.get(before)
        if table is not None and (known := table[1].get(operation)) is not None:
            return known  # nearly always
        bits = 0.0
        while True:
            table = tables.get(before)
            if table is not None:
                known = table[1].get(operation)
                if known is not None:
                    return bits + known
                bits += table[0]
            if not before:
                return bits + self._unseen
            before = before[1:]

    def after(self, before: str, operation: str) -> tuple[int, int]:
        """(calls of the operation after another one, all calls after that one)."""
        following = self._counts.get(before, {})
        return following.get(operation, 0), sum(following.values())


def _bits(following: Sequence[tuple[str, int]]) -> tuple[float, dict[str, float]]:
    """(bits of what never came there, bits of what did)."""
    whole = sum(calls for _, calls in following) + len(following)
    return log2(whole / len(following)), {operation: log2(whole / calls) for operation, calls in following}
