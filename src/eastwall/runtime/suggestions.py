"""`policy suggest`: least privilege from what the lake and the learner know."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from eastwall.analytics import least_privilege
from eastwall.analytics.least_privilege import DataUse, Evidence, Owned, Pace, Shaped, Use
from eastwall.discovery.inventory import compile_inventory, identify
from eastwall.learning.learner import Learner
from eastwall.model.call import Request
from eastwall.model.endpoint import Endpoint
from eastwall.protocols.decode import decode_request
from eastwall.protocols.limits import Limits
from eastwall.stores.chdb import usage
from eastwall.stores.chdb.lake import ChdbLake

LONGEST = 366 * 86_400.0
OWNED = "ownership_claims"


class SuggestionApi:
    """Asks lake and learner; used by several threads."""

    def __init__(
        self,
        lake: ChdbLake,
        endpoints: Callable[[], Sequence[Endpoint]],
        learner: Callable[[], AbstractContextManager[Learner]],
        standing: Sequence[str],
    ) -> None:
        """`standing`: detections that find faults of a service's set-up, which each of its calls shows."""
        self._lake, self._endpoints, self._learner, self._standing = lake, endpoints, learner, list(standing)

    def suggest(self, *, service: str = "", since: float = 7 * 86_400.0, kinds: Iterable[str] = ()) -> dict[str, Any]:
        """Policies from the last `since` seconds: `yaml`, and what it rests on. Raises ValueError, LakeError."""
        wanted = tuple(kinds) or least_privilege.KINDS
        unknown = sorted(set(wanted) - set(least_privilege.KINDS))
        if unknown:
            raise ValueError(f"`{unknown[0]}` cannot be suggested: {', '.join(least_privilege.KINDS)}")
        if not 0 < since <= LONGEST:
            raise ValueError("`since` must be more than 0 and at most 366 days")
        evidence = self.evidence(service, since)
        found = least_privilege.suggest(evidence, wanted)
        return {
            "yaml": least_privilege.written(found, evidence),
            "policies": [{"kind": one.kind, "name": one.name} for one in found],
            "calls": evidence.calls,
            "left_out": evidence.left_out,
            "suspects": [actor for actor, _ in evidence.suspects],
        }

    def evidence(self, service: str, since: float) -> Evidence:
        """What was observed. Raises LakeError."""
        now = time.time()
        endpoints = {one.id: one for one in self._endpoints() if not service or one.service == service}
        window: dict[str, Any] = {
            "since": int((now - since) * 1e6),
            "until": int(now * 1e6),
            "service": service,
            "standing": self._standing,
        }
        span = self._lake.ask(usage.SPAN, window)[0]
        suspects = [(str(row["actor"]), int(row["bad"])) for row in self._lake.ask(usage.SUSPECTS, window)]
        asked = window | {"suspects": [actor for actor, _ in suspects]}
        return Evidence(
            since=float(span["first"]) if span["calls"] else now - since,
            until=float(span["last"]) if span["calls"] else now,
            calls=int(span["calls"]),
            callers=int(span["callers"]),
            left_out=int(span["left_out"]),
            suspects=tuple(suspects),
            uses=_uses(self._lake.ask(usage.USES, asked | {"known": sorted(endpoints)}), endpoints),
            paces=tuple(
                Pace(row["service"], row["cls"], row["kind"], int(row["most"]), int(row["callers"]), int(row["calls"]))
                for row in self._lake.ask(usage.PACES, asked)
            ),
            data=_data(self._lake.ask(usage.DATA, asked), endpoints),
            owned=self._owned(endpoints),
            shaped=tuple(_shaped(endpoints.values())),
        )

    def _owned(self, endpoints: Mapping[str, Endpoint]) -> tuple[Owned, ...]:
        with self._learner() as learner:
            knowledge = learner.behaviours.of(OWNED).publish(tuple(endpoints.values()))
        found = []
        for rule in () if knowledge is None else knowledge.rules:
            endpoint = endpoints.get(rule.endpoint)
            place = rule.place.removeprefix("?")
            # What held without an exception, in places whose text conditions can compare with a claim.
            if endpoint is None or rule.equal != rule.of or rule.exceptions or rule.claim != "sub":
                continue
            if rule.place.startswith("?") and place.startswith(("path.", "query.")):
                found.append(
                    Owned(
                        endpoint.service, endpoint.method, endpoint.template, place, rule.claim, rule.classes, rule.equal, rule.of
                    )
                )
        return tuple(found)


def _uses(rows: Iterable[Mapping[str, Any]], endpoints: Mapping[str, Endpoint]) -> tuple[Use, ...]:
    """With the templates that hold now: calls from before an endpoint was known are matched by their paths."""
    inventory, limits = compile_inventory(endpoints.values()), Limits()
    joined: dict[tuple[str, str, str, str, str, bool], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        method = str(row["method"])
        endpoint = endpoints.get(row["endpoint"])
        if endpoint is None:
            endpoint = identify(row["service"], decode_request(Request(method, row["way"], {}), limits), inventory).endpoint
        template = endpoint.template if endpoint is not None else str(row["way"])
        joined[row["service"], method, template, row["cls"], row["kind"], endpoint is not None].append(row)
    return tuple(
        Use(
            service, method, template, cls, kind,
            strength=min(int(row["strength"]) for row in some),
            calls=sum(int(row["calls"]) for row in some),
            # Callers of several paths are told apart as far as the lake tells them, 100 of each.
            callers=max(len({who for row in some for who in row["who"]}), *(int(row["callers"]) for row in some)),
            days=max(int(row["days"]) for row in some),
            last=max(float(row["last"]) for row in some),
            known=known,
        )
        for (service, method, template, cls, kind, known), some in sorted(joined.items())
    )  # fmt: skip


def _data(rows: Iterable[Mapping[str, Any]], endpoints: Mapping[str, Endpoint]) -> tuple[DataUse, ...]:
    """Of answers only: the lake's column holds both directions, the endpoint knows which. Calls from before their endpoint was known count as
    answered where answers of the service hold the class: rather a receiver too many than one who is cut off."""
    answered = {
        (one.id, data_class)
        for one in endpoints.values()
        for direction, _, data_class in one.data_classes
        if direction == "response"
    }
    somewhere = {(endpoints[endpoint].service, data_class) for endpoint, data_class in answered}
    joined: dict[tuple[str, str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        known = row["endpoint"] in endpoints
        if (row["endpoint"], row["data_class"]) in answered or (not known and (row["service"], row["data_class"]) in somewhere):
            joined[row["service"], row["data_class"], row["cls"], row["kind"]].append(row)
    return tuple(
        DataUse(
            service, data_class, cls, kind,
            strength=min(int(row["strength"]) for row in some),
            calls=sum(int(row["calls"]) for row in some),
            operations=len(some),
        )
        for (service, data_class, cls, kind), some in sorted(joined.items())
    )  # fmt: skip


def _shaped(endpoints: Iterable[Endpoint]) -> Iterable[Shaped]:
    for one in sorted(endpoints, key=lambda e: (e.service, e.template, e.method)):
        if one.status == "learned" and one.request.samples:
            yield Shaped(one.service, one.method, one.template, one.request.samples, len(one.request.fields))
