"""From counts to rules: what must come before, and what is done once.

That something always came before is no proof that it must: the page with the products is always fetched before something is bought. A rule
may stop a call only where the order is plausibly a cause. Both steps change something; neither is bookkeeping; the earlier one is the
nearest of its kind (nothing that it presumes itself is counted again); and the two are of one thing by their names, or the earlier one is
a gate by its name (a code, a confirmation, terms), and does not go with half of all that is done. The rest is told at most.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from eastwall.behaviours.sessions import kinship
from eastwall.behaviours.sessions.evidence import BY_NAME, COINCIDENCE, SETTLED, SURE, Pool, coincidence
from eastwall.behaviours.sessions.flows import TOLERANCE, Flow, Tally
from eastwall.model.endpoint import Endpoint

MIN_CALLS = SURE
"""Cases before there is a rule (see `evidence`), those of sisters included."""
MIN_HABIT = 30
"""The same for what may be a mere habit, and is told."""
MIN_NAMED = SURE - BY_NAME
"""The same, where the name of the later operation presumes the earlier one."""
MIN_WATCHED = SURE
"""Calls before what was not seen being done to an object is held against it, though its making was not seen either: it may have been done before
anybody looked, and what a name is worth says nothing of how long before. With fewer, objects whose making was seen are judged alone."""
MIN_ONCE, MIN_ONCE_NAMED = 4, SURE - BY_NAME
"""Things on which something was done, those of sisters included, before it is said that it is done once; and where its name says so too."""
MIN_ACTORS = 3
MIN_ACTORS_NAMED = 2
"""Callers, where the name says so too."""
MAX_AFTER = 4
"""Operations that one comes after: those nearest."""
MIN_FRESH = 60
"""Calls all of which came within half an hour of the gate before them, before it is said that a gate stays open for `SHORT` seconds at most: had one
caller in twenty waited longer, one would have been seen (with 95 % certainty; 0.95 ** 60 = 4.6 %)."""
UBIQUITOUS = 0.5
MIN_OTHERS = 6
"""Operations that change something, from which on it is asked whether one goes with half of them."""
LATE, SHORT, DAY, LONG = 1_800.0, 7_200.0, 86_400.0, 3 * 86_400.0


class Precedence(Struct, frozen=True, array_like=True):
    """One operation comes after another."""

    before: str
    """Id of the operation that comes first."""
    label: str
    calls: int
    """Calls that this rests on."""
    held: int
    """Of them, how many had it before."""
    each: bool
    """Each time anew. Otherwise once ever."""
    kind: str
    """On the same object of this kind; empty: by the same actor."""
    causal: bool
    """The order is plausibly a cause: see the module."""
    horizon: float
    """Seconds that an engine must have watched before it knows that something was not done."""
    cls: str = ""
    """Class of callers for which it holds; empty: for all."""
    named: bool = False
    """By its name too the operation presumes the one before: `refund` and `pay`."""
    within: float = 0.0
    """Seconds that what comes before, a gate (a code, a confirmation of terms), is good for; 0: for ever."""
    pooled: int = 0
    """Cases of sister operations that say the same: see `evidence`."""


class Once(Struct, frozen=True, array_like=True):
    """An operation is carried out once on one thing."""

    scope: str
    """`value`: a code that the request holds. `actor`. `object KIND`. All of them by one actor."""
    things: int
    """Things on which it was carried out."""
    again: int
    """Of them, on how many a second time."""
    named: bool
    """By its name too it is done once: `refund`, `redeem`."""
    pooled: int = 0
    """Things on which sister operations were carried out once: see `evidence`."""


class Rules(Struct, frozen=True, array_like=True):
    """What is known of one operation."""

    endpoint: str
    """Its id; empty: of all operations of a service that have no rules of their own."""
    label: str
    """Fit to show; of a service, its name."""
    after: tuple[Precedence, ...] = ()
    once: tuple[Once, ...] = ()
    keyed: bool = False
    """Its callers send idempotency keys: one that comes again is a retry."""


def invariants(flows: Mapping[str, Flow], endpoints: Sequence[Endpoint]) -> tuple[Rules, ...]:
    """Rules of services, then of all operations of which there are any, by id. `flows` by operation, and by `operation NUL class`."""
    known = {endpoint.id: endpoint for endpoint in endpoints}
    changing = {key for key in flows if key in known and not kinship.reads(known[key]) and not kinship.bookkeeping(known[key])}
    by_service: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_service.setdefault(endpoint.service, []).append(endpoint)
    common = {service: kinship.common_words(found) for service, found in by_service.items()}
    codes = {
        service: _codes(flows[e.id] for e in found if e.id in changing and not kinship.holds_value(e))
        for service, found in by_service.items()
    }
    vouchers = {
        service: _codes((flows[e.id] for e in found if e.id in changing and kinship.one_time(e)), MIN_ACTORS_NAMED)
        for service, found in by_service.items()
    }
    before = {key: _before(key, flows[key], changing, known) for key in changing}
    everywhere = _ubiquitous(before)
    classes = _classes(flows, changing)
    found = [
        Rules("", service, (), (Once("value", codes[service].first, codes[service].again, True),))
        for service in sorted(codes)
        if codes[service].first >= MIN_ONCE
    ]
    pool = Pool(flows, changing, known)
    for key in sorted(changing):
        endpoint, flow = known[key], flows[key]
        callers = pool.callers(key)
        if callers < MIN_ACTORS_NAMED:
            if _reused(flow) or kinship.holds_value(endpoint):
                found.append(Rules(key, kinship.label(endpoint)))  # those of its service do not hold for it
            continue
        others = changing - {key}
        after = _on_objects(endpoint, flow, known, before, others, pool=pool)
        judge = _Judge(key, known, common[endpoint.service], everywhere, before, flows)
        named = sum(one.first + one.again for scope, one in flow.tallies.items() if _own(endpoint, scope))
        alone = named * 2 < flow.calls  # it mostly names no object of its own
        if alone and len(flow.actors) >= MIN_ACTORS:
            after += judge.rules("", flow)
        if callers < MIN_ACTORS:
            after = [rule for rule in after if rule.named]
        always = {(rule.before, rule.kind) for rule in after}
        for cls in sorted(classes.get(key, ())):
            those = flows[f"{key}\0{cls}"]
            if len(those.actors) >= MIN_ACTORS and those.calls < flow.calls:
                found_there = _on_objects(endpoint, those, known, before, others, cls)
                if alone:
                    found_there += judge.rules(cls, those)
                after += [rule for rule in found_there if (rule.before, rule.kind) not in always]
        after = sorted(after, key=lambda rule: (not rule.causal, -rule.held, rule.before, rule.kind))[:MAX_AFTER]
        used = codes[endpoint.service]
        if used.first < MIN_ONCE and kinship.one_time(endpoint):
            used = vouchers[endpoint.service]
        once = _once(endpoint, flow, used, pool.once(key), callers)
        if after or once or _reused(flow) or kinship.holds_value(endpoint):
            found.append(Rules(key, kinship.label(endpoint), tuple(after), once, flow.keyed * 2 > flow.calls))
    return tuple(found)


def _classes(flows: Iterable[str], changing: Collection[str]) -> dict[str, list[str]]:
    """Operation -> classes of callers of whom flows are kept apart."""
    found: dict[str, list[str]] = {}
    for key in flows:
        name, mark, cls = key.partition("\0")
        if mark and name in changing:
            found.setdefault(name, []).append(cls)
    return found


def _enough(count: int, of: int, *, named: bool = False) -> bool:
    if named:  # one in twelve may contradict: what the engine had not seen when it began
        return of >= MIN_NAMED and count >= of - of // 12
    return of >= MIN_CALLS and count >= of - int(TOLERANCE * of)


def _pooled(cases: int, held: int, count: int, of: int, *, named: bool) -> int:
    """Cases of sisters that count beside an operation's own: all, or none where either contradicts."""
    agreed = of > 0 and count >= of - of // 12 and held >= cases - cases // 12
    return cases if agreed and _enough(count + held, of + cases, named=named) else 0


