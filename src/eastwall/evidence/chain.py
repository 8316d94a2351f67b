"""A log that shows when it was tampered with: JSON objects, one a line, each with the hash of the one before and its own.

    {"previous":"<hash of the line before>","seq":7,...,"hash":"<SHA-256 of all that stands before `,"hash":"`>"}\\n

A line that was changed, put in, moved or taken out shows. Two things cannot show from the lines alone: the last ones being gone, and the
whole log having been written anew by somebody who knows the form. Both show against a `Head` that is kept elsewhere.
The method is that of a hash-linked log (Haber and Stornetta, "How to time-stamp a digital document", 1991).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

FIRST = "0" * 64
"""What stands in the first line for the hash of the one before."""
MAX_FAULTS = 100
"""Faults that a report lists; the rest is counted."""


class Head(Struct, frozen=True):
    """The end of a log at one time."""

    seq: int
    """Number of the last entry; 0: the log was empty."""
    hash: str
    """Its hash, 64 hex digits."""


class Link(Struct, frozen=True):
    """One line that has the hash that it states."""

    entry: dict[str, Any]
    """What was written, without `previous` and `hash`."""
    previous: str
    hash: str


class Broken(Struct, frozen=True):
    """One place where a log does not verify."""

    line: int
    """From 1; one more than there are lines: the end."""
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


class Report(Struct, frozen=True):
    """What came of a verification."""

    entries: int
    """Lines read."""
    head: Head
    """The last line's number and hash as it states them."""
    faults: tuple[Broken, ...] = ()
    more: int = 0
    """Faults beyond `MAX_FAULTS`."""


def link(entry: Mapping[str, Any], previous: str) -> tuple[bytes, str]:
    """(the line, its hash). `entry` must be what JSON holds, with neither `previous` nor `hash`."""
    text = json.dumps({"previous": previous, **entry}, separators=(",", ":"))[:-1]
    own = hashlib.sha256(text.encode()).hexdigest()
    return f'{text},"hash":"{own}"}}\n'.encode(), own


def read(line: bytes) -> Link | None:
    """The line without its newline, or with it; None when it does not have the hash that it states."""
    text, _, tail = line.removesuffix(b"\n").rpartition(b',"hash":"')
    own = hashlib.sha256(text).hexdigest()
    if tail != f'{own}"}}'.encode():
        return None
    try:
        entry = json.loads(line)
        previous = entry.pop("previous")
        del entry["hash"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return Link(entry, previous, own) if isinstance(previous, str) else None


def verify(lines: Iterable[bytes], head: Head | None = None) -> Report:
    """Every line of a log from its first on, against itself and against `head`, a state that was noted earlier."""
    faults: list[Broken] = []
    number, seq, last = 0, 0, FIRST
    known: str | None = last  # None: the line before could not be read, so what it ended with is not known
    at_head = head is None or head.seq == 0
    for number, line in enumerate(lines, 1):
        found = read(line)
        stated = found.entry.get("seq") if found is not None else None
        if found is None or not isinstance(stated, int):
            faults.append(Broken(number, "was altered: it does not have the hash that it states"))
            known, seq = None, seq + 1
            continue
        if stated > seq + 1:
            missing = f"entry {seq + 1} is" if stated == seq + 2 else f"entries {seq + 1} to {stated - 1} are"
            faults.append(Broken(number, f"{missing} missing before it"))
        elif stated < seq + 1:
            faults.append(Broken(number, f"is entry {stated} where entry {seq + 1} belongs: it was put in or moved"))
        elif known is not None and found.previous != known:
            before = f"line {number - 1}" if number > 1 else "the beginning"
            faults.append(Broken(number, f"does not follow {before}: one of them was altered and given a new hash"))
        if head is not None and stated == head.seq:
            at_head = True
            if found.hash != head.hash:
                faults.append(Broken(number, f"entry {stated} is another than was noted: it was written anew"))
        known, last, seq = found.hash, found.hash, stated
    if not at_head and head is not None:
        gone = f"entries {seq + 1} to {head.seq} are" if head.seq > seq + 1 else f"entry {head.seq} is"
        faults.append(Broken(number + 1, f"{gone} missing at the end"))
    return Report(number, Head(seq, last), tuple(faults[:MAX_FAULTS]), max(0, len(faults) - MAX_FAULTS))
