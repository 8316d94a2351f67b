"""JSON Schema of an OpenAPI document -> declared places: `$ref`, `allOf`, `anyOf`, `oneOf`, maps and recursion, within bounds.

A `View` is what one schema says of the values at its place, with everything composed into it. Composition follows JSON Schema 2020-12
as far as places, types and bounds go: `allOf` narrows, `anyOf` and `oneOf` widen, and what only some alternatives require is optional.
Where reading ends (recursion, depth, bounds), a place `{}` of any kind says that more may come there, so that nothing below it is
taken for undeclared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from eastwall.learning.spec_text import Faults, pointer, shown
from eastwall.model.endpoint import FieldProfile

MAX_DEPTH = 12
"""Levels of one message."""
MAX_PLACES = 500
"""Places of one message; beside them at most as many `{}` where more is left out."""
MAX_DOCUMENT_PLACES = 200_000
"""Places of all messages; later messages keep `FEW_PLACES` each."""
FEW_PLACES = 30
MAX_COMPOSED = 60
"""Levels of `allOf`, `anyOf`, `oneOf` and `$ref` in each other."""
MAX_ENUM = 200
MAX_NAME = 128

FORMATS = frozenset("uuid date date-time email uri ipv4 ipv6 int32 int64 float double".split())
"""Formats that are kept: those that every value shows, so that declared and seen can be held against each other, and those of numbers."""
KINDS = ("array", "boolean", "integer", "null", "number", "object", "string")
_EXTERNAL = "bundle the documents into one file"
_Node = tuple[Any, str]
"""A schema and its JSON pointer."""


class View:
    """What a schema says of its place."""

    __slots__ = (
        "deprecated", "enum", "extra", "format", "high", "items", "kinds", "longest", "low", "open", "properties", "read_only",
        "required", "shortest", "write_only",
    )  # fmt: skip

    def __init__(self) -> None:
        self.kinds: frozenset[str] | None = None
        """None: any."""
        self.format = ""
        self.enum: tuple[str, ...] | None = None
        self.low: float | None = None
        self.high: float | None = None
        self.shortest = 0
        self.longest = 0
        self.properties: dict[str, list[_Node]] = {}
        self.required: frozenset[str] = frozenset()
        self.items: list[_Node] = []
        self.extra: list[_Node] = []
        """Schemas of a map's values."""
        self.open = False
        """Properties of any name and kind are welcome."""
        self.deprecated = False
        self.read_only = False
        self.write_only = False


