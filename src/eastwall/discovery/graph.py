"""The graph of who calls what, what it carries and where it leads: identities, services, operations, data classes, third parties.

Node ids: `identity:user+admin`, `service:orders`, `operation:ep_0123456789ab`, `data:pan`, `external:api.stripe.com`, `internet`.
Everything is sorted, so that equal knowledge gives an equal graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from eastwall.model.blueprint import Edge, Graph, Lifecycle, Node
from eastwall.model.endpoint import Endpoint

INTERNET = "internet"
MAX_PLACES = 5
"""Places named in the detail of a `carries` edge."""


class Caller(Struct, frozen=True):
    """Somebody who calls an operation."""

    name: str
    """Identity class, agent or workload; for `service`, the service's name."""
    calls: int
    first_seen: float
    last_seen: float
    service: bool = False
    """A service that Eastwall knows."""
    agent: bool = False
    human: bool = False


class Flow(Struct, frozen=True):
    """An operation gives or takes data of a class."""

    data_class: str
    direction: str
    """`request` or `response`."""
    places: tuple[str, ...] = ()
    confidence: float = 1.0
    calls: int = 0
    """Calls that held it, as far as counted."""
    first_seen: float = 0.0
    last_seen: float = 0.0


class Leads(Struct, frozen=True):
    """An operation leads to another."""

    source: str
    """Endpoint id."""
    target: str
    calls: int
    first_seen: float
    last_seen: float
    evidence: str
    confidence: float


class Operation(Struct, frozen=True):
    """An operation with what is concluded about it."""

    endpoint: Endpoint
    lifecycle: Lifecycle
    risk: int = 0
    callers: tuple[Caller, ...] = ()
    flows: tuple[Flow, ...] = ()
    public_calls: int = 0
    """Calls from the internet."""


def operation_id(endpoint: str) -> str:
    return f"operation:{endpoint}"


def service_id(name: str, *, external: bool = False) -> str:
    return f"{'external' if external else 'service'}:{name}"


def title(endpoint: Endpoint) -> str:
    """`orders GET /orders/{order_id}`, with the operation's own name where it has one."""
    name = f"{endpoint.service} {endpoint.method} {endpoint.template}"
    return f"{name} {endpoint.operation}" if endpoint.operation and endpoint.protocol != "grpc" else name


def assemble(
    operations: Sequence[Operation],
    links: Iterable[Leads] = (),
    *,
    runs_as: Iterable[tuple[str, str]] = (),
    owners: Mapping[str, str] | None = None,
    sensitive: Callable[[str], bool] = lambda _: True,
) -> Graph:
    """The graph.

    `runs_as`: (service, identity class) pairs, of workloads that are known to be a service's; `owners`: service -> owner; `sensitive`:
    whether a data class is worth stealing.
    """
    builder = _Builder(sensitive)
    for operation in operations:
        builder.operation(operation)
    known = {operation.endpoint.id: operation for operation in operations}
    for link in links:
        if link.source in known and link.target in known and link.source != link.target:
            builder.implied(known[link.source], link)
            builder.edge(
                operation_id(link.source),
                operation_id(link.target),
                "leads-to",
                link.calls,
                link.first_seen,
                link.last_seen,
                link.evidence,
                link.confidence,
                "",
            )
    for service, identity in runs_as:
        source, target = service_id(service), f"identity:{identity}"
        if source in builder.nodes and target in builder.nodes:
            builder.edge(source, target, "runs-as", 0, 0.0, 0.0, "identity", 1.0, "")
    return builder.graph(owners or {})


