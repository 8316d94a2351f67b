"""How a call differs from learned behaviour. Each model of `behaviours` has a struct of its own here; detections judge them."""

from __future__ import annotations

from msgspec import Struct


class Deviation(Struct, frozen=True):
    """What all have. Detections pick theirs by type."""

    place: str
    """Where in the message: `body.items[].owner_id`, `operation`, `session`."""
