"""Counts what each caller asks each reading operation for, and tells when it is far more than its class ever did.

A target is what a call asks for: the path with its query, or the body of a query. A list walked page by page, a search asked from `aa` to `zz` and a
directory read entry by entry are all many targets of one operation.

Counted when a call is over, so that calls under way at the same time come through once. Bounds: `MAX_CALLERS` callers, `MAX_OPERATIONS` operations
of each, `MAX_TARGETS` targets of an operation and hour, `MAX_HELD` targets in all; who is full is counted no further, and when all is full the caller
that was quiet longest is forgotten.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import Any

import msgspec

from eastwall import behaviours
from eastwall.behaviours import World
from eastwall.behaviours.enumeration.series import readings, row
from eastwall.behaviours.enumeration.values import value_of
from eastwall.behaviours.harvesting.model import Knowledge
from eastwall.behaviours.maxima import Usual
from eastwall.behaviours.sessions.kinship import READS
from eastwall.behaviours.windows import DAY, HOUR, MINUTE, rolled, within
from eastwall.discovery.objects import SAFE_METHODS, singular, words
from eastwall.model.call import Completion, Phase
from eastwall.model.decision import Decision
from eastwall.model.deviations import Deviation, Harvest
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity, Strength

MAX_CALLERS = 50_000
MAX_OPERATIONS = 32
MAX_TARGETS = 1_024
MAX_HELD = 1_000_000

FREE_PACE = 30
"""Calls of one operation in a minute that are let be, whatever was learned, beside `FACTOR_PACE` times the learned most."""
FACTOR_PACE = 2
FREE_HOUR = 20
FREE_DAY = 60
FACTOR = 4
"""Times the learned most in an hour, a day: people differ more than any sample of them shows."""
FREE_ROW = 8
"""Different objects in an hour, beside one and a half times the learned most, from which on a row of ids counts."""
ROW = 10
"""Objects whose ids follow one another: people open what they look for."""
_LAST = 16

_PAGES = frozenset("page offset cursor after before start skip next from page_token pagetoken continuation marker seek".split())
_QUERIES = frozenset("q query search term keyword keywords text name filter s prefix".split())


class _Track:
    """One caller at one operation."""

    __slots__ = (
        "began", "calls", "day", "day_before", "day_start", "last", "minute", "minute_before", "minute_start", "next_day", "next_hour",
        "next_minute", "targets",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.began = self.day_start = self.minute_start = now
        self.targets: set[int] = set()
        """Of the hour that began then."""
        self.day = self.day_before = 0
        """Targets; counted, as the calls of a minute are, as `windows` says it."""
        self.minute = self.minute_before = 0
        self.calls = 0
        """Since the last note."""
        self.next_minute = 1
        """Calls in a minute of which the next note tells."""
        self.next_hour = 1
        self.next_day = FREE_DAY
        self.last: deque[str] | None = None
        """The ids asked for last, kept once there are several."""

    def in_minute(self, now: float) -> int:
        return within(self.minute_start, self.minute_before, self.minute, now, MINUTE)

    def in_day(self, now: float) -> int:
        return within(self.day_start, self.day_before, self.day, now, DAY)


class _Known:
    """Knowledge by operation and class."""

    __slots__ = ("_groups", "_widest")

    def __init__(self, knowledge: Knowledge) -> None:
        self._groups = {(group.endpoint, group.cls): group.usual for group in knowledge.groups}
        self._widest: dict[str, Usual] = {}
        for group in knowledge.groups:
            known = self._widest.get(group.endpoint)
            if known is None or group.usual.most > known.most:
                self._widest[group.endpoint] = group.usual

    def usual(self, identity: Identity, endpoint: str) -> Usual | None:
        """What the caller's class does; of a class that nobody vouches for, if it is not learned, what the class does that does most.
        None: not learned."""
        found = self._groups.get((endpoint, identity.cls))
        if found is None and identity.strength < Strength.ASSERTED:
            return self._widest.get(endpoint)
        return found


_NOTHING = _Known(Knowledge())


def compile(knowledge: Knowledge, world: World) -> _Known:
    """Look-up tables."""
    return _Known(knowledge)


class Watch(behaviours.Watch):
    """See above."""

    def __init__(self) -> None:
        self._callers: dict[str, dict[str, _Track]] = {}
        self._over: dict[str, dict[str, None]] = {}
        """Caller -> operations of which it asked for too much when last counted."""
        self._held = 0
        self._known = _NOTHING
        """As of the last request: what is counted when a call is over is compared with it."""

    def __len__(self) -> int:
        return len(self._callers)

    def learned(self, known: _Known) -> None:
        self._known = known

    def asks(self, phase: Phase, endpoint: Endpoint, known: _Known) -> dict[str, dict[str, None]]:
        return self._over

    def request(self, facts: Facts, known: _Known) -> tuple[Deviation, ...]:
        over = self._over.get(facts.identity.actor)
        if over is None:
            return ()
        endpoint = facts.match.endpoint
        if endpoint is None or endpoint.id not in over:
            return ()
        track = self._callers.get(facts.identity.actor, {}).get(endpoint.id)
        found = self._judge(facts, endpoint, track, known) if track is not None else None
        if found is None:
            del over[endpoint.id]
            if not over:
                del self._over[facts.identity.actor]
            return ()
        return (found,)

    def notes(self, endpoint: Endpoint, known: _Known) -> bool:
        # Where the operation is one of several of its path, its name is the call's; else calls of any name may come to it.
        return not endpoint.operation or _reads(endpoint.method, endpoint.template, endpoint.operation)

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        endpoint = request.match.endpoint
        if endpoint is None:
            return None
        facts = request.facts
        asked = facts.operation
        if asked.method not in SAFE_METHODS and not _reads(asked.method, endpoint.template, asked.name):
            return None
        actor, now = request.identity.actor, facts.call.time
        tracks = self._callers.get(actor)
        track = tracks.get(endpoint.id) if tracks is not None else None
        if track is None:
            track = self._track(actor, endpoint.id, now)
            if track is None:
                return None
        elif not 0 <= now - track.began < HOUR:
            self._roll(track, now)
        if request.verdict.action == "block":
            if track.last is not None:
                self._remember(track, facts)  # what was stopped belongs to the row all the same
            return None
        target = _target(facts)
        targets, more = track.targets, False
        if target not in targets and len(targets) < MAX_TARGETS:
            if self._held >= MAX_HELD:
                self._forget()
            targets.add(target)
            self._held += 1
            if -DAY <= now - track.day_start < DAY:
                track.day += 1
            else:
                track.day_start, track.day_before, track.day = rolled(track.day_start, track.day, now, DAY)
            if len(targets) > FREE_ROW // 2:
                self._remember(track, facts)
            more = len(targets) >= track.next_hour or track.day >= track.next_day
        track.calls += 1
        if -MINUTE <= now - track.minute_start < MINUTE:
            track.minute += 1
        else:
            track.minute_start, track.minute_before, track.minute = rolled(track.minute_start, track.minute, now, MINUTE)
        if more or track.minute >= track.next_minute:
            return self._noteworthy(track, facts, endpoint, now)
        return None

    def _noteworthy(self, track: _Track, facts: Facts, endpoint: Endpoint, now: float) -> list[int]:
        """The caller never asked for so much: note it, and see whether it is too much."""
        calls, hour = track.calls, len(track.targets)
        pace, day = track.minute, track.day
        if track.minute_before:
            pace = track.in_minute(now)
        if track.day_before or now - track.day_start >= DAY:
            day = track.in_day(now)
        track.calls = 0
        further = track.minute + 1 + (track.minute >> 2)
        if further > track.next_minute:
            track.next_minute = further
        further = hour + 1 + (hour >> 2)
        if further > track.next_hour:
            track.next_hour = further
        if hour > FREE_ROW or pace > FREE_PACE or day > FREE_DAY:
            if day > FREE_DAY:
                track.next_day = track.day + 1
            if self._judge(facts, endpoint, track, self._known) is not None:
                self._over.setdefault(facts.identity.actor, {})[endpoint.id] = None
            if hour > FREE_ROW:
                track.next_hour = hour + 1  # from here on each is looked at
            if pace > FREE_PACE:
                track.next_minute = track.minute + 1
        return [calls, pace, hour, day]

    def _judge(self, facts: Facts, endpoint: Endpoint, track: _Track, known: _Known) -> Harvest | None:
        usual = known.usual(facts.identity, endpoint.id)
        if usual is None or len(usual.most) < 3:
            return None
        now = facts.call.time
        pace, hour, day = usual.most[:3]
        counts = (
            ("pace", track.in_minute(now), MINUTE, FREE_PACE + FACTOR_PACE * pace, pace),
            ("row", self._in_row(track, now, hour), HOUR, FREE_ROW, hour),
            ("hour", len(track.targets) if 0 <= now - track.began < HOUR else 0, HOUR, FREE_HOUR + FACTOR * hour, hour),
            ("day", track.in_day(now), DAY, FREE_DAY + FACTOR * day, day),
        )
        for how, count, window, limit, most in counts:
            if count > limit:
                shown = f"{endpoint.method} {endpoint.template} {endpoint.operation}".rstrip()[:120]
                return Harvest("operation", shown, _what(facts, endpoint), how, count, window, most, usual.callers)
        return None

    @staticmethod
    def _in_row(track: _Track, now: float, usual: int) -> int:
        """Different objects of this hour, if the last of them follow one another; else 0."""
        hour = len(track.targets)
        if track.last is None or hour <= FREE_ROW + usual + usual // 2 or not 0 <= now - track.began < HOUR:
            return 0
        seen = [number for value in track.last for number in readings(value)]
        return hour if seen and max(row(seen, number) for number in seen[-2:]) >= ROW else 0

    def _remember(self, track: _Track, facts: Facts) -> None:
        if facts.used:
            if track.last is None:
                track.last = deque(maxlen=_LAST)
            place, _, _, shown = facts.used[-1]
            track.last.append(value_of(facts, place, shown))

    def _roll(self, track: _Track, now: float) -> None:
        """A new hour."""
        self._held -= len(track.targets)
        track.began = now
        track.targets = set()
        track.last = None

    def _track(self, actor: str, endpoint: str, now: float) -> _Track | None:
        tracks = self._callers.pop(actor, None)
        if tracks is None:
            tracks = {}
        self._callers[actor] = tracks  # the callers that were active last stand last, by their newest operation
        if len(tracks) >= MAX_OPERATIONS:
            return None
        track = tracks[endpoint] = _Track(now)
        if len(self._callers) > MAX_CALLERS:
            self._forget()
        return track

    def _forget(self) -> None:
        """The caller that was quiet longest."""
        quiet = next(iter(self._callers))
        for one in self._callers.pop(quiet).values():
            self._held -= len(one.targets)
            one.targets.clear()  # whoever still counts there begins anew
        self._over.pop(quiet, None)


def _target(facts: Facts) -> int:
    """What is asked for. The hash is this process's own."""
    operation = facts.operation
    if operation.method in SAFE_METHODS:
        return hash(facts.call.request.path)
    if operation.protocol in ("mcp", "jsonrpc") and type(operation.body) is dict:
        return _params(operation.body.get("params"))  # without the message's number
    return hash(operation.raw_body)


def _params(params: Any) -> int:
    try:
        return hash(msgspec.json.encode(params)[:2_000])
    except (
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
    ):  # numbers and texts that JSON can bear, and this encoder cannot
        return hash(repr(params)[:2_000])


@lru_cache(maxsize=4096)
def _reads(method: str, template: str, name: str) -> bool:
    """Whether an operation reads: by its method, else by its name (`query orders`, `tools/call get_order`, `/shop.v1.Orders/ListOrders`, `.../Profile`)."""
    if method in SAFE_METHODS:
        return True
    if name.startswith(("query", "persisted")):
        return True
    last = words(name.rpartition(" ")[2].rpartition("/")[2]) if name else words(template.rpartition("/")[2])
    return bool(last) and (last[0] in READS or singular(last[-1]) in READS)


def _what(facts: Facts, endpoint: Endpoint) -> str:
    names = {name.lower() for name, _ in facts.operation.query} | {place.rpartition(".")[2].lower() for place in facts.properties}
    if names & _PAGES:
        return "pages"
    if names & _QUERIES:
        return "queries"
    return "objects"
