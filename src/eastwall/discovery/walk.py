"""One walk over a body that answers two questions of the hot path: which property places it has, and which objects it names.

The bodies of an API come in few combinations of keys. What follows from a combination (the places, which keys are references and
of which kind, whose parts the children are) is worked out once and kept as a `_Plan`; a walk then only looks up plans and reads the
values of references. The slow, obvious twins are `shapes.properties` and `objects._references`; `_walk.c` is `Walker` again in C, which
is used where it could be built. tests/unit/discovery/test_walk.py holds that all of them agree.

The cache is bounded: past MAX_PLANS it is dropped whole. Objects used as maps (keys that are data) are never cached.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from eastwall.discovery.objects import (
    ENVELOPES,
    GIVEN_LIMIT,
    MAX_DEPTH,
    NO_NAME,
    USED_LIMIT,
    has_message_ids,
    hash_object,
    holder,
    identifier,
    is_root_field,
    keyed,
    keyed_gifts,
    kind_of,
    list_kind,
    list_reference,
    named_in_target,
    payload,
    planned_gifts,
    reference,
    shown,
    steps_of,
    without_message_ids,
)
from eastwall.discovery.objects import generated as is_data
from eastwall.discovery.shapes import MAX_NAME, MAX_PROPERTIES
from eastwall.model.endpoint import Match
from eastwall.model.operation import Operation

try:
    from eastwall.discovery import _walk
except ImportError:  # no C compiler at installation: `accelerated` says so
    accelerated = False
else:
    accelerated = True

MAX_PLANS = 20_000
MAX_KEYS = 200
"""Objects with more keys are not cached."""
WEIGHT = 256
"""Characters of places that count as one plan, so that long names cannot make the cache large."""
MAX_VALUES = 65_536
"""Values whose keys are remembered."""

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
        self.children: dict[tuple[str, str, bool], _Context] = {}


class _Plan:
    """What follows from the keys of an object in a context."""

    __slots__ = ("context", "names", "owned", "places", "references", "weight")

    def __init__(self, context: _Context, keys: tuple[str, ...]) -> None:
        self.context = context
        self.owned = context.owned or (("id" in keys or "uuid" in keys or "_id" in keys) and "jsonrpc" not in keys)
        prefix = f"{context.place}." if context.place else ""
        self.names = {key: _name(key) for key in keys}
        self.places = tuple(dict.fromkeys(prefix + name for name in self.names.values()))[:MAX_PROPERTIES]
        # `key -> place, kind`; the place of a reference keeps the key as it is, as the place of every value does.
        self.references: dict[str, tuple[str, str]] = {}
        for key in keys:
            kind = reference(key)
            if kind is not None:
                self.references[key] = (prefix + key, kind or kind_of("id", context.holder))
        size = sum(map(len, keys)) + sum(map(len, self.places))
        # 0: not to be kept. Maps come in no end of combinations.
        self.weight = 0 if len(keys) > MAX_KEYS or "{}" in self.names.values() else 1 + size // WEIGHT

    def holder(self, key: str) -> str:
        """Whose parts the children under `key` are."""
        holder = self.context.holder
        inherits = self.names[key] == "{}" or (not self.owned and (key in ENVELOPES or is_root_field(key, holder)))
        return holder if inherits else key


def _name(key: str) -> str:
    short = key[:MAX_NAME] or NO_NAME
    return "{}" if is_data(short) else short


class Walker:
    """Holds the plans; one per process. The readable twin of `_walk.Walker`."""

    def __init__(self) -> None:
        self._roots: dict[str, _Context] = {}
        self._count = 0

    def walk(self, body: Any, holder: str, limit: int) -> tuple[tuple[str, ...], list[Reference]]:
        """(property places in order of appearance, at most `limit` references with places relative to the body).

        `body` is a decoded JSON tree or form; anything but an object or array gives nothing. `holder` names what the body is about,
        usually the collection of the URL.
        """
        kind = type(body)
        if kind is not dict and kind is not list:
            return (), []
        if self._count >= MAX_PLANS:
            self._roots.clear()
            self._count = 0
        root = self._roots.get(holder)
        if root is None:
            root = self._roots[holder] = _Context("", holder, False, 0)
            self._count += 1 + len(holder) // WEIGHT
        places: dict[_Plan, None] = {}
        found: list[Reference] = []
        if kind is dict:
            self._object(body, root, places, found, limit)
        else:
            self._array(body, self._child(root, "[]", holder, owned=False), places, found, limit)
        if len(places) == 1:
            return next(iter(places)).places, found
        distinct: dict[str, None] = {}
        for plan in places:
            distinct.update(dict.fromkeys(plan.places))
        return tuple(distinct)[:MAX_PROPERTIES], found

    def _plan(self, context: _Context, keys: tuple[str, ...]) -> _Plan:
        plan = _Plan(context, keys)
        if plan.weight and self._count < MAX_PLANS:
            self._count += plan.weight
            context.plans[keys] = plan
        return plan

    def _child(self, context: _Context, step: str, holder: str, *, owned: bool) -> _Context:
        child = context.children.get((step, holder, owned))
        if child is None:
            place = context.place + step if step == "[]" or not context.place else f"{context.place}.{step}"
            child = _Context(place, holder, owned, context.depth + 1)
            if self._count < MAX_PLANS:
                self._count += 1 + len(place) // WEIGHT
                context.children[(step, holder, owned)] = child
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
        return self._child(context, plan.names[key], plan.holder(key), owned=plan.owned)

    def _list(
        self,
        key: str,
        value: list[Any],
        context: _Context,
        plan: _Plan,
        places: dict[_Plan, None],
        found: list[Reference],
        limit: int,
    ) -> None:
        first = type(value[0])
        if first is str or first is int:
            if list_reference(key):
                listed = list_kind(key, context.holder)
                place = f"{context.place}.{key}[]" if context.place else key + "[]"
                found += [(place, listed, text) for item in value[: limit - len(found)] if (text := identifier(item))]
            if dict not in map(type, value) and list not in map(type, value):
                return
        if context.depth < MAX_DEPTH:
            under = self._under(context, plan, key)
            self._array(value, self._child(under, "[]", under.holder, owned=plan.owned), places, found, limit)

    def _array(self, node: list[Any], context: _Context, places: dict[_Plan, None], found: list[Reference], limit: int) -> None:
        for item in node:
            if type(item) is dict:
                self._object(item, context, places, found, limit)
            elif type(item) is list and context.depth < MAX_DEPTH:
                self._array(item, self._child(context, "[]", context.holder, owned=context.owned), places, found, limit)


WALKER = Walker()


def describe(place: str, holder: str, owned: bool, keys: tuple[str, ...]) -> tuple[tuple[str, ...], bool, int, tuple[Any, ...]]:
    """A plan as `_walk.c` takes it: (places, owned, weight, one (name, holder, reference, list reference) per key)."""
    plan = _Plan(_Context(place, holder, owned, 0), keys)
    return plan.places, plan.owned, plan.weight, tuple([_entry(plan, key) for key in keys])


def _entry(plan: _Plan, key: str) -> tuple[str, str, tuple[str, str] | None, tuple[str, str] | None]:
    place, single = plan.context.place, plan.references.get(key)
    listed = list_kind(key, plan.context.holder) if list_reference(key) else ""
    return (
        plan.names[key],
        plan.holder(key),
        (_in_body(single[0]), single[1]) if single else None,
        (_in_body(f"{place}.{key}[]" if place else key + "[]"), listed) if listed else None,
    )


def _in_body(place: str) -> str:
    return f"body{place}" if place[0] == "[" else f"body.{place}"


@lru_cache(maxsize=4)
def _fast(hash_key: bytes, service: str) -> _walk.Walker:
    """The walker in C that gives objects their keys under `hash_key`."""

    def name(kind: str, value: int | str) -> tuple[tuple[str, int], int, str] | None:
        text = identifier(value)
        if not text:
            return None
        key = hash_object(hash_key, service, kind, text)
        return (kind, key), key, shown(text)

    return _walk.Walker(
        describe, name, max_cached=MAX_PLANS, max_values=MAX_VALUES, max_depth=MAX_DEPTH, max_places=MAX_PROPERTIES
    )


@lru_cache(maxsize=4096)
def _steps(gives: tuple[tuple[str, str], ...]) -> tuple[tuple[tuple[str, ...], str], ...]:
    return tuple((steps_of(place), kind) for place, kind in gives)


def read_request(
    operation: Operation, match: Match, hash_key: bytes, service: str
) -> tuple[tuple[str, ...], tuple[tuple[str, str, int, str], ...]]:
    """What `shapes.properties` and `objects.used` give, in one walk."""
    if not accelerated:
        return read_request_slowly(operation, match, hash_key, service)
    named: list[tuple[str, str, int, str]] = []
    if match.params or operation.query or operation.arguments or match.endpoint is None:
        named += keyed(named_in_target(operation, match)[:USED_LIMIT], hash_key, service)
    body = operation.body
    if type(body) is not dict and type(body) is not list:
        return (), tuple(named)
    places, inside = _fast(hash_key, service).used(body, holder(operation, match), USED_LIMIT)
    if has_message_ids(operation, match):
        inside = list(without_message_ids(inside))
    return places, tuple((named + inside)[:USED_LIMIT] if named else inside)


def read_request_slowly(
    operation: Operation, match: Match, hash_key: bytes, service: str
) -> tuple[tuple[str, ...], tuple[tuple[str, str, int, str], ...]]:
    """`read_request` without the help of C."""
    found = (
        named_in_target(operation, match)
        if match.params or operation.query or operation.arguments or match.endpoint is None
        else []
    )
    places: tuple[str, ...] = ()
    if operation.body is not None:
        places, inside = WALKER.walk(operation.body, holder(operation, match), USED_LIMIT)
        found += [(_in_body(place), kind, value) for place, kind, value in inside]
    named = keyed(found[:USED_LIMIT], hash_key, service) if found else ()
    return places, without_message_ids(named) if has_message_ids(operation, match) else named


def read_response(operation: Operation, match: Match, hash_key: bytes, service: str) -> tuple[tuple[str, int], ...]:
    """What `objects.given` gives."""
    if not accelerated:
        return read_response_slowly(operation, match, hash_key, service)
    body = payload(operation, match)
    if type(body) is not dict and type(body) is not list:
        return ()
    walker = _fast(hash_key, service)
    if match.endpoint is not None and match.endpoint.gives:
        return walker.planned(body, _steps(match.endpoint.gives), GIVEN_LIMIT)
    return walker.given(body, holder(operation, match), GIVEN_LIMIT)


def read_response_slowly(operation: Operation, match: Match, hash_key: bytes, service: str) -> tuple[tuple[str, int], ...]:
    """`read_response` without the help of C."""
    found: list[Reference] = []
    if not planned_gifts(operation, match, found):
        found = WALKER.walk(payload(operation, match), holder(operation, match), GIVEN_LIMIT)[1]
    return keyed_gifts(found, hash_key, service) if found else ()
