"""The part of CEL that conditions are made of, compiled to Python closures, and its static check.

Why beside the `cel` package: it copies the whole context into its own values on each call (20 us for the caller's identity alone,
where a closure takes under one), and it neither tells unknown fields from known ones nor text from numbers before the first call. It stays
the reference: what is not in this subset goes to it, and a property test holds both to the same answers.

Semantics: https://github.com/google/cel-spec/blob/master/doc/langdef.md - no coercion; `&&` and `||` take either side's answer over
the other's error; a missing key is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

MAX_NESTING = 40


class UnsupportedError(ValueError):
    """Not in the subset (it may be CEL all the same)."""


class EvaluationError(ValueError):
    """No value: a missing key, or operands of the wrong type."""


class TypeFault(NamedTuple):
    """What is wrong with an expression before any call."""

    position: int
    """Characters from the start of the expression, from 0."""
    message: str
    word: str = ""
    """The unknown name, if that is what is wrong."""
    known: tuple[str, ...] = ()
    """Names that would do."""


class Node(NamedTuple):
    """`kind`: literal, name, field, index, call, method, list, not, neg, binary (operator in `value`), if, has, all, exists."""

    kind: str
    value: Any
    items: tuple[Any, ...]
    position: int


TOKEN = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*)+)
    |(?P<float>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?)
    |(?P<int>0x[0-9a-fA-F]+|[0-9]+)(?![.0-9a-zA-Z_])
    |(?P<string>r?"[^"\\\n]*"|r?'[^'\\\n]*')(?!["'])
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?!["'])
    |(?P<op>\|\||&&|==|!=|<=|>=|[<>!()\[\],.?:-])""",
    re.VERBOSE,
)
PRECEDENCE = {"||": 1, "&&": 2, "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "in": 3}
METHODS = ("startsWith", "endsWith", "contains")
MACROS = ("all", "exists")
RESERVED = frozenset(
    "as break const continue else for function if import let loop package namespace return var void while".split()
)


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text):
            found = TOKEN.match(text, at)
            if found is None:
                raise UnsupportedError(f"at character {at + 1}")
            if found.lastgroup != "space":
                self.tokens.append((str(found.lastgroup), found[0], at))
            at = found.end()
        self.tokens.append(("end", "", len(text)))
        self.at = 0
        self.nesting = 0

    def peek(self, *texts: str) -> bool:
        kind, text, _ = self.tokens[self.at]
        return kind in ("op", "name") and text in texts

    def take(self, *texts: str) -> str:
        if texts and not self.peek(*texts):
            raise UnsupportedError(f"at character {self.tokens[self.at][2] + 1}")
        self.at += 1
        return self.tokens[self.at - 1][1]

    def whole(self) -> Node:
        node = self.expression()
        if self.tokens[self.at][0] != "end":
            raise UnsupportedError(f"at character {self.tokens[self.at][2] + 1}")
        return node

    def expression(self) -> Node:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise UnsupportedError("nested too deeply")
        start = self.tokens[self.at][2]
        node = self.binary(1)
        if self.peek("?"):
            self.take()
            yes = self.binary(1)
            self.take(":")
            node = Node("if", None, (node, yes, self.expression()), start)
        self.nesting -= 1
        return node

    def binary(self, least: int) -> Node:
        node = self.unary()
        while True:
            kind, text, position = self.tokens[self.at]
            rank = PRECEDENCE.get(text, 0) if kind in ("op", "name") else 0
            if rank < least:
                return node
            self.take()
            node = Node("binary", text, (node, self.binary(rank + 1)), position)

    def unary(self) -> Node:
        position = self.tokens[self.at][2]
        if self.peek("!"):
            self.take()
            self.nesting += 1
            if self.nesting > MAX_NESTING:
                raise UnsupportedError("nested too deeply")
            node = Node("not", None, (self.unary(),), position)
            self.nesting -= 1
            return node
        if self.peek("-"):
            self.take()
            kind, text, _ = self.tokens[self.at]
            if kind not in ("int", "float"):
                raise UnsupportedError("`-` before something else than a number")
            return self.member(Node("literal", -_number(kind, self.take()), (), position))
        return self.member(self.primary())

    def primary(self) -> Node:
        kind, text, position = self.tokens[self.at]
        self.take()
        if kind in ("int", "float"):
            return Node("literal", _number(kind, text), (), position)
        if kind == "string":
            return Node("literal", text.lstrip("r")[1:-1], (), position)
        if kind == "name":
            if text in ("true", "false", "null"):
                return Node("literal", {"true": True, "false": False, "null": None}[text], (), position)
            if text in RESERVED or text == "in":
                raise UnsupportedError(f"`{text}` is reserved")
            if not self.peek("("):
                return Node("name", text, (), position)
            arguments = self.arguments()
            if text == "has" and len(arguments) == 1 and arguments[0].kind == "field":
                return Node("has", None, arguments, position)
            return Node("call", text, arguments, position)
        if text == "(":
            node = self.expression()
            self.take(")")
            return node
        if text == "[":
            items: list[Node] = []
            while not self.peek("]"):
                items.append(self.expression())
                if not self.peek("]"):
                    self.take(",")
            self.take("]")
            return Node("list", None, tuple(items), position)
        raise UnsupportedError(f"at character {position + 1}")

    def arguments(self) -> tuple[Node, ...]:
        self.take("(")
        items: list[Node] = []
        while not self.peek(")"):
            items.append(self.expression())
            if not self.peek(")"):
                self.take(",")
        self.take(")")
        return tuple(items)

    def member(self, node: Node) -> Node:
        while True:
            position = self.tokens[self.at][2]
            if self.peek("["):
                self.take()
                node = Node("index", None, (node, self.expression()), position)
                self.take("]")
            elif self.peek("."):
                self.take()
                kind, name, position = self.tokens[self.at]
                if kind != "name":
                    raise UnsupportedError(f"at character {position + 1}")
                self.take()
                if not self.peek("("):
                    node = Node("field", name, (node,), position)
                    continue
                arguments = self.arguments()
                macro = name in MACROS and len(arguments) == 2 and arguments[0].kind == "name"
                node = Node(name if macro else "method", name, (node, *arguments), position)
            else:
                return node


