"""How a call differs from learned behaviour. Each model of `behaviours` has a struct of its own here; detections judge them."""

from __future__ import annotations

from msgspec import Struct


class Deviation(Struct, frozen=True):
    """What all have. Detections pick theirs by type."""

    place: str
    """Where in the message: `body.items[].owner_id`, `operation`, `session`."""


class OwnerMismatch(Deviation, frozen=True):
    """A value that tells whose the data is, and learned calls had the caller's own there: it is another's (`ownership_claims`)."""

    claim: str
    """Claim of the caller that the place equalled (`sub`, `tenant`); `alias`: the caller's own id at the service, as its answers told."""
    shown: str
    """What stands there now, fit to show."""
    equal: int
    """Learned calls in which the place held the caller's own."""
    of: int
    """Learned calls that had the place."""
    confidence: str = "high"
    """`high`, `medium` or `low` (the caller holds the object, or acts for somebody)."""
    subject: str = ""
    """The object that is another's, fit to show: `order 1043`; empty where it has no id."""
    items: tuple[tuple[str | int, ...], ...] = ()
    """Of an answer that lists: the paths in its body of the items that are another's."""
    listed: int = 0
    """Items of the list; 0: the answer is no list."""
