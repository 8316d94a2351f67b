"""Counts the ids that callers name and were never given, and judges the next one by what callers of the class do.

Ordinary calls name what their caller was given, and cost one look. What is counted stands with the actor, so that tokens and addresses may
change; rows of ids that several callers share the work of are looked for per address and per make of client.

Bounds: `MAX_CALLERS` callers with `MAX_KINDS` kinds each and `MAX_IDS` ids per kind and day, `MAX_ROWS` rows of `ROW` ids. Who is full is counted
no further; when there are too many callers, the one that was quiet longest is forgotten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from re import compile as regex
from typing import Any

from eastwall import behaviours
from eastwall.behaviours import World
from eastwall.behaviours.enumeration.model import Knowledge
from eastwall.behaviours.enumeration.series import Reading, readings, row
from eastwall.behaviours.enumeration.values import value_of
from eastwall.behaviours.maxima import Usual
from eastwall.behaviours.outcomes import refused
from eastwall.behaviours.sketch import hash64
from eastwall.behaviours.windows import DAY, HOUR, MINUTE, Window
from eastwall.discovery.identity import source_of
from eastwall.discovery.objects import GIVEN_LIMIT
from eastwall.model.call import Completion, Phase
from eastwall.model.decision import Decision, Verdict
from eastwall.model.deviations import Deviation, ObjectEnumeration
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity, Strength

MAX_CALLERS = 50_000
MAX_KINDS = 8
MAX_IDS = 512
MAX_ROWS = 20_000
ROW = 32
"""Ids of one kind that are remembered in their order, per caller and per shared row."""
PUBLIC = 4
"""So many holders of an object: anybody may have it."""

FREE = 7
"""Ids in a minute or an hour that are let be, whatever was learned: the eighth is judged."""
FREE_DAY = 20
FREE_FAILING = 5
"""The same of ids that the service did not give: bookmarks of deleted objects, typing errors."""
FREE_UNKNOWN = 8
"""The same before anything is learned of the kind, at an operation that mostly gives what it is asked for."""
FREE_ROW = 4
"""Ids that follow one another and were never given: the fifth is judged."""
SHARED_ROW = 8
"""Ids of one row, named by several callers of one address or one make of client."""
SHARERS = 3
"""Callers who share a row by the make of their client; of one address two are enough."""
RARE = 0.05
"""Share of callers who ever name what they were not given, above which shared rows are none: links are sent round there."""
MOSTLY_GIVES = 5
"""Answers of an operation that gave what was asked for, before what it refuses says anything."""
_FAILED = frozenset((400, 401, 403, 404, 410, 422))

Strange = tuple[str, str, int, str, int]
"""(place, kind, key, fit to show, holders) of an object that the caller was never given."""


class _Track:
    """One caller and one kind."""

    __slots__ = ("changed", "day", "excused", "failing", "hour", "ids", "longest", "looked", "minute", "passed", "row", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        self.excused = now - 2 * DAY
        self.ids: set[int] = set()
        self.minute, self.hour, self.day, self.failing = Window(), Window(), Window(), Window()
        self.row: deque[Reading] = deque(maxlen=ROW)
        self.longest = 0
        self.looked: tuple[tuple[Reading, ...], int] | None = None
        """The ids compared with the row last, and the longest row that one of them stands in; None: the row has changed since."""
        self.passed = 0
        """Of the ids, those that the service gave or made."""
        self.changed = True

    def in_row(self, numbers: tuple[Reading, ...]) -> int:
        """The longest row that one of these would stand in."""
        looked = self.looked
        if looked is None or looked[0] != numbers:
            looked = self.looked = numbers, max([row(self.row, number) for number in numbers], default=0)
        return looked[1]

    def counts(self, now: float) -> tuple[int, ...]:
        """As the model measures."""
        return (
            self.minute.count(now, MINUTE),
            self.hour.count(now, HOUR),
            self.day.count(now, DAY),
            self.failing.count(now, HOUR),
            self.longest,
        )


class _Known:
    """Knowledge by class and kind."""

    __slots__ = ("_groups", "_kinds", "_widest")

    def __init__(self, knowledge: Knowledge) -> None:
        self._kinds = frozenset(knowledge.kinds)
        self._groups = {(group.cls, group.kind): group.usual for group in knowledge.groups}
        self._widest: dict[str, Usual] = {}
        for group in knowledge.groups:
            known = self._widest.get(group.kind)
            if known is None or group.usual.most > known.most:
                self._widest[group.kind] = group.usual

    def usual(self, identity: Identity, kind: str) -> Usual | None:
        """What the caller's class does; None: not learned. People of a class of which little is known, and classes that nobody vouches for, do
        not escape by its name: they are judged as the class that does most. A new workload may have a new way of working."""
        found = self._groups.get((identity.cls, kind))
        if found is None and (identity.kind == "user" or identity.strength < Strength.ASSERTED):
            return self._widest.get(kind)
        return found

    def counts(self, identity: Identity, kind: str) -> bool:
        """Whether the number alone says something: not where a class that somebody vouches for is new. Staff see much."""
        return identity.strength < Strength.ASSERTED or (identity.cls, kind) in self._groups

    def known(self, kind: str) -> bool:
        return kind in self._kinds


def compile(knowledge: Knowledge, world: World) -> _Known:
    """Look-up tables."""
    return _Known(knowledge)


_NOTHING = _Known(Knowledge())
_NO_IDS: set[int] = set()


class Watch(behaviours.Watch):
    """See above."""

    def __init__(self) -> None:
        self._known = _NOTHING
        """As of the last request: for its completion."""
        self._callers: dict[str, dict[str, _Track]] = {}
        self._counted: tuple[tuple[int, int], ...] = ()
        """What the last request named of what its caller was never given, where all of it was counted already."""
        self._rows: dict[tuple[str, str], deque[list[Any]]] = {}
        """(kind, address or make of client) -> [reading, caller, failed], the newest last."""

    def __len__(self) -> int:
        return len(self._callers) + len(self._rows)

    def asks(self, phase: Phase, endpoint: Endpoint, known: _Known) -> str:
        return behaviours.STRANGE

    def request(self, facts: Facts, known: _Known) -> tuple[Deviation, ...]:
        if not facts.strange:
            return ()
        self._known = known
        found: dict[str, ObjectEnumeration] = {}
        fresh: dict[str, int] = {}
        tracks = self._callers.get(facts.identity.actor)
        now, used = facts.call.time, facts.used
        last, track, ids, counted = "", None, _NO_IDS, True
        for at, holders in facts.strange:  # as in `_strange`: many of a large body, and hardly one of them new
            if holders >= PUBLIC:
                continue
            _, kind, key, _ = used[at]
            if kind != last or track is None:
                last, track = kind, tracks.get(kind) if tracks is not None else None
                ids = track.ids if track is not None and now - track.since < DAY else _NO_IDS
                counted = counted and track is not None and now - track.since > -DAY
            if key in ids:
                continue
            counted = False
            if kind in found:
                continue
            fresh[kind] = fresh.get(kind, 0) + 1
            deviation = self._judge(facts, (*used[at], holders), track, fresh[kind], known)
            if deviation is not None:
                found[kind] = deviation
        self._counted = facts.strange if counted and track is not None else ()  # `track`: there was one to count
        return tuple(found.values())

    def remembers(self, phase: Phase, endpoint: Endpoint, known: _Known) -> str:
        return behaviours.STRANGE

    def after(self, facts: Facts, verdict: Verdict, known: _Known) -> None:
        if facts.phase is Phase.REQUEST:
            if facts.strange is self._counted and facts.strange:
                self._tracks(facts.identity.actor)
            elif facts.strange:
                self._count(facts, known)
        elif len(facts.given) >= GIVEN_LIMIT or (facts.uninspected and facts.match.endpoint is not None):
            self._excuse(facts)

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        facts = request.facts
        if not facts.strange:
            return None
        tracks = self._callers.get(facts.identity.actor)
        if tracks is None:
            tracks = {}
        now = facts.call.time
        if request.verdict.action != "block":
            failed = completion.status in _FAILED or refused(response)
            for one in _strange(facts):
                self._outcome(facts, one, tracks.get(one[1]), refused=failed, made=completion.status == 201)
        note: list[list[Any]] = []
        for kind in {facts.used[at][1] for at, _ in facts.strange}:
            track = tracks.get(kind)
            if not self._known.known(kind):
                note.append([kind, []])
            elif track is not None and track.changed:
                track.changed = False
                note.append([kind, list(track.counts(now))])
        return sorted(note) or None

    # -- judging --------------------------------------------------------------------------------------------------

    def _judge(self, facts: Facts, one: Strange, track: _Track | None, fresh: int, known: _Known) -> ObjectEnumeration | None:
        """What the caller's next id looks like, itself counted. `fresh`: new ones in this call up to it."""
        place, kind, _, shown, _ = one
        now = facts.call.time
        if not known.known(kind):
            return self._refused(facts, one, track)
        usual = known.usual(facts.identity, kind)
        if usual is None and (refused := self._refused(facts, one, track)) is not None:
            return refused
        minute, hour, day, failing, longest = usual.most if usual is not None else (0, 0, 0, 0, 0)
        callers = usual.callers if usual is not None else 0
        numbers = readings(value_of(facts, one[0], one[3]))
        if track is not None:
            in_row = track.in_row(numbers)
            if in_row > FREE_ROW + longest + longest // 2:
                failed = track.failing.count(now, HOUR)
                return ObjectEnumeration(place, kind, shown, "row", in_row, DAY, failed, longest, callers)
            failed = track.failing.count(now, HOUR)
            if failed > FREE_FAILING + 2 * failing:
                ids = track.hour.count(now, HOUR) + fresh
                return ObjectEnumeration(place, kind, shown, "failing", ids, HOUR, failed, failing, callers)
        for width, window, free, most in (
            (MINUTE, track.minute if track is not None else None, FREE, minute),
            (HOUR, track.hour if track is not None else None, FREE, hour),
            (DAY, track.day if track is not None else None, FREE_DAY, day),
        ):
            ids = fresh + (window.count(now, width) if window is not None else 0)
            if ids > free + 2 * most:
                callers = callers if known.counts(facts.identity, kind) else 0
                failed = track.failing.count(now, HOUR) if track is not None else 0
                return ObjectEnumeration(place, kind, shown, "many", ids, width, failed, most, callers)
        return self._shared(facts, one, numbers, usual, known)

    @staticmethod
    def _refused(facts: Facts, one: Strange, track: _Track | None) -> ObjectEnumeration | None:
        """Nothing is learned of the kind, or of who names it: the service itself refuses nearly all of it, though it refuses hardly anybody here."""
        endpoint = facts.match.endpoint
        failed = track.failing.count(facts.call.time, HOUR) if track is not None else 0
        if (
            track is None
            or endpoint is None
            or failed <= FREE_UNKNOWN
            or track.passed * 4 > failed
            or facts.operation.method == "HEAD"
        ):
            return None
        given = sum(count for status, count in endpoint.statuses if 200 <= status < 300)
        denied = sum(count for status, count in endpoint.statuses if status in _FAILED)
        if given < MOSTLY_GIVES or denied * 2 > given + failed:
            return None
        return ObjectEnumeration(one[0], one[1], one[3], "unknown", failed + 1, HOUR, failed, 0, 0)

    def _shared(
        self, facts: Facts, one: Strange, numbers: tuple[Reading, ...], usual: Usual | None, known: _Known
    ) -> ObjectEnumeration | None:
        """A row whose ids several callers name."""
        place, kind, _, shown, _ = one
        if usual is None or not numbers:
            return None
        caller, rare = hash64(facts.identity.actor), usual.some > RARE * usual.callers
        for how, name in (("source", "a " + source_of(facts.identity, facts.call)), ("pattern", _client(facts))):
            seen = self._rows.get((kind, name))
            needed = 2 if how == "source" else SHARERS
            if seen is None or len(seen) < SHARED_ROW - 1 or (rare and 2 * sum([entry[2] for entry in seen]) < SHARED_ROW):
                continue
            if len({caller, *[entry[1] for entry in seen]}) < needed:
                continue
            ids = [entry[0] for entry in seen]
            for number in numbers:
                length = row(ids, number)
                if length < SHARED_ROW:
                    continue
                reach = _reach(seen, number)
                near = [entry for entry in seen if entry[0][0] == number[0] and abs(entry[0][1] - number[1]) <= reach]
                sharers = {entry[1] for entry in near} | {caller}
                failed = sum(entry[2] for entry in near)
                if len(sharers) < needed:
                    continue
                if rare and 2 * failed < length:
                    continue
                most = usual.most[4] if len(usual.most) > 4 else 0
                return ObjectEnumeration(place, kind, shown, how, length, DAY, failed, most, usual.callers, len(sharers))
        return None

    # -- counting -------------------------------------------------------------------------------------------------

    def _count(self, facts: Facts, known: _Known) -> None:
        """What the request names of what its caller was never given."""
        now, used = facts.call.time, facts.used
        tracks: dict[str, _Track] | None = None
        for at, holders in facts.strange:  # as in `_strange`
            if holders >= PUBLIC:
                continue
            if tracks is None:
                tracks = self._tracks(facts.identity.actor)
            _, kind, key, _ = used[at]
            track = tracks.get(kind)
            if track is None:
                if len(tracks) >= MAX_KINDS:
                    continue
                track = tracks[kind] = _Track(now)
            elif not -DAY < now - track.since < DAY:
                track.since = now
                track.ids.clear()
                track.row.clear()
                track.looked = None
                track.longest = track.passed = 0
            if key not in track.ids and len(track.ids) < MAX_IDS:
                track.ids.add(key)
                if known.known(kind):  # else what the service refuses is counted alone
                    self._count_one(facts, (*used[at], holders), track)

    def _tracks(self, actor: str) -> dict[str, _Track]:
        """What is counted of a caller, who is now the last to go."""
        tracks = self._callers.pop(actor, None)
        if tracks is None:
            if len(self._callers) >= MAX_CALLERS:
                del self._callers[next(iter(self._callers))]
            tracks = {}
        self._callers[actor] = tracks
        return tracks

    def _count_one(self, facts: Facts, one: Strange, track: _Track) -> None:
        """A further id of a kind."""
        now = facts.call.time
        track.changed = True
        track.minute.add(now, MINUTE)
        track.hour.add(now, HOUR)
        track.day.add(now, DAY)
        numbers = readings(value_of(facts, one[0], one[3]))
        track.longest = max(track.longest, track.in_row(numbers))
        track.row.extend(numbers)
        track.looked = None
        if numbers:
            caller = hash64(facts.identity.actor)
            for name in ("a " + source_of(facts.identity, facts.call), _client(facts)):
                self._enter(one[1], name, numbers[0], caller)

    def _enter(self, kind: str, name: str, number: Reading, caller: int) -> None:
        seen = self._rows.pop((kind, name), None)
        if seen is None:
            if len(self._rows) >= MAX_ROWS:
                del self._rows[next(iter(self._rows))]
            seen = deque(maxlen=ROW)
        self._rows[(kind, name)] = seen
        # Many ids of one caller push out nobody else's: it has half of the places at most.
        if len(seen) * 2 >= ROW and [entry[1] for entry in seen].count(caller) * 2 >= ROW:
            seen.remove(next(entry for entry in seen if entry[1] == caller))
        seen.append([number, caller, 0])

    def _outcome(self, facts: Facts, one: Strange, track: _Track | None, *, refused: bool, made: bool) -> None:
        """The service refused the object, gave it, or has just made it."""
        now = facts.call.time
        if track is None or one[2] not in track.ids:
            return
        if not refused:
            track.passed += 1
            if not made:
                return
            for window, width in ((track.minute, MINUTE), (track.hour, HOUR), (track.day, DAY)):
                if window.count(now, width) > 0 and window.current > 0:
                    window.current -= 1
            track.row.clear()
            track.looked = None
            return
        track.failing.add(now, HOUR)
        track.changed = True
        caller, numbers = hash64(facts.identity.actor), readings(value_of(facts, one[0], one[3]))
        for name in ("a " + source_of(facts.identity, facts.call), _client(facts)):
            for entry in self._rows.get((one[1], name), ()):
                if entry[1] == caller and entry[0] in numbers:
                    entry[2] = 1

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
                failing = track.failing
                track = tracks[kind] = _Track(facts.call.time)
                track.failing, track.excused = failing, facts.call.time


def _strange(facts: Facts) -> Iterator[Strange]:
    """What counts of what the caller was never given: not what anybody may have."""
    for at, holders in facts.strange:
        if holders < PUBLIC:
            yield (*facts.used[at], holders)


def _reach(seen: deque[list[Any]], number: Reading) -> int:
    """How far from a number its row may go."""
    numbers = sorted(entry[0][1] for entry in seen if entry[0][0] == number[0])
    gaps = [after - before for before, after in pairwise(numbers) if after > before]
    step = sorted(gaps)[len(gaps) // 2] if gaps else 1
    return ROW * max(2, step)


_VERSION = regex(r"[0-9][0-9.]*")


@lru_cache(maxsize=4096)
def _make(agent: str, accepts: str, names: int) -> str:
    return f"c {_VERSION.sub('', agent[:200])}|{accepts[:40]}|{names}"


def _client(facts: Facts) -> str:
    """The make of a client: its user agent without versions, what it accepts, and how many headers it sends."""
    headers = facts.call.request.headers
    return _make(headers.get("user-agent", ""), headers.get("accept-language", ""), len(headers))
