"""What is ordinary at operations about accounts: how much one address fails and asks; and what answers to failures look like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from eastwall.behaviours.holding import Backers, Key, beyond
from eastwall.behaviours.maxima import Maxima, Usual, told_counts
from eastwall.behaviours.sketch import hash64
from eastwall.behaviours.windows import DAY, HOUR
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord

MAX_OPERATIONS = 256
MEASURES = 8
FAILED_HOUR, FAILED_DAY, ACCOUNT_HOUR, ACCOUNT_DAY, RESETS_HOUR, RESETS_DAY, FLOOD_DAY, CODES_HOUR = range(MEASURES)
"""Of one address: accounts that failed and did not get in later; failures of the account at hand; accounts it asks a reset for; resets of the
account at hand; codes that failed."""
_WINDOWS = (HOUR, DAY, HOUR, DAY, HOUR, DAY, DAY, HOUR)
SIGNATURES = 16
"""Forms of an answer that are told apart, of existing and of other accounts each: those with the lowest checksums."""
ENOUGH = 10
"""Failures of either sort before their answers are compared."""
SHARE = 0.9
SLOWER = 2.0
"""How many times as long one of them takes in the middle, over `ENOUGH_TIMES` failures each."""
ENOUGH_TIMES = 40
_STEPS = 4
"""Buckets of durations per doubling."""
MAX_BUCKET = 160


class Tells(Struct, frozen=True, array_like=True):
    """See `model.deviations.AnswersTell`."""

    by: str
    existing: int
    others: int
    shown: str


class Group(Struct, frozen=True, array_like=True):
    """One operation."""

    endpoint: str
    usual: Usual | None
    tells: Tells | None


class Knowledge(Struct, frozen=True):
    """For engines."""

    groups: tuple[Group, ...] = ()


class _Answers:
    """Failures of existing accounts, or of others."""

    __slots__ = ("forms", "times")

    def __init__(self) -> None:
        self.forms: dict[int, list[int]] = {}
        """Checksum of the answer -> [failures, status]."""
        self.times: dict[int, int] = {}
        """Bucket of the duration -> failures."""

    def add(self, form: int, status: int, bucket: int) -> None:
        self._form(form, 1, status)
        self.times[bucket] = self.times.get(bucket, 0) + 1

    def merge(self, other: _Answers) -> None:
        for form, (count, status) in other.forms.items():
            self._form(form, count, status)
        for bucket, count in other.times.items():
            self.times[bucket] = self.times.get(bucket, 0) + count

    def _form(self, form: int, count: int, status: int) -> None:
        known = self.forms.get(form)
        if known is None:
            if len(self.forms) >= SIGNATURES:
                highest = max(self.forms)
                if form > highest:
                    return
                del self.forms[highest]
            known = self.forms[form] = [0, status]
        known[0] += count
        known[1] = min(known[1], status)

    def dump(self) -> Any:
        return [sorted([form, *known] for form, known in self.forms.items()), sorted([b, n] for b, n in self.times.items())]

    @classmethod
    def load(cls, data: Any) -> _Answers:
        state = cls()
        forms, times = data
        state.forms = {int(form): [int(count), int(status)] for form, count, status in forms}
        state.times = {int(bucket): int(count) for bucket, count in times}
        return state


class Model:
    """`merge` adds; nothing depends on the order of records (up to `MAX_OPERATIONS`)."""

    noted_only = True

    __slots__ = ("_operations",)

    def __init__(self) -> None:
        self._operations: dict[str, tuple[Maxima, _Answers, _Answers]] = {}
        """Operation -> (what addresses do, answers to existing accounts, answers to others)."""

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        """Failures are what this model is about; blocked and suspicious calls teach nothing all the same."""
        if type(note) not in (list, tuple) or len(note) != 3 or record.action == "block":
            return
        if not clean and any(finding.suspicious for finding in record.findings):
            return
        counts, answer, exists = told_counts(note[0], MEASURES), note[1], note[2]
        known = self._operation(endpoint)
        if counts is None or known is None:
            return
        known[0].fold(hash64(_address(record)), record.time, counts)
        if type(answer) is int and type(exists) is bool and answer >= 0:
            answers = known[1] if exists else known[2]
            answers.add(answer & 0xFFFFFFFF, record.status, _bucket(record.duration_us))

    def merge(self, other: Model) -> None:
        for endpoint, theirs in other._operations.items():
            self._take(endpoint, theirs)

    def move(self, renamed: Mapping[str, str]) -> None:
        for endpoint in [one for one in self._operations if one in renamed]:
            self._take(renamed[endpoint], self._operations.pop(endpoint))

    def dump(self) -> Any:
        return sorted(
            [endpoint, usual.dump(), existing.dump(), others.dump()]
            for endpoint, (usual, existing, others) in self._operations.items()
        )

    @classmethod
    def load(cls, data: Any) -> Model:
        state = cls()
        state._operations = {
            str(endpoint): (Maxima.load(usual), _Answers.load(existing), _Answers.load(others))
            for endpoint, usual, existing, others in data
        }
        return state

    def publish(self, endpoints: Sequence[Endpoint]) -> Knowledge | None:
        found = []
        for endpoint, (maxima, existing, others) in sorted(self._operations.items()):
            usual, tells = maxima.usual(_WINDOWS), _tells(existing, others)
            if usual is not None or tells is not None:
                found.append(Group(endpoint, usual, tells))
        return Knowledge(tuple(found)) if found else None

    def backers(self, key: Key, first: Usual) -> Backers | None:
        """See `behaviours.holding`: of addresses."""
        known = self._operations.get(key[1])
        return beyond(known[0] if known is not None else None, first, range(MEASURES))

    def _take(self, endpoint: str, theirs: tuple[Maxima, _Answers, _Answers]) -> None:
        mine = self._operation(endpoint)
        if mine is not None:
            mine[0].merge(theirs[0])
            mine[1].merge(theirs[1])
            mine[2].merge(theirs[2])

    def _operation(self, endpoint: str) -> tuple[Maxima, _Answers, _Answers] | None:
        known = self._operations.get(endpoint)
        if known is None and len(self._operations) < MAX_OPERATIONS:
            known = self._operations[endpoint] = (Maxima(), _Answers(), _Answers())
        return known


def _tells(existing: _Answers, others: _Answers) -> Tells | None:
    """How answers to failures of existing accounts differ from those of others: what nearly all of one sort get, the other never does."""
    here, there = (sum(count for count, _ in one.forms.values()) for one in (existing, others))
    if here >= ENOUGH and there >= ENOUGH:
        mostly, status = _mostly(existing)
        otherwise, other_status = _mostly(others)
        apart = mostly != otherwise and otherwise not in existing.forms and existing.forms[mostly][0] >= SHARE * here
        if apart and others.forms[otherwise][0] * 2 >= there:
            text = f"{status} against {other_status}" if status != other_status else f"another text with {status}"
            return Tells("answer", here, there, text)
    if min(here, there) >= ENOUGH_TIMES:
        middle, other = _median(existing.times), _median(others.times)
        if max(middle, other) >= SLOWER * min(middle, other):
            return Tells("time", here, there, f"median {middle / 1000:.0f} ms against {other / 1000:.0f} ms")
    return None


def _mostly(answers: _Answers) -> tuple[int, int]:
    form = min(answers.forms, key=lambda one: (-answers.forms[one][0], one))
    return form, answers.forms[form][1]


def _bucket(duration_us: int) -> int:
    """Durations within 19 % of one another."""
    return min(MAX_BUCKET, sum(duration_us > limit for limit in _LIMITS))


_LIMITS = tuple(2 ** (step / _STEPS) for step in range(MAX_BUCKET))


def _median(times: Mapping[int, int]) -> float:
    """Microseconds."""
    half, seen = sum(times.values()) / 2, 0
    for bucket in sorted(times):
        seen += times[bucket]
        if seen >= half:
            return float(2 ** (bucket / _STEPS))
    return 1.0


def _address(record: CallRecord) -> str:
    """The address that the call came from, as its principals tell."""
    return _told_address(record.principals) or record.source


def _told_address(principals: Iterable[str]) -> str:
    return next((one[8:] for one in principals if one.startswith("address:")), "")
