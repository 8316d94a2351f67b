"""The feed of what is new, changed, gone or back: told from successive lists of endpoints.

- While a service is first learned nothing is news: its first sight is one entry, and what follows within `LEARNING` seconds of its first
  call, or before its operation is learned (`Endpoint.status`), is taken in silently.
- What is seen once is told once: an entry of the feed is keyed by what it is about, so that shards that both told it merge to one.
- An operation has vanished when it was silent for long, by its own habit, while its service was called (`SILENT`, `SILENT_INTERVALS`).
  Statuses of errors, and fields of error answers, are not told: scanners would fill the feed with them.

Bounded: `MAX_CHANGES` entries, the oldest leave; per operation 32-bit hashes of the places known, not the places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from zlib import crc32

import msgspec

from eastwall.model.blueprint import Change
from eastwall.model.endpoint import Endpoint, Schema

FORMAT = 1
MAX_CHANGES = 10_000
MAX_OPERATIONS = 50_000
"""Operations remembered; those not called longest leave, and are news when they come back."""
MAX_PLACES = 2_000
"""Places remembered per operation; more are not told."""
MAX_AT_ONCE = 20
"""Entries about one operation at one time; the rest is one entry that says how many."""
LEARNING = 3_600.0
"""Seconds after the first call of a service in which its operations are no news."""
SILENT = 86_400.0
SILENT_INTERVALS = 20.0
MIN_CALLS = 10
"""Calls an operation must have had to be missed."""
OPEN = 0.05
CLOSED = 0.95
"""Shares of calls with identity; authentication has changed when an operation goes from one side to the other."""


class _Known:
    """What is known of an operation, so that only what is not is told."""

    __slots__ = ("access", "calls", "first", "gone", "last", "method", "places", "service", "template")

    def __init__(self, service: str, method: str, template: str) -> None:
        self.service = service
        self.method = method
        self.template = template
        self.calls = 0
        self.first = 0.0
        self.last = 0.0
        self.gone = False
        self.access = ""
        """`open`, `closed`, or empty when neither is clear."""
        self.places: set[int] = set()
        """Hashes of what was told or taken in."""

    def merge(self, other: _Known) -> None:
        self.first = min(self.first, other.first) if self.calls and other.calls else self.first or other.first
        later = other.last > self.last
        self.gone = other.gone if later else self.gone and (other.gone or other.last < self.last)
        self.access = other.access if later else self.access or other.access
        self.calls = max(self.calls, other.calls)
        self.last = max(self.last, other.last)
        self.places |= other.places


class Changes:
    """Mergeable state. One thread at a time."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        """By endpoint id."""
        self._services: dict[str, float] = {}
        """Service -> its first call, Unix seconds."""
        self._feed: dict[tuple[str, str, str, str], Change] = {}
        """(service, endpoint, kind, place and detail's key) -> entry."""

    def observe(self, endpoints: Iterable[Endpoint], now: float) -> list[Change]:
        """Compare with what was known and take it in; the entries that are new, oldest first. `now`: Unix seconds."""
        told: list[Change] = []
        present: set[str] = set()
        latest: dict[str, float] = {}
        for endpoint in endpoints:
            if not endpoint.calls:
                continue
            present.add(endpoint.id)
            latest[endpoint.service] = max(latest.get(endpoint.service, 0.0), endpoint.last_seen)
            told += self._one(endpoint, now)
        told += self._vanished(latest, present, now)
        fresh = [change for change in told if self._tell(change)]
        self._bound()
        return fresh

    def feed(self, since: float = 0.0, service: str = "") -> tuple[Change, ...]:
        """Entries later than `since`, newest first."""
        found = [c for c in self._feed.values() if c.time > since and (not service or c.service == service)]
        return tuple(sorted(found, key=lambda c: (-c.time, c.service, c.template, c.method, c.kind, c.place)))

    def move(self, moved: Mapping[str, str]) -> None:
        """Endpoints have new ids, because templates changed: that is no news. Old -> new."""
        # All are taken out before any is put back: one may move to where another moves from.
        taken = [(moved[old], self._known.pop(old)) for old in sorted(moved.keys() & self._known.keys())]
        for new, known in taken:
            into = self._known.get(new)
            if into is None:
                self._known[new] = known
            else:
                into.merge(known)

    def merge(self, other: Changes) -> None:
        """Take in what another has told; `other` is left as it is."""
        for key, theirs in other._known.items():
            mine = self._known.get(key)
            if mine is None:
                mine = self._known[key] = _Known(theirs.service, theirs.method, theirs.template)
                mine.gone, mine.access = theirs.gone, theirs.access
            mine.merge(theirs)
        for name, first in other._services.items():
            self._services[name] = min(first, self._services.get(name, first))
        for change in other._feed.values():
            self._tell(change)
        self._bound()

    def dump(self) -> list[Any]:
        """Plain data for `load`."""
        return [
            FORMAT,
            {
                key: [k.service, k.method, k.template, k.calls, k.first, k.last, k.gone, k.access, sorted(k.places)]
                for key, k in self._known.items()
            },
            self._services,
            [[*key, msgspec.to_builtins(change)] for key, change in self._feed.items()],
        ]

    @classmethod
    def load(cls, data: Any) -> Changes:
        """Raises ValueError when the data is something else, or of another version."""
        state = cls()
        try:
            version, known, services, feed = data
            if version != FORMAT:
                raise ValueError(f"it has format {version!r}, expected {FORMAT}")
            for key, (service, method, template, calls, first, last, gone, access, places) in known.items():
                entry = state._known[key] = _Known(service, method, template)
                entry.calls, entry.first, entry.last, entry.gone, entry.access = calls, first, last, gone, access
                entry.places = set(places)
            state._services = dict(services)
            for *key, change in feed:
                state._feed[tuple(key)] = msgspec.convert(change, Change)
        except (TypeError, ValueError, AttributeError, KeyError, msgspec.ValidationError) as fault:
            raise ValueError(f"not a feed of changes: {fault}") from fault
        return state

    # -- inside ---------------------------------------------------------------------------------------------------

    def _one(self, endpoint: Endpoint, now: float) -> list[Change]:
        service = endpoint.service
        began = self._services.get(service)
        if began is None:
            self._services[service] = began = endpoint.first_seen
            self._tell(
                Change(
                    endpoint.first_seen, "new", service, "", "", "", "", f"the service `{service}` was seen for the first time"
                )
            )
        elif endpoint.first_seen < began:
            self._services[service] = began = endpoint.first_seen
        young = endpoint.first_seen < began + LEARNING
        known = self._known.get(endpoint.id)
        told: list[Change] = []
        silent = endpoint.status != "learned"
        """Whether what it holds is still being learned."""
        if known is None:
            known = self._known[endpoint.id] = _Known(service, endpoint.method, endpoint.template)
            silent = True
            if not young:
                told.append(_change(endpoint, "new", endpoint.first_seen, "", f"a new operation: {_carries(endpoint)}"))
        elif known.gone and endpoint.calls > known.calls:
            known.gone = False
            told.append(
                _change(endpoint, "returned", endpoint.last_seen, f"{known.last:.0f}", "it is called again after it had vanished")
            )
        unchanged = known.calls == endpoint.calls
        known.template, known.calls, known.first, known.last = (
            endpoint.template,
            endpoint.calls,
            endpoint.first_seen,
            endpoint.last_seen,
        )
        if unchanged and known.places:
            return told
        news: list[Change] = []
        for place, detail in _places(endpoint):
            mark = crc32(place.encode("utf-8", "surrogatepass"))
            if mark in known.places or len(known.places) >= MAX_PLACES:
                continue
            known.places.add(mark)
            if not silent:
                news.append(_change(endpoint, "changed", endpoint.last_seen, place, detail))
        if len(news) > MAX_AT_ONCE:
            more = len(news) - MAX_AT_ONCE + 1
            news = [*news[: MAX_AT_ONCE - 1], _change(endpoint, "changed", now, f"{now:.0f}", f"{more} more places are new")]
        return told + news + self._access(known, endpoint, silent=silent)

    def _access(self, known: _Known, endpoint: Endpoint, *, silent: bool) -> list[Change]:
        share = endpoint.authenticated
        access = "" if endpoint.identifiable == 0 else "open" if share <= OPEN else "closed" if share >= CLOSED else ""
        if not access or access == known.access:
            return []
        before, known.access = known.access, access
        if silent or not before:
            return []
        words = "it answers without identity now" if access == "open" else "all its callers have an identity now"
        return [_change(endpoint, "changed", endpoint.last_seen, "authentication", words)]

    def _vanished(self, latest: Mapping[str, float], present: set[str], now: float) -> list[Change]:
        told = []
        for key, known in self._known.items():
            clock = latest.get(known.service)
            if known.gone or clock is None or known.calls < MIN_CALLS:
                continue
            interval = (known.last - known.first) / (known.calls - 1)
            silent = clock - known.last
            if silent > max(SILENT, SILENT_INTERVALS * interval) and key in present:
                known.gone = True
                detail = f"it was not called for {silent / 86_400:.1f} days; before that, every {_span(interval)}"
                told.append(Change(now, "vanished", known.service, key, known.method, known.template, "", detail))
        return told

    def _tell(self, change: Change) -> bool:
        """Put it into the feed, unless it was told before: then the earlier time holds."""
        once = change.place if change.kind == "changed" else f"{change.time:.0f}" if change.kind != "new" else ""
        key = (change.service, change.endpoint, change.kind, once)
        before = self._feed.get(key)
        if before is None or _order(change) < _order(before):
            self._feed[key] = change
        return before is None

    def _bound(self) -> None:
        if len(self._feed) > MAX_CHANGES:
            kept = sorted(self._feed.items(), key=lambda item: (-item[1].time, item[0]))[:MAX_CHANGES]
            self._feed = dict(kept)
        if len(self._known) > MAX_OPERATIONS:
            keys = sorted(self._known, key=lambda key: (-self._known[key].last, key))[:MAX_OPERATIONS]
            self._known = {key: self._known[key] for key in keys}


def _order(change: Change) -> tuple[float, str, str]:
    return change.time, change.template, change.detail


def _change(endpoint: Endpoint, kind: str, time: float, place: str, detail: str) -> Change:
    return Change(
        time, kind, endpoint.service, endpoint.id, endpoint.method, endpoint.template, place if kind == "changed" else "", detail
    )


def _carries(endpoint: Endpoint) -> str:
    found = sorted({name for _, _, name in endpoint.data_classes})
    calls = "one call" if endpoint.calls == 1 else f"{endpoint.calls:,} calls"
    return f"{calls}, carries {', '.join(found[:5])}" if found else calls


def _places(endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    """(place, sentence) of everything about an operation that may be news."""
    for status, _ in endpoint.statuses:
        if 100 <= status < 400:
            yield f"status.{status}", f"it answers {status} now"
    for kind in endpoint.body_kinds:
        yield f"body.{kind}", f"it takes {kind} bodies now"
    yield from _fields(endpoint.query, "", "parameter")
    yield from _fields(endpoint.request, "request.", "request field")
    for status, schema in endpoint.responses:
        if 200 <= status < 300:
            yield from _fields(schema, f"response.{status}.", "field in its answers")
    for direction, place, name in endpoint.data_classes:
        yield f"data.{direction}.{place}.{name}", f"`{place}` of its {direction}s holds {name} now"


def _fields(schema: Schema, prefix: str, word: str) -> Iterator[tuple[str, str]]:
    for field in schema.fields:
        if field.seen and field.place != "$" and not field.place.endswith("[]"):
            yield prefix + field.place, f"a new {word}: `{field.place}` ({' or '.join(field.kinds) or 'any type'})"


def _span(seconds: float) -> str:
    for size, name in ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"