class _Builder:
    def __init__(self, sensitive: Callable[[str], bool]) -> None:
        self.sensitive = sensitive
        self.nodes: dict[str, tuple[str, str, set[str], int]] = {}
        """Id -> (kind, label, flags, risk)."""
        self.edges: dict[tuple[str, str, str], Edge] = {}

    def operation(self, operation: Operation) -> None:
        endpoint, state = operation.endpoint, operation.lifecycle
        here = operation_id(endpoint.id)
        external = state.exposure == "external"
        home = service_id(endpoint.service, external=external)
        flags = {state.state, *state.flags} - {"new", "vanished"}
        if any(self.sensitive(flow.data_class) for flow in operation.flows):
            flags.add("sensitive")
        if endpoint.login:
            flags.add("sign-in")
        self.node(here, "operation", title(endpoint), flags, operation.risk)
        inherited = {"third-party"} if external else flags & {"internet-facing", "agent-reachable"}
        self.node(home, "external" if external else "service", endpoint.service, inherited, operation.risk)
        self.edge(home, here, "has", endpoint.calls, endpoint.first_seen, endpoint.last_seen, "traffic", 1.0, "")
        if "internet-facing" in state.flags:
            self.node(INTERNET, "internet", "internet", set(), 0)
            calls = operation.public_calls or endpoint.calls
            evidence = "traffic" if operation.public_calls else "policy"
            self.edge(INTERNET, here, "calls", calls, endpoint.first_seen, endpoint.last_seen, evidence, 1.0, "")
        for caller in operation.callers:
            self.caller(caller, here)
        for flow in operation.flows:
            node = f"data:{flow.data_class}"
            self.node(node, "data", flow.data_class, {"sensitive"} if self.sensitive(flow.data_class) else set(), 0)
            places = ", ".join(flow.places[:MAX_PLACES]) + (", ..." if len(flow.places) > MAX_PLACES else "")
            detail = f"{flow.direction}: {places}" if places else flow.direction
            self.edge(here, node, "carries", flow.calls, flow.first_seen, flow.last_seen, "traffic", flow.confidence, detail)

    def caller(self, caller: Caller, operation: str) -> None:
        if caller.service:
            node = service_id(caller.name)
            self.node(node, "service", caller.name, set(), 0)
        else:
            node = f"identity:{caller.name}"
            flags = {name for name, held in (("agent", caller.agent), ("human", caller.human)) if held}
            self.node(node, "identity", caller.name, flags, 0)
        self.edge(node, operation, "calls", caller.calls, caller.first_seen, caller.last_seen, "traffic", 1.0, "")

    def implied(self, source: Operation, link: Leads) -> None:
        """What an operation leads to, its service calls; where the callers say so themselves, that holds."""
        external = source.lifecycle.exposure == "external"
        home, target = service_id(source.endpoint.service, external=external), operation_id(link.target)
        known = self.edges.get((home, target, "calls"))
        if known is None or known.evidence != "traffic":
            self.edge(home, target, "calls", link.calls, link.first_seen, link.last_seen, link.evidence, link.confidence, "")

    def node(self, key: str, kind: str, label: str, flags: set[str], risk: int) -> None:
        known = self.nodes.get(key)
        if known is not None:
            flags, risk = flags | known[2], max(risk, known[3])
        self.nodes[key] = (kind, label, flags, risk)

    def edge(
        self, source: str, target: str, kind: str, calls: int, first: float, last: float, evidence: str, sure: float, detail: str
    ) -> None:
        key = (source, target, kind)
        known = self.edges.get(key)
        if known is not None:
            # A call may carry a class both ways; it is one call.
            calls = max(calls, known.calls) if kind == "carries" else calls + known.calls
            first, last = min(first, known.first_seen), max(last, known.last_seen)
            sure = max(sure, known.confidence)
            detail = f"{known.detail}; {detail}" if detail and detail not in known.detail else known.detail
        rate = calls / (last - first) if calls > 1 and last > first else 0.0
        self.edges[key] = Edge(source, target, kind, calls, round(rate, 6), first, last, evidence, round(sure, 3), detail)

    def graph(self, owners: Mapping[str, str]) -> Graph:
        nodes = []
        for key, (kind, label, flags, risk) in sorted(self.nodes.items()):
            if kind == "service" and label in owners and not owners[label]:
                flags = flags | {"orphan"}
            nodes.append(Node(key, kind, label, tuple(sorted(flags)), risk))
        return Graph(tuple(nodes), tuple(self.edges[key] for key in sorted(self.edges)))
