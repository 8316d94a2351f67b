"""Policies on recorded calls, for the command line and for control: plans from policy sets, and the guard before policies are applied."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eastwall import detections, policy
from eastwall.detections.packs import detection
from eastwall.discovery.inventory import compile_inventory
from eastwall.model.call import Mode
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import ServiceScope
from eastwall.policy.kinds import DataClass, PolicySet, RulePack, Service
from eastwall.policy.replay import Comparison, Judge

PAGE = 10_000
"""Calls read at once."""
DAY = 86_400.0
GUARD_DAYS = 7
GUARD_CALLS = 10_000
"""Calls that the guard reads at most: all of them, or of more the beginnings of equal parts of the time."""
GUARD_SLICES = 20
GUARD_SECONDS = 1.0
"""It stops reading then, and says how many calls it has seen."""
GUARD_LEAST = 20
"""A service with fewer legitimate calls than this says too little."""
GUARD_SHARE = 0.5
"""Of a service's legitimate calls: a policy set that would newly block more is refused."""

_pages = msgspec.msgpack.Decoder(list[bytes])
_records = msgspec.msgpack.Decoder(CallRecord)


class World(Struct, frozen=True):
    """What a replay needs beside records."""

    services: tuple[ServiceScope, ...] = ()
    """With the modes that hold now."""
    endpoints: tuple[Endpoint, ...] = ()
    """As known now; of each only what finds it."""


class Reading(Protocol):
    """A lake, or the API in front of one."""

    def extent(self, since: float, until: float, service: str = "") -> dict[str, Any]: ...
    def in_order(self, since: float, until: float, *, after: str = "", service: str = "", limit: int = PAGE) -> bytes: ...


def records(lake: Reading, since: float, until: float, service: str = "", limit: int = 0) -> Iterator[CallRecord]:
    """Recorded calls in the order of their times, read in pages. `limit`: at most so many; 0: all."""
    after, left = "", limit
    while not limit or left > 0:
        page = _pages.decode(lake.in_order(since, until, after=after, service=service, limit=min(PAGE, left) if limit else PAGE))
        if not page:
            return
        # One at a time: a page of decoded records held together costs more in collecting garbage than in decoding.
        for data in page:
            record = _records.decode(data)
            yield record
        since, after, left = record.time, record.id, left - len(page)


def bare(endpoint: Endpoint) -> Endpoint:
    """What finds an endpoint, without what was learned of it."""
    return Endpoint(
        endpoint.id, endpoint.service, endpoint.method, endpoint.template, operation=endpoint.operation, calls=endpoint.calls
    )


def judge(policies: PolicySet, services: Iterable[ServiceScope], *, enforced: bool) -> Judge:
    """A policy set as it would judge calls to these services, `enforced`: as if all were in enforce. Raises ValueError, one line."""
    scopes = policy.scopes_of(policies, services)
    if enforced:
        scopes = tuple(replace(scope, mode=Mode.ENFORCE) for scope in scopes)
    known = [*(one.meta for one in detections.load()), *map(detection, policy.content_rules(policies))]
    plan = policy.compile_plan(policy.encode(policies), services=scopes, endpoints=(), detections=known)
    return Judge(plan, enforced=enforced)


def comparison(new: PolicySet, old: PolicySet, world: World, *, enforced: bool = True, against_old: bool = False) -> Comparison:
    """A comparison that waits for calls. Raises ValueError, one line."""
    return Comparison(
        judge(new, world.services, enforced=enforced),
        judge(old, world.services, enforced=enforced),
        compile_inventory(world.endpoints),
        against_old=against_old,
    )


