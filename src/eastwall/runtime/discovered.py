"""What control concludes of the APIs beyond their profiles, and the documents made of it.

The blueprint is made anew when somebody asks and something was learned since, and seldom enough that it takes a tenth of the time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from msgspec import Struct

from eastwall.discovery.versions import sentence
from eastwall.exports.graph import render
from eastwall.learning.declare import read_declared
from eastwall.learning.graphql_used import sdl
from eastwall.learning.learner import Learner
from eastwall.learning.openapi_export import openapi
from eastwall.model.endpoint import Endpoint
from eastwall.model.snapshot import CustomDataClass, ServiceScope
from eastwall.runtime.blueprint import Blueprint


class UnknownError(LookupError):
    """The thing asked for is not there; one clear line."""


class World(Struct, frozen=True):
    """What control knows at one moment."""

    revision: int
    endpoints: tuple[Endpoint, ...]
    scopes: tuple[ServiceScope, ...]
    declared: Mapping[str, Sequence[Endpoint]]
    classes: tuple[CustomDataClass, ...] = ()
    """Data classes of the user's own."""


class Discovered:
    """Implements `console.blueprint.DiscoveryApi`; thread-safe."""

    def __init__(self, world: Callable[[], World], learner: Callable[[], AbstractContextManager[Learner]]) -> None:
        """`world`: what is known now. `learner`: gives the learner to one thread at a time."""
        self._world = world
        self._learner = learner
        self._lock = threading.Lock()
        self._blueprint = Blueprint()
        self._taken = World(-1, (), (), {})
        """What the blueprint was made of: endpoints are told from here, so that each is known to it."""
        self._next = 0.0

    @property
    def revision(self) -> int:
        """Another number when there may be something new: also when nobody has asked for it yet, for who polls this asks then only."""
        return self._world().revision if time.monotonic() >= self._next else self._taken.revision

    @property
    def blueprint(self) -> Blueprint:
        """Everything concluded, as of a moment ago."""
        with self._lock:
            world = self._world()
            if world.revision != self._taken.revision and time.monotonic() >= self._next:
                started = time.monotonic()
                with self._learner() as learner:
                    self._blueprint.refresh(
                        endpoints=world.endpoints,
                        declared=world.declared,
                        scopes=world.scopes,
                        edges=learner.edges,
                        identities=learner.identities,
                        changes=learner.changes,
                        now=time.time(),
                        findings=learner.findings(),
                        classes=world.classes,
                        weaker=_weaker(learner, world.endpoints),
                    )
                self._taken = world
                ended = time.monotonic()
                self._next = ended + 10 * (ended - started)
            return self._blueprint

    def _endpoints(self) -> tuple[Endpoint, ...]:
        _ = self.blueprint  # made anew where it is time
        return self._taken.endpoints

    def apis(self, service: str = "") -> list[Endpoint]:
        """Learned and declared endpoints, by service, template, method and operation."""
        found = [e for e in self._endpoints() if not service or e.service == service]
        return sorted(found, key=lambda e: (e.service, e.template, e.method, e.operation))

    def api(self, endpoint_id: str) -> Endpoint:
        """Raises UnknownError."""
        for endpoint in self._endpoints():
            if endpoint.id == endpoint_id:
                return endpoint
        raise UnknownError(f"there is no API `{endpoint_id}`")

    def openapi(self, service: str, version: str = "3.1") -> dict[str, Any]:
        """OpenAPI document of a service. Raises UnknownError."""
        return openapi(self._of(service), service, version)

    def graphql(self, service: str) -> str:
        """SDL of what was used of a service. Raises UnknownError."""
        found = [endpoint for endpoint in self._of(service) if endpoint.protocol == "graphql"]
        if not found:
            raise UnknownError(f"no GraphQL operation of the service `{service}` is known")
        return sdl(found, service)

    def graph_text(self, form: str) -> str:
        """The graph as `dot`, `json` or `graphml`."""
        return render(self.blueprint.graph(), form)

    def diff(self, service: str, document: str, name: str) -> dict[str, Any]:
        """A specification against what was seen of the service: `{"kind", "endpoints", "faults", "drift"}`.

        Raises UnknownError, and ValueError when the document cannot be used at all.
        """
        from eastwall.learning.graphql_sdl import at_home  # with its parser a tenth of a second to load

        seen = self._of(service)
        declared = read_declared(document.encode("utf-8", "surrogatepass"), name, service)
        drift = self.blueprint.diff(service, at_home(declared.endpoints, seen))
        return {
            "kind": declared.kind,
            "endpoints": len(declared.endpoints),
            "faults": [str(fault) for fault in declared.faults],
            "drift": drift,
        }

    def _of(self, service: str) -> list[Endpoint]:
        found = self.apis(service) if service else []
        if not found:
            raise UnknownError(f"no API of a service `{service}` is known")
        return found


def _weaker(learner: Learner, endpoints: Sequence[Endpoint]) -> dict[str, tuple[str, ...]]:
    """Endpoint id -> what another version of it checks and it does not, in sentences."""
    found: dict[str, tuple[str, ...]] = {}
    for one in learner.behaviours.of("versions").weaknesses(endpoints):
        found[one.endpoint] = (*found.get(one.endpoint, ()), sentence(one))
    return found
