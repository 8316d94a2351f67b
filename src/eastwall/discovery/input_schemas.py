"""The `inputSchema` of an MCP tool, compiled to hold arguments against it: the part of JSON Schema (2020-12) that tools use.

Read: `type`, `properties`, `required`, `additionalProperties`, `items`, `prefixItems`, `enum`, `const`, the bounds of numbers, texts, lists and objects, `anyOf`,
`oneOf` (as `anyOf`), `allOf`, `$ref` within the schema. All else (`pattern`, `format`, `if`, `not`, ...) says nothing here: a schema that is
read in part is held mildly. As with declared bodies, an object whose properties are declared takes no others, unless `additionalProperties` allows
them expressly; where properties may come from several places (`allOf`, `$ref` beside others), none is called unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import ge, gt, le, lt
from typing import Any

from eastwall.discovery.body_schemas import Violation
from eastwall.discovery.json_types import NAMES, TYPES, WORDS

MAX_VIOLATIONS = 200
MAX_DEPTH = 32
"""Levels of arguments, and of references that lead to each other."""
MAX_STEPS = 20_000
"""Places of arguments and forms that are looked at; past that nothing more is told."""
_BOUNDS = (
    ("minimum", "at least", lt),
    ("maximum", "at most", gt),
    ("exclusiveMinimum", "more than", le),
    ("exclusiveMaximum", "less than", ge),
)
_SIZES: dict[type, tuple[str, str]] = {
    str: ("Length", "characters"),
    list: ("Items", "items"),
    dict: ("Properties", "properties"),
}
_LARGE = 1e15
_ELSEWHERE = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "patternProperties", "$dynamicRef"})
"""Keywords by which an object may have further properties."""
Path = tuple[str | int, ...]


class InputSchema:
    """A tool's schema. What it does not understand it says nothing of; it never raises."""

    __slots__ = ("_root",)

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root = dict(schema)

    def violations(self, arguments: Any, place: str = "arguments", path: Path = ()) -> list[Violation]:
        """What of decoded `arguments` is not as the schema says, at most `MAX_VIOLATIONS`. `place`, `path`: theirs in the message."""
        walk = _Walk(self._root)
        found: list[Violation] = []
        walk.value(self._root, arguments, place, path, found, 0)
        return found[:MAX_VIOLATIONS]


