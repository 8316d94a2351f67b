"""See `behaviours.holding`: how much one address fails and asks at operations about accounts."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from eastwall.behaviours.authentication.model import Group, Knowledge, Model
from eastwall.behaviours.holding import Holding, Key, usual_part

_MEASURES = (
    "accounts failing in an hour", "in a day", "failures of one account in an hour", "in a day", "accounts reset in an hour", "in a day",
    "resets of one account in a day", "wrong codes in an hour",
)  # fmt: skip


def _split(known: Knowledge) -> dict[Key, Any]:
    return {("most", one.endpoint): one.usual for one in known.groups if one.usual is not None}


def _join(known: Knowledge, things: dict[Key, Any]) -> Knowledge:
    groups = {one.endpoint: replace(one, usual=None) for one in known.groups}
    for (_, endpoint), usual in things.items():
        groups[endpoint] = replace(groups.get(endpoint, Group(endpoint, None, None)), usual=usual)
    return Knowledge(tuple(one for _, one in sorted(groups.items()) if one.usual is not None or one.tells is not None))


HOLDING = Holding({"most": usual_part(_MEASURES, lambda key: "what one address does")}, _split, _join, Model.backers)