class SchemaReader:
    """Reads the schemas of one document. Faults are added to `faults`, each once."""

    def __init__(self, document: Mapping[str, Any], faults: Faults) -> None:
        self._document = document
        self._faults = faults
        self._views: dict[int, View] = {}
        self._reading: set[int] = set()
        self._targets: dict[str, _Node | None] = {}
        self._fields: dict[tuple[int, str], tuple[FieldProfile, ...]] = {}
        self._places = 0

    def resolve(self, node: Any, where: str) -> _Node | None:
        """What a node is once its `$ref` is followed, and where that stands; None, and a fault, when it leads nowhere."""
        seen: set[str] = set()
        while isinstance(node, dict) and isinstance(node.get("$ref"), str):
            reference: str = node["$ref"]
            if reference in seen:
                self._faults.add(
                    where + "/$ref", f"references go in a circle at {shown(reference)}", "let one of them be a schema"
                )
                return None
            seen.add(reference)
            found = self._target(reference, where + "/$ref")
            if found is None:
                return None
            node, where = found
        return node, where

    def _target(self, reference: str, where: str) -> _Node | None:
        if reference in self._targets:
            return self._targets[reference]
        found = self._targets[reference] = self._find(reference, where)
        return found

    def _find(self, reference: str, where: str) -> _Node | None:
        if not reference.startswith("#"):
            self._faults.add(where, f"reference {shown(reference)} leads out of the document", _EXTERNAL)
            return None
        path = unquote(reference[1:])
        if path and not path.startswith("/"):
            self._faults.add(where, f"reference {shown(reference)} names an anchor", "write the path: `#/components/schemas/...`")
            return None
        node: Any = self._document
        for step in path.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and step in node:
                node = node[step]
            elif isinstance(node, list) and step.isdecimal() and len(step) < 7 and int(step) < len(node):
                node = node[int(step)]
            else:
                self._faults.add(where, f"reference {shown(reference)} leads nowhere", "define it, or mend the name")
                return None
        return node, path

    def view(self, node: Any, where: str, depth: int = 0) -> View:
        """Everything that a schema says, composed."""
        if isinstance(node, bool):
            empty = View()
            empty.open = node
            return empty
        if not isinstance(node, dict):
            self._faults.add(where, f"{kind_name(node)} {shown(node)} stands where a schema must", "write an object")
            return View()
        key = id(node)
        known = self._views.get(key)
        if known is not None:
            return known
        if key in self._reading or depth > MAX_COMPOSED:
            return View()
        self._reading.add(key)
        try:
            found = self._compose(node, where, depth)
        finally:
            self._reading.discard(key)
        self._views[key] = found
        return found

    def _compose(self, node: dict[str, Any], where: str, depth: int) -> View:
        view = self._plain(node, where)
        if isinstance(node.get("$ref"), str):
            target = self.resolve(node, where)
            # Of a 3.0 reference the siblings count for nothing, of a 3.1 one they narrow; a description beside it is all there mostly is.
            if target is not None:
                view = _all([self.view(target[0], target[1], depth + 1), view])
            else:
                view.open = True
        parts = self._parts(node, "allOf", where)
        if parts:
            view = _all([view, *(self.view(part, place, depth + 1) for part, place in parts)])
        for word in ("anyOf", "oneOf"):
            parts = self._parts(node, word, where)
            if parts:
                view = _all([view, _any([self.view(part, place, depth + 1) for part, place in parts])])
        if node.get("nullable") is True or node.get("x-nullable") is True:
            view.kinds = view.kinds | {"null"} if view.kinds is not None else None
        return view

    def _parts(self, node: dict[str, Any], word: str, where: str) -> list[_Node]:
        parts = node.get(word)
        if parts is None:
            return []
        if not isinstance(parts, list):
            self._faults.add(f"{where}/{word}", f"`{word}` is {kind_name(parts)}", "write a list of schemas")
            return []
        return [(part, f"{where}/{word}/{at}") for at, part in enumerate(parts[:200])]

    def _plain(self, node: dict[str, Any], where: str) -> View:
        """What the schema itself says, without what is composed into it."""
        view = View()
        self._types(view, node, where)
        properties = node.get("properties")
        if isinstance(properties, dict):
            for name, child in properties.items():
                if 0 < len(name) <= MAX_NAME:
                    view.properties[name] = [(child, where + pointer("properties", name))]
        elif properties is not None:
            self._faults.add(where + "/properties", f"`properties` is {kind_name(properties)}", "write an object of schemas")
        required = node.get("required")
        if isinstance(required, list):
            view.required = frozenset(name for name in required if isinstance(name, str))
        items = node.get("items")
        if isinstance(items, (dict, bool)):
            view.items = [(items, where + "/items")]
        elif isinstance(items, list):
            view.items = [(item, f"{where}/items/{at}") for at, item in enumerate(items[:50])]
        elif items is not None:
            self._faults.add(where + "/items", f"`items` is {kind_name(items)}", "write a schema")
        view.items += self._parts(node, "prefixItems", where)
        extra = node.get("additionalProperties")
        if isinstance(extra, dict) and extra:
            view.extra = [(extra, where + "/additionalProperties")]
        elif extra is True or extra == {}:
            view.open = True
        patterns = node.get("patternProperties")
        if isinstance(patterns, dict):
            view.extra += [(child, where + pointer("patternProperties", name)) for name, child in patterns.items()]
        if view.kinds is None:
            if properties or view.extra:
                view.kinds = frozenset({"object"})
            elif view.items:
                view.kinds = frozenset({"array"})
        view.deprecated = node.get("deprecated") is True
        view.read_only = node.get("readOnly") is True
        view.write_only = node.get("writeOnly") is True
        return view

    def _types(self, view: View, node: dict[str, Any], where: str) -> None:
        kind = node.get("type")
        kinds = kind if isinstance(kind, list) else [kind] if kind is not None else []
        known: set[str] = set()
        for each in kinds:
            if isinstance(each, str) and each in KINDS:
                known.add(each)
            elif each == "file":  # Swagger 2.0
                known.add("string")
            else:
                self._faults.add(where + "/type", f"{shown(each)} is no type", f"write one of {', '.join(KINDS)}")
        if known:
            view.kinds = frozenset(known)
        form = node.get("format")
        view.format = form if isinstance(form, str) and form in FORMATS else ""
        values = [node["const"]] if "const" in node else node.get("enum")
        if values is not None and not isinstance(values, list):
            self._faults.add(where + "/enum", f"`enum` is {kind_name(values)}", "write a list")
        elif values:
            if all(isinstance(value, str) or value is None for value in values) and len(values) <= MAX_ENUM:
                view.enum = tuple(dict.fromkeys(value for value in values if value is not None))
            if view.kinds is None:
                view.kinds = frozenset(_JSON_KIND[type(value)] for value in values if type(value) in _JSON_KIND) or None
        low, high = _number(node.get("minimum")), _number(node.get("maximum"))
        view.low = low if low is not None else _number(node.get("exclusiveMinimum"))
        view.high = high if high is not None else _number(node.get("exclusiveMaximum"))
        view.shortest = _count(node.get("minLength", node.get("minItems")))
        view.longest = _count(node.get("maxLength", node.get("maxItems")))

    def fields(self, node: Any, where: str, side: str) -> tuple[FieldProfile, ...]:
        """Every place of a message, sorted. `side`: `request` (what only answers carry is left out) or `response`."""
        key = (id(node), side)
        if key not in self._fields:
            self._fields[key] = self._read(node, where, side)
        return self._fields[key]

    def _read(self, node: Any, where: str, side: str) -> tuple[FieldProfile, ...]:
        limit = MAX_PLACES if self._places < MAX_DOCUMENT_PLACES else FEW_PLACES
        found: dict[str, FieldProfile] = {}
        # Breadth first, so that what is cut off is deep down; each step knows the schemas above it.
        queue: deque[tuple[str, list[_Node], bool | None, int, tuple[int, ...]]] = deque([("$", [(node, where)], None, 0, ())])
        while queue:
            place, nodes, required, depth, above = queue.popleft()
            view = self.together(nodes)
            if (view.read_only and side == "request") or (view.write_only and side == "response"):
                continue
            if place not in found:
                found[place] = field(place, view, required)
            children = self._children(place, view)
            if not children:
                continue
            identities = self._identities(nodes)
            if (
                depth >= MAX_DEPTH
                or len(found) + len(queue) + len(children) > limit
                or any(above.count(each) > 1 for each in identities)
            ):
                more = _below(place) + "{}"
                found.setdefault(more, FieldProfile(more, ()))
                continue
            queue.extend((name, inner, must, depth + 1, (*above, *identities)) for name, inner, must in children)
        self._places += len(found)
        return tuple(found[place] for place in sorted(found))

    def together(self, nodes: list[_Node]) -> View:
        """One view of several schemas of one place, any of which may hold."""
        if len(nodes) == 1:
            return self.view(*nodes[0])
        return _any([self.view(node, where) for node, where in nodes])

    def _identities(self, nodes: Iterable[_Node]) -> set[int]:
        """The objects that these schemas come down to: what recursion is told by."""
        found = set()
        for node, where in nodes:
            target = self.resolve(node, where)
            if target is not None and isinstance(target[0], dict) and "$ref" in (node if isinstance(node, dict) else ()):
                found.add(id(target[0]))
        return found

    @staticmethod
    def _children(place: str, view: View) -> list[tuple[str, list[_Node], bool | None]]:
        below = _below(place)
        found: list[tuple[str, list[_Node], bool | None]] = [
            (below + name, nodes, name in view.required) for name, nodes in view.properties.items()
        ]
        if view.items:
            found.append((("" if place == "$" else place) + "[]", view.items, None))
        is_object = view.kinds is not None and "object" in view.kinds
        if view.extra:
            found.append((below + "{}", view.extra, None))
        elif is_object and (view.open or not view.properties):
            found.append((below + "{}", [(True, "")], None))
        return found


