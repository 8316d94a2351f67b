"""Which services every class of callers calls, and of workloads which operations, and from which networks.

A caller is a workload or client by its name (`web/front`, `client:billing`), whatever instance of it calls; of users it is the class, and
services alone: which operations of a service a class uses the function matrix says. Counts, and first and last times, merge in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, ip_address
from typing import Any

from msgspec import Struct

from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord

MAX_CALLERS = 2_000
"""The one with the fewest calls leaves."""
MAX_OPERATIONS, MAX_SERVICES, MAX_NETWORKS = 512, 64, 32
"""Of one caller. Who has so many networks is at home everywhere: its networks are not judged."""
MIN_CALLS, MIN_SECONDS = 15, 7_200.0
"""Clean calls of a caller, and time from the first to the last, before its edges are judged. Calls of one job are no independent cases: with
12 calls over an hour, a program of one world of `bench.logic` was stopped at its other job."""
UNSEEN = 0.02
"""Share of calls over edges that were used once: what is to be expected of edges yet unseen (Good and Turing, 1953). A caller with more is
not settled."""
YOUNG_CALLS, YOUNG_SECONDS = 20, 3_600.0
"""An edge that a settled caller began to use is known after so many calls over so long."""
MAX_YOUNG = 64
"""Edges just begun that are published of one caller."""
PRIVATE = "private"
"""Network of all addresses that are not of the public internet: pods move among them."""


class Caller(Struct, frozen=True, array_like=True):
    """A settled caller."""

    name: str
    calls: int
    first: float
    last: float
    services: tuple[str, ...]
    operations: tuple[str, ...] = ()
    """Endpoint ids; empty for users."""
    networks: tuple[str, ...] = ()
    """Empty: not judged."""
    young: tuple[tuple[str, float], ...] = ()
    """(service, operation or network, first use) of edges that are just begun: known from `YOUNG_SECONDS` after that on, whether or not the caller
    called since."""


class Knowledge(Struct, frozen=True):
    """What engines know."""

    callers: tuple[Caller, ...] = ()


def caller_of(workload: str, cls: str) -> tuple[str, bool]:
    """(name, whether it is a machine) of who calls."""
    return (workload, True) if workload else (cls, ":" in cls)


@lru_cache(maxsize=16_384)
def network_of(address: str) -> str:
    """`private`, the /24 of an IPv4 address or the /48 of an IPv6 address of the internet; empty for what is no address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    if not parsed.is_global:
        return PRIVATE
    if isinstance(parsed, IPv4Address):
        return f"{address.rpartition('.')[0]}.0/24"
    return ":".join(parsed.exploded.split(":")[:3]) + "::/48"


class _Edges:
    """Of one caller: key -> [calls, first, last]."""

    __slots__ = ("calls", "first", "last", "networks", "operations", "services")

    def __init__(self) -> None:
        self.calls = 0
        self.first = self.last = 0.0
        self.services: dict[str, list[Any]] = {}
        self.operations: dict[str, list[Any]] = {}
        self.networks: dict[str, list[Any]] = {}

    def count(self, calls: int, first: float, last: float) -> None:
        if first < self.first or not self.calls:
            self.first = first
        if last > self.last:
            self.last = last
        self.calls += calls

    def settled(self) -> bool:
        edges = self.operations or self.services
        old = [calls for calls, first, _ in edges.values() if first < self.last - YOUNG_SECONDS or calls >= YOUNG_CALLS]
        enough = self.calls >= MIN_CALLS and self.last - self.first >= MIN_SECONDS
        return enough and sum(calls == 1 for calls in old) <= UNSEEN * self.calls

    def known(self, table: Mapping[str, list[Any]]) -> tuple[str, ...]:
        """Edges that are not just begun."""
        return tuple(sorted(key for key, (calls, first, _) in table.items() if not self._just_begun(calls, first)))

    def young(self) -> tuple[tuple[str, float], ...]:
        """The others, with their first use: some hours later they are as old as the rest, though this caller may not have called since."""
        every = [item for table in (self.services, self.operations, self.networks) for item in table.items()]
        return tuple(sorted((key, first) for key, (calls, first, _) in every if self._just_begun(calls, first)))[:MAX_YOUNG]

    def _just_begun(self, calls: int, first: float) -> bool:
        return first > self.first + YOUNG_SECONDS and first > self.last - YOUNG_SECONDS and calls < YOUNG_CALLS


