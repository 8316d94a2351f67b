"""Operators of document databases as structure: a key such as `$ne` where the service expects a plain value.

`user[$ne]=x` (which query-string parsers of Express, PHP and Rails read as an object) and `{"user": {"$ne": null}}` make a comparison of
what was meant to be compared. Whether that is an attack depends on the field: a password is never compared so by an honest caller, a
field called `filter` often is.
"""

from __future__ import annotations

import re

COMPARISONS = frozenset(
    "eq ne gt gte lt lte in nin regex exists all size mod elemMatch not nor or and natural expr jsonSchema".split()
)
"""Query operators of MongoDB (and of CouchDB's Mango and Loopback, which took them over)."""
BRACKETED = COMPARISONS | frozenset("type options comment text meta near where set".split())
"""Those and others that are words of other languages too as a JSON key (`$type`, `$comment`), but not as `name[$type]`."""
CODE = frozenset("where function accumulator".split())
"""Operators whose operand is JavaScript."""
STAGES = frozenset("lookup graphLookup out unionWith collStats currentOp listSessions indexStats".split())
"""Aggregation stages that read other collections or write."""
UPDATES = frozenset("inc mul rename setOnInsert currentDate bit".split())
"""Update operators; `$set` and `$unset` are left out: analytics services take them as ordinary properties."""

_KEY = re.compile(r"\$([A-Za-z]{2,20})")
_BRACKETS = re.compile(r"\[\s*\$([A-Za-z]{2,20})\s*\]?")
_CREDENTIAL = re.compile(
    r"(?:^|[_.\[-])(?:user(?:name|id)?|login|e?mail|pass(?:word|wd|phrase|code)?|pwd|pin|otp|token|secret|code|api_?key|session|auth|account)(?:$|[_.\]\[-])",
    re.IGNORECASE,
)
_SECRET = re.compile(r"(?:pass(?:word|wd|phrase|code)?|pwd|pin|otp|token|secret|api_?key)\]?$", re.IGNORECASE)
"""Fields whose content no caller searches, whatever the service offers."""
_FILTER = re.compile(
    r"(?:^|[.\[\]])(?:filters?|where|query|q|selector|conditions?|criteria|match|find|search|range|pipeline|aggregate)(?:$|[.:\[\]])",
    re.IGNORECASE,
)


def operator(place: str, key: str) -> tuple[str, str] | None:
    """(confidence, why: a clause of a sentence) for a key at a place such as `body.user.{$ne}` or `query.{user[$ne]}`; None if it is none."""
    plain = _KEY.fullmatch(key)
    if plain is not None:
        name, parent = plain[1], place[: place.rfind(".{")]
        known = COMPARISONS
    else:
        bracketed = _BRACKETS.search(key)
        if bracketed is None:
            return None
        name, parent = bracketed[1], f"{place[: place.rfind('.{')]}.{key[: bracketed.start()]}"
        known = BRACKETED
    if name in CODE:
        return "high", f"is the operator `${name}`, whose operand the database runs as JavaScript"
    if name in STAGES:
        return "high", f"is the aggregation stage `${name}`"
    if name in UPDATES:
        return "medium", f"is the update operator `${name}`"
    if name not in known:
        return None
    parent = parent.partition(".")[2]  # without `query` or `body` themselves
    if _FILTER.search(parent) and not _SECRET.search(parent):
        return "low", f"is the query operator `${name}`, in a field that by its name takes filters"
    if _CREDENTIAL.search(parent.rpartition(".")[2]):
        return "high", f"is the query operator `${name}` where a plain value identifies or proves who calls"
    return "medium", f"is the query operator `${name}` in place of a plain value"
