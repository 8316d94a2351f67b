"""Which workload carries a call: by it callers belong to namespaces, and are the services of the inventory."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from eastwall.discovery.workloads import workload_name
from eastwall.model.identity import Identity, Strength


class Carrier(NamedTuple):
    """A workload that a call came through."""

    name: str
    """`namespace/service-account`, or a bare name."""
    namespace: str
    """Empty: not known."""
    account: str
    strength: Strength


_plain = lru_cache(maxsize=20_000)(workload_name)


def carriers(identity: Identity, *, loosens: bool) -> tuple[Carrier, ...]:
    """The workloads that may count as the caller.

    Where that opens something, it is the one that made the call (`Identity.workload`), as far as it is proved: not a trusted proxy that
    passes on what others send. Where it restricts, it is anybody in the chain, claims too.
    """
    found = [
        _carrier(_plain(p.name), p.strength)
        for p in identity.chain
        if p.kind == "workload" and (not loosens or (p.strength > Strength.GUESSED and p.name not in identity.proxies))
    ]
    if not loosens or not found:
        return tuple(found)
    near = identity.workload
    told = [one for one in found if near == one.name or near.startswith(one.name + "/")]
    if not told and len({one.name for one in found}) == 1:
        told = found  # under a learned name, and there is but one that it can be
    return tuple(told)


def _carrier(name: str, strength: Strength) -> Carrier:
    namespace, slash, account = name.partition("/")
    return Carrier(name, namespace, account, strength) if slash else Carrier(name, "", name, strength)
