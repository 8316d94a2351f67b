"""The data plane as control knows it: what `eastwall up` wrote of it, and its configuration, which follows modes and policies."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from eastwall.model.finding import Detection
from eastwall.model.native import NativeRule
from eastwall.model.snapshot import ServiceScope, Workload
from eastwall.policy.compile import compile_plan
from eastwall.policy.offload import native_rules
from eastwall.runtime.layout import DataDir

log = logging.getLogger("eastwall.control")


class DataPlane:
    """One per control; nothing where no data plane runs (`eastwall-control` alone)."""

    def __init__(self, data: DataDir, detections: Sequence[Detection], faults: dict[str, str]) -> None:
        """`faults`: where what does not work is told, as `data plane`."""
        self._data = data
        self._offload = NativeOffload(detections)
        self._faults = faults
        self._lock = threading.Lock()
        """Held while the configuration is worked out and written, so that the newest comes last."""

    def proxy(self) -> Any:
        """Its description (`dataplanes.envoy.proxy.Proxy`); None when nothing runs."""
        # Imported where it is used: a control process without data plane needs no Envoy.
        with contextlib.suppress(ImportError, OSError, msgspec.DecodeError):
            from eastwall.runtime.dataplane import load_proxy

            return load_proxy(self._data)
        return None

    def offloading(self) -> Any:
        """The proxy, where Envoy refuses by itself what it can (`--native-offload`)."""
        proxy = self.proxy()
        return proxy if proxy is not None and proxy.native_offload else None

    def scopes(self) -> list[ServiceScope]:
        """The services of the command line."""
        proxy = self.proxy()
        return [] if proxy is None else [upstream.scope for upstream in proxy.upstreams]

    def apply(
        self, scopes: Callable[[], Sequence[ServiceScope]], policies: Callable[[], bytes], workloads: Callable[[], Any]
    ) -> None:
        """Write the configuration for what is known now, asked for under the lock. What goes wrong is a fault, and the old one stays."""
        try:
            from eastwall.runtime.dataplane import apply_scopes

            with self._lock:
                known = scopes()
                rules: tuple[NativeRule, ...] = ()
                if (proxy := self.offloading()) is not None:
                    names = frozenset(upstream.name for upstream in proxy.upstreams)
                    rules = self._offload.rules(policies(), known, workloads(), names)
                apply_scopes(self._data.root, known, rules)
            self._faults.pop("data plane", None)
        except (ImportError, OSError, ValueError) as error:
            log.error("the data plane's configuration cannot be changed: %s", error)
            self._faults["data plane"] = f"its configuration cannot be changed: {error}"


class NativeOffload:
    """The policies that engines are given, as rules of Envoy's own. Keeps the last result: snapshots are published far more often than
    policies change. Not thread-safe."""

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