def notes(new: PolicySet, old: PolicySet) -> list[str]:
    """What of a new set no recorded call can show, one line each."""
    before = {(one.kind, one.name): one.spec for one in old.policies}
    changed = [one for one in new.policies if before.get((one.kind, one.name)) != one.spec]
    found = []
    for kind, what in ((RulePack, "their rules read content"), (DataClass, "their values are looked for in content")):
        names = [f"`{one.name}`" for one in changed if isinstance(one.spec, kind)]
        if names:
            found.append(f"{kind.__name__} {', '.join(names[:5])} {'are' if len(names) > 1 else 'is'} new or changed: {what}, which is "
                         "not recorded; their effect is not in these figures")  # fmt: skip
    trusts = {one.name: one.spec.identity for one in old.policies if isinstance(one.spec, Service)}
    names = [f"`{one.name}`" for one in changed if isinstance(one.spec, Service) and one.spec.identity != trusts.get(one.name)]
    if names:
        found.append(
            f"Service {', '.join(names[:5])}: `identity` is new or changed; callers stand here as they were told apart when they called"
        )
    return found


def result(compared: Comparison, seconds: float, remarks: Sequence[str] = ()) -> dict[str, Any]:
    """Totals, groups and notes, as JSON has them."""
    return {
        "totals": msgspec.to_builtins(compared.totals),
        "groups": [
            msgspec.to_builtins(group) | {"examples": [_example(one) for one in group.examples]} for group in compared.groups()
        ],
        "notes": list(remarks),
        "seconds": round(seconds, 3),
    }


def _example(example: tuple[str, float, str]) -> dict[str, Any]:
    event, at, caller = example
    return {"id": event, "time": at, "caller": caller}


class BlocksTrafficError(ValueError):
    """The policies would block most of what callers do; nothing was applied."""

    def __init__(self, message: str, numbers: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.numbers = dict(numbers)


def guard(new: PolicySet, old: PolicySet, lake: Reading, world: World, now: float) -> dict[str, Any]:
    """What of the last days' legitimate calls a policy set would newly block, were every service in enforce: `calls` read, `legitimate`
    ones, `blocked` ones. Policies in monitor block nothing, and what the applied set would block as well is not counted.

    Raises BlocksTrafficError when it is more than GUARD_SHARE of those of a service; what the lake raises; ValueError.
    """
    since = now - GUARD_DAYS * DAY
    extent = lake.extent(since, now)
    if not extent["calls"]:
        return {"calls": 0, "legitimate": 0, "blocked": 0, "days": GUARD_DAYS}
    enforced = World(tuple(replace(scope, mode=Mode.ENFORCE) for scope in world.services), world.endpoints)
    compared = comparison(new, old, enforced, enforced=False)
    slices = 1 if extent["calls"] <= GUARD_CALLS else GUARD_SLICES
    step = (extent["last"] - extent["first"]) / slices
    began = time.perf_counter()
    for number in range(slices):
        start = extent["first"] + number * step
        end = extent["last"] if number == slices - 1 else start + step
        for record in records(lake, start, end, limit=GUARD_CALLS // slices):
            compared.add(record)
            if time.perf_counter() - began > GUARD_SECONDS:
                return judged(compared)
    return judged(compared)


def judged(compared: Comparison) -> dict[str, Any]:
    """The guard's numbers. Raises BlocksTrafficError."""
    blocked: Counter[str] = Counter()
    groups = [group for group in compared.groups() if group.change == "blocked"]
    for group in groups:
        blocked[group.service] += max(0, group.legitimate - group.already)
    numbers = {
        "calls": compared.totals.calls,
        "legitimate": compared.totals.legitimate,
        "blocked": blocked.total(),
        "days": GUARD_DAYS,
    }
    for service, count in blocked.most_common():
        whole = compared.legitimate[service]
        if whole >= GUARD_LEAST and count > GUARD_SHARE * whole:
            worst = max((group for group in groups if group.service == service), key=lambda group: group.legitimate)
            raise BlocksTrafficError(
                f"these policies would block {count:,} of {whole:,} legitimate calls to `{service}` of the last {GUARD_DAYS} days"
                f" ({100 * count / whole:.0f} %), most of them by {worst.kind} `{worst.policy}` ({worst.location}) on"
                f" `{worst.operation}`; see `eastwall policy replay`, or apply them with --force",
                numbers | {"service": service, "blocked": count, "legitimate": whole},
            )
    return numbers
