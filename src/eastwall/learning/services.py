"""What is learned of one service: its templates, the profiles of its operations, its objects and their steps."""

from __future__ import annotations

from collections import Counter

from eastwall.discovery.inventory import Inventory, compile_inventory, endpoint_id, identify, parameters_of
from eastwall.discovery.templates import TemplateTree, split_path
from eastwall.learning.ownership import Judgement, Ownership
from eastwall.learning.profile import Profile
from eastwall.learning.steps import Steps
from eastwall.model.endpoint import Endpoint, Parameter, Precedent
from eastwall.model.operation import Operation

MAX_ROUTES = 5_000
"""Routes per service that its own framework told; further ones are not taken."""
REASSOCIATE = 256
"""Paths without template after which the templates are asked for anew."""
NAMED_BY_PATH = frozenset({"grpc"})
"""Protocols whose paths are names throughout: nothing in them is a value."""


class Service:
    """One service's share of what a learner knows."""

    __slots__ = (
        "awaited",
        "declared",
        "declared_inventory",
        "inventory",
        "judged",
        "judged_at",
        "limit",
        "lookups",
        "loose",
        "objects",
        "operations",
        "parameters",
        "profiles",
        "routes",
        "stale",
        "steps",
        "tree",
    )

    def __init__(self) -> None:
        self.tree = TemplateTree()
        self.profiles: dict[str, Profile] = {}
        """By endpoint id."""
        self.objects = Ownership()
        self.steps = Steps()
        self.declared: dict[str, Endpoint] = {}
        self.declared_inventory: Inventory = compile_inventory(())
        self.inventory: Inventory = compile_inventory(())
        self.routes: dict[str, Endpoint] = {}
        """Templates that the service's own framework told, by endpoint id: like declared ones, they go before inferred ones."""
        self.lookups: dict[tuple[str, str, str], str] = {}
        """(method, path, operation) -> endpoint id."""
        self.operations: Counter[str] = Counter()
        """Profiles with an operation by the id of their path."""
        self.awaited: set[tuple[str, str]] = set()
        """(method, path) of records that wait for a template."""
        self.loose = 0
        """Paths without template, since the last association."""
        self.limit = REASSOCIATE
        self.stale = False
        """Whether anything was learned since the last association."""
        self.parameters: dict[str, tuple[Parameter, ...]] = {}
        self.judged: dict[str, Judgement] = {}
        self.judged_at = -1
        """`folded` when `judged` was concluded."""

    def match(self, service: str, method: str, path: str, protocol: str, name: str) -> Endpoint | None:
        """The endpoint of a path: a declared one before an inferred one. Of an operation, the endpoint of its path, unless it is
        declared itself."""
        operation = Operation(protocol=protocol, method=method, segments=tuple(split_path(path)), path=path, name=name)
        if self.declared or self.routes:
            found = identify(service, operation, self.declared_inventory).endpoint
            if found is not None:
                return found
        if name:
            operation = Operation(protocol="rest", method=method, segments=operation.segments, path=path)
        return identify(service, operation, self.inventory).endpoint

    def compile_known(self) -> None:
        """Make the look-up of what is known without inference; a declared template goes before a told one."""
        self.declared_inventory = compile_inventory({**self.routes, **self.declared}.values())
        self.lookups.clear()
        self.stale = True

    def route(self, service: str, method: str, template: str) -> None:
        """Take a template that the service's framework told."""
        key = endpoint_id(service, method, template)
        if not template or key in self.routes or len(self.routes) >= MAX_ROUTES:
            return
        parameters = tuple(Parameter(name=name, kind="string") for name in parameters_of(template))
        self.routes[key] = Endpoint(id=key, service=service, method=method, template=template, parameters=parameters)
        self.compile_known()

    def step_rules(self, name: str) -> tuple[dict[str, tuple[Precedent, ...]], dict[str, tuple[str, int]]]:
        """See `Steps.invariants`. `name`: the service's."""
        operations = {
            key: Endpoint(key, name, profile.method, profile.template, protocol=profile.protocol, operation=profile.operation)
            for key in self.steps.actors
            if (profile := self.profiles.get(key)) is not None
        }
        return self.steps.invariants(operations)

    def count_operations(self, name: str) -> None:
        """Count the profiles of each path anew."""
        self.operations = Counter(
            endpoint_id(name, p.method, p.template)
            for p in self.profiles.values()
            if p.operation and p.protocol not in NAMED_BY_PATH
        )
