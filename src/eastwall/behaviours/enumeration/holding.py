"""See `behaviours.holding`: how many ids that they were never given callers of a class name."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from eastwall.behaviours.enumeration.model import Group, Knowledge, Model
from eastwall.behaviours.holding import Holding, Key, usual_part

_MEASURES = ("strange ids in a minute", "in an hour", "in a day", "failing in an hour", "in a row")


def _split(known: Knowledge) -> dict[Key, Any]:
    return {("most", "", one.cls, one.kind): one.usual for one in known.groups}


def _join(known: Knowledge, things: dict[Key, Any]) -> Knowledge:
    return replace(known, groups=tuple(Group(cls, kind, usual) for (_, _, cls, kind), usual in sorted(things.items())))


HOLDING = Holding(
    {"most": usual_part(_MEASURES, lambda key: f"what `{key[2]}` names of kind `{key[3]}`")}, _split, _join, Model.backers
)
