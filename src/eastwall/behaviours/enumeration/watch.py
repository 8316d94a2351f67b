"""Counts the ids that callers name and were never given, and judges the next one by what callers of the class do.

Ordinary calls name what their caller was given, and cost one look. What is counted stands with the actor, so that tokens and addresses may
change; rows of ids that several callers share the work of are looked for per address and per make of client.

Bounds: `MAX_CALLERS` callers with `MAX_KINDS` kinds each and `MAX_IDS` ids per kind and day, `MAX_ROWS` rows of `ROW` ids. Who is full is counted
no further; when there are too many callers, the one that was quiet longest is forgotten.
"""

from __future__ import annotations

from typing import Any

from eastwall import behaviours
from eastwall.behaviours import World
from eastwall.behaviours.enumeration.model import MEASURES, Knowledge
from eastwall.behaviours.enumeration.series import readings
from eastwall.behaviours.enumeration.shared_rows import SHARED_ROW, SharedRows
from eastwall.behaviours.enumeration.track import FREE, FREE_DAY, MAX_IDS, NOTHING, TIMES, TIMES_FEW, Most, Track
from eastwall.behaviours.enumeration.values import value_of
from eastwall.behaviours.maxima import ENOUGH
from eastwall.behaviours.outcomes import refused
from eastwall.behaviours.windows import DAY, HOUR, MINUTE
from eastwall.discovery.objects import GIVEN_LIMIT
from eastwall.model.call import Completion, Phase
from eastwall.model.decision import Decision, Verdict
from eastwall.model.deviations import Deviation, ObjectEnumeration
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity, Strength

MAX_CALLERS = 50_000
MAX_KINDS = 8
PUBLIC = 4
"""So many holders of an object: anybody may have it."""

FREE_UNKNOWN = 8
"""Ids that the service did not give, before anything is learned of the kind, at an operation that mostly gives what it is asked for."""
SHARERS = 3
"""Callers who share a row by the make of their client; of one address two are enough."""
RARE = 0.05
"""Share of callers who ever name what they were not given, above which shared rows are none: links are sent round there."""
MOSTLY_GIVES = 5
"""Answers of an operation that gave what was asked for, before what it refuses says anything."""
_FAILED = frozenset((400, 401, 403, 404, 410, 422))

_FOUND = -1_000_000
"""Begins the count of a kind anew, below all that one call can name: what was found is told once."""

_Used = tuple[str, str, int, str]
"""See `Facts.used`: (place, kind, key, fit to show)."""


class _Known:
    """Knowledge by class and kind."""

    __slots__ = ("_groups", "_widest", "kinds")

    def __init__(self, knowledge: Knowledge) -> None:
        self.kinds = frozenset(knowledge.kinds)
        self._groups: dict[tuple[str, str], Most] = {}
        self._widest: dict[str, Most] = {}
        for group in knowledge.groups:
            usual, kind = group.usual, group.kind
            if kind not in self.kinds or len(usual.most) != MEASURES:
                continue
            rare = usual.some > RARE * usual.callers
            times = TIMES_FEW if usual.callers < ENOUGH else TIMES
            self._groups[(group.cls, kind)] = Most(usual.callers, usual.most, rare=rare, times=times)
            known = self._widest.get(kind)
            if known is None or usual.most > known.most:
                self._widest[kind] = Most(usual.callers, usual.most, rare=rare)

    def most(self, identity: Identity, kind: str) -> Most | None:
        """What the caller's class does; None: not learned. People of a class of which little is known, and classes that nobody vouches for, do
        not escape by its name: they are judged as the class that does most. A new workload may have a new way of working."""
        found = self._groups.get((identity.cls, kind))
        if found is None and (identity.kind == "user" or identity.strength < Strength.ASSERTED):
            return self._widest.get(kind)
        return found

    def counts(self, identity: Identity, kind: str) -> bool:
        """Whether the number alone says something: not where a class that somebody vouches for is new. Staff see much."""
        return identity.strength < Strength.ASSERTED or (identity.cls, kind) in self._groups


def compile(knowledge: Knowledge, world: World) -> _Known:
    """Look-up tables."""
    return _Known(knowledge)


_NOTHING = _Known(Knowledge())
_NO_TRACKS: dict[str, Track] = {}


