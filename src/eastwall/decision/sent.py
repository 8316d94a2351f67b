"""Which names of properties callers of a class send to a service at all: what is sent nowhere is not sent here by chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from eastwall.behaviours.functions.matrix import first_use
from eastwall.model.endpoint import Endpoint


class Sent(Struct, frozen=True):
    """What callers of one class send to a service."""

    names: frozenset[str]
    """Last names of all properties, in lower case."""
    bodies: int
    """Clean calls with a body."""

    def never(self, place: str) -> tuple[int, float]:
        """(bodies none of which had a property of this name, how likely it is that the next has one by chance); (0, 1): some had."""
        if not self.bodies or name_of(place) in self.names:
            return 0, 1.0
        return self.bodies, first_use(self.bodies, len(self.names) + 1)


def name_of(place: str) -> str:
    """The last name of a place, in lower case: `role` of `variables.input.roles[].Role`."""
    return place.removesuffix("[]").rpartition(".")[2].lower()


def sent_by(endpoints: Iterable[Endpoint]) -> dict[tuple[str, str], Sent]:
    """(service, class) -> what its callers send."""
    names: dict[tuple[str, str], set[str]] = {}
    bodies: Counter[tuple[str, str]] = Counter()
    for endpoint in endpoints:
        for cls, places in endpoint.properties:
            names.setdefault((endpoint.service, cls), set()).update(map(name_of, places))
        for cls, calls in endpoint.property_calls:
            bodies[endpoint.service, cls] += calls
    return {key: Sent(frozenset(found), bodies[key]) for key, found in names.items()}
