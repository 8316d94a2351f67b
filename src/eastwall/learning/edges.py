"""Who calls what, who gets which data, and what leads to what: counts from records, mergeable and bounded.

Callers are counted by class, not one by one: the identity class of a user (`user+admin`), the workload (`workload:web/front`), the
agent (`client:support-bot`), so that the tables stay small and a new pod is not a new caller.

All tables are sums, minima and maxima: merged from shards they are what one stream would have given, in any order, as long as no
bound is reached. Links between operations: see `learning.correlation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from re import compile as regex
from typing import Any

from msgspec import Struct

from eastwall.behaviours.sketch import hash64
from eastwall.learning.correlation import Correlation
from eastwall.learning.link_counts import Link
from eastwall.model.record import CallRecord

FORMAT = 1
MAX_OPERATIONS = 20_000
"""Operations in each table; the quarter called least leaves."""
MAX_CALLERS = 64
"""Callers per operation; the quarter that calls least leaves."""
MAX_FLOWS = 512
"""(direction, data class, caller) per operation, and operations per third party; the quarter used least leaves."""

_VERSION = regex(r"(?:^|[.+-])v(\d{1,4})(?:[.+-]|$)")
_MACHINES = ("workload", "client")
_LET_THROUGH = ("allow", "redact")
_NOT_REACHED = frozenset({0, 401, 403, 404, 405, 407, 410, 429, 501, 502, 503, 504})
"""Answers with which a service, or what stands before it, says that the call did nothing."""


class Seen(Struct, frozen=True):
    """How often, and since and until when."""

    calls: int
    first_seen: float
    """Unix seconds."""
    last_seen: float
    done: int = 0
    """Calls that were let through and answered by the operation itself."""
    agent: int = 0
    """Calls made by an agent."""


class Tables(Struct, frozen=True):
    """All counts at one time, for readers: operation -> key -> counts (see `Edges` for the keys)."""

    callers: dict[str, dict[str, Seen]] = {}
    services: dict[str, dict[str, Seen]] = {}
    data: dict[str, dict[tuple[str, str, str], Seen]] = {}
    """Operation -> (direction, data class, caller class) -> calls that held it."""
    public: dict[str, dict[str, Seen]] = {}
    versions: dict[str, dict[str, Seen]] = {}
    egress: dict[str, dict[str, Seen]] = {}
    """Third party's host -> endpoint id -> counts."""


