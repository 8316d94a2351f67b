"""Native offload as control does it: the policies that engines are given, as rules of Envoy's own, worked out anew when they change."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.finding import Detection
from eastwall.model.native import NativeRule
from eastwall.model.snapshot import ServiceScope, Workload
from eastwall.policy.compile import compile_plan
from eastwall.policy.offload import native_rules


class NativeOffload:
    """Keeps the last result: snapshots are published far more often than policies change. Not thread-safe."""

    def __init__(self, detections: Sequence[Detection]) -> None:
        self._detections = tuple(detections)
        self._key: object = None
        self._rules: tuple[NativeRule, ...] = ()

    def rules(
        self, policies: bytes, scopes: Sequence[ServiceScope], workloads: Sequence[Workload], names: frozenset[str]
    ) -> tuple[NativeRule, ...]:
        """`policies`: as in a snapshot. `names`: services behind the data plane. Raises ValueError, see `compile_plan`."""
        key = policies, tuple(scopes), tuple(workloads), names
        if key != self._key:
            plan = compile_plan(policies, services=scopes, endpoints=(), detections=self._detections, workloads=workloads)
            self._rules = native_rules(plan, [scope for scope in scopes if scope.name in names])
            self._key = key
        return self._rules
