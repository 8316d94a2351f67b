"""Tokens: texts that stand in for values and are turned back by whoever has the key of the installation.

    ewt_<class>_<base64url(AES-SIV(value))>~

AES-SIV (RFC 5297) is deterministic, so that equal values of a class have equal tokens and joins go on working, and authenticated, so that a
token that nobody here made is refused. The class is associated data: a token of one class is none of another. The key is derived from the
installation's; nothing is stored, and with another key no token is turned back. The `~` ends a token whatever comes after it. The length of
the value shows, and that two values are equal; nothing else does.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from re import Match
from re import compile as regex
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from eastwall.discovery.data_rows import edit_json_lines, edit_table, json_lines, table_of
from eastwall.discovery.data_values import decode_text
from eastwall.model.operation import Operation
from eastwall.protocols.protobuf_edit import rewritten

MARK = b"ewt_"
"""What every token begins with: a body without it holds none."""
MAX_VALUE = 4096
"""Bytes of a value that becomes a token; a longer one has no token."""
MAX_TOKENS = 5_000
"""Tokens of one message that are turned back: about 20 ms."""
_LENGTHS = range(23, 5600)
"""Letters that may stand between the class and the `~`."""
MAX_TRIES = 4
"""Places of a run of letters at which a token may begin, that are tried: it ends in `~`, and may have something before it."""
_RUN = regex(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]++~")
_RUN_BYTES = regex(_RUN.pattern.encode())
_BEGIN = regex(r"ewt_([a-z][a-z0-9-]{0,39}+)_")
_CLASSES = regex(rb"ewt_([a-z][a-z0-9-]{0,39}+)_")
_NUMBER = regex(r"-?(?:0|[1-9][0-9]{0,400})(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,4})?")
_NAME = regex(rb"[ \t\r\n]*:")


class Turned(NamedTuple):
    """What became of a message with tokens."""

    body: bytes | None
    """None: there was none to turn back."""
    refused: int
    """Tokens that look like ours and are not, or are too many."""


class Tokens:
    """Makes and turns back the tokens of one installation."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESSIV(blake2b(b"eastwall tokens, version 1", key=key, digest_size=64).digest())

    def make(self, value: str, data_class: str, *, number: bool = False) -> str | None:
        """The token of a value; None for one that is too long. `number`: it is the text of a JSON number, and is to become one again."""
        plain = (b"n" if number else b"s") + value.encode("utf-8", "surrogatepass")
        if len(plain) > MAX_VALUE:
            return None
        sealed = self._cipher.encrypt(plain, [data_class.encode()])
        return f"ewt_{data_class}_{urlsafe_b64encode(sealed).rstrip(b'=').decode()}~"

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where a text holds tokens of ours."""
        if "ewt_" not in text:
            return []
        spans = []
        for run in _RUN.finditer(text):
            for begin in islice(_BEGIN.finditer(run[0]), MAX_TRIES):
                sealed = run[0][begin.end() : -1]
                if len(sealed) in _LENGTHS and self.value(begin[1], sealed) is not None:
                    spans.append((run.start() + begin.start(), run.end()))
                    break
        return spans

    def value(self, data_class: str, text: str) -> tuple[str, bool] | None:
        """(value, whether it was a number) of a token's class and sealed text; None when it is none of ours."""
        try:
            sealed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            # Of a text that is not as we write it another might be made with the same meaning: one value has one token.
            if urlsafe_b64encode(sealed).rstrip(b"=") != text.encode():
                return None
            plain = self._cipher.decrypt(sealed, [data_class.encode()])
            value = plain[1:].decode("utf-8", "surrogatepass")
        except (InvalidTag, ValueError):
            return None
        number = plain[:1] == b"n"
        return value, number and _NUMBER.fullmatch(value) is not None


@lru_cache(maxsize=4)
def tokens_of(key: bytes) -> Tokens:
    """The tokens of the installation with this key (at most 64 bytes)."""
    return Tokens(key)


def token_classes(body: bytes) -> frozenset[str]:
    """Classes of what looks like tokens in a body."""
    return frozenset([name.decode() for name in _CLASSES.findall(body)]) if MARK in body else frozenset()


def elsewhere(operation: Operation) -> bool:
    """Whether what looks like tokens stands where none is turned back: in the path or the query."""
    return "ewt_" in operation.path or any("ewt_" in value for _, value in operation.query)


