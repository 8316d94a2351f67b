"""Who calls and what they do: a profile per identity, and identity classes for instances that behave alike.

A profile belongs to every principal that took part in a call: who really called, the agent that acted, the workload that carried the call. So
the calls of all profiles together are more than the calls there were. Addresses and sessions have a profile only where nothing better
was known.

Counts, sets, minima and maxima: shards merge to what one stream would have given, in any order, below the bounds.

**Classes.** Instances of a workload whose names differ only in parts that look like an instance's (see `instance_names`) and that use the same
operations are one class. The name of the class is the name with `*` for those parts, so it is the same whenever it is learned, by whomever.
Two rules keep a caller out of a class by naming itself so: only names that were verified or asserted count as evidence and only such join
(`discovery.identity`), and what names a tenant, namespace or role is never taken for an instance's part.

API keys and other opaque callers get no class by behaviour. There is nothing in their names to hold such a class together, so it would be
made of their behaviour alone: a stolen key that begins to do what administrators' keys do would *join* their class, which is the very
thing to be seen, and a class without a name has no id that stays the same. They share the class `key`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import fsum, log1p
from sys import intern
from typing import Any

from eastwall.behaviours.sketch import Distinct, hash64
from eastwall.discovery.name_globs import GlobTable
from eastwall.discovery.workloads import workload_name
from eastwall.learning.instance_names import mask
from eastwall.model.blueprint import IdentityProfile
from eastwall.model.identity import Strength
from eastwall.model.record import CallRecord

FORMAT = 1
MAX_ACTORS = 20_000
"""Profiles; the least recently seen leave."""
MAX_WEAK = 10_000
"""Of them, those that nobody vouched for (addresses, unverified names): a scanner that makes names up drives out others like it only."""
MAX_OPERATIONS = 64
"""Per profile; the quarter called least leaves."""
MAX_WORDS = 32
"""Services, data classes, linked identities and faults per profile; the first in order of the alphabet stay."""
SOURCES = 32
"""Hashes of addresses per profile: exact below, above within about 18 %."""
MAX_CLASSES = 1_000
_SLACK = 1.1
"""How far tables grow over their bound before they are cut, so that not every new actor has to look for the oldest."""
_VOUCHED = int(Strength.ASSERTED)
_CLASSED = ("workload", "client", "agent")
_DEPTH = 3
_Member = tuple[str, tuple[str, ...]]
"""(`kind:name`, its parts that may differ between instances)"""


class Alike:
    """How much it takes to call instances alike."""

    calls = 20
    """Calls of an instance before it is judged."""
    instances = 2
    """Judged instances at least."""
    share = 0.75
    """Share of an instance's calls that go to the operations most of them use. Calls count by the logarithm of their number per
    operation: a thousand health checks are no more than a habit."""
    members = 0.9
    """Share of instances of which that is true, for a new class."""
    stay = 0.5
    """The same for a class to stay: one instance that is broken into is to stand out in its class, not to end it."""


class _Actor:
    """One profile."""

    __slots__ = (
        "agent",
        "calls",
        "classes",
        "data",
        "faults",
        "first",
        "kind",
        "last",
        "links",
        "operations",
        "services",
        "sources",
        "strength",
    )

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.agent = False
        self.strength = 0
        self.calls = 0
        self.first = float("inf")
        self.last = 0.0
        self.classes: tuple[int, float, str] = (0, 0.0, "")
        """(1 when seen as the actor, time, class): the greatest counts."""
        self.operations: dict[str, int] = {}
        self.services: set[str] = set()
        self.data: set[str] = set()
        self.links: set[str] = set()
        self.faults: set[str] = set()
        self.sources = Distinct(size=SOURCES)

    def count(self, operation: str, calls: int) -> None:
        operations = self.operations
        known = operations.get(operation)
        if known is None and len(operations) >= MAX_OPERATIONS:
            kept = sorted(operations, key=lambda key: (-operations[key], key))[: MAX_OPERATIONS * 3 // 4]
            self.operations = operations = {key: operations[key] for key in kept}
        operations[intern(operation)] = (known or 0) + calls

    def merge(self, other: _Actor) -> None:
        self.agent = self.agent or other.agent
        self.strength = max(self.strength, other.strength)
        self.calls += other.calls
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)
        self.classes = max(self.classes, other.classes)
        for operation, calls in other.operations.items():
            self.count(operation, calls)
        for mine, theirs in (
            (self.services, other.services),
            (self.data, other.data),
            (self.links, other.links),
            (self.faults, other.faults),
        ):
            _add(mine, theirs)
        self.sources.merge(other.sources)


class Identities:
    """Mergeable state. One thread at a time."""

    def __init__(self) -> None:
        self._actors: dict[str, _Actor] = {}
        self._weak = 0
        """Profiles that nobody vouched for."""
        self._learned: dict[str, dict[str, str]] = {}
        """Masked name -> glob that was made of it -> class, as concluded last."""
        self._ordered: tuple[tuple[str, str], ...] = ()
        self._table: GlobTable[str] = GlobTable(())
        self._stale = False
        """Whether anything was learned since `classes` was asked."""

    def fold(self, record: CallRecord, endpoint_id: str) -> None:
        """Learn from a call. `endpoint_id`: empty when its endpoint is not known."""
        actor = record.actor
        if not actor:
            return
        self._stale = True
        source = hash64(record.source) if record.source else 0
        entry = self._fold(actor, record.actor_kind, record.strength, record, endpoint_id, source)
        seen = (1, record.time, record.actor_class)
        if seen > entry.classes:
            entry.classes = seen
        given = [hit.data_class for hit in record.data if hit.direction == "response"] if record.data else ()
        if given:
            _add(entry.data, given)
        if record.identity_faults:
            _add(entry.faults, record.identity_faults)
        strengths = record.strengths if len(record.strengths) == len(record.principals) else None
        for number, name, kind in _taking_part(record.principals):
            if name != actor:
                strength = strengths[number] if strengths is not None else 0
                other = self._fold(name, kind, strength, record, endpoint_id, source)
                if not other.classes[0]:
                    other.classes = max(other.classes, (0, record.time, _class(kind, name[len(kind) + 1 :], strength)))
                if given and name == record.agent:
                    _add(other.data, given)
        agent, human = record.agent, record.human
        if agent and human and agent != human and {agent, human} <= {actor, *record.principals}:
            self._link(agent, human)
        if len(self._actors) > MAX_ACTORS * _SLACK or self._weak > MAX_WEAK * _SLACK:
            self._cut()

    def _link(self, agent: str, human: str) -> None:
        """Both took part in a call. Who is an agent by configuration may still be a mere address or session, without a profile."""
        mine, theirs = self._actors.get(agent), self._actors.get(human)
        if mine is None or theirs is None:
            return
        if human not in mine.links:
            _add(mine.links, (human,))
        if agent not in theirs.links:
            _add(theirs.links, (agent,))

    def _fold(self, name: str, kind: str, strength: int, record: CallRecord, endpoint_id: str, source: int) -> _Actor:
        entry = self._actors.get(name)
        if entry is None:
            entry = self._actors[name] = _Actor(kind)
            self._weak += 1
        if strength > entry.strength:
            if entry.strength < _VOUCHED <= strength:
                self._weak -= 1
            entry.strength = strength
        time = record.time
        entry.calls += 1
        if name == record.agent:
            entry.agent = True
        if time < entry.first:
            entry.first = time
        if time > entry.last:
            entry.last = time
        if endpoint_id:
            operations = entry.operations
            known = operations.get(endpoint_id)
            if known is not None:
                operations[endpoint_id] = known + 1
            else:
                entry.count(endpoint_id, 1)
        if record.service not in entry.services:
            _add(entry.services, (record.service,))
        if source:
            entry.sources.add(source)
        return entry

    def _cut(self) -> None:
        """Keep the most recently seen."""

        def newest(names: list[str]) -> list[str]:
            return sorted(names, key=lambda name: (-self._actors[name].last, name))

        weak = newest([name for name, entry in self._actors.items() if entry.strength < _VOUCHED])[:MAX_WEAK]
        firm = [name for name, entry in self._actors.items() if entry.strength >= _VOUCHED]
        kept = newest(weak + firm)[:MAX_ACTORS]
        self._actors = {name: self._actors[name] for name in kept}
        self._weak = sum(entry.strength < _VOUCHED for entry in self._actors.values())

    def merge(self, other: Identities) -> None:
        """Take in what others have learned; `other` is left as it is."""
        for name, theirs in other._actors.items():
            mine = self._actors.get(name)
            if mine is None:
                mine = self._actors[name] = _Actor(theirs.kind)
            mine.merge(theirs)
        for masked, globs in other._learned.items():
            self._learned[masked] = globs | self._learned.get(masked, {})
        self._order()
        self._stale = True
        self._cut()

    def move(self, moved: Mapping[str, str]) -> None:
        """Endpoints have other ids now (old -> new)."""
        self._stale = True
        for entry in self._actors.values():
            if not moved.keys().isdisjoint(entry.operations):
                old, entry.operations = entry.operations, {}
                for operation, calls in old.items():
                    entry.count(moved.get(operation, operation), calls)

    def __len__(self) -> int:
        return len(self._actors)

    # -- what is concluded --------------------------------------------------------------------------------------------

    def profiles(self, limit: int = 1_000) -> tuple[IdentityProfile, ...]:
        """Most calls first."""
        names = sorted(self._actors, key=lambda name: (-self._actors[name].calls, name))[: max(limit, 0)]
        return tuple(self._profile(name) for name in names)

    def profile(self, actor: str) -> IdentityProfile | None:
        return self._profile(actor) if actor in self._actors else None

    def _profile(self, name: str) -> IdentityProfile:
        entry = self._actors[name]
        learned = self._table.get(name) if entry.strength >= _VOUCHED and entry.kind in _CLASSED else None
        return IdentityProfile(
            actor=name,
            kind=entry.kind,
            cls=learned or entry.classes[2],
            strength=entry.strength,
            calls=entry.calls,
            first_seen=entry.first,
            last_seen=entry.last,
            operations=tuple(sorted(entry.operations.items(), key=lambda item: (-item[1], item[0]))),
            services=tuple(sorted(entry.services)),
            data_classes=tuple(sorted(entry.data)),
            agents=tuple(sorted(entry.links)),
            sources=entry.sources.count(),
            faults=tuple(sorted(entry.faults)),
            agent=entry.agent,
        )

    def classes(self) -> tuple[tuple[str, str], ...]:
        """(glob over `kind:name`, class), most specific first; at most MAX_CLASSES. For `compile_trust`.

        A class that was concluded stays while nothing speaks against it, also when its instances are gone. When it turns out to be
        wider than thought, it keeps its name.
        """
        if not self._stale:
            return self._ordered
        groups: dict[str, list[_Member]] = {}
        for name, entry in self._actors.items():
            kind, _, rest = name.partition(":")
            if kind in _CLASSED and entry.strength >= _VOUCHED and entry.calls >= Alike.calls and entry.operations:
                masked, parts = mask(rest)
                if parts:
                    groups.setdefault(f"{kind}:{masked}", []).append((name, parts))
        for masked, members in sorted(groups.items()):
            if len(members) >= Alike.instances:  # fewer say nothing: what was said before stands
                self._conclude(masked, sorted(members))
        self._order()
        self._stale = False
        return self._ordered

    def _order(self) -> None:
        """Most text first: a glob that says more goes before one that says less. What is over the bound is forgotten."""
        every = [(glob, cls, masked) for masked, globs in self._learned.items() for glob, cls in globs.items()]
        every.sort(key=lambda entry: (-len(entry[0].replace("*", "")), entry[0]))
        for glob, _, masked in every[MAX_CLASSES:]:
            del self._learned[masked][glob]
        self._ordered = tuple((glob, cls) for glob, cls, _ in every[:MAX_CLASSES])
        self._table = GlobTable(self._ordered, steps=True)

    def _conclude(self, masked: str, members: list[_Member]) -> None:
        """Learn the classes of names that differ in parts of instances only."""
        before = self._learned.pop(masked, {})
        learned = {}
        for glob in self._judge(masked, members, before, 0):
            inside: GlobTable[bool] = GlobTable([(glob, True)], steps=True)
            names = sorted(cls for old, cls in before.items() if old == glob or inside.get(old))
            learned[glob] = names[0] if names else _title(glob)
        if learned:
            self._learned[masked] = learned

    def _judge(self, masked: str, members: list[_Member], before: Mapping[str, str], depth: int) -> list[str]:
        """Globs of the instances that are alike. Where they are not, by one part that tells them apart (`tier-1`, `tier-2`)."""
        glob = _glob(masked, members)
        if len(members) < Alike.instances or "*" not in glob:
            return []
        if self._alike([name for name, _ in members], Alike.stay if glob in before else Alike.members):
            # Names that lead to one class by themselves need no glob.
            return [glob] if len({_class(*_kind_and_name(name), _VOUCHED) for name, _ in members}) > 1 else []
        if depth >= _DEPTH:
            return []
        values = [len({parts[at] for _, parts in members}) for at in range(len(members[0][1]))]
        for count, at in sorted((count, at) for at, count in enumerate(values) if count > 1):
            if count * Alike.instances > len(members):
                break
            by_value: dict[str, list[_Member]] = {}
            for member in members:
                by_value.setdefault(member[1][at], []).append(member)
            found = [glob for some in by_value.values() for glob in self._judge(masked, some, before, depth + 1)]
            if found:
                return found
        return []

    def _alike(self, names: list[str], enough: float) -> bool:
        """Whether instances do nothing but what more than half of them do. One that idles is like the others."""
        users: dict[str, int] = {}
        for name in names:
            for operation in self._actors[name].operations:
                users[operation] = users.get(operation, 0) + 1
        common = {operation for operation, count in users.items() if count * 2 > len(names)}
        fits = 0
        for name in names:
            operations = self._actors[name].operations
            usual = fsum(log1p(calls) for operation, calls in operations.items() if operation in common)
            fits += usual >= Alike.share * fsum(map(log1p, operations.values()))
        return fits >= enough * len(names)

    # -- keeping ------------------------------------------------------------------------------------------------------

    def dump(self) -> list[Any]:
        """Plain data for `load`."""
        actors = [
            [
                name,
                entry.kind,
                entry.agent,
                entry.strength,
                entry.calls,
                entry.first,
                entry.last,
                list(entry.classes),
                entry.operations,
                *(sorted(words) for words in (entry.services, entry.data, entry.links, entry.faults)),
                sorted(entry.sources.hashes),
            ]
            for name, entry in self._actors.items()
        ]
        return [FORMAT, actors, self._learned]

    @classmethod
    def load(cls, data: Any) -> Identities:
        """The inverse of `dump`. Raises `ValueError` on data of something else or another version."""
        state = cls()
        try:
            version, actors, learned = data
            if version != FORMAT:
                raise ValueError(f"learned identities have format {version!r}, expected {FORMAT}")
            for row in actors:
                name, kind, agent, strength, calls, first, last, classes, operations, services, given, links, faults, sources = (
                    row
                )
                entry = state._actors[name] = _Actor(kind)
                entry.agent, entry.strength, entry.calls, entry.first, entry.last = agent, strength, calls, first, last
                entry.classes = (classes[0], classes[1], classes[2])
                entry.operations = dict(operations)
                entry.services, entry.data, entry.links, entry.faults = set(services), set(given), set(links), set(faults)
                entry.sources = Distinct(set(sources), SOURCES)
            state._learned = {masked: dict(globs) for masked, globs in learned.items()}
            state._order()
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise ValueError(f"learned identities cannot be read: {error}") from None
        state._stale = True
        state._weak = sum(entry.strength < _VOUCHED for entry in state._actors.values())
        return state


def _add(words: set[str], new: Iterable[str]) -> None:
    words.update(new)
    while len(words) > MAX_WORDS:
        words.remove(max(words))


@lru_cache(maxsize=8_192)
def _taking_part(principals: tuple[str, ...]) -> tuple[tuple[int, str, str], ...]:
    """(index, `kind:name`, kind) of the principals that are somebody by themselves."""
    found = []
    for number, name in enumerate(principals):
        kind, _, rest = name.partition(":")
        # Only a key is a session: a token may call its bearer `session:...` too.
        if kind != "address" and not (kind == "key" and rest.startswith("session:")):
            found.append((number, name, kind))
    return tuple(found)


@lru_cache(maxsize=8_192)
def _class(kind: str, name: str, strength: int) -> str:
    """The class of somebody who was not the actor, as far as the name tells."""
    if kind == "workload":
        return f"workload:{workload_name(name)}" if strength >= _VOUCHED else kind
    if kind in ("client", "agent") and strength >= int(Strength.VERIFIED):
        return f"{kind}:{workload_name(name)}"
    return kind


def _kind_and_name(actor: str) -> tuple[str, str]:
    kind, _, name = actor.partition(":")
    return kind, name


def _title(glob: str) -> str:
    """The class of a glob: itself, without a scheme. The `*` in it is in no class that a name alone leads to."""
    kind, _, name = glob.partition(":")
    return f"{kind}:{name.partition('://')[2] or name}"


def _glob(masked: str, members: list[_Member]) -> str:
    """The masked name with those parts written out in which all members are the same."""
    joint = "/" if "://" in masked else "."
    kind, _, name = masked.partition(":")
    steps = name.split(joint)
    wild = [number for number, step in enumerate(steps) if "*" in step]
    for at, number in enumerate(wild):
        first = members[0][1][at]
        if all(parts[at] == first for _, parts in members):
            steps[number] = first
    return f"{kind}:{joint.join(steps)}"
