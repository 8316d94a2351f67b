"""Compares the properties of an answer with what its operation gives to the caller's class, before it is delivered.

Answers of one operation come in few sets of keys; each set is compared once per class and remembered (`MAX_SEEN`). Where they come in no end of
sets (an object used as a map), the operation is not judged: `MAX_SETS`.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from eastwall import behaviours
from eastwall.behaviours import World
from eastwall.behaviours.exposure.model import Given, Knowledge
from eastwall.behaviours.functions.matrix import authority
from eastwall.discovery.shapes import properties
from eastwall.model.call import Phase
from eastwall.model.deviations import Deviation, FieldNotGiven
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts

MAX_SEEN = 20_000
MAX_SETS = 200
MAX_TOLD = 4
"""Properties told of one answer."""


class _Class(Struct, frozen=True):
    given: Given
    places: frozenset[str]
    others: tuple[Given, ...]
    """Classes that get more."""


Known = dict[str, dict[str, _Class]]


def compile(knowledge: Knowledge, world: World) -> Known:
    """By operation and class."""
    return {
        one.endpoint: {
            given.cls: _Class(given, frozenset(given.places), tuple([other for other in one.classes if other.cls != given.cls]))
            for given in one.classes
        }
        for one in knowledge.operations
    }


class Watch(behaviours.Watch):
    """Remembers which sets of keys it has compared."""

    def __init__(self) -> None:
        self._known: Known | None = None
        self._seen: dict[tuple[str, str, Any], tuple[Deviation, ...]] = {}
        self._sets: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def asks(self, phase: Phase, endpoint: Endpoint, known: Known) -> bool:
        return endpoint.id in known

    def response(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        endpoint = facts.match.endpoint
        body = facts.operation.body
        if endpoint is None or (body.__class__ is not dict and body.__class__ is not list):
            return ()
        classes = known.get(endpoint.id)
        if classes is None:
            return ()
        one = classes.get(facts.identity.cls)
        response = facts.call.response
        if one is None or response is None or not 200 <= response.status < 300:
            return ()
        if known is not self._known:
            self._known = known
            self._seen.clear()
            self._sets.clear()
        key = (endpoint.id, one.given.cls, keys_of(body))
        found = self._seen.get(key)
        if found is None:
            found = self._compare(key, facts, one)
        return found

    def _compare(self, key: tuple[str, str, Any], facts: Facts, one: _Class) -> tuple[Deviation, ...]:
        sets = self._sets.get(key[0], 0)
        if sets >= MAX_SETS or len(self._seen) >= MAX_SEEN:
            return ()
        self._sets[key[0]] = sets + 1
        found = self._seen[key] = tuple(
            [_deviation(place, one) for place in properties(facts.operation) if place not in one.places][:MAX_TOLD]
        )
        return found


def keys_of(body: Any) -> Any:
    """The keys of a body, of its objects, and of the first and the last entry of its arrays, down to three levels."""
    if type(body) is dict:
        if _HOLDING.isdisjoint(map(type, body.values())):
            return (tuple(body),)
        parts: list[Any] = [tuple(body)]
        for value in body.values():
            if type(value) is dict:
                parts.append((tuple(value), *[_inner(below) for below in value.values() if below.__class__ in _HOLDING]))
            elif type(value) is list and value:
                parts.append(_inner(value))
        return tuple(parts)
    return _inner(body)


_HOLDING = frozenset({dict, list})


def _inner(node: Any) -> Any:
    if type(node) is dict:
        return tuple(node)
    if not node or type(node[0]) is not dict:
        return None
    first, last = node[0], node[-1]
    return tuple(first), tuple(last) if type(last) is dict else None


def _deviation(place: str, one: _Class) -> FieldNotGiven:
    having = [other for other in one.others if place in other.places]
    having.sort(key=lambda other: (-other.answers, other.cls))
    above = (
        bool(having) and not authority(one.given.cls) and all(authority(other.cls) and place in other.always for other in having)
    )
    return FieldNotGiven(
        f"body.{place}"[:120], one.given.cls, one.given.answers, tuple([other.cls for other in having[:4]]),
        sum(other.answers for other in having), above, one.given.callers,
    )  # fmt: skip
