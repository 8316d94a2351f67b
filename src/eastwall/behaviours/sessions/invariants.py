"""From counts to rules: what must come before, and what is done once.

That something always came before is no proof that it must: the page with the products is always fetched before something is bought. A rule
may stop a call only where the order is plausibly a cause. Both steps change something; neither is bookkeeping; the earlier one is the
nearest of its kind (nothing that it presumes itself is counted again); and the two are of one thing by their names, or the earlier one is
a gate by its name (a code, a confirmation, terms), and does not go with half of all that is done. The rest is told at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from eastwall.behaviours.sessions import kinship
from eastwall.behaviours.sessions.flows import Flow
from eastwall.model.endpoint import Endpoint

MIN_CALLS = 12
"""Calls before a rule is told; 30 before it may stop anything (see the detection)."""
MIN_ONCE = 4
"""Things on which something was done, before it is said that it is done once."""
MIN_ACTORS = 3
TOLERANCE = 0.02
MAX_AFTER = 4
"""Operations that one comes after: those nearest."""
UBIQUITOUS = 0.5
MIN_OTHERS = 6
"""Operations that change something, from which on it is asked whether one goes with half of them."""
SHORT, DAY, LONG = 7_200.0, 86_400.0, 3 * 86_400.0
_ONE_PLACE = frozenset(("PUT", "DELETE"))
"""RFC 9110, section 9.2.2: idempotent. A second one is no second step."""


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


class Rules(Struct, frozen=True, array_like=True):
    """What is known of one operation."""

    endpoint: str
    label: str
    after: tuple[Precedence, ...] = ()
    once: tuple[Once, ...] = ()
    keyed: bool = False
    """Its callers send idempotency keys: one that comes again is a retry."""


def invariants(flows: Mapping[str, Flow], endpoints: Sequence[Endpoint]) -> tuple[Rules, ...]:
    """Rules of all operations of which there are any, by id."""
    known = {endpoint.id: endpoint for endpoint in endpoints}
    changing = {key for key in flows if key in known and not kinship.reads(known[key]) and not kinship.bookkeeping(known[key])}
    by_service: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_service.setdefault(endpoint.service, []).append(endpoint)
    common = {service: kinship.common_words(found) for service, found in by_service.items()}
    before = {key: _before(flows[key], changing - {key}) for key in changing}
    everywhere = _ubiquitous(before)
    found = []
    for key in sorted(changing):
        endpoint, flow = known[key], flows[key]
        if len(flow.actors) < MIN_ACTORS:
            continue
        words = common[endpoint.service]
        objects, own = _on_objects(endpoint, flow, known, before, changing - {key})
        after = objects
        if own * 2 < flow.calls:
            nearest = [name for name in before[key] if not any(name in before[other] and other not in before[name] for other in before[key])]
            after = [_by_actor(key, name, flow, known, words, everywhere) for name in nearest] + objects
        after = sorted(after, key=lambda rule: (not rule.causal, -rule.held, rule.before, rule.kind))[:MAX_AFTER]
        once = _once(endpoint, flow)
        if after or once:
            found.append(Rules(key, kinship.label(endpoint), tuple(after), once, flow.keyed * 2 > flow.calls))
    return tuple(found)


def _enough(count: int, of: int) -> bool:
    return of >= MIN_CALLS and count >= of - int(TOLERANCE * of)


def _before(flow: Flow, changing: set[str]) -> dict[str, bool]:
    """What always comes before: each time (True), or before the first time."""
    found = {}
    for name, (calls, first, _) in flow.before.items():
        if name in changing:
            if _enough(calls, flow.calls):
                found[name] = True
            elif _enough(first, flow.firsts):
                found[name] = False
    return found


def _ubiquitous(before: Mapping[str, Mapping[str, bool]]) -> frozenset[str]:
    """What comes before half of everything."""
    judged = [found for found in before.values() if found]
    if len(before) < MIN_OTHERS:
        return frozenset()
    names = {name for found in judged for name in found}
    return frozenset(name for name in names if sum(name in found for found in judged) > UBIQUITOUS * len(before))


def _horizon(late: int, calls: int) -> float:
    """How long an engine must have watched: by how much of it was more than half an hour ago."""
    return SHORT if not late else DAY if late <= TOLERANCE * calls else LONG


def _by_actor(
    key: str, name: str, flow: Flow, known: Mapping[str, Endpoint], common: frozenset[str], everywhere: frozenset[str]
) -> Precedence:
    calls, first, late = flow.before[name]
    each = _enough(calls, flow.calls)
    total, held = (flow.calls, calls) if each else (flow.firsts, first)
    causal = name not in everywhere and (kinship.gate(known[name]) or kinship.kin(known[key], known[name], common))
    return Precedence(name, kinship.label(known[name]), total, held, each, "", causal, _horizon(late, total))


def _on_objects(
    endpoint: Endpoint, flow: Flow, known: Mapping[str, Endpoint], before: Mapping[str, Mapping[str, bool]], changing: set[str]
) -> tuple[list[Precedence], int]:
    """What comes before on the objects that the operation is about, and its calls on such objects."""
    found: list[Precedence] = []
    own = 0
    for kind, (calls, names) in sorted(flow.objects.items()):
        if not kinship.of_kind(endpoint, kind):
            continue
        own += calls
        always = {name for name, (count, _) in names.items() if name in changing and _enough(count, calls)}
        for name in always:
            if any(name in before[other] and other not in before[name] for other in always if other != name):
                continue  # what it presumes itself
            count, late = names[name]
            found.append(Precedence(name, kinship.label(known[name]), calls, count, True, kind, True, _horizon(late, calls)))
    return found, own


def _once(endpoint: Endpoint, flow: Flow) -> tuple[Once, ...]:
    if endpoint.method in _ONE_PLACE:
        return ()
    named = kinship.one_time(endpoint)
    found = []
    for scope, tally in sorted(flow.tallies.items()):
        if scope.startswith("object ") and not kinship.of_kind(endpoint, scope[7:]):
            continue
        if tally.first >= MIN_ONCE and tally.again <= int(TOLERANCE * tally.first):
            found.append(Once(scope, tally.first, tally.again, named or scope == "value"))
    return tuple(found)
