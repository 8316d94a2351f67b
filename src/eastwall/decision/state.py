"""The live state of one engine: who was given which object, recent sign-ins, rate limits, sampling counters.

Everything here is bounded: each table has a size limit, one caller's flood drops the flood's own entries (`shares`), and `sizes()` is the
gauge. State is rebuilt from traffic and from the snapshot's table of holders after a restart; losing it makes the engine judge less, never
more. What several engines must know of one caller they tell each other: `news` and `hear`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from eastwall.behaviours import Watches
from eastwall.behaviours.sessions.begun import News
from eastwall.decision.grants import MAX_OBJECTS, MAX_OWNERS, GrantTable
from eastwall.decision.guards import GuardTable, Hit, Seen
from eastwall.decision.step_table import StepTable
from eastwall.discovery.echo import Echoes
from eastwall.discovery.objects import changes
from eastwall.discovery.shares import Shares, network_of
from eastwall.model.facts import Facts, LoginWindow
from eastwall.policy.defined_tools import Told
from eastwall.policy.limits import LimitNews, LimitTable

__all__ = ["MAX_OBJECTS", "MAX_OWNERS", "GrantTable", "LiveState", "LoginTable", "StepTable"]

MAX_NEWS = 50_000
"""Entries that wait to be told to other engines, per table; further ones stay here alone and are counted."""

MAX_SOURCES = 50_000
MAX_LOGIN_ENDPOINTS = 1_000
LOGIN_WINDOW = 300.0
MAX_ATTEMPTS = 200
"""Sign-in attempts remembered per source and per account."""


class _Attempts:
    """Recent sign-in failures under one key: (time, other side of the attempt)."""

    __slots__ = ("failures",)

    def __init__(self) -> None:
        self.failures: deque[tuple[float, int | str]] = deque(maxlen=MAX_ATTEMPTS)

    def expire(self, now: float) -> None:
        while self.failures and self.failures[0][0] < now - LOGIN_WINDOW:
            self.failures.popleft()


class _AttemptTable:
    """Failures by key. When full, the network that most keys were first seen from loses its oldest one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._shares = Shares()
        self._payers: dict[int, int] = {}
        self._attempts: dict[int, _Attempts] = {}
        self.get = self._attempts.get

    def put(self, key: int, network: str) -> _Attempts:
        attempts = self._attempts.get(key)
        if attempts is None:
            shares = self._shares
            while shares.full(network):
                self._drop(shares.oldest(shares.smallest(), self._payers.get))
            if len(self._attempts) >= self._limit:
                self._drop(shares.oldest(shares.largest(), self._payers.get))
            number = self._payers[key] = shares.number(network)
            shares.charge(number, key)
            attempts = self._attempts[key] = _Attempts()
        return attempts

    def _drop(self, key: int) -> None:
        del self._attempts[key]
        self._shares.discharge(self._payers.pop(key))

    def __len__(self) -> int:
        return len(self._attempts)


class LoginTable:
    """Sign-in results of the last LOGIN_WINDOW seconds by source address, by account and by endpoint."""

    def __init__(self, limit: int = MAX_SOURCES) -> None:
        self._limit = limit
        self._sources = _AttemptTable(limit)
        """By the hash of the address, that of this process."""
        self._accounts = _AttemptTable(limit)
        self._endpoints: dict[str, deque[tuple[float, bool]]] = {}
        self.told: list[tuple[str, str, int, float, bool, bool]] | None = None
        """Arguments of `record` since other engines were told; None: nobody is told."""

    def window(self, endpoint: str, source: str, account: int, now: float) -> LoginWindow:
        """What happened before this attempt."""
        by_source = self._sources.get(hash(source))
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
        if self.told is not None:
            self.told.append((endpoint, source, account, now, failed, blocked))
        self.take(endpoint, source, account, now, failed=failed, blocked=blocked)

    def take(self, endpoint: str, source: str, account: int, now: float, *, failed: bool, blocked: bool) -> None:
        """`record`, told to nobody."""
        results = self._endpoints.get(endpoint)
        if results is None:
            # An endpoint that is not learned yet goes by its path, which callers make up: bounded like the rest.
            if len(self._endpoints) >= min(self._limit, MAX_LOGIN_ENDPOINTS):
                del self._endpoints[next(iter(self._endpoints))]
            results = self._endpoints[endpoint] = deque(maxlen=1_000)
        results.append((now, failed))
        if not failed and not blocked:
            return
        network = network_of(source)
        self._sources.put(hash(source), network).failures.append((now, account))
        if not blocked:
            self._accounts.put(account, network).failures.append((now, source))

    def __len__(self) -> int:
        return len(self._sources) + len(self._accounts) + len(self._endpoints)


