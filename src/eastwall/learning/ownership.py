"""Which kinds of objects belong to one actor each, and who holds which (OWASP API1:2023).

Two tables per service, both independent of the order of calls:

- per kind, a uniform **sample** of objects (the lowest keys: a key is a keyed hash) with everybody who was given or used them.
  From it `judge` concludes whether the kind is exclusive;
- the **holders** of the most recently given objects, which go into the snapshot.

Exclusive means: of the sampled objects nearly all have exactly one actor. An object that somebody asked for by its id once says nothing
of that, and is not counted before it is asked for again, by whomever: of ids drawn from a large catalogue most have one actor at first,
too. What a service gives unasked (a list of one's orders, a thing just made) it has chosen for this actor. Two things would hide that and are taken out first:

- **broad classes**, identity classes that see everybody's objects (staff, a reporting service). A class is broad when its median
  member holds at least half of the objects, when most of what its members hold belongs to many others, or when the kind is exclusive
  without the class and not with it. Its members do not
  count as owners, and `Judgement.broad` names them so that they are not judged;
- **outliers**: up to a tenth of the actors, those who share most. So one actor who reads others' objects while we learn cannot
  make a private kind look public. They stay owners of what they hold, and are judged like everybody.

A kind whose objects are shared by actors is asked once more by **tenants** (the claim that tells the customer or organisation of an
actor): where nearly all objects have exactly one tenant, the kind is exclusive to tenants, and judged so.

A kind whose objects are still shared after that (a catalogue) is public and is never judged.

Of an exclusive kind those classes are judged whose members were seen to keep to their own (`Judgement.settled`). Of the first objects that
support or a nightly job asks for, the owners have not come yet: such a class looks like one of owners, until more was seen of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from heapq import nlargest
from math import inf
from statistics import median
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from eastwall.behaviours.intervals import wilson
from eastwall.discovery.objects import hash_object

SAMPLE = 512
"""Objects per kind that are looked at."""
MAX_SAMPLED_HOLDERS = 64
"""Actors kept for a sampled object."""
MAX_KINDS = 128
"""Kinds per service. When there are more, the quarter with the fewest objects leaves."""
MAX_HOLDERS = 16
"""Actors kept in the table of holders for one object: the earliest. Staff, which is left out when it is published, is among them."""
MAX_PUBLISHED = 8
"""Of them, those that engines are told."""
MAX_HELD = 100_000
"""Objects in the table of holders of one service; beyond, whoever was given most loses the longest unused ones."""
MAX_TENANTS = 100_000
"""Actors whose tenant is known, per service; further ones have none."""
ENOUGH_TOLD = 2
"""Calls that name an object before it counts."""
OWN_NAMES = 0.9
"""Share of objects that are called as the only caller that holds them, from which on the kind is one of callers."""
ANONYMOUS = ""
"""Holder of what was read without any identity."""

DAY = 86_400.0
GRANT_DAYS = 180
"""A grant that was not seen for so long (no answer gave the object to the actor) counts no more beside others that were."""
FORGOTTEN_DAYS = 360
"""An object of which no grant was seen for so long is nobody's any more."""
EVIDENCE_OBJECTS = 64
"""Sampled objects seen within `GRANT_DAYS` from which on a kind is judged by these alone."""
LATEST = 16
"""Objects that must have been seen so late for it to be so late: a wrong clock or two age nothing."""

Holder = tuple[float, str, str, int]
"""(first time, actor, identity class, last day that an answer gave it the object: days since 1970)."""


class Evidence(Struct, frozen=True):
    """How much it takes to call a kind exclusive."""

    objects: int = 8
    """Sampled objects at least."""
    actors: int = 3
    """Actors at least, without broad classes and outliers."""
    share: float = 0.9
    """Share of objects with exactly one actor at least."""
    settled: float = 0.7
    """Lower end (95 %) of the same share of one class of callers, for its members to be judged: 9 of 9 objects, 20 of 22."""
    settled_few: float = 0.85
    """The same where a class has fewer members than `actors`: 22 of 22 objects."""


class Judgement(Struct, frozen=True):
    """What the sample says of one kind."""

    exclusive: bool
    public: bool
    """There was enough to judge and the objects are shared."""
    confidence: float
    """0..1: the lower end (95 %) of the share of objects with one actor (Wilson, 1927), lowered for few actors."""
    evidence: str
    broad: tuple[str, ...] = ()
    """Broad identity classes, sorted: never judged for this kind."""
    by: str = "actor"
    """Whose the objects are: `actor` or `tenant`."""
    alone: float = 0.0
    """Share of the objects that one actor holds, in tenths; 0: not known."""
    settled: tuple[str, ...] = ()
    """Classes whose members are known to keep to their own, sorted: they alone are judged. Never empty where `exclusive`."""
    own_names: bool = False
    """Nearly every object is called as the only caller that holds it: they are the callers themselves."""