class _Walk:
    """One look at one call's arguments."""

    __slots__ = ("_root", "_steps")

    def __init__(self, root: dict[str, Any]) -> None:
        self._root, self._steps = root, 0

    def value(self, schema: Any, value: Any, place: str, path: Path, found: list[Violation], depth: int) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS or depth > MAX_DEPTH or len(found) >= MAX_VIOLATIONS:
            return
        if schema is False:
            found.append(Violation("types", place, "nothing", _word(value)))
        if not isinstance(schema, dict):
            return
        if not self._typed(schema, value, place, found):
            return
        _worth(schema, value, place, found)
        if isinstance(value, dict):
            self._object(schema, value, place, path, found, depth)
        elif isinstance(value, list):
            self._list(schema, value, place, path, found, depth)
        self._joined(schema, value, place, path, found, depth)

    def _typed(self, schema: dict[str, Any], value: Any, place: str, found: list[Violation]) -> bool:
        named = schema.get("type")
        names = [named] if isinstance(named, str) else named if isinstance(named, list) else []
        known = [name for name in names if isinstance(name, str) and name in TYPES]
        if not known or len(known) < len(names):
            return True  # none is named, or one that nobody knows
        kinds = {kind for name in known for kind in TYPES[name]}
        if type(value) in kinds or (int in kinds and isinstance(value, float) and value.is_integer()):
            return True
        found.append(Violation("types", place, " or ".join(WORDS[name] for name in known), _word(value)))
        return False

    def _object(
        self, schema: dict[str, Any], value: dict[str, Any], place: str, path: Path, found: list[Violation], depth: int
    ) -> None:
        declared = schema.get("properties")
        properties = declared if isinstance(declared, dict) else {}
        others = schema.get("additionalProperties", False if properties else None)
        closed = others is False and _ELSEWHERE.isdisjoint(schema)
        for name, inner in value.items():
            if name in properties:
                self.value(properties[name], inner, f"{place}.{name}", (*path, name), found, depth + 1)
            elif closed:
                if len(found) < MAX_VIOLATIONS:
                    found.append(Violation("unknown", f"{place}.{name}", "no such argument", "one", (*path, name)))
            elif isinstance(others, dict):
                self.value(others, inner, f"{place}.{name}", (*path, name), found, depth + 1)
        required = schema.get("required")
        names = required if isinstance(required, list) else ()
        absent = [name for name in names if isinstance(name, str) and name not in value]
        found += [Violation("missing", f"{place}.{name}", "the argument", "none") for name in absent]

    def _list(self, schema: dict[str, Any], value: list[Any], place: str, path: Path, found: list[Violation], depth: int) -> None:
        first = schema.get("prefixItems")
        begins = len(first) if isinstance(first, list) else 0
        for at, inner in enumerate(value[:begins] if begins else ()):
            self.value(first[at], inner, f"{place}[]", (*path, at), found, depth + 1)  # type: ignore[index]
        if "items" in schema:
            for at in range(begins, len(value)):
                self.value(schema["items"], value[at], f"{place}[]", (*path, at), found, depth + 1)

    def _joined(self, schema: dict[str, Any], value: Any, place: str, path: Path, found: list[Violation], depth: int) -> None:
        """Schemas that refer to others, or that are made of several."""
        if "$ref" in schema:
            self.value(self._referred(schema["$ref"]), value, place, path, found, depth + 1)
        parts = schema.get("allOf")
        for part in parts if isinstance(parts, list) else ():
            self.value(part, value, place, path, found, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            forms = schema.get(keyword)
            if isinstance(forms, list) and forms:
                self._any(forms, value, place, path, found, depth)

    def _any(self, forms: list[Any], value: Any, place: str, path: Path, found: list[Violation], depth: int) -> None:
        close: list[list[Violation]] = []
        for form in forms:
            told: list[Violation] = []
            self.value(form, value, place, path, told, depth + 1)
            if not told:
                return
            if isinstance(form, dict) and self._typed(form, value, place, []):
                close.append(told)  # it is of this form's type, and something else is not as it says
        if len(close) == 1:
            found += close[0]
        else:
            found.append(Violation("types", place, f"one of {len(forms)} forms", _word(value)))

    def _referred(self, name: Any) -> Any:
        """What a reference within the schema points to; nothing is said where it points elsewhere."""
        if not isinstance(name, str) or not name.startswith("#"):
            return True
        at: Any = self._root
        for step in name[1:].split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(at, dict) or step not in at:
                return True
            at = at[step]
        return at


def _worth(schema: dict[str, Any], value: Any, place: str, found: list[Violation]) -> None:
    """Values and sizes."""
    words = schema.get("enum")
    if isinstance(words, list) and not any(_same(word, value) for word in words):
        found.append(Violation("types", place, f"one of {len(words)} values", "another"))
    if "const" in schema and not _same(schema["const"], value):
        found.append(Violation("types", place, "one certain value", "another"))
    if isinstance(value, int | float) and not isinstance(value, bool):
        for keyword, word, over in _BOUNDS:
            bound = schema.get(keyword)
            if isinstance(bound, int | float) and not isinstance(bound, bool) and over(value, bound):
                shown = f"{bound:g}" if abs(bound) < _LARGE else "its bound"
                found.append(Violation("types", place, f"{word} {shown}", "another number"))
        return
    kind, what = _SIZES.get(type(value), ("", ""))
    for side, word in (("min", "at least"), ("max", "at most")) if kind else ():
        bound = schema.get(side + kind)
        if (
            isinstance(bound, int)
            and not isinstance(bound, bool)
            and (len(value) < bound if side == "min" else len(value) > bound)
        ):
            found.append(Violation("types", place, f"{word} {bound if bound < _LARGE else 'so many'} {what}", f"{len(value)}"))


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: `1` is `1.0`, and `true` is no number."""
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    return bool(one == other)


def _word(value: Any) -> str:
    return NAMES.get(type(value), "something else")
