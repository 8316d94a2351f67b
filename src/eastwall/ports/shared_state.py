"""What engines tell each other of what they learn live, so that a caller whose calls reach several engines is judged as by one.

Entries are opaque: a topic, and bytes that `LiveState.news` made and `LiveState.hear` reads. Losing some makes engines judge less, never
more: a store may drop, and says how much. Nothing here ever raises for a fault of the store, and nothing waits for a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

MAX_ENTRY = 1 << 20
"""Bytes of one entry; a longer one is dropped and counted."""
MAX_TOPIC = 64
"""Bytes of a topic's name."""


class Entry(Struct, frozen=True):
    """One thing that an engine has learned."""

    topic: str
    data: bytes


class Health(Struct, frozen=True):
    """How sharing goes; counts since this process began."""

    peers: int = 0
    """Other engines that are listened to, as far as the store can tell."""
    told: int = 0
    """Entries handed over."""
    heard: int = 0
    """Entries taken in."""
    lost: int = 0
    """Bytes or entries of others, or of an earlier process of this name, that were gone before they were read."""
    damaged: int = 0
    """Entries that were no such thing."""
    dropped: int = 0
    """Own entries that could not be handed over."""
    fault: str = ""
    """Why sharing does not work at this moment, in one line; empty: it does."""


class SharedState(Protocol):
    """One engine's end. Used by one thread."""

    at_once: bool
    """Whether what one engine has told is there at the next `hear` of any other: so on one machine."""

    def tell(self, entries: Sequence[Entry]) -> None:
        """Hand over what was learned here."""
        ...

    def waiting(self) -> bool:
        """Whether `hear` would give something; asked before each call, so it costs next to nothing. What only `hear` can find out (an engine
        that is new) it need not know."""
        ...

    def hear(self) -> Sequence[Entry]:
        """What others have told since last time, in each one's order. The first time also what they, and an earlier process of this
        engine's name, told before, as far as it is kept."""
        ...

    def health(self) -> Health: ...

    def close(self) -> None: ...
