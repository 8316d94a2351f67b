"""The part of CEL that conditions are made of: text to tree. https://github.com/google/cel-spec

Why beside the `cel` package: see `expression_closures`, `expression_types`.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

MAX_NESTING = 40


class UnsupportedError(ValueError):
    """Not in the subset (it may be CEL all the same)."""


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
# fmt: off
RESERVED = frozenset((
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace",
    "return", "var", "void", "while",
))
# fmt: on


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
            kind = self.tokens[self.at][0]
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
