"""What each caller is given, counted as it passes, and compared with what its class was learned to have."""

from __future__ import annotations

from math import exp, log
from typing import Any

from msgspec import Struct

from eastwall import behaviours
from eastwall.behaviours.volumes.model import Knowledge, Measure
from eastwall.behaviours.volumes.tally import Sums, Tally
from eastwall.discovery.bounded import Recent
from eastwall.discovery.data_classes import BY_NAME, SENSITIVITY
from eastwall.discovery.objects import shown
from eastwall.model.call import BodyState, Call, Completion
from eastwall.model.decision import Decision, Verdict
from eastwall.model.deviations import DataNotSeen, Deviation, UnusualVolume
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import DataHit, Facts
from eastwall.model.identity import Strength

MAX_CALLERS = 50_000
"""(service, caller) that are counted; those longest silent leave."""
FACTORS = ((16, 3.0), (6, 6.0), (3, 10.0))
"""(caller-hours that held the measure, times the greatest of them): the less is known, the farther from it is far. Of a class with a
single caller twice as many must be known."""
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
BYTES = 4_096
"""Bytes that weigh as much as one call."""
MIN_ANSWERS = 30
"""Clean calls by a class before a data class that it never had is told."""
_WINDOWS = ("hour", "day", "week")
_TOLD = ("medium", "high", "critical")


class Limit(Struct, frozen=True):
    """From where on a measure is far beyond what was learned."""

    amount: int
    measure: Measure
    derived: bool = False


class Bounds:
    """The limits of one class of callers at one service, by window."""

    __slots__ = ("least", "limits")

    def __init__(self, limits: tuple[dict[str, Limit], ...]) -> None:
        self.limits = limits
        self.least = tuple(min((_weight(name, one.amount) for name, one in of.items()), default=1 << 62) for of in limits)
        """What a window must weigh before any limit can be passed."""


class Known(Struct, frozen=True):
    """Look-up tables of `Knowledge`."""

    bounds: dict[tuple[str, str], Bounds]
    data: dict[str, dict[str, tuple[str, ...]]]
    labels: dict[str, str]


_UNCERTAIN = 1 << 40
"""Stands for a number of objects that takes counting."""


def compile(knowledge: Knowledge, world: behaviours.World) -> Known:
    """Limits from quantiles."""
    bounds = {}
    for group in knowledge.groups:
        spans = {name: {m.name: (m, seen) for m in measures} for name, seen, measures in group.spans}
        limits = _limits(spans)
        if any(limits):
            bounds[group.service, group.cls] = Bounds(limits)
    return Known(bounds, {e: dict(pairs) for e, pairs in knowledge.data}, dict(knowledge.labels))


def _limits(spans: dict[str, dict[str, tuple[Measure, int]]]) -> tuple[dict[str, Limit], ...]:
    hours = {name: limit for name, (m, seen) in spans.get("hour", {}).items() if (limit := _hour(m, seen)) is not None}
    days = _longer(spans.get("day", {}), hours, "day", DAY_FLOOR, WORKING_HOURS)
    weeks = _longer(spans.get("week", {}), days, "week", WEEK_FLOOR, WORKING_DAYS)
    return hours, days, weeks


def _hour(measure: Measure, seen: int) -> Limit | None:
    cells = measure.cells if measure.actors > 1 else measure.cells // 2
    factor = next((times for least, times in FACTORS if cells >= least), 0.0)
    if not factor or seen < CALENDAR["hour"]:
        return None
    return Limit(_far(measure, factor, 1), measure)


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
    heavy = measure.cells >= FACTORS[0][0] and 0 < measure.median < measure.upper
    spread = log(measure.upper / measure.median) / 1.645 if heavy else 0.0
    tail = exp(min(log(max(measure.median, 1)) + DEVIATIONS * spread, 60.0))
    return int(max(measure.greatest * factor, tail, _floor(measure.name) * floor))


def _floor(name: str) -> int:
    return FLOORS[name.partition(" ")[0]]


def _weight(name: str, amount: int) -> int:
    return amount // BYTES if name == "bytes" else amount


