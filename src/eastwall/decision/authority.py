"""Which properties of a body give somebody authority: `{"role": "admin"}`, `{"is_admin": true}`.

A name alone says little of an operation that nobody has called yet: new forms have roles, too. Name and value together say what is wanted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eastwall.discovery.privilege import gives_authority

MAX_NODES = 200
"""Values of one place that are looked at."""


def giving_authority(body: Any, places: Iterable[str]) -> tuple[str, ...]:
    """Those of `places` (`items[].role`, as `discovery.walk` writes them) of which a value gives authority."""
    return tuple([place for place in places if any(gives_authority(place, value) for value in _values(body, place))])


def _values(body: Any, place: str) -> list[Any]:
    """What stands at a place."""
    nodes = [body]
    for part in place.split("."):
        name = part.partition("[]")[0]
        if name:
            nodes = [node[name] for node in nodes if type(node) is dict and name in node]
        for _ in range((len(part) - len(name)) // 2):
            nodes = [item for node in nodes if type(node) is list for item in node][:MAX_NODES]
    return nodes
