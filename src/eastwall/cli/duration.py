"""Options that are a length of time."""

from __future__ import annotations

import re
from typing import Any

import click

_DURATION = re.compile(r"(\d{1,6})\s*(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Duration(click.ParamType[float]):
    """`90m`, `24h`, `7d`: seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = _DURATION.fullmatch(str(value).strip().lower())
        if found is None:
            self.fail(f"`{value}` is not a duration; write e.g. 90m, 24h or 7d", param, ctx)
        return float(int(found[1]) * _SECONDS[found[2]])
