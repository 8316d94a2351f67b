"""The live state of one engine: who was given which object, recent sign-ins, rate limits, sampling counters.

Everything here is bounded: each table has a size limit and drops its oldest entry first, and `sizes()` is the gauge. State is
rebuilt from traffic and from the snapshot's ownership table after a restart; losing it makes the engine judge less, never more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from typing import TypeVar

from eastwall.discovery.echo import Echoes
from eastwall.model.facts import LoginWindow
from eastwall.policy.limits import LimitTable

_K = TypeVar("_K", bound=Hashable)

MAX_OBJECTS = 1_000_000
MAX_OWNERS = 4
MAX_STEP_OBJECTS = 200_000
MAX_STEPS = 32
"""Operations remembered of one object."""
MAX_RUNNING = 20_000
"""Steps that are being carried out."""
MAX_SOURCES = 50_000
MAX_LOGIN_ENDPOINTS = 1_000
LOGIN_WINDOW = 300.0
MAX_ATTEMPTS = 200
"""Sign-in attempts remembered per source and per account."""


class GrantTable:
    """Which actors hold an object: they were given its id in a response, or made it.

    At most MAX_OWNERS actors per object are kept: a kind shared by more is not exclusive and is not judged anyway.
    """

    def __init__(self, limit: int = MAX_OBJECTS) -> None:
        self._owners: dict[int, tuple[str, ...]] = {}
        self._limit = limit

    def owners(self, key: int) -> tuple[str, ...]:
        return self._owners.get(key, ())

    def grant(self, key: int, actor: str) -> None:
        owners = self._owners.get(key)
        if owners is None:
            if len(self._owners) >= self._limit:
                del self._owners[next(iter(self._owners))]
            self._owners[key] = (actor,)
        elif actor not in owners and len(owners) < MAX_OWNERS:
            self._owners[key] = (*owners, actor)

    def __len__(self) -> int:
        return len(self._owners)


class StepTable:
    """What was done to objects that were seen being made: for the order of business flows. At most `limit` objects, the longest unchanged
    leaves first. An object that is not here is not judged: something may have been done to it that nobody saw."""

    def __init__(self, limit: int = MAX_STEP_OBJECTS) -> None:
        self._done: dict[int, dict[str, int]] = {}
        self._running: dict[tuple[int, str], int] = {}
        self._limit = limit

    def made(self, key: int) -> None:
        """The object was made just now."""
        if key not in self._done:
            if len(self._done) >= self._limit:
                del self._done[next(iter(self._done))]
            self._done[key] = {}

    def done(self, key: int, endpoint: str) -> None:
        """An operation was carried out on it."""
        steps = self._done.pop(key, None)
        if steps is None:
            return
        if endpoint in steps or len(steps) < MAX_STEPS:
            steps[endpoint] = steps.get(endpoint, 0) + 1
        self._done[key] = steps

    def undone(self, key: int, endpoint: str) -> None:
        """An operation that counts as carried out on it has failed after all."""
        steps = self._done.get(key)
        if steps is not None and endpoint in steps:
            steps[endpoint] -= 1
            if not steps[endpoint]:
                del steps[endpoint]

    def begun(self, key: int, endpoint: str) -> None:
        """An operation on it is on its way to the service."""
        if key in self._done:
            if len(self._running) >= MAX_RUNNING:
                del self._running[next(iter(self._running))]
            self._running[key, endpoint] = self._running.get((key, endpoint), 0) + 1

    def ended(self, key: int, endpoint: str) -> None:
        """It is not any more: it was answered, or never will be."""
        left = self._running.pop((key, endpoint), 0) - 1
        if left > 0:
            self._running[key, endpoint] = left

    def running(self, key: int, endpoint: str) -> int:
        """How many times at this moment: of two calls at once (CWE-362) neither sees the other done."""
        return self._running.get((key, endpoint), 0)

    def of(self, key: int) -> dict[str, int] | None:
        """Endpoint id -> how often; None for an object that is not known from its beginning."""
        return self._done.get(key)

    def __len__(self) -> int:
        return len(self._done)


class _Attempts:
    """Recent sign-in failures under one key: (time, other side of the attempt)."""

    __slots__ = ("failures",)

    def __init__(self) -> None:
        self.failures: deque[tuple[float, int | str]] = deque(maxlen=MAX_ATTEMPTS)

    def expire(self, now: float) -> None:
        while self.failures and self.failures[0][0] < now - LOGIN_WINDOW:
            self.failures.popleft()


class LoginTable:
    """Sign-in results of the last LOGIN_WINDOW seconds by source address, by account and by endpoint."""

    def __init__(self, limit: int = MAX_SOURCES) -> None:
        self._limit = limit
        self._sources: dict[str, _Attempts] = {}
        self._accounts: dict[int, _Attempts] = {}
        self._endpoints: dict[str, deque[tuple[float, bool]]] = {}

    def window(self, endpoint: str, source: str, account: int, now: float) -> LoginWindow:
        """What happened before this attempt."""
        by_source = self._sources.get(source)
        by_account = self._accounts.get(account)
        results = self._endpoints.get(endpoint, ())
        if by_source is not None:
            by_source.expire(now)
        if by_account is not None:
            by_account.expire(now)
        recent = [failed for at, failed in results if at >= now - LOGIN_WINDOW]
        return LoginWindow(
            window=LOGIN_WINDOW,
            source_failures=len(by_source.failures) if by_source else 0,
            source_accounts=len({other for _, other in by_source.failures}) if by_source else 0,
            account_failures=len(by_account.failures) if by_account else 0,
            account_sources=len({other for _, other in by_account.failures}) if by_account else 0,
            failure_share=sum(recent) / len(recent) if recent else 0.0,
        )

    def record(self, endpoint: str, source: str, account: int, now: float, *, failed: bool, blocked: bool) -> None:
        """Remember a result. A blocked attempt counts against its source only: else an attacker could lock a victim's account."""
        results = self._endpoints.get(endpoint)
        if results is None:
            # An endpoint that is not learned yet goes by its path, which callers make up: bounded like the rest.
            if len(self._endpoints) >= min(self._limit, MAX_LOGIN_ENDPOINTS):
                del self._endpoints[next(iter(self._endpoints))]
            results = self._endpoints[endpoint] = deque(maxlen=1_000)
        results.append((now, failed))
        if not failed and not blocked:
            return
        self._put(self._sources, source).failures.append((now, account))
        if not blocked:
            self._put(self._accounts, account).failures.append((now, source))

    def _put(self, table: dict[_K, _Attempts], key: _K) -> _Attempts:
        attempts = table.get(key)
        if attempts is None:
            if len(table) >= self._limit:
                del table[next(iter(table))]
            attempts = table[key] = _Attempts()
        return attempts

    def __len__(self) -> int:
        return len(self._sources) + len(self._accounts) + len(self._endpoints)


