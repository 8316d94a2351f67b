"""See `behaviours.holding`: how much callers of a class ask one operation for."""

from __future__ import annotations

from typing import Any

from eastwall.behaviours.harvesting.model import Group, Knowledge, Model
from eastwall.behaviours.holding import Holding, Key, usual_part

_MEASURES = ("calls in a minute", "different targets in an hour", "in a day")


def _split(known: Knowledge) -> dict[Key, Any]:
    return {("most", one.endpoint, one.cls): one.usual for one in known.groups}


def _join(known: Knowledge, things: dict[Key, Any]) -> Knowledge:
    return Knowledge(tuple(Group(endpoint, cls, usual) for (_, endpoint, cls), usual in sorted(things.items())))


HOLDING = Holding({"most": usual_part(_MEASURES, lambda key: f"what `{key[2]}` asks for")}, _split, _join, Model.backers)
