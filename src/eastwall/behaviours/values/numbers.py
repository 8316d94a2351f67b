"""What is counted of the numbers and the words at one place of a request. One caller alone widens nothing."""

from __future__ import annotations

from math import frexp, inf, sqrt
from typing import Any

from msgspec import Struct

from eastwall.behaviours.holding import Backers
from eastwall.behaviours.sketch import keep_lowest

ACTORS = 16
"""Callers of a place, and of a word, that are told apart: those with the lowest hashes. A uniform sample, by which baselines ask for a share."""
SUPPORT = 3
"""Callers that stand behind an extreme, a word, a fraction."""
KEPT = SUPPORT
"""Callers kept for each extreme: those with the greatest, or least, of their own."""
MAX_WORDS = 40
"""Different words of a place; with more it is no enumeration, for good."""
MAX_CLASSES = 8
"""Classes of callers kept for a word; the first by name."""
MAX_TIMES = 1 << 40


class Number(Struct, frozen=True, array_like=True):
    """What engines know of the numbers at a place."""

    place: str
    query: bool
    least: float
    most: float
    calls: int
    actors: int
    whole: bool
    """Always a whole number."""
    spread: float
    """Standard deviation of the binary logarithm of the numbers."""


class Words(Struct, frozen=True, array_like=True):
    """What engines know of the words at a place."""

    place: str
    query: bool
    words: tuple[tuple[str, int, tuple[str, ...]], ...]
    """(word, calls, classes of callers), most calls first."""
    calls: int
    actors: int


class NumberState:
    """Counts of the numbers of one place."""

    __slots__ = ("actors", "calls", "fractions", "high", "highest", "low", "powers")

    def __init__(self) -> None:
        self.calls = 0
        self.actors: dict[int, list[float]] = {}
        """Caller -> its least and its greatest, for the `ACTORS` callers with the lowest hashes."""
        self.highest = -1
        """The largest of these hashes once there are so many."""
        self.low: dict[int, float] = {}
        """Caller -> its least, for the `KEPT` callers with the least."""
        self.high: dict[int, float] = {}
        self.fractions: set[int] = set()
        """Callers that sent a fraction."""
        self.powers: dict[int, int] = {}
        """Binary exponent -> numbers; at most 129."""

    def fold(self, number: float, actor: int, first: bool) -> None:
        """One number; `first`: of its call at this place."""
        if first:
            self.calls += 1
        self._caller(actor, number, number)
        _least(self.low, actor, number)
        _most(self.high, actor, number)
        power = max(-64, min(64, frexp(number)[1])) if number else -64
        self.powers[power] = self.powers.get(power, 0) + 1
        if number % 1.0:
            _add(self.fractions, actor, ACTORS)

    def _caller(self, actor: int, low: float, high: float) -> None:
        mine = self.actors.get(actor)
        if mine is None:
            if 0 <= self.highest < actor:
                return
            if self.highest >= 0:
                del self.actors[self.highest]
            self.actors[actor] = [low, high]
            if len(self.actors) >= ACTORS:
                self.highest = max(self.actors)
            return
        if low < mine[0]:
            mine[0] = low
        if high > mine[1]:
            mine[1] = high

    def merge(self, other: NumberState) -> None:
        self.calls += other.calls
        for actor, (least, most) in other.actors.items():
            self._caller(actor, least, most)
        keep_lowest(self.fractions, other.fractions, ACTORS)
        for actor, number in other.low.items():
            _least(self.low, actor, number)
        for actor, number in other.high.items():
            _most(self.high, actor, number)
        for power, count in other.powers.items():
            self.powers[power] = self.powers.get(power, 0) + count

    def known(self, place: str, query: bool, enough: int) -> Number | None:
        """None while fewer than `enough` calls, or `SUPPORT` callers, had a number here."""
        if self.calls < enough or len(self.actors) < SUPPORT:
            return None
        total = sum(self.powers.values())
        mean = sum(power * count for power, count in self.powers.items()) / total
        spread = sqrt(sum(count * (power - mean) ** 2 for power, count in self.powers.items()) / total)
        return Number(
            place, query, sorted(self.low.values())[-1], sorted(self.high.values())[0], self.calls, len(self.actors),
            len(self.fractions) < SUPPORT, round(spread, 2),
        )  # fmt: skip

    def dump(self) -> Any:
        return [
            self.calls, sorted([actor, *of] for actor, of in self.actors.items()), sorted(self.low.items()), sorted(self.high.items()), sorted(self.fractions),
            sorted(self.powers.items()),
        ]  # fmt: skip

    @classmethod
    def load(cls, data: Any) -> NumberState:
        state = cls()
        calls, actors, low, high, fractions, powers = data
        state.calls = int(calls)
        for told in actors:  # before 2026-11-23 hashes alone
            actor, least, most = told if isinstance(told, list) else (told, inf, -inf)
            state._caller(int(actor), float(least), float(most))
        state.low = {int(actor): float(number) for actor, number in low}
        state.high = {int(actor): float(number) for actor, number in high}
        state.fractions = {int(one) for one in fractions}
        state.powers = {int(power): int(count) for power, count in powers}
        return state


def _add(kept: set[int], actor: int, size: int) -> None:
    """`keep_lowest` of one, which mostly changes nothing."""
    if actor in kept:
        return
    if len(kept) >= size:
        highest = max(kept)
        if actor > highest:
            return
        kept.remove(highest)
    kept.add(actor)


