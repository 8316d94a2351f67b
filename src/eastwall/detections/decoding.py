"""Layers of encoding under which a value can hide its meaning, undone one by one and bounded.

A service often decodes once more than the framework did (double encoding), or its database or shell reads an escape that JSON does
not know. What is undone: percent-encoding (with `%uXXXX` and overlong UTF-8, which RFC 3629 section 10 forbids and lax decoders
read), JavaScript escapes, HTML character references, Base64 and hexadecimal digits that hold readable text, gzip, zlib and zstd inside
Base64, UTF-7 (RFC 2152), compatibility forms (Unicode NFKC, as databases and file systems fold them) and characters that show nothing.
Values that are messages themselves are taken apart: JSON in a string, a form in a value, the claims of a JWT (RFC 7519).
"""

from __future__ import annotations

import binascii
import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from eastwall.detections.texts import BASE64, COMPATIBLE, ESCAPE, HEX, NESTED, PERCENT, REFERENCE, UTF7, signs
from eastwall.protocols import coding
from eastwall.protocols.limits import Limits

DEPTH = 4
"""Layers on top of each other that are undone: double URL encoding inside Base64 still fits."""
LAYERS = 8
"""Distinct texts made of one value."""
MAX_NESTED = 64
"""Values taken out of one value that is a message itself."""
MAX_PACKED = 65_536
"""Bytes to which a packed value inside Base64 is unpacked."""
MAX_RUNS = 8
"""Runs of Base64 inside one text that are decoded."""

_OVERLONG = re.compile(
    r"%c([01])%([89ab][0-9a-f])|%e0%([89][0-9a-f])%([89ab][0-9a-f])|%f0%80%([89ab][0-9a-f])%([89ab][0-9a-f])", re.IGNORECASE
)
_PERCENT_U = re.compile(r"%u([0-9a-f]{4})", re.IGNORECASE)
_ESCAPE = re.compile(
    r"\\u\{([0-9a-f]{1,6})\}|\\U([0-9a-f]{8})|\\u([0-9a-f]{4})|\\x([0-9a-f]{2})|\\([0-3][0-7]{2})|\\([nrt/\"'])", re.IGNORECASE
)
_CONTROL = {"n": "\n", "r": "\r", "t": "\t"}
_BASE64_VALUE = re.compile(r"\s*+(?:data:[\w/;=+.-]{1,100},)?((?:[A-Za-z0-9+/_ -]){12}[A-Za-z0-9+/_\s-]*+={0,2})\s*+")
_BASE64_RUN = re.compile(r"(?<![A-Za-z0-9+_-])[A-Za-z0-9+/_-]{12,}+={0,2}")
_PACKED_RUN = re.compile(r"(?<![A-Za-z0-9+_-])(?:H4sI|eJ|eNo|eAE|KLUv)[A-Za-z0-9+/_-]{14,}={0,2}")
_BASE64_STANDARD = str.maketrans("-_ ", "+/+", "\t\r\n")
_READABLE = frozenset(map(chr, range(32, 127))) | frozenset("\t\r\n")
_HEX_RUN = re.compile(
    r"(?<![A-Za-z0-9+/_-])(?:0x)?((?=[0-9]*+[a-f])(?:[2-7][0-9a-f]){8,}|(?<=0x)(?:[2-7][0-9a-f]){6,})(?![A-Za-z0-9+/_-])",
    re.IGNORECASE,
)
_UTF7_RUN = re.compile(r"\+([A-Za-z0-9+/]{2,200})-?")
_INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_JWT = re.compile(r"(?<![A-Za-z0-9_-])(ey[A-Za-z0-9_-]{8,4000})\.(ey[A-Za-z0-9_-]{2,16000})\.[A-Za-z0-9_-]*")
_FORM = re.compile(r"[\w.\[\]%-]{1,64}=[^\s&]*+(?:&[\w.\[\]%-]{1,64}=[^\s&]*+)+")
_UNPACKING = Limits(max_decoded=MAX_PACKED)
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\x78", "deflate"))

Texts = list[tuple[str, str]]
"""(place, text) pairs."""


def readings(place: str, text: str) -> tuple[Texts, bool]:
    """What `text` means under further decoding, nearest first, without itself, and whether that is all.

    Places: a decoded text has the place of its value; what is inside a nested message adds to it, `body.note:json.q`, `query.next:form.id`;
    claims of a JWT are `claim.sub`, its header parameters `jose.kid`. At most `LAYERS` decoded texts and `MAX_NESTED` nested values; False:
    a limit ended it.
    """
    found: Texts = []
    seen = {text}
    plain = nested = 0
    generation = [(place, text)]
    for _ in range(DEPTH):
        following: Texts = []
        for where, parent in generation:
            for inside, child in _steps(where, parent):
                if not child or child in seen:
                    continue
                seen.add(child)
                if inside == where:
                    plain += 1
                else:
                    nested += 1
                if plain > LAYERS * (1 + nested) or nested > MAX_NESTED:
                    return found, False
                following.append((inside, child))
        found += following
        if not following:
            return found, True
        generation = following
    return found, not any(True for where, parent in generation for _ in _steps(where, parent))


