"""Layers of encoding under which a value can hide its meaning, undone one by one and bounded.

A service often decodes once more than the framework did (double encoding), or its database or shell reads an escape that JSON does
not know. What is undone: percent-encoding (with `%uXXXX` and overlong UTF-8, which RFC 3629 section 10 forbids and lax decoders
read), JavaScript escapes, HTML character references, Base64 that holds printable text, and compatibility forms (Unicode NFKC, as
databases and file systems fold them).
"""

from __future__ import annotations

import binascii
import html
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

DEPTH = 4
"""Layers on top of each other that are undone: double URL encoding inside Base64 still fits."""
LAYERS = 8
"""Distinct texts made of one value."""

_OVERLONG = re.compile(
    r"%c([01])%([89ab][0-9a-f])|%e0%([89][0-9a-f])%([89ab][0-9a-f])|%f0%80%([89ab][0-9a-f])%([89ab][0-9a-f])", re.IGNORECASE
)
_PERCENT_U = re.compile(r"%u([0-9a-f]{4})", re.IGNORECASE)
_ESCAPE = re.compile(r"\\u\{([0-9a-f]{1,6})\}|\\u([0-9a-f]{4})|\\x([0-9a-f]{2})|\\([nrt/\"'])", re.IGNORECASE)
_CONTROL = {"n": "\n", "r": "\r", "t": "\t"}
# Readable ASCII confines three of four characters (see the prefilter's pattern): twelve letters of prose hardly ever pass this.
_BASE64_VALUE = re.compile(
    r"\s*(?:data:[\w/;=+.-]{1,100},)?((?:[I-Za-f][C-HS-Xi-nyz0-3][ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9+/_ -]){3}[A-Za-z0-9+/_ -]*={0,2})\s*"
)
_BASE64_STANDARD = str.maketrans("-_ ", "+/+")
_READABLE = frozenset(map(chr, range(32, 127))) | frozenset("\t\r\n")


def layers(text: str) -> tuple[str, ...]:
    """What `text` means under further decoding, nearest first, without `text` itself; at most `LAYERS` texts."""
    found = [text]
    generation = [text]
    for _ in range(DEPTH):
        following: list[str] = []
        for parent in generation:
            for step in (percent_decoded, _unescaped, html.unescape, _from_base64, _folded):
                child = step(parent)
                if child and child not in found:
                    found.append(child)
                    following.append(child)
                    if len(found) > LAYERS:
                        return tuple(found[1:])
        if not following:
            break
        generation = following
    return tuple(found[1:])


def unwrapped(text: str) -> Iterator[str]:
    """Many values, one per line, under the same layers as `layers`, all at once: every state on the way, without `text` itself."""
    for _ in range(DEPTH):
        before = text
        for step in (percent_decoded, _unescaped, html.unescape, _lines_from_base64, _folded):
            after = step(text)
            if after != text:
                text = after
                yield text
        if text == before:
            return


def _lines_from_base64(text: str) -> str:
    lines = text.split("\n")
    found = [_from_base64(line) if len(line) >= 12 else line for line in lines]
    return "\n".join(found) if found != lines else text


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
    braced, four, two, plain = match.groups()
    if plain:
        return _CONTROL.get(plain, plain)
    point = int(braced or four or two, 16)
    return chr(point) if point < 0x110000 else match[0]


def _from_base64(text: str) -> str:
    match = _BASE64_VALUE.fullmatch(text)
    if match is None:
        return text
    candidate = match[1].rstrip(" ")
    candidate = candidate.translate(_BASE64_STANDARD).rstrip("=")
    candidate = candidate[: len(candidate) - (len(candidate) % 4 == 1)]
    try:
        decoded = binascii.a2b_base64(candidate + "=" * (-len(candidate) % 4)).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return text
    # Any word of letters is valid Base64; only what comes out readable was meant so.
    return decoded if _READABLE.issuperset(character for character in decoded if character < "\x80") else text


def _folded(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text)
