"""Selectors of callers, compiled."""

from __future__ import annotations

from collections.abc import Callable

from eastwall.model.identity import Identity, Strength
from eastwall.policy.kinds import Identities
from eastwall.policy.patterns import compile_globs

STRENGTHS = {strength.name.lower(): strength for strength in Strength}
Selector = Callable[[Identity], bool]


def compile_selector(identities: Identities, *, loosens: bool) -> Selector | None:
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

    def selects(identity: Identity) -> bool:
        strength = identity.strength
        if actors is not None and not actors(identity.actor):
            # Not who really calls, but somebody on the way (a workload that carries a user's token): its own strength counts.
            proofs = [
                p.strength
                for p in identity.chain
                if actors(f"{p.kind}:{p.name}") and p.strength >= (address_least if p.kind == "address" else least)
            ]
            if not proofs:
                return False
        elif strength < (address_least if identity.kind == "address" else least):
            return False
        return (
            (classes is None or classes(identity.cls))
            and (not kinds or identity.kind in kinds)
            and (not roles or not roles.isdisjoint(identity.roles))
            and (not scopes or not scopes.isdisjoint(identity.scopes))
            and (tenants is None or tenants(identity.tenant))
        )

    return selects


def selector_words(identities: Identities) -> str:
    words = [
        f"{name} {' or '.join(getattr(identities, name))}"
        for name in ("actors", "classes", "kinds", "roles", "scopes", "tenants")
        if getattr(identities, name)
    ]
    if identities.strength is not None:
        words.append(f"an identity that is at least {identities.strength}")
    return ", ".join(words)
