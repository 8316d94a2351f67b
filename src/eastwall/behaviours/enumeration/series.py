"""Whether ids follow one another: what number an id holds, and how long the row is that it stands in.

Read are whole numbers, also padded or behind a prefix (`INV-000123`), base-16 and base-36 numbers (`a3f9`), the last six digits of a MongoDB
ObjectId (its counter), dates, and the time of a UUID of version 1 (RFC 9562: the rest of it is the same for one machine). UUIDs of version 7,
ULIDs and Snowflakes follow one another too, but the next one cannot be guessed from one (random bits); those are only counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import date
from functools import lru_cache
from re import compile as regex

DENSE = 2
"""Greatest gap between neighbours of a row without one step."""

Reading = tuple[str, int]
"""(what stands around the number, the number)."""

_PLAIN = "n "
"""What stands around a plain number: nothing."""
_TAIL = regex(r"(.{0,40}?)([0-9]{1,18})")
_BASE36 = regex(r"(?=.*[0-9])(?=.*[a-zA-Z])[0-9a-zA-Z]{2,11}")
_OBJECT_ID = regex(r"[0-9a-fA-F]{24}")
_UUID1 = regex(r"([0-9a-fA-F]{8})-?([0-9a-fA-F]{4})-?1([0-9a-fA-F]{3})-?([0-9a-fA-F]{4}-?[0-9a-fA-F]{12})")
_DATE = regex(r"([0-9]{4})-?([01][0-9])-?([0-3][0-9])")


def readings(value: str) -> tuple[Reading, ...]:
    """What numbers an id may hold; empty: none that could be guessed."""
    if len(value) < 8 and value.isascii() and value.isdigit():
        return ((_PLAIN, int(value)),)  # as all below say it: too short for a date, and not of base 36
    return _readings(value)


@lru_cache(maxsize=8192)
def _readings(value: str) -> tuple[Reading, ...]:
    if len(value) > 40:
        return ()
    if len(value) >= 32:
        unique = _UUID1.fullmatch(value)
        if unique is None:
            return ()
        low, mid, high, rest = unique.groups()
        return ((f"v1 {rest.lower()}", int(high + mid + low, 16)),)
    if len(value) == 24 and _OBJECT_ID.fullmatch(value):
        return ((f"oid {value[:18].lower()}", int(value[18:], 16)),)
    found: tuple[Reading, ...] = ()
    day = _DATE.fullmatch(value)
    if day is not None:
        try:
            found = (("day", date(int(day[1]), int(day[2]), int(day[3])).toordinal()),)
        except ValueError:
            found = ()
    tail = _TAIL.fullmatch(value)
    if tail is not None:
        found += ((_PLAIN + tail[1], int(tail[2])),)
    if _BASE36.fullmatch(value):
        found += (("36", int(value, 36)),)
    return found


def row(seen: Iterable[Reading], new: Reading) -> int:
    """Length of the row that `new` stands in, itself included: neighbours at most `DENSE` apart, or all at one step."""
    around, number = new
    return in_line(sorted({value for prefix, value in seen if prefix == around}), number)


def in_line(others: Sequence[int], number: int) -> int:
    """As `row`, of one prefix: `others` are sorted, each once, and may hold `number`."""
    at, size = bisect_left(others, number), len(others)
    if at < size and others[at] == number:
        return _longest(others, at)
    if size < 2:
        return size + 1
    left = number - others[at - 1] if at else 0  # 0: nothing stands on that side
    right = others[at] - number if at < size else 0
    if (
        (not left or left > DENSE)
        and (not right or right > DENSE)
        and left != right
        and (at < 2 or others[at - 1] - others[at - 2] != left)
        and (at + 1 >= size or others[at + 1] - others[at] != right)
    ):
        return 2  # nearly all: of any two the step is one step
    return _longest((*others[:at], number, *others[at:]), at)


def _longest(numbers: Sequence[int], at: int) -> int:
    """The length of the longest row that the number at `at` stands in."""
    if len(numbers) < 3:
        return len(numbers)
    last = len(numbers) - 1
    left = right = at
    while left and numbers[left] - numbers[left - 1] <= DENSE:
        left -= 1
    while right < last and numbers[right + 1] - numbers[right] <= DENSE:
        right += 1
    longest = right - left + 1
    for side in (at - 1, at):
        if 0 <= side < last:
            longest = max(longest, _even(numbers, side))
    return longest


def _even(numbers: Sequence[int], side: int) -> int:
    """The longest run of numbers at equal steps that holds the one at `side` and the next."""
    step = numbers[side + 1] - numbers[side]
    left, right, last = side, side + 1, len(numbers) - 1
    while left and numbers[left] - numbers[left - 1] == step:
        left -= 1
    while right < last and numbers[right + 1] - numbers[right] == step:
        right += 1
    return right - left + 1
