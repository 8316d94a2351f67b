"""What was learned of sessions, ready for look-up."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.behaviours.maxima import Usual
from eastwall.behaviours.sessions import kinship
from eastwall.behaviours.sessions.contexts import Predictor
from eastwall.behaviours.sessions.invariants import Once, Precedence, Rules
from eastwall.behaviours.sessions.model import Knowledge
from eastwall.behaviours.sketch import hash64
from eastwall.model.endpoint import Endpoint

MIN_LEARNED = 500
"""Calls of a service whose order was learned, before anything is strange."""


MAX_OBJECTS = 3
"""Objects of one call."""
_ORDINAL = 3
"""Digits of what may be a place in a list (line 2 of an order) as well as an id."""

Used = tuple[str, str, int, str]
"""An object that a request names: see `Facts.used`."""


class Info:
    """An operation that changes something."""

    __slots__ = ("after", "endpoint", "keyed", "kinds", "once", "once_actor", "once_objects", "once_value")

    def __init__(self, endpoint: Endpoint, rules: Rules | None, codes: Once | None, aliases: dict[str, tuple[str, ...]]) -> None:
        """`codes`: how codes are used up at its service, for an operation of which too little is known."""
        self.endpoint = endpoint
        self.kinds: dict[str, bool] = {}
        """kind -> whether the operation is about such objects."""
        self.after: tuple[tuple[Precedence, tuple[str, ...]], ...] = ()
        """(rule, ids of what comes before)."""
        self.once_value = codes if rules is None and endpoint.method not in ("PUT", "DELETE") else None
        self.once_actor: Once | None = None
        self.once_objects: dict[str, Once] = {}
        self.keyed = rules is not None and rules.keyed
        if rules is not None:
            self.after = tuple((rule, (rule.before, *aliases.get(rule.before, ()))) for rule in rules.after)
            for one in rules.once:
                if one.scope == "value":
                    self.once_value = one
                elif one.scope == "actor":
                    self.once_actor = one
                else:
                    self.once_objects[one.scope.removeprefix("object ")] = one
        self.once = self.once_value is not None or self.once_actor is not None or bool(self.once_objects)

    def things(self, used: Sequence[Used]) -> Sequence[Used]:
        """The objects of a request that the operation is about, as `Facts.used` has them. A number of at most `_ORDINAL` digits says which one only
        together with what else the path, or the operation's own name, is about: line 1 of one order is not line 1 of another."""
        own = [one for one in used[:MAX_OBJECTS] if self.about(one[1])]
        if len(used) == 1:
            return own
        for at, (place, kind, key, value) in enumerate(own):
            if len(value) <= _ORDINAL and value.isdecimal():
                within = [one[2] for one in used[:MAX_OBJECTS] if one[2] != key and (one[0][:5] == "path." or self.about(one[1]))]
                if within:
                    own[at] = (place, kind, hash64(f"{key}/{within}"), value)
        return own

    def about(self, kind: str) -> bool:
        own = self.kinds.get(kind)
        if own is None:
            if len(self.kinds) > 100:
                self.kinds.clear()
            own = self.kinds[kind] = kinship.of_kind(self.endpoint, kind)
        return own


class Known:
    """Knowledge, ready for look-up."""

    __slots__ = ("_aliases", "_rules", "codes", "endpoints", "ops", "paces", "predictors")

    def __init__(self, knowledge: Knowledge, endpoints: tuple[Endpoint, ...]) -> None:
        self._rules = {rules.endpoint: rules for rules in knowledge.rules if rules.endpoint}
        self.codes = {rules.label: rules.once[0] for rules in knowledge.rules if not rules.endpoint and rules.once}
        """Service -> how codes are used up there: for operations that nobody called before."""
        aliases: dict[str, tuple[str, ...]] = {}
        for old, new in knowledge.moved:
            aliases[new] = (*aliases.get(new, ()), old)
        self._aliases = aliases
        self.endpoints = {endpoint.id: endpoint for endpoint in endpoints}
        self.ops: dict[str, Info | None] = {}
        """Filled as operations are called; None: it changes nothing, or is bookkeeping."""
        self.paces: dict[tuple[str, str], Usual] = {(service, cls): usual for service, cls, usual in knowledge.paces}
        self.predictors = {
            service: one for service, followers in knowledge.contexts if (one := Predictor(followers)).calls >= MIN_LEARNED
        }

    def info(self, endpoint: Endpoint) -> Info | None:
        """Of an operation that changes something; None for all others."""
        try:
            return self.ops[endpoint.id]
        except KeyError:
            plain = kinship.reads(endpoint) or kinship.bookkeeping(endpoint)
            found = (
                None if plain else Info(endpoint, self._rules.get(endpoint.id), self.codes.get(endpoint.service), self._aliases)
            )
            self.ops[endpoint.id] = found
            return found

    def label(self, operation: str) -> str:
        endpoint = self.endpoints.get(operation)
        return kinship.label(endpoint) if endpoint is not None else operation
