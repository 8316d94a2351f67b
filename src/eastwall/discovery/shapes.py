"""The shape of a message: which places it has, of which JSON types and formats, and no values.

Places: `items[].price` in a body, `$` for the body itself, `query.NAME`. A key that is data and not a name (a number, UUID, date,
e-mail address, ...: an object used as a map) is written `{}`, as in `prices.{}.amount`; other keys beside it keep their names, so
that nothing can hide among ids. Bounds: `MAX_DEPTH` levels, `MAX_FIELDS` fields, the first `MAX_ITEMS` items of an array, merged.
"""

from __future__ import annotations

from collections.abc import Iterable
from re import compile as regex
from typing import Any

from eastwall.discovery import data_classes
from eastwall.discovery.objects import NO_NAME, generated, reference
from eastwall.model.facts import DataHit, Field
from eastwall.model.operation import Operation

MAX_DEPTH = 20
MAX_FIELDS = 500
MAX_ITEMS = 20
MAX_PROPERTIES = 500
MAX_NAME = 128
"""Characters of a property name that are kept."""
ABSENT = "absent"
"""Kind of a Field that says: some object of an array did not have this place, which others of the same array had."""

_UUID = regex(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_DATE = regex(r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])")
_DATE_TIME = regex(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-6][0-9](?:\.[0-9]{1,9})?)?"
    r"(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
_EMAIL = regex(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")
_URI = regex(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s]+")
_IPV4 = regex(r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])")


def format_of(text: str) -> str:
    """JSON Schema format of a text, `""` for none. A look at length and one character decides which expression runs, if any."""
    length = len(text)
    if length < 6 or length > 2048:
        return ""
    if length >= 10 and text[4] == "-":
        if length == 10:
            return "date" if _DATE.fullmatch(text) else ""
        if text[7] == "-" and _DATE_TIME.fullmatch(text):
            return "date-time"
    if length == 36 and text[8] == "-":
        return "uuid" if _UUID.fullmatch(text) else ""
    if "://" in text:
        return "uri" if _URI.fullmatch(text) else ""
    if "@" in text:
        return "email" if length <= 254 and _EMAIL.fullmatch(text) else ""
    if length <= 15 and text.count(".") == 3:
        return "ipv4" if _IPV4.fullmatch(text) else ""
    return ""


class _Seen:
    """What is known of one (place, kind) within one message."""

    __slots__ = ("format", "high", "length", "low")

    def __init__(self) -> None:
        self.format: str | None = None
        self.length = 0
        self.low: float | None = None
        self.high: float | None = None


class _Walk:
    """Collects the fields of one message."""

    __slots__ = ("absent", "classes", "seen")

    def __init__(self, classes: dict[str, str]) -> None:
        self.classes = classes
        self.seen: dict[tuple[str, str], _Seen] = {}
        self.absent: dict[str, None] = {}

    def value(self, place: str, name: str, node: Any, depth: int) -> None:
        kind = _KINDS.get(type(node))
        if kind is None:
            return
        seen = self.seen.get((place, kind))
        if seen is None:
            if len(self.seen) >= MAX_FIELDS:
                return
            seen = self.seen[(place, kind)] = _Seen()
        if kind == "string":
            seen.length = max(seen.length, len(node))
            form = format_of(node)
            seen.format = form if seen.format is None or seen.format == form else ""
        elif kind == "object":
            seen.length = max(seen.length, len(node))
            if depth < MAX_DEPTH:
                self.object("" if place == "$" else place, node, depth)
        elif kind == "array":
            seen.length = max(seen.length, len(node))
            if depth < MAX_DEPTH:
                self.array("" if place == "$" else place, name, node, depth)
        elif kind in ("integer", "number"):
            self.number(seen, place, name, node)

    def number(self, seen: _Seen, place: str, name: str, node: Any) -> None:
        if place in self.classes or reference(name) is not None or not -(2.0**53) <= node <= 2.0**53:
            return
        number = float(node)
        seen.low = number if seen.low is None else min(seen.low, number)
        seen.high = number if seen.high is None else max(seen.high, number)

    def object(self, place: str, node: dict[str, Any], depth: int) -> None:
        prefix = place + "." if place else ""
        keyed = 0
        for key, item in node.items():
            name = key if 0 < len(key) <= MAX_NAME else key[:MAX_NAME] or NO_NAME
            if generated(name):
                # Of a map's entries a few show what all are like; names beside them are still looked at, each.
                keyed += 1
                if keyed > MAX_ITEMS:
                    continue
                name = "{}"
            self.value(prefix + name, name, item, depth + 1)

    def array(self, place: str, name: str, node: list[Any], depth: int) -> None:
        inner = place + "[]"
        first: set[str] | None = None
        for item in node[:MAX_ITEMS]:
            if type(item) is dict:
                keys = set(item)
                if first is None:
                    first = keys
                elif keys != first:
                    missing = (key[:MAX_NAME] for key in sorted(keys ^ first) if len(self.absent) < MAX_FIELDS)
                    self.absent.update(dict.fromkeys(f"{inner}.{key}" for key in missing if not generated(key)))
            self.value(inner, name, item, depth + 1)


