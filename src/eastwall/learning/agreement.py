"""Whether callers agree on something that a learned operation does not know yet: who backs it, how many of those who could, for how long.

What would loosen a baseline is an `Element`. Its `Backing` is counted from calls that had it: of those that were let through and answered
well, and of those that Eastwall itself blocked for it alone, since a release that everybody follows is otherwise blocked for ever. Callers
are counted, not calls, by bottom-k sampling with one hash (`behaviours.sketch`): the sample of an element's backers and the sample of a crowd
are comparable, so that their overlap tells which share of the crowd backs the element.

Everything is counts, minima and lowest hashes: shards merge to what one stream would have counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, NamedTuple

from msgspec import Struct

BACKERS = 64
"""Callers of an element that are told apart: those with the lowest hashes."""
CROWD = 32
"""The same of a crowd: the callers of one class at one operation."""
MIN_ACTORS = 3
"""Distinct callers who must back an element."""
MIN_ACTORS_YOUNG = 2
"""The same at an operation with fewer than `ESTABLISHED` calls."""
ESTABLISHED = 200
MIN_CALLS = 10
MIN_CALLS_YOUNG = 3
LONE_CALLS = 200
"""Calls asked for where the crowd has fewer than `MIN_ACTORS` callers (a workload); a tenth of the operation's calls while these are fewer."""
SHARE = 0.2
"""Share of the crowd that must back an element."""
GRAVE_SHARE = 0.5
"""The same for what gives privilege: an admin function, a privileged property, the end of an ownership or of an order."""
MAX_LARGEST = 0.5
"""Share of the calls that no caller may exceed, where the crowd has `MIN_ACTORS`."""
SECONDS = 3_600.0
"""From the first backers to the last, for an operation that is known for ten hours; for a younger one a tenth of that time."""
MIN_SECONDS = 10.0
DEPLOY_SECONDS = 60.0
"""The same after a deploy."""
LOOKBACK = 86_400.0
"""Seconds before the first backer whose callers are of the crowd too: at night, few callers are not all."""
DEPLOY_CROWD = 8
"""After a deploy only those who called since then are the crowd, once they are so many, or half of all who are known."""


class Element(NamedTuple):
    """One thing that a baseline does not have."""

    aspect: str
    """`property`, `function`, `range`, `after`, `once`, `exclusive`, `accustomed`, `release`, `model` (see `learning.held`)."""
    endpoint: str
    """Endpoint id; empty for what holds for a whole service (`exclusive`)."""
    cls: str
    """Identity class, where it is about one; of `accustomed` the detection."""
    place: str
    """Property, place of a number or of a finding (of `release`: detection and place), or kind of object."""


class Backing:
    """The calls that had an element."""

    __slots__ = ("actors", "calls", "first", "grave", "last")

    def __init__(self) -> None:
        self.calls = 0
        self.first = inf
        self.last = 0.0
        self.grave = False
        """Whether a detection called it grave."""
        self.actors: dict[int, list[float]] = {}
        """Hash of one of the `BACKERS` lowest callers -> [calls, first time, least value, greatest value]."""

    def note(self, actor: int, time: float, value: float | None = None, *, grave: bool = False) -> None:
        """Count one call. `value`: the number that it is about."""
        self.calls += 1
        self.first = min(self.first, time)
        self.last = max(self.last, time)
        self.grave |= grave
        low, high = (inf, -inf) if value is None else (value, value)
        self._actor(actor, 1, time, low, high)

    def merge(self, other: Backing) -> None:
        self.calls += other.calls
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)
        self.grave |= other.grave
        for actor, (calls, first, low, high) in other.actors.items():
            self._actor(actor, calls, first, low, high)

    def _actor(self, actor: int, calls: float, first: float, low: float, high: float) -> None:
        known = self.actors.get(actor)
        if known is None:
            self.actors[actor] = [calls, first, low, high]
            if len(self.actors) > BACKERS:
                del self.actors[max(self.actors)]
            return
        known[0] += calls
        known[1] = min(known[1], first)
        known[2] = min(known[2], low)
        known[3] = max(known[3], high)

    def largest(self) -> float:
        """The share of the calls that the busiest of the callers told apart made."""
        return max((entry[0] for entry in self.actors.values()), default=0.0) / self.calls if self.calls else 0.0

    def span(self) -> float:
        """Seconds between the first times of the backers, of three or more without the last, of four or more without the first: one wrong
        clock says nothing. Of one or two backers, between their calls."""
        firsts = sorted(entry[1] for entry in self.actors.values())
        if len(firsts) < 3:
            return max(self.last - self.first, 0.0)
        return firsts[-2] - firsts[len(firsts) > 3]

    def reach(self, backers: int) -> tuple[float, float]:
        """(least, greatest) value that so many callers reached: what fewer went beyond does not count. inf and -inf for none."""
        lows = sorted(entry[2] for entry in self.actors.values())
        highs = sorted((entry[3] for entry in self.actors.values()), reverse=True)
        at = backers - 1
        return (lows[at], highs[at]) if at < len(lows) else (inf, -inf)

    def dump(self) -> list[Any]:
        return [self.calls, self.first, self.last, self.grave, sorted([actor, *entry] for actor, entry in self.actors.items())]

    @classmethod
    def load(cls, data: Any) -> Backing:
        made = cls()
        made.calls, made.first, made.last, made.grave = data[:4]
        made.actors = {actor: [calls, first, low, high] for actor, calls, first, low, high in data[4]}
        return made


