"""Replaces sensitive values in a body and leaves every other value as it is."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b
from re import compile as regex
from re import escape as regex_escape
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.sax.saxutils import escape

import msgspec

from eastwall.discovery.data_entries import NAMELESS, Entry
from eastwall.discovery.data_names import people
from eastwall.discovery.data_rows import edit_json_lines, edit_table, json_lines, table_of
from eastwall.discovery.data_tokens import tokens_of
from eastwall.discovery.data_values import BUILTIN, DataClasses, Search, decode_text
from eastwall.discovery.stand_ins import stand_in
from eastwall.model.operation import Operation
from eastwall.protocols.protobuf_edit import rewritten

STYLES = ("redact", "mask", "format", "hash", "tokenise", "truncate", "drop")
REDACTED = "[redacted]"
MAX_DEPTH = 256
_NUMBER = regex(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_TEXTUAL = ("json", "xml", "multipart", "text")

_JSON = msgspec.json.Decoder(float_hook=lambda text: msgspec.Raw(text.encode()))
"""Keeps each float as its own text, so that `1.10` and `1e400` come out as they went in; integers are exact anyway."""


def redact(
    operation: Operation, classes: Collection[str], style: str, key: bytes, known: DataClasses = BUILTIN, keep: int = 0
) -> bytes | None:
    """The body with every value of `classes` replaced, None when there is none to replace.

    Styles: `redact` puts `[redacted]`, `mask` keeps the last four (an e-mail's domain, a secret's prefix), `format` puts a value of the
    same length and form (`stand_ins`; JSON numbers stay numbers), `hash` class and a keyed hash (equal values stay equal), `tokenise` a text that
    can be turned back (`data_tokens`; a value that is one already stays), `truncate` keeps the first `keep` characters, `drop` removes the property or item that holds it. JSON stays valid JSON: members keep
    their order, numbers their text; white space goes, and of duplicate keys the last stays. A compressed body comes back plain. Of a protobuf message texts and
    integers are replaced in place (an integer by 0 where no number becomes of it; a dropped one is empty).
    `known` is what the snapshot compiled, with the user's own classes. Raises `ValueError` for an unknown style.
    """
    if style not in STYLES:
        raise ValueError(f"unknown redaction style `{style}`; one of {', '.join(STYLES)}")
    suspects = known.suspected(operation)
    inside = "person" if people(operation.segments) else ""
    if inside:
        suspects |= {"person-name"}
    wanted = suspects.intersection(classes)
    if not wanted:
        return None
    edit = _Edit(known.search(suspects), wanted, style, key, keep)
    raw = operation.raw_body
    result: bytes
    if operation.body_kind == "form":
        pairs = parse_qsl(raw.decode("utf-8", "surrogateescape"), keep_blank_values=True, errors="surrogateescape")
        entries = {name: edit.search.entry(name) for name, _ in pairs}
        kept = [(name, new) for name, text in pairs if (new := edit.text(text, entries[name])) is not None]
        result = urlencode(kept, errors="surrogateescape").encode()
    elif operation.body_kind == "json" and operation.body is not None:
        try:
            tree = _JSON.decode(raw)
        except (ValueError, RecursionError):
            tree = operation.body  # what a lenient reader made of it is what will be sent
        result = msgspec.json.encode(edit.tree(tree, NAMELESS, inside, 0))
    elif operation.body_kind == "protobuf":
        edit.tree(operation.body, NAMELESS, inside, 0)
        return rewritten(raw, edit.texts, edit.numbers)
    elif operation.body_kind not in _TEXTUAL:
        return None
    else:
        if isinstance(operation.body, dict):
            raw = edit.parts(raw, operation.body, multipart=operation.body_kind == "multipart")
        result = edit.document(decode_text(raw)).encode("utf-8", "surrogateescape")
        if result == operation.raw_body:
            return None  # a value that was written in another way (`&#65;`) than it reads
    if edit.kept and not edit.changed:
        return operation.raw_body  # nothing but tokens, which stay: nothing is left to replace
    return result if edit.changed else None


def amounts(operation: Operation, classes: Collection[str], known: DataClasses = BUILTIN) -> tuple[tuple[str, int], ...]:
    """(class, its values in the body), of `classes`: as many as `redact` would replace. Sorted; those that are not there are left out."""
    suspects = known.suspected(operation)
    inside = "person" if people(operation.segments) else ""
    if inside:
        suspects |= {"person-name"}
    wanted = suspects.intersection(classes)
    if not wanted:
        return ()
    tally = _Tally(known.search(suspects), wanted)
    if operation.body_kind != "text" and isinstance(operation.body, dict | list):
        tally.tree(operation.body, NAMELESS, inside, 0)
    elif operation.body_kind in _TEXTUAL:
        tally.document(decode_text(operation.raw_body))
    return tuple(sorted(tally.counts.items()))


class _Edit:
    """One redaction."""

    __slots__ = ("changed", "keep", "kept", "key", "numbers", "search", "style", "texts", "tokens", "wanted")

    def __init__(self, search: Search, wanted: Collection[str], style: str, key: bytes, keep: int = 0) -> None:
        self.search = search
        self.wanted = wanted
        self.style = style
        self.key = key
        self.keep = keep
        self.tokens = tokens_of(key) if style == "tokenise" else None
        self.changed = False
        self.kept = 0
        """Values that are tokens already."""
        self.texts: dict[bytes, bytes] = {}
        """Whole texts that were changed, and what became of them: for messages that are written anew by their values."""
        self.numbers: dict[int, int] = {}
        """The same of integers, as protobuf writes them; 0 where no number became of one."""

    def text(self, text: str, entry: Entry) -> str | None:
        """The text with its values replaced; None to drop what holds it."""
        spans = [span for span in self.search.spans(text, entry) if span.data_class in self.wanted]
        if spans and self.tokens is not None and (whole := self.tokens.spans(text)):
            # What is found in a token is no value: sealed text may look like a key.
            found, spans = spans, [span for span in spans if not any(a <= span.start and span.end <= b for a, b in whole)]
            self.kept += len(found) - len(spans)
        if not spans:
            return text
        self.changed = True
        if self.style == "drop" and entry.key:
            self.texts[text.encode("utf-8", "surrogateescape")] = b""
            return None
        parts, at = [], 0
        for start, end, data_class, _, _ in spans:
            parts += [text[at:start], self.replacement(text[start:end], data_class)]
            at = end
        new = "".join([*parts, text[at:]])
        if self.style == "redact":
            # What is left of an address without its e-mail is an address yet: of two classes at one place only the surer was found.
            left = [span for span in self.search.spans(new, entry) if span.data_class in self.wanted]
            new = REDACTED if left or new.strip() == REDACTED else new
        self.texts[text.encode("utf-8", "surrogateescape")] = new.encode("utf-8", "surrogateescape")
        return new

    def document(self, text: str) -> str:
        """Text that is no tree: records are changed by column or field, all else as one text."""
        if json_lines(text):
            return edit_json_lines(text, self.line)
        table = table_of(text)
        if table is None:
            return self.text(text, NAMELESS) or ""
        plan = self.search.plan("[]", "", table.names)
        width = len(plan)
        return edit_table(text, table, lambda at, cell: self.text(cell, plan[at] if at < width else NAMELESS) or "")

    def line(self, text: str) -> str:
        """One line of JSON."""
        try:
            tree = _JSON.decode(text)
        except (ValueError, RecursionError):
            return self.text(text, NAMELESS) or ""
        new = self.tree(tree, _ITEM, "", 0)
        return text if new == tree else msgspec.json.encode(new).decode("utf-8", "surrogateescape")

    def replacement(self, value: str, data_class: str) -> str:
        if self.style == "redact":
            return REDACTED
        if self.style == "mask":
            return self.search.classes.mask(data_class, value)
        if self.style == "format":
            return stand_in(value, data_class, self.key)
        if self.tokens is not None:
            return self.tokens.make(value, data_class) or REDACTED
        if self.style == "truncate":
            return value[: self.keep]
        if self.style == "hash":
            digest = blake2b(f"{data_class}\0{value}".encode("utf-8", "surrogateescape"), digest_size=8, key=self.key).hexdigest()
            return f"{data_class}_{digest}"
        return ""

    def scalar(self, value: Any, entry: Entry) -> Any:
        """The new value, `_GONE` to drop it. A number that holds a value becomes a text."""
        if type(value) is str:
            new = self.text(value, entry)
            return _GONE if new is None else new
        if type(value) is int:
            text = self.search.number(value, entry)
        elif type(value) is msgspec.Raw:
            # As `number` sees it, so that what was found is what is replaced.
            text = self.search.number(float(bytes(value)), entry)
        else:
            return value
        new = self.text(text, entry) if text else text
        if new == text:
            return value
        if self.tokens is not None:
            if type(value) is int:
                self.numbers[value % (1 << 64)] = 0  # where a message has room for a number only
            # As it was written, and marked as a number, so that it becomes this very one again.
            written = str(value) if type(value) is int else bytes(value).decode()
            found = self.search.spans(text, entry)
            return self.tokens.make(
                written, next(span.data_class for span in found if span.data_class in self.wanted), number=True
            )
        if type(value) is int:
            self.numbers[value % (1 << 64)] = int(new) if new is not None and new.isascii() and new.isdigit() else 0
        if new is not None and self.style == "format" and _NUMBER.fullmatch(new) is not None:
            return msgspec.Raw(new.encode())
        return _GONE if new is None else new

    def tree(self, node: Any, entry: Entry, inside: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            return node
        if type(node) is list:
            return [new for item in node if (new := self.tree(item, entry, inside, depth + 1)) is not _GONE]
        if type(node) is not dict:
            new = self.scalar(node, entry)
            return None if new is _GONE and depth == 0 else new
        result: dict[str, Any] = {}
        for inner, item in zip(self.search.plan(entry.place, inside, tuple(node), entry.key), node.values(), strict=True):
            within = inner.inside if type(item) is dict or type(item) is list else ""
            new = self.tree(item, inner, within, depth + 1)
            if new is _GONE:
                continue
            label = self.label(inner.key, result) if inner.is_value else inner.key
            if label is not None:
                result[label] = new
        return result

    def label(self, key: str, taken: dict[str, Any]) -> str | None:
        """A map's key with its values replaced, told apart from those that look the same now."""
        new = self.text(key, NAMELESS)
        if new is None or new == key:
            return new
        if self.style == "drop":
            return None
        label, count = new, 2
        while label in taken:
            label, count = f"{new}{count}", count + 1
        return label

    def parts(self, raw: bytes, body: dict[str, Any], *, multipart: bool) -> bytes:
        """Multipart, XML: the values that only their names give away, where they are a whole part, element or attribute."""
        values: list[tuple[Entry, Any]] = []
        self.gather(body, NAMELESS, "", values, 0)
        for entry, text in values:
            if isinstance(text, str) and text and (new := self.text(text, entry)) != text:
                put = (new or "").encode("utf-8", "surrogateescape")
                for old in dict.fromkeys((text, text if multipart else escape(text))):
                    want = regex_escape(old.encode("utf-8", "surrogateescape"))
                    if multipart:
                        form = rb"(\n\r?\n)" + want + rb"(?=\r?\n--)"
                    elif entry.key.startswith("@"):
                        form = rb"(=\s{0,64}[\"'])" + want + rb"(?=[\"'])"
                    else:
                        form = rb"([>\[]\s{0,64})" + want + rb"(?=\s{0,64}(?:<|\]\]>))"
                    raw = regex(form).sub(lambda found, put=put: found.group(1) + put, raw)  # type: ignore[misc]
        return raw

    def gather(self, node: Any, entry: Entry, inside: str, values: list[tuple[Entry, Any]], depth: int) -> None:
        """Leaves of a tree that stands for bytes."""
        if depth > MAX_DEPTH:
            return
        if type(node) is dict:
            for inner, item in zip(self.search.plan(entry.place, inside, tuple(node), entry.key), node.values(), strict=True):
                self.gather(item, inner, inner.inside, values, depth + 1)
        elif type(node) is list:
            for item in node:
                self.gather(item, entry, inside, values, depth + 1)
        elif entry.telling:
            values.append((entry, node))


class _Tally(_Edit):
    """Counts the values instead of replacing them."""

    __slots__ = ("counts",)

    def __init__(self, search: Search, wanted: Collection[str]) -> None:
        super().__init__(search, wanted, "count", b"")
        self.counts: dict[str, int] = {}

    def text(self, text: str, entry: Entry) -> str | None:
        for span in self.search.spans(text, entry):
            if span.data_class in self.wanted:
                self.counts[span.data_class] = self.counts.get(span.data_class, 0) + 1
        return text


_GONE = object()
_ITEM = Entry(place="[]")
