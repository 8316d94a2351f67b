"""Counts attempts on accounts by address, by account and by make of client, over an hour and a day.

What failed and got in later from the same address was a slip, and counts no more: an office of two hundred behind one address has slips every day.
Blocked attempts count against their address only; else an attacker could lock a victim's account. An account's own addresses, those it got
in from, are never stopped for what others do to it.

Bounds: `MAX_TALLIES` tallies of at most `MAX_MEMBERS` each; one address begins at most `MAX_MEMBERS` of accounts. The tally that was quiet longest
leaves first. Accounts and codes are kept as hashes of this process alone.
"""

from __future__ import annotations

from functools import lru_cache
from re import compile as regex
from typing import Any
from zlib import crc32

from eastwall import behaviours
from eastwall.behaviours import World
from eastwall.behaviours.authentication import roles
from eastwall.behaviours.authentication.model import (
    ACCOUNT_DAY,
    CODES_HOUR,
    FAILED_DAY,
    FLOOD_DAY,
    MEASURES,
    RESETS_DAY,
    RESETS_HOUR,
    Group,
    Knowledge,
)
from eastwall.behaviours.credential_use.places import make
from eastwall.behaviours.outcomes import refused
from eastwall.behaviours.windows import DAY, HOUR
from eastwall.discovery.identity import source_of
from eastwall.model.call import Completion, Phase
from eastwall.model.decision import Decision
from eastwall.model.deviations import AnswersTell, AuthenticationAbuse, Deviation
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts
from eastwall.model.identity import Strength
from eastwall.model.operation import Operation

MAX_TALLIES = 100_000
MAX_MEMBERS = 128
MAX_EXISTING = 100_000
"""Accounts known to exist: they got in."""
MAX_OPEN = 10_000
"""Calls under way; one that is pushed out is not counted."""
OWN = 8
"""Addresses of an account that it got in from."""

FREE = {"spraying": 8, "guessing": 20, "codes": 5, "resets": 5, "resets a day": 12, "flood": 4, "lookups": 10, "surge": 15}
"""Beside twice the learned most. An office has slips; a person tries a code three times, and asks for a reset again when no mail comes."""
MAKES = 4_095
SLIPS = 3
"""Wrong codes before the right one."""
SURGE_SOURCES = 5
"""Addresses over which a surge is spread at least."""
SURGE_SHARE = 0.9
"""Of the accounts tried with one make of client within the hour, how many failed."""
_FAILED = frozenset((400, 401, 403, 404, 409, 410, 422, 423, 429))
_CHANGING = regex(rb"[0-9a-fA-F-]{8,}|[0-9]+")
_READ = 4_096


class _Tally:
    """Different things under one name, each with the time it was last seen."""

    __slots__ = ("members", "own", "passed")

    def __init__(self) -> None:
        self.members: dict[int, float] = {}
        self.passed: dict[int, float] = {}
        """Of what got in: the same."""
        self.own: tuple[int, ...] = ()
        """Of an account: addresses it got in from."""

    def add(self, member: int, now: float) -> None:
        members = self.members
        members.pop(member, None)
        if len(members) >= MAX_MEMBERS:
            del members[next(iter(members))]
        members[member] = now

    def pass_(self, member: int, now: float) -> None:
        self.members.pop(member, None)
        self.passed.pop(member, None)
        if len(self.passed) >= MAX_MEMBERS:
            del self.passed[next(iter(self.passed))]
        self.passed[member] = now

    def count(self, now: float, window: float) -> int:
        return sum([-window < now - at < window for at in self.members.values()])

    def counts(self, now: float) -> tuple[int, int]:
        """In an hour, in a day."""
        hour = day = 0
        for at in self.members.values():
            if -DAY < now - at < DAY:
                day += 1
                hour += -HOUR < now - at < HOUR
        return hour, day


class _Attempt:
    """What a call under way tries."""

    __slots__ = ("account", "client", "code", "id", "operation", "role", "source")

    def __init__(self, role: str, facts: Facts) -> None:
        self.role = role
        self.operation = facts.operation
        self.id = _id(facts)
        self.source = source_of(facts.identity, facts.call)
        self.account, self.code = _hashes(facts)
        """0 where the request names none."""
        self.client: tuple[str, int] | None = None
        """See `with_client`."""

    def with_client(self, facts: Facts) -> tuple[str, int]:
        """(operation, make of client)."""
        client = self.client
        if client is None:
            client = self.client = (self.id, _client(facts))
        return client


