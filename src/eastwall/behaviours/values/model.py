"""What numbers and words callers send, and which of them belong together: per operation and place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from eastwall.behaviours.holding import Backers, Key
from eastwall.behaviours.sketch import hash64, keep_lowest
from eastwall.behaviours.values.numbers import (
    ACTORS,
    SUPPORT,
    Number,
    NumberState,
    Words,
    WordState,
    number_backers,
    word_backers,
)
from eastwall.behaviours.values.prices import ANSWERED
from eastwall.behaviours.values.relations import MAX_NAME, Relation
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord

ENOUGH = 30
"""Learned calls before anything is said of a place, or of a relation."""
FEW = 10
"""The same of page sizes, of which only what is far greater is judged then: callers seldom ask for other pages than the first."""
_PAGES = frozenset("limit size pagesize perpage count first last top take max maxresults rows pagecount".split())
HOLDS = 0.99
"""Share of the calls in which a relation must hold, of those that had all its values."""
DIFFERENT = 8
"""Different values that a relation must have held of: constants belong together by chance, and 1 is a factor of all."""
MAX_OPERATIONS = 10_000
MAX_PLACES = 60
"""Places of one operation with numbers, and likewise with words; further ones are not learned."""
MAX_SETS = 24
"""Sets of values that objects at one place were seen with."""
MAX_RELATIONS = 300
"""Relations of one object that ever held; when there are more, the third that held least leaves."""
MAX_FRAMES = 8
MAX_PLACE = 200
MAX_TOLD = 120
"""Relations that one note tells of an object."""
_HOWS = frozenset({"equal", "product", "sum", "count", "sum of items", "before", ANSWERED})
PRODUCTS = 3
"""Different products whose prices requests must have held, where they hold what answers gave."""


class Held(Struct, frozen=True, array_like=True):
    """A relation that is believed."""

    frame: tuple[str, ...]
    """Keys from the body down to the object."""
    how: str
    target: str
    sources: tuple[str, ...]
    held: int
    of: int
    actors: int


class Known(Struct, frozen=True, array_like=True):
    """What is known of one operation."""

    endpoint: str
    numbers: tuple[Number, ...] = ()
    words: tuple[Words, ...] = ()
    relations: tuple[Held, ...] = ()


class Knowledge(Struct, frozen=True):
    """For engines: by operation."""

    operations: tuple[Known, ...] = ()


class _Frame:
    """Counts of the objects at one place."""

    __slots__ = ("relations", "sets")

    def __init__(self) -> None:
        self.sets: dict[tuple[str, ...], int] = {}
        """Values that were there together -> calls."""
        self.relations: dict[Relation, list[Any]] = {}
        """Relation -> [calls in which it held, callers, hashes of the values]."""

    def add(self, relation: Relation, count: int, actors: set[int], values: set[int]) -> None:
        known = self.relations.get(relation)
        if known is None:
            known = self.relations[relation] = [0, set(), set()]
        known[0] += count
        keep_lowest(known[1], actors, ACTORS)
        keep_lowest(known[2], values, DIFFERENT)

    def bound(self) -> None:
        if len(self.relations) > MAX_RELATIONS:
            kept = sorted(self.relations, key=lambda one: (-self.relations[one][0], one))[: MAX_RELATIONS * 2 // 3]
            self.relations = {one: self.relations[one] for one in kept}

    def merge(self, other: _Frame) -> None:
        for names, count in other.sets.items():
            self.seen(names, count)
        for relation, (count, actors, values) in other.relations.items():
            self.add(relation, count, actors, values)
        self.bound()

    def seen(self, names: tuple[str, ...], count: int) -> None:
        if names in self.sets or len(self.sets) < MAX_SETS:
            self.sets[names] = self.sets.get(names, 0) + count

    def known(self, steps: tuple[str, ...]) -> list[Held]:
        """What is believed."""
        found = []
        for relation, (count, actors, values) in sorted(self.relations.items()):
            if count < ENOUGH or len(actors) < SUPPORT or len(values) < PRODUCTS:
                continue
            how, target, sources = relation
            if how != ANSWERED and len(values) < DIFFERENT:
                continue
            needed = {target, *sources}
            of = sum(calls for names, calls in self.sets.items() if needed.issubset(names))
            if count >= HOLDS * of:
                found.append(Held(steps, how, target, sources, count, max(of, count), len(actors)))
        return found


class _Operation:
    """Counts of one operation."""

    __slots__ = ("frames", "numbers", "words")

    def __init__(self) -> None:
        self.numbers: dict[str, NumberState] = {}
        self.words: dict[str, WordState] = {}
        self.frames: dict[tuple[str, ...], _Frame] = {}

    def frame(self, steps: tuple[str, ...]) -> _Frame | None:
        frame = self.frames.get(steps)
        if frame is None and len(self.frames) < MAX_FRAMES:
            frame = self.frames[steps] = _Frame()
        return frame

    def merge(self, other: _Operation) -> None:
        for place, numbers in other.numbers.items():
            mine = _room(self.numbers, place, NumberState)
            if mine is not None:
                mine.merge(numbers)
        for place, words in other.words.items():
            known = _room(self.words, place, WordState)
            if known is not None:
                known.merge(words)
        for steps, theirs in other.frames.items():
            frame = self.frame(steps)
            if frame is not None:
                frame.merge(theirs)


def _room(into: dict[str, Any], place: str, make: Any) -> Any:
    """The state of a place; None where there is no room for another."""
    state = into.get(place)
    if state is None and len(into) < MAX_PLACES:
        state = into[place] = make()
    return state


class Model:
    """`merge` adds; nothing depends on the order of records, up to the bounds above."""

    __slots__ = ("_operations",)

    def __init__(self) -> None:
        self._operations: dict[str, _Operation] = {}

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        if not clean or not record.actor or (note is None and not record.request_fields):
            return
        operation = self._operations.get(endpoint)
        if operation is None:
            if len(self._operations) >= MAX_OPERATIONS:
                return
            operation = self._operations[endpoint] = _Operation()
        actor = hash64(record.actor)
        if record.request_fields:
            _fold_fields(operation, record, actor)
        if note is not None:
            for steps, names, relations in told(note):
                frame = operation.frame(steps)
                if frame is not None:
                    frame.seen(names, 1)
                    for relation, value in relations:
                        frame.add(relation, 1, {actor}, {value} if value else set())
                    frame.bound()

    def merge(self, other: Model) -> None:
        for endpoint, theirs in other._operations.items():
            self._add(endpoint, theirs)

    def _add(self, endpoint: str, theirs: _Operation) -> None:
        mine = self._operations.get(endpoint)
        if mine is None:
            if len(self._operations) >= MAX_OPERATIONS:
                return
            mine = self._operations[endpoint] = _Operation()
        mine.merge(theirs)

    def move(self, renamed: Mapping[str, str]) -> None:
        for endpoint in [endpoint for endpoint in self._operations if endpoint in renamed]:
            self._add(renamed[endpoint], self._operations.pop(endpoint))

    def dump(self) -> Any:
        return [
            [
                endpoint,
                [[place, state.dump()] for place, state in sorted(one.numbers.items())],
                [[place, words.dump()] for place, words in sorted(one.words.items())],
                [[list(steps), _dump_frame(frame)] for steps, frame in sorted(one.frames.items())],
            ]
            for endpoint, one in sorted(self._operations.items())
        ]

    @classmethod
    def load(cls, data: Any) -> Model:
        state = cls()
        for endpoint, numbers, words, frames in data:
            one = state._operations[str(endpoint)] = _Operation()
            one.numbers = {str(place): NumberState.load(counts) for place, counts in numbers}
            one.words = {str(place): WordState.load(counts) for place, counts in words}
            one.frames = {tuple(map(str, steps)): _load_frame(frame) for steps, frame in frames}
        return state

    def backers(self, key: Key, first: Any) -> Backers | None:
        """See `behaviours.holding`. None of a relation, and of a place that had too many words."""
        one = self._operations.get(key[1])
        if one is None or key[0] == "relation":
            return None
        number, words = one.numbers.get(key[2]), one.words.get(key[2])
        if key[0] == "number":
            return number_backers(first, number, words)
        return word_backers(first, words) if words is not None else None

    def publish(self, endpoints: Sequence[Endpoint]) -> Knowledge | None:
        found = []
        for endpoint, one in sorted(self._operations.items()):
            numbers = [
                state.known(*_stands(place), FEW if _page(place) else ENOUGH)
                for place, state in sorted(one.numbers.items())
                if not _texts(one, place)
            ]
            words = [state.known(*_stands(place), ENOUGH) for place, state in sorted(one.words.items())]
            relations = [held for steps, frame in sorted(one.frames.items()) for held in frame.known(steps)]
            known = Known(
                endpoint,
                tuple([n for n in numbers if n is not None]),
                tuple([w for w in words if w is not None]),
                tuple(relations),
            )
            if known.numbers or known.words or known.relations:
                found.append(known)
        return Knowledge(tuple(found)) if found else None


def _texts(operation: _Operation, place: str) -> bool:
    """Whether several callers send text at the place of a number."""
    words = operation.words.get(place)
    return words is not None and (words.words is None or len(words.actors | words.free) >= SUPPORT)


def _page(place: str) -> bool:
    """Whether a number is how many entries a caller asks for, by its name."""
    return place.rpartition(".")[2].lower().replace("_", "").replace("-", "") in _PAGES


def _stands(place: str) -> tuple[str, bool]:
    return place, place.startswith("query.")


def _fold_fields(operation: _Operation, record: CallRecord, actor: int) -> None:
    last = ""
    for field in record.request_fields:
        place, kind = field.place, field.kind
        number = field.number
        if number is not None:
            if "{}" not in place and len(place) <= MAX_PLACE:
                state = _room(operation.numbers, place, NumberState)
                if state is not None:
                    state.fold(number, actor, place != last)
                last = place
        elif kind == "string" and not field.data_class and "{}" not in place and len(place) <= MAX_PLACE:
            words = _room(operation.words, place, WordState)
            if words is not None:
                words.fold(field.text, actor, record.actor_class)


def told(note: Any) -> list[tuple[tuple[str, ...], tuple[str, ...], list[tuple[Relation, int]]]]:
    """What a watch noted, as far as it is as expected: (steps, names, (relation, hash of its values, 0 for none))."""
    if not isinstance(note, (list, tuple)):
        return []
    found: list[tuple[tuple[str, ...], tuple[str, ...], list[tuple[Relation, int]]]] = []
    for entry in note[:MAX_FRAMES]:
        try:
            steps, names, relations = entry
            told_names = tuple(sorted({str(name)[: 2 * MAX_NAME + 4] for name in names[:40]}))
            told_relations = [
                ((str(how), str(target), tuple([str(name) for name in sources])), int(value) & (1 << 64) - 1)
                for how, target, sources, value in relations[:MAX_TOLD]
            ]
            told_steps = tuple([str(step)[:MAX_NAME] for step in steps[:8]])
        except (TypeError, ValueError, KeyError, OverflowError):
            continue
        known = set(told_names)
        fit = [one for one in told_relations if one[0][0] in _HOWS and known.issuperset((one[0][1], *one[0][2]))]
        found.append((told_steps, told_names, fit))
    return found


def _dump_frame(frame: _Frame) -> Any:
    return [
        sorted([list(names), count] for names, count in frame.sets.items()),
        [
            [how, target, list(sources), count, sorted(actors), sorted(values)]
            for (how, target, sources), (count, actors, values) in sorted(frame.relations.items())
        ],
    ]


def _load_frame(data: Any) -> _Frame:
    frame = _Frame()
    sets, relations = data
    frame.sets = {tuple(map(str, names)): int(count) for names, count in sets}
    for how, target, sources, count, actors, values in relations:
        known = [int(count), {int(one) for one in actors}, {int(one) for one in values}]
        frame.relations[(str(how), str(target), tuple(map(str, sources)))] = known
    return frame
