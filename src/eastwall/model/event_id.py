"""Event ids: ULIDs (github.com/ulid/spec), 48 bits of Unix milliseconds and 80 random bits in Crockford's base 32."""

from __future__ import annotations

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def event_id(time: float, entropy: bytes) -> str:
    """26 characters, sortable by time. `time` in Unix seconds; `entropy` 10 random bytes (the caller's: the core has no source)."""
    number = (int(time * 1000) & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(entropy[:10], "big")
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
