"""A learned or declared message schema, compiled to hold bodies against it: one walk over the decoded tree, by the schema's own tree.

What is held against a body: the JSON type of each known place, properties that are not known, and required ones that are missing. A map
(`prices.{}`) takes any key; where a schema ends (nothing is said of the inside of an object or array) anything may follow.

Learned schemas are samples, so they are read mildly: nothing is said before `MATURE` samples; types count where a place was seen `MATURE`
times, an integer may be any number, and `null` may stand everywhere; a place is required that was in each of `MATURE` samples or more; and
properties are called unknown where nearly everything that comes was seen before (Good and Turing: the share of samples with a place seen once
is the chance that the next holds a new one). A learned schema that is as large as shapes are ever recorded says nothing of unknown ones.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from itertools import repeat
from re import Pattern
from re import compile as regex
from typing import Any, NamedTuple

from eastwall.discovery.json_types import NAMES, TYPES, WORDS
from eastwall.discovery.objects import NO_NAME
from eastwall.model.endpoint import FieldProfile, Schema

MATURE = 200
"""Samples."""
NEW_PLACE = 0.005
"""Greatest chance that the next sample holds a place never seen, for unknown properties to be told."""
MAX_PLACES = 400
"""Places of a learned schema; of a larger one parts may not have been recorded."""
MAX_VIOLATIONS = 1_000
"""Told of one body; past that the walk ends."""
MAX_DEPTH = 64
MAX_SHAPES = 64
"""Combinations of names and types that are remembered of one place, of at most `MAX_SHAPE` names each."""
MAX_SHAPE = 64
_CUT = 128
"""Characters of a name that a place keeps."""
_WRITTEN = {
    "integer": regex(r"[+-]?[0-9]{1,400}"),
    "number": regex(r"[+-]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?"),
    "boolean": regex(r"(?i:true|false|0|1)"),
}
"""How query parameters write what is no text."""
SILENT_QUERY = frozenset({"utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "fbclid", "gclid", "_"})
"""Query parameters that links and browsers add by themselves."""


class Violation(NamedTuple):
    """One thing that is not as the schema says; no value is in it."""

    aspect: str
    """`types`, `unknown`, `missing`, `parameters`, or `limits`."""
    place: str
    expected: str
    got: str
    path: tuple[str | int, ...] = ()
    """Where in the body, of `unknown`."""


Fits = Callable[[Any], bool]
_ALL = frozenset(kind for kinds in TYPES.values() for kind in kinds)


def _anything(_: object) -> bool:
    return True


class Node:
    """What the schema says of one place."""

    __slots__ = ("expected", "extra", "fits", "items", "leaf", "open", "place", "properties", "required", "types")

    def __init__(self, place: str) -> None:
        self.place = place
        self.types: frozenset[type] | None = None
        """None: any."""
        self.expected = ""
        self.properties: dict[str, Node] = {}
        self.items: Node | None = None
        self.extra: Node | None = None
        self.required: tuple[str, ...] = ()
        self.open = True
        """Other properties are welcome."""
        self.leaf = True
        """Nothing is said of what is inside."""
        self.fits: Fits = _anything
        """Whether a value has no violation: the same in one pass, without telling which."""


class MessageSchema:
    """A schema, compiled."""

    __slots__ = ("_known", "closed", "exact", "json", "root")

    def __init__(self, schema: Schema, *, learned: bool) -> None:
        fields = [field for field in schema.fields if _of_body(field.place) and (field.seen or not learned)]
        self.exact = not learned
        self._known = frozenset(field.place for field in fields)
        self.closed = not learned or _settled(schema, fields)
        """Whether properties can be called unknown."""
        self.json = bool(schema.media_types) and all("json" in media for media in schema.media_types)
        """Only JSON is known to come."""
        self.root = self._tree(fields, learned=learned)

    def _tree(self, fields: Iterable[FieldProfile], *, learned: bool) -> Node:
        known = {field.place: field for field in fields}
        nodes = {"$": Node("$")}
        for place in sorted(known, key=lambda p: (p != "$", len(p), p)):
            node = nodes.get(place) or _node(nodes, place, known)
            _say(node, known[place], learned=learned)
        required: dict[str, list[str]] = {}
        for place, field in known.items():
            if place != "$" and not place.endswith(("[]", "{}")) and _required(field, learned=learned):
                above, step = parent_of(place, known)
                required.setdefault(above, []).append("" if step == NO_NAME else step)
        for place, node in nodes.items():
            node.required = tuple(required.get(place, ()))
            node.open = not node.properties and node.extra is None
            node.leaf = node.open and node.items is None
        for place in sorted(nodes, key=len, reverse=True):
            nodes[place].fits = _fits(nodes[place], closed=self.closed)
        nodes["$"].fits = _fits(nodes["$"], closed=self.closed)
        return nodes["$"]

    def violations(self, body: Any, *, types: bool = True) -> list[Violation]:
        """What in a decoded body is not as the schema says, at most `MAX_VIOLATIONS`. `types`: False for bodies in which all is text."""
        found: list[Violation] = []
        if types and self.root.fits(body):
            return found
        self._walk(self.root, body, [], found, types)
        return found

    def _walk(self, node: Node, value: Any, path: list[str | int], found: list[Violation], types: bool) -> None:
        kind = type(value)
        if types and node.types is not None and kind not in node.types:
            if kind is float and int in node.types and value.is_integer():
                return  # 1.0 is an integer (JSON Schema 2020-12, 4.2.3)
            found.append(Violation("types", node.place, node.expected, NAMES.get(kind, "something else")))
            return
        if kind is dict:
            self._object(node, value, path, found, types)
        elif kind is list and node.items is not None and len(path) < MAX_DEPTH:
            items = node.items
            plain = items.types if items.leaf else None
            for at, item in enumerate(value):
                if plain is not None and type(item) in plain:
                    continue
                if len(found) >= MAX_VIOLATIONS:
                    return
                path.append(at)
                self._walk(items, item, path, found, types)
                path.pop()

    def _object(self, node: Node, value: dict[str, Any], path: list[str | int], found: list[Violation], types: bool) -> None:
        properties, extra = node.properties, node.extra
        if not node.open and len(path) < MAX_DEPTH:
            for key, item in value.items():
                inner = properties.get(key) or extra
                if inner is None:
                    if self.closed and not self._written_otherwise(node, key):
                        if len(found) >= MAX_VIOLATIONS:
                            return
                        place = key if node.place == "$" else f"{node.place}.{key}"
                        found.append(Violation("unknown", place, "no such property", "one", (*path, key)))
                    continue
                if inner.leaf and (inner.types is None or type(item) in inner.types):
                    continue
                path.append(key)
                self._walk(inner, item, path, found, types)
                path.pop()
        for name in node.required:
            if name not in value and len(found) < MAX_VIOLATIONS:
                place = name if node.place == "$" else f"{node.place}.{name}"
                found.append(Violation("missing", place, "the property", "none"))

    def _written_otherwise(self, node: Node, key: str) -> bool:
        """Names with dots, and long ones, stand in places in another way than they are."""
        if "." not in key and 0 < len(key) <= _CUT and key != "$":
            return False
        name = '"$"' if key == "$" else key[:_CUT] or NO_NAME
        return (name if node.place == "$" else f"{node.place}.{name}") in self._known


def _fits(node: Node, *, closed: bool) -> Fits:
    """The check of a node whose inner nodes have theirs."""
    types, items = node.types or _ALL, node.items
    if node.leaf:
        return lambda value: type(value) in types
    shallow: dict[str, frozenset[type]] = {name: inner.types or _ALL for name, inner in node.properties.items()}
    deep = tuple((name, inner.fits) for name, inner in node.properties.items() if not inner.leaf)
    required = frozenset(node.required)
    other = None if node.extra is None else node.extra.fits
    strict, is_open = closed and node.extra is None, node.open
    item_types = items.types or _ALL if items is not None and items.leaf else None
    each = items.fits if items is not None and not items.leaf else None

    shapes: set[tuple[tuple[str, ...], tuple[type, ...]]] = set()
    """Names and types of objects that fit: those of an operation come in few combinations."""

    def flat(value: dict[str, Any]) -> bool:
        for key, item in value.items():
            wanted = shallow.get(key)
            if wanted is None:
                if strict or (other is not None and not other(item)):
                    return False
            elif type(item) not in wanted:
                return False
        return required <= value.keys()

    def check(value: Any) -> bool:
        kind = type(value)
        if kind not in types:
            return False
        if kind is dict:
            if is_open:
                return True
            if other is not None or len(value) > MAX_SHAPE:
                if not flat(value):
                    return False
            else:
                shape = tuple(value), tuple(map(type, value.values()))
                if shape not in shapes:
                    if not flat(value):
                        return False
                    if len(shapes) >= MAX_SHAPES:
                        shapes.clear()
                    shapes.add(shape)
            return not deep or not any(name in value and not inner(value[name]) for name, inner in deep)
        if kind is list:
            if item_types is not None:
                return item_types.issuperset(map(type, value))
            return each is None or all(map(each, value))
        return True

    return check


def parent_of(place: str, known: Container[str]) -> tuple[str, str]:
    """(parent place, last step) of a place. Names may hold dots and end in `[]`: the longest known place above it is the parent."""
    if place.endswith("[]") and (place[:-2] or "$") in known:
        return place[:-2] or "$", "[]"
    at = len(place)
    while (at := place.rfind(".", 0, at)) > 0:
        if place[:at] in known:
            return place[:at], place[at + 1 :]
    head, dot, last = place.rpartition(".")
    if dot and "[]" in head:
        return head, last
    return "$", place


def _of_body(place: str) -> bool:
    return not place.startswith(("query.", "path.", "header.", "cookie."))


def _settled(schema: Schema, fields: list[FieldProfile]) -> bool:
    once = sum(1 for field in fields if field.seen == 1)
    return len(fields) < MAX_PLACES and once <= schema.samples * NEW_PLACE


def _node(nodes: dict[str, Node], place: str, known: Container[str]) -> Node:
    """The node of a place, made together with those above it."""
    above, step = parent_of(place, known)
    parent = nodes.get(above) or _node(nodes, above, known)
    node = nodes[place] = Node(place)
    if step == "[]":
        parent.items = node
    elif step == "{}":
        parent.extra = node
    else:
        parent.properties["" if step == NO_NAME else "$" if step == '"$"' else step] = node
    return node


def _say(node: Node, field: FieldProfile, *, learned: bool) -> None:
    kinds = field.kinds
    if not kinds or (learned and field.seen < MATURE):
        return
    types = {each for kind in kinds for each in TYPES.get(kind, ())}
    if learned:
        types.add(type(None))
        if int in types:
            types.add(float)
    node.types = frozenset(types)
    node.expected = " or ".join(WORDS.get(kind, kind) for kind in kinds)


def _required(field: FieldProfile, *, learned: bool) -> bool:
    if not learned:
        return bool(field.required)
    return field.seen == field.of and field.of >= MATURE


class ParameterSchema:
    """What is known of the query parameters of an operation."""

    __slots__ = ("_known", "_open", "_prefixes", "_required", "_types", "closed")

    def __init__(self, schema: Schema, *, learned: bool) -> None:
        fields = [field for field in schema.fields if field.place.startswith("query.") and (field.seen or not learned)]
        self.closed = not learned or _settled(schema, fields)
        self._known: set[str] = set()
        self._types: dict[str, tuple[Pattern[str], str]] = {}
        self._required = tuple(
            field.place[6:] for field in fields if not field.place.endswith("[]") and _required(field, learned=learned)
        )
        objects = []
        for field in fields:
            name = field.place[6:].removesuffix("[]")
            self._known |= {name, name + "[]"}
            if "object" in field.kinds:
                objects += [name + "[", name + "."]
            if len(field.kinds) == 1 and field.kinds[0] in _WRITTEN and (not learned or field.seen >= MATURE):
                self._types[name] = _WRITTEN[field.kinds[0]], WORDS[field.kinds[0]]
        self._prefixes = tuple(objects)
        self._open = "{}" in self._known

    def violations(self, query: Sequence[tuple[str, str]]) -> list[Violation]:
        """What is not as the schema says, at most `MAX_VIOLATIONS`."""
        found: list[Violation] = []
        for name, text in query[:MAX_VIOLATIONS]:
            known = self._types.get(name)
            if known is not None and text and known[0].fullmatch(text) is None:
                found.append(Violation("parameters", f"query.{name}", known[1], "another text"))
            elif self.closed and not self._is_known(name):
                found.append(Violation("parameters", f"query.{name}", "no such parameter", "one"))
        if self._required:
            names = {name for name, _ in query}
            found += [
                Violation("parameters", f"query.{name}", "the parameter", "none")
                for name in self._required
                if name not in names and f"{name}[]" not in names
            ]
        return found

    def _is_known(self, name: str) -> bool:
        if name in self._known or name in SILENT_QUERY or self._open:
            return True
        return name.startswith(self._prefixes) or name[:_CUT] in self._known


def mature(schema: Schema) -> bool:
    """Whether a learned schema says anything."""
    return schema.samples >= MATURE


class Bounds(NamedTuple):
    """How large a body and what is in it may be; None: as it likes."""

    depth: int | None = None
    length: int | None = None
    items: int | None = None
    properties: int | None = None

    def exceeded(self, body: Any) -> Violation | None:
        """The first bound that a decoded body is over."""
        if self == _UNBOUNDED or self._within(body, 1):
            return None
        if type(body) is dict or type(body) is list:
            return self._over(body, "$", 1)
        if self.length is not None and type(body) is str and len(body) > self.length:
            return Violation("limits", "$", f"at most {self.length} characters", f"{len(body)}")
        return None

    def _within(self, node: Any, level: int) -> bool:
        """The same in one pass, without telling what is over."""
        depth, length, items, properties = self
        kind = type(node)
        if kind is dict:
            if properties is not None and len(node) > properties:
                return False
            node = node.values()
        elif kind is list:
            if items is not None and len(node) > items:
                return False
        else:
            return kind is not str or length is None or len(node) <= length
        if depth is not None and level > depth:
            return False
        for item in node:
            kind = type(item)
            if kind is str:
                if length is not None and len(item) > length:
                    return False
            elif (kind is dict or kind is list) and not self._within(item, level + 1):
                return False
        return True

    def _over(self, node: Any, place: str, level: int) -> Violation | None:
        if self.depth is not None and level > self.depth:
            return Violation("limits", place, f"at most {self.depth} levels", "more")
        if type(node) is dict:
            if self.properties is not None and len(node) > self.properties:
                return Violation("limits", place, f"at most {self.properties} properties", f"{len(node)}")
            pairs: Iterable[tuple[Any, Any]] = node.items()
        else:
            if self.items is not None and len(node) > self.items:
                return Violation("limits", place, f"at most {self.items} items", f"{len(node)}")
            pairs = zip(repeat(None), node, strict=False)
        length = self.length
        for key, item in pairs:
            kind = type(item)
            if kind is dict or kind is list:
                if (found := self._over(item, _inner(place, key), level + 1)) is not None:
                    return found
            elif length is not None and kind is str and len(item) > length:
                return Violation("limits", _inner(place, key), f"at most {length} characters", f"{len(item)}")
        return None


def _inner(place: str, key: str | None) -> str:
    """The place of an item (no key) or of a property."""
    if key is None:
        return "[]" if place == "$" else place + "[]"
    return key if place == "$" else f"{place}.{key}"


_UNBOUNDED = Bounds()
