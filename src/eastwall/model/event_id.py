"""Event ids: ULIDs (github.com/ulid/spec), 48 bits of Unix milliseconds and 80 random bits in Crockford's base 32."""

from __future__ import annotations

import re

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_NATIVE = re.compile(r"([0-9]{13})-([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
"""Milliseconds and a UUID (RFC 9562): what Envoy can make of a call that it answers by itself."""


def event_id(time: float, entropy: bytes) -> str:
    """26 characters, sortable by time. `time` in Unix seconds; `entropy` 10 random bytes (the caller's: the core has no source)."""
    return _ulid(int(time * 1000), entropy)


def named(text: str) -> str:
    """The event id that a caller was given: itself, or the one that stands for the id of an answer of Envoy's own."""
    found = _NATIVE.fullmatch(text)
    # The last 80 bits of a UUID of version 4: 78 random ones, and the two of its variant.
    return _ulid(int(found[1]), bytes.fromhex(found[2].replace("-", "")[-20:])) if found is not None else text


def _ulid(milliseconds: int, entropy: bytes) -> str:
    number = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(entropy[:10], "big")
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
