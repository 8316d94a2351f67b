"""Rows of ids that several callers share the work of: the last ids of one kind that came from one address, and with one make of client.

Bounds: `MAX_ROWS` rows of `ROW` ids, at most half of them of one caller; the row that was quiet longest leaves first.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from itertools import pairwise
from re import compile as regex
from typing import Any

from eastwall.behaviours.credential_use.places import address_of
from eastwall.behaviours.enumeration.series import Reading, row
from eastwall.behaviours.enumeration.track import ROW
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity

MAX_ROWS = 20_000
SHARED_ROW = 8
"""Ids of one row, named by several callers of one address or one make of client."""

LOG = 64
"""Ids that wait to be entered: one after the other they take a third of the time that each would take alone."""

Maker = str | int
"""Who has something in common: an address, or the hash of a make of client."""


_Entry = list[Any]
"""[the number of an id that somebody named, who, whether the service refused it]."""


class SharedRow:
    """The last ids of one kind, the newest last."""

    __slots__ = ("actors", "entries", "kind", "refused")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.entries: deque[_Entry] = deque()
        self.actors: dict[str, int] = {}
        """Caller -> its entries."""
        self.refused = 0
        """Entries that the service did not give."""

    def around(self, number: Reading, actor: str, *, needed: int) -> tuple[int, int, int] | None:
        """(ids, of them refused, callers) of a row that stands around a number, if it is one of `SHARED_ROW` ids, and of `needed` callers
        with the one who names the number."""
        length = row([entry[0] for entry in self.entries], number)
        if length < SHARED_ROW:
            return None
        reach = self._reach(number)
        near = [one for one in self.entries if one[0][0] == number[0] and abs(one[0][1] - number[1]) <= reach]
        sharers = {one[1] for one in near} | {actor}
        return (length, sum(one[2] for one in near), len(sharers)) if len(sharers) >= needed else None

    def _reach(self, number: Reading) -> int:
        """How far from a number its row may go."""
        numbers = sorted(one[0][1] for one in self.entries if one[0][0] == number[0])
        gaps = [after - before for before, after in pairwise(numbers) if after > before]
        step = sorted(gaps)[len(gaps) // 2] if gaps else 1
        return ROW * max(2, step)


class SharedRows:
    """By kind and maker."""

    __slots__ = ("_log", "_rows", "refused")

    def __init__(self) -> None:
        self._rows: dict[tuple[str, Maker], SharedRow] = {}
        self._log: list[tuple[str, Reading, Identity, str, dict[str, str]]] = []
        """Named since ids were entered last: (kind, number, who, address of the peer, headers)."""
        self.refused: dict[str, int] = {}
        """Kind -> entries of its rows that the service did not give."""

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, kind: str, facts: Facts) -> tuple[SharedRow | None, SharedRow | None]:
        """(row of the caller's address, of its make of client)."""
        self._enter_all()
        address, make = _makers(facts.identity, facts.call.peer.address, facts.call.request.headers)
        return self._rows.get((kind, address)), self._rows.get((kind, make))

    def enter(self, kind: str, number: Reading, facts: Facts) -> None:
        """A caller names an id."""
        call, log = facts.call, self._log
        log.append((kind, number, facts.identity, call.peer.address, call.request.headers))
        if len(log) >= LOG:
            self._enter_all()

    def refuse(self, kind: str, numbers: tuple[Reading, ...], facts: Facts) -> None:
        """The service did not give what a caller asked for."""
        actor = facts.identity.actor
        for seen in self.of(kind, facts):
            if seen is None or actor not in seen.actors:
                continue
            for entry in seen.entries:
                if entry[1] == actor and not entry[2] and entry[0] in numbers:
                    entry[2] = True
                    seen.refused += 1
                    self.refused[kind] = self.refused.get(kind, 0) + 1

    def _enter_all(self) -> None:
        log, self._log = self._log, []
        for kind, number, identity, peer, headers in log:
            for maker in _makers(identity, peer, headers):
                self._enter(kind, maker, number, identity.actor)

    def _enter(self, kind: str, maker: Maker, number: Reading, actor: str) -> None:
        rows, key = self._rows, (kind, maker)
        seen = rows.pop(key, None)
        if seen is None:
            if len(rows) >= MAX_ROWS:
                self._forget()
            seen = SharedRow(kind)
        rows[key] = seen
        entries, actors = seen.entries, seen.actors
        mine = actors.get(actor, 0)
        # Many ids of one caller push out nobody else's: it has half of the places at most.
        if mine * 2 >= ROW:
            oldest = next(one for one in entries if one[1] == actor)
            entries.remove(oldest)
            self._left(seen, oldest)
        elif len(entries) >= ROW:
            self._left(seen, entries.popleft())
        actors[actor] = actors.get(actor, 0) + 1
        entries.append([number, actor, False])

    def _left(self, row: SharedRow, entry: _Entry) -> None:
        actor = entry[1]
        if row.actors[actor] > 1:
            row.actors[actor] -= 1
        else:
            del row.actors[actor]
        if entry[2]:
            row.refused -= 1
            self._forgive(row.kind, 1)

    def _forget(self) -> None:
        """The row that was quiet longest."""
        gone = self._rows.pop(next(iter(self._rows)))
        if gone.refused:
            self._forgive(gone.kind, gone.refused)

    def _forgive(self, kind: str, entries: int) -> None:
        left = self.refused[kind] - entries
        if left:
            self.refused[kind] = left
        else:
            del self.refused[kind]


def _makers(identity: Identity, peer: str, headers: dict[str, str]) -> tuple[Maker, Maker]:
    """(address, make of client)."""
    make = _make(headers.get("user-agent", ""), headers.get("accept-language", ""), len(headers))
    return address_of(identity) or peer, make


_VERSION = regex(r"[0-9][0-9.]*")


@lru_cache(maxsize=4096)
def _make(agent: str, accepts: str, names: int) -> int:
    """The make of a client: its user agent without versions, what it accepts, and how many headers it sends."""
    return hash(f"{_VERSION.sub('', agent[:200])}|{accepts[:40]}|{names}")
