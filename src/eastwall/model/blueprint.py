"""What is concluded about APIs beyond one endpoint's profile: lifecycle, drift, risk, changes, the graph, attack paths, identities.

Control-side only: none of it is in the snapshot, no call waits for it.
"""

from __future__ import annotations

from msgspec import Struct


class Drift(Struct, frozen=True):
    """A difference between what is declared and what is seen."""

    kind: str
    """`undeclared-operation`, `unseen-operation`, `undeclared-parameter`, `undeclared-field`, `undeclared-status`, `unseen-field`,
    `type-mismatch`, `looser-validation`, `missing-required`, `missing-authentication`, `deprecated-in-use`."""
    service: str
    endpoint: str
    """Endpoint id."""
    method: str
    template: str
    place: str = ""
    """`query.q`, `request.items[].note`, `response.200.total`; empty for the operation itself."""
    message: str = ""
    """One plain sentence: what is declared, what was seen, how often."""
    severity: str = "info"
    """`info`, `low`, `medium`, `high`."""
    seen: int = 0
    """Samples or calls it rests on."""


class Lifecycle(Struct, frozen=True):
    """Where an API stands between design and retirement."""

    state: str
    """`managed` (declared and seen), `observed` (seen; the service has no specification), `shadow` (seen, its service's
    specification does not have it), `ghost` (declared, never seen), `zombie` (deprecated or an old version, still called)."""
    flags: tuple[str, ...] = ()
    """Beside the state, sorted: `orphan` (no owner), `deprecated`, `old-version`, `internet-facing`, `agent-reachable`, `third-party`,
    `vanished`, `new`, `unauthenticated`, `non-production`, `admin`, `missing-authentication`,
    `weaker-version` (another version of it checks more)."""
    exposure: str = "internal"
    """`internet`, `partner`, `internal`, `external`."""
    owner: str = ""
    repository: str = ""
    environment: str = ""
    reasons: tuple[str, ...] = ()
    """One plain sentence for the state and each flag."""


class RiskReason(Struct, frozen=True):
    points: int
    text: str
    """One plain sentence."""


class Risk(Struct, frozen=True):
    score: int
    """0..100."""
    level: str
    """`low`, `medium`, `high`, `critical`."""
    reasons: tuple[RiskReason, ...] = ()
    """Most points first; the score is their sum, at most 100."""


class Change(Struct, frozen=True):
    """An entry of the feed of what is new, changed or gone."""

    time: float
    """Unix seconds: when it was first seen so (vanished: when that was noticed)."""
    kind: str
    """`new`, `changed`, `vanished`, `returned`."""
    service: str
    endpoint: str
    method: str
    template: str
    place: str = ""
    """What of it: `response.200.items[].ssn`; empty for the operation itself."""
    detail: str = ""
    """One plain sentence."""


class Node(Struct, frozen=True):
    """A node of the graph."""

    id: str
    """`identity:workload:web/front`, `service:orders`, `operation:ep_0123456789ab`, `data:pan`, `external:api.stripe.com`, `internet`."""
    kind: str
    """`identity`, `service`, `operation`, `data`, `external`, `internet`."""
    label: str
    flags: tuple[str, ...] = ()
    """`internet-facing`, `agent-reachable`, `admin`, `sensitive`, `agent`, `human`, ..., sorted."""
    risk: int = 0


class Edge(Struct, frozen=True):
    """A directed edge of the graph."""

    source: str
    target: str
    kind: str
    """`calls` (identity or service -> operation), `has` (service -> operation), `carries` (operation -> data class),
    `leads-to` (operation -> operation, downstream), `runs-as` (service -> identity)."""
    calls: int = 0
    rate: float = 0.0
    """Calls a second between first and last seen."""
    first_seen: float = 0.0
    last_seen: float = 0.0
    evidence: str = ""
    """`trace`, `timing`, `traffic`, ..."""
    confidence: float = 1.0
    """0..1; timing alone is never sure."""
    detail: str = ""
    """`request`/`response` for data, the data places, ..."""


class Graph(Struct, frozen=True):
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()


class AttackPath(Struct, frozen=True):
    """A way from where an attacker can stand to what is worth stealing or ruling."""

    nodes: tuple[str, ...]
    """Node ids from entry to target."""
    labels: tuple[str, ...]
    entry: str
    """`internet`, `agent`."""
    target: str
    """Node id of the data class or admin operation."""
    score: float
    """0..100; paths are ranked by it."""
    reasons: tuple[str, ...] = ()
    cut: tuple[str, str] = ("", "")
    """(source, target) of the edge whose removal cuts most paths at the least cost of ordinary calls."""
    cut_paths: int = 0
    """Paths that this cut ends."""
    cut_calls: int = 0
    """Calls that went over the edge: what the cut would cost."""
    advice: str = ""
    """One plain sentence: what to do."""


class IdentityProfile(Struct, frozen=True):
    """An identity and what it does."""

    actor: str
    """`kind:name`."""
    kind: str
    cls: str
    """Identity class it belongs to."""
    strength: int
    """The greatest with which it was seen."""
    calls: int = 0
    first_seen: float = 0.0
    last_seen: float = 0.0
    operations: tuple[tuple[str, int], ...] = ()
    """(endpoint id, calls), most calls first, bounded."""
    services: tuple[str, ...] = ()
    data_classes: tuple[str, ...] = ()
    """Data classes given to it in answers, sorted."""
    agents: tuple[str, ...] = ()
    """Agents that act for it, or, for an agent, the humans it acts for."""
    sources: int = 0
    """Distinct network addresses (estimate)."""
    faults: tuple[str, ...] = ()
    """Faults of its credentials ever seen."""
    agent: bool = False
    """Whether it ever was the AI agent or MCP client of a call, whatever its kind."""


class DataFlow(Struct, frozen=True):
    """Sensitive data that an operation takes or gives, and to whom."""

    data_class: str
    service: str
    endpoint: str
    method: str
    template: str
    direction: str
    place: str
    confidence: float
    callers: tuple[tuple[str, int], ...] = ()
    """(identity class, calls in which it got or sent the class), most first."""
    egress: bool = False
    """To a third party."""


class Readiness(Struct, frozen=True):
    """How much of the evidence that one model of behaviour asks for is there for one operation."""

    model: str
    """As in docs/learning.md: `functions`, `ownership`, `properties`, `values`, `sequences`, `exposure`."""
    have: int
    need: int
    """Below it nothing is judged by this model here."""
    of: str
    """What is counted: `calls`, `sampled requests`, `places that name objects`."""
    about: str = ""
    """A class of callers, where each is judged by its own."""