class _Table:
    """(operation, key) -> [calls, first, last, done, agent]."""

    __slots__ = ("keys", "rows")

    def __init__(self, keys: int = MAX_CALLERS) -> None:
        self.keys = keys
        """Keys per operation."""
        self.rows: dict[str, dict[str, list[Any]]] = {}

    def add(self, operation: str, key: str, calls: int, first: float, last: float, done: int, agent: int) -> None:
        row = self.rows.get(operation)
        if row is None:
            if len(self.rows) >= MAX_OPERATIONS:
                self.rows = _busiest(self.rows, MAX_OPERATIONS * 3 // 4, lambda row: sum(entry[0] for entry in row.values()))
            row = self.rows[operation] = {}
        entry = row.get(key)
        if entry is None:
            if len(row) >= self.keys:
                row = self.rows[operation] = _busiest(row, self.keys * 3 // 4, lambda entry: entry[0])
            row[key] = [calls, first, last, done, agent]
            return
        entry[0] += calls
        if first < entry[1]:
            entry[1] = first
        if last > entry[2]:
            entry[2] = last
        entry[3] += done
        entry[4] += agent

    def merge(self, other: _Table) -> None:
        for operation, row in other.rows.items():
            for key, entry in row.items():
                self.add(operation, key, *entry)

    def move(self, moved: Mapping[str, str]) -> None:
        # All are taken out before any is put back: one may move to where another moves from.
        taken = [(moved[old], self.rows.pop(old)) for old in moved.keys() & self.rows.keys()]
        for new, row in taken:
            for key, entry in row.items():
                self.add(new, key, *entry)

    def seen(self) -> dict[str, dict[str, Seen]]:
        return {operation: {key: Seen(*entry) for key, entry in row.items()} for operation, row in self.rows.items()}


def _busiest(rows: Any, most: int, weight: Any) -> Any:
    return {key: rows[key] for key in sorted(rows, key=lambda key: (-weight(rows[key]), key))[:most]}


class Edges:
    """Mergeable state. One thread at a time."""

    def __init__(self) -> None:
        self._callers = _Table()
        """Operation -> caller class."""
        self._services = _Table()
        """Operation -> calling service or workload, where known."""
        self._data = _Table(MAX_FLOWS)
        """Operation -> `direction class caller`."""
        self._public = _Table()
        """Operation -> `public`: calls from addresses of the public internet."""
        self._versions = _Table()
        """Operation -> version that the caller's or the service's media type names."""
        self._egress = _Table(MAX_FLOWS)
        """Third party's host -> operation id."""
        self.correlation = Correlation()

    def fold(self, record: CallRecord, endpoint_id: str) -> None:
        """Count one call of an endpoint. Calls of no known endpoint are not counted."""
        if not endpoint_id:
            return
        time, status = record.time, record.status
        let_through = record.action in _LET_THROUGH
        done = 1 if let_through and status not in _NOT_REACHED else 0
        told = _agent(record) if record.agent else ""
        caller = told or record.actor_class or "anonymous"
        agent = 1 if told or record.actor_kind == "agent" else 0
        row = self._callers.rows.get(endpoint_id)
        entry = row.get(caller) if row is not None else None
        if entry is None:
            self._callers.add(endpoint_id, caller, 1, time, time, done, agent)
        else:  # nearly always
            entry[0] += 1
            if time < entry[1]:
                entry[1] = time
            if time > entry[2]:
                entry[2] = time
            entry[3] += done
            entry[4] += agent
        if record.caller:
            self._services.add(endpoint_id, record.caller, 1, time, time, done, agent)
        if record.data and done:
            for direction, name in {(hit.direction, hit.data_class) for hit in record.data}:
                self._data.add(endpoint_id, f"{direction}\0{name}\0{caller}", 1, time, time, done, agent)
        if _from_internet(record.source, record.principals):
            self._public.add(endpoint_id, "public", 1, time, time, done, agent)
        if record.request_type or record.response_type:
            for version in _versions(record.request_type, record.response_type):
                self._versions.add(endpoint_id, version, 1, time, time, done, agent)
        if record.egress:
            self._egress.add(record.service, endpoint_id, 1, time, time, done, agent)
        if let_through and status:
            # Who is only an address says little; who passes on a user's token says which call it was made for.
            actor = "" if record.actor_kind == "address" else record.actor
            caller = record.caller or (actor.partition(":")[2] if record.actor_kind in _MACHINES else "")
            self.correlation.add(
                time,
                record.duration_us / 1e6,
                record.service,
                endpoint_id,
                service_of(caller) if caller else "",
                actor,
                _client(record.source, record.user_agent),
                record.trace,
                record.parent,
                record.span,
            )

    def merge(self, other: Edges) -> None:
        """Take in what another has counted; `other` is left as it is."""
        for mine, theirs in zip(self._tables(), other._tables(), strict=True):
            mine.merge(theirs)
        self.correlation.merge(other.correlation)

    def move(self, moved: Mapping[str, str]) -> None:
        """Endpoints have new ids, because templates changed: old -> new."""
        if not moved:
            return
        for table in self._tables():
            if table is not self._egress:
                table.move(moved)
        for host, row in list(self._egress.rows.items()):
            if not moved.keys().isdisjoint(row):
                del self._egress.rows[host]
                for key, entry in row.items():
                    self._egress.add(host, moved.get(key, key), *entry)
        self.correlation.move(moved)

    def tables(self) -> Tables:
        """A copy of all counts, which later folding leaves as it is."""
        data = {
            operation: {(*key.split("\0", 2),): seen for key, seen in row.items()} for operation, row in self._data.seen().items()
        }
        return Tables(
            self._callers.seen(),
            self._services.seen(),
            data,  # type: ignore[arg-type]
            self._public.seen(),
            self._versions.seen(),
            self._egress.seen(),
        )

    def links(self) -> tuple[Link, ...]:
        """Which operation leads to which other."""
        return self.correlation.links()

    def dump(self) -> list[Any]:
        """Plain data for `load`."""
        return [FORMAT, [table.rows for table in self._tables()], self.correlation.dump()]

    @classmethod
    def load(cls, data: Any) -> Edges:
        """Raises ValueError when the data is something else, or of another version."""
        state = cls()
        try:
            version, tables, correlation = data
            if version != FORMAT:
                raise ValueError(f"they have format {version!r}, expected {FORMAT}")
            for table, rows in zip(state._tables(), tables, strict=True):
                table.rows = {operation: {key: list(entry) for key, entry in row.items()} for operation, row in rows.items()}
            state.correlation = Correlation.load(correlation)
        except (TypeError, ValueError, IndexError, AttributeError, KeyError) as fault:
            raise ValueError(f"not edges: {fault}") from fault
        return state

    def _tables(self) -> tuple[_Table, ...]:
        return self._callers, self._services, self._data, self._public, self._versions, self._egress


@lru_cache(maxsize=16_384)
def _from_internet(source: str, principals: tuple[str, ...]) -> bool:
    """By the peer's address, or the one that a trusted proxy has forwarded, which is among the principals."""
    return _is_public(source) or any(principal.startswith("address:") and _is_public(principal[8:]) for principal in principals)


def _is_public(address: str) -> bool:
    try:
        return ip_address(address).is_global
    except ValueError:
        return False


@lru_cache(maxsize=1_024)
def _versions(*media: str) -> tuple[str, ...]:
    """The versions that media types name, one for each different type."""
    return tuple(found[1] for one in dict.fromkeys(media) if (found := _VERSION.search(one.partition("/")[2])))


@lru_cache(maxsize=4_096)
def service_of(caller: str) -> str:
    """The service a workload's name stands for, by its last part: `shop/orders` (namespace and service account) is `orders`."""
    return caller.rstrip("/").rpartition("/")[2]


def _agent(record: CallRecord) -> str:
    """The agent that makes the call, where more than a header says so: anybody can write `claude-code` into `User-Agent`, and would
    else take a class of callers out of the picture."""
    agent = record.agent
    if not agent or agent == record.actor:
        return agent
    proved = any(name == agent and strength >= 2 for name, strength in zip(record.principals, record.strengths, strict=False))
    return agent if proved else ""


@lru_cache(maxsize=16_384)
def _client(source: str, user_agent: str) -> str:
    """Who made the connection, as far as that tells anybody apart; empty for loopback without a user agent."""
    if not user_agent and (not source or source == "::1" or source.startswith("127.")):
        return ""
    return f"{hash64(f'{source} {user_agent}'):x}"
