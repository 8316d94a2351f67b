"""How often, how many at once, how much: what is known with the request is asked there, the rest is charged with the answer.

A call that is let in is remembered with the limits that it counts under (`Meter`) until its completion: the answer is charged to them, and
what passed unseen (a stream's bytes) at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eastwall.discovery.identity import source_of
from eastwall.discovery.shapes import records_of
from eastwall.discovery.shares import network_of
from eastwall.model.call import BodyState, Completion, Request, Response
from eastwall.model.decision import Deny, Quota, Redact, Throttle
from eastwall.model.facts import Facts
from eastwall.policy.kinds import LimitPolicy, Policy
from eastwall.policy.limits import LimitTable, key_of, parse_amount, parse_rate
from eastwall.policy.patterns import Paths
from eastwall.policy.rules import Bound, CompiledRule
from eastwall.policy.steps.applying import applies, match_of
from eastwall.policy.steps.outcome import Outcome
from eastwall.policy.world import World

MAX_METERS = 50_000
"""Calls that are remembered until they end; beyond it the oldest is charged no more."""
_OUT = Deny(503, "Limit cannot be counted", "The call could not be counted, so it was not let through.", "inspection-failed")
_UNITS = {"bytes": "content-bytes", "concurrency": "concurrent-requests"}


class Budget:
    """An amount per time."""

    __slots__ = ("interval", "limit", "name", "period", "text")

    def __init__(self, name: str, text: str) -> None:
        """`name`: `bytes`, `records`, `objects` or `values`. Raises ValueError."""
        self.name, self.text = name, text
        self.limit, self.period = parse_amount(text, sizes=name == "bytes")
        self.interval = self.period / self.limit


class LimitRule(CompiledRule):
    """A LimitPolicy."""

    __slots__ = (
        "budgets", "burst", "classes", "concurrency", "direction", "headers", "interval", "limit", "objects", "on_outage", "only_rate", "per", "per_words",
        "period", "rate",
    )  # fmt: skip
    step = "limits"

    def __init__(self, policy: Policy, spec: LimitPolicy, world: World) -> None:
        super().__init__(policy, spec, world)
        self.rate, self.limit, self.period, self.interval, self.burst = spec.rate, 0, 0.0, 0.0, 0
        if spec.rate:
            self.limit, self.period = parse_rate(spec.rate)
            self.interval = self.period / self.limit
            self.burst = spec.burst or max(1, round(1.0 / self.interval))
        self.concurrency = spec.concurrency or 0
        amounts = (("bytes", spec.bytes), ("records", spec.records), ("values", spec.values))
        self.budgets = tuple(Budget(name, text) for name, text in amounts if text)
        self.objects = Budget("objects", spec.objects) if spec.objects else None
        self.direction = spec.direction
        self.classes = frozenset(spec.classes)
        self.headers = spec.headers
        self.on_outage = spec.on_outage
        self.per = frozenset(spec.per)
        self.per_words = " and ".join(sorted(self.per))
        self.only_rate = bool(spec.rate) and not (self.concurrency or self.metered)
        """Nothing but `rate` is counted."""

    @property
    def metered(self) -> bool:
        """Whether a call that is let in has more to be charged, or to be told, with its answer."""
        return bool(self.budgets) or self.objects is not None or self.headers


class Meter:
    """A limit that a call counts under, until the call is over."""

    __slots__ = ("bound", "charged", "holder", "parts", "sized")

    def __init__(self, bound: Bound[LimitRule], parts: tuple[str, ...], holder: str) -> None:
        self.bound, self.parts, self.holder = bound, parts, holder
        self.charged = 0
        """Bytes that are charged already."""
        self.sized = False
        """The answer's size was told by its headers, and is charged."""

    def key(self, name: str) -> int:
        return key_of((name, *self.parts))


