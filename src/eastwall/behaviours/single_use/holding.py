"""See `behaviours.holding`: places whose values are for once."""

from __future__ import annotations

from typing import Any

from eastwall.behaviours.holding import Holding, Key, Part, never
from eastwall.behaviours.single_use.model import Knowledge, Model, Single

USES = 50
"""Uses on which it must rest to be settled."""


def _split(known: Knowledge) -> dict[Key, Any]:
    return {("once", one.endpoint, one.place): one for one in known.places}


def _join(known: Knowledge, things: dict[Key, Any]) -> Knowledge:
    return Knowledge(tuple(one for _, one in sorted(things.items(), key=lambda item: item[0])))


_ONCE = Part(
    Single,
    lambda value: int(value.uses),
    lambda first, second: bool(first.by == "anybody" and second.by != "anybody"),
    never,
    lambda key: f"`{key[2]}`",
    lambda value: "once at all" if value.by == "anybody" else "once by each caller",
    lost=True,
    firm=USES,
)
HOLDING = Holding({"once": _ONCE}, _split, _join, Model.backers)