_KINDS: dict[type, str] = {
    str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", dict: "object", list: "array",
}  # fmt: skip


def shape(operation: Operation, hits: Iterable[DataHit] | None = None) -> tuple[Field, ...]:
    """Fields of the body and the query, in order of appearance.

    There is one Field for each (place, kind), and a second one when numbers of one array differ (the smallest and the largest).
    `ABSENT` marks places that some items of an array lack. `hits`: what `data_classes.find` said of this message, to save a scan.
    """
    if hits is None:
        hits = data_classes.find(operation)
    walk = _Walk({hit.place: hit.data_class for hit in hits})
    if operation.body is not None or operation.body_kind == "json":
        walk.value("$", "", operation.body, 0)
    for name, text in operation.query[:MAX_FIELDS]:
        walk.value("query." + name[:MAX_NAME], name, text, MAX_DEPTH)
    fields: list[Field] = []
    classes = walk.classes
    for (place, kind), seen in walk.seen.items():
        data_class = classes.get(place, "") if classes else ""
        fields.append(Field(place, kind, seen.format or "", data_class, seen.length, seen.low))
        if seen.high is not None and seen.high != seen.low:
            fields.append(Field(place, kind, "", data_class, 0, seen.high))
    fields += [Field(place, ABSENT) for place in walk.absent]
    return tuple(fields[:MAX_FIELDS])


def properties(operation: Operation) -> tuple[str, ...]:
    """Distinct property places of a JSON, form or multipart body (`items[].price`), in order of appearance.

    At most `MAX_PROPERTIES`.
    """
    body = operation.body
    if type(body) is dict:
        found: dict[str, None] = {}
        _properties(body, "", found, 0)
        return tuple(found)
    if type(body) is list:
        found = {}
        _items(body, "[]", found, 0)
        return tuple(found)
    return ()


def _properties(node: dict[str, Any], prefix: str, found: dict[str, None], depth: int) -> None:
    if depth >= MAX_DEPTH:
        return
    for key, value in node.items():
        if not 0 < len(key) <= MAX_NAME:
            key = key[:MAX_NAME] or NO_NAME
        place = prefix + "{}" if generated(key) else prefix + key
        if place not in found:
            if len(found) >= MAX_PROPERTIES:
                return
            found[place] = None
        if type(value) is dict:
            _properties(value, place + ".", found, depth + 1)
        elif type(value) is list:
            _items(value, place + "[]", found, depth + 1)


def _items(node: list[Any], place: str, found: dict[str, None], depth: int) -> None:
    for item in node:
        if type(item) is dict:
            _properties(item, place + ".", found, depth + 1)
        elif type(item) is list and depth < MAX_DEPTH:
            _items(item, place + "[]", found, depth + 1)
        if len(found) >= MAX_PROPERTIES:
            return
