"""What `_values.c` offers."""

from collections.abc import Callable
from typing import Any

def features(text: str, /) -> int:
    """What a text holds, as bits: `data_values.HOLDS` says which of them each class needs."""

class Walker:
    """`data_values.Search.walk` in C."""

    def __init__(
        self,
        plan: Callable[[str, str, tuple[str, ...], str], tuple[bool, tuple[Any, ...]]],
        value: Callable[[Any, str, Any, Any, int], None],
        *,
        gate: int,
        labels: bool,
        numeric: bool,
        max_depth: int,
        max_hits: int,
    ) -> None:
        """`plan` is asked once per combination of keys, place and context, `value` for what may be a value; `gate`: bits of which one
        must hold for a look at a text."""
    def walk(self, node: Any, place: str, inside: str, found: dict[tuple[str, str], tuple[str, float]], /) -> None:
        """Add the hits below a dict or list."""
    def forget(self) -> None:
        """Forget all plans."""
