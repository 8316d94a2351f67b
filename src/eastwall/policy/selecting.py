"""Selectors of callers, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from eastwall.model.identity import Identity, Strength
from eastwall.policy.kinds import Identities
from eastwall.policy.patterns import compile_globs
from eastwall.policy.workloads import carriers

if TYPE_CHECKING:
    from eastwall.policy.world import World

STRENGTHS = {strength.name.lower(): strength for strength in Strength}
Selector = Callable[[Identity], bool]
_OF_THE_ACTOR = ("classes", "kinds", "roles", "scopes", "tenants")
_ON_THE_WAY = ("zones", "namespaces", "labels", "agents")


def compile_selector(identities: Identities, *, loosens: bool, world: World) -> Selector | None:
    """A test of callers; None selects everybody. `loosens`: see `Identities.strength`."""
    if identities == Identities():
        return None
    named = STRENGTHS[identities.strength] if identities.strength is not None else None
    least = named if named is not None else Strength.ASSERTED if loosens else Strength.NONE
    # Addresses are seen on the wire and never claimed: the implied minimum is not meant for them.
    address_least = named if named is not None else Strength.NONE
    actors, classes, tenants = (
        compile_globs(identities.actors),
        compile_globs(identities.classes),
        compile_globs(identities.tenants),
    )
    kinds, roles, scopes = frozenset(identities.kinds), frozenset(identities.roles), frozenset(identities.scopes)
    way = _way(identities, loosens=loosens, named=named, least=least, world=world)
    # Somebody on the way (a workload that carries a user's token) is worth his own strength, but does not vouch for what is said of the actor.
    carried = identities.human == "required" or any(getattr(identities, name) for name in ("actors", *_ON_THE_WAY))
    own = not carried or (loosens and any(getattr(identities, name) for name in _OF_THE_ACTOR))

    def selects(identity: Identity) -> bool:
        enough = identity.strength >= (address_least if identity.kind == "address" else least)
        if own and not enough:
            return False
        if actors is not None:
            if actors(identity.actor):
                if not enough:
                    return False
            elif not any(
                p.strength >= (address_least if p.kind == "address" else least)
                for p in identity.chain
                if actors(f"{p.kind}:{p.name}")
            ):
                return False
        return (
            (way is None or way(identity))
            and (classes is None or classes(identity.cls))
            and (not kinds or identity.kind in kinds)
            and (not roles or not roles.isdisjoint(identity.roles))
            and (not scopes or not scopes.isdisjoint(identity.scopes))
            and (tenants is None or tenants(identity.tenant))
        )

    return selects


def _way(identities: Identities, *, loosens: bool, named: Strength | None, least: Strength, world: World) -> Selector | None:
    """What is asked of whom the call came through, each of whom counts with his own strength; None: nothing."""
    zones, agents = world.zones_named(identities.zones), compile_globs(identities.agents)
    namespaces, labels, human = compile_globs(identities.namespaces), compile_globs(identities.labels), identities.human
    tests: list[Selector] = []
    if identities.zones:
        tests.append(lambda i: any(zone.has_caller(i, loosens=loosens, strength=named) for zone in zones))
    if namespaces is not None:
        tests.append(
            lambda i: any(
                bool(c.namespace) and namespaces(c.namespace) and c.strength >= least for c in carriers(i, loosens=loosens)
            )
        )
    if labels is not None:
        tests.append(
            lambda i: any(
                c.strength >= least and any(map(labels, world.workload_labels(c.name, loosens=loosens)))
                for c in carriers(i, loosens=loosens)
            )
        )
    if agents is not None:
        tests.append(lambda i: bool(i.agent) and agents(i.agent) and agent_strength(i) >= least)
    if human == "required":
        tests.append(lambda i: bool(i.human) and human_strength(i) >= least)
    elif human == "absent":
        # Where it opens a door, nobody may even claim to be there; where it closes one, a claim alone is nobody.
        tests.append(lambda i: not i.human or (not loosens and human_strength(i) < Strength.ASSERTED))
    if not tests:
        return None
    return lambda identity: all(test(identity) for test in tests)


def agent_strength(identity: Identity) -> Strength:
    """How well the agent of a call is proved."""
    return _strength_of(identity, identity.agent)


def human_strength(identity: Identity) -> Strength:
    """How well the human behind a call is proved."""
    return _strength_of(identity, identity.human)


def _strength_of(identity: Identity, name: str) -> Strength:
    return max((p.strength for p in identity.chain if f"{p.kind}:{p.name}" == name), default=Strength.NONE)


def selector_words(identities: Identities) -> str:
    words = [
        f"{name} {' or '.join(getattr(identities, name))}"
        for name in ("actors", "classes", "kinds", "roles", "scopes", "tenants", "zones", "namespaces", "labels", "agents")
        if getattr(identities, name)
    ]
    if identities.human is not None:
        words.append("a human behind the call" if identities.human == "required" else "no human behind the call")
    if identities.strength is not None:
        words.append(f"an identity that is at least {identities.strength}")
    return ", ".join(words)
