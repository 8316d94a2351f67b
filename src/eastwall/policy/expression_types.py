"""What is known of a condition before any call: unknown names, comparisons that can never hold, a result that is no truth value.

The `cel` package has no type checker; an author would learn of `path.user_di` from the first call that is blocked by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from eastwall.policy.expression import MACROS, METHODS, Node


class TypeFault(NamedTuple):
    """What is wrong with an expression before any call."""

    position: int
    """Characters from the start of the expression, from 0."""
    message: str
    word: str = ""
    """The unknown name, if that is what is wrong."""
    known: tuple[str, ...] = ()
    """Names that would do."""


Type = str | Mapping[str, Any]
"""`text`, `number`, `truth`, `time`, `null`, `list`, `texts` (a list of text), `map` (of text), `any`; a record: its fields."""
FUNCTIONS = (
    "has",
    "size",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "bytes",
    "timestamp",
    "duration",
    "type",
    "dyn",
    "max",
    "min",
)
OF_VALUES = (
    *METHODS, *MACROS, "exists_one", "map", "filter", "matches", "size", "getFullYear", "getMonth", "getDate", "getDayOfMonth",
    "getDayOfYear", "getDayOfWeek", "getHours", "getMinutes", "getSeconds", "getMilliseconds",
)  # fmt: skip


def type_faults(node: Node, variables: Mapping[str, Type]) -> list[TypeFault]:
    """Unknown names and fields, comparisons that can never hold, and a result that is neither true nor false."""
    found: list[TypeFault] = []
    result = _type(node, dict(variables), found)
    if result not in ("truth", "any"):
        found.append(TypeFault(node.position, f"gives {_words(result)}, not true or false"))
    return found


def _words(kind: Type) -> str:
    words = {
        "text": "text",
        "number": "a number",
        "truth": "true or false",
        "time": "a time",
        "null": "null",
        "texts": "a list",
        "list": "a list",
    }
    return words.get(kind, "a map") if isinstance(kind, str) else "a record"


def _type(node: Node, names: dict[str, Type], found: list[TypeFault]) -> Type:
    match node.kind:
        case "literal":
            value = node.value
            return (
                "truth"
                if isinstance(value, bool)
                else "null"
                if value is None
                else "text"
                if isinstance(value, str)
                else "number"
            )
        case "name":
            if node.value not in names:
                found.append(TypeFault(node.position, f"`{node.value[:60]}` is not known", node.value, tuple(names)))
            return names.get(node.value, "any")
        case "field":
            return _field_type(node, names, found)
        case "index":
            holder = _type(node.items[0], names, found)
            _type(node.items[1], names, found)
            return "text" if holder in ("texts", "map") else "any"
        case "binary":
            return _binary_type(node, names, found)
        case "not":
            _expect_truth(node.items[0], names, found)
            return "truth"
        case "if":
            _expect_truth(node.items[0], names, found)
            yes, no = (_type(item, names, found) for item in node.items[1:])
            return yes if yes == no else "any"
        case "has":
            field = node.items[0]
            holder = _type(field.items[0], names, found)
            if not isinstance(holder, str):
                _field_type(field, names, found)
            return "truth"
        case "all" | "exists":
            holder = _type(node.items[0], names, found)
            inner = {**names, node.items[1].value: "text" if holder in ("texts", "map") else "any"}
            _expect_truth(node.items[2], inner, found)
            return "truth"
        case "list":
            kinds = {str(_type(item, names, found)) for item in node.items}
            return "texts" if kinds == {"text"} else "list"
        case _:
            return _call_type(node, names, found)


def _field_type(node: Node, names: dict[str, Type], found: list[TypeFault]) -> Type:
    holder = _type(node.items[0], names, found)
    if not isinstance(holder, str):
        if node.value not in holder:
            found.append(TypeFault(node.position, f"there is no field `{node.value[:60]}`", node.value, tuple(holder)))
        kind: Type = holder.get(node.value, "any")
        return kind
    if holder == "map":
        return "text"
    if holder != "any":
        found.append(TypeFault(node.position, f"{_words(holder)} has no field `{node.value[:60]}`"))
    return "any"


def _expect_truth(node: Node, names: dict[str, Type], found: list[TypeFault]) -> None:
    kind = _type(node, names, found)
    if kind not in ("truth", "any"):
        found.append(TypeFault(node.position, f"this is {_words(kind)} where true or false is needed"))


def _binary_type(node: Node, names: dict[str, Type], found: list[TypeFault]) -> Type:
    if node.value in ("&&", "||"):
        for item in node.items:
            _expect_truth(item, names, found)
        return "truth"
    left, right = (_type(item, names, found) for item in node.items)
    if node.value == "in":
        if right in ("text", "number", "truth", "null", "time"):
            found.append(TypeFault(node.position, f"`in` looks into a list or a map, not into {_words(right)}"))
        elif right in ("texts", "map") and left not in ("text", "any"):
            found.append(TypeFault(node.position, f"`in` looks for {_words(left)} among texts, which never holds"))
        return "truth"
    if "any" not in (left, right) and left != right and {str(left), str(right)} != {"list", "texts"}:
        what = "never holds" if node.value == "==" else "always holds" if node.value == "!=" else "cannot be evaluated"
        found.append(TypeFault(node.position, f"compares {_words(left)} with {_words(right)}, which {what}"))
    return "truth"


def _call_type(node: Node, names: dict[str, Type], found: list[TypeFault]) -> Type:
    known = FUNCTIONS if node.kind == "call" else OF_VALUES
    if node.value not in known:
        found.append(TypeFault(node.position, f"there is no function `{node.value[:60]}`", node.value, known))
        return "any"
    if (
        node.value in ("map", "filter", "exists_one")
        and node.kind == "method"
        and len(node.items) > 1
        and node.items[1].kind == "name"
    ):
        _type(node.items[0], names, found)
        for item in node.items[2:]:
            _type(item, {**names, node.items[1].value: "any"}, found)
        return "truth" if node.value == "exists_one" else "list"
    kinds = [_type(item, names, found) for item in node.items]
    if node.kind == "method" and node.value in METHODS:
        for item, kind in zip(node.items, kinds, strict=True):
            if kind not in ("text", "any"):
                found.append(TypeFault(item.position, f"`{node.value}` is for text, not {_words(kind)}"))
        return "truth"
    if node.value == "matches":
        return "truth"
    if node.value in ("size", "int", "uint", "double") or node.value.startswith("get"):
        return "number"
    return {"string": "text", "bool": "truth", "timestamp": "time"}.get(node.value, "any")