def _before(key: str, flow: Flow, changing: set[str], known: Mapping[str, Endpoint]) -> dict[str, bool]:
    """What always comes before: each time (True), or before the first time."""
    found = {}
    for name, (calls, first, _) in flow.before.items():
        if name in changing and name != key:
            named = kinship.presumes(known[key], known[name])
            if _enough(calls, flow.calls, named=named):
                found[name] = True
            elif _enough(first, flow.firsts, named=named):
                found[name] = False
    return found


def _ubiquitous(before: Mapping[str, Mapping[str, bool]]) -> frozenset[str]:
    """What comes before half of everything."""
    if len(before) < MIN_OTHERS:
        return frozenset()
    names = {name for found in before.values() for name in found}
    return frozenset(name for name in names if sum(name in found for found in before.values()) > UBIQUITOUS * len(before))


def _horizon(late: int, calls: int, flow: Flow) -> float:
    """How long an engine must have watched: by how much of it was more than half an hour ago; at most twice as long as engines had on the
    average when the rule was learned, for what they could not see by then contradicted it."""
    usual = SHORT if not late else DAY if late <= TOLERANCE * calls else LONG
    return min(usual, max(SHORT, 120.0 * flow.age / max(1, flow.calls)))


class _Judge(Struct, frozen=True):
    """What follows from what the callers of one operation had done."""

    key: str
    known: Mapping[str, Endpoint]
    common: frozenset[str]
    everywhere: frozenset[str]
    before: Mapping[str, Mapping[str, bool]]
    flows: Mapping[str, Flow]

    def rules(self, cls: str, flow: Flow) -> list[Precedence]:
        """Of what comes before, the nearest: what that presumes itself is not counted again."""
        always = _before(self.key, flow, set(self.before), self.known)
        nearest = [
            name
            for name in always
            if not any(name in self.before[other] and other not in self.before[name] for other in always if other != name)
        ]
        rules = [self._rule(name, flow, cls, each=always[name]) for name in nearest]
        return [rule for rule in rules if rule.causal or rule.calls >= MIN_HABIT]

    def _rule(self, name: str, flow: Flow, cls: str, *, each: bool) -> Precedence:
        calls, first, late = flow.before[name]
        own, other = self.known[self.key], self.known[name]
        total, held = (flow.calls, calls) if each else (flow.firsts, first)
        causal = name not in self.everywhere and (kinship.gate(other) or kinship.kin(own, other, self.common))
        presumed = kinship.presumes(own, other)
        if causal and not presumed and total < SETTLED and kinship.repeatable(own):
            causal = False  # when something is set is a habit, until much is known
        elif causal and not presumed and total < SETTLED:
            beside = {key for key in self.before if self.known[key].service == own.service}
            causal = COINCIDENCE * coincidence(name, self.key, self.flows, beside, total, each=each) <= 1
        horizon = _horizon(late, total, flow)
        within = SHORT if each and causal and not late and held >= MIN_FRESH and kinship.gate(other) else 0.0
        return Precedence(name, kinship.label(other), total, held, each, "", causal, horizon, cls, presumed, within)