def _number(kind: str, text: str) -> int | float:
    value = float(text) if kind == "float" else int(text, 0 if text.startswith("0x") else 10)
    if isinstance(value, int) and value >= 1 << 63:
        raise UnsupportedError("a number over 64 bits")
    return value


def parse(text: str) -> Node:
    """Raises `UnsupportedError` on what is not in the subset."""
    return _Parser(text).whole()


# -- static check -----------------------------------------------------------------------------------------------------

Type = str | Mapping[str, Any]
"""`text`, `number`, `truth`, `time`, `list`, `texts` (a list of text), `any`, `null`, `map` (of text); or a record: field -> type."""
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


def faults(node: Node, variables: Mapping[str, Type]) -> list[TypeFault]:
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


# -- closures -------------------------------------------------------------------------------------------------------

Evaluate = Callable[[Any], Any]
"""From the environment (what `bind` made getters of) to a value. Raises `EvaluationError`."""


def compile_node(node: Node, bind: Callable[[tuple[str, ...]], Evaluate | None]) -> Evaluate:
    """A closure for an expression of the subset; raises `UnsupportedError` otherwise.

    `bind` gives the getter for a variable or a dotted path into one (`("identity", "sub")`), or None when there is no such getter.
    """
    chain = _chain(node)
    if chain is not None and (getter := bind(chain)) is not None:
        return getter
    match node.kind:
        case "literal":
            value = node.value
            return lambda env: value
        case "field" | "index":
            holder = compile_node(node.items[0], bind)
            key = _constant(node.value) if node.kind == "field" else compile_node(node.items[1], bind)
            only_map = node.kind == "field"
            return lambda env: _item(holder(env), key(env), only_map=only_map)
        case "list":
            items = tuple(compile_node(item, bind) for item in node.items)
            if all(item.kind == "literal" for item in node.items):
                values = [item.value for item in node.items]
                return lambda env: values
            return lambda env: [item(env) for item in items]
        case "not":
            inner = compile_node(node.items[0], bind)
            return lambda env: not _truth(inner(env))
        case "if":
            test, yes, no = (compile_node(item, bind) for item in node.items)
            return lambda env: yes(env) if _truth(test(env)) else no(env)
        case "has":
            field = node.items[0]
            holder, name = compile_node(field.items[0], bind), field.value
            return lambda env: name in _map(holder(env))
        case "binary":
            left, right = (compile_node(item, bind) for item in node.items)
            return _operator(node.value, left, right)
        case "method" if node.value in METHODS and len(node.items) == 2:
            text, part = (compile_node(item, bind) for item in node.items)
            test_text = _TEXT_TESTS[node.value]
            return lambda env: test_text(_text(text(env)), _text(part(env)))
        case _:
            raise UnsupportedError(f"`{node.value or node.kind}`")