def layers(text: str) -> tuple[str, ...]:
    """The texts of `readings` at most `LAYERS` of them."""
    return tuple([child for _, child in readings("", text)[0]][:LAYERS])


def unwrapped(text: str) -> Iterator[tuple[str, bool]]:
    """Many values, one per line, under the same layers as `readings`, all at once: every state on the way, without `text` itself, and
    whether that is all of it. False: a limit on size or depth was reached, and there may be more in the values."""
    limit = 4 * len(text) + 2 * MAX_PACKED
    for _ in range(DEPTH + 1):
        before = text
        for step in (_lines_taken_apart, percent_decoded, _unescaped, html.unescape, _folded):
            after = step(text)
            if after != text:
                text = after[:limit]
                yield text, len(after) <= limit
        if text == before:
            return
    yield text, False


def _lines_taken_apart(text: str) -> str:
    lines = text.split("\n")
    seen = set(lines)
    found: list[str] = []
    for line in lines:
        found.append(line)
        sign = signs(line.encode("utf-8", "replace")) if len(line) >= 4 else 0
        if sign & (_APART | NESTED):
            for step in (_from_json, *_APART_STEPS):
                for _, child in step("", line):
                    if child not in seen:
                        seen.add(child)
                        found.append(child)
    return "\n".join(found) if len(found) > len(lines) else text


def _steps(place: str, text: str) -> Iterator[tuple[str, str]]:
    """Everything that one more decoding makes of a text; nothing that equals it."""
    sign = signs(text.encode("utf-8", "replace"))
    if sign & NESTED or text[:1] in _BLANK:
        values = list(_from_json(place, text))
        if values:  # what decodes further are its values
            yield from values
            return
    if sign & PERCENT and (child := percent_decoded(text)) != text:
        yield place, child
        # Written as a form writes it (WHATWG URL, application/x-www-form-urlencoded), where nobody undid that: `+` is a space there.
        if "+" in text and " " not in text:
            yield place, percent_decoded(text.replace("+", " "))
    if sign & ESCAPE and (child := _unescaped(text)) != text:
        yield place, child
    if sign & REFERENCE and (child := html.unescape(text)) != text:
        yield place, child
    if sign & COMPATIBLE and (child := _folded(text)) != text:
        yield place, child
    if sign & _APART:
        for step in _APART_STEPS:
            yield from step(place, text)
    if "=" in text and "&" in text:
        yield from _from_form(place, text)


_APART = BASE64 | HEX | UTF7
_BLANK = frozenset(" \t\r\n")


def overlong(text: str) -> bool:
    """Whether a percent-encoded text holds overlong UTF-8 or `%uXXXX`, which a correct decoder loses."""
    return "%" in text and (_OVERLONG.search(text) is not None or _PERCENT_U.search(text) is not None)


def percent_decoded(text: str) -> str:
    """Percent-decoded once, the lax way. `+` stays."""
    if "%" not in text:
        return text
    text = _OVERLONG.sub(_from_overlong, text)
    text = _PERCENT_U.sub(lambda match: chr(int(match[1], 16)), text)
    return unquote_to_bytes(text.encode("utf-8", "replace")).decode("utf-8", "replace")


def _from_overlong(match: re.Match[str]) -> str:
    two, low, high3, low3, high4, low4 = match.groups()
    if low:
        return chr(int(two, 16) << 6 | int(low, 16) & 0x3F)
    high, low = (high3, low3) if low3 else (high4, low4)
    return chr((int(high, 16) & 0x1F) << 6 | int(low, 16) & 0x3F)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_from_escape, text) if "\\" in text else text


def _from_escape(match: re.Match[str]) -> str:
    braced, eight, four, two, octal, plain = match.groups()
    if plain:
        return _CONTROL.get(plain, plain)
    point = int(octal, 8) if octal else int(braced or eight or four or two, 16)
    return chr(point) if point < 0x110000 else match[0]


def _from_base64(place: str, text: str) -> Iterator[tuple[str, str]]:
    """The value as a whole, else the runs of Base64 inside it."""
    match = _BASE64_VALUE.fullmatch(text)
    if match is not None:
        decoded = _readable(_base64_bytes(match[1]))
        if decoded:
            yield place, decoded
            return
    if len(text) > 16:
        count = 0
        if "ey" in text:
            text = _JWT.sub(" ", text)  # what a token holds are its claims
        for run in _BASE64_RUN.finditer(text):
            decoded = _readable(_base64_bytes(run[0]))
            if decoded:
                count += 1
                yield place, decoded
                if count >= MAX_RUNS:
                    return