def limit(rules: Sequence[Bound[LimitRule]], facts: Facts, paths: Paths, limits: LimitTable, outcome: Outcome) -> None:
    """Counts the call under every limit that concerns it, until one turns it away."""
    call = facts.call
    for bound in rules:
        if not applies(bound, facts, paths, outcome):
            continue
        rule = bound.rule
        if limits.outage and rule.on_outage != "local":
            _uncounted(bound, outcome)
        else:
            meter = Meter(bound, _parts(rule, facts), network_of(source_of(facts.identity, call)))
            refusal = _refusal(meter, facts, limits)
            if refusal is None:
                _let_in(meter, facts, limits)
                continue
            _refuse(bound, *refusal, outcome)
        if outcome.action != "allow":
            return  # a call that is turned away uses up no further limit


def take_rate(rule: LimitRule, facts: Facts, limits: LimitTable) -> bool:
    """Counts a call under a limit that is `only_rate`; what it refuses is not counted."""
    key, call = key_of(("rate", *_parts(rule, facts))), facts.call
    # Who a key is charged to is asked when it is new, and where other engines are told.
    holder = "" if key in limits and limits.told is None else network_of(source_of(facts.identity, call))
    return limits.take(key, call.time, rule.interval, rule.burst, holder=holder)[0]


def answer(facts: Facts, limits: LimitTable, outcome: Outcome, *, event: bool) -> None:
    """Charges an answer, or an `event` of one, to the limits that its call counts under, if it passes; refuses it when it is more than
    is left. Comes last: what is withheld for another reason, or redacted, is not given."""
    call = facts.call
    assert call.response is not None
    meters = limits.meters.get(call.id)
    if not meters:
        return
    hidden = {name for effect in outcome.effects if isinstance(effect, Redact) for name in effect.data_classes}
    charges: list[tuple[Meter, Budget, int]] = []
    for meter in meters:
        rule = meter.bound.rule
        over = None
        for budget, amount in _amounts(meter, facts, hidden, event=event):
            over = over or _over(meter, budget, amount, call.time, limits, f"the answer has {amount} {budget.name}")
            charges.append((meter, budget, amount))
        if rule.objects is not None and facts.given:
            over = over or _too_many_objects(meter, rule.objects, {key for _, key in facts.given}, call.time, limits)
        if over is not None:
            _refuse(meter.bound, *over, outcome)
            charges = [charge for charge in charges if charge[0] is not meter]
    if outcome.action not in ("allow", "redact"):
        return
    for meter, budget, amount in charges:
        limits.take(meter.key(budget.name), call.time, budget.interval, budget.limit, amount, holder=meter.holder, must=True)
        if budget.name == "bytes":
            meter.charged += amount
            meter.sized = meter.sized or call.response.body_state is not BodyState.COMPLETE
    for meter in meters:
        objects = meter.bound.rule.objects
        if objects is not None and facts.given:
            used = {key for _, key in facts.given}
            limits.objects.add(meter.key("objects"), used, limits.at(call.time), objects.period, meter.holder)
    told = () if event else tuple(one for meter in meters if meter.bound.rule.headers for one in _standings(meter, facts, limits))
    if told:
        outcome.effects = (*outcome.effects, Quota(told))


def completed(limits: LimitTable, completion: Completion, *, refused: bool) -> None:
    """A call is over: it is no longer open, and what of its bytes was not charged yet is. `refused`: we answered in the service's place."""
    limits.calls.end(completion.id)
    for meter in limits.meters.pop(completion.id, ()):
        rule = meter.bound.rule
        for budget in rule.budgets:
            if budget.name != "bytes" or refused:
                continue
            size = completion.response_bytes if rule.direction != "request" else 0
            size += completion.request_bytes if rule.direction != "response" else 0
            rest = size - meter.charged
            if rest > 0:
                limits.take(
                    meter.key("bytes"), completion.time, budget.interval, budget.limit, rest, holder=meter.holder, must=True
                )


