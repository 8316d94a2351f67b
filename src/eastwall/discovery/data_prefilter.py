"""Which classes a raw body may hold: one pass of an automaton over its bytes, for values and for the names of fields.

It may suspect too much and never too little: whatever the walk of `data_values` would find in the body, it hits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import hyperscan

from eastwall.discovery import automata, data_named, data_names
from eastwall.discovery.data_forms import FEW, LONG, MARKED, TRIGGERS, UNMARKED, WALLETS

try:
    from eastwall.discovery._raw import triggers
except ImportError:  # no C compiler at installation: `accelerated` says so
    accelerated = False
else:
    accelerated = True

SENSITIVITY: dict[str, str] = {
    "pan": "critical",
    "ssn": "critical",
    "national-id": "high",
    "iban": "high",
    "bank-account": "high",
    "passport": "high",
    "driver-license": "high",
    "health-id": "critical",
    "diagnosis": "critical",
    "date-of-birth": "medium",
    "person-name": "low",
    "address": "medium",
    "geo": "medium",
    "email": "medium",
    "phone": "medium",
    "ip-address": "low",
    "crypto-wallet": "medium",
    "credential": "critical",
    "secret": "critical",
}
"""Built-in class -> `low`, `medium`, `high`, `critical`."""
CLASSES = tuple(SENSITIVITY)
BY_NAME = frozenset({"person-name", "address", "geo", "date-of-birth"})
"""Classes that no value shows by itself, only its field's name, and that many bodies hold."""


class Automaton:
    """The compiled prefilter, in databases: what is marked and what names say; the forms that read every byte; wallets; triggers. The second
    and third are asked only when their triggers hit, which the last one knows: `_raw.triggers` is its twin in C, and where that was built the
    last one is never asked. A scan lets go of the interpreter lock: each takes a scratch of its own."""

    def __init__(self, saved: bytes = b"", *, later: bool = False) -> None:
        """`saved`: what `save` gave an earlier process; compiled anew when it does not fit, `later`: all but the first when they are first asked."""
        sources = _sources()
        self._mark = automata.fingerprint([b"\0".join(pattern for _, pattern in some) for some in sources])
        kept = automata.restore(saved, self._mark) if saved else None
        self.kinds = _kinds(sources)
        if kept is not None:
            self.databases = kept[1]
        else:
            first, *others = (partial(_built, some, self.kinds) for some in sources)
            self.databases = (first(), *(automata.Later(build) if later else build() for build in others))
        self._scans = [database.scan for database in self.databases]
        self._free: list[list[Any]] = [[] for _ in self.databases]
        self._scan, self._ready = self._scans[0], self._free[0]
        """What the numbers of `hits` mean: a class, an evidence (`@birth`), or (`1`, `2`) that another database is to be asked."""
        self._sets: dict[int, frozenset[str]] = {0: _NOTHING}
        self._bits = tuple(_bits_of(kind) for kind in self.kinds)

    def save(self) -> bytes:
        """For the next process's `restore_automaton`."""
        return automata.save(self._mark, (), self.databases)

    def hits(self, data: bytes, which: int = 0) -> list[int]:
        """Numbers of the kinds that a database finds, each once."""
        free = self._free[which]
        try:
            scratch = free.pop()
        except IndexError:  # none yet, or another thread took it
            scratch = self.databases[which].scratch.clone()
        hits: list[int] = []
        try:
            self._scans[which](data, _hit, 0, hits, scratch)
        finally:
            free.append(scratch)
        return hits

    def classes(self, data: bytes) -> frozenset[str]:
        """Classes that may be in `data`; empty for clean data."""
        hits: list[int] = []
        free = self._ready
        try:
            scratch = free.pop()
        except IndexError:  # none yet, or another thread took it
            scratch = self.databases[0].scratch.clone()
        try:
            self._scan(data, _hit, 0, hits, scratch)
        finally:
            free.append(scratch)
        asked = triggers(data) if accelerated else self.triggered(data)
        return self._classes(hits, asked << len(CLASSES), data) if hits or asked else _NOTHING

    def triggered(self, data: bytes) -> int:
        """The readable twin of `_raw.triggers`: which further databases `data` asks for, 1 and 2 as bits."""
        asked = 0
        for kind in self.hits(data, 3):
            asked |= int(self.kinds[kind])
        return asked

    def _classes(self, hits: list[int], bits: int, data: bytes) -> frozenset[str]:
        table = self._bits
        for kind in hits:
            bits |= table[kind]
        for which in (1, 2):
            if bits & _ASKS[which]:
                bits &= ~_ASKS[which]
                for kind in self.hits(data, which):
                    bits |= table[kind]
        found = self._sets.get(bits)
        if found is None:
            if len(self._sets) > 5_000:
                self._sets.clear()
            found = self._sets[bits] = frozenset(name for at, name in enumerate(CLASSES) if bits >> at & 1)
        return found


_NOTHING: frozenset[str] = frozenset()


def _hit(kind: int, start: int, end: int, flags: int, hits: Any) -> None:
    hits.append(kind)


_ASKS = {1: 1 << len(CLASSES), 2: 2 << len(CLASSES)}


def _kinds(sources: Iterable[Sequence[tuple[str, bytes]]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(kind for some in sources for kind, _ in some))


def _built(some: Sequence[tuple[str, bytes]], kinds: tuple[str, ...]) -> Any:
    # Patterns of one kind share a number, and so one call back.
    flags = [hyperscan.HS_FLAG_SINGLEMATCH] * len(some)
    return automata.build([pattern for _, pattern in some], flags, [kinds.index(kind) for kind, _ in some])


def _bits_of(kind: str) -> int:
    return _ASKS[int(kind)] if kind.isdigit() else sum(1 << CLASSES.index(name) for name in _suspects(kind))


def _sources() -> tuple[Sequence[tuple[str, bytes]], ...]:
    """(class or evidence, pattern) of the databases."""
    people = "|".join(sorted(data_names.PERSONS | {"name", "names"}))
    within = rf'(?i)(?:{people})[^A-Za-z"]{{0,8}}"[ \t\r\n]{{0,16}}:[ \t\r\n]{{0,16}}[\[{{]'.encode()
    names = [(f"@{kind}", pattern) for kind, pattern in data_names.prefilter() if _suspects(f"@{kind}")]
    few = [("1", pattern) for pattern in FEW]
    asking = [*[("1", pattern) for pattern in TRIGGERS], ("2", LONG)]
    return [*MARKED, *few, *names, ("within", within)], UNMARKED, WALLETS, asking


def _suspects(kind: str) -> frozenset[str]:
    """Classes that are worth looking for where a kind hit."""
    if kind == "within":
        return frozenset({"person-name"})
    if not kind.startswith("@"):
        return frozenset({kind})
    found = data_named.CLASSES_OF.get(kind[1:], frozenset())
    # What is a person's makes the `name` beside it a person's.
    return found | {"person-name"} if kind[1:] in data_named.PERSONAL else found


_automaton: list[Automaton] = []


def automaton() -> Automaton:
    """Compiled at first use, not at import: commands that inspect nothing do not pay for it."""
    if not _automaton:
        _automaton.append(Automaton(later=True))
    return _automaton[0]


def restore_automaton(saved: bytes) -> None:
    """Make the automaton of this process of what `Automaton.save` gave an earlier one."""
    _automaton[:] = [Automaton(saved)]