AUDIT_EVERY = 100


class LiveState:
    """All live state of one engine. `decide` reads and updates it; nothing else does."""

    def __init__(self) -> None:
        self.grants = GrantTable()
        self.logins = LoginTable()
        self.limits = LimitTable()
        self.echoes = Echoes()
        self.steps = StepTable()
        self._samples: dict[str, int] = {}
        self._audits: dict[str, int] = {}
        self.audit_all = False
        """Recorded calls are judged: faults of the set-up are looked for in each."""

    def audited(self, endpoint: str) -> bool:
        """Whether faults of the set-up are looked for in this call: they are the same in each, so the tenth is asked and then one in
        `AUDIT_EVERY`."""
        count = self._audits.get(endpoint, 0)
        self._audits[endpoint] = count + 1
        if len(self._audits) > 100_000:
            self._audits.clear()
        return count % AUDIT_EVERY == 9 or self.audit_all

    def sampled(self, endpoint: str, every: int) -> bool:
        """Whether the learner wants the full shape of this call. `every` as in `Endpoint.sample_every`; unknown endpoints: always."""
        if every <= 1:
            return True
        count = self._samples.get(endpoint, 0)
        self._samples[endpoint] = count + 1
        if len(self._samples) > 100_000:
            self._samples.clear()
        return count % every == 0

    def grant(self, keys: Iterable[int], actor: str) -> None:
        for key in keys:
            self.grants.grant(key, actor)

    def sizes(self) -> dict[str, int]:
        """Entries per table, for the gauges."""
        return {
            "objects": len(self.grants),
            "logins": len(self.logins),
            "limits": len(self.limits),
            "echoes": len(self.echoes),
            "steps": len(self.steps),
        }
