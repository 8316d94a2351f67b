"""One walk over a body that answers two questions of the hot path: which property places it has, and which objects it names.

The bodies of an API come in few combinations of keys. What follows from a combination (the places, which keys are references and
of which kind, whose parts the children are) is worked out once and kept as a `_Plan`; a walk then only looks up plans and reads the
values of references. The slow, obvious twins are `shapes.properties` and `objects._references`; tests/unit/discovery/test_walk.py holds
that all three agree.

The cache is bounded: past MAX_PLANS it is dropped whole. Objects used as maps (keys that are data) are never cached.
"""

from __future__ import annotations

from typing import Any

from eastwall.discovery.objects import (
    ENVELOPES,
    GIVEN_LIMIT,
    MAX_DEPTH,
    NO_NAME,
    USED_LIMIT,
    holder,
    identifier,
    keyed,
    keyed_gifts,
    kind_of,
    list_reference,
    named_in_target,
    planned_gifts,
    reference,
)
from eastwall.discovery.objects import generated as is_data
from eastwall.discovery.shapes import MAX_NAME, MAX_PROPERTIES
from eastwall.model.endpoint import Match
from eastwall.model.operation import Operation

MAX_PLANS = 20_000
MAX_KEYS = 200
"""Objects with more keys are not cached."""

Reference = tuple[str, str, str]
"""(place, kind, value) of an object reference."""


class _Context:
    """Where an object stands: its place, whose name it goes by, whether an object around it has an id of its own."""

    __slots__ = ("children", "depth", "holder", "owned", "place", "plans")

    def __init__(self, place: str, holder: str, owned: bool, depth: int) -> None:
        self.place = place
        self.holder = holder
        self.owned = owned
        self.depth = depth
        self.plans: dict[tuple[str, ...], _Plan] = {}
        self.children: dict[tuple[str, bool], _Context] = {}


class _Plan:
    """What follows from the keys of an object in a context."""

    __slots__ = ("context", "names", "owned", "places", "references")

    def __init__(self, context: _Context, keys: tuple[str, ...]) -> None:
        self.context = context
        self.owned = context.owned or "id" in keys or "uuid" in keys or "_id" in keys
        prefix = f"{context.place}." if context.place else ""
        self.names = {key: _name(key) for key in keys}
        self.places = tuple(dict.fromkeys(prefix + name for name in self.names.values()))
        # `key -> place, kind`; the place of a reference keeps the key as it is, as the place of every value does.
        self.references: dict[str, tuple[str, str]] = {}
        for key in keys:
            kind = reference(key)
            if kind is not None:
                self.references[key] = (prefix + key, kind or kind_of("id", context.holder))


def _name(key: str) -> str:
    short = key[:MAX_NAME] or NO_NAME
    return "{}" if is_data(short) else short


