"""Compares the properties of an answer with what its operation gives to the caller's class, before it is delivered.

Answers of one operation come in few sets of keys; each set is compared once per class and remembered (`MAX_SEEN`). Where they come in no end of
sets (an object used as a map), the operation is not judged: `MAX_SETS`.
"""

from __future__ import annotations

from typing import Any

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


class _Class:
    """What is known of one class at one operation, and what its answers were found to be."""

    __slots__ = ("given", "others", "places", "seen")

    def __init__(self, given: Given, others: tuple[Given, ...]) -> None:
        self.given = given
        self.places = frozenset(given.places)
        self.others = others
        """Classes that get more."""
        self.seen: dict[Any, tuple[Deviation, ...]] = {}
        """Set of keys (see `keys_of`) -> what is found of it."""


class _Operation:
    __slots__ = ("classes", "sets")

    def __init__(self, classes: tuple[Given, ...]) -> None:
        self.classes = {
            given.cls: _Class(given, tuple([other for other in classes if other.cls != given.cls])) for given in classes
        }
        self.sets = 0
        """Compared, of all classes."""


Known = dict[str, _Operation]


def compile(knowledge: Knowledge, world: World) -> Known:
    """By operation."""
    return {one.endpoint: _Operation(one.classes) for one in knowledge.operations}


class Watch(behaviours.Watch):
    """Remembers, as long as the knowledge is the same, which sets of keys it has compared."""

    def __init__(self) -> None:
        self._seen = 0

    def __len__(self) -> int:
        return self._seen

    def learned(self, known: Known) -> None:
        self._seen = sum(operation.sets for operation in known.values())

    def asks(self, phase: Phase, endpoint: Endpoint, known: Known) -> bool:
        return endpoint.id in known

    def response(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        body = facts.operation.body
        kind = type(body)
        endpoint, response = facts.match.endpoint, facts.call.response
        if (kind is not dict and kind is not list) or endpoint is None or response is None or not 200 <= response.status < 300:
            return ()
        operation = known.get(endpoint.id)
        one = operation.classes.get(facts.identity.cls) if operation is not None else None
        if operation is None or one is None:
            return ()
        raw = facts.operation.raw_body
        flat = kind is dict and raw and raw.rfind(b"{") <= 0 and b"[" not in raw and facts.operation.body_kind == "json"
        keys = (tuple(body),) if flat else keys_of(body)
        found = one.seen.get(keys)
        if found is None:
            found = self._compare(keys, facts, operation, one)
        return found

    def _compare(self, keys: Any, facts: Facts, operation: _Operation, one: _Class) -> tuple[Deviation, ...]:
        if operation.sets >= MAX_SETS or self._seen >= MAX_SEEN:
            return ()
        operation.sets += 1
        self._seen += 1
        found = one.seen[keys] = tuple(
            [_deviation(place, one) for place in properties(facts.operation) if place not in one.places][:MAX_TOLD]
        )
        return found


def keys_of(body: Any) -> Any:
    """The keys of a body, of its objects, and of the first and the last entry of its arrays, down to three levels."""
    if type(body) is not dict:
        return _inner(body)
    parts: list[Any] = [tuple(body)]
    for value in body.values():
        if type(value) is list:
            if value:
                parts.append(_inner(value))
        elif type(value) is dict:
            below = [_inner(one) for one in value.values() if type(one) is dict or type(one) is list]
            parts.append((tuple(value), *below) if below else (tuple(value),))
    return tuple(parts)


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