def _on_objects(
    endpoint: Endpoint,
    flow: Flow,
    known: Mapping[str, Endpoint],
    before: Mapping[str, Mapping[str, bool]],
    changing: set[str],
    cls: str = "",
    pool: Pool | None = None,
) -> list[Precedence]:
    """What comes before on the objects that the operation is about."""
    found: list[Precedence] = []
    for kind, (calls, names) in sorted(flow.objects.items()):
        if not kinship.of_kind(endpoint, kind):
            continue
        named = {name: kinship.presumes(endpoint, known[name]) for name in names if name in changing}
        pooled = {}
        for name in named if pool is not None else ():
            cases, held = pool.before(endpoint.id, name) if pool is not None else (0, 0)
            pooled[name] = _pooled(cases, held, names[name][0], calls, named=named[name])
        always = {name for name in named if pooled.get(name) or _enough(names[name][0], calls, named=named[name])}
        for name in sorted(always):
            if not named[name] and any(name in before[o] and o not in before[name] for o in always if o != name):
                continue  # what it presumes itself
            count, late = names[name]
            label, horizon = kinship.label(known[name]), _horizon(late, calls, flow)
            more = pooled.get(name, 0)
            causal = calls + more >= SETTLED or named[name] or not kinship.repeatable(endpoint)
            found.append(Precedence(name, label, calls, count, True, kind, causal, horizon, cls, named[name], pooled=more))
    return found


def _own(endpoint: Endpoint, scope: str) -> bool:
    """Whether a tally is of objects that the operation is about."""
    return scope.startswith("object ") and kinship.of_kind(endpoint, scope.removeprefix("object "))


def _codes(flows: Iterable[Flow], least: int = MIN_ACTORS) -> Tally:
    """Codes of one service: how they are used up is seldom a matter of the operation that takes them. `least`: callers."""
    whole, callers = Tally(), set[int]()
    for flow in flows:
        one = flow.tallies.get("value")
        if one is not None and not one.reused:
            whole.first += one.first
            whole.again += one.again
            callers |= flow.actors
    return whole if len(callers) >= least else Tally()


def _reused(flow: Flow) -> bool:
    """Whether callers send this operation one code again and again."""
    one = flow.tallies.get("value")
    return one is not None and one.reused


def _once(endpoint: Endpoint, flow: Flow, codes: Tally, sisters: int, callers: int) -> tuple[Once, ...]:
    """`sisters`: things of its sisters; `callers`: theirs and its own."""
    if kinship.repeatable(endpoint):
        return ()
    named = kinship.one_time(endpoint, flow.objects if "{" not in endpoint.template else ())
    least = MIN_ONCE_NAMED if named else MIN_ONCE
    found = []
    for scope, tally in sorted(flow.tallies.items()):
        own = scope.startswith("object ")
        if own and not kinship.of_kind(endpoint, scope[7:]):
            continue
        if tally.reused or scope == "value" or (callers < MIN_ACTORS and not (own and named)):
            continue
        more = sisters if own and named and tally.first else 0
        if tally.first + more >= (least if own else MIN_ONCE):
            found.append(Once(scope, tally.first, tally.again, named, more))
    mine = flow.tallies.get("value")
    if kinship.holds_value(endpoint):  # what is usual with other codes says nothing of these
        if mine is not None and mine.first >= MIN_ONCE and not mine.reused and callers >= MIN_ACTORS:
            found.append(Once("value", mine.first, mine.again, False))
    elif codes.first >= least and not _reused(flow):
        found.append(Once("value", codes.first, codes.again, True))
    return tuple(found)
