"""What an analyst says of a call, and what follows for learning: "this was fine", "this was an attack".

- `fine`: the findings of the call, at its operation, at their places and for its caller's identity class, are told with confidence `low` until
  an end; and the call teaches as if they had not been.
- `attack`: the calls of its actor in a window around it teach nothing.

Both are entries of a list. What was learned is a function of the calls and of the list, so that taking an entry out again gives back what would
have been learned without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from eastwall.model.endpoint import Endpoint
from eastwall.model.place import without_indices
from eastwall.model.record import CallRecord

DAYS = 30.0
"""For how long `fine` holds unless said otherwise."""
MAX_DAYS = 366.0
WINDOW = 3_600.0
"""Seconds before and after an attack in which its actor teaches nothing, unless said otherwise."""
MAX_WINDOW = 30 * 86_400.0
MAX_ENTRIES = 10_000
MAX_NOTE = 500


class Feedback(Struct, frozen=True):
    """One judgement."""

    id: str
    time: float
    """When it was said, Unix seconds."""
    kind: str
    """`fine` or `attack`."""
    event: str
    """Event id of the call."""
    service: str
    actor: str
    said: str
    """What follows from it, in plain words."""
    note: str = ""
    by: str = ""
    method: str = ""
    template: str = ""
    endpoint: str = ""
    cls: str = ""
    """Identity class of the caller."""
    findings: tuple[tuple[str, str], ...] = ()
    """`fine`: (detection, place without indices)."""
    since: float = 0.0
    """`attack`: the window, Unix seconds."""
    until: float = 0.0
    """`fine`: to when it holds. `attack`: the end of the window."""
    undone: float = 0.0
    """When it was taken back; 0: it holds."""


def fine(record: CallRecord, identity: str, now: float, *, days: float = DAYS, note: str = "", by: str = "") -> Feedback:
    """Raises ValueError when there is nothing that could be fine."""
    if not record.findings:
        raise ValueError(f"call `{record.id}` has no finding that could be fine")
    if not record.endpoint:
        raise ValueError(f"the operation of call `{record.id}` was not known yet: there is nothing to hold it to")
    if not 0 < days <= MAX_DAYS:
        raise ValueError(f"`days` must be more than 0 and at most {MAX_DAYS:.0f}")
    pairs = tuple(sorted({(f.id, without_indices(f.where)) for f in record.findings}))
    what = ", ".join(f"{detection} at {place}" for detection, place in pairs[:5])
    said = (
        f"{what} of `{record.actor_class}` callers in {record.method} {record.template} is told with low confidence for {days:g} days, "
        "and is not blocked by the built-in policy; this call teaches"
    )
    return Feedback(
        identity, now, "fine", record.id, record.service, record.actor, said, note[:MAX_NOTE], by, record.method, record.template,
        record.endpoint, record.actor_class, pairs, 0.0, now + days * 86_400,
    )  # fmt: skip


def attack(record: CallRecord, identity: str, now: float, *, window: float = WINDOW, note: str = "", by: str = "") -> Feedback:
    """Raises ValueError when nobody can be told from others by the call."""
    if not record.actor or not record.strength:
        raise ValueError(f"nobody said who made call `{record.id}`: no other calls can be told to be of the same actor")
    if not 0 <= window <= MAX_WINDOW:
        raise ValueError(f"`window` must be from 0 to {MAX_WINDOW:,.0f} seconds")
    since, until = record.time - window, record.time + window
    said = (
        f"the calls of {record.actor} to `{record.service}` from {window:,.0f} seconds before this one to {window:,.0f} after teach nothing, and "
        "what it was given in them is not learned as its own; what engines granted it live stays until they forget it"
    )
    return Feedback(
        identity, now, "attack", record.id, record.service, record.actor, said, note[:MAX_NOTE], by, record.method, record.template,
        record.endpoint, record.actor_class, (), since, until,
    )  # fmt: skip


class Book:
    """The entries that hold, ready for look-up."""

    __slots__ = ("_attacks", "_fine", "entries")

    def __init__(self, entries: Iterable[Feedback] = ()) -> None:
        self.entries = tuple(entries)
        """All, also those that were undone, oldest first."""
        self._attacks: dict[tuple[str, str], list[tuple[float, float]]] = {}
        self._fine: dict[str, frozenset[tuple[str, str]]] = {}
        for entry in self.entries:
            if entry.undone:
                continue
            if entry.kind == "attack":
                self._attacks.setdefault((entry.service, entry.actor), []).append((entry.since, entry.until))
            else:
                self._fine[entry.event] = self._fine.get(entry.event, frozenset()) | frozenset(entry.findings)

    def teaching(self, records: Iterable[CallRecord]) -> Iterator[CallRecord]:
        """The records as they teach: those of attacks left out, those that were fine without their findings."""
        if not self._attacks and not self._fine:
            yield from records
            return
        for record in records:
            windows = self._attacks.get((record.service, record.actor))
            if windows is not None and any(since <= record.time <= until for since, until in windows):
                continue
            pairs = self._fine.get(record.id)
            yield record if pairs is None else cleared(record, pairs)

    def excuse(self, endpoints: Sequence[Endpoint], now: float) -> tuple[Endpoint, ...]:
        """The endpoints with what was said to be fine there."""
        holding = [entry for entry in self.entries if entry.kind == "fine" and not entry.undone and entry.until > now]
        if not holding:
            return tuple(endpoints)
        found: dict[str, set[tuple[str, str, str, float]]] = {}
        known = {e.id for e in endpoints}
        places = {(e.service, e.method, e.template): e.id for e in endpoints if not e.operation}
        for entry in holding:
            at = entry.endpoint if entry.endpoint in known else places.get((entry.service, entry.method, entry.template), "")
            for detection, place in entry.findings:
                found.setdefault(at, set()).add((detection, place, entry.cls, entry.until))
        return tuple(replace(e, excused=tuple(sorted(found[e.id].union(e.excused)))) if e.id in found else e for e in endpoints)


def cleared(record: CallRecord, pairs: frozenset[tuple[str, str]]) -> CallRecord:
    """A record without findings that were fine; if they were all that was wrong with it, as a call that was let through and worked."""
    left = tuple(f for f in record.findings if (f.id, without_indices(f.where)) not in pairs)
    if any(f.suspicious for f in left):
        return replace(record, findings=left)
    blocked = record.action in ("block", "limit")
    return replace(record, findings=left, action="allow", would="allow", matches=(), status=200 if blocked else record.status)