AUDIT_EVERY = 100
_ENCODE = msgspec.msgpack.Encoder().encode
_GRANTS = msgspec.msgpack.Decoder(list[tuple[int, str]]).decode
_STEPS = msgspec.msgpack.Decoder(list[tuple[str, int, str]]).decode
_SESSIONS = msgspec.msgpack.Decoder(list[News]).decode
_SEEN = msgspec.msgpack.Decoder(list[Seen]).decode
_TOOLS = msgspec.msgpack.Decoder(list[Told]).decode
_PRICES = msgspec.msgpack.Decoder(list[tuple[int, float, float, str]]).decode
_HITS = msgspec.msgpack.Decoder(list[Hit]).decode
_LIMITS = msgspec.msgpack.Decoder(LimitNews).decode
_LOGINS = msgspec.msgpack.Decoder(list[tuple[str, str, int, float, bool, bool]]).decode


def _key(key: int) -> int:
    if not -(1 << 63) <= key < 1 << 63:
        raise ValueError(f"an object key of more than 64 bits: {key:#x}"[:80])
    return key


class LiveState:
    """All live state of one engine. `decide` reads and updates it; nothing else does."""

    def __init__(self) -> None:
        self.grants = GrantTable()
        self.logins = LoginTable()
        self.limits = LimitTable()
        self.guards = GuardTable()
        self.echoes = Echoes()
        self.steps = StepTable()
        self.watches = Watches()
        self.claims = self.watches.of("ownership_claims")
        """The watch that objects given and shared are told to."""
        self.claims.holders, self.claims.sharing.grant = self.grants.owners, self.grants.grant
        self.claims.knows, self.claims.is_staff = self.grants.knows, self.grants.is_staff
        self.untold = 0
        """News that other engines were not told: there was too much at once."""
        self._samples: dict[str, tuple[int, int]] = {}
        """Operation -> (calls, what was drawn for this round of them)."""
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

    def sampled(self, endpoint: str, every: int, key: bytes) -> bool:
        """Whether the learner wants the full shape of this call: of each `every` calls of an operation one, at a place that a keyed hash draws
        anew each time. Who does not know the key cannot choose which of its calls are learned from, nor which are not.

        `every` as in `Endpoint.sample_every`; unknown endpoints: always. `key`: the snapshot's secret.
        """
        if every <= 1:
            return True
        count, drawn = self._samples.get(endpoint, (0, 0))
        at = count % every
        if not at:
            data = f"{count}\0{endpoint}".encode("utf-8", "surrogatepass")
            drawn = int.from_bytes(blake2b(data, digest_size=4, key=key[:64]).digest(), "little")
        if len(self._samples) > 100_000:
            self._samples.clear()
        self._samples[endpoint] = (count + 1, drawn)
        return at == drawn % every

    def grant(self, keys: Iterable[int], actor: str) -> None:
        for key in keys:
            self.grants.grant(key, actor)

    def share(self, *, at_once: bool, engine: str = "") -> None:
        """From now on keep what other engines are to be told. `at_once`: they hear it before they are asked anything that follows from it
        (one machine); else a step that seems to be missing may have been done elsewhere just now, and none is called missing.
        `engine`: this one's name."""
        self.grants.told, self.steps.told, self.logins.told = [], [], []
        self.steps.certain = at_once
        self.watches.of("sessions").share(at_once=at_once)
        self.limits.share(engine)
        self.guards.told = []
        self.limits.tools.told = []
        prices = self.watches.of("values").prices
        prices.told, prices.certain = [], at_once

    def presumed(self, facts: Facts) -> bool:
        """Whether remembering this answer may make such news."""
        return changes(facts.operation.method, facts.operation.name) or self.watches.of("sessions").pending(facts.call.id)

    def urgent(self) -> bool:
        """Whether there is news that must not wait: a step on an object, which the next call of its flow presumes; what limits count."""
        return bool(self.steps.told or self.watches.of("sessions").told or self.limits.urgent() or self.limits.tools.told)

    def news(self) -> list[tuple[str, bytes]]:
        """(topic, entry) of what was learned since last time, for the other engines' `hear`."""
        found = []
        sessions = self.watches.of("sessions").told
        topics = (
            ("grants", self.grants.told),
            ("steps", self.steps.told),
            ("logins", self.logins.told),
            ("sessions", sessions),
            ("guards", self.guards.told),
            ("tools", self.limits.tools.told),
            ("prices", self.watches.of("values").prices.told),
        )
        for topic, told in topics:
            if told:
                self.untold += max(0, len(told) - MAX_NEWS)
                found.append((topic, _ENCODE(told[:MAX_NEWS])))
                told.clear()
        if seen := self.guards.news_seen():
            found.append(("guards-passed", _ENCODE(seen[:MAX_NEWS])))
        if self.limits.urgent():
            found.append(("limits", _ENCODE(self.limits.news())))
        return found

    def hear(self, topic: str, entry: bytes) -> None:
        """Take in what another engine has learned. Topics of a newer version are passed over.

        Raises `ValueError` when the entry is damaged."""
        try:
            if topic == "grants":
                for key, actor in _GRANTS(entry):
                    self.grants.take(_key(key), actor)
            elif topic == "steps":
                for what, key, name in _STEPS(entry):
                    self.steps.take(what, _key(key), name)
            elif topic == "logins":
                for endpoint, source, account, now, failed, blocked in _LOGINS(entry):
                    self.logins.take(endpoint, source, _key(account), now, failed=failed, blocked=blocked)
            elif topic == "sessions":
                for entry_of_session in _SESSIONS(entry):
                    self.watches.of("sessions").take(entry_of_session)
            elif topic == "prices":
                prices = self.watches.of("values").prices
                for product, price, now, caller in _PRICES(entry):
                    prices.take(_key(product), price, now, caller)
            elif topic == "limits":
                self.limits.hear(_LIMITS(entry))
            elif topic == "guards":
                for hit in _HITS(entry):
                    self.guards.take(hit)
            elif topic == "guards-passed":
                for seen in _SEEN(entry):
                    self.guards.take_seen(seen)
            elif topic == "tools":
                for told in _TOOLS(entry):
                    self.limits.tools.take(told)
        except msgspec.MsgspecError as fault:
            raise ValueError(f"an entry about {topic} that is none: {fault}") from fault

    def recall(self, entries: Iterable[tuple[str, bytes]], *, whole: bool) -> int:
        """Take in what was told before this engine began, from several engines in no common order; the number of damaged entries.

        Not `whole`: some of it is lost. What was done to an object may be among that, so steps are left out: one would seem to be missing; and
        the newest price of a product."""
        damaged, steps, counted = 0, [], []
        for topic, entry in entries:
            try:
                if topic == "limits":
                    counted.append(_LIMITS(entry))
                elif topic in ("tools", "prices") and not whole:
                    continue  # a later definition, or price, may be among what is lost
                elif topic != "steps":
                    self.hear(topic, entry)
                elif whole:
                    steps += _STEPS(entry)
            except (ValueError, msgspec.MsgspecError):
                damaged += 1
        for news in sorted(counted, key=lambda news: news.time):
            self.limits.hear(news)
        for what, key, name in sorted(steps, key=lambda step: step[0] != "made"):
            self.steps.take(what, _key(key), name)
        return damaged

    def sizes(self) -> dict[str, int]:
        """Entries per table, for the gauges."""
        return {
            "objects": len(self.grants),
            "logins": len(self.logins),
            "limits": len(self.limits),
            "limited_objects": len(self.limits.objects),
            "limited_calls": len(self.limits.calls),
            "guards": len(self.guards),
            "approvals": len(self.limits.approvals),
            "tools": len(self.limits.tools),
            "echoes": len(self.echoes),
            "steps": len(self.steps),
            **self.watches.sizes(),
        }
