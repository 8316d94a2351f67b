"""How much a repetition means, where the same was done once on so many other things."""

from __future__ import annotations

from math import comb

RETRIES = 1
"""Repetitions that an honest client makes: a double click, a lost answer."""
ODDS = 100
"""To one against a caller who does as others do: see `odds`."""
ODDS_UNNAMED = 1_000
"""The same where nothing but counts says that it is done once: what callers do at leisure (a link to share, a file to print) some do often."""


def odds(things: int, times: int) -> int:
    """To one against `times` repetitions on a further thing, when none was repeated on `things`.

    By the rule of succession: nothing is known before of the share of repetitions (a uniform prior), and those of one who repeats are
    geometric. Then the probability is 1 / C(things + 1 + times, times).
    """
    return comb(things + 1 + times, times)


def abusive(things: int, times: int, *, named: bool = True) -> bool:
    """Whether a step that was carried out `times` times before is repeated beyond what retries explain. `named`: by its name too it is done once."""
    return times > RETRIES and odds(things, times) >= (ODDS if named else ODDS_UNNAMED)


def often(times: int) -> str:
    """`once`, `3 times`: for a finding's sentence."""
    return "once" if times == 1 else f"{times:,} times"
