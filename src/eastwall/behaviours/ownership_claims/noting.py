"""What calls tell the learner: the places of a message that held the caller's own, and how its objects were named.

Most calls of an operation say what those before have said. The first of each class of callers at each operation are noted, as many as it takes to
learn from, and then one in a few; what the learner has enough of it says itself (`Knowledge.taught`), to engines that begin, too.
"""

from __future__ import annotations

from typing import Any

from eastwall import behaviours
from eastwall.behaviours.ownership_claims.counts import CROWDED, FOREIGN, STRANGE, TAUGHT
from eastwall.behaviours.ownership_claims.known import Known
from eastwall.behaviours.ownership_claims.reading import MAX_ROWS, Comparison, OwnNames, actor_key, alias_key, own_values
from eastwall.behaviours.ownership_claims.sharing import Sharing
from eastwall.discovery.bounded import Recent
from eastwall.model.call import Completion
from eastwall.model.decision import Decision
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity

MAX_OPERATIONS = 2_000
"""Operations of which it is remembered how often they were noted, and which places ever held the caller's own."""
MAX_CLASSES = 64
"""Classes of callers for each of them."""
EVERY = 10
"""Of calls that say what is known, one in so many is noted."""
NAMELESS = 4
"""A call in which nobody is named counts for so many: most operations never name anybody."""
MAX_CALLERS = 10_000
"""Callers of whom it is remembered what names them."""
_PERSONAL = frozenset(("sub", "name", "email", "preferred_username", "username"))
_NONE: frozenset[str] = frozenset()


class Noting(behaviours.Watch):
    """The half of the watch that notes."""

    def __init__(self) -> None:
        self._hash_key = b""
        self._known: Known | None = None
        self._callers: Recent[str, Caller] = Recent(MAX_CALLERS)
        self._noted: dict[str, _Noted] = {}
        """By operation; those that are not known yet are one."""
        self._strangers: dict[str, set[str]] = {}
        """Operation that is not known yet -> places that ever held the caller's own."""
        self.sharing = Sharing()

    def learned(self, known: Known) -> None:
        self._hash_key, self._known = known.hash_key, known
        self._callers = Recent(MAX_CALLERS)
        for operation, classes in known.taught.items():
            if operation in self._noted:
                self._noted[operation].taught(classes)

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        """Of sampled calls that succeeded: (actor, tenant, labels, rows of place, space, which labels were equal, hash of the value)."""
        facts = request.facts
        identity = facts.identity
        if not facts.sampled or not 200 <= completion.status < 300 or not identity.strength or not self._hash_key:
            return None
        caller = self._caller(identity, self._hash_key)
        if not caller.introduced:
            self._introduce(caller)
        endpoint = facts.match.endpoint
        operation = endpoint.id if endpoint is not None else ""
        noted = self._noted.get(operation) or self._begun(operation)
        calls = noted.calls
        count = calls.get(identity.cls, 0)
        calls[identity.cls] = count + 1
        if count >= TAUGHT and count % EVERY and not self._unsettled(facts, caller):
            return None
        if not count and len(calls) > MAX_CLASSES:
            self._noted.pop(operation)
        compared = Comparison(caller, noted.places if endpoint is not None else self._places(facts))
        compared.request(facts.operation, facts.match.params, facts.call.request.headers)
        if response is not None:
            compared.answer(response.facts.operation)
        rows, named = compared.rows(self._hash_key), _names(facts) if facts.used else []
        if rows or named:
            return [caller.actor, caller.tenant, caller.labels, rows, named]
        if count < TAUGHT:
            calls[identity.cls] = min(TAUGHT, count + NAMELESS)
        return None

    def _begun(self, operation: str) -> _Noted:
        """An operation that nothing was noted of."""
        if len(self._noted) >= MAX_OPERATIONS:
            del self._noted[next(iter(self._noted))]
        found = self._noted[operation] = _Noted()
        found.taught(self._known.taught.get(operation, _NONE) if self._known is not None else _NONE)
        return found

    def _unsettled(self, facts: Facts, caller: Caller) -> bool:
        """Whether the caller is one of those who are not judged before more is known of them."""
        known = self._known
        if known is None or not known.settled:
            return False
        settled = known.settled.get((facts.call.service, facts.identity.cls))
        return settled is not None and caller.actor not in settled

    def _caller(self, identity: Identity, key: bytes) -> Caller:
        """What names a caller: the same as long as it comes with the same credential."""
        found = self._callers.get(identity.actor)
        if found is None or (found.identity is not identity and not found.names(identity)):
            found = Caller(identity, key)
            self._callers.put(identity.actor, found)
        return found

    def _introduce(self, caller: Caller) -> None:
        """Who shares something by a name of the caller's means the caller."""
        caller.introduced = True
        for label, text in own_values(caller.identity).items():
            if label in _PERSONAL:
                self.sharing.name(text, caller.identity.actor, self._hash_key)

    def _places(self, facts: Facts) -> set[str]:
        """Of an operation that is not known yet."""
        operation = f"{facts.call.service} {facts.operation.method} {facts.operation.name}"
        found = self._strangers.get(operation)
        if found is None:
            if len(self._strangers) >= MAX_OPERATIONS:
                del self._strangers[next(iter(self._strangers))]
            found = self._strangers[operation] = set()
        return found


class _Noted:
    """What was noted of one operation."""

    __slots__ = ("calls", "places")

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        """Class -> sampled calls; `TAUGHT` at least where the learner has enough of it."""
        self.places: set[str] = set()
        """Those that ever held the caller's own."""

    def taught(self, classes: frozenset[str]) -> None:
        """The learner has enough of these classes."""
        for cls in classes:
            if self.calls.get(cls, 0) < TAUGHT:
                self.calls[cls] = TAUGHT


class Caller(OwnNames):
    """What names a caller."""

    __slots__ = ("actor", "identity", "introduced", "tenant")

    def __init__(self, identity: Identity, key: bytes) -> None:
        super().__init__(own_values(identity))
        self.identity = identity
        self.actor = actor_key(key, identity.actor)
        self.tenant = alias_key(key, "tenant", identity.tenant) if identity.tenant else 0
        self.introduced = False
        """Its names are known to those who share with it."""

    def names(self, identity: Identity) -> bool:
        """Whether the same names name the caller of another call, with a newer token perhaps, or by another way."""
        mine = self.identity
        if mine.kind != identity.kind or mine.tenant != identity.tenant or mine.claims != identity.claims:
            return False
        self.identity = identity
        return True


def _names(facts: Facts) -> list[tuple[str, str, int]]:
    """(place, kind, what of it the caller was not given) of the objects that a request names."""
    if not facts.foreign:
        if len(facts.used) == 1:
            place, kind, _, _ = facts.used[0]
            return [(place, kind, 0)]
        named = dict.fromkeys([(place, kind) for place, kind, _, _ in facts.used], 0)
    else:
        named = {}
        strange = {index for index, _ in facts.strange}
        foreign = {use.key: CROWDED if use.others < 0 else FOREIGN for use in facts.foreign}
        for index, (place, kind, object_, _) in enumerate(facts.used):
            bits = (STRANGE if index in strange else 0) | foreign.get(object_, 0)
            named[place, kind] = named.get((place, kind), 0) | bits
    return [(*where, bits) for where, bits in named.items()][:MAX_ROWS]