def _chain(node: Node) -> tuple[str, ...] | None:
    """`identity.claims.team` and `request.headers["x-a"]` as names."""
    if node.kind == "name":
        return (node.value,)
    if node.kind == "field" or (
        node.kind == "index" and node.items[1].kind == "literal" and isinstance(node.items[1].value, str)
    ):
        holder = _chain(node.items[0])
        return None if holder is None else (*holder, node.value if node.kind == "field" else node.items[1].value)
    return None


def _constant(value: Any) -> Evaluate:
    return lambda env: value


def _operator(operator: str, left: Evaluate, right: Evaluate) -> Evaluate:
    if operator == "&&":
        return lambda env: _either(left, right, env, deciding=False)
    if operator == "||":
        return lambda env: _either(left, right, env, deciding=True)
    if operator == "==":
        return lambda env: equal(left(env), right(env))
    if operator == "!=":
        return lambda env: not equal(left(env), right(env))
    if operator == "in":
        return lambda env: _among(left(env), right(env))
    order = _ORDER[operator]
    return lambda env: order(*_comparable(left(env), right(env)))


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": lambda text, part: part in text,
}


def _either(left: Evaluate, right: Evaluate, env: Any, *, deciding: bool) -> bool:
    """`||` (deciding True) and `&&` (deciding False): either side's deciding answer holds, whatever the other does."""
    fault: EvaluationError | None = None
    for side in (left, right):
        try:
            if _truth(side(env)) is deciding:
                return deciding
        except EvaluationError as error:
            fault = error
    if fault is not None:
        raise fault
    return not deciding


def _truth(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise EvaluationError(f"{_kind(value)} where true or false is needed")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise EvaluationError(f"{_kind(value)} where text is needed")


def _map(value: Any) -> dict[Any, Any]:
    if isinstance(value, dict):
        return value
    raise EvaluationError(f"{_kind(value)} has no fields")


def _kind(value: Any) -> str:
    kinds = {
        bool: "true or false",
        str: "text",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "a map",
        type(None): "null",
    }
    return kinds.get(type(value), "a value")


def _item(holder: Any, key: Any, *, only_map: bool) -> Any:
    if isinstance(holder, dict):
        if isinstance(key, str) and key in holder:
            return holder[key]
        raise EvaluationError(f"no such key: `{str(key)[:60]}`")
    if isinstance(holder, list) and not only_map and type(key) is int:
        if 0 <= key < len(holder):
            return holder[key]
        raise EvaluationError(f"no item {key} in a list of {len(holder)}")
    raise EvaluationError(f"{_kind(holder)} has no `{str(key)[:60]}`")


def equal(left: Any, right: Any) -> bool:
    """Values of different types are not equal, but numbers are compared as numbers."""
    if type(left) is type(right) and not isinstance(left, list | dict):
        return bool(left == right)
    if isinstance(left, bool) or isinstance(right, bool):
        return False
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left == right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(value, right[key]) for key, value in left.items())
    return False


def _among(value: Any, holder: Any) -> bool:
    if isinstance(holder, dict):
        if isinstance(value, str):
            return value in holder
        raise EvaluationError(f"{_kind(value)} cannot be a key")
    if isinstance(holder, list):
        return any(equal(value, item) for item in holder)
    raise EvaluationError(f"`in` cannot look into {_kind(holder)}")


def _comparable(left: Any, right: Any) -> tuple[Any, Any]:
    same = type(left) is type(right) and isinstance(left, str | bool | datetime)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (left, right))
    if same or numbers:
        return left, right
    raise EvaluationError(f"{_kind(left)} cannot be ordered with {_kind(right)}")
