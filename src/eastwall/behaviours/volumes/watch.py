"""What each caller is given, counted as it passes, and compared with what its class was learned to have."""

from __future__ import annotations

from math import exp, log
from typing import Any

from msgspec import Struct

from eastwall import behaviours
from eastwall.behaviours.volumes.model import Knowledge, Measure
from eastwall.behaviours.volumes.tally import EXACT, MAX_NAMES, MUCH, Tally, by_kind
from eastwall.discovery.bounded import Recent
from eastwall.discovery.data_classes import BY_NAME, SENSITIVITY
from eastwall.discovery.objects import shown
from eastwall.discovery.shapes import records_of
from eastwall.model.call import BodyState, Call, Completion, Phase
from eastwall.model.decision import Decision, Verdict
from eastwall.model.deviations import DataNotSeen, Deviation, UnusualVolume
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import DataHit, Facts
from eastwall.model.identity import Strength
from eastwall.model.operation import Operation

MAX_CALLERS = 50_000
"""(service, caller) that are counted; those longest silent leave."""
FACTORS = ((60, 3.0), (32, 5.0), (6, 7.0), (3, 10.0), (2, 14.0))
"""(caller-hours that held the measure, times the greatest of them): the less is known, the farther from it is far. What one visit in twenty
does (paging through all there is) was seen in 60 hours with 95 % certainty (0.95 ** 60 = 4.6 %), in 32 of them with 80 %. Of a class
with a single caller twice as many must be known."""
SURE = 5
"""The same before anybody is stopped where shorter windows stand for a longer one: what is done in the night, or in a busy afternoon, was not seen in
an hour or two."""
TAIL = 16
"""Caller-hours from which on their spread says something of the tail."""
DEVIATIONS = 4.0
"""Standard deviations above the median of the logarithm, as the median and the 95th percentile tell them: heavy tails ask for more."""
FLOORS = {"calls": 300, "bytes": 2_000_000, "records": 200, "call": 25, "object": 50, "data": 60}
"""What nobody is told for, in an hour. Of a day `DAY_FLOOR` times that, of a week `WEEK_FLOOR` times."""
DAY_FLOOR, WEEK_FLOOR = 3, 8
WORKING_HOURS, WORKING_DAYS = 8, 5
"""Where too few days (weeks) were seen: so many hours (days) like the greatest one stand for them, by `DERIVED`."""
DERIVED = 1.5
DAY_FACTOR = 2.0
"""Times the greatest day or week: lower than for hours, since what is steady varies less."""
ENOUGH = 6
"""Caller-days (or weeks) that must hold a measure before it is judged by them, ..."""
CALENDAR = {"hour": 2, "day": 4, "week": 3}
"""... of so many hours, days, weeks of the calendar: the first day that is learned from is none yet."""
MIN_ANSWERS = 30
"""Clean calls by a class before a data class that it never had is told."""
_WINDOWS = ("hour", "day", "week")
_CALLS, _BYTES, _RECORDS, _OBJECTS, _DATA, _CALL = range(6)
_LEFT = {"calls": _CALLS, "bytes": _BYTES, "records": _RECORDS, "object": _OBJECTS, "data": _DATA, "call": _CALL}
_TOLD = ("medium", "high", "critical")
_COMPLETE = int(BodyState.COMPLETE)  # looking up members of enumerations takes longer than most of what is done here


class Limit(Struct, frozen=True):
    """From where on a measure is far beyond what was learned."""

    amount: int
    measure: Measure
    derived: bool = False


REFRESH = 14_400.0
"""Seconds after which a caller is compared with limits that were published since, even if it did little."""
_Limits = tuple[tuple[int, str, str, Limit], ...]
"""(index of the window, name of the measure, kind or data class or operation, limit)."""


