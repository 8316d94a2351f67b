"""Names for path parameters: what a developer would have called them."""

from __future__ import annotations

from collections.abc import Sequence
from re import compile as regex

_PART = regex(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_PLAIN = regex(r"v[0-9]+|api|rest|latest|beta|alpha|public|private|internal|external|by|in|of|for|with|and|to|from|at|on", 2)
_BY_KIND = {"date": "date", "date-time": "time", "email": "email", "ipv4": "address"}
_IRREGULAR = {
    "people": "person", "children": "child", "men": "man", "women": "woman", "data": "data", "media": "media", "news": "news",
    "series": "series", "status": "status", "analysis": "analysis", "analyses": "analysis", "indices": "index", "matrices": "matrix",
    "vertices": "vertex", "criteria": "criterion", "aliases": "alias", "statuses": "status", "movies": "movie", "cookies": "cookie",
    "dns": "dns", "address": "address", "business": "business", "axes": "axis", "lives": "life", "leaves": "leaf", "shelves": "shelf",
    "caches": "cache", "sms": "sms", "kubernetes": "kubernetes", "bus": "bus", "gas": "gas", "canvas": "canvas", "heroes": "hero",
}  # fmt: skip


def singular(word: str) -> str:
    """English singular of a lower-case noun, by rule; what is no plural stays as it is."""
    known = _IRREGULAR.get(word)
    if known:
        return known
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes")):
        return word[:-2]
    if word.endswith(("ss", "us", "is")) or not word.endswith("s") or len(word) < 4:
        return word
    return word[:-1]


def snake(text: str) -> str:
    """`checkoutKeys`, `checkout-keys` -> `checkout_keys`; only letters, digits and underscores are left."""
    return "_".join(part.lower() for part in _PART.findall(text))


def name_parameter(before: str | None, kind: str, taken: Sequence[str]) -> str:
    """A name for the parameter after the literal `before` (None: after nothing, or after another parameter), not in `taken`."""
    name = _BY_KIND.get(kind, "")
    words = snake(before).split("_") if before and not _PLAIN.fullmatch(before) else []
    words = [w for w in words if w]
    if words and words[0] in ("by", "get", "find", "with") and len(words) > 1:
        words = words[1:]
    if not name:
        if not words or words[0].isdigit():
            name = "id"
        elif words[-1] in (
            "id",
            "uuid",
            "name",
            "code",
            "key",
            "date",
            "slug",
            "number",
            "email",
            "version",
            "year",
            "month",
            "day",
        ):
            name = "_".join(words)
        else:
            name = "_".join([*words[:-1][-2:], singular(words[-1])]) + "_id"
    if name not in taken:
        return name
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"
