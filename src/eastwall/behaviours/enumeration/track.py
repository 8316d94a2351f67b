"""What is counted of one caller and one kind of object."""

from __future__ import annotations

from bisect import bisect_left

from eastwall.behaviours.enumeration.series import Reading, in_line
from eastwall.behaviours.windows import DAY, HOUR, MINUTE, rolled, within

MAX_IDS = 512
ROW = 32
"""Ids of one kind that are remembered in their order, per caller and per shared row."""
FREE = 7
"""Ids in a minute or an hour that are let be, whatever was learned: the eighth is judged."""
FREE_DAY = 20
"""The same of a day."""
FREE_FAILING = 5
"""The same of ids that the service did not give: bookmarks of deleted objects, typing errors."""
TIMES, TIMES_FEW = 2, 4
"""So many times what callers of the class had at most is let be on top of that; more where it has fewer than `maxima.ENOUGH` callers, none of
whom is left out: what each of three did in some hours is not the most that one of them does."""
FREE_ROW = 4
"""Ids that follow one another and were never given: the fifth is judged."""


class Most:
    """What callers of a class do at most with a kind of object, and how much is let be."""

    __slots__ = ("callers", "failing", "ids", "most", "rare", "row", "times")

    def __init__(
        self, callers: int = 0, most: tuple[int, ...] = (0, 0, 0, 0, 0), *, rare: bool = False, times: int = TIMES
    ) -> None:
        minute, hour, day, failing, longest = most
        self.callers = callers
        """Learned ones."""
        self.most = most
        """As the model measures."""
        self.rare = rare
        """A row that several callers share is one only where the service refuses most of it."""
        self.times = times
        """See `TIMES`."""
        self.row = FREE_ROW + longest + longest // 2
        self.failing = FREE_FAILING + 2 * failing
        self.ids = min(FREE + times * min(minute, hour), FREE_DAY + times * day)
        """In whatever window."""


NOTHING = Most()
"""Of a class of which nothing is learned."""