def _parts(rule: LimitRule, facts: Facts) -> tuple[str, ...]:
    call, per, identity = facts.call, rule.per, facts.identity
    endpoint = facts.match.endpoint
    parts = [rule.name]
    if "identity" in per:
        parts.append(identity.actor)
    if "source" in per:
        parts.append(call.peer.address)
    if "tenant" in per:
        parts.append(identity.tenant)
    if "operation" in per:
        # All unknown operations of a service share one count, or a caller could have a fresh limit for every path he makes up.
        parts.append(endpoint.id if endpoint is not None else f"{call.service} ?")
    if "service" in per:
        parts.append(call.service)
    if "tool" in per:
        parts.append(f"{call.service} {endpoint.operation if endpoint is not None else '?'}")
    if "agent" in per:
        parts.append(identity.agent)
    if "human" in per:
        parts.append(identity.human)
    if "class" in per:
        parts.append(identity.cls)
    return tuple(parts)


Refusal = tuple[str, Throttle]
"""(what is recorded, what the caller gets)"""


def _refusal(meter: Meter, facts: Facts, limits: LimitTable) -> Refusal | None:
    """Why the request is too much; None: it is not, and the call is counted under `rate`, which is asked last."""
    rule, time = meter.bound.rule, facts.call.time
    per = rule.per_words
    if rule.concurrency:
        limits.at(time)
        if limits.calls.count(meter.key("concurrency")) >= rule.concurrency:
            words = f"more than {rule.concurrency} calls open at once per {per}"
            detail = rule.reason or f"More than {rule.concurrency} calls are open at once."
            return words, Throttle(1.0, rule.concurrency, 0, detail, "concurrency", 0.0, _UNITS["concurrency"])
    for budget in rule.budgets:
        size = _size(facts.call.request) if budget.name == "bytes" and rule.direction != "response" else 0
        words = f"the request has {size} bytes" if size else f"the {budget.name} are used up"
        over = _over(meter, budget, max(1, size), time, limits, words)
        if over is not None:
            return over
    if rule.objects is not None:
        named = {key for _, _, key, _ in facts.used}
        over = _too_many_objects(meter, rule.objects, named, time, limits)
        if over is not None:
            return over
    if rule.rate:
        allowed, retry, remaining = limits.take(meter.key("rate"), time, rule.interval, rule.burst, holder=meter.holder)
        if not allowed:
            detail = rule.reason or f"The limit of {rule.rate} is reached."
            words = f"more than {rule.rate} ({rule.burst} at once) per {per}"
            return words, Throttle(retry, rule.limit, remaining, detail, window=rule.period)
    return None


def _let_in(meter: Meter, facts: Facts, limits: LimitTable) -> None:
    rule, call = meter.bound.rule, facts.call
    now = limits.at(call.time)
    if rule.concurrency:
        limits.calls.begin(call.id, meter.key("concurrency"), now)
    for budget in rule.budgets:
        size = _size(call.request) if budget.name == "bytes" and rule.direction != "response" else 0
        if size:
            limits.take(meter.key("bytes"), call.time, budget.interval, budget.limit, size, holder=meter.holder, must=True)
            meter.charged += size
    if rule.objects is not None and facts.used:
        named = {key for _, _, key, _ in facts.used}
        limits.objects.add(meter.key("objects"), named, now, rule.objects.period, meter.holder)
    if rule.metered:
        if len(limits.meters) >= MAX_METERS:
            del limits.meters[next(iter(limits.meters))]
        limits.meters.setdefault(call.id, []).append(meter)


def _over(meter: Meter, budget: Budget, amount: int, time: float, limits: LimitTable, words: str) -> Refusal | None:
    """A refusal when so much is more than is left."""
    left, ahead = limits.left(meter.key(budget.name), time, budget.interval, budget.limit)
    if amount <= left:
        return None
    rule = meter.bound.rule
    # What is more than the whole budget never passes; it is told when the budget is whole again.
    retry = max(0.001, ahead - (budget.limit - amount) * budget.interval) if amount <= budget.limit else ahead
    detail = rule.reason or f"The limit of {budget.text} {budget.name} is reached."
    told = Throttle(retry, budget.limit, max(0, int(left)), detail, budget.name, budget.period, _UNITS.get(budget.name, ""))
    return f"{words}, more than is left of {budget.text} {budget.name} per {' and '.join(sorted(rule.per))}", told