def _add(table: dict[str, list[Any]], key: str, calls: int, first: float, last: float, most: int) -> None:
    entry = table.get(key)
    if entry is None:
        if len(table) < most:
            table[key] = [calls, first, last]
        return
    entry[0] += calls
    if first < entry[1]:
        entry[1] = first
    if last > entry[2]:
        entry[2] = last


class Model:
    """Mergeable state."""

    def __init__(self) -> None:
        self._callers: dict[str, _Edges] = {}

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        if not clean:
            return
        name, machine = caller_of(record.caller, record.actor_class)
        if not name:
            return
        edges = self._callers.get(name) or self._edges(name)
        time = record.time
        edges.count(1, time, time)
        _add(edges.services, record.service, 1, time, time, MAX_SERVICES)
        if machine:
            _add(edges.operations, endpoint, 1, time, time, MAX_OPERATIONS)
            source = next((one[8:] for one in record.principals if one[:8] == "address:"), record.source)
            network = network_of(source)
            if network:
                _add(edges.networks, network, 1, time, time, MAX_NETWORKS)

    def _edges(self, name: str) -> _Edges:
        if len(self._callers) >= MAX_CALLERS:
            del self._callers[min(self._callers, key=lambda one: (self._callers[one].calls, one))]
        edges = self._callers[name] = _Edges()
        return edges

    def merge(self, other: Model) -> None:
        for name, theirs in other._callers.items():
            mine = self._callers.get(name) or self._edges(name)
            mine.count(theirs.calls, theirs.first, theirs.last)
            for into, table, most in (
                (mine.services, theirs.services, MAX_SERVICES),
                (mine.operations, theirs.operations, MAX_OPERATIONS),
                (mine.networks, theirs.networks, MAX_NETWORKS),
            ):
                for key, (calls, first, last) in table.items():
                    _add(into, key, calls, first, last, most)

    def move(self, renamed: Mapping[str, str]) -> None:
        for edges in self._callers.values():
            if not renamed.keys().isdisjoint(edges.operations):
                old, edges.operations = edges.operations, {}
                for key, (calls, first, last) in old.items():
                    _add(edges.operations, renamed.get(key, key), calls, first, last, MAX_OPERATIONS)

    def dump(self) -> Any:
        return [
            [name, e.calls, e.first, e.last, *[dict(sorted(table.items())) for table in (e.services, e.operations, e.networks)]]
            for name, e in sorted(self._callers.items())
        ]

    @classmethod
    def load(cls, data: Any) -> Model:
        state = cls()
        for name, calls, first, last, services, operations, networks in data:
            edges = state._edges(name)
            edges.count(int(calls), float(first), float(last))
            edges.services, edges.operations, edges.networks = (
                {str(key): [int(n), float(a), float(b)] for key, (n, a, b) in table.items()}
                for table in (services, operations, networks)
            )
        return state

    def publish(self, endpoints: Sequence[Endpoint]) -> Knowledge | None:
        callers = tuple(
            Caller(
                name,
                edges.calls,
                edges.first,
                edges.last,
                edges.known(edges.services),
                edges.known(edges.operations) if len(edges.operations) < MAX_OPERATIONS else (),
                edges.known(edges.networks) if len(edges.networks) < MAX_NETWORKS else (),
                edges.young(),
            )
            for name, edges in sorted(self._callers.items())
            if edges.settled() and len(edges.services) < MAX_SERVICES
        )
        return Knowledge(callers) if callers else None
