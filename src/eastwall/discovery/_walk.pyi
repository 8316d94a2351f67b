"""What `_walk.c` offers."""

from collections.abc import Callable
from typing import Any

class Walker:
    """`walk.Walker` in C, which also knows the keys of objects."""

    def __init__(
        self,
        describe: Callable[[str, str, bool, tuple[str, ...]], tuple[tuple[str, ...], bool, int, tuple[Any, ...]]],
        name: Callable[[str, int | str], tuple[tuple[str, int], int, str] | None],
        *,
        max_cached: int,
        max_values: int,
        max_depth: int,
        max_places: int,
    ) -> None:
        """`describe` is asked once per combination of keys, `name` (kind, value -> (pair, key, shown)) once per value."""
    def used(self, body: Any, holder: str, limit: int, /) -> tuple[tuple[str, ...], list[tuple[str, str, int, str]]]:
        """(property places, (place, kind, key, shown) of at most `limit` references)."""
    def given(self, body: Any, holder: str, limit: int, /) -> tuple[tuple[str, int], ...]:
        """Distinct (kind, key) of at most `limit` references."""
    def planned(self, body: Any, plan: tuple[tuple[tuple[str, ...], str], ...], limit: int, /) -> tuple[tuple[str, int], ...]:
        """The same, of the values at given places."""
    def sizes(self) -> tuple[int, int]:
        """(weight of plans that are kept, values that are kept)."""
