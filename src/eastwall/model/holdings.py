"""Who holds which object, in a form that engines read without decoding it."""

from __future__ import annotations

from msgspec import Struct

EMPTY = 0
"""The key of a slot that holds nothing. No object has it, but one in 2**64, which is left out."""


class Holdings(Struct, frozen=True):
    """A hash table with open addressing and linear probing (Knuth, The Art of Computer Programming, vol. 3, 6.4). Keys are keyed hashes
    already: the lowest bits of one say where it stands. Made by `learning.holdings.pack`, read by `decision.grants.HeldObjects`."""

    count: int = 0
    """Objects in it."""
    keys: bytes = b""
    """Signed 64-bit little-endian, one per slot; `EMPTY` where nothing stands. The number of slots is a power of two, or 0."""
    values: bytes = b""
    """Unsigned 32-bit little-endian, one per slot: index into `actors`, or, less their number, into `groups`."""
    actors: tuple[str, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    """Actors (by index) that hold an object together, the first first."""
