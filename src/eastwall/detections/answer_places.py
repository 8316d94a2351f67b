"""What the place of a text in an answer says about it: an error of the service itself, or something that the service only tells about.

A stack trace in an answer of status 500 is the service's own; the same text in the comment of a ticket is what somebody pasted.
"""

from __future__ import annotations

import re

from eastwall.model.facts import Facts

_ERROR_NAMES = frozenset(
    "error errors exception exceptions message msg detail details debug debuginfo debugmessage developermessage trace traces stack"
    " stacktrace stackstring backtrace cause causes reason fault faultstring faultcode innererror innerexception description title"
    " errormessage exceptionmessage internalmessage rootcause failure failures".split()
)
"""Names of fields in which services put their errors, without case and separators."""
_OWN_NAMES = _ERROR_NAMES - frozenset("description title message msg detail details reason".split())
"""Those that hardly anything but an error has."""
_INDEX = re.compile(r"\[\d*\]")
_SEPARATORS = re.compile(r"[^A-Za-z.]")


def failed(facts: Facts) -> bool:
    """Whether the answer is an error by its status or in the terms of its protocol."""
    response = facts.call.response
    return response is not None and (response.status >= 400 or "fault" in facts.operation.traits)


def confidence(facts: Facts, place: str, *, first: int = 0, whole: bool = False) -> str:
    """How sure it is that a text of an error at `place` is the service's own error: `high`, `medium` or `low`.

    `first`: characters before it in its value. `whole`: nothing else is in the value.
    """
    if failed(facts):
        return "high"
    names = [_SEPARATORS.sub("", name).lower() for name in _INDEX.sub("", place).split(".")]
    if any(name in _OWN_NAMES for name in names[1:3]) and _depth(place) <= 1:
        return "medium"
    if place == "body":
        # What PHP and such print before or instead of the page; further down, documents show traces.
        return "medium" if whole and first <= 64 else "low"
    if names[-1] in _ERROR_NAMES and whole and not _INDEX.search(place):
        return "medium"
    return "low"


def _depth(place: str) -> int:
    """Lists around a place: records of a log stand in one, with fields of their own below."""
    return len(_INDEX.findall(place.rpartition("[")[0] + place.rpartition("[")[1] if place.endswith("]") else place))


def without_index(place: str) -> str:
    """The place with a last index cut off: items of one list are read together."""
    return place[: place.rindex("[")] if place.endswith("]") and "[" in place else place
