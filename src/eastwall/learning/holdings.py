"""Packs who holds which object into the table that engines read."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable

from eastwall.model.holdings import EMPTY, Holdings

LOAD = 0.6
"""Greatest share of slots in use: a hit then takes under two probes on average, a miss under four."""


def pack(held: Iterable[tuple[int, tuple[str, ...]]]) -> Holdings:
    """The table of (object key, actors that hold it, the first first). Of a key that comes twice the later holders count."""
    pairs = {key: actors for key, actors in held if key != EMPTY and actors}
    if not pairs:
        return Holdings()
    slots = 8
    while len(pairs) > slots * LOAD:
        slots *= 2
    numbers: dict[str, int] = {}
    for actors in pairs.values():
        for actor in actors:
            numbers.setdefault(actor, len(numbers))
    groups: dict[tuple[int, ...], int] = {}
    keys, values, mask = array("q", bytes(8 * slots)), array("I", bytes(4 * slots)), slots - 1
    for key, actors in pairs.items():
        at = key & mask
        while keys[at] != EMPTY:
            at = (at + 1) & mask
        keys[at] = key
        if len(actors) == 1:
            values[at] = numbers[actors[0]]
        else:
            group = tuple([numbers[actor] for actor in actors])
            values[at] = len(numbers) + groups.setdefault(group, len(groups))
    if sys.byteorder == "big":
        keys.byteswap()
        values.byteswap()
    return Holdings(len(pairs), keys.tobytes(), values.tobytes(), tuple(numbers), tuple(groups))
