"""Times in policies: RFC 3339, judged by the time of the call."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})")


def parse_end(text: str) -> float:
    """Unix seconds at which something ends: at a time (RFC 3339, section 5.6), or after the end of a date, UTC. Raises `ValueError`, one line."""
    shown = "".join(char if char.isprintable() else "?" for char in text[:40])
    try:
        if _DATE.fullmatch(text):
            return (datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)).timestamp()
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text.upper().replace(" ", "T")).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"`{shown}` is no date of the calendar") from None
    raise ValueError(f"`{shown}` is not a time: write e.g. `2026-12-01` or `2026-12-01T08:00:00Z`")


def parse_time(text: str) -> float:
    """Unix seconds of a time (RFC 3339, section 5.6). Raises `ValueError`, one line."""
    if _DATE.fullmatch(text):
        raise ValueError(f"`{text}` is a date: write e.g. `{text}T08:00:00Z`")
    return parse_end(text)


def shown_end(end: float) -> str:
    """For people: `2026-12-01 08:00 UTC`."""
    return datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%d %H:%M UTC")