class Bounds:
    """The limits of one class of callers at one service."""

    __slots__ = ("calls", "caps", "least", "limits")

    def __init__(self, limits: tuple[dict[str, Limit], ...]) -> None:
        every = [(index, name, name.partition(" ")[2], one) for index, of in enumerate(limits) for name, one in of.items()]
        by = [_LEFT[name.partition(" ")[0]] for _, name, _, _ in every]
        self.limits: tuple[_Limits, ...] = tuple(
            tuple(one for one, of in zip(every, by, strict=True) if of == what) for what in range(5)
        )
        """Of calls, bytes, records, objects and values."""
        self.least = [min((limit.amount for _, _, _, limit in of), default=MUCH) for of in self.limits]
        """How much of each a caller may have before any limit can be passed."""
        self.calls: dict[str, _Limits] = {}
        """Of calls of single operations."""
        for one, of in zip(every, by, strict=True):
            if of == _CALL:
                self.calls[one[2]] = (*self.calls.get(one[2], ()), one)
        self.caps = {key: min(one[3].amount for one in of) for key, of in self.calls.items()}
        """The least limit of calls of each."""


class Known(Struct, frozen=True):
    """Look-up tables of `Knowledge`."""

    bounds: dict[tuple[str, str], Bounds]
    data: dict[str, dict[str, tuple[str, ...]]]
    labels: dict[str, str]
    places: dict[str, frozenset[str]]
    """Operation -> places of its answers that are known; filled as they are asked for."""


def compile(knowledge: Knowledge, world: behaviours.World) -> Known:
    """Limits from quantiles."""
    bounds = {}
    for group in knowledge.groups:
        spans = {name: {m.name: (m, seen) for m in measures} for name, seen, measures in group.spans}
        limits = _limits(spans)
        if any(limits):
            bounds[group.service, group.cls] = Bounds(limits)
    return Known(bounds, {e: dict(pairs) for e, pairs in knowledge.data}, dict(knowledge.labels), {})


def _limits(spans: dict[str, dict[str, tuple[Measure, int]]]) -> tuple[dict[str, Limit], ...]:
    hours = {name: limit for name, (m, seen) in spans.get("hour", {}).items() if (limit := _hour(m, seen)) is not None}
    days = _longer(spans.get("day", {}), hours, "day", DAY_FLOOR, WORKING_HOURS)
    weeks = _longer(spans.get("week", {}), days, "week", WEEK_FLOOR, WORKING_DAYS)
    return hours, days, weeks


def _hour(measure: Measure, seen: int) -> Limit | None:
    factor = next((times for least, times in FACTORS if _cells(measure) >= least), 0.0)
    if not factor or seen < CALENDAR["hour"]:
        return None
    return Limit(_far(measure, factor, 1), measure)


def _cells(measure: Measure) -> int:
    """Caller-windows by which a measure is judged: of a single caller half of them."""
    return measure.cells if measure.actors > 1 else measure.cells // 2


def _longer(
    spans: dict[str, tuple[Measure, int]], shorter: dict[str, Limit], window: str, floor: int, times: int
) -> dict[str, Limit]:
    """Limits of days by what days held, or by hours where too few days were seen; of weeks likewise by days."""
    found = {}
    for name, limit in shorter.items():
        measure, seen = spans.get(name, (limit.measure, 0))
        if seen >= CALENDAR[window] and measure.cells >= ENOUGH:
            found[name] = Limit(max(_far(measure, DAY_FACTOR, floor), limit.amount), measure)
        else:
            # A week by days that hours stand for is as many such days.
            most = limit.amount * times if limit.derived else int(limit.measure.greatest * times * DERIVED)
            found[name] = Limit(max(most, limit.amount, _floor(name) * floor), limit.measure, derived=True)
    return found


def _far(measure: Measure, factor: float, floor: int) -> int:
    # With few cells the 95th percentile is the greatest of them, and says nothing of a tail that the factor does not.
    heavy = measure.cells >= TAIL and 0 < measure.median < measure.upper
    spread = log(measure.upper / measure.median) / 1.645 if heavy else 0.0
    tail = exp(min(log(max(measure.median, 1)) + DEVIATIONS * spread, 60.0))
    return int(max(measure.greatest * factor, tail, _floor(measure.name) * floor))


def _floor(name: str) -> int:
    return FLOORS[name.partition(" ")[0]]