def _too_many_objects(meter: Meter, budget: Budget, objects: set[int], time: float, limits: LimitTable) -> Refusal | None:
    now = limits.at(time)
    fresh, used = limits.objects.fresh(meter.key("objects"), objects, now, budget.period)
    if not fresh or used + fresh <= budget.limit:
        return None
    rule = meter.bound.rule
    oldest = limits.objects.oldest(meter.key("objects"))
    detail = rule.reason or f"The limit of {budget.text} distinct objects is reached."
    told = Throttle(
        max(0.001, oldest + budget.period - now), budget.limit, max(0, budget.limit - used), detail, "objects", budget.period
    )
    return f"{used + fresh} distinct objects, more than {budget.text} per {' and '.join(sorted(rule.per))}", told


def _amounts(meter: Meter, facts: Facts, hidden: set[str], *, event: bool) -> Iterator[tuple[Budget, int]]:
    """What an answer takes of each budget; nothing of those that it takes nothing of."""
    rule, response = meter.bound.rule, facts.call.response
    assert response is not None
    for budget in rule.budgets:
        amount = 0
        if budget.name == "bytes":
            amount = 0 if rule.direction == "request" or meter.sized else _size(response)
        elif budget.name == "records":
            amount = records_of(facts.operation.body) or int(event)
        elif facts.amounts:
            amount = sum(count for name, count in facts.amounts if name in rule.classes and name not in hidden)
        if amount:
            yield budget, amount


def _size(message: Request | Response) -> int:
    """Bytes of a body, as far as they are known."""
    if message.body_state is BodyState.COMPLETE:
        return len(message.body)
    told = message.headers.get("content-length", "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 16 else 0


def _standings(meter: Meter, facts: Facts, limits: LimitTable) -> Iterator[Throttle]:
    rule, time = meter.bound.rule, facts.call.time
    if rule.rate:
        left, ahead = limits.left(meter.key("rate"), time, rule.interval, rule.burst)
        yield Throttle(ahead, rule.limit, max(0, int(left)), "", window=rule.period)
    for budget in rule.budgets:
        left, ahead = limits.left(meter.key(budget.name), time, budget.interval, budget.limit)
        yield Throttle(ahead, budget.limit, max(0, int(left)), "", budget.name, budget.period, _UNITS.get(budget.name, ""))
    if rule.concurrency:
        left_open = rule.concurrency - limits.calls.count(meter.key("concurrency"))
        yield Throttle(0.0, rule.concurrency, max(0, left_open), "", "concurrency", 0.0, _UNITS["concurrency"])


def _refuse(bound: Bound[LimitRule], words: str, told: Throttle, outcome: Outcome) -> None:
    rule = bound.rule
    match = match_of(rule, bound.mode, "limit", rule.reason or words, "", f"wait {told.retry_after:.3g} s")
    outcome.matches.append(match)
    outcome.refuse(bound.mode, "limit", match, told)


def _uncounted(bound: Bound[LimitRule], outcome: Outcome) -> None:
    rule = bound.rule
    if rule.on_outage == "allow":
        reason = "the store that engines share cannot be reached, `onOutage: allow` lets the call pass uncounted"
        outcome.matches.append(match_of(rule, bound.mode, "allow", reason))
        return
    reason = "the store that engines share cannot be reached, so the call cannot be counted"
    match = match_of(rule, bound.mode, "block", reason, "", "wait until the store is there again")
    outcome.matches.append(match)
    outcome.stop(bound.mode, "block", match, _OUT)
