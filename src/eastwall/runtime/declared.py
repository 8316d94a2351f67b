"""What specifications say of services: those that policies name, and those that were added."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from eastwall.model.endpoint import Endpoint
from eastwall.runtime.control_views import graphql_at
from eastwall.runtime.policy_store import PolicyStore
from eastwall.runtime.spec_store import SpecStore

log = logging.getLogger("eastwall.control")


class DeclaredApis:
    """Declared endpoints by service, brought to where the service's GraphQL was seen."""

    def __init__(self, specs: SpecStore, policies: PolicyStore) -> None:
        self.by_service: dict[str, tuple[Endpoint, ...]] = {}
        self._specs = specs
        self._policies = policies
        self._graphql_paths: frozenset[tuple[str, str]] = frozenset()

    def outdated(self, endpoints: Sequence[Endpoint]) -> bool:
        """Whether GraphQL is served at other places now: a schema does not say where."""
        return graphql_at(endpoints) != self._graphql_paths

    def read(self, endpoints: Sequence[Endpoint]) -> None:
        """Read all specifications anew. `endpoints`: what was seen."""
        specs = {name: list(declared) for name, declared in self._policies.state.declared.items()}
        for name, declared in self._specs.load().items():
            specs.setdefault(name, []).extend(declared)
        for fault in self._specs.faults:
            log.error("%s", fault)
        seen = self._graphql_paths = graphql_at(endpoints)
        self.by_service = {
            name: _at_home(declared, [e for e in endpoints if e.service == name])
            if any(at == name for at, _ in seen)
            else tuple(declared)
            for name, declared in specs.items()
        }

    def add(self, service: str, name: str, data: bytes) -> dict[str, Any]:
        """Keep a specification of a service; what it holds. Raises ValueError, one line, when it cannot be used at all; OSError."""
        found = self._specs.add(service, name, data)
        return {"kind": found.kind, "endpoints": len(found.endpoints), "faults": [str(fault) for fault in found.faults]}

    def descriptors(self) -> tuple[tuple[str, bytes], ...]:
        """gRPC descriptors by service."""
        return (*self._specs.descriptors(), *self._policies.state.descriptors.items())

    def fault(self) -> str:
        """What could not be read, the first five; empty when everything could."""
        return "; ".join(self._specs.faults[:5])


def _at_home(declared: Iterable[Endpoint], observed: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    from eastwall.learning.graphql_sdl import at_home  # with its parser a tenth of a second, for those who have GraphQL

    return at_home(declared, observed)
