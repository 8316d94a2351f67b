"""What is known of a condition before any call: unknown names, comparisons that can never hold, a result that is no truth value.

The `cel` package has no type checker; an author would learn of `path.user_di` from the first call that is blocked by it. What the
text alone does not say, an endpoint may: `Place` is what is known of one of its parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from eastwall.policy.expression import MACROS, METHODS, Node
from eastwall.policy.wording import shown


class TypeFault(NamedTuple):
    """What is wrong with an expression before any call."""

    position: int
    """Characters from the start of the expression, from 0."""
    message: str
    word: str = ""
    """The unknown name, if that is what is wrong."""
    known: tuple[str, ...] = ()
    """Names that would do."""
    hint: str = ""
    """How to mend it."""
    place: str = ""
    """What is known of an endpoint and makes this a fault: `query.limit`. Empty: the text alone does."""
    samples: int = 0
    """Samples of that place that it was learned from; 0: it is declared, or follows from the text."""
    missing: bool = False
    """The place is not there."""


class Place(NamedTuple):
    """What is known of a value in the calls of one endpoint."""

    name: str
    """`query`, `path.user_id`, `body.items[].price`."""
    kind: str
    """`text`, `number`, `truth`, `list`, `map` (of text), `record` (of anything), `any`."""
    samples: int = 0
    """What this was learned from; 0: it is declared."""
    fields: Mapping[str, Any] = {}
    """Of a map or record: name -> Place."""
    open: bool = True
    """It may have other fields."""
    item: Any = None
    """Of a list: the Place of what is in it, or None."""
    words: tuple[str, ...] = ()
    """The only texts that it is ever; empty: not known."""
    form: str = ""
    """What the text is made of, one of `FORMS`; empty: not known."""


FORMS = {
    "integer": re.compile(r"[+-]?[0-9]+"),
    "uuid": re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    "hex": re.compile(r"[0-9a-fA-F]+"),
    "ulid": re.compile(r"[0-9A-Za-z]{26}"),
    "date": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
}
"""How texts of these forms look."""
NUMBERS = ("int", "uint", "double")
MAX_TOLD = 8
"""Words that a message lists."""

Type = str | Mapping[str, Any] | Place
"""`text`, `number`, `truth`, `time`, `null`, `list`, `texts` (a list of text), `map` (of text), `any`; a record: its fields; a Place."""
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
    result = _plain(_type(node, dict(variables), found))
    if result not in ("truth", "any"):
        found.append(TypeFault(node.position, f"gives {_words(result)}, not true or false"))
    return found


def _plain(kind: Type) -> str | Mapping[str, Any]:
    return kind.kind if isinstance(kind, Place) else kind


def _place(*kinds: Type) -> Place:
    """The first Place of these; without one, one that says nothing."""
    return next((kind for kind in kinds if isinstance(kind, Place)), Place("", "any"))


def _words(kind: Type) -> str:
    kind = _plain(kind)
    words = {
        "text": "text",
        "number": "a number",
        "truth": "true or false",
        "time": "a time",
        "null": "null",
        "texts": "a list",
        "list": "a list",
        "record": "a record",
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
            holder, key = _type(node.items[0], names, found), node.items[1]
            if isinstance(holder, Place):
                if key.kind == "literal" and isinstance(key.value, str):
                    return _field_of(holder, key.value, node.position, found)
                _type(key, names, found)
                return holder.item or "any" if holder.kind == "list" else "text" if holder.kind == "map" else "any"
            _type(key, names, found)
            return "text" if holder in ("texts", "map") else "any"
        case "binary":
            return _binary_type(node, names, found)
        case "not":
            _expect_truth(node.items[0], names, found)
            return "truth"
        case "if":
            _expect_truth(node.items[0], names, found)
            yes, no = (_plain(_type(item, names, found)) for item in node.items[1:])
            return yes if yes == no else "any"
        case "has":
            field = node.items[0]
            holder = _type(field.items[0], names, found)
            if not isinstance(holder, str):
                _field_type(field, names, found)
            return "truth"
        case "all" | "exists":
            holder = _type(node.items[0], names, found)
            item = holder.item or "any" if isinstance(holder, Place) and holder.kind == "list" else "any"
            inner = {**names, node.items[1].value: "text" if _plain(holder) in ("texts", "map") else item}
            _expect_truth(node.items[2], inner, found)
            return "truth"
        case "list":
            kinds = {str(_plain(_type(item, names, found))) for item in node.items}
            return "texts" if kinds == {"text"} else "list"
        case _:
            return _call_type(node, names, found)


def _field_type(node: Node, names: dict[str, Type], found: list[TypeFault]) -> Type:
    holder = _type(node.items[0], names, found)
    if isinstance(holder, Place):
        return _field_of(holder, node.value, node.position, found)
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


def _field_of(holder: Place, name: str, position: int, found: list[TypeFault]) -> Type:
    if holder.kind in ("map", "record"):
        if name not in holder.fields and not holder.open:
            place, known = f"{holder.name}.{name}", tuple(holder.fields)
            message = f"there is no {shown(place)}"
            found.append(TypeFault(position, message, name, known, place=place, samples=holder.samples, missing=True))
        kind: Type = holder.fields.get(name, "text" if holder.kind == "map" and holder.open else "any")
        return kind
    if holder.kind != "any":
        message = f"{shown(holder.name)} is {_words(holder)}, it has no field {shown(name)}"
        found.append(TypeFault(position, message, place=holder.name, samples=holder.samples))
    return "any"


def _expect_truth(node: Node, names: dict[str, Type], found: list[TypeFault]) -> None:
    kind = _type(node, names, found)
    if _plain(kind) not in ("truth", "any"):
        message, about = f"this is {_words(kind)} where true or false is needed", _place(kind)
        found.append(TypeFault(node.position, message, place=about.name, samples=about.samples))


_NEVER = {"==": "never holds", "!=": "always holds"}


def _binary_type(node: Node, names: dict[str, Type], found: list[TypeFault]) -> Type:
    if node.value in ("&&", "||"):
        for item in node.items:
            _expect_truth(item, names, found)
        return "truth"
    left, right = (_type(item, names, found) for item in node.items)
    about = _place(left, right)
    if node.value == "in":
        holder, sought = _plain(right), _plain(left)
        if holder in ("text", "number", "truth", "null", "time"):
            message = f"`in` looks into a list or a map, not into {_words(right)}"
            found.append(TypeFault(node.position, message, place=about.name, samples=about.samples))
        elif holder in ("texts", "map") and sought not in ("text", "any"):
            message = f"`in` looks for {_words(left)} among texts, which never holds"
            found.append(TypeFault(node.position, message, place=about.name, samples=about.samples))
        elif isinstance(left, Place) and node.items[1].kind == "list":
            for item in node.items[1].items:
                _never_so(left, item, "never holds", found)
        elif isinstance(right, Place) and isinstance(right.item, Place):
            _never_so(right.item, node.items[0], "never holds", found)
        return "truth"
    one, other = _plain(left), _plain(right)
    if "any" not in (one, other) and one != other and {str(one), str(other)} != {"list", "texts"}:
        what = _NEVER.get(node.value, "cannot be evaluated")
        who = f", for {shown(about.name)} is {_words(about)}" if about.name else ""
        message = f"compares {_words(left)} with {_words(right)}, which {what}{who}"
        hint = _as_number(node, one, other)
        found.append(TypeFault(node.position, message, hint=hint, place=about.name, samples=about.samples))
    elif node.value in _NEVER:
        for side, item in ((left, node.items[1]), (right, node.items[0])):
            if isinstance(side, Place):
                _never_so(side, item, _NEVER[node.value], found)
    return "truth"


def _as_number(node: Node, left: Any, right: Any) -> str:
    """How to compare a parameter with a number: all of them are texts."""
    if {str(left), str(right)} != {"text", "number"}:
        return ""
    text, number = node.items if left == "text" else node.items[::-1]
    chain = [text.value] if text.kind == "field" else []
    holder = text.items[0] if chain else text
    if not chain or holder.kind != "name" or number.kind != "literal":
        return ""
    if node.value in _NEVER:
        return f'write `"{number.value}"`'
    function = "int" if isinstance(number.value, int) else "double"
    return f"write `{function}({holder.value}.{chain[0]})`"


def _never_so(place: Place, literal: Node, what: str, found: list[TypeFault]) -> None:
    """A text that a place never is, by its words or its form."""
    text = literal.value
    if literal.kind != "literal" or not isinstance(text, str) or place.kind not in ("text", "any"):
        return
    if place.words and text not in place.words:
        some = ", ".join(map(shown, place.words[:MAX_TOLD])) + (", ..." if len(place.words) > MAX_TOLD else "")
        message = f"{shown(place.name)} is never {shown(text)} but one of {some}, so this {what}"
        known = place.words if len(place.words) > MAX_TOLD else ()
        found.append(TypeFault(literal.position, message, text, known or place.words, "", place.name, place.samples))
    elif place.form in FORMS and FORMS[place.form].fullmatch(text) is None:
        message = f"{shown(place.name)} is of the form {place.form}, and never {shown(text)}, so this {what}"
        found.append(TypeFault(literal.position, message, place=place.name, samples=place.samples))


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
            if _plain(kind) not in ("text", "any"):
                message, about = f"`{node.value}` is for text, not {_words(kind)}", _place(kind)
                found.append(TypeFault(item.position, message, place=about.name, samples=about.samples))
        return "truth"
    if node.value in NUMBERS and kinds and isinstance(kinds[0], Place) and _is_no_number(kinds[0]):
        about, what = kinds[0], f"of the form {kinds[0].form}" if kinds[0].form else "a word and no number"
        message = f"{shown(about.name)} is {what}, so `{node.value}` of it cannot be evaluated"
        found.append(TypeFault(node.position, message, place=about.name, samples=about.samples))
    if node.value == "matches":
        return "truth"
    if node.value in ("size", "int", "uint", "double") or node.value.startswith("get"):
        return "number"
    return {"string": "text", "bool": "truth", "timestamp": "time"}.get(node.value, "any")


def _is_no_number(place: Place) -> bool:
    if place.words:
        return not any(re.fullmatch(r"[+-]?[0-9.]+", word) for word in place.words)
    return place.form in ("uuid", "date")
