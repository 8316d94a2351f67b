"""Which values of a request belong together: products, sums, equal numbers, numbers of items, and the order of dates.

Looked for within one object of the body and the items of its arrays. What can be asked is bounded: `MAX_NAMES` numbers of an object, `MAX_ITEMS`
of an array's items. Property names come from callers; they are compared and kept, never interpreted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, permutations
from math import isfinite
from re import compile as regex
from typing import Any

MAX_FRAMES = 6
"""Objects of one body that are looked at."""
MAX_DEPTH = 4
MAX_NAMES = 7
"""Numbers of one object, and dates of one, by name."""
MAX_LISTS = 2
MAX_ITEM_NAMES = 4
MAX_ITEMS = 100
"""Items of an array; no relation is asked of a longer one."""
MAX_NAME = 64

CENT = 0.011
"""How far a sum of rounded amounts is off."""
SHARE = 1e-6
"""And how far floating point is."""

Relation = tuple[str, str, tuple[str, ...]]
"""(how, of which value, from which): `("product", "total", ("price", "quantity"))`. What stands in items is `lines[].price`."""
Frame = tuple[tuple[str, ...], dict[str, Any]]
"""(keys from the body down, the object)."""

_DATE = regex(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d[\d:.]*(?:Z|[+-]\d\d:\d\d)?)?")


def frames(body: Any) -> Iterator[Frame]:
    """The objects of a body that are no items of arrays, outermost first."""
    if type(body) is not dict:
        return
    waiting: list[Frame] = [((), body)]
    for at in range(MAX_FRAMES):
        if at >= len(waiting):
            return
        steps, node = waiting[at]
        yield steps, node
        if len(steps) < MAX_DEPTH:
            waiting += [((*steps, key), value) for key, value in node.items() if type(value) is dict and 0 < len(key) <= MAX_NAME]


def operands(node: dict[str, Any]) -> tuple[dict[str, float], dict[str, str], dict[str, list[dict[str, Any]]]]:
    """(numbers, dates, arrays of objects) of one object, by name; the first by name where there are many."""
    numbers: dict[str, float] = {}
    dates: dict[str, str] = {}
    lists: dict[str, list[dict[str, Any]]] = {}
    for key, value in node.items():
        kind = type(value)
        if kind is int or kind is float:
            if len(key) <= MAX_NAME and abs(value) < 1e15 and isfinite(value):
                numbers[key] = float(value)
        elif kind is str:
            if 10 <= len(value) <= 32 and value[4] == "-" and len(key) <= MAX_NAME and _DATE.fullmatch(value):
                dates[key] = value
        elif kind is list and 0 < len(value) <= MAX_ITEMS and len(key) <= MAX_NAME and all(type(item) is dict for item in value):
            lists[key] = value
    return _first(numbers, MAX_NAMES), _first(dates, MAX_NAMES), _first(lists, MAX_LISTS)


def _first(found: dict[str, Any], most: int) -> dict[str, Any]:
    return {key: found[key] for key in sorted(found)[:most]} if len(found) > most else found


def present(numbers: Mapping[str, float], dates: Mapping[str, str], lists: Mapping[str, list[dict[str, Any]]]) -> tuple[str, ...]:
    """The values of an object that relations can be about, sorted; of its `operands`."""
    named = [*numbers, *dates, *(f"{name}[]" for name in lists)]
    named += [f"{name}[].{key}" for name, items in lists.items() for key in _columns(items)]
    return tuple(sorted(named))


def held(
    numbers: dict[str, float], dates: Mapping[str, str], lists: Mapping[str, list[dict[str, Any]]]
) -> Iterator[tuple[Relation, str]]:
    """Relations that hold of an object's `operands`, each with the values that it held of; empty where it holds by the way (a factor of 1, a
    summand of 0)."""
    for a, b in combinations(sorted(numbers), 2):
        x, y = numbers[a], numbers[b]
        if x == y:
            yield ("equal", b, (a,)), _values(x)
        product, total = x * y, x + y
        for c, z in numbers.items():
            if c != a and c != b:
                if near(z, product):
                    yield ("product", c, (a, b)), _values(x, y)
                if near(z, total):
                    yield ("sum", c, (a, b)), f"{x:g} {y:g}" if x and y else ""
    if len(numbers) >= 4:
        yield from _sums_of_three(numbers)
    for name, items in lists.items():
        yield from _of_items(numbers, name, items)
    for a, b in permutations(sorted(dates), 2):
        if len(dates[a]) == len(dates[b]) and dates[a] <= dates[b]:
            yield ("before", b, (a,)), f"{dates[a]} {dates[b]}" if dates[a] != dates[b] else ""


def _values(*numbers: float) -> str:
    """The factors of a product, the equal number; empty where one of them is 0 or 1."""
    return "" if 0.0 in numbers or 1.0 in numbers else " ".join([f"{number:g}" for number in numbers])


def _sums_of_three(numbers: dict[str, float]) -> Iterator[tuple[Relation, str]]:
    for three in combinations(sorted(numbers), 3):
        x, y, z = (numbers[name] for name in three)
        for c, value in numbers.items():
            if c not in three and near(value, x + y + z):
                yield ("sum", c, three), f"{x:g} {y:g} {z:g}" if x and y and z else ""


def _of_items(numbers: dict[str, float], name: str, items: list[dict[str, Any]]) -> Iterator[tuple[Relation, str]]:
    columns, several = _columns(items), len(items) > 1
    sums: list[tuple[tuple[str, ...], float, bool]] = [
        ((f"{name}[].{key}",), sum(column), several) for key, column in columns.items()
    ]
    for a, b in combinations(sorted(columns), 2):
        total = sum([x * y for x, y in zip(columns[a], columns[b], strict=True)])
        sums.append(((f"{name}[].{a}", f"{name}[].{b}"), total, several or bool(_values(columns[a][0], columns[b][0]))))
    for c, z in numbers.items():
        if z == len(items):
            yield ("count", c, (f"{name}[]",)), f"{z:g}" if several else ""
        for sources, total, telling in sums:
            if near(z, total):
                yield ("sum of items", c, sources), f"{z:g}" if telling and z else ""


def _columns(items: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Numbers that every item has."""
    found: dict[str, list[float]] = {}
    for key in sorted(key for key in items[0] if 0 < len(key) <= MAX_NAME):
        column = [item.get(key) for item in items]
        if all((type(value) is int or type(value) is float) and abs(value) < 1e15 for value in column):
            found[key] = [float(value) for value in column if value is not None]
            if len(found) >= MAX_ITEM_NAMES:
                break
    return found


