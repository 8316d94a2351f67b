"""How faults are worded: what the author wrote, and what he may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def shown(text: str) -> str:
    """User input for a message: in backticks, one line, bounded, printable."""
    short = text if len(text) <= 80 else text[:77] + "..."
    return "`" + "".join(char if char.isprintable() else " " if char.isspace() else "?" for char in short) + "`"


def suggestion(word: str, known: Sequence[str]) -> str:
    """`did you mean X?`, or what is known when that is not much."""
    lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{lower[close[0]]}`?"
    return f"known: {', '.join(known)}" if 0 < len(known) <= 12 else ""
