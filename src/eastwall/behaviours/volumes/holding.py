"""See `behaviours.holding`: what one caller has in an hour, a day, a week."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from eastwall.behaviours.holding import Holding, Key, Part, drift
from eastwall.behaviours.volumes.model import SPANS, Group, Knowledge, Measure, Model
from eastwall.behaviours.windows import DAY

CELLS = 24
"""Caller-windows on which a measure must rest to be settled."""


def _split(known: Knowledge) -> dict[Key, Any]:
    return {
        ("most", group.service, group.cls, span, measure.name): measure
        for group in known.groups
        for span, _, measures in group.spans
        for measure in measures
    }


def _join(known: Knowledge, things: dict[Key, Any]) -> Knowledge:
    by: dict[Key, list[Measure]] = {}
    for key, value in things.items():
        by.setdefault(key[1:4], []).append(value)

    def kept(group: Group, span: str) -> tuple[Measure, ...]:
        return tuple(sorted(by.get((group.service, group.cls, span), ()), key=lambda one: one.name))

    groups = tuple(
        replace(group, spans=tuple((span, windows, kept(group, span)) for span, windows, _ in group.spans))
        for group in known.groups
    )
    return replace(known, groups=groups)


def _shown(value: Measure) -> str:
    return f"at most {value.greatest:,}"


HOLDING = Holding(
    {
        "most": Part(
            Measure,
            lambda value: int(value.cells),
            lambda first, second: second.greatest > first.greatest or second.upper > first.upper,
            lambda first, second: second.greatest <= drift(first.greatest) and second.upper <= drift(first.upper),
            lambda key: f"`{key[4]}` of one `{key[2]}` in one {key[3]}",
            _shown,
            firm=CELLS,
            settle=lambda key: max(DAY, *(3.0 * seconds for name, seconds, _ in SPANS if name == key[3]), 0.0),
        )
    },
    _split,
    _join,
    Model.backers,
)
