"""What `_survey.c` offers."""

from typing import Any

def doubts(body: bytes, tree: Any, max_depth: int, /) -> int:
    """See `json.doubts_of`."""
