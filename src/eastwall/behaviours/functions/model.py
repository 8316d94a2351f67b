"""Which scopes callers bear at each operation, counted in clean calls of callers who are known for certain; and at which services callers send headers
that mean another operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from msgspec import Struct

from eastwall.behaviours.sketch import hash64
from eastwall.model.endpoint import Endpoint
from eastwall.model.identity import Strength
from eastwall.model.record import CallRecord

MAX_OPERATIONS = 20_000
"""Operations whose scopes are counted; further ones are not judged by scopes."""
MAX_SCOPES = 24
"""Scopes of one operation. When there are more, the quarter seen least leaves (it is required of nobody)."""
MAX_SERVICES = 1_000
"""Services at which headers that mean another operation are known: those with the lowest hashes."""
_ASSERTED = int(Strength.ASSERTED)
_ALL = ""
OVERRIDES = "o"
"""Noted of a call that bore such a header."""


class ScopeUse(Struct, frozen=True, array_like=True):
    """The scopes at one operation."""

    endpoint: str
    calls: int
    """Clean calls, with and without scopes."""
    scopes: tuple[tuple[str, int], ...]
    """(scope, calls that bore it), sorted."""


class Knowledge(Struct, frozen=True):
    """What is published: operations at which anybody ever bore a scope, and those beside them."""

    scopes: tuple[ScopeUse, ...] = ()
    overriding: tuple[str, ...] = ()
    """Services at which two callers or more ordinarily send headers that mean another method or path, sorted."""


class Model:
    """Counts; merging adds."""

    def __init__(self) -> None:
        self.calls: dict[str, dict[str, int]] = {}
        """endpoint id -> scope (or `_ALL`) -> clean calls."""
        self.overriding: dict[str, list[int]] = {}
        """Service -> the lowest two hashes of callers who sent headers that mean another operation, in clean calls."""

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        if note == OVERRIDES and clean and record.actor:
            self._overrides(record.service, (hash64(record.actor),))
        if clean and record.strength >= _ASSERTED:
            entry = self.calls.get(endpoint)
            if entry is None and (entry := self._entry(endpoint)) is None:
                return
            entry[_ALL] = entry.get(_ALL, 0) + 1
            if record.scopes:
                for scope in record.scopes:
                    entry[scope] = entry.get(scope, 0) + 1
                if len(entry) > MAX_SCOPES:
                    self._prune(endpoint)

    def merge(self, other: Self) -> None:
        for endpoint, theirs in other.calls.items():
            self._add(endpoint, theirs)
        for service, callers in other.overriding.items():
            self._overrides(service, callers)

    def move(self, renamed: Mapping[str, str]) -> None:
        for old, new in renamed.items():
            if old in self.calls:
                self._add(new, self.calls.pop(old))

    def dump(self) -> Any:
        calls = {endpoint: dict(sorted(self.calls[endpoint].items())) for endpoint in sorted(self.calls)}
        return [calls, {service: list(callers) for service, callers in sorted(self.overriding.items())}]

    @classmethod
    def load(cls, data: Any) -> Self:
        model = cls()
        calls, overriding = (data, {}) if isinstance(data, dict) else data  # alone, before headers were counted
        model.calls = {str(endpoint): {str(s): int(n) for s, n in entry.items()} for endpoint, entry in calls.items()}
        model.overriding = {str(service): sorted({int(one) for one in callers})[:2] for service, callers in overriding.items()}
        return model

    def publish(self, endpoints: Sequence[Endpoint]) -> Knowledge | None:
        overriding = tuple(service for service, callers in sorted(self.overriding.items()) if len(callers) > 1)
        if not any(len(entry) > 1 for entry in self.calls.values()):
            return Knowledge((), overriding) if overriding else None
        known = {endpoint.id for endpoint in endpoints}
        return Knowledge(
            tuple(
                ScopeUse(endpoint, entry[_ALL], tuple(sorted((s, n) for s, n in entry.items() if s != _ALL)))
                for endpoint, entry in sorted(self.calls.items())
                if endpoint in known
            ),
            overriding,
        )

    def _overrides(self, service: str, callers: Sequence[int]) -> None:
        known = self.overriding.get(service)
        if known is None:
            if len(self.overriding) >= MAX_SERVICES:
                highest = max(self.overriding, key=hash64)
                if hash64(service) > hash64(highest):
                    return
                del self.overriding[highest]
            known = self.overriding[service] = []
        known[:] = sorted({*known, *callers})[:2]

    def _entry(self, endpoint: str) -> dict[str, int] | None:
        entry = self.calls.get(endpoint)
        if entry is None and len(self.calls) < MAX_OPERATIONS:
            entry = self.calls[endpoint] = {}
        return entry

    def _add(self, endpoint: str, theirs: Mapping[str, int]) -> None:
        entry = self._entry(endpoint)
        if entry is not None:
            for scope, count in theirs.items():
                entry[scope] = entry.get(scope, 0) + count
            if len(entry) > MAX_SCOPES:
                self._prune(endpoint)

    def _prune(self, endpoint: str) -> None:
        entry = self.calls[endpoint]
        kept = sorted(entry, key=lambda scope: (scope != _ALL, -entry[scope], scope))[: MAX_SCOPES * 3 // 4]
        self.calls[endpoint] = {scope: entry[scope] for scope in kept}
