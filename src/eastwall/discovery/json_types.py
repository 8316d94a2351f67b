"""JSON Schema's types as Python has them and as people are told of them (JSON Schema 2020-12, validation, section 6.1.1)."""

from __future__ import annotations

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
}
NAMES: dict[type, str] = {
    str: "a string", int: "an integer", float: "a number", bool: "a boolean", type(None): "null", dict: "an object", list: "an array"
}  # fmt: skip
WORDS = {
    "string": "a string", "integer": "an integer", "number": "a number", "boolean": "a boolean", "null": "null", "object": "an object",
    "array": "an array",
}  # fmt: skip