class _Turning:
    """One message whose tokens are turned back."""

    __slots__ = ("classes", "left", "refused", "tokens", "turned")

    def __init__(self, classes: Collection[str], tokens: Tokens) -> None:
        self.classes = classes
        self.tokens = tokens
        self.left = MAX_TOKENS
        self.turned = 0
        self.refused = 0

    def opened(self, run: str) -> tuple[int, str, bool] | None:
        """(where the token begins, its value, whether it was a number) of a run of letters up to a `~`; counts what is refused."""
        tried = 0
        for begin in _BEGIN.finditer(run):
            if begin[1] not in self.classes or len(run) - 1 - begin.end() not in _LENGTHS:
                continue
            tried += 1
            if tried > MAX_TRIES or self.left <= 0:
                break
            self.left -= 1
            value = self.tokens.value(begin[1], run[begin.end() : -1])
            if value is not None:
                self.turned += 1
                return begin.start(), *value
        self.refused += tried > 0
        return None

    def text(self, text: str, write: Callable[[str], str] = str) -> str:
        """The text with its tokens turned back, each written as `write` says."""
        if "ewt_" not in text:
            return text

        def one(found: Match[str]) -> str:
            run = found[0]
            value = self.opened(run) if "ewt_" in run else None
            return run if value is None else run[: value[0]] + write(value[1])

        return _RUN.sub(one, text)

    def json(self, raw: bytes) -> bytes:
        """A JSON document; every byte but those of its tokens stays. Outside of texts no token can stand in valid JSON."""
        parts: list[bytes] = []
        kept = 0
        for found in _RUN_BYTES.finditer(raw):
            value = self.opened(found[0].decode()) if MARK in found[0] else None
            if value is None:
                continue
            start, end = found.start() + value[0], found.end()
            if raw[start - 5 : start - 3] == b"\\u":
                continue  # the `e` belongs to an escape: `\u000e`
            if value[2] and _whole(raw, start, end):
                parts += [raw[kept : start - 1], value[1].encode()]
                kept = end + 1
            else:
                parts += [raw[kept:start], json.dumps(value[1])[1:-1].encode()]
                kept = end
        return b"".join([*parts, raw[kept:]]) if parts else raw

    def document(self, raw: bytes) -> bytes:
        """Text that is no tree."""
        text = decode_text(raw)
        if json_lines(text):
            return edit_json_lines(text, lambda line: decode_text(self.json(line.encode("utf-8", "surrogateescape")))).encode(
                "utf-8", "surrogateescape"
            )
        table = table_of(text)
        new = self.text(text) if table is None else edit_table(text, table, lambda _, cell: self.text(cell))
        return new.encode("utf-8", "surrogateescape")

    def protobuf(self, node: Any, found: dict[bytes, bytes], depth: int = 0) -> None:
        """Whole texts of a decoded message and what becomes of them."""
        if depth > 64:
            return
        if type(node) is str:
            if "ewt_" in node and (new := self.text(node)) != node:
                found[node.encode("utf-8", "surrogateescape")] = new.encode("utf-8", "surrogateescape")
        elif type(node) is dict or type(node) is list:
            for item in node.values() if type(node) is dict else node:
                self.protobuf(item, found, depth + 1)


def _whole(raw: bytes, start: int, end: int) -> bool:
    """Whether a token is the whole of a JSON text, and that no name: a number may stand there."""
    quoted = raw[start - 1 : start] == b'"' == raw[end : end + 1] and raw[start - 2 : start - 1] != b"\\"
    return quoted and start >= 2 and _NAME.match(raw, end + 1) is None


def turn_back(operation: Operation, classes: Collection[str], key: bytes) -> Turned:
    """The body with every token of `classes` as the value that it stands for. What is no token of ours is left as it is and counted."""
    raw = operation.raw_body
    if MARK not in raw:
        return Turned(None, 0)
    turning = _Turning(classes, tokens_of(key))
    kind = operation.body_kind
    new: bytes | None
    if kind == "json":
        new = turning.json(raw)
    elif kind == "form":
        pairs = parse_qsl(raw.decode("utf-8", "surrogateescape"), keep_blank_values=True, errors="surrogateescape")
        new = urlencode([(name, turning.text(value)) for name, value in pairs], errors="surrogateescape").encode()
    elif kind == "protobuf":
        texts: dict[bytes, bytes] = {}
        turning.protobuf(operation.body, texts)
        new = rewritten(raw, texts, {}) if texts else None
    elif kind == "xml":
        new = turning.text(decode_text(raw), lambda value: escape(value, {'"': "&quot;"})).encode("utf-8", "surrogateescape")
    elif kind in ("text", "multipart"):
        new = turning.document(raw) if kind == "text" else turning.text(decode_text(raw)).encode("utf-8", "surrogateescape")
    else:
        return Turned(None, 0)
    return Turned(new if turning.turned and new != raw else None, turning.refused)