UNKNOWN = Judgement(
    exclusive=False, public=False, confidence=0.0, evidence="no object of this kind has been given to anybody yet"
)


class Ownership:
    """The objects of one service."""

    __slots__ = ("_ceilings", "held", "kinds", "seen", "tenants", "told")

    def __init__(self) -> None:
        self.kinds: dict[str, dict[int, dict[str, str]]] = {}
        """kind -> key -> actor -> identity class."""
        self.told: dict[str, dict[int, int]] = {}
        """kind -> key -> how often it was asked for, up to `ENOUGH_TOLD`, which one that was given unasked has at once."""
        self.seen: dict[str, dict[int, int]] = {}
        """kind -> key -> last day that it was given or named; 0: not known."""
        self.held: dict[int, tuple[float, str, tuple[Holder, ...]]] = {}
        """key -> (last given, kind, holders in order of first time). The least recently given stand first."""
        self.tenants: dict[str, str] = {}
        """actor -> tenant; of one seen in two the later by name, whatever came first."""
        self._ceilings: dict[str, int] = {}

    def belongs(self, actor: str, tenant: str) -> None:
        """The actor is of a tenant."""
        known = self.tenants.get(actor)
        if known is None and len(self.tenants) >= MAX_TENANTS:
            return
        if known is None or tenant > known:
            self.tenants[actor] = tenant

    def group(self, actor: str) -> str:
        """`tenant:NAME` of an actor, or the actor itself where none is known."""
        tenant = self.tenants.get(actor)
        return f"tenant:{tenant}" if tenant else actor

    def give(self, kind: str, key: int, actor: str, cls: str, time: float, *, asked: bool = False) -> None:
        """The actor was given the object, or made it. `asked`: the same call named it."""
        self.give_all(((kind, key),), actor, cls, time, asked=asked)

    def give_all(self, objects: Iterable[tuple[str, int]], actor: str, cls: str, time: float, *, asked: bool = False) -> None:
        """The same of several (kind, key): an answer gives many."""
        held, ceilings, day = self.held, self._ceilings, int(time // DAY)
        weight = 1 if asked else ENOUGH_TOLD
        ours = ((time, actor, cls, day),)
        for kind, key in objects:
            ceiling = ceilings.get(kind)
            if ceiling is None or key <= ceiling:  # as `_note` asks: nearly all objects are in no sample
                self._note(kind, key, actor, cls, weight, day)
            entry = held.pop(key, None)
            if entry is None:
                held[key] = (time, kind, ours)
                if len(held) > MAX_HELD:
                    self._thin(MAX_HELD - MAX_HELD // 20)
                    held = self.held
                continue
            last, _, holders = entry
            for first, holder, _, known in holders:
                if holder == actor:
                    if time < first:
                        holders = _earliest([*(h for h in holders if h[1] != actor), (time, actor, cls, known)])
                    elif day > known:
                        holders = tuple([(*h[:3], day) if h[1] == actor else h for h in holders])
                    break
            else:
                holders = _earliest([*holders, (time, actor, cls, day)])
            held[key] = (last if last > time else time, kind, holders)

    def _thin(self, room: int) -> None:
        """Leave `room` objects: whoever was given most first loses the longest unused ones, down to one level for all. So an actor who is
        given, or makes, any number of objects pushes out its own."""
        counts = Counter(holders[0][1] for _, _, holders in self.held.values())
        level, surplus = 0, len(self.held) - room
        excess = sorted(counts.values(), reverse=True)
        for n, count in enumerate(excess, 1):
            below = excess[n] if n < len(excess) else 0
            if (count - below) * n >= surplus:
                level = count - -(-surplus // n)
                break
            surplus -= (count - below) * n
        # To the level and one more; of that one the longest unused go, as many as it takes.
        over = {actor: count - level - 1 for actor, count in counts.items() if count > level}
        extra = len(self.held) - room - sum(over.values())
        kept: dict[int, tuple[float, str, tuple[Holder, ...]]] = {}
        for key, entry in self.held.items():
            actor = entry[2][0][1]
            left = over.get(actor, -1)
            if left > 0:
                over[actor] = left - 1
            elif left == 0 and extra:
                over[actor] = -1
                extra -= 1
            else:
                kept[key] = entry
        self.held = kept

    def use(self, kind: str, key: int, actor: str, cls: str, time: float = 0.0) -> None:
        """The actor named the object in a call that succeeded."""
        self._note(kind, key, actor, cls, 1, int(time // DAY))

    def today(self, now: float = inf) -> int:
        """The day that it is, by the objects given last: `LATEST` must say so. `now`: it is not later, Unix seconds."""
        lasts = nlargest(LATEST, (last for last, _, _ in self.held.values()))
        return int(min(lasts[-1], now) // DAY) if lasts else 0

    def _note(self, kind: str, key: int, actor: str, cls: str, weight: int, day: int) -> None:
        sample = self.kinds.get(kind)
        if sample is None:
            sample = self._kind(kind)
        told, seen = self.told[kind], self.seen[kind]
        actors = sample.get(key)
        if actors is None:
            if len(sample) >= SAMPLE:
                ceiling = self._ceilings.get(kind)
                if ceiling is None:
                    ceiling = self._ceilings[kind] = max(sample)
                if key >= ceiling:
                    return
                del sample[ceiling], told[ceiling]
                seen.pop(ceiling, None)
                sample[key] = {actor: cls}
                told[key], seen[key] = weight, day
                self._ceilings[kind] = max(sample)
                return
            actors = sample[key] = {}
            told[key] = 0
        if day > seen.get(key, 0):
            seen[key] = day
        if weight and (times := told[key]) < ENOUGH_TOLD:
            told[key] = min(times + weight, ENOUGH_TOLD)
        known = actors.get(actor)
        if known is None:
            if len(actors) < MAX_SAMPLED_HOLDERS:
                actors[actor] = cls
        elif cls > known:
            # An actor seen under two classes (roles changed) is of the later one by name: the same whatever came first.
            actors[actor] = cls

    def _kind(self, kind: str) -> dict[int, dict[str, str]]:
        """The sample of a new kind; those with the fewest objects make room."""
        if len(self.kinds) >= MAX_KINDS:
            kept = sorted(self.kinds, key=lambda name: (-len(self.kinds[name]), name))[: MAX_KINDS * 3 // 4]
            self.kinds = {name: self.kinds[name] for name in kept}
            self.told = {name: self.told[name] for name in kept}
            self.seen = {name: self.seen[name] for name in kept}
            self._ceilings.clear()
        self.told[kind], self.seen[kind] = {}, {}
        sample = self.kinds[kind] = {}
        return sample

    def merge(self, other: Ownership) -> None:
        for actor, tenant in other.tenants.items():
            self.belongs(actor, tenant)
        for kind, sample in other.kinds.items():
            for key, actors in sample.items():
                weight, day = other.told[kind][key], other.seen[kind].get(key, 0)
                for actor, cls in actors.items():
                    self._note(kind, key, actor, cls, weight, day)
                    weight = 0
        for key, (last, kind, holders) in other.held.items():
            mine = self.held.get(key)
            if mine is None:
                self.held[key] = (last, kind, holders)
                continue
            firsts: dict[str, Holder] = {}
            for holder in sorted([*mine[2], *holders]):
                known = firsts.get(holder[1])
                firsts[holder[1]] = holder if known is None else (*known[:3], max(known[3], holder[3]))
            self.held[key] = (max(last, mine[0]), max(kind, mine[1]), _earliest(firsts.values()))
        ordered = sorted(self.held.items(), key=lambda item: (item[1][0], item[0]))
        self.held = dict(ordered)
        if len(ordered) > MAX_HELD:
            self._thin(MAX_HELD)

    def judge(self, kind: str, needed: Evidence, hash_key: bytes = b"") -> Judgement:
        """Whether objects of a kind belong to one actor each, or else to one tenant each. `hash_key`: what objects are hashed with."""
        sample = self.kinds.get(kind)
        if not sample:
            return UNKNOWN
        keys = self._counting(kind)
        objects = [sample[key] for key in keys]
        found = _judge(kind, objects, needed, "actor")
        if found.exclusive:
            settled = _settle(found, kind, objects, needed, lambda actor: actor)
            return replace(settled, own_names=_called_as_holders(kind, zip(keys, objects, strict=True), found, needed, hash_key))
        if not self.tenants or not any(actor in self.tenants for actors in objects for actor in actors):
            return found
        grouped = [self._grouped(actors) for actors in objects]
        by_tenant = _judge(kind, grouped, needed, "tenant")
        if not by_tenant.exclusive:
            return found
        return _settle(replace(by_tenant, alone=found.alone), kind, objects, needed, self.group)

    def _counting(self, kind: str) -> list[int]:
        """The sampled objects that count: those seen of late, where these are enough."""
        told, seen = self.told[kind], self.seen[kind]
        every = [key for key in self.kinds[kind] if told[key] >= ENOUGH_TOLD]
        days = nlargest(LATEST, (seen.get(key, 0) for key in every))
        fresh = [key for key in every if not seen.get(key, 0) or seen[key] >= days[-1] - GRANT_DAYS]
        return fresh if len(fresh) >= EVIDENCE_OBJECTS else every

    def _grouped(self, actors: dict[str, str]) -> dict[str, str]:
        """The holders of an object by tenant, with the greatest of their classes by name."""
        groups: dict[str, str] = {}
        for actor, cls in actors.items():
            group = self.group(actor)
            groups[group] = max(cls, groups.get(group, ""))
        return groups

    def dump(self) -> list[Any]:
        """Plain data for `load`."""
        return [self.kinds, self.held, self.told, self.tenants, self.seen]

    @classmethod
    def load(cls, data: Any) -> Ownership:
        state = cls()
        state.kinds = data[0]
        state.told = data[2]
        state.tenants = data[3]
        state.seen = data[4] if len(data) > 4 else {kind: {} for kind in state.kinds}
        state.held = {
            key: (last, kind, tuple(_holder(last, *holder) for holder in holders))
            for key, (last, kind, holders) in data[1].items()
        }
        return state


def _called_as_holders(
    kind: str, objects: Iterable[tuple[int, dict[str, str]]], found: Judgement, needed: Evidence, hash_key: bytes
) -> bool:
    """Whether objects that one caller holds, leaving out those who see all, are called as that caller."""
    alone = same = 0
    for key, actors in objects:
        holders = [actor for actor, cls in actors.items() if cls not in found.broad]
        if len(holders) == 1 and ":" in holders[0]:
            alone += 1
            same += hash_object(hash_key, "", kind, holders[0].partition(":")[2]) == key
    return alone >= needed.objects and same >= OWN_NAMES * alone


def _judge(kind: str, objects: list[dict[str, str]], needed: Evidence, by: str) -> Judgement:
    """Whether objects, each with its holders and their classes, have one holder each. `by`: what the holders are, `actor` or `tenant`."""
    broad = _broad(objects, needed)
    kept = [own for actors in objects if (own := {a for a, cls in actors.items() if cls not in broad})]
    held = Counter(actor for own in kept for actor in own)
    kept, outliers = _without_outliers(kept, held, needed)
    count, actors = len(kept), len(held) - len(outliers)
    single = sum(len(own) == 1 and ANONYMOUS not in own for own in kept)
    crowd = max((len({a for own in objects for a, c in own.items() if c == cls}) for cls in broad), default=0)
    if crowd >= needed.actors and count * 2 < len(objects):
        # Everybody of a class with many members holds most objects: that is no staff, that is a catalogue.
        said = f"{_plural(len(objects), 'object')} of kind {kind} are given to everybody ({_plural(crowd, by)} seen)"
        return Judgement(exclusive=False, public=True, confidence=0.0, evidence=said)
    if count < needed.objects or actors < needed.actors:
        said = f"{_plural(count, 'object')} of kind {kind} given to {_plural(actors, by)}: too few to judge"
        return Judgement(exclusive=False, public=False, confidence=0.0, evidence=said, broad=tuple(sorted(broad)))
    exclusive = single >= needed.share * count
    confidence = wilson(single, count) * (1 - 0.5**actors)
    said = f"{single} of {_plural(count, 'object')} of kind {kind} are used by one {by} only ({_plural(actors, by)} seen)"
    if broad:
        said += f"; {', '.join(sorted(broad))} may see all"
    return Judgement(
        exclusive=exclusive,
        public=not exclusive,
        confidence=round(confidence, 4) if exclusive else 0.0,
        evidence=said,
        broad=tuple(sorted(broad)) if exclusive else (),
        by=by,
        alone=round(single / count, 1),
    )


def _settle(
    found: Judgement, kind: str, objects: list[dict[str, str]], needed: Evidence, group: Callable[[str], str]
) -> Judgement:
    """The judgement of an exclusive kind with the classes for which it holds. `group`: whose the objects of an actor are."""
    tallies: dict[str, tuple[list[bool], set[str]]] = {}
    owned = [{actor: cls for actor, cls in one.items() if actor != ANONYMOUS and cls not in found.broad} for one in objects]
    kept = [{group(actor) for actor in own} for own in owned if own]
    _, outliers = _without_outliers(kept, Counter(one for groups in kept for one in groups), needed)
    for holders in owned:
        own = {actor: cls for actor, cls in holders.items() if group(actor) not in outliers}
        alone = len({group(actor) for actor in own}) == 1
        for cls in set(own.values()):
            tallies.setdefault(cls, ([], set()))[0].append(alone)
        for actor, cls in own.items():
            tallies[cls][1].add(actor)
    settled = tuple(
        sorted(
            cls
            for cls, (alone, actors) in tallies.items()
            if wilson(sum(alone), len(alone)) >= (needed.settled if len(actors) >= needed.actors else needed.settled_few)
        )
    )
    if settled:
        return replace(found, settled=settled)
    said = f"{found.evidence}, of no class of callers enough to judge it"
    return Judgement(exclusive=False, public=False, confidence=0.0, evidence=said, broad=found.broad)


def live(holders: Sequence[Holder], today: int) -> Sequence[Holder]:
    """Of the holders of an object, those whose grants count: seen within `GRANT_DAYS`; or else, while one was seen within
    `FORGOTTEN_DAYS`, all."""
    fresh = [one for one in holders if one[3] >= today - GRANT_DAYS]
    if fresh or any(one[3] >= today - FORGOTTEN_DAYS for one in holders):
        return fresh or holders
    return ()


def _holder(last: float, first: float, actor: str, cls: str, day: int = -1) -> Holder:
    """Without a day, as written before grants aged: that of the object."""
    return first, actor, cls, day if day >= 0 else int(last // DAY)


def _earliest(holders: Iterable[Holder]) -> tuple[Holder, ...]:
    return tuple(sorted(holders)[:MAX_HOLDERS])


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _single_share(objects: list[dict[str, str]], without: set[str]) -> tuple[float, int, int]:
    """(share of objects with one actor, objects, actors) when some classes are left out."""
    single = count = 0
    actors: set[str] = set()
    for holders in objects:
        own = [actor for actor, cls in holders.items() if cls not in without]
        if own:
            count += 1
            single += len(own) == 1
            actors.update(own)
    return (single / count if count else 0.0), count, len(actors)


def _broad(objects: list[dict[str, str]], needed: Evidence) -> set[str]:
    """Classes that see everybody's objects."""
    if len(objects) < needed.objects:
        return set()
    held: dict[str, Counter[str]] = {}
    for holders in objects:
        for actor, cls in holders.items():
            if actor != ANONYMOUS:
                held.setdefault(cls, Counter())[actor] += 1
    broad = {cls for cls, counts in held.items() if median(counts.values()) * 2 >= len(objects)}
    broad |= {cls for cls, counts in held.items() if cls not in broad and _serves(cls, counts, objects)}
    crowd = len({actor for holders in objects for actor in holders})
    share, _, actors = _single_share(objects, broad)
    while share < needed.share and actors >= needed.actors:
        best: tuple[float, str] | None = None
        for cls in sorted(held.keys() - broad):
            without, count, others = _single_share(objects, broad | {cls})
            # What is left must still be most of the objects, and a crowd: else leaving out the owners would do as well.
            enough = others >= needed.actors and others * 2 >= crowd and count * 2 >= len(objects)
            if enough and without > share and (best is None or without > best[0]):
                best = (without, cls)
        if best is None:
            break
        share, cls = best
        broad.add(cls)
    return broad


def _serves(cls: str, members: Counter[str], objects: list[dict[str, str]]) -> bool:
    """Whether a class deals with what belongs to others: most of what its members hold is held by somebody of another class too, and by
    many more of those than the class has members. One user alone is no class."""
    if len(members) < 2 and all(actor.startswith("user:") for actor in members):
        return False
    own = [holders for holders in objects if cls in holders.values()]
    others = [{actor for actor, other in holders.items() if other != cls and actor != ANONYMOUS} for holders in own]
    shared = sum(bool(one) for one in others)
    return len(own) >= 5 and shared * 2 >= len(own) and len(set().union(*others)) >= max(3, 2 * len(members))


def _without_outliers(kept: list[set[str]], held: Counter[str], needed: Evidence) -> tuple[list[set[str]], set[str]]:
    """Leave out up to a tenth of the actors: those with most shared objects. Nobody with fewer than ten actors."""
    allowed = min(len(held) // 10, len(held) - needed.actors)
    if allowed <= 0:
        return kept, set()
    shared = Counter(actor for own in kept if len(own) > 1 for actor in own)
    worst = [actor for actor, _ in sorted(shared.items(), key=lambda item: (-item[1], item[0]))[:allowed]]
    outliers = {actor for actor in worst if actor != ANONYMOUS}
    if not outliers:
        return kept, set()
    return [rest for own in kept if (rest := own - outliers)], outliers