class _Known:
    """Knowledge by operation."""

    __slots__ = ("_roles", "groups", "others")

    def __init__(self, knowledge: Knowledge, others: frozenset[str] = frozenset()) -> None:
        self.others = others
        """Operations that have nothing to do with accounts: nearly all."""
        self.groups: dict[str, Group] = {group.endpoint: group for group in knowledge.groups}
        self._roles: dict[str, tuple[tuple[str, ...], str, str]] = {}
        """Operation -> (properties and name of its last call, role)."""

    def role(self, endpoint: Endpoint, operation: Operation, properties: tuple[str, ...]) -> str:
        """As `roles.role`, which is the same for nearly all calls of an operation."""
        if operation.query:
            return roles.role(endpoint, operation, properties)
        last = self._roles.get(endpoint.id)
        if last is not None and last[0] == properties and last[1] == operation.name:
            return last[2]
        role = roles.role(endpoint, operation, properties)
        self._roles[endpoint.id] = properties, operation.name, role
        return role

    def most(self, endpoint: Endpoint | None, measure: int) -> tuple[int, int]:
        """(the learned most, addresses it rests on)."""
        group = self.groups.get(endpoint.id) if endpoint is not None else None
        if group is None or group.usual is None or len(group.usual.most) < MEASURES:
            return 0, 0
        return group.usual.most[measure], group.usual.callers


def compile(knowledge: Knowledge, world: World) -> _Known:
    """Look-up tables."""
    others = (one.id for one in world.endpoints if not one.login and not roles.interesting(one.template, one.operation))
    return _Known(knowledge, frozenset(others))


