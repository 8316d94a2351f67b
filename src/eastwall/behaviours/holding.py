"""What of a model's knowledge baselines hold: the things it says, one by one, and how one of them is looser than it was.

A model without a `holding.py` publishes what it learned, as it learned it (docs/models/adaptation.md says which). Others are compared,
thing by thing, with what was published before: what is tighter is taken at once, what is looser waits until callers agree
(`learning.baselines_models`). Pure functions of published knowledge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from eastwall.behaviours.maxima import Maxima, Usual
from eastwall.behaviours.windows import DAY

Key = tuple[str, ...]
"""(part, where, ...): `where` is an operation's id, a service, or empty where a thing holds for all services."""
CALLS = 200
"""Calls on which a thing must rest to be settled; what rests on fewer comes and goes as it is learned."""
SPARE = 5
"""Counts so small that twice as much says nothing."""


class Backers(NamedTuple):
    """Callers who go beyond what is held, and all who could: hashes of one uniform sample."""

    beyond: set[int]
    all: set[int]


class Part(Struct, frozen=True):
    """One kind of things that a model says."""

    type: Any
    """Of a value, for msgspec."""
    calls: Callable[[Any], int]
    """On how many calls a value rests."""
    looser: Callable[[Any, Any], bool]
    """Whether the second value lets pass what the first does not."""
    within: Callable[[Any, Any], bool]
    """Whether a looser value is so near to the first that it is ordinary drift."""
    what: Callable[[Key], str]
    """What it is about, for a sentence: `body.quantity`; the operation is told beside it."""
    shown: Callable[[Any], str]
    """The value in a few words."""
    lost: bool = False
    """Whether a thing that is said no more lets pass what it stopped. (`looser` never asked of it.)"""
    firm: int = CALLS
    settle: Callable[[Key], float] = lambda key: DAY
    """Seconds for which it must rest on so many calls to be settled."""


class Holding(Struct, frozen=True):
    """How baselines hold a model's knowledge."""

    parts: Mapping[str, Part]
    split: Callable[[Any], dict[Key, Any]]
    """Knowledge -> the things it says."""
    join: Callable[[Any, dict[Key, Any]], Any]
    """(knowledge, things) -> the knowledge with exactly these things. `join(known, split(known)) == known`."""
    backers: Callable[[Any, Key, Any], Backers | None]
    """(model, key, value that is held) -> who goes beyond it; None: the model does not tell callers apart there."""


def never(first: Any, second: Any) -> bool:
    """For things that are said or not."""
    return False


def counted(count: int, what: str) -> str:
    return f"{count:,} {what}"


# -- limits drawn from what callers do at most (`behaviours.maxima`) -----------------------------------------------------


def usual_part(measures: Sequence[str], what: Callable[[Key], str]) -> Part:
    """`measures`: names of the counts, in their order; an empty one is no limit."""

    def shown(value: Usual) -> str:
        told = [f"{most:,} {name}" for most, name in zip(value.most, measures, strict=False) if name]
        return f"at most {', '.join(told)}" if told else "nothing"

    limits = [at for at, name in enumerate(measures) if name]

    def looser(first: Usual, second: Usual) -> bool:
        return any(_at(second, at) > _at(first, at) for at in limits)

    def within(first: Usual, second: Usual) -> bool:
        return all(_at(second, at) <= drift(_at(first, at)) for at in limits)

    return Part(Usual, lambda value: int(value.calls), looser, within, what, shown)


def beyond(group: Maxima | None, first: Usual, measures: Iterable[int]) -> Backers | None:
    """Callers of a group who did more than drift explains."""
    if group is None:
        return None
    limits = [(at, drift(_at(first, at))) for at in measures]
    more = {
        caller for caller, counts in group.callers.items() if any(at < len(counts) and counts[at] > most for at, most in limits)
    }
    return Backers(more, set(group.callers))


def drift(most: float) -> float:
    """How far a greatest number may move without anybody's agreement: as far as twice what was agreed on, whatever the number of steps."""
    return 2.0 * most + SPARE


def _at(value: Usual, at: int) -> int:
    return value.most[at] if at < len(value.most) else 0
