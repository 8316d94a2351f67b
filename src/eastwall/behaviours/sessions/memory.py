"""What is remembered of actors and of objects between calls: bounded, and honest about what was forgotten.

A rule asks whether something was *not* done. So each table knows since when it has seen everything of whom it does not hold (`floor`): what
is evicted raises it, and then less is judged.
"""

from __future__ import annotations

from collections import deque
from math import exp

MAX_ACTORS = 50_000
MAX_GUESSED = 10_000
"""Actors whose names cost nothing (unchecked tokens, cookies): apart, so that made-up ones evict no others."""
MAX_DONE = 48
"""Operations remembered of one actor: those done last."""
MAX_MARKS = 128
"""Codes and objects on which one actor did something."""
MAX_TRAILS = 100_000
"""Objects of which it is remembered what was done to them."""
MAX_OWNED = 2_000
"""Of them, how many one actor may have brought in."""
MAX_TRAIL = 12
"""Operations remembered of one object."""
SESSION = 1_800.0
"""Seconds without a call that end a session."""
DAY = 86_400.0
PAUSE = 1.0
"""Seconds without a change that end a run."""
WINDOW = 10.0
OVERTAKEN = 5.0
"""Seconds by which a call may come before one that began later."""
TURNED = 12
"""Actors of a day who leave out a step, and a quarter of all who call: from then on it is no rule here."""
TURNED_MOST = 256
MAX_TURNS = 1_000
_SAMPLED = 8

Done = tuple[int, int, float, int, float, float]
"""(times within a day, number among the actor's changes, time, how often in a row, beginning of that day, time of the one before)."""