class Watch(behaviours.Watch):
    """See above."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, Any], _Tally] = {}
        self._existing: dict[int, None] = {}
        self._crowded = False
        """So many attempts with one make of client failed that there may be a surge."""
        self._open: dict[str, _Attempt] = {}
        """By call, until it is over."""

    def __len__(self) -> int:
        return len(self._tallies)

    def asks(self, phase: Phase, endpoint: Endpoint, known: _Known) -> bool:
        return endpoint.id not in known.others

    def request(self, facts: Facts, known: _Known) -> tuple[Deviation, ...]:
        endpoint, operation = facts.match.endpoint, facts.operation
        if endpoint is None:
            if not roles.interesting(operation.path, operation.name):
                return ()
            role = roles.role(None, operation, facts.properties)
        else:
            role = known.role(endpoint, operation, facts.properties) if endpoint.id not in known.others else ""
        if not role:
            return ()
        if len(self._open) >= MAX_OPEN:
            del self._open[next(iter(self._open))]
        attempt = self._open[facts.call.id] = _Attempt(role, facts)
        found = self._judge(attempt, facts, known)
        told: tuple[Deviation, ...] = (found,) if found is not None else ()
        group = known.groups.get(endpoint.id) if endpoint is not None else None
        if endpoint is not None and group is not None and group.tells is not None:
            tells = group.tells
            told += (AnswersTell("operation", f"{endpoint.method} {endpoint.template}"[:120], tells.by, tells.existing, tells.others, tells.shown),)  # fmt: skip
        return told

    def notes(self, endpoint: Endpoint, known: _Known) -> dict[str, Any]:
        return self._open

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        attempt = self._open.pop(request.call_id, None)
        if attempt is None or completion.status == 0:
            return None
        facts = request.facts
        blocked = request.verdict.action in ("block", "limit")
        failed = blocked or completion.status in _FAILED or refused(response)
        if completion.status >= 500 and not blocked:
            return None  # says nothing of the attempt
        if attempt.operation is not facts.operation:
            attempt = _Attempt(attempt.role, facts)  # its body came later
        account = attempt.account
        existing = account in self._existing if account else False
        self._count(attempt, facts, failed=failed, blocked=blocked)
        if blocked:
            return None
        answer = _form(response) if failed and account and response is not None else -1
        return [self._measures(facts, attempt), answer, existing]

    # -- judging --------------------------------------------------------------------------------------------------

    def _judge(self, attempt: _Attempt, facts: Facts, known: _Known) -> AuthenticationAbuse | None:
        now, endpoint = facts.call.time, facts.match.endpoint
        role, source, account = attempt.role, attempt.source, attempt.account
        if role == roles.SIGN_IN:
            return (
                self._spraying(facts, known, source, now)
                or self._guessing(facts, known, source, account, now)
                or self._surge("failed with", facts, attempt, now, known)
            )
        if role in (roles.CODE, roles.CONFIRM):
            names: list[Any] = [facts.identity.actor] if facts.identity.strength > Strength.NONE else [source]
            names += [account] if account else []
            for name in names:
                count = self._size("codes of", (attempt.id, name), now, HOUR)
                if count > FREE["codes"]:
                    most, callers = known.most(endpoint, CODES_HOUR)
                    if count > FREE["codes"] + 2 * most:
                        return AuthenticationAbuse("body", "codes", count, HOUR, most, callers)
            return self._surge("codes with", facts, attempt, now, known)
        if role == roles.RESET:
            for measure, window, free in ((RESETS_HOUR, HOUR, FREE["resets"]), (RESETS_DAY, DAY, FREE["resets a day"])):
                most, callers = known.most(endpoint, measure)
                count = self._size("resets by", source, now, window)
                if count > free + 2 * most:
                    return AuthenticationAbuse("body", "resets", count, window, most, callers)
            most, callers = known.most(endpoint, FLOOD_DAY)
            count = self._size("resets of", account, now, DAY) if account else 0
            return AuthenticationAbuse("body", "flood", count, DAY, most, callers) if count > FREE["flood"] + 2 * most else None
        most, callers = known.most(endpoint, RESETS_HOUR)
        count = self._size("lookups by", source, now, HOUR)
        return AuthenticationAbuse("body", "lookups", count, HOUR, most, callers) if count > FREE["lookups"] + 2 * most else None

    def _spraying(self, facts: Facts, known: _Known, source: str, now: float) -> AuthenticationAbuse | None:
        tally = self._tallies.get(("failed at", source))
        if tally is None or len(tally.members) <= FREE["spraying"]:
            return None
        most, callers = known.most(facts.match.endpoint, FAILED_DAY)
        count = tally.count(now, DAY)
        passed = sum(-DAY < now - at < DAY for at in tally.passed.values())
        # Where as many get in, people are behind the address.
        if count <= FREE["spraying"] + 2 * most + passed:
            return None
        return AuthenticationAbuse("body", "spraying", count, DAY, most, callers)

    def _guessing(self, facts: Facts, known: _Known, source: str, account: int, now: float) -> AuthenticationAbuse | None:
        tally = self._tallies.get(("failures of", account)) if account else None
        if tally is None or len(tally.members) <= FREE["guessing"] or hash(source) in tally.own:
            return None
        most, callers = known.most(facts.match.endpoint, ACCOUNT_DAY)
        count = tally.count(now, DAY)
        return AuthenticationAbuse("body", "guessing", count, DAY, most, callers) if count > FREE["guessing"] + 2 * most else None

    def _surge(self, what: str, facts: Facts, attempt: _Attempt, now: float, known: _Known) -> AuthenticationAbuse | None:
        """Many addresses, one make of client, and nearly all of it fails."""
        if not self._crowded:
            return None
        client = attempt.with_client(facts)
        tally = self._tallies.get((what, client))
        if tally is None or len(tally.members) <= FREE["surge"]:
            return None
        mine = self._tallies.get(("failed at", attempt.source))
        if mine is not None and mine.passed:
            return None  # somebody gets in from here
        most, callers = known.most(facts.match.endpoint, FAILED_DAY if what == "failed with" else CODES_HOUR)
        count = tally.count(now, HOUR)
        passed = sum(-HOUR < now - at < HOUR for at in tally.passed.values())
        sources = self._size("sources of " + what, client, now, HOUR)
        if count <= FREE["surge"] + 2 * most or sources < SURGE_SOURCES or count < SURGE_SHARE * (count + passed):
            return None
        return AuthenticationAbuse("body", "surge", count, HOUR, most, callers, sources)

    # -- counting -------------------------------------------------------------------------------------------------

    def _count(self, attempt: _Attempt, facts: Facts, *, failed: bool, blocked: bool) -> None:
        now, role, source = facts.call.time, attempt.role, attempt.source
        account, code = attempt.account, attempt.code
        if role == roles.SIGN_IN and account:
            self._signed_in(source, attempt.with_client(facts), account, now, failed=failed, blocked=blocked)
        elif role in (roles.CODE, roles.CONFIRM):
            names: list[Any] = [facts.identity.actor] if facts.identity.strength > Strength.NONE else [source]
            first = self._tallies.get(("codes of", (attempt.id, names[0])))
            full = first is not None and len(first.members) >= MAX_MEMBERS
            names += [account] if account and not blocked and not full else []
            for name in names:
                tally = self._tally("codes of", (attempt.id, name))
                if failed:
                    tally.add(code or hash(now), now)
                elif code not in tally.passed:
                    # A code that fits explains the slips before it, once: else one good code would pay for any number of guesses.
                    for slip in list(tally.members)[-SLIPS:]:
                        del tally.members[slip]
                    tally.pass_(code, now)
            if failed and not blocked:
                client = attempt.with_client(facts)
                self._fail("codes with", client, hash((source, code)), now)
                self._tally("sources of codes with", client).add(hash(source), now)
        elif role == roles.RESET:
            mine = self._tally("resets by", source)
            full = len(mine.members) >= MAX_MEMBERS
            mine.add(account, now)
            if account and not blocked and not full:
                self._tally("resets of", account).add(hash(now), now)
        elif role in (roles.REGISTER, roles.LOOKUP) and account and (failed or role == roles.LOOKUP):
            self._tally("lookups by", source).add(account, now)

    def _signed_in(self, source: str, client: tuple[str, int], account: int, now: float, *, failed: bool, blocked: bool) -> None:
        mine = self._tally("failed at", source)
        if not failed:
            mine.pass_(account, now)
            self._tally("failed with", client).pass_(account, now)
            own = self._tally("failures of", account)
            own.members.clear()
            if hash(source) not in own.own:
                own.own = (*own.own, hash(source))[-OWN:]
            self._existing.pop(account, None)
            if len(self._existing) >= MAX_EXISTING:
                del self._existing[next(iter(self._existing))]
            self._existing[account] = None
            return
        full = len(mine.members) >= MAX_MEMBERS
        mine.add(account, now)
        if not blocked and not full:
            self._tally("failures of", account).add(hash((source, now)), now)
            self._fail("failed with", client, account, now)
            self._tally("sources of failed with", client).add(hash(source), now)

    def _fail(self, what: str, client: tuple[str, int], member: int, now: float) -> None:
        tally = self._tally(what, client)
        tally.add(member, now)
        self._crowded = self._crowded or len(tally.members) > FREE["surge"]

    def _measures(self, facts: Facts, attempt: _Attempt) -> list[int]:
        """As the model measures."""
        now, source, role, account = facts.call.time, attempt.source, attempt.role, attempt.account
        tallies, none = self._tallies, (0, 0)
        failed, failures = tallies.get(("failed at", source)), tallies.get(("failures of", account))
        asked = tallies.get(("resets by" if role == roles.RESET else "lookups by", source))
        actor = facts.identity.actor if facts.identity.strength > Strength.NONE else source
        return [
            *(failed.counts(now) if failed is not None else none),
            *(failures.counts(now) if failures is not None else none),
            *(asked.counts(now) if asked is not None else none),
            self._size("resets of", account, now, DAY),
            self._size("codes of", (attempt.id, actor), now, HOUR),
        ]

    def _size(self, what: str, name: Any, now: float, window: float) -> int:
        tally = self._tallies.get((what, name))
        return tally.count(now, window) if tally is not None else 0

    def _tally(self, what: str, name: Any) -> _Tally:
        key, tallies = (what, name), self._tallies
        tally = tallies.get(key)
        if tally is None:
            if len(tallies) >= MAX_TALLIES:
                del tallies[next(iter(tallies))]
            tally = tallies[key] = _Tally()
        elif len(tallies) * 2 > MAX_TALLIES:  # before, none is to go soon
            tallies[key] = tallies.pop(key)
        return tally


def _hashes(facts: Facts) -> tuple[int, int]:
    """(account, code); 0 where the request names none."""
    account, code = roles.said(facts.operation)
    if not code and not facts.properties:
        code = roles.code_in(facts.operation.path)
    return (hash(account) if account else 0, hash(code) if code else 0)


def _id(facts: Facts) -> str:
    endpoint, path = facts.match.endpoint, facts.operation.path[:200]
    if endpoint is not None:
        return endpoint.id
    return path.rstrip("/").rpartition("/")[0] if roles.named_by_code(path) else path


def _client(facts: Facts) -> int:
    """The make of client, one of `MAKES`: a caller may make up any number of user agents."""
    headers = facts.call.request.headers
    return _make(headers.get("user-agent", ""), headers.get("accept-language", ""), len(headers))


@lru_cache(maxsize=1024)
def _make(agent: str, accepts: str, names: int) -> int:
    return MAKES & hash(f"{make(agent)}|{accepts[:40]}|{names}")


def _form(response: Decision) -> int:
    """A checksum of what an answer says, without what differs each time."""
    answer = response.facts.call.response
    text = response.facts.operation.raw_body[:_READ]
    return crc32(_CHANGING.sub(b"#", text), answer.status if answer is not None else 0)