class Track:
    """Its counters are those of `windows`, written out: every id of every caller that was never given to it comes here."""

    __slots__ = (
        "changed", "day", "day_before", "day_start", "excused", "failing", "failing_before", "failing_start", "hour", "hour_before", "hour_start",
        "ids", "longest", "looked", "minute", "minute_before", "minute_start", "most", "numbers", "passed", "room", "row", "since",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.since = now
        self.excused = now - 2 * DAY
        self.ids: set[int] = set()
        """Named since then, within the day."""
        self.minute_start = self.hour_start = self.day_start = self.failing_start = 0.0
        self.minute_before = self.hour_before = self.day_before = self.failing_before = 0
        self.minute = self.hour = self.day = self.failing = 0
        self.row: list[Reading] = []
        """The numbers of the last ids, the oldest first."""
        self.numbers: dict[str, list[int]] = {}
        """The same by what stands around them: sorted, each once."""
        self.looked: tuple[tuple[Reading, ...], int] | None = None
        """The numbers compared with the row last, and the longest row that one of them stands in; None: the row has changed since."""
        self.longest = 0
        self.passed = 0
        """Calls that named one of the ids, and were given or made it."""
        self.changed = True
        self.most = NOTHING
        """What its caller was compared with last."""
        self.room = FREE
        """So many further ids may come before anything could be found, compared with `most`. What was counted within two days is no
        less than what any window holds."""

    def begin(self, now: float) -> None:
        """A new day, or a clock that jumped."""
        self.since = now
        self.ids.clear()
        self.longest = self.passed = 0
        self._leave_row()

    def excused_at(self, now: float) -> Track:
        """What is left when nothing is held against the caller but what was refused."""
        left = Track(now)
        left.excused = now
        left.failing_start, left.failing_before, left.failing = self.failing_start, self.failing_before, self.failing
        left.make_room()
        return left

    def add(self, key: int, numbers: tuple[Reading, ...], now: float) -> None:
        """A further id. All in one: what is called in few calls is called from cold memory."""
        self.ids.add(key)
        since = self.minute_start
        if not since:
            self.minute_start = self.hour_start = self.day_start = now
            self.minute = self.hour = self.day = 1
        else:
            if -MINUTE <= now - since < MINUTE:
                self.minute += 1
            else:
                self.minute_start, self.minute_before, self.minute = rolled(since, self.minute, now, MINUTE)
            if -HOUR <= now - self.hour_start < HOUR:
                self.hour += 1
            else:
                self.hour_start, self.hour_before, self.hour = rolled(self.hour_start, self.hour, now, HOUR)
            if -DAY <= now - self.day_start < DAY:
                self.day += 1
            else:
                self.day_start, self.day_before, self.day = rolled(self.day_start, self.day, now, DAY)
        self.changed = True
        if numbers:
            self._lengthen_row(numbers)
        self.make_room()

    def refuse(self, now: float) -> None:
        """The service did not give one."""
        self.changed = True
        if -HOUR <= now - self.failing_start < HOUR:
            self.failing += 1
        else:
            self.failing_start, self.failing_before, self.failing = rolled(self.failing_start, self.failing, now, HOUR)
        self.make_room()

    def make_room(self) -> None:
        """A row is of what the row holds, and one further id joins two at most."""
        most = self.most
        if self.failing + self.failing_before > most.failing or (len(self.row) >= most.row and 2 * self.longest >= most.row):
            self.room = 0
        else:
            self.room = most.ids - self.day - self.day_before

    def make(self, now: float) -> None:
        """The service has made one: it counts no more."""
        if self.minute > 0 and self.in_minute(now) > 0:
            self.minute -= 1
        if self.hour > 0 and self.in_hour(now) > 0:
            self.hour -= 1
        if self.day > 0 and self.in_day(now) > 0:
            self.day -= 1
        self._leave_row()

    def in_minute(self, now: float) -> int:
        return within(self.minute_start, self.minute_before, self.minute, now, MINUTE)

    def in_hour(self, now: float) -> int:
        return within(self.hour_start, self.hour_before, self.hour, now, HOUR)

    def in_day(self, now: float) -> int:
        return within(self.day_start, self.day_before, self.day, now, DAY)

    def refused(self, now: float) -> int:
        """Within the hour."""
        return within(self.failing_start, self.failing_before, self.failing, now, HOUR)

    def in_row(self, numbers: tuple[Reading, ...]) -> int:
        """The longest row that one of these would stand in."""
        looked = self.looked
        if looked is not None and looked[0] == numbers:
            return looked[1]
        longest, known = 0, self.numbers
        for around, number in numbers:
            others = known.get(around)
            length = in_line(others, number) if others is not None else 1
            if length > longest:
                longest = length
        self.looked = numbers, longest
        return longest

    def counts(self, now: float) -> list[int]:
        """As the model measures."""
        if self.minute_before or self.hour_before or self.day_before or self.failing_start or now - self.minute_start >= MINUTE:
            return [self.in_minute(now), self.in_hour(now), self.in_day(now), self.refused(now), self.longest]
        return [self.minute, self.hour, self.day, 0, self.longest]  # within the first minute of each

    def _leave_row(self) -> None:
        self.row.clear()
        self.numbers.clear()
        self.looked = None

    def _lengthen_row(self, numbers: tuple[Reading, ...]) -> None:
        row, known, looked = self.row, self.numbers, self.looked
        longest = looked[1] if looked is not None and looked[0] == numbers else 0
        for reading in numbers:
            others = known.get(reading[0])
            if others is None:
                known[reading[0]] = [reading[1]]
                length = 1
            else:
                number = reading[1]
                length = longest or in_line(others, number)
                at = bisect_left(others, number)
                if at == len(others) or others[at] != number:
                    others.insert(at, number)
            if length > self.longest:
                self.longest = length
            row.append(reading)
            if len(row) > ROW:
                self._shorten_row()
        self.looked = None

    def _shorten_row(self) -> None:
        """The oldest leaves."""
        gone = self.row.pop(0)
        if gone not in self.row:
            around, number = gone
            others = self.numbers[around]
            del others[bisect_left(others, number)]
            if not others:
                del self.numbers[around]
