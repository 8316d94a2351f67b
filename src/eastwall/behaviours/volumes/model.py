"""What one caller has in an hour, a day, a week: calls, bytes, records, distinct objects, sensitive values.

For each class of callers of a service a uniform sample of (caller, window) cells is kept: those with the lowest hashes of caller and
window (bottom-k). A cell that is in the sample at the end was in it from its first record on, so its counts are exact, whatever the order
of records and shards. Distinct objects of a cell are exact below `OBJECTS`, and a k-minimum-values sketch above (standard error 13 %).

One caller alone moves nothing: where a class has `MANY` callers, what is published as its greatest leaves out the caller who had most.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct

from eastwall.behaviours.holding import Backers, Key, drift
from eastwall.behaviours.maxima import NEW_TO_CLASS
from eastwall.behaviours.sketch import Distinct, hash64, keep_lowest
from eastwall.discovery.data_classes import BY_NAME
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord

SPANS = (("hour", 3_600, 192), ("day", 86_400, 128), ("week", 604_800, 64))
"""(window, its seconds, cells of a class that are kept)."""
OBJECTS = 64
"""Distinct objects of a cell and kind that are counted exactly."""
MAX_GROUPS = 128
"""(service, class); the one with the fewest cells leaves. With `SPANS`, `OBJECTS` and one kind of object in each cell: 2 MB each."""
MAX_MEASURES = 96
"""Operations, data classes and the like of one cell."""
MAX_KINDS = 24
"""Kinds of objects of one cell."""
MAX_OPEN, MAX_GIVEN = 4_096, 2_000
"""Hours of callers before they are counted into the samples, and objects of one of them."""
MAX_PAIRS = 256
"""(data class, class of callers) of one operation."""
MAX_OPERATIONS = 20_000
MIN_CELLS = 3
"""Cells that must hold a measure before anything is published of it."""
MANY = 10
"""Callers from which on the one who had most is left out."""
ACTORS = 64
"""Callers of a class that are told apart."""
_MOST = 1 << 40
_ODD = 0x9E3779B97F4A7C15
_UNSIGNED = (1 << 64) - 1
"""Keys of objects are signed."""


class Measure(Struct, frozen=True, array_like=True):
    """How much of one thing callers of a class have in a window, of those who have any."""

    name: str
    """`calls`, `bytes`, `records`, `call ENDPOINT`, `object KIND`, `data CLASS`."""
    cells: int
    actors: int
    median: int
    upper: int
    """The 95th percentile."""
    greatest: int
    """Without the caller who had most, where there are `MANY`."""
    top: int
    """The greatest of all."""


class Group(Struct, frozen=True, array_like=True):
    """One class of callers of one service."""

    service: str
    cls: str
    spans: tuple[tuple[str, int, tuple[Measure, ...]], ...]
    """(window, how many hours (days, weeks) of the calendar its cells are of, measures)."""


class Knowledge(Struct, frozen=True):
    """What engines know."""

    groups: tuple[Group, ...] = ()
    data: tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...] = ()
    """Operation -> data class in its answers -> classes of callers who got it."""
    labels: tuple[tuple[str, str], ...] = ()
    """Operation -> `GET /orders/{order_id}`, for those among the measures."""


class _Cell:
    """What one caller had in one window."""

    __slots__ = ("actor", "counts", "objects", "window")

    def __init__(self, actor: int, window: int) -> None:
        self.actor = actor
        self.window = window
        """Number of the hour, day or week."""
        self.counts: dict[str, int] = {}
        self.objects: dict[str, Distinct] = {}

    def add(self, counts: Mapping[str, int], objects: Mapping[str, Collection[int]]) -> None:
        """`objects`: unsigned keys by kind."""
        mine = self.counts
        for name, count in counts.items():
            mine[name] = mine.get(name, 0) + count
        while len(mine) > MAX_MEASURES:
            del mine[max(mine)]  # by name, not by who came first: shards in any order keep the same
        for kind, keys in objects.items():
            held = self.objects.get(kind)
            if held is None:
                if len(self.objects) >= MAX_KINDS and kind > max(self.objects):
                    continue
                held = self.objects[kind] = Distinct(size=OBJECTS)
                if len(self.objects) > MAX_KINDS:
                    del self.objects[max(self.objects)]
            if held.highest < 0 and len(held.hashes) + len(keys) < OBJECTS:
                held.hashes.update(keys)
            else:
                for key in keys:
                    held.add(key)

    def measures(self) -> dict[str, int]:
        return self.counts | {f"object {kind}": objects.count() for kind, objects in self.objects.items()}


class _Open:
    """What one caller had in one hour, as it comes in."""

    __slots__ = ("calls", "data", "given", "operations", "pairs", "records", "size")

    def __init__(self) -> None:
        self.calls = self.size = self.records = 0
        self.operations: dict[str, int] = {}
        self.given: set[tuple[str, int]] = set()
        self.data: dict[str, int] = {}
        self.pairs: set[tuple[str, str]] = set()
        """(operation, data class)."""

    def counts(self) -> dict[str, int]:
        found = {"calls": self.calls, "bytes": max(self.size, 0)}
        if self.records:
            found["records"] = self.records
        return (
            found
            | {f"data {name}": count for name, count in self.data.items()}
            | {f"call {endpoint}": count for endpoint, count in self.operations.items()}
        )


class _Sample:
    """The cells of a class in windows of one length: those with the lowest hashes."""

    __slots__ = ("ceiling", "cells", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.cells: dict[int, _Cell] = {}
        self.ceiling = -1
        """The highest hash, once there are enough."""

    def cell(self, key: int, actor: int, window: int) -> _Cell | None:
        """The cell of a window; None when it is not in the sample."""
        found = self.cells.get(key)
        if found is None:
            if len(self.cells) >= self.size:
                if self.ceiling < 0:
                    self.ceiling = max(self.cells)
                if key > self.ceiling:
                    return None
                del self.cells[self.ceiling]
                self.ceiling = -1
            found = self.cells[key] = _Cell(actor, window)
        return found

    def windows(self) -> int:
        return len({cell.window for cell in self.cells.values()})

    def measures(self) -> tuple[Measure, ...]:
        values: dict[str, list[tuple[int, int]]] = {}
        for cell in self.cells.values():
            for name, count in cell.measures().items():
                if count > 0:
                    values.setdefault(name, []).append((count, cell.actor))
        return tuple(_measure(name, sorted(found)) for name, found in sorted(values.items()) if len(found) >= MIN_CELLS)


def _mixed(number: int) -> int:
    """A 64-bit hash of a 64-bit hash (the finalizer of SplitMix64, Steele et al., 2014)."""
    number &= _UNSIGNED
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _UNSIGNED
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _UNSIGNED
    return number ^ number >> 31


def _measure(name: str, found: list[tuple[int, int]]) -> Measure:
    top = found[-1][0]
    actors = {actor for _, actor in found}
    most = found[-1][1]
    rest = [count for count, actor in found if actor != most] if len(actors) >= MANY else []
    last = len(found) - 1
    return Measure(
        name,
        len(found),
        min(len(actors), ACTORS),
        found[last // 2][0],
        found[last * 95 // 100][0],
        rest[-1] if rest else top,
        top,
    )


class Model:
    """Mergeable state."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], tuple[_Sample, ...]] = {}
        self._open: dict[tuple[str, str, str, float], _Open] = {}
        """(caller, service, class, hour) -> what is not in the samples yet."""
        self._data: dict[str, dict[str, set[int]]] = {}
        """Operation -> `data class NUL class` -> hashes of its two lowest callers."""

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        if not record.actor or not (clean or _merely_new(record)):
            return
        key = (record.actor, record.service, record.actor_class, record.time // 3_600)
        entry = self._open.get(key)
        if entry is None:
            if len(self._open) >= MAX_OPEN:
                self._settle()
            entry = self._open[key] = _Open()
        entry.calls += 1
        entry.size += record.response_bytes
        operations = entry.operations
        if endpoint in operations:
            operations[endpoint] += 1
        elif len(operations) < MAX_MEASURES:
            operations[endpoint] = 1
        if note is not None and type(note) is int and 0 < note < _MOST:
            entry.records += note
        if record.given:
            entry.given.update(record.given)
            if len(entry.given) > MAX_GIVEN:
                self._settle()
                return
        if record.data:
            records = note if type(note) is int and 0 < note < _MOST else 0
            for hit in record.data:
                name = hit.data_class
                if hit.direction == "response" and name not in BY_NAME:
                    entry.data[name] = entry.data.get(name, 0) + (records if records and "[]" in hit.place else 1)
                    entry.pairs.add((endpoint, name))

    def _settle(self) -> None:
        """Count the open hours into the samples."""
        for (actor, service, cls, hour), entry in self._open.items():
            samples = self._group(service, cls)
            who = hash64(actor)
            counts = entry.counts()
            objects: dict[str, list[int]] = {}
            for kind, key in entry.given:
                objects.setdefault(kind, []).append(key & _UNSIGNED)
            for (_, seconds, _), sample in zip(SPANS, samples, strict=True):
                window = int(hour * 3_600) // seconds
                cell = sample.cell(_mixed(who ^ window * _ODD), who, window)
                if cell is not None:
                    cell.add(counts, objects)
            for endpoint, name in entry.pairs:
                self._add_pairs(endpoint, {f"{name}\0{cls}": {who}})
        self._open.clear()

    def backers(self, key: Key, first: Measure) -> Backers | None:
        """See `behaviours.holding`: callers of the sampled windows that hold the measure."""
        at = next((n for n, (name, _, _) in enumerate(SPANS) if name == key[3]), None)
        samples = self._groups.get((key[1], key[2]))
        if at is None or samples is None:
            return None
        most, found = drift(first.greatest), Backers(set(), set())
        for cell in samples[at].cells.values():
            count = cell.measures().get(key[4], 0)
            if count:
                found.all.add(cell.actor)
                if count > most:
                    found.beyond.add(cell.actor)
        return found

    def _group(self, service: str, cls: str) -> tuple[_Sample, ...]:
        found = self._groups.get((service, cls))
        if found is None:
            if len(self._groups) >= MAX_GROUPS:
                least = min(self._groups, key=lambda key: (len(self._groups[key][0].cells), key))
                del self._groups[least]
            found = self._groups[service, cls] = tuple(_Sample(size) for _, _, size in SPANS)
        return found

    def merge(self, other: Model) -> None:
        self._settle()
        other._settle()
        for (service, cls), theirs in other._groups.items():
            for mine, sample in zip(self._group(service, cls), theirs, strict=True):
                for key, cell in sample.cells.items():
                    into = mine.cell(key, cell.actor, cell.window)
                    if into is not None:
                        into.add(cell.counts, {kind: objects.hashes for kind, objects in cell.objects.items()})
        for endpoint, pairs in other._data.items():
            self._add_pairs(endpoint, pairs)

    def _add_pairs(self, endpoint: str, pairs: Mapping[str, set[int]]) -> None:
        if endpoint in self._data or len(self._data) < MAX_OPERATIONS:
            mine = self._data.setdefault(endpoint, {})
            for pair, actors in pairs.items():
                if pair in mine or len(mine) < MAX_PAIRS:
                    keep_lowest(mine.setdefault(pair, set()), actors, 2)

    def move(self, renamed: Mapping[str, str]) -> None:
        self._settle()
        names = {f"call {old}": f"call {new}" for old, new in renamed.items()}
        for samples in self._groups.values():
            for sample in samples:
                for cell in sample.cells.values():
                    if not names.keys().isdisjoint(cell.counts):
                        old, cell.counts = cell.counts, {}
                        for name, count in old.items():
                            cell.add({names.get(name, name): count}, {})
        for endpoint in [one for one in renamed if one in self._data]:
            self._add_pairs(renamed[endpoint], self._data.pop(endpoint))

    def dump(self) -> Any:
        self._settle()
        groups = [
            [
                service,
                cls,
                [
                    [
                        [
                            key,
                            cell.actor,
                            cell.window,
                            dict(sorted(cell.counts.items())),
                            {k: sorted(cell.objects[k].hashes) for k in sorted(cell.objects)},
                        ]
                        for key, cell in sorted(sample.cells.items())
                    ]
                    for sample in samples
                ],
            ]
            for (service, cls), samples in sorted(self._groups.items())
        ]
        return [groups, {e: {pair: sorted(pairs[pair]) for pair in sorted(pairs)} for e, pairs in sorted(self._data.items())}]

    @classmethod
    def load(cls, data: Any) -> Model:
        state = cls()
        groups, pairs = data
        for service, name, samples in groups:
            for sample, cells in zip(state._group(service, name), samples, strict=True):
                for key, actor, window, counts, objects in cells:
                    cell = _Cell(int(actor), int(window))
                    cell.add({str(k): int(v) for k, v in counts.items()}, objects)
                    sample.cells[int(key)] = cell
        state._data = {endpoint: {pair: set(actors) for pair, actors in found.items()} for endpoint, found in pairs.items()}
        return state

    def publish(self, endpoints: Sequence[Endpoint]) -> Knowledge | None:
        self._settle()
        if not self._groups:
            return None
        groups = []
        for (service, cls), samples in sorted(self._groups.items()):
            spans = tuple(
                (name, sample.windows(), sample.measures()) for (name, _, _), sample in zip(SPANS, samples, strict=True)
            )
            if any(measures for _, _, measures in spans):
                groups.append(Group(service, cls, spans))
        named = {
            measure.name[5:] for group in groups for _, _, of in group.spans for measure in of if measure.name[:5] == "call "
        }
        lone = {e.id: frozenset(cls for cls, _, actors in e.users if actors < 2) for e in endpoints}
        return Knowledge(
            groups=tuple(groups),
            data=tuple((e, _who(pairs, lone.get(e, frozenset()))) for e, pairs in sorted(self._data.items())),
            labels=tuple((e.id, e.operation or f"{e.method} {e.template}") for e in endpoints if e.id in named),
        )


def _merely_new(record: CallRecord) -> bool:
    """Whether a call that was let through is not clean for no other reason than that its operation is new to the caller's class."""
    told = [finding for finding in record.findings if finding.suspicious]
    return bool(told) and record.action != "block" and record.status // 100 == 2 and all(one.id in NEW_TO_CLASS for one in told)


def _who(pairs: Mapping[str, set[int]], lone: frozenset[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Data class -> classes of which two callers got it, or the one there is (`lone`: classes of a single caller)."""
    found: dict[str, list[str]] = {}
    for pair in sorted(pairs):
        data_class, _, cls = pair.partition("\0")
        if len(pairs[pair]) > 1 or cls in lone:
            found.setdefault(data_class, []).append(cls)
    return tuple((name, tuple(classes)) for name, classes in found.items())
