"""What is learned of sessions, from what the watch noted of each call.

- `flows`: per operation that changes something, what its callers had done before (`sessions.flows`).
- `contexts`: per service, which operation comes after which (`sessions.contexts`).
- `paces`: per service and class of callers, how fast they change things, how long without a pause, in how many hours of a day, and how
  unusual the strangest of their sessions was (`behaviours.maxima`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from eastwall.behaviours.holding import Backers, Key, beyond
from eastwall.behaviours.maxima import Maxima, Usual
from eastwall.behaviours.sessions.contexts import ORDER, Contexts, Followers
from eastwall.behaviours.sessions.flows import Flow
from eastwall.behaviours.sessions.invariants import Rules, invariants
from eastwall.behaviours.sketch import hash64
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord

MAX_FLOWS = 8_000
MAX_SERVICES = 64
MAX_GROUPS = 128
MAX_MOVED = 1_000
MAX_NAMES = 24
"""Operations that one note may name."""
MAX_WEIGHT = 32
MAX_AGE = 100_000
"""Minutes."""
WINDOWS = (10.0, 0.0, 86_400.0, 0.0)
"""Seconds of the measures of `paces`: changes within ten seconds, changes without a pause, active hours of a day, bits of surprise."""
_GROUP = "\0"


class Knowledge(Struct, frozen=True):
    """What engines know."""

    rules: tuple[Rules, ...] = ()
    contexts: tuple[tuple[str, tuple[Followers, ...]], ...] = ()
    """Service -> what comes after what."""
    paces: tuple[tuple[str, str, Usual], ...] = ()
    """(service, class, its most by `WINDOWS`)."""
    moved: tuple[tuple[str, str], ...] = ()
    """Operations that had another id: engines remember what was done by the old one."""


class Model:
    """See the module."""

    noted_only = True

    __slots__ = ("contexts", "flows", "moved", "paces")

    def __init__(self) -> None:
        self.flows: dict[str, Flow] = {}
        """By operation, and by `operation NUL class`: what one class always does, another (support, a service account) may not."""
        self.contexts: dict[str, Contexts] = {}
        self.paces: dict[str, Maxima] = {}
        """`service NUL class`."""
        self.moved: dict[str, str] = {}

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        if note is None or not clean or type(note) is not dict or not record.actor:
            return
        actor = hash64(record.actor)
        after = note.get("x")
        if after is not None:
            self._follows(record.service, endpoint, after, actor)
        pace = note.get("p")
        if pace is not None:
            self._pace(record, pace, actor)
        flow = note.get("f")
        if flow is not None:
            self._flow(endpoint, record.actor_class, flow, note, actor)

    def _follows(self, service: str, endpoint: str, after: Any, actor: int) -> None:
        contexts = self.contexts.get(service)
        if contexts is None:
            if len(self.contexts) >= MAX_SERVICES:
                return
            contexts = self.contexts[service] = Contexts()
        if type(after) not in (list, tuple) or len(after) > ORDER + 1 or not after:
            return
        weight, *before = after
        if type(weight) is int and 0 < weight <= MAX_WEIGHT and _named(before):
            contexts.fold(before, endpoint, actor, weight)

    def _pace(self, record: CallRecord, pace: Any, actor: int) -> None:
        if (
            type(pace) not in (list, tuple)
            or len(pace) != len(WINDOWS)
            or any(type(n) is not int or not 0 <= n < 1 << 20 for n in pace)
        ):
            return
        key = f"{record.service}{_GROUP}{record.actor_class}"
        group = self.paces.get(key)
        if group is None:
            if len(self.paces) >= MAX_GROUPS:
                least = min(self.paces, key=lambda known: (self.paces[known].calls, known))
                if self.paces[least].calls > 1:
                    return
                del self.paces[least]
            group = self.paces[key] = Maxima()
        group.fold(actor, record.time, pace)

    def _flow(self, endpoint: str, cls: str, told: Any, note: Mapping[str, Any], actor: int) -> None:
        """`f`: [first, keyed, [since], [late], minutes watched]; `o`: [[kind, [before], [late]]]; `m`: [[scope, times]]."""
        flow, own = self._of(endpoint), self._of(f"{endpoint}{_GROUP}{cls}")
        if flow is None:
            return
        if type(told) in (list, tuple) and len(told) == 5 and _named(told[2]) and _named(told[3]):
            first, keyed = bool(told[0]), bool(told[1])
            age = min(told[4], MAX_AGE) if type(told[4]) is int and told[4] > 0 else 0
            flow.fold(told[2], told[3], first=first, keyed=keyed, actor=actor, age=age)
            if own is not None:
                own.fold(told[2], told[3], first=first, keyed=keyed, actor=actor, age=age)
        for entry in _list(note.get("o")):
            if (
                type(entry) in (list, tuple)
                and len(entry) == 3
                and type(entry[0]) is str
                and _named(entry[1])
                and _named(entry[2])
            ):
                flow.on_object(entry[0], entry[1], entry[2])
                if own is not None:
                    own.on_object(entry[0], entry[1], entry[2])
        for entry in _list(note.get("m")):
            if type(entry) in (list, tuple) and len(entry) == 2 and type(entry[0]) is str and type(entry[1]) is int:
                flow.tally(entry[0], entry[1], actor)

    def _of(self, key: str) -> Flow | None:
        """Counts of an operation, or of a class's calls of it; those with the fewest calls leave."""
        flow = self.flows.get(key)
        if flow is None:
            if len(self.flows) >= MAX_FLOWS:
                least = min(self.flows, key=lambda known: (self.flows[known].calls, known))
                if self.flows[least].calls > 1:
                    return None
                del self.flows[least]
            flow = self.flows[key] = Flow()
        return flow

    def merge(self, other: Model) -> None:
        for endpoint, flow in other.flows.items():
            if endpoint in self.flows or len(self.flows) < MAX_FLOWS:
                self.flows.setdefault(endpoint, Flow()).merge(flow)
        for service, contexts in other.contexts.items():
            if service in self.contexts or len(self.contexts) < MAX_SERVICES:
                self.contexts.setdefault(service, Contexts()).merge(contexts)
        for key, group in other.paces.items():
            if key in self.paces or len(self.paces) < MAX_GROUPS:
                self.paces.setdefault(key, Maxima()).merge(group)
        self._note_moved(other.moved)

    def move(self, renamed: Mapping[str, str]) -> None:
        for key in [key for key in self.flows if key.partition(_GROUP)[0] in renamed]:
            name, mark, cls = key.partition(_GROUP)
            flow = self.flows.pop(key)
            self.flows.setdefault(renamed[name] + mark + cls, Flow()).merge(flow)
        for flow in self.flows.values():
            flow.move(renamed)
        for contexts in self.contexts.values():
            contexts.move(renamed)
        self._note_moved(renamed)

    def _note_moved(self, renamed: Mapping[str, str]) -> None:
        self.moved = {old: renamed.get(new, new) for old, new in self.moved.items()}
        for old, new in sorted(renamed.items()):
            if len(self.moved) < MAX_MOVED:
                self.moved[old] = new

    def dump(self) -> Any:
        return [
            {endpoint: flow.dump() for endpoint, flow in sorted(self.flows.items())},
            {service: contexts.dump() for service, contexts in sorted(self.contexts.items())},
            {key: group.dump() for key, group in sorted(self.paces.items())},
            dict(sorted(self.moved.items())),
        ]

    @classmethod
    def load(cls, data: Any) -> Model:
        flows, contexts, paces, moved = data
        state = cls()
        state.flows = {str(endpoint): Flow.load(flow) for endpoint, flow in flows.items()}
        state.contexts = {str(service): Contexts.load(one) for service, one in contexts.items()}
        state.paces = {str(key): Maxima.load(group) for key, group in paces.items()}
        state.moved = {str(old): str(new) for old, new in moved.items()}
        return state

    def publish(self, endpoints: Sequence[Endpoint]) -> Knowledge | None:
        paces = []
        for key in sorted(self.paces):
            usual = self.paces[key].usual(WINDOWS)
            if usual is not None:
                service, _, cls = key.partition(_GROUP)
                paces.append((service, cls, usual))
        known = Knowledge(
            rules=invariants(self.flows, endpoints),
            contexts=tuple((service, found) for service, one in sorted(self.contexts.items()) if (found := one.known())),
            paces=tuple(paces),
            moved=tuple(sorted(self.moved.items())),
        )
        return known if known != Knowledge() else None

    def backers(self, key: Key, first: Any) -> Backers | None:
        """See `behaviours.holding`: of paces; an order that is no more found is nobody's doing."""
        return beyond(self.paces.get(f"{key[1]}{_GROUP}{key[2]}"), first, (0, 1, 2)) if key[0] == "pace" else None


def _named(names: Any) -> bool:
    """Whether it is a list of names of operations."""
    if type(names) not in (list, tuple) or len(names) > MAX_NAMES:
        return False
    for name in names:
        if type(name) is not str or len(name) > 64:
            break
    else:
        return True
    return False


def _list(value: Any) -> Sequence[Any]:
    return value[:MAX_NAMES] if type(value) in (list, tuple) else ()
