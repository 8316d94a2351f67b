"""What is done to an object, in which order and how often: invariants of business flows (OWASP API6:2023).

Per kind of object a uniform sample is kept (the lowest keys: a key is a keyed hash), and for each the operations that changed it, with the
time of the first and their number. From objects that were seen being made, so that nothing of them is missing, follow two invariants:

- **after**: operation B was only ever carried out on objects on which A had been (`pay` after `confirm`);
- **once**: B was carried out at most once on each (`redeem`).

That A always came before B may be chance, where A is done to most objects: had B been carried out on just any objects, they would all have had A
with the probability s^n, s being the share of the other objects that had it. A name that presumes the other (`refund` and `pay`) is no chance.
What only reads by its name is no step, and comes again as often as somebody looks.

Both are counts over firsts, so shards merge to what one stream would have given. After Beschastnikh et al., "Leveraging existing
instrumentation to automatically infer invariant-constrained models" (Synoptic, 2011): precedence invariants, mined from traces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from eastwall.behaviours.sessions import kinship
from eastwall.behaviours.sketch import keep_lowest
from eastwall.model.endpoint import Endpoint, Precedent

SAMPLE = 512
"""Objects per kind that are looked at."""
MAX_KINDS = 128
"""Kinds of a service; further ones are not taken."""
MAX_STEPS = 32
"""Operations kept of one object."""
MIN_OBJECTS = 12
"""Objects on which an operation was carried out, before anything is concluded."""
MIN_ACTORS = 3
"""Callers who carried it out."""
MIN_UNNAMED = 44
"""The same of what is done once, where no name says so (`link`, not `redeem`): that two repetitions on a further object are 1,000 to 1 against a
caller who does as others do, by the rule of succession (`detections.repetition`)."""
COINCIDENCE = 0.01
"""Probability from which on the order is chance."""
TOLERANCE = 0.02
"""Share of objects that may contradict: whoever skips a step while we learn does not hide the rule."""
CREATED = ""
"""Stands for the making of an object among its operations."""


class Steps:
    """What was done to the objects of one service."""

    __slots__ = ("_ceilings", "actors", "objects")

    def __init__(self) -> None:
        self.objects: dict[str, dict[int, dict[str, list[float]]]] = {}
        """kind -> key -> endpoint id (or `CREATED`) -> [first time, how often]."""
        self.actors: dict[str, set[int]] = {}
        """endpoint id -> hashes of the lowest `MIN_ACTORS` callers."""
        self._ceilings: dict[str, int] = {}

    def note(self, kind: str, key: int, endpoint: str, actor: int, time: float) -> None:
        """One clean call that changed, or made (`CREATED`), an object."""
        if endpoint != CREATED:
            keep_lowest(self.actors.setdefault(endpoint, set()), (actor,), MIN_ACTORS)
        self._add(kind, key, endpoint, time, 1)

    def merge(self, other: Steps) -> None:
        for endpoint, actors in other.actors.items():
            keep_lowest(self.actors.setdefault(endpoint, set()), actors, MIN_ACTORS)
        for kind, objects in other.objects.items():
            for key, steps in objects.items():
                for endpoint, (first, count) in steps.items():
                    self._add(kind, key, endpoint, first, int(count))

    def move(self, renamed: Mapping[str, str]) -> None:
        """Endpoints have new ids."""
        if not renamed:
            return
        for objects in self.objects.values():
            for key, steps in objects.items():
                if not renamed.keys().isdisjoint(steps):
                    moved: dict[str, list[float]] = {}
                    for endpoint, (first, count) in steps.items():
                        _step(moved, renamed.get(endpoint, endpoint), first, int(count))
                    objects[key] = moved
        for old, new in renamed.items():
            if old in self.actors:
                keep_lowest(self.actors.setdefault(new, set()), self.actors.pop(old), MIN_ACTORS)

    def invariants(
        self, operations: Mapping[str, Endpoint]
    ) -> tuple[dict[str, tuple[Precedent, ...]], dict[str, tuple[str, int]]]:
        """(endpoint id -> what it comes after, endpoint id -> (kind, objects) where it is done once only). `operations`: by endpoint id;
        others have no rules."""
        after: dict[str, tuple[Precedent, ...]] = {}
        once: dict[str, tuple[str, int]] = {}
        for kind in sorted(self.objects):
            whole = [steps for steps in self.objects[kind].values() if CREATED in steps]
            done = Counter(endpoint for steps in whole for endpoint in steps if endpoint in operations)
            for endpoint, count in done.items():
                own = operations[endpoint]
                if count < MIN_OBJECTS or len(self.actors.get(endpoint, ())) < MIN_ACTORS or kinship.reads(own):
                    continue
                those = [steps for steps in whole if endpoint in steps]
                allowed = int(TOLERANCE * count)
                before = Counter(e for steps in those for e in steps if steps[e][0] < steps[endpoint][0])
                always = [e for e in sorted(before) if e in operations and before[e] >= count - allowed]
                others = [steps for steps in whole if endpoint not in steps] if always else []
                firsts = tuple(Precedent(kind, e, count) for e in always if _cause(own, operations[e], count, others))
                if firsts:
                    after[endpoint] = after.get(endpoint, ()) + firsts
                least = MIN_OBJECTS if kinship.one_time(own, (kind,)) else MIN_UNNAMED
                if count >= least and sum(steps[endpoint][1] > 1 for steps in those) <= allowed:
                    once[endpoint] = (kind, count)
        return after, once

    def dump(self) -> list[Any]:
        """Plain data for `load`."""
        return [self.objects, {endpoint: sorted(actors) for endpoint, actors in self.actors.items()}]

    @classmethod
    def load(cls, data: Any) -> Steps:
        state = cls()
        state.objects = data[0]
        state.actors = {endpoint: set(actors) for endpoint, actors in data[1].items()}
        return state

    def _add(self, kind: str, key: int, endpoint: str, first: float, count: int) -> None:
        objects = self.objects.get(kind)
        if objects is None:
            if len(self.objects) >= MAX_KINDS:
                return
            objects = self.objects[kind] = {}
        steps = objects.get(key)
        if steps is None:
            if len(objects) >= SAMPLE:
                ceiling = self._ceilings.get(kind)
                if ceiling is None:
                    ceiling = self._ceilings[kind] = max(objects)
                if key >= ceiling:
                    return
                del objects[ceiling]
                self._ceilings.pop(kind)
            steps = objects[key] = {}
        if endpoint in steps or len(steps) < MAX_STEPS:
            _step(steps, endpoint, first, count)


def _cause(own: Endpoint, earlier: Endpoint, count: int, others: Sequence[Mapping[str, Any]]) -> bool:
    """Whether it is no chance that `earlier` came first on all of `count` objects: see the module."""
    if kinship.reads(earlier):
        return False
    had = sum(earlier.id in steps for steps in others)
    return kinship.presumes(own, earlier) or ((had + 1) / (len(others) + 2)) ** count <= COINCIDENCE


def _step(steps: dict[str, list[float]], endpoint: str, first: float, count: int) -> None:
    known = steps.get(endpoint)
    if known is None:
        steps[endpoint] = [first, count]
    else:
        known[0] = min(known[0], first)
        known[1] += count
