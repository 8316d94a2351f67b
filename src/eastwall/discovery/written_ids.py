"""One id, written in several ways."""

from __future__ import annotations

from base64 import b64decode
from re import compile as regex
from urllib.parse import unquote

MAX_VALUE = 64
"""Characters of an identifier value."""

_UUID_WHOLE = regex(r"[0-9a-fA-F]{32}")
_GLOBAL_ID = regex(r"[A-Za-z]{2,40}[:/|]([A-Za-z0-9_.:-]{1,64})")
_BASE64 = regex(r"[Q-Za-e][A-Za-z0-9+/_-]{6,90}={0,2}")
"""Base64 of what begins with a letter."""


def canonical(value: str) -> str:
    """An id as it is known, however it is written: of a global id (`gid://shop/Order/17`, Base64 of `Order:17`) the id within its kind, UUIDs
    with their hyphens, without percent-encoding."""
    if "%" in value and len(value) <= 3 * MAX_VALUE:
        value = unquote(value)
    if value.startswith("gid://"):
        return value.partition("?")[0].rpartition("/")[2]
    if len(value) == 32 and _UUID_WHOLE.fullmatch(value):
        text = value.lower()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    if len(value) >= 8 and _BASE64.fullmatch(value):
        bare = value.rstrip("=")
        try:
            told = b64decode(bare + "=" * (-len(bare) % 4), b"-_" if "-" in bare or "_" in bare else None).decode("ascii")
        except ValueError:
            return value
        inner = _GLOBAL_ID.fullmatch(told)
        if inner is not None:
            return inner[1]
    return value
