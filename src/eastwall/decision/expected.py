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
    steps: tuple[str, ...]
    """Keys from the body down; `[]` for every item of an array. Of a query parameter, its name."""
    query: bool
    minimum: float
    maximum: float
    samples: int


def ranges_of(endpoint: Endpoint) -> tuple[Range, ...]:
    """The learned ranges of an operation's numbers; declared fields that were never seen have none."""
    if endpoint.status != "learned":
        return ()
    found = [_range(field, query=False) for field in endpoint.request.fields if _numeric(field)]
    found += [_range(field, query=True) for field in endpoint.query.fields if _numeric(field)]
    return tuple(sorted(found, key=lambda one: (-one.samples, one.place))[:MAX_RANGES])


def _numeric(field: FieldProfile) -> bool:
    known = field.minimum is not None and field.maximum is not None and field.seen >= MIN_SAMPLES
    return (
        known
        and not field.data_class
        and {"integer", "number"}.issuperset(set(field.kinds) - {"null"})
        and "{}" not in field.place
    )


def _range(field: FieldProfile, *, query: bool) -> Range:
    assert field.minimum is not None
    assert field.maximum is not None
    place = field.place if query else f"body.{field.place}"
    steps = (
        (field.place.removeprefix("query."),)
        if query
        else tuple(
            step
            for part in field.place.split(".")
            for step in ((part.removesuffix("[]"), "[]") if part.endswith("[]") else (part,))
        )
    )
    return Range(place, tuple(step for step in steps if step), query, field.minimum, field.maximum, field.seen)


def outside(ranges: tuple[Range, ...], operation: Operation) -> tuple[ValueUse, ...]:
    """Numbers of a request outside their ranges."""
    found: tuple[ValueUse, ...] = ()
    for one in ranges:
        for value in _in_query(one.steps[0], operation) if one.query else _in_body(operation.body, one.steps):
            if value < one.minimum or value > one.maximum:
                found += (ValueUse(one.place, value, one.minimum, one.maximum, one.samples),)
                break
    return found


def _in_query(name: str, operation: Operation) -> list[float]:
    return [float(text) for key, text in operation.query if key == name and _NUMBER.fullmatch(text)]


def _in_body(node: Any, steps: tuple[str, ...]) -> list[float]:
    nodes = [node]
    for step in steps:
        if step == "[]":
            nodes = [item for node in nodes if type(node) is list for item in node[:MAX_ITEMS]][:MAX_ITEMS]
        else:
            nodes = [node[step] for node in nodes if type(node) is dict and step in node]
        if not nodes:
            return []
    return [_finite(node) for node in nodes if type(node) is int or type(node) is float]


def _finite(number: float) -> float:
    """As a float; an integer that is greater than any is the greatest (RFC 8259 sets no limit)."""
    try:
        return float(number)
    except OverflowError:
        return inf if number > 0 else -inf
