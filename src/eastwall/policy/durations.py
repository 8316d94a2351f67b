"""Lengths of time in policies: `30s`, `10m`, `1h`, `7d`, `2w`."""

from __future__ import annotations

import re

_FORM = re.compile(r"([1-9][0-9]{0,5}) ?([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def parse_duration(text: str) -> float:
    """Seconds. Raises `ValueError` with one line."""
    found = _FORM.fullmatch(text)
    if found is None:
        shown = "".join(char if char.isprintable() else "?" for char in text[:40])
        raise ValueError(f"`{shown}` is not a length of time: write e.g. `30s`, `10m`, `1h`, `7d`")
    return float(int(found[1]) * _SECONDS[found[2]])
