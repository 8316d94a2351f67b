"""The function matrix: what is strange about a class of callers using an operation, or a group of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from eastwall.behaviours.sessions import kinship
from eastwall.discovery.lifecycle import is_admin
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import FunctionUse

LONE_CALLS = 3
"""Clean calls after which the only actor of a class is known to use an operation."""
SETTLED = 30
"""Clean calls of a class after which what others of less authority do not do says something of it too."""
KEEN = 30
"""Times that administrators may call something more often than its share of others' calls would have it, without having it to themselves."""
KEEN_CHANGES = 100
"""The same of what staff and programs change, in shares of what is changed: they do all day what others do now and then."""
FIRST = 1e-4
"""Share of all calls of a service that may be a class's first of one operation, ..."""
FIRST_OF_CLASS = 1 / 196
"""... and of the class's own calls (see `sessions.evidence`, whose bound this is)."""
FEW = 5
"""Calls of a program, before others of its kind speak for it."""
_RULERS = frozenset("admin admins administrator superadmin superuser root sudo owner operator ops".split())
_AUTHORITY = _RULERS | frozenset("staff support moderator manager supervisor internal auditor".split())
_GRANTS = frozenset("role permission privilege grant revoke impersonate impersonation sudo entitlement acl".split())
_MACHINES = ("client", "workload", "agent", "key")


class Novelty(Struct, frozen=True):
    """How many different operations each class of one service uses, in how many clean calls: how often it does something for the first time."""

    calls: Counter[str]
    """Class -> clean calls."""
    operations: Counter[str]
    """Class -> operations that they were of."""
    everything: Counter[str]
    """Under the empty name: all clean calls of the service."""

    def first(self, cls: str) -> tuple[float, float]:
        """(how likely the next call of this class is its first of one given operation, the same as a share of all calls of the service).

        By the rule of succession over the operations that the class uses and this one (a uniform Dirichlet prior over m of them), when in n calls
        it used it never: it does not use it at all as likely as not, so that it does with a probability of m / (n + m), and then the next call is of
        it with 1 / (n + m). Programs are pooled: of one that made `FEW` calls speaks what all programs of the service together never did.
        """
        calls = self.calls[cls]
        if not calls:
            return 1.0, 1.0
        chance = first_use(calls, self.operations[cls] + 1)
        if calls >= FEW and machine(cls):
            alike = [one for one in self.calls if machine(one)]
            pooled = sum(self.calls[one] for one in alike), sum(self.operations[one] for one in alike) + 1
            chance = min(chance, first_use(*pooled))
        return chance, chance * calls / self.everything[""]


def first_use(calls: int, kinds: int) -> float:
    """See `Novelty.first`: `kinds` with the one in question."""
    return min(1.0, kinds / (calls + kinds) ** 2)


def novelty(endpoints: Iterable[Endpoint]) -> dict[tuple[str, bool], Novelty]:
    """(service, whether of what changes something alone) -> how often its classes do something for the first time."""
    found: dict[tuple[str, bool], Novelty] = {}
    whole: dict[str, Counter[str]] = {}
    for endpoint in endpoints:
        everything = whole.setdefault(endpoint.service, Counter())
        everything[""] += sum(calls for _, calls, _ in endpoint.users)
        changing = bool(endpoint.users) and not kinship.reads(endpoint) and not kinship.bookkeeping(endpoint)
        for narrow in (False, True) if changing else (False,):
            one = found.setdefault((endpoint.service, narrow), Novelty(Counter(), Counter(), everything))
            for cls, calls, _ in endpoint.users:
                one.calls[cls] += calls
                one.operations[cls] += 1
    return found


def changed_by(endpoints: Iterable[Endpoint]) -> dict[str, Counter[str]]:
    """Service -> class -> clean calls that changed something."""
    found: dict[str, Counter[str]] = {}
    for endpoint in endpoints:
        if endpoint.users and not kinship.reads(endpoint) and not kinship.bookkeeping(endpoint):
            found.setdefault(endpoint.service, Counter()).update({cls: calls for cls, calls, _ in endpoint.users})
    return found


def function_use(
    endpoint: Endpoint,
    cls: str,
    totals: Counter[str],
    *,
    lone: bool,
    changed: Counter[str] | None = None,
    new: tuple[Novelty | None, Novelty | None] = (None, None),
) -> FunctionUse | None:
    """What is strange about a class calling this operation; None when it uses it, or nothing can be said.

    A class uses an operation when two of its actors did, or, of a class with one actor (`lone`), this one repeatedly. `totals`: clean calls of
    each class in the whole service; `changed`: those of them that changed something; `new`: what classes of the service do for the first
    time in all calls, and in those that change something. Expected is what the class would have called if it used this operation as it uses the service.
    """
    own = next((entry for entry in endpoint.users if entry[0] == cls), None)
    if own is not None and (own[2] >= 2 or (lone and own[1] >= LONE_CALLS)):
        return None
    if changed is not None and (changed[cls] < SETTLED or kinship.reads(endpoint)):
        changed = None
    others = [(calls, name) for name, calls, _ in endpoint.users if name != cls]
    use = use_of(others, cls, totals, admin=is_admin(endpoint), changed=changed)
    if use is not None and use.privileged and use.ruled and not _GRANTS.isdisjoint(kinship.names(endpoint)):
        use = replace(use, grants=True)
    if use is not None and own is None and (use.privileged or use.apart):
        few = new[1] is None or new[1].calls[cls] < SETTLED  # what hardly changes anything is asked about all that it does
        use = replace(use, settled=_settled(cls, new[0] if few or kinship.reads(endpoint) else new[1]))
    if use is None or (endpoint.status != "learned" and not (use.privileged or use.apart)):
        return None  # what administrators and programs alone do has too few callers to wait for
    return use


def _settled(cls: str, new: Novelty | None) -> bool:
    """Whether a class is known so well that its first call of an operation is no chance."""
    if new is None:
        return False
    of_class, of_all = new.first(cls)
    return of_class <= FIRST_OF_CLASS and of_all <= FIRST


def use_of(
    others: Sequence[tuple[int, str]], cls: str, totals: Counter[str], *, admin: bool, changed: Counter[str] | None = None
) -> FunctionUse | None:
    """The same for whatever was used by `others`, (clean calls, class) each. `admin`: it is named as administrators' is. `changed`: None where that
    is not to be asked."""
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
        change_chance=_change_chance(calls, classes, cls, changed) if changed is not None and (above or apart) else 1.0,
    )


def _change_chance(calls: int, classes: Sequence[str], cls: str, changed: Counter[str]) -> float:
    """How likely it is that all calls came from these classes, if the caller's changed something by it too, but `KEEN_CHANGES` times less often in
    what it changes."""
    theirs = KEEN_CHANGES * sum(changed[name] for name in classes)
    return float((theirs / (theirs + changed[cls])) ** calls) if theirs else 1.0


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
