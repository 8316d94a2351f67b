"""A learned or declared message as JSON Schema, in the dialect of OpenAPI 3.1 or 3.0.

Observed extremes are no limits: they stand under `x-eastwall`, and only declared bounds become keywords. A place is required when it
was in every sample whose parent was there, in three samples at least.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from re import compile as regex
from typing import Any

from eastwall.discovery.body_schemas import parent_of
from eastwall.discovery.objects import NO_NAME
from eastwall.discovery.shapes import ROOT_NAME
from eastwall.model.endpoint import FieldProfile, Schema, Variant

MIN_REQUIRED = 3
"""Samples of the parent before a place is told to be required."""
MAX_NAME = 128
"""Characters; a name as long may have been cut."""

_HOSTILE = regex(
    r"[\x00-\x1f\x7f-\x9f<>\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\ud800-\udfff\U000e0000-\U000e0fff]"
)
_QUOTED = {NO_NAME: "", ROOT_NAME: "$"}
_UNSAFE = regex(r"[^A-Za-z0-9]+")
_BOUNDS = (("minimum", "minimum"), ("maximum", "maximum"), ("min_length", "minLength"), ("max_length", "maxLength"))


def hostile(name: str) -> bool:
    """Whether a name holds what a terminal, a page or a reader would be misled by: controls, invisible or turning characters, `<>`."""
    return not 0 < len(name) < MAX_NAME or _HOSTILE.search(name) is not None


class _Node:
    """A place of the message and what is below it."""

    __slots__ = ("extra", "field", "hides", "items", "place", "properties")

    def __init__(self, place: str) -> None:
        self.place = place
        self.field: FieldProfile | None = None
        self.properties: dict[str, _Node] = {}
        self.items: _Node | None = None
        self.extra: _Node | None = None
        self.hides = False
        """A property was left out, because of its name."""


class Writer:
    """Writes the schemas of one document. What cannot be said is counted in `omitted`."""

    def __init__(self, version: str) -> None:
        """`version`: `3.1` or `3.0`."""
        self.nullable = version == "3.0"
        self.components: dict[str, Any] = {}
        self.omitted: dict[str, int] = {}

    def omit(self, what: str) -> None:
        self.omitted[what] = self.omitted.get(what, 0) + 1

    def message(self, schema: Schema, name: str) -> dict[str, Any]:
        """JSON Schema of a message; `name` begins the names of its components."""
        root = self._tree(schema.fields)
        variants: dict[str, list[Variant]] = {}
        for variant in schema.variants:
            variants.setdefault(variant.place, []).append(variant)
        return self._schema(root, variants, schema.samples, name)

    def _tree(self, fields: Iterable[FieldProfile]) -> _Node:
        nodes: dict[str, _Node] = {"$": _Node("$")}
        known = {field.place: field for field in fields}
        for place in sorted(known, key=lambda p: (p != "$", len(p), p)):
            node = nodes.get(place) or self._node(nodes, place, known)
            if node is not None:
                node.field = known[place]
        return nodes["$"]

    def _node(self, nodes: dict[str, _Node], place: str, known: Mapping[str, FieldProfile]) -> _Node | None:
        """The node of a place, made together with those above it; None when a name on the way is hostile."""
        parent, step = parent_of(place, known)
        above = nodes.get(parent) or self._node(nodes, parent, known)
        if above is None:
            return None
        step = _QUOTED.get(step, step)
        if step not in ("[]", "{}", "") and hostile(step):
            self.omit("names that are not plain text")
            above.hides = True
            return None
        node = nodes[place] = _Node(place)
        if step == "[]":
            above.items = node
        elif step == "{}":
            above.extra = node
        else:
            above.properties[step] = node
        return node

    def _schema(self, node: _Node, variants: Mapping[str, list[Variant]], samples: int, name: str) -> dict[str, Any]:
        field = node.field or FieldProfile(node.place, ())
        kinds = set(field.kinds)
        if node.properties or node.extra:
            kinds.add("object")
        if node.items:
            kinds.add("array")
        if "number" in kinds:
            kinds.discard("integer")
        keywords = {kind: self._keywords(kind, node, field, variants, samples, name) for kind in sorted(kinds - {"null"})}
        forms = variants.get(node.place, [])
        if len(forms) > 1 and kinds <= {"object", "null"}:
            found = self._forms(node, forms, variants, samples, name)
            if "null" in kinds:
                found = {"anyOf": [found, {"nullable": True, "enum": [None]} if self.nullable else {"type": "null"}]}
        else:
            found = self._typed(keywords, "null" in kinds)
        return found | self._notes(field, kinds)

    def _typed(self, keywords: dict[str, dict[str, Any]], null: bool) -> dict[str, Any]:
        """Types as the dialect says them."""
        if self.nullable:
            spread = [{"type": kind} | words for kind, words in keywords.items()]
            if null and spread:
                spread[0] = _with_null(spread[0] | {"nullable": True})
            elif null:
                return {"nullable": True}
            return spread[0] if len(spread) == 1 else {"anyOf": spread} if spread else {}
        kinds: list[str] = [*keywords, *(["null"] if null else [])]
        found: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds} if kinds else {}
        for words in keywords.values():
            found |= words
        return _with_null(found) if null else found

    def _keywords(
        self, kind: str, node: _Node, field: FieldProfile, variants: Mapping[str, list[Variant]], samples: int, name: str
    ) -> dict[str, Any]:
        """Keywords that go with one type."""
        found: dict[str, Any] = {}
        declared = field.seen == 0
        if kind == "string":
            if field.format and not hostile(field.format):
                found["format"] = field.format
            if field.enum and set(field.kinds) <= {"string", "null"}:
                plain = [word for word in field.enum if not hostile(word)]
                if len(plain) == len(field.enum):
                    found["enum"] = plain
            if declared:
                found |= _limits(field, "minLength", "maxLength")
        elif kind in ("integer", "number") and declared:
            found |= {key: getattr(field, key) for key in ("minimum", "maximum") if getattr(field, key) is not None}
            if kind == "integer":
                found = {key: int(value) for key, value in found.items()}
        elif kind == "array":
            found["items"] = self._schema(node.items, variants, samples, name) if node.items else {}
            if declared:
                found |= _limits(field, "minItems", "maxItems")
        elif kind == "object":
            found = self._object(node, variants, samples, name)
        return found

    def _object(self, node: _Node, variants: Mapping[str, list[Variant]], samples: int, name: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if node.properties:
            found["properties"] = {
                step: self._schema(child, variants, samples, f"{name}_{step}") for step, child in sorted(node.properties.items())
            }
            required = [step for step, child in node.properties.items() if child.field and _required(child.field, samples)]
            if required:
                found["required"] = sorted(required)
        if node.extra is not None:
            found["additionalProperties"] = node.hides or self._schema(node.extra, variants, samples, f"{name}_value")
        return found

    def _forms(
        self, node: _Node, forms: list[Variant], variants: Mapping[str, list[Variant]], samples: int, name: str
    ) -> dict[str, Any]:
        """`oneOf` components, told apart by a discriminator: OpenAPI knows it for references only."""
        told = forms[0].property
        found: dict[str, Any] = {"oneOf": [], "discriminator": {"propertyName": told, "mapping": {}}}
        for form in forms:
            own = dict(form.fields)
            properties = {
                step: self._schema(child, variants, samples, f"{name}_{step}")
                for step, child in sorted(node.properties.items())
                if step in own and step != told
            }
            properties[told] = {"type": "string", "enum": [form.value]}
            required = sorted({told, *(step for step in properties if own.get(step, 0) == form.samples >= MIN_REQUIRED)})
            component = {
                "type": "object",
                "properties": dict(sorted(properties.items())),
                "required": required,
                "x-eastwall": {"seen": form.samples},
            }
            reference = self._component(f"{name}_{form.value}", component)
            found["oneOf"].append({"$ref": reference})
            found["discriminator"]["mapping"][form.value] = reference
        return found

    def _component(self, name: str, component: dict[str, Any]) -> str:
        name = unique = _UNSAFE.sub("_", name).strip("_")[:100] or "form"
        count = 2
        while unique in self.components:
            unique, count = f"{name}_{count}", count + 1
        self.components[unique] = component
        return f"#/components/schemas/{unique}"

    def _notes(self, field: FieldProfile, kinds: set[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if field.deprecated:
            found["deprecated"] = True
        if field.data_class and not hostile(field.data_class):
            found["x-data-class"] = field.data_class
        if field.seen:
            seen: dict[str, Any] = {"seen": field.seen, "of": field.of}
            for attribute, word in _BOUNDS:
                value = getattr(field, attribute)
                numbers = attribute in ("minimum", "maximum")
                if value is not None and (numbers or (value and kinds & {"string", "array"})):
                    seen[word] = int(value) if numbers and float(value).is_integer() else value
            found["x-eastwall"] = seen
        return found

    def scalar(self, field: FieldProfile, items: FieldProfile | None = None) -> dict[str, Any]:
        """Schema of a parameter; `items` describes the values of one that is repeated."""
        node = _Node(field.place)
        node.field = field
        if items is not None:
            node.items = _Node(items.place)
            node.items.field = items
        return self._schema(node, {}, 0, "")


def _required(field: FieldProfile, samples: int) -> bool:
    if field.of:
        return field.of == field.seen and field.of >= MIN_REQUIRED
    return field.required is True and not samples


def _limits(field: FieldProfile, least: str, most: str) -> dict[str, int]:
    found = {least: field.min_length, most: field.max_length}
    return {key: value for key, value in found.items() if value}


def _with_null(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"enum": [*schema["enum"], None]} if "enum" in schema else schema