class Watch(behaviours.Watch):
    """See above."""

    def __init__(self) -> None:
        self._known = _NOTHING
        """As of the last request: for its completion."""
        self._callers: dict[str, dict[str, Track]] = {}
        self._counted: tuple[tuple[int, int], ...] = ()
        """What the last request named of what its caller was never given, where all of it was counted already."""
        self._rows = SharedRows()

    def __len__(self) -> int:
        return len(self._callers) + len(self._rows)

    def asks(self, phase: Phase, endpoint: Endpoint, known: _Known) -> str:
        return behaviours.STRANGE

    def request(self, facts: Facts, known: _Known) -> tuple[Deviation, ...]:
        strange = facts.strange
        if not strange:
            return ()
        self._known = known
        tracks = self._callers.get(facts.identity.actor)
        if len(strange) > 1:
            return self._several(facts, tracks, known)
        ((at, holders),) = strange
        self._counted = ()
        if holders >= PUBLIC:
            return ()
        one = facts.used[at]
        kind = one[1]
        track = tracks.get(kind) if tracks is not None else None
        if track is not None and one[2] in track.ids and -DAY < facts.call.time - track.since < DAY:
            self._counted = strange
            return ()
        most = known.most(facts.identity, kind)
        if track is None or (track.room > 0 and (track.most is most or track.most is NOTHING)):  # nearly always
            if most is None or (most.rare and not self._rows.refused):
                return ()
            found = self._shared(facts, one, most)
        else:
            found = self._judge(facts, one, track, 1, most, known)
        return (found,) if found is not None else ()

    def _several(self, facts: Facts, tracks: dict[str, Track] | None, known: _Known) -> tuple[Deviation, ...]:
        """As `request` of one object: many of a large body, and hardly one of them new."""
        found: tuple[Deviation, ...] = ()
        fresh: dict[str, int] = {}
        now, used = facts.call.time, facts.used
        last, track, today, counted = "", None, False, True
        for at, holders in facts.strange:
            if holders >= PUBLIC:
                continue
            one = used[at]
            kind = one[1]
            if kind != last or track is None:
                last, track = kind, tracks.get(kind) if tracks is not None else None
                age = now - track.since if track is not None else DAY
                today = age < DAY
                counted = counted and today and age > -DAY
            if today and track is not None and one[2] in track.ids:
                continue
            counted = False
            further = fresh.get(kind, 0) + 1
            if further < 0:
                continue
            fresh[kind] = further
            most = known.most(facts.identity, kind)
            if track is None and further <= FREE:
                deviation = self._shared(facts, one, most) if most is not None else None
            else:
                deviation = self._judge(facts, one, track or Track(now), further, most, known)
            if deviation is not None:
                found += (deviation,)
                fresh[kind] = _FOUND
        self._counted = facts.strange if counted and track is not None else ()  # `track`: there was one to count
        return found

    def remembers(self, phase: Phase, endpoint: Endpoint, known: _Known) -> str:
        return behaviours.STRANGE

    def after(self, facts: Facts, verdict: Verdict, known: _Known) -> None:
        if facts.phase is Phase.REQUEST:
            if not facts.strange:
                return
            if facts.strange is self._counted:
                self._tracks(facts.identity.actor)
            else:
                self._count(facts, known)
        elif len(facts.given) >= GIVEN_LIMIT or (facts.uninspected and facts.match.endpoint is not None):
            self._excuse(facts)

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        facts = request.facts
        strange = facts.strange
        if not strange:
            return None
        tracks = self._callers.get(facts.identity.actor, _NO_TRACKS)
        used, known = facts.used, self._known.kinds
        judged = request.verdict.action != "block"
        failed = judged and (completion.status in _FAILED or refused(response))
        made = completion.status == 201
        note: list[tuple[str, list[int]]] = []
        told: tuple[str, ...] = ()
        for at, holders in strange:
            one = used[at]
            kind = one[1]
            track = tracks.get(kind)
            if judged and holders < PUBLIC and track is not None and one[2] in track.ids:
                if failed:
                    self._refuse(facts, one, track)
                else:
                    track.passed += 1
                    if made:
                        track.make(facts.call.time)
            if kind not in told:
                told += (kind,)
        for kind in told:
            track = tracks.get(kind)
            if kind not in known:
                note.append((kind, []))
            elif track is not None and track.changed:
                track.changed = False
                note.append((kind, track.counts(facts.call.time)))
        return sorted(note) if note else None

    # -- judging --------------------------------------------------------------------------------------------------

    def _judge(
        self, facts: Facts, one: _Used, track: Track, fresh: int, most: Most | None, known: _Known
    ) -> ObjectEnumeration | None:
        """What the caller's next id looks like, itself counted. `fresh`: new ones in this call up to it."""
        if most is None:
            found = self._refused(facts, one, track)
            if found is not None or one[1] not in known.kinds:
                return found
        usual = track.most = most if most is not None else NOTHING
        track.make_room()
        if fresh > track.room:
            found = self._own(facts, one, track, fresh, usual, known)
            if found is not None:
                return found
        return self._shared(facts, one, most) if most is not None else None

    @staticmethod
    def _own(facts: Facts, one: _Used, track: Track, fresh: int, usual: Most, known: _Known) -> ObjectEnumeration | None:
        """What the caller did alone."""
        place, kind, _, shown = one
        now, callers = facts.call.time, usual.callers
        minute, hour, day, failing, longest = usual.most
        if 2 * track.longest >= usual.row:
            in_row = track.in_row(readings(value_of(facts, place, shown)))
            if in_row > usual.row:
                return ObjectEnumeration(place, kind, shown, "row", in_row, DAY, track.refused(now), longest, callers)
        failed = track.refused(now)
        if failed > usual.failing:
            return ObjectEnumeration(place, kind, shown, "failing", track.in_hour(now) + fresh, HOUR, failed, failing, callers)
        if track.day + track.day_before + fresh <= usual.ids:
            return None
        for width, ids, free, most in (
            (MINUTE, track.in_minute(now), FREE, minute),
            (HOUR, track.in_hour(now), FREE, hour),
            (DAY, track.in_day(now), FREE_DAY, day),
        ):
            if ids + fresh > free + usual.times * most:
                counted = callers if known.counts(facts.identity, kind) else 0
                return ObjectEnumeration(place, kind, shown, "many", ids + fresh, width, failed, most, counted)
        return None

    @staticmethod
    def _refused(facts: Facts, one: _Used, track: Track) -> ObjectEnumeration | None:
        """Nothing is learned of the kind, or of who names it: the service itself refuses nearly all of it, though it refuses hardly anybody here."""
        endpoint = facts.match.endpoint
        if endpoint is None or track.failing + track.failing_before <= FREE_UNKNOWN:
            return None
        failed = track.refused(facts.call.time)
        if failed <= FREE_UNKNOWN or track.passed * 4 > failed or facts.operation.method == "HEAD":
            return None
        given = sum(count for status, count in endpoint.statuses if 200 <= status < 300)
        denied = sum(count for status, count in endpoint.statuses if status in _FAILED)
        if given < MOSTLY_GIVES or denied * 2 > given + failed:
            return None
        place, kind, _, shown = one
        return ObjectEnumeration(place, kind, shown, "unknown", failed + 1, HOUR, failed, 0, 0)

    def _shared(self, facts: Facts, one: _Used, usual: Most) -> ObjectEnumeration | None:
        """A row whose ids several callers name."""
        place, kind, _, shown = one
        rows = self._rows
        if usual.rare and 2 * rows.refused.get(kind, 0) < SHARED_ROW:
            return None
        numbers = readings(value_of(facts, place, shown))
        if not numbers:
            return None
        actor = facts.identity.actor
        for how, needed, seen in zip(("source", "pattern"), (2, SHARERS), rows.of(kind, facts), strict=True):
            if seen is None or len(seen.entries) < SHARED_ROW - 1 or (usual.rare and 2 * seen.refused < SHARED_ROW):
                continue
            if len(seen.actors) + (actor not in seen.actors) < needed:
                continue
            for number in numbers:
                around = seen.around(number, actor, needed=needed)
                if around is None or (usual.rare and 2 * around[1] < around[0]):
                    continue
                length, failed, sharers = around
                return ObjectEnumeration(place, kind, shown, how, length, DAY, failed, usual.most[4], usual.callers, sharers)
        return None

    # -- counting -------------------------------------------------------------------------------------------------

    def _count(self, facts: Facts, known: _Known) -> None:
        """What the request names of what its caller was never given."""
        now, used, kinds, actor = facts.call.time, facts.used, known.kinds, facts.identity.actor
        tracks: dict[str, Track] | None = None
        for at, holders in facts.strange:
            if holders >= PUBLIC:
                continue
            if tracks is None:
                tracks = self._tracks(actor)
            place, kind, key, shown = used[at]
            track = tracks.get(kind)
            if track is None:
                if len(tracks) >= MAX_KINDS:
                    continue
                track = tracks[kind] = Track(now)
            elif not -DAY < now - track.since < DAY:
                track.begin(now)
            ids = track.ids
            if key not in ids and len(ids) < MAX_IDS:
                if kind in kinds:
                    numbers = readings(shown if "*" not in shown else value_of(facts, place, shown))
                    track.add(key, numbers, now)
                    if numbers:
                        self._rows.enter(kind, numbers[0], facts)
                else:
                    ids.add(key)  # what the service refuses is counted alone

    def _tracks(self, actor: str) -> dict[str, Track]:
        """What is counted of a caller, who is now the last to go."""
        callers = self._callers
        tracks = callers.get(actor)
        if tracks is None:
            if len(callers) >= MAX_CALLERS:
                del callers[next(iter(callers))]
            tracks = callers[actor] = {}
        elif len(callers) * 2 > MAX_CALLERS:  # before, nobody is to go soon
            callers[actor] = callers.pop(actor)
        return tracks

    def _refuse(self, facts: Facts, one: _Used, track: Track) -> None:
        """The service did not give the object."""
        track.refuse(facts.call.time)
        place, kind, _, shown = one
        self._rows.refuse(kind, readings(value_of(facts, place, shown)), facts)

    def _excuse(self, facts: Facts) -> None:
        """Of what the caller was given not all was read: what it names of these kinds is not strange for sure, so nothing is held
        against it that was not refused. Once a day: else a long list would be the way around all this."""
        endpoint = facts.match.endpoint
        tracks = self._callers.get(facts.identity.actor)
        if endpoint is None or tracks is None:
            return
        for _, kind in endpoint.gives:
            track = tracks.get(kind)
            if track is not None and abs(facts.call.time - track.excused) > DAY:
                tracks[kind] = track.excused_at(facts.call.time)
