"""Replaces sensitive values in a body and leaves every other value as it is."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from eastwall.discovery.data_values import MASKS, Search, decode_text, suspected
from eastwall.model.operation import Operation

STYLES = ("redact", "mask", "hash", "drop")
REDACTED = "[redacted]"
MAX_DEPTH = 256

_JSON = msgspec.json.Decoder(float_hook=lambda text: msgspec.Raw(text.encode()))
"""Keeps each float as its own text, so that `1.10` and `1e400` come out as they went in; integers are exact anyway."""


def redact(operation: Operation, classes: Collection[str], style: str, key: bytes) -> bytes | None:
    """The body with every value of `classes` replaced, None when there is none to replace.

    Styles: `redact` puts `[redacted]`, `mask` keeps the last four (an e-mail's domain, a secret's prefix), `hash` puts class and
    a keyed hash (equal values stay equal), `drop` removes the property or item that holds it. JSON stays valid JSON: members keep
    their order, numbers their text; white space goes, and of duplicate keys the last stays. A compressed body comes back plain.
    Raises `ValueError` for an unknown style.
    """
    if style not in STYLES:
        raise ValueError(f"unknown redaction style `{style}`; one of {', '.join(STYLES)}")
    wanted = set(classes).intersection(suspected(operation))
    if not wanted:
        return None
    edit = _Edit(Search(wanted), style, key)
    raw = operation.raw_body
    result: bytes
    if operation.body_kind == "form":
        pairs = parse_qsl(raw.decode("utf-8", "surrogateescape"), keep_blank_values=True, errors="surrogateescape")
        kept = [(name, new) for name, text in pairs if (new := edit.text(text, name)) is not None]
        result = urlencode(kept, errors="surrogateescape").encode()
    elif operation.body_kind == "json" and operation.body is not None:
        try:
            tree = _JSON.decode(raw)
        except (ValueError, RecursionError):
            tree = operation.body  # what a lenient reader made of it is what will be sent
        tree = edit.tree(tree, "", 0)
        result = msgspec.json.encode(tree)
    else:
        if operation.body_kind == "multipart" and isinstance(operation.body, dict):
            raw = edit.parts(raw, operation.body)
        result = (edit.text(decode_text(raw), "") or "").encode("utf-8", "surrogateescape")
    return result if edit.changed else None


class _Edit:
    """One redaction."""

    __slots__ = ("changed", "key", "search", "style")

    def __init__(self, search: Search, style: str, key: bytes) -> None:
        self.search = search
        self.style = style
        self.key = key
        self.changed = False

    def text(self, text: str, name: str) -> str | None:
        """The text with its values replaced; None to drop what holds it."""
        spans = self.search.spans(text, name)
        if not spans:
            return text
        self.changed = True
        if self.style == "drop" and name:
            return None
        parts, at = [], 0
        for start, end, data_class in spans:
            parts += [text[at:start], self.replacement(text[start:end], data_class)]
            at = end
        return "".join([*parts, text[at:]])

    def replacement(self, value: str, data_class: str) -> str:
        if self.style == "redact":
            return REDACTED
        if self.style == "mask":
            return MASKS[data_class](value)
        if self.style == "hash":
            digest = blake2b(f"{data_class}\0{value}".encode("utf-8", "surrogateescape"), digest_size=8, key=self.key).hexdigest()
            return f"{data_class}_{digest}"
        return ""

    def scalar(self, value: Any, name: str) -> Any:
        """The new value, `_GONE` to drop it. A number that holds a value becomes a text."""
        if type(value) is int:
            text = str(value) if 999_999 < value < 10**19 else ""
            new = self.text(text, name or "$")
            return value if new == text else _GONE if new is None else new
        if type(value) is str:
            new = self.text(value, name or "$")
            return _GONE if new is None else new
        return value

    def tree(self, node: Any, name: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            return node
        if type(node) is list:
            return [new for item in node if (new := self.tree(item, name, depth + 1)) is not _GONE]
        if type(node) is not dict:
            new = self.scalar(node, name)
            return None if new is _GONE and depth == 0 else new
        result: dict[str, Any] = {}
        for key, item in node.items():
            new = self.tree(item, key, depth + 1)
            if new is _GONE:
                continue
            label = key if key.isidentifier() else self.label(key, result)
            if label is not None:
                result[label] = new
        return result

    def label(self, key: str, taken: dict[str, Any]) -> str | None:
        """A map's key with its values replaced, told apart from those that look the same now."""
        new = self.text(key, "")
        if new is None or new == key:
            return new
        if self.style == "drop":
            return None
        label, count = new, 2
        while label in taken:
            label, count = f"{new}{count}", count + 1
        return label

    def parts(self, raw: bytes, body: dict[str, Any]) -> bytes:
        """Multipart: the values that only their names give away."""
        for name, value in body.items():
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and text and (new := self.text(text, name)) != text:
                    raw = raw.replace(text.encode(), (new or "").encode())
        return raw


_GONE = object()
