"""See `behaviours.holding`: how the credentials of a class move."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from eastwall.behaviours.credential_use.model import Knowledge, Model, Moves
from eastwall.behaviours.holding import Holding, Key, usual_part

_MEASURES = ("changes of network and client at once", "networks of one credential")


def _split(known: Knowledge) -> dict[Key, Any]:
    return {("most", "", one.cls): one.usual for one in known.moves}


def _join(known: Knowledge, things: dict[Key, Any]) -> Knowledge:
    makes = {one.cls: one.makes for one in known.moves}
    moves = tuple(Moves(cls, usual, makes.get(cls, ())) for (_, _, cls), usual in sorted(things.items()))
    return replace(known, moves=moves)


HOLDING = Holding(
    {"most": usual_part(_MEASURES, lambda key: f"how credentials of `{key[2]}` move")}, _split, _join, Model.backers
)
