"""Values of an answer that are worth a closer look: one pass over the body says that there are none, as nearly always."""

from __future__ import annotations

from re import compile as regex
from typing import Any

MAX_VALUES = 20_000
"""Values of one answer that are looked at, where its body holds a mark at all."""
MAX_FOUND = 32
MAX_TEXT = 4_096
"""Characters of a value that are handed on."""
_HINTS = {
    "markup": r"<\s*(?:script|img|svg|iframe|object|embed|link|meta|body|math|base|form|input|video|audio|style|a)\b|javascript:|\bon[a-z]{4,20}\s*=",
    "sql": r"\b(?:union|select|insert|update|delete|drop|alter|exec|sleep|benchmark|waitfor|pg_sleep)\b|'\s*(?:or|and)\b|'\s*;|--\s*$",
    "template": r"\{\{|\$\{|<%|#\{|\{%",
    "command": r"\$\(|`|[;|&]\s*(?:cat|curl|wget|nc|bash|sh|id|whoami|rm|ping|powershell|cmd)\b|/bin/",
    "url": r"^(?:gopher|file|dict|ldaps?|jar|phar|ftp)://|^https?://(?:\[|localhost|127\.|10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|169\.254\.|0x|\d{8,10}\b|metadata)",
    "prompt": r"\b(?:ignore|disregard|forget)\b.{0,40}\b(?:previous|prior|above|earlier|all)\b.{0,40}\b(?:instructions?|prompts?|rules)\b|\bsystem prompt\b|<\|im_start\|>|\[INST\]|\byou are now\b.{0,60}\b(?:assistant|mode|agent|dan)\b",
}
_EACH = tuple((name, regex(f"(?im){pattern}")) for name, pattern in _HINTS.items())
_ANY = regex("(?im)" + "|".join(_HINTS.values()).replace("^", r"(?:^|\")"))


def suspicious(body: Any, raw: bytes) -> list[tuple[str, str, str]]:
    """(place, value, hint) of the strings of a JSON answer that bear a mark."""
    if type(body) is not dict and type(body) is not list:
        return []
    text = raw[: 1 << 20].decode("utf-8", "replace")
    # Escapes may hide a mark from the pass over the bytes.
    if "\\" not in text and _ANY.search(text) is None:
        return []
    found: list[tuple[str, str, str]] = []
    stack: list[tuple[str, Any]] = [("body", body)]
    left = MAX_VALUES
    while stack and left > 0 and len(found) < MAX_FOUND:
        place, node = stack.pop()
        left -= 1
        if type(node) is dict:
            stack += [(f"{place}.{key}"[-200:], value) for key, value in list(node.items())[:left]]
        elif type(node) is list:
            stack += [(f"{place}[]"[-200:], value) for value in node[:left]]
        elif type(node) is str and len(node) > 2:
            short = node[:MAX_TEXT]
            found += [(place, short, name) for name, pattern in _EACH if pattern.search(short)]
    return found[:MAX_FOUND]