class Walker:
    """Holds the plans; one per process."""

    def __init__(self) -> None:
        self._roots: dict[tuple[str, str], _Context] = {}
        self._count = 0

    def walk(self, body: Any, holder: str, limit: int) -> tuple[tuple[str, ...], list[Reference]]:
        """(property places in order of appearance, at most `limit` references with places relative to the body).

        `body` is a decoded JSON tree or form; anything but an object or array gives nothing. `holder` names what the body is about,
        usually the collection of the URL.
        """
        kind = type(body)
        if kind is not dict and kind is not list:
            return (), []
        root = self._roots.get((holder, ""))
        if root is None:
            if self._count > MAX_PLANS:
                self._roots.clear()
                self._count = 0
            root = self._roots[(holder, "")] = _Context("", holder, False, 0)
            self._count += 1
        places: dict[_Plan, None] = {}
        found: list[Reference] = []
        if kind is dict:
            self._object(body, root, places, found, limit)
        else:
            self._array(body, self._child(root, "[]", holder, False), places, found, limit)
        if len(places) == 1:
            return next(iter(places)).places, found
        distinct: dict[str, None] = {}
        for plan in places:
            distinct.update(dict.fromkeys(plan.places))
        return tuple(distinct)[:MAX_PROPERTIES], found

    def _plan(self, context: _Context, keys: tuple[str, ...]) -> _Plan:
        plan = _Plan(context, keys)
        if len(keys) <= MAX_KEYS and "{}" not in plan.names.values():
            if self._count > MAX_PLANS:
                self._roots.clear()
                self._count = 0
            self._count += 1
            context.plans[keys] = plan
        return plan

    def _child(self, context: _Context, step: str, holder: str, owned: bool) -> _Context:
        child = context.children.get((step + holder, owned))
        if child is None:
            place = context.place + step if step == "[]" or not context.place else f"{context.place}.{step}"
            child = _Context(place, holder, owned, context.depth + 1)
            if self._count <= MAX_PLANS:
                self._count += 1
                context.children[(step + holder, owned)] = child
        return child

    def _object(
        self, node: dict[str, Any], context: _Context, places: dict[_Plan, None], found: list[Reference], limit: int
    ) -> None:
        keys = tuple(node)
        plan = context.plans.get(keys)
        if plan is None:
            plan = self._plan(context, keys)
        places[plan] = None
        for key, (place, kind) in plan.references.items():
            value = node[key]
            # Most references are whole numbers; all else goes through the pattern.
            text = str(value) if type(value) is int and 0 <= value < 1 << 64 else identifier(value)
            if text and len(found) < limit:
                found.append((place, kind, text))
        for key, value in node.items():
            kind_of_value = type(value)
            if kind_of_value is dict:
                if context.depth < MAX_DEPTH:
                    self._object(value, self._under(context, plan, key), places, found, limit)
            elif kind_of_value is list and value:
                self._list(key, value, context, plan, places, found, limit)

    def _under(self, context: _Context, plan: _Plan, key: str) -> _Context:
        name = plan.names[key]
        holder = context.holder if name == "{}" or (not plan.owned and key in ENVELOPES) else key
        return self._child(context, name, holder, plan.owned)

    def _list(
        self, key: str, value: list[Any], context: _Context, plan: _Plan, places: dict[_Plan, None], found: list[Reference], limit: int
    ) -> None:
        first = type(value[0])
        if first is str or first is int:
            listed = list_reference(key)
            if listed:
                place = f"{context.place}.{key}[]" if context.place else key + "[]"
                found += [(place, listed, text) for item in value[: limit - len(found)] if (text := identifier(item))]
            if dict not in map(type, value) and list not in map(type, value):
                return
        if context.depth < MAX_DEPTH:
            under = self._under(context, plan, key)
            self._array(value, self._child(under, "[]", under.holder, plan.owned), places, found, limit)

    def _array(
        self, node: list[Any], context: _Context, places: dict[_Plan, None], found: list[Reference], limit: int
    ) -> None:
        for item in node:
            if type(item) is dict:
                self._object(item, context, places, found, limit)
            elif type(item) is list and context.depth < MAX_DEPTH:
                self._array(item, self._child(context, "[]", context.holder, context.owned), places, found, limit)


WALKER = Walker()


def read_request(
    operation: Operation, match: Match, hash_key: bytes, service: str
) -> tuple[tuple[str, ...], tuple[tuple[str, str, int, str], ...]]:
    """What `shapes.properties` and `objects.used` give, in one walk."""
    found = named_in_target(operation, match) if match.params or operation.query else []
    places: tuple[str, ...] = ()
    if operation.body is not None:
        places, inside = WALKER.walk(operation.body, holder(operation, match), USED_LIMIT)
        found += [(f"body{place}" if place[0] == "[" else f"body.{place}", kind, value) for place, kind, value in inside]
    return places, keyed(found[:USED_LIMIT], hash_key, service) if found else ()


def read_response(operation: Operation, match: Match, hash_key: bytes, service: str) -> tuple[tuple[str, int], ...]:
    """What `objects.given` gives."""
    found: list[Reference] = []
    if not planned_gifts(operation, match, found):
        found = WALKER.walk(operation.body, holder(operation, match), GIVEN_LIMIT)[1]
    return keyed_gifts(found, hash_key, service) if found else ()