def _from_packed(place: str, text: str) -> Iterator[tuple[str, str]]:
    for count, run in enumerate(_PACKED_RUN.finditer(text)):
        if count >= MAX_RUNS:
            return
        data = _base64_bytes(run[0])
        for magic, name in _MAGIC:
            if data.startswith(magic):
                opened = coding.decode(data, name, _UNPACKING)
                decoded = opened.data.decode("utf-8", "replace") if opened.readable else ""
                if decoded and decoded.count("\ufffd") * 8 <= len(decoded):
                    yield place, decoded


def _base64_bytes(text: str) -> bytes:
    candidate = text.rstrip(" ").translate(_BASE64_STANDARD).rstrip("=")
    candidate = candidate[: len(candidate) - (len(candidate) % 4 == 1)]
    try:
        return binascii.a2b_base64(candidate + "=" * (-len(candidate) % 4))
    except (binascii.Error, ValueError):
        return b""


def _readable(data: bytes) -> str:
    """Any word of letters is valid Base64; only what comes out readable was meant so. Else empty."""
    try:
        decoded = data.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return decoded if _READABLE.issuperset(character for character in decoded if character < "\x80") else ""


def _from_hex(place: str, text: str) -> Iterator[tuple[str, str]]:
    """Digits that say a text: alone, as `0x27204f52`, or within one."""
    if (found := _HEX_RUN.search(text)) is None:
        return
    if found.span() == (0, len(text)):
        yield place, bytes.fromhex(found[1]).decode("ascii", "replace") if len(found[1]) % 2 == 0 else ""
        return
    replaced = _HEX_RUN.sub(lambda match: bytes.fromhex(match[1][: len(match[1]) & ~1]).decode("ascii", "replace"), text)
    if replaced != text:
        yield place, replaced


def _from_utf7(place: str, text: str) -> Iterator[tuple[str, str]]:
    if "+A" in text and (child := _UTF7_RUN.sub(_utf7_run, text)) != text:
        yield place, child


def _utf7_run(match: re.Match[str]) -> str:
    data = _base64_bytes(match[1])
    text = data[: len(data) & ~1].decode("utf-16-be", "replace")
    return text if text and text.isascii() and text.isprintable() else match[0]


def _folded(text: str) -> str:
    return text if text.isascii() else _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))


def _from_json(place: str, text: str) -> Iterator[tuple[str, str]]:
    """The values and names of JSON inside a string."""
    trimmed = text.strip()
    if trimmed[:1] not in ("{", "[") or trimmed[-1:] not in ("}", "]"):
        return
    try:
        tree = _decode_json(trimmed)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return
    yield from values_of(f"{place}:json", tree)


_decode_json = msgspec.json.Decoder().decode


def values_of(place: str, tree: Any) -> Iterator[tuple[str, str]]:
    """Every text of a tree with its place, names as `place.{name}`, in the order of the tree. No recursion."""
    stack: list[tuple[str, Any]] = [(place, tree)]
    while stack:
        where, node = stack.pop()
        kind = type(node)
        if kind is str:
            yield where, node
        elif kind is dict:
            below: list[tuple[str, Any]] = []
            for key, value in node.items():
                yield f"{where}.{{{key[:64]}}}", key
                below.append((f"{where}.{key[:64]}", value))
            below.reverse()
            stack += below
        elif kind is list:
            stack += [(f"{where}[{index}]", node[index]) for index in range(len(node) - 1, -1, -1)]


def _from_form(place: str, text: str) -> Iterator[tuple[str, str]]:
    """The fields of a form inside a value, or of a URL's query."""
    start = text.find("?") + 1 if "://" in text[:12] else 0
    match = _FORM.match(text, start)
    if match is None:
        return
    for part in match[0].split("&", MAX_NESTED)[:MAX_NESTED]:
        name, _, value = part.partition("=")
        yield f"{place}:form.{name[:64]}", percent_decoded(value.replace("+", " "))


def _from_jwt(place: str, text: str) -> Iterator[tuple[str, str]]:
    """Header parameters and claims of a token (RFC 7515, RFC 7519). Nothing is verified here."""
    for count, match in enumerate(_JWT.finditer(text)):
        if count >= MAX_RUNS:
            return
        for name, part in (("jose", match[1]), ("claim", match[2])):
            try:
                tree = _decode_json(_base64_bytes(part))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            if type(tree) is dict:
                yield from values_of(name, tree)


_APART_STEPS: tuple[Callable[[str, str], Iterator[tuple[str, str]]], ...] = (
    _from_jwt, _from_base64, _from_packed, _from_hex, _from_utf7,
)  # fmt: skip
