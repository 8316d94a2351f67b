"""Percent-decoding and `application/x-www-form-urlencoded` (WHATWG URL standard, section 5): the query and forms."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

REPLACEMENT = "\ufffd"


def unquote(text: str) -> str:
    """Percent-decoded once. Bytes that are no UTF-8 become U+FFFD; a `%` without two hex digits stays."""
    if "%" not in text:
        return text
    return unquote_to_bytes(text).decode("utf-8", "replace")


def pairs(raw: str, limit: int) -> tuple[tuple[tuple[str, str], ...], int, bool]:
    """`a=1&b=2` as pairs in order, duplicates kept, `+` as space, at most `limit` of them.

    `;` is an ordinary character, as in WHATWG and every current framework. Returns (pairs, characters left unread, whether
    bytes were no UTF-8).
    """
    parts = raw.split("&", limit)
    unread = len(parts.pop()) if len(parts) > limit else 0
    found, bad = [], False
    for part in parts:
        if not part:
            continue
        name, _, value = part.partition("=")
        if "+" in part:
            name, value = name.replace("+", " "), value.replace("+", " ")
        if "%" in part:
            name, value = unquote(name), unquote(value)
            bad = bad or ((REPLACEMENT in name or REPLACEMENT in value) and "%EF%BF%BD" not in part.upper())
        found.append((name, value))
    return tuple(found), unread, bad


def grouped(found: tuple[tuple[str, str], ...]) -> dict[str, str | list[str]]:
    """Name -> text, or the list of texts when the name comes more than once."""
    tree: dict[str, str | list[str]] = {}
    for name, value in found:
        if name not in tree:
            tree[name] = value
        elif isinstance(old := tree[name], list):
            old.append(value)
        else:
            tree[name] = [old, value]
    return tree
