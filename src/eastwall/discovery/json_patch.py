"""Which properties a JSON Patch sets (RFC 6902): `[{"op": "replace", "path": "/user/role", "value": "admin"}]` sets `user.role`."""

from __future__ import annotations

from typing import Any

MAX_STEPS = 64
"""Operations of one patch that are read."""
MAX_DEPTH = 12
MAX_NAME = 64
_SETS = frozenset({"add", "replace", "copy", "move"})


def patched(body: Any) -> tuple[str, ...]:
    """Places of the properties that a body sets as a patch, in the form of `shapes.properties`; empty when it is none."""
    found: dict[str, None] = {}
    for step in body[:MAX_STEPS] if type(body) is list else ():
        if type(step) is not dict:
            return ()
        kind, path = step.get("op"), step.get("path")
        if type(kind) is not str or type(path) is not str:
            return ()
        if kind not in _SETS or path[:1] != "/":
            continue
        place = _place(path)
        value = step.get("value")
        if place:
            found[place] = None
        if type(value) is dict:
            prefix = f"{place}." if place else ""
            found.update(dict.fromkeys([f"{prefix}{name[:MAX_NAME]}" for name in list(value)[:MAX_STEPS]]))
    return tuple(found)


def _place(path: str) -> str:
    """A JSON Pointer (RFC 6901) as a place: entries of arrays are `[]`."""
    place = ""
    for token in path[1:].split("/", MAX_DEPTH)[:MAX_DEPTH]:
        name = token[:MAX_NAME].replace("~1", "/").replace("~0", "~")
        if name == "-" or (name.isascii() and name.isdecimal()):
            place += "[]"
        elif name:
            place += f".{name}" if place else name
    return place
