"""The function matrix: what is strange about a class of callers using an operation, or a group of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from eastwall.discovery.lifecycle import is_admin
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import FunctionUse

LONE_CALLS = 3
"""Clean calls after which the only actor of a class is known to use an operation."""
SETTLED = 30
"""Clean calls of a class after which what others of less authority do not do says something of it too."""
KEEN = 30
"""Times that administrators may call something more often than its share of others' calls would have it, without having it to themselves."""
_RULERS = frozenset("admin admins administrator superadmin superuser root sudo owner operator ops".split())
_AUTHORITY = _RULERS | frozenset("staff support moderator manager supervisor internal auditor".split())
_MACHINES = ("client", "workload", "agent", "key")


def function_use(endpoint: Endpoint, cls: str, totals: Counter[str], *, lone: bool) -> FunctionUse | None:
    """What is strange about a class calling this operation; None when it uses it, or nothing can be said.

    A class uses an operation when two of its actors did, or, of a class with one actor (`lone`), this one repeatedly. `totals`: clean calls of
    each class in the whole service. Expected is what the class would have called if it used this operation as it uses the service.
    """
    own = next((entry for entry in endpoint.users if entry[0] == cls), None)
    if own is not None and (own[2] >= 2 or (lone and own[1] >= LONE_CALLS)):
        return None
    use = use_of([(calls, name) for name, calls, _ in endpoint.users if name != cls], cls, totals, admin=is_admin(endpoint))
    if use is None or (endpoint.status != "learned" and not (use.privileged or use.apart)):
        return None  # what administrators and programs alone do has too few callers to wait for
    return use


def use_of(others: Sequence[tuple[int, str]], cls: str, totals: Counter[str], *, admin: bool) -> FunctionUse | None:
    """The same for whatever was used by `others`, (clean calls, class) each. `admin`: it is named as administrators' is."""
    calls, everything = sum(count for count, _ in others), sum(totals.values())
    if not calls or not everything:
        return None
    classes = tuple(name for _, name in sorted(others, key=lambda other: (-other[0], other[1])))
    expected = round(calls * totals[cls] / everything, 2)
    above = all(rank(name) > rank(cls) for name in classes)
    apart = machine(cls) is False and all(map(machine, classes))
    return FunctionUse(
        calls,
        classes,
        expected,
        privileged=(admin and not authority(cls)) or above,
        ruled=admin or all(map(_rules, classes)),
        apart=apart,
        chance=_chance(calls, min(map(rank, classes)), totals) if above and totals[cls] >= SETTLED else 1.0,
    )


def _chance(calls: int, least: int, totals: Counter[str]) -> float:
    """How likely it is that all calls came from classes of at least this rank, had the others their share of the operation, with `KEEN`
    times less interest in it."""
    above = KEEN * sum(count for name, count in totals.items() if rank(name) >= least)
    under = sum(count for name, count in totals.items() if rank(name) < least)
    return float((above / (above + under)) ** calls) if above else 1.0


def rank(cls: str) -> int:
    """2 for those who run a service (`user+admin`), 1 for staff with some authority (`user+support`), 0 for all others."""
    parts = _parts(cls)
    return 2 if not _RULERS.isdisjoint(parts) else 1 if not _AUTHORITY.isdisjoint(parts) else 0


def authority(cls: str) -> bool:
    """Whether a class is one of those who run a service, or work for it."""
    return rank(cls) > 0


def machine(cls: str) -> bool:
    """Whether a class is of programs: service accounts, workloads, agents."""
    return cls.partition(":")[0].partition("+")[0] in _MACHINES


def _rules(cls: str) -> bool:
    return rank(cls) == 2


def _parts(cls: str) -> list[str]:
    return cls.lower().replace("-", "+").replace("_", "+").split("+")