def near(value: float, expected: float) -> bool:
    """Equal up to rounding to cents."""
    return abs(value - expected) <= CENT + SHARE * abs(expected)


def expected(relation: Relation, node: dict[str, Any]) -> tuple[Any, Any] | None:
    """(what stands there, what the relation gives); None where a value is not there, or is nothing to reckon with."""
    how, target, sources = relation
    there = node.get(target)
    if how == "answered":
        return None  # not a matter of this object alone: see `values.prices`
    if how == "before":
        start = node.get(sources[0])
        if not isinstance(there, str) or not isinstance(start, str) or not len(start) == len(there) <= 32:
            return None
        return (there, start) if _DATE.fullmatch(there) and _DATE.fullmatch(start) else None
    if (type(there) is not int and type(there) is not float) or not abs(there) < 1e300:
        return None
    if how == "count" or how == "sum of items":
        name, _, key = sources[0].partition("[].")
        items = node.get(name.removesuffix("[]"))
        if type(items) is not list or not 0 < len(items) <= MAX_ITEMS:
            return None
        if how == "count":
            return there, len(items)
        return _total(there, items, key, sources[1].partition("[].")[2] if len(sources) > 1 else "")
    values: list[Any] = [node.get(name) for name in sources]
    if not all(map(_number, values)):
        return None
    return there, values[0] * values[1] if how == "product" else sum(values)


def _number(value: Any) -> bool:
    return (type(value) is int or type(value) is float) and abs(value) < 1e150


def _total(there: float, items: list[Any], one: str, other: str) -> tuple[Any, Any] | None:
    total = 0.0
    for item in items:
        if type(item) is not dict:
            return None
        x, y = item.get(one), item.get(other) if other else 1
        if not _number(x) or not _number(y):
            return None
        total += float(x) * float(y)  # type: ignore[arg-type]
    return there, total


def sentence(relation: Relation) -> str:
    """A relation in words, cut to what a sentence bears."""
    how, target, sources = relation
    named = [f"`{name[:40]}`" for name in sources]
    target = f"`{target[:40]}`"
    if how == "before":
        return f"{named[0]} before {target}"
    if how == "answered":
        return f"{target} = what answers gave for {named[0]}"
    if how == "count":
        return f"{target} = number of {named[0]}"
    if how == "sum of items":
        return f"{target} = sum of {' x '.join(named)}"
    return f"{target} = {(' x ' if how == 'product' else ' + ').join(named)}"
