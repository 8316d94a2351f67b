"""Counts of what operations refuse and what they let pass; from them, which version of an operation checks less than another.

One actor alone moves nothing: what a single caller without identity was answered is no custom (`Weakness.customary`), and a weakness is
a fault of the service whoever found it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from eastwall.behaviours.sketch import hash64, keep_lowest
from eastwall.discovery.lifecycle import versioned
from eastwall.discovery.versions import Answers, Weakness, key_of, label_of, older, siblings, weaknesses
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord

MAX_OPERATIONS = 20_000
"""Further ones are not counted."""
CALLERS = 4
_WITHOUT_HEADERS = frozenset(("access-log", "otlp", "envoy-als", "lines", "import"))
"""Origins of records that cannot tell an identity that there was."""
_FOREIGN = frozenset(("object-not-granted", "owner-mismatch"))
_ANONYMOUS, _REFUSED, _IDENTIFIED, _FOREIGN_DONE, _FOREIGN_REFUSED, _WRONG, _LIMITED, _CALLS = range(8)


class Old(Struct, frozen=True, array_like=True):
    """An operation of an old version."""

    endpoint: str
    label: str
    other_label: str
    """The newer one."""
    calls: int
    """Of the old one."""


class Closed(Struct, frozen=True, array_like=True):
    """An operation that nobody calls without identity: what versions of it are to be asked for that nobody called before."""

    method: str
    template: str
    """Without version and structure, see `discovery.versions.key_of`; parameters are `{}`."""
    label: str
    identified: int
    refused: int
    version: tuple[int, ...] = ()


class Knowledge(Struct, frozen=True):
    """What engines know."""

    weak: tuple[Weakness, ...] = ()
    old: tuple[Old, ...] = ()
    closed: tuple[tuple[str, tuple[Closed, ...]], ...] = ()
    """Service -> operations."""


class Model:
    """Mergeable state."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._anonymous: dict[str, set[int]] = {}
        """Operation -> lowest hashes of those without identity that it answered."""

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        status = record.status
        if record.action not in ("allow", "redact") or not status:
            return
        counts = self._counts.get(endpoint)
        if counts is None:
            if len(self._counts) >= MAX_OPERATIONS:
                return
            counts = self._counts[endpoint] = [0] * 8
        counts[_CALLS] += 1
        done = 200 <= status < 300 and "fault" not in record.traits
        if done and record.strength:
            counts[_IDENTIFIED] += 1
        elif status == 429:
            counts[_LIMITED] += 1
        elif status in (400, 422):
            counts[_WRONG] += 1
        elif not record.strength and record.actor and record.origin not in _WITHOUT_HEADERS:
            if done:
                counts[_ANONYMOUS] += 1
                keep_lowest(self._anonymous.setdefault(endpoint, set()), (hash64(record.source),), CALLERS)
            elif status in (401, 403):
                counts[_REFUSED] += 1
        if record.findings and any(finding.id in _FOREIGN for finding in record.findings):
            if done:
                counts[_FOREIGN_DONE] += 1
            elif status in (403, 404):
                counts[_FOREIGN_REFUSED] += 1

    def merge(self, other: Model) -> None:
        for endpoint, counts in other._counts.items():
            self._add(endpoint, counts, other._anonymous.get(endpoint, set()))

    def _add(self, endpoint: str, counts: Sequence[int], anonymous: set[int]) -> None:
        mine = self._counts.get(endpoint)
        if mine is None:
            if len(self._counts) >= MAX_OPERATIONS:
                return
            mine = self._counts[endpoint] = [0] * 8
        for at, count in enumerate(counts):
            mine[at] += count
        if anonymous:
            keep_lowest(self._anonymous.setdefault(endpoint, set()), anonymous, CALLERS)

    def move(self, renamed: Mapping[str, str]) -> None:
        taken = [
            (new, self._counts.pop(old), self._anonymous.pop(old, set())) for old, new in renamed.items() if old in self._counts
        ]
        for new, counts, anonymous in taken:
            self._add(new, counts, anonymous)

    def dump(self) -> Any:
        return [
            dict(sorted(self._counts.items())),
            {endpoint: sorted(hashes) for endpoint, hashes in sorted(self._anonymous.items())},
        ]

    @classmethod
    def load(cls, data: Any) -> Model:
        state = cls()
        counts, anonymous = data
        for endpoint, found in counts.items():
            if len(found) != 8:
                raise ValueError(f"counts of {endpoint!r} have length {len(found)}")
            state._add(endpoint, [int(one) for one in found], set(anonymous.get(endpoint, ())))
        return state

    def answers(self) -> dict[str, Answers]:
        """What was counted, by operation."""
        return {
            e: Answers(c[_ANONYMOUS], len(self._anonymous.get(e, ())), c[_REFUSED], c[_IDENTIFIED], c[_FOREIGN_DONE], c[_FOREIGN_REFUSED], c[_WRONG], c[_LIMITED], c[_CALLS])
            for e, c in self._counts.items()
        }  # fmt: skip

    def weaknesses(self, endpoints: Sequence[Endpoint]) -> tuple[Weakness, ...]:
        """Operations that check less than another version of them, for those who show APIs."""
        return weaknesses(endpoints, self.answers())

    def publish(self, endpoints: Sequence[Endpoint]) -> Knowledge | None:
        answers = self.answers()
        old = []
        for some in siblings(endpoints).values():
            for one in some:
                newer = [other for other in some if other.service == one.service and older(one, other)]
                if newer:
                    newest = max(newer, key=lambda other: (versioned(other.template)[0], other.calls, other.id))
                    old.append(Old(one.id, label_of(one), label_of(newest), one.calls))
        closed: dict[str, list[Closed]] = {}
        for endpoint in endpoints:
            counted = answers.get(endpoint.id, Answers())
            told = versioned(endpoint.template)
            if endpoint.protocol == "rest" and counted.identified and not counted.anonymous and not endpoint.login:
                method, template, _ = key_of(endpoint.method, endpoint.template)
                if template:
                    named = Closed(method, template, label_of(endpoint), counted.identified, counted.anonymous_refused, told[0])
                    closed.setdefault(endpoint.service, []).append(named)
        return Knowledge(
            weak=weaknesses(endpoints, answers),
            old=tuple(sorted(old, key=lambda one: one.endpoint)),
            closed=tuple((service, tuple(found)) for service, found in sorted(closed.items())),
        )
