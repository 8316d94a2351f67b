"""How the credentials of a class move between networks and clients, and the networks that each workload calls from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from eastwall.behaviours.credential_use.places import PRIVATE, make, network
from eastwall.behaviours.holding import Backers, Key, beyond
from eastwall.behaviours.maxima import Maxima, Usual, told_counts
from eastwall.behaviours.sketch import hash64
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord

MAX_CLASSES = 256
MAX_WORKLOADS = 1_000
"""Workloads whose networks are kept: those with the lowest hashes."""
MAX_NETWORKS = 8
"""Of one workload: the lowest hashes. One with more is pinned to none."""
PINNED = 3
"""Networks that a pinned workload has at most."""
PINNED_CALLS = 30
INSIDE_CALLS = 5
"""The same of one that never called from a public network: from there to the internet is a long way."""
MAX_MAKES = 256
"""Makes of client of one class: those with the lowest hashes."""
MEASURES = 2
"""Times that a credential changed network and make of client at once; networks of one credential."""


class Moves(Struct, frozen=True, array_like=True):
    """How credentials of a class move."""

    cls: str
    usual: Usual
    makes: tuple[int, ...] = ()
    """`hash64` of the makes of client that two or more of its callers use, sorted."""


class Pins(Struct, frozen=True, array_like=True):
    """The networks of a workload."""

    actor: int
    """`hash64` of its name."""
    networks: tuple[int, ...]
    """`hash64` of each, sorted."""
    calls: int


class Knowledge(Struct, frozen=True):
    """For engines."""

    moves: tuple[Moves, ...] = ()
    pins: tuple[Pins, ...] = ()


class Model:
    """`merge` adds; nothing depends on the order of records (up to `MAX_CLASSES`)."""

    __slots__ = ("_highest", "_makes", "_moves", "_workloads")

    def __init__(self) -> None:
        self._moves: dict[str, Maxima] = {}
        self._makes: dict[str, dict[int, list[int]]] = {}
        """Class -> hash of a make -> the lowest two hashes of its callers."""
        self._workloads: dict[int, list[Any]] = {}
        """Hash of the actor -> [calls, hashes of networks]."""
        self._highest = -1

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        kind = record.actor_kind
        if kind != "user" and kind != "address" and record.strength > 1 and _let_in(record):
            self._workload(hash64(record.actor), 1, (hash64(network(_address(record))),))
        if note is None or not record.actor or record.action == "block":
            return
        if not clean and any(finding.suspicious for finding in record.findings):
            return
        counts = told_counts(note, MEASURES)
        if counts is not None:
            moves = self._class(record.actor_class)
            if moves is not None:
                caller = hash64(record.actor)
                moves.fold(caller, record.time, counts)
                self._make(record.actor_class, hash64(make(record.user_agent)), (caller,))

    def merge(self, other: Model) -> None:
        for cls, theirs in other._moves.items():
            mine = self._class(cls)
            if mine is not None:
                mine.merge(theirs)
                for one, callers in other._makes.get(cls, {}).items():
                    self._make(cls, one, callers)
        for actor, (calls, networks) in other._workloads.items():
            self._workload(actor, calls, networks)

    def move(self, renamed: Mapping[str, str]) -> None:
        """Nothing here is of one operation."""

    def dump(self) -> Any:
        workloads = sorted([actor, calls, sorted(networks)] for actor, (calls, networks) in self._workloads.items())
        makes = {cls: sorted([one, *callers] for one, callers in known.items()) for cls, known in self._makes.items()}
        return [sorted([cls, moves.dump(), makes.get(cls, [])] for cls, moves in self._moves.items()), workloads]

    @classmethod
    def load(cls, data: Any) -> Model:
        state = cls()
        moves, workloads = data
        state._moves = {str(name): Maxima.load(one) for name, one, _ in moves}
        state._makes = {str(name): {int(one): [int(c) for c in callers] for one, *callers in makes} for name, _, makes in moves}
        for actor, calls, networks in workloads:
            state._workload(int(actor), int(calls), [int(one) for one in networks])
        return state

    def publish(self, endpoints: Sequence[Endpoint]) -> Knowledge | None:
        moves = [
            Moves(cls, usual, tuple(sorted(one for one, callers in self._makes.get(cls, {}).items() if len(callers) > 1)))
            for cls, group in sorted(self._moves.items())
            if (usual := group.usual((0.0, 0.0))) is not None
        ]
        inside = {hash64(PRIVATE)}
        pins = [
            Pins(actor, tuple(sorted(networks)), calls)
            for actor, (calls, networks) in sorted(self._workloads.items())
            if (calls >= PINNED_CALLS and len(networks) <= PINNED) or (calls >= INSIDE_CALLS and networks == inside)
        ]
        return Knowledge(tuple(moves), tuple(pins)) if moves or pins else None

    def backers(self, key: Key, first: Usual) -> Backers | None:
        """See `behaviours.holding`."""
        return beyond(self._moves.get(key[2]), first, range(MEASURES))

    def _class(self, cls: str) -> Maxima | None:
        group = self._moves.get(cls)
        if group is None and len(self._moves) < MAX_CLASSES:
            group = self._moves[cls] = Maxima()
        return group

    def _make(self, cls: str, one: int, callers: Sequence[int]) -> None:
        known = self._makes.setdefault(cls, {})
        entry = known.get(one)
        if entry is None:
            if len(known) >= MAX_MAKES:
                highest = max(known)
                if one > highest:
                    return
                del known[highest]
            entry = known[one] = []
        entry[:] = sorted({*entry, *callers})[:2]

    def _workload(self, actor: int, calls: int, networks: Sequence[int]) -> None:
        known = self._workloads.get(actor)
        if known is None:
            if 0 <= self._highest < actor:
                return
            if len(self._workloads) >= MAX_WORKLOADS:
                del self._workloads[self._highest]
            known = self._workloads[actor] = [0, set()]
            self._highest = max(self._workloads) if len(self._workloads) >= MAX_WORKLOADS else -1
        known[0] += calls
        if not known[1].issuperset(networks):
            known[1].update(networks)
            while len(known[1]) > MAX_NETWORKS:
                known[1].remove(max(known[1]))


def _let_in(record: CallRecord) -> bool:
    """The service took the caller for whom it says it is, and so did we. (What is wrong with the answer is no fault of the caller's.)"""
    good = 200 <= record.status < 300 and record.action != "block"
    return good and not any(finding.suspicious and finding.phase == "request" for finding in record.findings)


def _address(record: CallRecord) -> str:
    """As `places.address_of` tells it of a call."""
    last = record.principals[-1] if record.principals else ""
    return last.removeprefix("address:") if last.startswith("address:") else record.source
