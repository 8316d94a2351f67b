"""What an operation's callers were learned to be and to send, asked of one call."""

from __future__ import annotations

from math import inf
from re import compile as regex
from typing import Any

from msgspec import Struct

from eastwall.model.endpoint import Endpoint, FieldProfile
from eastwall.model.facts import ValueUse
from eastwall.model.operation import Operation

MIN_SAMPLES = 30
"""Clean samples before a range is known."""
MAX_RANGES = 40
"""Numeric fields of one operation that are judged: those seen most."""
MAX_ITEMS = 2_000
"""Array items whose numbers are judged, of all arrays of one place."""

_NUMBER = regex(r" *+[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]{1,4})? *+")
"""What services read as a number: of any size, with a sign, an exponent."""


class Range(Struct, frozen=True):
    """The learned range of one number."""

    place: str
    name: str
    """Its key in the object that holds it, `[]` for the items of an array; of a query parameter, its name."""
    minimum: float
    maximum: float
    samples: int


class Ranges(Struct, frozen=True):
    """Of one operation, those of one object together: it is looked for once."""

    query: tuple[Range, ...] = ()
    body: tuple[tuple[tuple[str, ...], tuple[Range, ...]], ...] = ()
    """(keys from the body down to what holds the numbers, `[]` for every item of an array; ranges)."""


def ranges_of(endpoint: Endpoint) -> Ranges | None:
    """The learned ranges of an operation's numbers, if there are any; declared fields that were never seen have none."""
    if endpoint.status != "learned":
        return None
    found = [(True, field) for field in endpoint.query.fields if _numeric(field)]
    found += [(False, field) for field in endpoint.request.fields if _numeric(field)]
    if not found:
        return None
    query: list[Range] = []
    body: dict[tuple[str, ...], list[Range]] = {}
    for asked, field in sorted(found, key=lambda one: (-one[1].seen, one[1].place))[:MAX_RANGES]:
        *above, name = (field.place.removeprefix("query."),) if asked else _steps(field.place)
        one = Range(field.place if asked else f"body.{field.place}", name, field.minimum or 0.0, field.maximum or 0.0, field.seen)
        (query if asked else body.setdefault(tuple(above), [])).append(one)
    return Ranges(tuple(query), tuple((steps, tuple(of)) for steps, of in body.items()))


def _numeric(field: FieldProfile) -> bool:
    known = field.minimum is not None and field.maximum is not None and field.seen >= MIN_SAMPLES
    return (
        known
        and not field.data_class
        and {"integer", "number"}.issuperset(set(field.kinds) - {"null"})
        and "{}" not in field.place
    )


def _steps(place: str) -> list[str]:
    """`items[].price` -> `items`, `[]`, `price`."""
    parts = [(part.removesuffix("[]"), "[]") if part.endswith("[]") else (part,) for part in place.split(".")]
    return [step for part in parts for step in part if step]


def outside(ranges: Ranges, operation: Operation) -> tuple[ValueUse, ...]:
    """Numbers of a request outside their ranges; of each the first."""
    found: dict[str, ValueUse] = {}
    for one in ranges.query:
        for key, text in operation.query:
            if key == one.name and _NUMBER.fullmatch(text):
                _compare(float(text), one, found)
    for steps, inside in ranges.body:
        nodes = [operation.body]
        for step in steps:
            if step == "[]":
                nodes = _items(nodes)
            else:
                nodes = [node[step] for node in nodes if type(node) is dict and step in node]
        for node in nodes:
            if type(node) is dict:
                for one in inside:
                    value = node.get(one.name)
                    if (type(value) is int or type(value) is float) and (value < one.minimum or value > one.maximum):
                        _compare(value, one, found)
        if inside[0].name == "[]":
            for value in _items(nodes):
                if type(value) is int or type(value) is float:
                    _compare(value, inside[0], found)
    return tuple(found.values())


def _items(nodes: list[Any]) -> list[Any]:
    return [item for node in nodes if type(node) is list for item in node[:MAX_ITEMS]][:MAX_ITEMS]


def _compare(value: float, one: Range, found: dict[str, ValueUse]) -> None:
    if (value < one.minimum or value > one.maximum) and one.place not in found:
        found[one.place] = ValueUse(one.place, _finite(value), one.minimum, one.maximum, one.samples)


def _finite(number: float) -> float:
    """As a float; an integer that is greater than any is the greatest (RFC 8259 sets no limit)."""
    try:
        return float(number)
    except OverflowError:
        return inf if number > 0 else -inf