class Actor:
    """What one actor did."""

    __slots__ = (
        "bits",
        "blurred",
        "call",
        "done",
        "floor",
        "gaps",
        "history",
        "hour_at",
        "hours",
        "last",
        "level",
        "level_at",
        "lossy",
        "marks",
        "owned",
        "run",
        "run_operations",
        "sequence",
        "squares",
        "steps",
        "strange",
        "worst",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.done: dict[str, Done] = {}
        self.marks: dict[tuple[str, int], tuple[int, float]] = {}
        """(operation, hash of a code or key of an object) -> (times, last time)."""
        self.history: tuple[str, ...] = ()
        """The last three operations of the session."""
        self.sequence = 0
        """Changes, whole life."""
        self.last = now
        self.call = ""
        """Id of the last one that was answered well."""
        self.blurred = 0.0
        """When it last changed something by an operation that was not known."""
        self.floor = 0.0
        """Before that, some of what it did is forgotten."""
        self.lossy = False
        """Of the objects it brought in, some are forgotten."""
        self.owned: deque[int] | None = None
        self.level = 0.0
        """Changes within about `WINDOW` seconds."""
        self.level_at = 0.0
        self.run = 0
        """Changes without a pause."""
        self.run_operations: tuple[str, ...] = ()
        self.gaps = self.squares = 0.0
        """Sum of the gaps of the run, and of their squares."""
        self.hours = 0
        """A bit for each of the last 24 hours with a change, the present one lowest."""
        self.hour_at = 0
        self.bits = 0.0
        """Surprise of the session's steps."""
        self.steps = 0
        self.worst: tuple[float, str, str] = (0.0, "", "")
        self.strange = False

    def seen(self, now: float) -> None:
        """There was a call: perhaps the first of a session."""
        if now - self.last > SESSION:
            self.history, self.bits, self.steps, self.worst, self.strange = (), 0.0, 0, (0.0, "", ""), False
        if now > self.last:
            self.last = now

    def paced(self, now: float) -> tuple[float, int, float, float]:
        """(level, run, sum of gaps, of squares) as they are with a change now."""
        gap = now - self.level_at
        if gap < 0.0:
            if gap < -OVERTAKEN:  # a clock was set back
                return 1.0, 1, 0.0, 0.0
            gap = 0.0
        level = self.level * exp(-gap / WINDOW) + 1.0
        if gap < PAUSE and self.run:
            return level, self.run + 1, self.gaps + gap, self.squares + gap * gap
        return level, 1, 0.0, 0.0

    def changed(self, operation: str, now: float) -> None:
        """It changes something: pace and hours."""
        self.level, run, self.gaps, self.squares = self.paced(now)
        if run == 1:
            self.run_operations = (operation,)
        elif operation not in self.run_operations and len(self.run_operations) < 4:
            self.run_operations += (operation,)
        self.run = run
        if now > self.level_at or now < self.level_at - OVERTAKEN:
            self.level_at = now
        hour = int(now // 3600)
        if hour != self.hour_at:
            ahead = hour - self.hour_at
            self.hours = (self.hours << ahead) & 0xFFFFFF if 0 < ahead < 24 else 0
            self.hour_at = hour
        self.hours |= 1

    def begin(self, operation: str, now: float) -> Done | None:
        """It does an operation; what was remembered of it before."""
        before = self.done.pop(operation, None)
        if before is None:
            now_done = (1, self.sequence + 1, now, 1, now, 0.0)
        else:
            times, number, last, row, since, _ = before
            if now - since > DAY:
                times, since = 0, now
            now_done = (times + 1, self.sequence + 1, now, row + 1 if number == self.sequence else 1, since, last)
        self.sequence += 1
        self.done[operation] = now_done
        if len(self.done) > MAX_DONE:
            del self.done[next(iter(self.done))]
            self.floor = now
        return before

    def failed(self, operation: str, before: Done | None) -> None:
        """What was begun was not done after all."""
        present = self.done.get(operation)
        if present is None:
            return
        if before is None and present[0] <= 1:
            del self.done[operation]
        elif before is not None:
            self.done[operation] = before
            self.done = dict(sorted(self.done.items(), key=lambda one: one[1][1]))

    def retries(self, operation: str, now: float) -> int:
        """How often in a row, directly before and within a minute, it did the same."""
        known = self.done.get(operation)
        return known[3] if known is not None and known[1] == self.sequence and now - known[2] < 60.0 else 0

    def mark(self, operation: str, thing: int, now: float) -> None:
        """It does an operation on a thing."""
        key = (operation, thing)
        known = self.marks.pop(key, None)
        if known is not None and now - known[1] > 30 * DAY:
            known = None
        self.marks[key] = (known[0] + 1 if known else 1, now)
        if len(self.marks) > MAX_MARKS:
            del self.marks[next(iter(self.marks))]

    def unmark(self, operation: str, thing: int) -> None:
        known = self.marks.get((operation, thing))
        if known is not None:
            if known[0] <= 1:
                del self.marks[operation, thing]
            else:
                self.marks[operation, thing] = (known[0] - 1, known[1])


class Actors:
    """Actors, those seen longest ago leaving first (of eight sampled ones)."""

    __slots__ = ("_limit", "_table", "floor", "get")

    def __init__(self, limit: int = MAX_ACTORS) -> None:
        self._limit = limit
        self._table: dict[str, Actor] = {}
        self.get = self._table.get
        """The actor of a name, or None."""
        self.floor = 0.0
        """Who is not here did nothing since then."""

    def of(self, name: str, now: float) -> Actor:
        """The actor; one who is new enters."""
        found = self._table.get(name)
        if found is None:
            if len(self._table) >= self._limit:
                self._evict()
            found = self._table[name] = Actor(now)
        return found

    def _evict(self) -> None:
        sample = []
        for name in self._table:
            sample.append(name)
            if len(sample) == _SAMPLED:
                break
        longest = min(sample, key=lambda name: self._table[name].last)
        for name in sample:
            one = self._table.pop(name)
            if name is longest:
                self.floor = max(self.floor, one.last)
            else:
                self._table[name] = one

    def __len__(self) -> int:
        return len(self._table)


class Trails:
    """What was done to objects."""

    __slots__ = ("_limit", "_table", "floor")

    def __init__(self, limit: int = MAX_TRAILS) -> None:
        self._limit = limit
        self._table: dict[int, dict[str, float]] = {}
        """Object key -> operation -> first time."""
        self.floor = 0.0
        """To what is not here nothing was done since then."""

    def of(self, key: int) -> dict[str, float]:
        return self._table.get(key) or {}

    def add(self, key: int, operation: str, now: float, actor: Actor) -> bool:
        """An operation is carried out on the object; whether it is the first time."""
        trail = self._table.get(key)
        if trail is None:
            owned = actor.owned
            if owned is None:
                owned = actor.owned = deque()
            elif len(owned) >= MAX_OWNED:
                self._table.pop(owned.popleft(), None)
                actor.lossy = True
            if len(self._table) >= self._limit:
                oldest = self._table.pop(next(iter(self._table)))
                self.floor = max(self.floor, *oldest.values()) if oldest else self.floor
            owned.append(key)
            trail = self._table[key] = {}
        if operation in trail or len(trail) >= MAX_TRAIL:
            return False
        trail[operation] = now
        return True

    def take_back(self, key: int, operation: str) -> None:
        trail = self._table.get(key)
        if trail is not None:
            trail.pop(operation, None)

    def __len__(self) -> int:
        return len(self._table)


class _Turn:
    """Who called one operation within a day."""

    __slots__ = ("kept", "missed", "since", "taken")

    def __init__(self, now: float) -> None:
        self.since = now
        self.kept: set[str] = set()
        self.missed: set[str] = set()
        self.taken = False


class Turns:
    """Whether callers have turned away from a learned order: after a release that needs a step no longer, calls that are held up could never
    teach it. When many callers of a day go the new way, it is theirs and no attack: for the rest of that day, in which it is learned."""

    __slots__ = ("_table",)

    def __init__(self) -> None:
        self._table: dict[str, _Turn] = {}

    def note(self, operation: str, actor: str, now: float, *, missed: bool) -> None:
        """An actor with a name that costs something called, with or without the step."""
        turn = self._table.get(operation)
        if turn is None or not 0.0 <= now - turn.since <= DAY:
            if turn is None and len(self._table) >= MAX_TURNS:
                del self._table[next(iter(self._table))]
            turn = self._table[operation] = _Turn(now)
        actors = turn.missed if missed else turn.kept
        if len(actors) < TURNED_MOST:
            actors.add(actor)
        turn.taken = turn.taken or (len(turn.missed) >= TURNED and len(turn.missed) * 3 >= len(turn.kept))

    def taken(self, operation: str, now: float) -> bool:
        """Whether the new way is as good as the old one by now."""
        turn = self._table.get(operation)
        return turn is not None and turn.taken and now - turn.since <= DAY
