"""Where callers name only what they were given: of each operation and place, of each kind of object, by class of callers.

Ids come from answers: a client lists, then opens. Where a class of callers has always done so, one that names what it was never given got the
id elsewhere, whoever holds the object, and also where nobody is known to. Where people come by ids in other ways (links in mails, bookmarks,
support), the counts say so, and nobody is judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from eastwall.behaviours.intervals import wilson
from eastwall.behaviours.ownership_claims.counts import MAX_STRANGERS, Naming
from eastwall.behaviours.ownership_claims.judging import GivenFirst

MIN_CALLS = 15
MIN_ACTORS = 3
MOST = 0.02
"""Share of the calls of ordinary callers that may name what they were not given."""
FLOOR = 0.9
"""Lower end of the 95 % interval (Wilson) of the share of calls that name what was given, for one place to speak for itself."""
KIND_FLOOR = 0.93
"""The same for a kind at all places together, for places that were seen rarely or never."""
SURE = 0.97
MAX_EXCEPTIONS = 0.1
"""Share of the actors that may be exceptions, beside one."""


COLLEAGUES = 0.005
"""Share of the calls of a class that may name, of a kind, what colleagues alone were given, for that to be held against anybody."""
MIN_COLLEAGUES = 150
"""Calls that this takes."""


class _Odds:
    """What the callers of a class do."""

    def __init__(self, actors: Mapping[int, Sequence[int]], by: str) -> None:
        odd = 3 if by == "actor" else 4
        told = {actor: odds for actor, odds in actors.items() if odds[2]}
        self.by = by
        self.exceptions = frozenset(actor for actor, odds in told.items() if odds[odd] > max(2, odds[2] // 10))
        regular = [odds for actor, odds in told.items() if actor not in self.exceptions]
        self.actors = len(regular)
        self.of = sum(odds[2] for odds in regular)
        self.given = self.of - sum(odds[odd] for odds in regular)
        # Of a crowd only a sample is known: who else is an exception nobody knows.
        few = len(self.exceptions) <= 1 + MAX_EXCEPTIONS * len(told) and (not self.exceptions or len(actors) < MAX_STRANGERS)
        self.open = not few or self.of - self.given > max(1, MOST * self.of)
        """Callers do name what they were not given."""

    def kept(self, floor: float) -> bool:
        enough = self.of >= MIN_CALLS and self.actors >= MIN_ACTORS
        return enough and not self.open and self.of - self.given <= MOST * self.of and wilson(self.given, self.of) >= floor


def _by(actors: Mapping[int, Sequence[int]]) -> str:
    """Whose objects of a kind are, by how a class names them: those of each caller, or also those of colleagues."""
    of = sum(odds[2] for odds in actors.values())
    colleagues = sum(odds[3] - odds[4] for odds in actors.values())
    return "actor" if of >= MIN_COLLEAGUES and colleagues <= COLLEAGUES * of else "tenant"


def given_first(named: Mapping[str, Mapping[str, Naming]], services: Mapping[str, str]) -> tuple[GivenFirst, ...]:
    """What is known of `named` (operation -> place -> counts), sorted. `services`: operation -> service."""
    kinds: dict[tuple[str, str], Naming] = {}
    for endpoint, places in named.items():
        if endpoint in services:
            for one in places.values():
                kinds.setdefault((services[endpoint], one.kind), Naming()).merge(one)
    whole = {
        (service, kind, cls): _Odds(actors, _by(actors))
        for (service, kind), one in kinds.items()
        for cls, actors in one.classes.items()
    }
    found, open_kinds = [], set()
    for endpoint, places in named.items():
        service = services.get(endpoint)
        if service is None:
            continue
        for place, one in places.items():
            for cls, actors in one.classes.items():
                elsewhere = whole.get((service, one.kind, cls))
                if elsewhere is None:
                    continue  # a class too many
                odds = _Odds(actors, elsewhere.by)
                if odds.open and odds.of >= MIN_CALLS:
                    open_kinds.add((service, one.kind, cls))
                if odds.kept(FLOOR):
                    exceptions = odds.exceptions if elsewhere.open else odds.exceptions | elsewhere.exceptions
                    found.append(_known(service, endpoint, place, one.kind, cls, odds, exceptions))
                elif odds.of > odds.given or odds.exceptions:
                    found.append(GivenFirst(service, endpoint, place, one.kind, cls, odds.given, odds.of, 0, False))
    for (service, kind, cls), odds in whole.items():
        if odds.kept(KIND_FLOOR) and (service, kind, cls) not in open_kinds:
            found.append(_known(service, "", "", kind, cls, odds, odds.exceptions))
    return tuple(sorted(found, key=lambda one: (one.service, one.endpoint, one.place, one.kind, one.cls)))


def _known(service: str, endpoint: str, place: str, kind: str, cls: str, odds: _Odds, exceptions: Iterable[int]) -> GivenFirst:
    high = wilson(odds.given, odds.of) >= SURE
    return GivenFirst(
        service, endpoint, place, kind, cls, odds.given, odds.of, odds.actors, high, tuple(sorted(exceptions)), odds.by
    )
