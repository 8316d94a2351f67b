"""Which services are third parties, where their answers redirect to, how large they are, and which marks they bear as a matter of course.

What a third party's answers look like otherwise is learned like that of all operations: `Endpoint.responses`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord

MAX_SERVICES, MAX_OPERATIONS = 1_000, 10_000
MAX_HOSTS, MAX_MARKS = 64, 256
"""Of one service: hosts redirected to; of one operation: (place, hint). Further ones are not kept."""
CUSTOMARY = 3
"""Answers with a mark at a place, after which it is a matter of course there, ..."""
CUSTOMARY_SHARE = 0.02
"""... if they are so many of all."""
SIZES = 32


class Answered(Struct, frozen=True, array_like=True):
    """What is known of the answers of one operation of a third party."""

    endpoint: str
    answers: int
    largest: int
    """No answer was of more bytes: a power of two."""
    marks: tuple[tuple[str, str], ...] = ()
    """(place, hint) that are a matter of course."""


class Party(Struct, frozen=True, array_like=True):
    """A third party."""

    service: str
    answers: int
    hosts: tuple[str, ...] = ()
    """Whereto it redirected."""


class Knowledge(Struct, frozen=True):
    """What engines know."""

    parties: tuple[Party, ...] = ()
    answered: tuple[Answered, ...] = ()


class _Answers:
    __slots__ = ("answers", "marks", "sizes")

    def __init__(self) -> None:
        self.answers = 0
        self.sizes = [0] * SIZES
        """By the number of bits of the number of bytes."""
        self.marks: dict[str, int] = {}
        """`hint place` -> answers."""

    def mark(self, key: str, count: int) -> None:
        if key in self.marks or len(self.marks) < MAX_MARKS:
            self.marks[key] = self.marks.get(key, 0) + count


class Model:
    """Mergeable state."""

    def __init__(self) -> None:
        self._services: dict[str, list[Any]] = {}
        """Service -> [answers, {host: answers}]."""
        self._operations: dict[str, _Answers] = {}

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        if not record.egress or record.action not in ("allow", "redact") or not record.status:
            return
        if any(finding.suspicious for finding in record.findings):
            return
        host, marks = _note(note)
        self._service(record.service, 1, {host: 1} if host else {})
        answers = self._operation(endpoint)
        if answers is not None and 200 <= record.status < 300:
            answers.answers += 1
            answers.sizes[min(max(record.response_bytes, 0).bit_length(), SIZES - 1)] += 1
            for mark in marks:
                answers.mark(mark, 1)

    def _service(self, name: str, answers: int, hosts: Mapping[str, int]) -> None:
        entry = self._services.get(name)
        if entry is None:
            if len(self._services) >= MAX_SERVICES:
                return
            entry = self._services[name] = [0, {}]
        entry[0] += answers
        for host, count in hosts.items():
            if host in entry[1] or len(entry[1]) < MAX_HOSTS:
                entry[1][host] = entry[1].get(host, 0) + count

    def _operation(self, endpoint: str) -> _Answers | None:
        found = self._operations.get(endpoint)
        if found is None and len(self._operations) < MAX_OPERATIONS:
            found = self._operations[endpoint] = _Answers()
        return found

    def _add(self, endpoint: str, answers: int, sizes: Sequence[int], marks: Mapping[str, int]) -> None:
        mine = self._operation(endpoint)
        if mine is not None:
            mine.answers += answers
            mine.sizes = [a + b for a, b in zip(mine.sizes, sizes, strict=True)]
            for mark, count in marks.items():
                mine.mark(mark, count)

    def merge(self, other: Model) -> None:
        for name, (answers, hosts) in other._services.items():
            self._service(name, answers, hosts)
        for endpoint, theirs in other._operations.items():
            self._add(endpoint, theirs.answers, theirs.sizes, theirs.marks)

    def move(self, renamed: Mapping[str, str]) -> None:
        taken = [(new, self._operations.pop(old)) for old, new in renamed.items() if old in self._operations]
        for new, theirs in taken:
            self._add(new, theirs.answers, theirs.sizes, theirs.marks)

    def dump(self) -> Any:
        return [
            {name: [answers, dict(sorted(hosts.items()))] for name, (answers, hosts) in sorted(self._services.items())},
            {e: [a.answers, a.sizes, dict(sorted(a.marks.items()))] for e, a in sorted(self._operations.items())},
        ]

    @classmethod
    def load(cls, data: Any) -> Model:
        state = cls()
        services, operations = data
        for name, (answers, hosts) in services.items():
            state._service(str(name), int(answers), {str(host): int(count) for host, count in hosts.items()})
        for endpoint, (answers, sizes, marks) in operations.items():
            state._add(str(endpoint), int(answers), [int(size) for size in sizes], {str(m): int(c) for m, c in marks.items()})
        return state

    def publish(self, endpoints: Sequence[Endpoint]) -> Knowledge | None:
        if not self._services:
            return None
        return Knowledge(
            tuple(Party(name, answers, tuple(sorted(hosts))) for name, (answers, hosts) in sorted(self._services.items())),
            tuple(
                Answered(
                    endpoint,
                    found.answers,
                    max((1 << bits for bits, count in enumerate(found.sizes) if count), default=0),
                    tuple(
                        (mark.partition(" ")[2], mark.partition(" ")[0])
                        for mark, count in sorted(found.marks.items())
                        if count >= CUSTOMARY and count >= CUSTOMARY_SHARE * found.answers
                    ),
                )
                for endpoint, found in sorted(self._operations.items())
            ),
        )


def _note(note: Any) -> tuple[str, list[str]]:
    """(host redirected to, marks) of what the watch noted; whatever is not as expected is passed over."""
    if type(note) is not dict:
        return "", []
    host, marks = note.get("to"), note.get("marks")
    return (
        host[:100] if type(host) is str else "",
        [mark[:220] for mark in marks if type(mark) is str][:32] if type(marks) is list or type(marks) is tuple else [],
    )