def _least(kept: dict[int, float], actor: int, number: float) -> None:
    """Keep the callers with the least numbers, each with its own: the same whatever the order."""
    mine = kept.get(actor)
    if mine is None:
        if len(kept) >= KEPT:
            worst = max(kept, key=lambda one: (kept[one], one))
            if (number, actor) >= (kept[worst], worst):
                return
            del kept[worst]
        kept[actor] = number
    elif number < mine:
        kept[actor] = number


def _most(kept: dict[int, float], actor: int, number: float) -> None:
    mine = kept.get(actor)
    if mine is None:
        if len(kept) >= KEPT:
            worst = min(kept, key=lambda one: (kept[one], -one))
            if (number, -actor) <= (kept[worst], -worst):
                return
            del kept[worst]
        kept[actor] = number
    elif number > mine:
        kept[actor] = number


class _Word:
    __slots__ = ("actors", "calls", "classes")

    def __init__(self) -> None:
        self.calls = 0
        self.actors: set[int] = set()
        self.classes: set[str] = set()


class WordState:
    """Counts of the words of one place."""

    __slots__ = ("actors", "calls", "free", "words")

    def __init__(self) -> None:
        self.calls = 0
        self.actors: set[int] = set()
        self.free: set[int] = set()
        """Callers that sent other text; of `SUPPORT` such the place is no enumeration."""
        self.words: dict[str, _Word] | None = {}
        """None: too many."""

    def fold(self, word: str, actor: int, cls: str) -> None:
        """One word; an empty one stands for text that is no word."""
        words = self.words
        if words is None:
            return
        if not word:
            _add(self.free, actor, ACTORS)
            return
        self.calls += 1
        _add(self.actors, actor, ACTORS)
        known = words.get(word)
        if known is None:
            if len(words) >= MAX_WORDS:
                self.words = None
                return
            known = words[word] = _Word()
        known.calls += 1
        _add(known.actors, actor, ACTORS)
        if cls not in known.classes:
            _add_class(known.classes, cls)

    def merge(self, other: WordState) -> None:
        if self.words is None or other.words is None:
            self.words = None
            return
        self.calls += other.calls
        keep_lowest(self.actors, other.actors, ACTORS)
        keep_lowest(self.free, other.free, ACTORS)
        for word, theirs in other.words.items():
            mine = self.words.setdefault(word, _Word())
            mine.calls += theirs.calls
            keep_lowest(mine.actors, theirs.actors, ACTORS)
            for cls in theirs.classes:
                _add_class(mine.classes, cls)
        if len(self.words) > MAX_WORDS:
            self.words = None

    def known(self, place: str, query: bool, enough: int) -> Words | None:
        """None unless the words are all that callers send, by Good and Turing: what was sent once is rare."""
        words = self.words
        if not words or self.calls < enough or len(self.actors) < SUPPORT or len(self.free) >= SUPPORT:
            return None
        told = [(word, one.calls, tuple(sorted(one.classes))) for word, one in words.items() if len(one.actors) >= 2]
        rare = sum(1 for one in words.values() if one.calls == 1)
        if not told or len(told) * 5 > self.calls or rare * 50 > self.calls:
            return None
        told.sort(key=lambda one: (-one[1], one[0]))
        return Words(place, query, tuple(told), self.calls, len(self.actors))

    def dump(self) -> Any:
        if self.words is None:
            return None
        listed = [[word, one.calls, sorted(one.actors), sorted(one.classes)] for word, one in sorted(self.words.items())]
        return [self.calls, sorted(self.actors), sorted(self.free), listed]

    @classmethod
    def load(cls, data: Any) -> WordState:
        state = cls()
        if data is None:
            state.words = None
            return state
        calls, actors, free, listed = data
        state.calls, state.actors, state.free = int(calls), {int(one) for one in actors}, {int(one) for one in free}
        words: dict[str, _Word] = {}
        for text, count, callers, classes in listed:
            word = words[str(text)] = _Word()
            word.calls, word.actors, word.classes = int(count), {int(one) for one in callers}, {str(one) for one in classes}
        state.words = words
        return state


def _add_class(classes: set[str], cls: str) -> None:
    classes.add(cls)
    if len(classes) > MAX_CLASSES:
        classes.remove(max(classes))


def reaches(first: Number, value: float) -> bool:
    """Whether a number is within the drift of a range: at most twice as wide as what was agreed on. What is never negative, or never zero,
    does not become so by drift."""
    high = 2.0 * first.most if first.most > 0 else max(first.most, 0.0)
    low = first.least / 2.0 if first.least > 0 else 2.0 * first.least
    return low <= value <= high


def number_backers(first: Number, numbers: NumberState | None, words: WordState | None) -> Backers | None:
    """Callers who sent numbers beyond a range, fractions where all were whole, or text; None: nobody is told apart."""
    if numbers is None:
        return None
    beyond = {
        actor
        for actor, (low, high) in numbers.actors.items()
        if low <= high and not (reaches(first, low) and reaches(first, high))
    }
    if first.whole:
        beyond |= numbers.fractions
    every = set(numbers.actors)
    if words is not None:
        beyond |= words.actors | words.free
        every |= words.actors | words.free
    return Backers(beyond, set(sorted(every)[:ACTORS]))


def word_backers(first: Words, state: WordState) -> Backers | None:
    """Callers who sent other words, or other text."""
    if state.words is None:
        return None
    known = {word for word, _, _ in first.words}
    beyond = state.free.union(*(one.actors for word, one in state.words.items() if word not in known))
    return Backers(beyond, set(sorted(state.actors | state.free)[:ACTORS]))