def field(place: str, view: View, required: bool | None) -> FieldProfile:
    """A declared field. `kinds` is empty when any is allowed."""
    kinds = view.kinds or frozenset()
    return FieldProfile(
        place=place,
        kinds=tuple(sorted(kinds)),
        format=view.format,
        minimum=view.low,
        maximum=view.high,
        min_length=view.shortest,
        max_length=view.longest,
        enum=tuple(sorted(view.enum or ())) if kinds <= {"string", "null"} else (),
        deprecated=view.deprecated,
        required=required,
    )


def _below(place: str) -> str:
    return "" if place == "$" else place + "."


def _all(views: list[View]) -> View:
    """All of these hold."""
    merged = View()
    for view in views:
        if view.kinds is not None:
            merged.kinds = view.kinds if merged.kinds is None else _narrow(merged.kinds, view.kinds)
        merged.format = merged.format or view.format
        if view.enum is not None:
            merged.enum = view.enum if merged.enum is None else tuple(v for v in merged.enum if v in view.enum) or merged.enum
        merged.low = _pick(max, merged.low, view.low)
        merged.high = _pick(min, merged.high, view.high)
        merged.shortest = max(merged.shortest, view.shortest)
        merged.longest = min(merged.longest, view.longest) if merged.longest and view.longest else merged.longest or view.longest
        merged.required |= view.required
        merged.open |= view.open
        merged.deprecated |= view.deprecated
        merged.read_only |= view.read_only
        merged.write_only |= view.write_only
        _join(merged, view)
    return merged


