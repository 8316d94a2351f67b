"""Lists of somebody named: what an answer gives of kinds that one actor holds alone, to a caller who named whose it wants.

A filter that nobody sent before (`GET /orders?user_id=bob`), and an answer whose objects are known to be others' alone. Neither says enough by
itself: people try filters, and what a plain list holds the service chose to show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from eastwall.behaviours.ownership_claims.known import Known
from eastwall.behaviours.ownership_claims.reading import space_of
from eastwall.model.deviations import OthersGiven
from eastwall.model.facts import Facts

TENANT = "tenant:"
"""Begins the name of a tenant among the holders of an object; actors' names begin with their kind."""
SURELY = 0.9
"""Share of a kind's objects that one actor holds alone, from which on it says whose an object is that colleagues hold, too."""
LISTED = 2
"""Objects of others that an answer with the caller's own among them must hold."""
MAX_HOLDERS = 8
"""Holders of an object from which on the caller may be one that no room was left for (`decision.grants`)."""
_NONE: frozenset[str] = frozenset()


class Holders(Protocol):
    """Who was given what: the watch."""

    holders: Callable[[int], tuple[str, ...]]
    is_staff: Callable[[str], bool]

    def assists(self, actor: str, key: int) -> bool:
        """Whether the actor was given several objects of one of those who hold this one."""


def others_listed(facts: Facts, known: Known, who: Holders) -> tuple[OthersGiven, ...]:
    """Objects of others in an answer of one of `known.lists` that the caller chose by naming somebody."""
    endpoint, prior, service, identity = facts.match.endpoint, facts.call.prior, facts.call.service, facts.identity
    if endpoint is None or prior is None or not facts.given or not (prior.facts.operation.query or prior.facts.new_properties):
        return ()
    place = named_whose(prior.facts, known.lists[endpoint.id])
    if not place:
        return ()
    mine, others = Counter[str](), Counter[str]()
    for kind, key in facts.given:
        alone = known.private.get((service, kind), 0.0)
        if not alone or identity.cls not in known.broad.get((service, kind), (_NONE, _NONE))[1]:
            continue
        holders = who.holders(key)
        colleagues = TENANT + identity.tenant in holders and alone < SURELY
        if identity.actor in holders or colleagues or len(holders) >= MAX_HOLDERS or who.assists(identity.actor, key):
            mine[kind] += 1
        elif any(not one.startswith(TENANT) and not who.is_staff(one) for one in holders):
            others[kind] += 1
    return tuple(
        [
            OthersGiven(place, kind, count, count + mine[kind], known.private[service, kind])
            for kind, count in others.items()
            if count >= LISTED or not mine[kind]
        ]
    )


def named_whose(asked: Facts, known: frozenset[str]) -> str:
    """The place of a parameter that says whose is asked for, and that was never sent to this operation (in a body: by this class of callers);
    empty: there is none. `known`: names of query parameters that were."""
    for name, value in asked.operation.query:
        if value and name not in known and space_of("", name):
            return f"query.{name[:64]}"
    for one in asked.new_properties:
        if space_of("", one.place.rpartition(".")[2]):
            return f"body.{one.place}"
    return ""
