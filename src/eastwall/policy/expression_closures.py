"""Conditions as Python closures.

Why beside the `cel` package: it copies the whole context into its own values on each call (about 20 us where a closure takes
under one), and it neither tells unknown fields from known ones nor text from numbers before the first call. It stays the
reference: what is not in this subset goes to it, and a property test holds both to the same answers.

Semantics: the CEL language definition. No coercion; `&&` and `||` take either side's answer over the other's error; a missing key
is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from eastwall.policy.expression import METHODS, Node, UnsupportedError


class EvaluationError(ValueError):
    """No value: a missing key, or operands of the wrong type."""


class UnrecordedError(EvaluationError):
    """There was a value, or may have been, and the record of the call does not hold it: the condition cannot be judged."""

    def __init__(self, message: str, condition: str = "") -> None:
        """`condition`: text of the condition that reads it; empty: none does."""
        super().__init__(message)
        self.condition = condition


Evaluate = Callable[[Any], Any]
"""From the environment (what `bind` made getters of) to a value. Raises `EvaluationError`."""


def compile_node(node: Node, bind: Callable[[tuple[str, ...]], Evaluate | None]) -> Evaluate:
    """A closure for an expression of the subset; raises `UnsupportedError` otherwise.

    `bind` gives the getter for a variable or a dotted path into one (`("identity", "sub")`), or None if there is none.
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
            # What is not known may have been the deciding side; a fault may not.
            fault = fault if isinstance(fault, UnrecordedError) else error
    if fault is not None:
        try:
            raise fault
        finally:
            del fault  # or its traceback would hold this frame, and this frame it: garbage that only the search for cycles frees
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
        if isinstance(value, int):
            return False  # a key in CEL's eyes, but JSON has none but texts
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