def _any(views: list[View]) -> View:
    """One of these holds, or more."""
    merged = View()
    spoken = [view for view in views if view.kinds != frozenset({"null"})]
    merged.kinds = frozenset().union(*(view.kinds or () for view in views)) if all(v.kinds is not None for v in views) else None
    if not spoken:
        return merged
    first = spoken[0]
    merged.format = first.format if all(view.format == first.format for view in spoken) else ""
    if all(view.enum is not None for view in spoken):
        merged.enum = tuple(dict.fromkeys(value for view in spoken for value in view.enum or ()))
    lows, highs = [view.low for view in spoken], [view.high for view in spoken]
    merged.low = None if None in lows else min(low for low in lows if low is not None)
    merged.high = None if None in highs else max(high for high in highs if high is not None)
    merged.shortest = min(view.shortest for view in spoken)
    merged.longest = max(view.longest for view in spoken) if all(view.longest for view in spoken) else 0
    merged.required = frozenset.intersection(*(view.required for view in spoken))
    merged.open = any(view.open for view in spoken)
    merged.deprecated = all(view.deprecated for view in spoken)
    merged.read_only = all(view.read_only for view in spoken)
    merged.write_only = all(view.write_only for view in spoken)
    for view in spoken:
        _join(merged, view)
    return merged


def _join(merged: View, view: View) -> None:
    for name, nodes in view.properties.items():
        mine = merged.properties.get(name)
        if mine is None:
            merged.properties[name] = nodes
        else:
            merged.properties[name] = _distinct([*mine, *nodes])
    merged.items = _distinct([*merged.items, *view.items]) if merged.items else view.items
    merged.extra = _distinct([*merged.extra, *view.extra]) if merged.extra else view.extra


def _distinct(nodes: list[_Node]) -> list[_Node]:
    return list({id(node): (node, where) for node, where in nodes}.values())


def _narrow(mine: frozenset[str], theirs: frozenset[str]) -> frozenset[str]:
    common = mine & theirs
    if not common and "integer" in mine | theirs and "number" in mine | theirs:
        return frozenset({"integer"})
    return common or mine | theirs


def _pick(choose: Any, a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else float(choose(a, b))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e300 < value < 1e300:
        return None
    return float(value)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31 else 0


_JSON_KIND: dict[type, str] = {
    str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null", list: "array", dict: "object",
}  # fmt: skip


def kind_name(node: Any) -> str:
    """`a list`, `an object`, ...: what a node is, for a message."""
    name = _JSON_KIND.get(type(node), "text")
    return {"null": "null", "integer": "a number", "array": "a list", "object": "an object"}.get(name, f"a {name}")