class Crowd:
    """Who could back something: callers of one class, with the time of their last call."""

    __slots__ = ("_ceiling", "last")

    def __init__(self) -> None:
        self.last: dict[int, float] = {}
        """Hash of one of the `CROWD` lowest callers -> Unix seconds."""
        self._ceiling = 0
        """The largest hash once full; 0 before."""

    def note(self, actor: int, time: float) -> None:
        last = self.last
        known = last.get(actor)
        if known is not None:
            if time > known:
                last[actor] = time
        elif not self._ceiling or actor < self._ceiling:
            last[actor] = time
            if len(last) > CROWD:
                del last[max(last)]
            if len(last) == CROWD:
                self._ceiling = max(last)

    def merge(self, other: Crowd) -> None:
        for actor, time in other.last.items():
            self.note(actor, time)

    def dump(self) -> list[list[float]]:
        return sorted([actor, time] for actor, time in self.last.items())

    @classmethod
    def load(cls, data: Any) -> Crowd:
        made = cls()
        for actor, time in data:
            made.note(actor, time)
        return made


class Agreement(Struct, frozen=True):
    """What is said of one element."""

    agreed: bool
    why: str
    """What it waits for, or on what it is agreed: one plain sentence."""
    actors: int
    """Distinct callers who back it, at most `BACKERS`."""
    needed: int
    """Callers who reached a number, for it to count."""
    share: float
    """Of the crowd, 0..1."""
    largest: float
    """Share of the calls of the busiest caller."""


def active(crowds: Sequence[Crowd], since: float, *, deployed: bool = False) -> set[int]:
    """Who could back what began at `since`: the `CROWD` lowest of all crowds' callers."""
    known: dict[int, float] = {}
    for crowd in crowds:
        for actor, last in crowd.last.items():
            known[actor] = max(last, known.get(actor, last))
    if deployed:
        found = {actor for actor, last in known.items() if last >= since}
        if len(found) >= min(DEPLOY_CROWD, -(-len(known) // 2)):
            return set(sorted(found)[:CROWD])
    return set(sorted(actor for actor, last in known.items() if last >= since - LOOKBACK)[:CROWD])


def agree(backing: Backing, crowd: set[int], *, calls: int, age: float, deployed: bool, grave: bool) -> Agreement:
    """Whether a crowd agrees. `calls`: all that the operation ever had; `age`: seconds that its baseline stood before this began;
    `deployed`: a release began with it."""
    young = calls < ESTABLISHED
    actors, busiest = len(backing.actors), backing.largest()
    crowd = crowd or set(backing.actors)
    share = len(crowd & backing.actors.keys()) / len(crowd) if crowd else 0.0
    seconds = min(SECONDS, max(MIN_SECONDS, age / 10))
    seconds = min(seconds, DEPLOY_SECONDS) if deployed else seconds
    span = backing.span()
    alone = len(crowd) < MIN_ACTORS and actors < MIN_ACTORS
    least_share = GRAVE_SHARE if grave else SHARE
    if alone:
        needed = max(1, len(crowd))
        least_calls = min(LONE_CALLS, max(MIN_CALLS_YOUNG, calls // 10))
    else:
        needed = MIN_ACTORS_YOUNG if young else MIN_ACTORS
        least_calls = MIN_CALLS_YOUNG if young else MIN_CALLS
    lacks = []
    if alone and grave:
        lacks.append(f"what gives privilege is never taken from fewer than {MIN_ACTORS} callers")
    if actors < needed:
        lacks.append(f"{actors} of the {needed} callers needed")
    if share < least_share:
        lacks.append(f"{share:.0%} of the callers who could, {least_share:.0%} are needed")
    if backing.calls < least_calls:
        lacks.append(f"{backing.calls:,} of the {least_calls:,} calls needed")
    if not alone and busiest > MAX_LARGEST:
        lacks.append(f"one caller made {busiest:.0%} of the calls, at most {MAX_LARGEST:.0%} may be")
    if span < seconds:
        lacks.append(f"it lasts {span:,.0f} of the {seconds:,.0f} seconds needed")
    told = (
        f"{backing.calls:,} calls of {_at_least(actors)}, {share:.0%} of those who could, the busiest with {busiest:.0%} of them"
    )
    why = f"{told}; it waits: {'; '.join(lacks)}" if lacks else f"{told}, in {span:,.0f} seconds"
    reach = max(needed, -(-int(least_share * 100 * len(crowd)) // 100))
    return Agreement(not lacks, why, actors, min(reach, max(actors, 1)), round(share, 4), round(busiest, 4))


def _at_least(actors: int) -> str:
    if actors == 1:
        return "one caller"
    return f"{actors} callers" if actors < BACKERS else f"{actors} callers or more"