class Watch(behaviours.Watch):
    """Tallies of callers."""

    def __init__(self) -> None:
        self._tallies: Recent[tuple[str, str], Tally] = Recent(MAX_CALLERS)
        self._last: tuple[Call, int, int] | None = None
        """Of the answer looked at last: its call, records and bytes."""
        self.unjudged = 0
        """Answers to callers of whose class too little is learned."""

    def response(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        response = facts.call.response
        if response is None or not 200 <= response.status < 300:
            return ()
        records = records_of(facts.operation.body)
        size = len(response.body)
        self._last = (facts.call, records, size)
        found: tuple[Deviation, ...] = ()
        if facts.data and facts.match.endpoint is not None:
            found = _data(facts, facts.match.endpoint, known)
        identity, service = facts.identity, facts.call.service
        bounds = known.bounds.get((service, identity.cls))
        if bounds is None:
            self.unjudged += 1
            return found
        tally = self._tallies.get((service, identity.actor))
        more = 1 + records + len(facts.given) + (size >> 12)
        if tally is None:
            weight = before = longer = more
        else:
            now = tally.now
            weight = now[0].weight + more
            past = tally.past
            before = weight + (past[0].weight if past[0] is not None else 0)
            longer = weight + now[1].weight + (past[1].weight if past[1] is not None else 0)
        least = bounds.least
        if before < least[0] and longer < least[1] and (tally is None or longer + now[2].weight + _weight_of(past[2]) < least[2]):
            return found
        return found + self._far(facts, tally or Tally(facts.call.time), bounds, known, records, size)

    def _far(self, facts: Facts, tally: Tally, bounds: Bounds, known: Known, records: int, size: int) -> tuple[Deviation, ...]:
        """Measures of this answer that are beyond their limit: the one farthest beyond."""
        tally.turn(facts.call.time)
        time, endpoint = facts.call.time, facts.match.endpoint
        counts = _counts(facts, records, size)
        given = _by_kind(facts)
        worst: tuple[float, int, str, int, Limit] | None = None
        for index, limits in enumerate(bounds.limits):
            past = tally.past[index]
            present = tally.present(index)
            # No measure is greater than all weights together: most limits are out of reach, and their measures are not looked at.
            reach = 1 + records + len(facts.given) + (size >> 12) + sum(sums.weight for sums in present) + _weight_of(past)
            share = tally.share(index, time)
            for name, more in counts.items():
                limit = limits.get(name)
                if limit is None or _weight(name, limit.amount) > reach:
                    continue
                amount = more + sum([sums.counts.get(name, 0) for sums in present])
                if past is not None:
                    amount += int(past.counts.get(name, 0) * share)
                if amount > limit.amount and (worst is None or amount / limit.amount > worst[0]):
                    worst = (amount / limit.amount, index, name, amount, limit)
            for kind, keys in given.items():
                limit = limits.get("object " + kind)
                if limit is None or _most(present, past, kind, len(keys)) <= limit.amount:
                    continue
                amount = _distinct(present, kind, keys)
                if past is not None and kind in past.objects:
                    amount += int(past.objects[kind].count() * share)
                if amount > limit.amount and (worst is None or amount / limit.amount > worst[0]):
                    worst = (amount / limit.amount, index, "object " + kind, amount, limit)
        if worst is None:
            return ()
        _, index, name, amount, limit = worst
        return (_deviation(facts, index, name, amount, limit, known, endpoint),)

    def after(self, facts: Facts, verdict: Verdict, known: Known) -> None:
        response = facts.call.response
        if response is None or not 200 <= response.status < 300 or verdict.action == "block":
            return
        last = self._last
        if last is not None and last[0] is facts.call:
            _, records, size = last
        else:
            records, size = records_of(facts.operation.body), len(response.body)
        key = (facts.call.service, facts.identity.actor)
        tally = self._tallies.get(key)
        time = facts.call.time
        if tally is None:
            tally = Tally(time)
            self._tallies.put(key, tally)
        elif time >= (tally.at[0] + 1) * 3_600:
            tally.turn(time)
        sums = tally.now[0]
        sums.weight += 1 + records + len(facts.given) + (size >> 12)
        for name, count in _counts(facts, records, size).items():
            sums.count(name, count)
        for kind, keys in _by_kind(facts).items():
            objects = sums.objects_of(kind)
            if objects is not None:
                objects.add(keys)

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        """Records of the answer, and into the tally the bytes that passed unread."""
        if response is None or not 200 <= completion.status < 300:
            return None
        answered = response.facts.call.response
        if answered is not None and answered.body_state > BodyState.COMPLETE:
            unread = completion.response_bytes - len(answered.body)
            tally = self._tallies.get((completion.service, request.identity.actor))
            if unread > 0 and tally is not None:
                tally.now[0].count("bytes", unread)
                tally.now[0].weight += unread >> 12
        return records_of(response.facts.operation.body) or None

    def __len__(self) -> int:
        return len(self._tallies)


def records_of(body: Any) -> int:
    """Items of the longest list of an answer: the body itself, or one of its properties, or of theirs (`data.items`)."""
    if type(body) is list:
        return len(body)
    if type(body) is not dict:
        return 0
    most = 0
    for value in body.values():
        if type(value) is list:
            if len(value) > most:
                most = len(value)
        elif type(value) is dict:
            for inner in value.values():
                if type(inner) is list and len(inner) > most:
                    most = len(inner)
    return most


def _counts(facts: Facts, records: int, size: int) -> dict[str, int]:
    counts = {"calls": 1, "bytes": size}
    endpoint = facts.match.endpoint
    if endpoint is not None:
        counts["call " + endpoint.id] = 1
    if records:
        counts["records"] = records
    for hit in facts.data:
        if hit.data_class not in BY_NAME:
            name = "data " + hit.data_class
            counts[name] = counts.get(name, 0) + (records if records and "[]" in hit.place else 1)
    return counts


def _by_kind(facts: Facts) -> dict[str, list[int]]:
    given: dict[str, list[int]] = {}
    for kind, key in facts.given:
        if kind in given:
            given[kind].append(key)
        else:
            given[kind] = [key]
    return given


def _distinct(present: list[Sums], kind: str, more: list[int]) -> int:
    held = [sums.objects[kind] for sums in present if kind in sums.objects]
    if not held:
        return len(set(more))
    whole = held[0].copy()
    for one in held[1:]:
        whole.join(one)
    whole.add(more)
    return whole.count()


def _most(present: list[Sums], past: Sums | None, kind: str, more: int) -> int:
    """At least as many as `_distinct` and those of the window before: what several windows share counts for each."""
    for sums in present if past is None else (*present, past):
        objects = sums.objects.get(kind)
        if objects is not None:
            more += len(objects.keys) if objects.keys is not None else _UNCERTAIN
    return more


def _weight_of(sums: Sums | None) -> int:
    return 0 if sums is None else sums.weight


def _deviation(
    facts: Facts, index: int, name: str, amount: int, limit: Limit, known: Known, endpoint: Endpoint | None
) -> UnusualVolume:
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
        confidence="low" if near else "medium",
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
    answers = sum(calls for name, calls, _ in endpoint.users if name == cls)
    if answers < MIN_ANSWERS:
        return ()
    places = {field.place for _, schema in endpoint.responses for field in schema.fields}
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