class Watch(behaviours.Watch):
    """Tallies of callers."""

    def __init__(self) -> None:
        self._tallies: Recent[tuple[str, str], Tally] = Recent(MAX_CALLERS)
        self._counted = ""
        """Id of the call of whose answer the records were counted when it was judged, and how many:"""
        self._records = 0
        self._over = ""
        """The same of the call that was remembered last and whose answer was read to its end."""
        self._over_records = 0

    def response(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        call = facts.call
        response = call.response
        if response is None or not 200 <= response.status < 300:
            return ()
        self._counted = ""
        operation = facts.operation
        tally = self._tallies.get((call.service, facts.identity.actor))
        if (
            tally is not None
            and not tally.closed
            and not facts.data
            and len(facts.given) <= tally.objects_left
            and len(response.body) <= tally.bytes_left
            and (
                (operation.body_kind == "json" and 1 < len(operation.raw_body) <= 2 * tally.records_left)
                or _at_most(operation) <= tally.records_left
                or self._count(call, operation) <= tally.records_left
            )
        ):
            return ()
        return self._closer(facts, tally, known, len(response.body))

    def _count(self, call: Call, operation: Operation) -> int:
        """Records of the answer."""
        if self._counted != call.id:
            self._counted, self._records = call.id, records_of(operation.body) if _at_most(operation) else 0
        return self._records

    def _closer(self, facts: Facts, tally: Tally | None, known: Known, size: int) -> tuple[Deviation, ...]:
        """What the answer of a caller who may be near a limit, or of whom nothing is known, deviates in."""
        call, endpoint, data = facts.call, facts.match.endpoint, facts.data
        found = _data(facts, endpoint, known) if data and endpoint is not None else ()
        bounds = known.bounds.get((call.service, facts.identity.cls))
        if bounds is None:
            return found
        given, records = len(facts.given), self._count(call, facts.operation)
        key = endpoint.id if endpoint is not None else ""
        if tally is None:
            _, most_size, most_records, objects, values = bounds.least
            if records <= most_records and given <= objects and size <= most_size and (not data or records < values):
                return found
            tally = Tally(call.time)
        if tally.until <= call.time:
            tally.until = call.time + REFRESH
            for what in range(5):
                tally.leave(what, -1)
            tally.caps, tally.kinds_left = dict.fromkeys(bounds.calls, 0), None
        elif (
            tally.calls_left > 0
            and records <= tally.records_left
            and (given <= tally.objects_left or tally.spares(facts.given))
            and size <= tally.bytes_left
            and (not data or records < tally.values_left)
            and tally.operations.get(key, 0) < tally.caps.get(key, MUCH)
        ):
            return found
        found += self._look(facts, tally, bounds, known, key)
        tally.closed = tally.near()
        return found

    def _look(self, facts: Facts, tally: Tally, bounds: Bounds, known: Known, key: str) -> tuple[Deviation, ...]:
        """Measures of this answer that are beyond their limit: the one farthest beyond. And how much may follow before any can be."""
        time, records = facts.call.time, self._records
        tally.turn(time)
        counts = _counts(facts, records)
        needed = (1, counts["bytes"], records, len(facts.given), records + 1 if facts.data else 0)
        worst: tuple[float, Limit, int, str, int] | None = None
        for what in range(5):
            if not needed[what] or tally.left(what) >= needed[what]:
                continue
            limits, more = bounds.limits[what], counts
            if what == _OBJECTS:
                more, tally.kinds_left = _more(facts, tally), {which: MUCH for _, _, which, _ in limits}
            left, found = self._measured(tally, limits, more, time)
            tally.leave(what, left)
            worst = found if worst is None or (found is not None and found[0] > worst[0]) else worst
        called = tally.operations.get(key, 0)
        if called >= tally.caps.get(key, MUCH):
            left, found = self._measured(tally, bounds.calls.get(key, ()), counts, time)
            tally.caps = tally.caps | {key: called + left}
            worst = found if worst is None or (found is not None and found[0] > worst[0]) else worst
        if worst is None:
            return ()
        _, limit, index, name, amount = worst
        return (_deviation(facts, index, name, amount, limit, known),)

    def _measured(
        self, tally: Tally, limits: _Limits, more: dict[str, int], time: float
    ) -> tuple[int, tuple[float, Limit, int, str, int] | None]:
        """(how much may follow of these measures, the one of them that is farthest beyond its limit)."""
        left = MUCH
        worst: tuple[float, Limit, int, str, int] | None = None
        objects: dict[int, dict[str, int]] = {}
        for index, name, which, limit in limits:
            if name[:7] == "object ":
                if index not in objects:
                    objects[index] = tally.distinct(index, time)
                before = objects[index].get(which, 0)
                if tally.kinds_left is not None:
                    tally.kinds_left[which] = min(tally.kinds_left[which], limit.amount - before)
            else:
                before = tally.amount(index, name, which, time)
            left = min(left, limit.amount - before)
            added = more.get(name, 0)
            # What this answer does not add to is no reason to hold it back.
            if added and before + added > limit.amount:
                ratio = (before + added) / limit.amount
                if worst is None or ratio > worst[0]:
                    worst = (ratio, limit, index, name, before + added)
        return left, worst

    def remembers(self, phase: Phase, endpoint: Endpoint, known: Known) -> bool:
        return phase is Phase.RESPONSE

    def after(self, facts: Facts, verdict: Verdict, known: Known) -> None:
        call = facts.call
        response = call.response
        if response is None or not 200 <= response.status < 300 or verdict.action == "block":
            self._over = ""
            return
        records = self._count(call, facts.operation)
        self._over, self._over_records = call.id if response.body_state <= _COMPLETE else "", records
        who = (call.service, facts.identity.actor)
        tally = self._tallies.get(who)
        if tally is None:
            tally = self._enter(who, facts, known)
        elif call.time >= tally.ends:
            tally.turn(call.time)
        if tally.last != call.id:
            tally.last = call.id
            tally.calls_left -= 1
            endpoint = facts.match.endpoint
            if endpoint is not None:
                key, operations = endpoint.id, tally.operations
                count = operations.get(key, 0) + 1
                if count > 1 or len(operations) < MAX_NAMES:
                    operations[key] = count
                    if count >= tally.caps.get(key, MUCH):
                        tally.closed = True
            if tally.calls_left <= 0:
                tally.closed = True
        tally.bytes_left -= len(response.body)
        if records:
            tally.records_left -= records
        given = facts.given
        if given:
            seen = tally.objects.seen
            before = len(seen)
            seen.update(given)
            tally.objects_left -= len(seen) - before
            if len(seen) > EXACT:
                tally.objects.spill()
            if (kinds := tally.kinds_left) is not None:
                for kind, _ in given:
                    if kind in kinds:
                        kinds[kind] -= 1
        if facts.data:
            data = tally.data
            for name, count in _values(facts, records).items():
                tally.values_left -= count
                if name in data or len(data) < MAX_NAMES:
                    data[name] = data.get(name, 0) + count

    def _enter(self, who: tuple[str, str], facts: Facts, known: Known) -> Tally:
        """A caller who is new, with its limits."""
        tally = Tally(facts.call.time)
        self._tallies.put(who, tally)
        bounds = known.bounds.get((who[0], facts.identity.cls))
        if bounds is not None:
            tally.until = facts.call.time + REFRESH
            for what, left in enumerate(bounds.least):
                tally.leave(what, left)
            tally.caps, tally.closed = bounds.caps, False
        return tally

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        """Records of the answer, and into the tally the bytes that passed unread."""
        if response is None or not 200 <= completion.status < 300:
            return None
        if self._over == completion.id:
            return self._over_records or None
        facts = response.facts
        answered = facts.call.response
        if answered is not None and answered.body_state > BodyState.COMPLETE:
            unread = completion.response_bytes - len(answered.body)
            tally = self._tallies.get((completion.service, request.identity.actor))
            if unread > 0 and tally is not None:
                tally.bytes_left -= unread
        return records_of(facts.operation.body) or None

    def __len__(self) -> int:
        return len(self._tallies)


def _at_most(operation: Operation) -> int:
    """How many records an answer may hold, without counting: each is two bytes of JSON at least, and stands in a list."""
    raw = operation.raw_body
    if operation.body is None:
        return 0
    if not raw or operation.body_kind != "json":
        return MUCH
    return len(raw) // 2 if b"[" in raw else 0


def _counts(facts: Facts, records: int) -> dict[str, int]:
    """What the answer adds to measures other than objects."""
    response = facts.call.response
    counts = {"calls": 1, "bytes": len(response.body) if response is not None else 0, "records": records}
    if facts.match.endpoint is not None:
        counts[f"call {facts.match.endpoint.id}"] = 1
    return counts | {f"data {name}": count for name, count in _values(facts, records).items()}


def _more(facts: Facts, tally: Tally) -> dict[str, int]:
    """Objects that the answer adds to what the caller had in the present hour."""
    seen = tally.objects.seen
    new = by_kind([one for one in set(facts.given) if one not in seen])
    return {f"object {kind}": len(keys) for kind, keys in new.items()}


def _values(facts: Facts, records: int) -> dict[str, int]:
    """Data class -> values: as many as records where they stand in a list."""
    values: dict[str, int] = {}
    for hit in facts.data:
        if hit.data_class not in BY_NAME:
            values[hit.data_class] = values.get(hit.data_class, 0) + (records if records and "[]" in hit.place else 1)
    return values


def _deviation(facts: Facts, index: int, name: str, amount: int, limit: Limit, known: Known) -> UnusualVolume:
    what, _, which = name.partition(" ")
    told = {
        "call": f"calls of {known.labels.get(which, which)}",
        "object": f"{which} objects given",
        "data": f"{which} values given",
        "bytes": "bytes given",
        "records": "records given",
    }.get(what, what)
    measure = limit.measure
    near = measure.top > measure.greatest and amount <= measure.top * 2
    unsure = limit.derived and _cells(measure) < SURE
    role, _, who = facts.identity.actor.partition(":")
    return UnusualVolume(
        place="operation",
        measure=told,
        amount=amount,
        window=_WINDOWS[index],
        limit=limit.amount,
        greatest=measure.greatest,
        cells=measure.cells,
        actors=measure.actors,
        cls=facts.identity.cls,
        shown=f"{role} {shown(who)}",
        confidence="low" if near or unsure else "medium",
        derived=limit.derived,
    )


def _data(facts: Facts, endpoint: Endpoint, known: Known) -> tuple[Deviation, ...]:
    """Data classes of the answer that this class of caller never had from this operation."""
    if facts.identity.strength is Strength.NONE and not known.data.get(endpoint.id):
        return ()
    learned = known.data.get(endpoint.id, {})
    cls = facts.identity.cls
    new: dict[str, list[DataHit]] = {}
    for hit in facts.data:
        if hit.data_class not in BY_NAME and hit.confidence >= 0.8 and cls not in learned.get(hit.data_class, ()):
            new.setdefault(hit.data_class, []).append(hit)
    if not new or endpoint.status != "learned":
        return ()
    answers = sum([calls for name, calls, _ in endpoint.users if name == cls])
    if answers < MIN_ANSWERS:
        return ()
    places = known.places.get(endpoint.id)
    if places is None:
        places = known.places[endpoint.id] = frozenset(field.place for _, schema in endpoint.responses for field in schema.fields)
    found: tuple[Deviation, ...] = ()
    for name, hits in new.items():
        sensitivity = SENSITIVITY.get(name, "medium")
        if sensitivity in _TOLD:
            sure = any(hit.place not in places and hit.place != "body" for hit in hits)
            found += (
                DataNotSeen(
                    place=hits[0].place if hits[0].place.startswith(("header.", "cookie.")) else f"body.{hits[0].place}",
                    data_class=name,
                    sensitivity=sensitivity,
                    cls=cls,
                    answers=answers,
                    others=learned.get(name, ())[:4],
                    masked=hits[0].masked,
                    sure=sure,
                ),
            )
    return found
