"""How sure a share is that was counted."""

from __future__ import annotations


def wilson(hits: int, of: int) -> float:
    """Lower end of the 95 % interval of a share (E. B. Wilson, 1927)."""
    z = 1.96
    share = hits / of
    middle = share + z * z / (2 * of)
    spread = z * ((share * (1 - share) + z * z / (4 * of)) / of) ** 0.5
    return float((middle - spread) / (1 + z * z / of))
