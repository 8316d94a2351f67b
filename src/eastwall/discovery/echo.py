"""Identifiers that answers gave: a path segment that was one of them is a value, whatever it looks like.

Only values under names that identify count (`id`, `slug`, `sku`, `order_ref`, ...): `/orders/active` is not told to be a value because
some order has the status `active`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eastwall.discovery.objects import MAX_VALUE, reference

MAX_ECHOES = 65_536
"""Hashes per generation; there are two, so that what is asked for again stays."""
MAX_OF_ONE = MAX_ECHOES // 8
"""Of a generation, those that one caller's answers fill at most: one who is given much does not push out what others were given."""
MAX_GIVEN = 300
"""Values taken from one answer."""
_MAX_NODES = 3_000
_NAMES = frozenset({"name", "code", "key", "handle", "login", "username", "number", "ref", "isbn", "ean", "iso", "href", "tag"})
"""Names that identify beside those that refer to an object by their form."""


def identifying(body: Any) -> list[str]:
    """Values of a decoded answer that stand under identifying names, at most `MAX_GIVEN`; breadth first, so that a list's items come
    before their details."""
    found: list[str] = []
    level = [body]
    seen = 0
    while level and len(found) < MAX_GIVEN and seen < _MAX_NODES:
        below: list[Any] = []
        for node in level:
            seen += 1
            if type(node) is list:
                below += [item for item in node[:MAX_GIVEN] if type(item) in (dict, list)]
            elif type(node) is dict:
                for name, value in node.items():
                    kind = type(value)
                    if kind is str or kind is int:
                        if name.lower() in _NAMES or reference(name[:128]) is not None:
                            text = value if kind is str else str(value) if abs(value) < 10**20 else ""
                            if 0 < len(text) <= MAX_VALUE:
                                found.append(text)
                    elif kind is dict or kind is list:
                        below.append(value)
        level = below
    return found[:MAX_GIVEN]


class Echoes:
    """Values that answers gave lately, as hashes of this process. Bounded: the generation longest unused leaves."""

    __slots__ = ("_by", "_older", "_recent")

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._older: set[int] = set()
        self._by: dict[str, int] = {}
        """Caller -> new values in the present generation."""

    def add(self, values: Sequence[str], actor: str | None = None) -> None:
        """Values of an answer to a caller; of None they are taken without limit."""
        if not values:
            return
        recent = self._recent
        if actor is not None and self._by.get(actor, 0) >= MAX_OF_ONE:
            return
        before = len(recent)
        recent.update(map(hash, values))
        if len(recent) > MAX_ECHOES:
            self._older, self._recent = recent, set()
            self._by.clear()
        elif actor is not None and len(recent) > before:
            self._by[actor] = self._by.get(actor, 0) + len(recent) - before

    def segments(self, segments: Sequence[str]) -> tuple[int, ...]:
        """Indices of the path segments that are such values."""
        recent, older = self._recent, self._older
        if not recent and not older:
            return ()
        return tuple([at for at, text in enumerate(segments) if (key := hash(text)) in recent or key in older])

    def __len__(self) -> int:
        return len(self._recent) + len(self._older)
