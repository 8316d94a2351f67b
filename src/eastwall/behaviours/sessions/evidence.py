"""How few cases are enough: one bound for all rules, and what one operation's cases say of its sisters.

**The bound.** Before anything is seen it is as likely that an order is a rule as that it is a habit, which is broken in a share of the cases of
which nothing is known (Laplace's rule of succession). When none of `n` cases broke it, it is a habit with probability 1 / (n + 2), and then
the next case breaks it with probability 1 / (n + 2): together (n + 2)^-2. A rule may stop a call from `SURE` cases on, where this is less than
one in `ODDS`: as steps that have rules are few of all calls (one in ten at most), that is one call in two thousand.

**Sisters.** `POST /orders/{id}/refund` and `POST /invoices/{id}/refund` are steps of the same name on objects of two kinds. Where each has
been seen in one case at least and none contradicts, their cases are counted together (complete pooling, Gelman et al., "Bayesian Data
Analysis", chapter 5: what is exchangeable shares its parameter).

**Coincidence.** Where a step is not done on an object, but by whoever calls, what callers do all the time comes before everything. So few
cases count only if, had the earlier step come as often as it comes before other operations, it would have come before all of these with a
probability of 1 / `COINCIDENCE` at most.
"""

from __future__ import annotations

from collections.abc import Mapping

from eastwall.behaviours.sessions import kinship
from eastwall.behaviours.sessions.flows import Flow
from eastwall.model.endpoint import Endpoint

ODDS = 196
"""To one, that the next case breaks no rule: see the module."""
SURE = 12
"""Cases that are enough by it: (12 + 2)^2."""
BY_NAME = 10
"""Cases that it is worth if one name presumes the other (`refund` and `pay`), or means what is taken once (`redeem`): 2 more are enough."""
SETTLED = 30
"""Cases from which on coincidence is not asked about."""
COINCIDENCE = 100


def sisters(flows: Mapping[str, Flow], changing: set[str], known: Mapping[str, Endpoint]) -> dict[str, tuple[str, ...]]:
    """Operation -> others of its service with the same name but for the kind of object, sorted; of those alone that have any."""
    kinds: dict[str, set[str]] = {}
    for key in changing:
        own = kinds.setdefault(known[key].service, set())
        for kind in flows[key].objects:
            own |= {kind, kind.rpartition("_")[2]}
    alike: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for key in sorted(changing):
        endpoint = known[key]
        verb = kinship.verb(endpoint, kinds[endpoint.service])
        if verb:
            alike.setdefault((endpoint.service, endpoint.method, verb), []).append(key)
    return {key: tuple(one for one in group if one != key) for group in alike.values() if len(group) > 1 for key in group}


def coincidence(name: str, key: str, flows: Mapping[str, Flow], others: set[str], cases: int, *, each: bool) -> float:
    """How likely it is that an operation came before all these cases of another, had it come as often as before the service's others. 1 where there
    are no others."""
    came = whole = 0
    for other in others:
        if other not in (name, key):
            calls, first, _ = flows[other].before.get(name, (0, 0, 0))
            came += calls if each else first
            whole += flows[other].calls if each else flows[other].firsts
    return float(((came + 1) / (whole + 2)) ** cases)


class Pool:
    """What sister operations say, looked up by operation."""

    __slots__ = ("_flows", "_known", "_sisters")

    def __init__(self, flows: Mapping[str, Flow], changing: set[str], known: Mapping[str, Endpoint]) -> None:
        self._flows, self._known = flows, known
        self._sisters = sisters(flows, changing, known)

    def callers(self, key: str) -> int:
        """Callers of an operation and its sisters, at most as many as a flow tells apart."""
        actors = set(self._flows[key].actors)
        for other in self._sisters.get(key, ()):
            actors |= self._flows[other].actors
        return len(actors)

    def before(self, key: str, name: str) -> tuple[int, int]:
        """(cases, of them those that had it before) of sisters of an operation, and sisters of what comes before it, on objects of one kind."""
        cases = held = 0
        earlier = set(self._sisters.get(name, ()))
        for other in self._sisters.get(key, ()) if earlier else ():
            endpoint = self._known[other]
            for kind, (calls, names) in self._flows[other].objects.items():
                if kinship.of_kind(endpoint, kind):
                    cases += calls
                    held += max((counts[0] for one, counts in names.items() if one in earlier), default=0)
        return cases, held

    def once(self, key: str) -> int:
        """Objects on which sisters of an operation were carried out, each repetition taking its share of them; 0 where one of them is repeated as a
        matter of course."""
        things = 0
        for other in self._sisters.get(key, ()):
            endpoint = self._known[other]
            for scope, tally in self._flows[other].tallies.items():
                if scope.startswith("object ") and kinship.of_kind(endpoint, scope.removeprefix("object ")):
                    if tally.reused:
                        return 0
                    things += tally.first // (1 + tally.again)
        return things
