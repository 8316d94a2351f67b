"""Ways from where an attacker can stand to what is worth stealing or ruling, ranked, each with the cheapest cut.

**Entries**: the internet, and every agent, which whoever writes what it reads may steer. **Targets**: sensitive data where an operation
carries it, and administrative operations. **Steps**: an entry calls an operation; an operation leads to another (downstream); an operation
that is broken gives its service away, and the service, or the identity that it runs as, calls others.

A path's score is 100 times the product of what each step is likely to succeed with (`EASE`, by judgement) and what the target is worth
(`WORTH`). Of the ways from one entry to one target the most likely is told (Dijkstra, 1959, over -log ease).

**The cut** of a path is an edge without which its entry does not reach its target any more, by this way or another: the edges on the path
that dominate the target (Lengauer and Tarjan, 1979; edges are split by nodes of their own). Of these the one with the least ordinary
calls per path that it ends, over all paths. So an edge that carries nearly everything is advised only when there is no tighter one. To mask
a field costs a fifth of refusing a call, and so does refusing one that ought not to be made.
Where no single edge ends the path, the tightest on it is named, and the advice says that other ways remain. Ways over services that are
taken over are left out of account for paths that need none: otherwise everything is reached from everywhere, and no cut is worth it.

`rustworkx` comes with control, not with engines: it is imported where it is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import exp, log
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from eastwall.discovery.graph import INTERNET
from eastwall.model.blueprint import AttackPath, Edge, Graph, Node

if TYPE_CHECKING:
    import rustworkx

MAX_AGENTS = 24
"""Agents that paths begin at: those with the most calls."""
MAX_PATHS = 1_000
"""Paths that are told; the best ones."""
LEAST = 1.0
"""Score below which a path is not told."""
WORTH = {"critical": 1.0, "high": 0.8, "medium": 0.5, "low": 0.25}
ADMIN_WORTH = 0.85
EASE_OPEN = 1.0
"""Calling an operation that asks for no identity."""
EASE_CLOSED = 0.5
"""Calling one that does, from outside: an account of one's own, or a stolen one, and a flaw of the operation."""
EASE_AGENT = 0.8
"""Calling, as an agent that is steered, what the agent may call anyway."""
EASE_DOWNSTREAM = 0.8
"""What the operation before is trusted to call, with arguments that the attacker has a hand in."""
EASE_BREAK = 0.3
"""Taking over a service through one of its operations."""
EASE_INSIDE = 0.9
"""Calling, from a service that was taken over, what it calls anyway."""
WEAK = 1.3
"""Times as easy for each of these flags of an operation, up to certainty."""
WEAKNESSES = ("shadow", "zombie", "missing-authentication", "non-production")
GENTLE = 0.2
"""What a call costs that goes on with a field masked, or that ought not to be made (to shadows and zombies), against one that is refused."""
_UNWANTED = frozenset({"shadow", "zombie", "deprecated"})
_SAME = 1e-9


class _World(Struct):
    """The graph with its edges split, in rustworkx' numbers."""

    graph: Any
    plain: Any
    """The same without taking services over."""
    number: dict[str, int]
    """Node id -> index."""
    edges: list[Edge | None]
    """Index -> the edge whose middle it is."""
    names: list[str]
    """Index -> node id; empty for the middles of edges."""
    broken: frozenset[tuple[int, int]]
    """(operation, service) pairs of a service that is taken over."""


class _Way(Struct):
    """A path before it is told."""

    score: float
    entry: str
    target: str
    """Node id."""
    last: int
    """Index at which it is reached: the middle of a `carries` edge, or an administrative operation."""
    plain: bool = True
    """No service need be taken over."""
    steps: tuple[int, ...] = ()


def attack_paths(graph: Graph, limit: int = 20, sensitivity: Callable[[str], str] = lambda _: "medium") -> tuple[AttackPath, ...]:
    """At most `limit` paths, best first; equal graphs give equal paths. `sensitivity`: data class -> `low` .. `critical`.

    Raises ModuleNotFoundError where `rustworkx` is not installed (an engine alone).
    """
    nodes = {node.id: node for node in graph.nodes}
    entries = _entries(graph, nodes)
    if not entries or limit <= 0:
        return ()
    world = _split(graph, nodes)
    worth = _targets(world, nodes, sensitivity)
    ways = [way for entry in entries for way in _reached(world, entry, worth)]
    told = sorted(ways, key=lambda way: (-round(way.score, 6), way.entry, world.names[way.last] or _key(world.edges[way.last])))
    told = told[: min(limit, MAX_PATHS)]
    _route(world, told)
    cuts = _cuts(world, ways, told)
    ordinary = {edge.target: edge.calls for edge in graph.edges if edge.kind == "has"}
    return tuple(_told(world, way, nodes, cuts, ordinary) for way in told)


def _entries(graph: Graph, nodes: Mapping[str, Node]) -> list[str]:
    calls: Counter[str] = Counter()
    for edge in graph.edges:
        source = nodes.get(edge.source)
        if edge.kind == "calls" and source is not None and source.kind == "identity" and "agent" in source.flags:
            calls[edge.source] += edge.calls
    agents = sorted(calls, key=lambda key: (-calls[key], key))[:MAX_AGENTS]
    return ([INTERNET] if INTERNET in nodes else []) + agents


def _split(graph: Graph, nodes: Mapping[str, Node]) -> _World:
    import rustworkx

    names = [node.id for node in graph.nodes]
    number = {name: at for at, name in enumerate(names)}
    edges: list[Edge | None] = [None] * len(names)
    joined: list[tuple[int, int, float]] = []
    broken: list[tuple[int, int, float]] = []
    for edge in graph.edges:
        source, target = number.get(edge.source), number.get(edge.target)
        if source is None or target is None:
            continue
        if edge.kind == "has":
            # Who breaks an operation has its service.
            if nodes[edge.source].kind == "service":
                broken.append((target, source, 0.0 - log(EASE_BREAK)))
            continue
        joined.append((source, len(edges), 0.0 - log(_ease(edge, nodes))))
        joined.append((len(edges), target, 0.0))
        edges.append(edge)
    plain: rustworkx.PyDiGraph[None, float] = rustworkx.PyDiGraph(multigraph=False)
    plain.add_nodes_from([None] * len(edges))
    plain.add_edges_from(joined)
    whole = plain.copy()
    whole.add_edges_from(broken)
    names += [""] * (len(edges) - len(names))
    return _World(whole, plain, number, edges, names, frozenset((source, target) for source, target, _ in broken))


def _ease(edge: Edge, nodes: Mapping[str, Node]) -> float:
    if edge.kind in ("carries", "runs-as"):
        return 1.0
    target = nodes[edge.target]
    source = nodes[edge.source]
    if edge.kind == "leads-to":
        ease = EASE_DOWNSTREAM * max(0.5, edge.confidence)
    elif source.kind == "internet":
        ease = EASE_OPEN if {"unauthenticated", "missing-authentication"} & set(target.flags) else EASE_CLOSED
    elif source.kind == "service":
        ease = EASE_INSIDE * max(0.5, edge.confidence)
    else:
        ease = EASE_AGENT if "agent" in source.flags else EASE_INSIDE
    for flag in WEAKNESSES:
        if flag in target.flags:
            ease *= WEAK
    return min(1.0, ease)


def _targets(world: _World, nodes: Mapping[str, Node], sensitivity: Callable[[str], str]) -> dict[int, tuple[str, float]]:
    """Index -> (node id of the target, its worth)."""
    found: dict[int, tuple[str, float]] = {}
    for at, edge in enumerate(world.edges):
        # Whoever signs in sends a secret and is given one: that is no theft.
        if edge is not None and edge.kind == "carries" and "sign-in" not in nodes[edge.source].flags:
            worth = WORTH.get(sensitivity(nodes[edge.target].label), WORTH["medium"])
            # What is only taken can be had by who sits in the service, not by who calls the operation.
            found[at] = (edge.target, worth * edge.confidence * (1.0 if "response" in edge.detail else 0.4))
    for node in nodes.values():
        if node.kind == "operation" and "admin" in node.flags:
            found[world.number[node.id]] = (node.id, ADMIN_WORTH)
    return found


def _reached(world: _World, entry: str, worth: Mapping[int, tuple[str, float]]) -> list[_Way]:
    """The best way to each target. Where a way without taking a service over is as good, it is that one."""
    import rustworkx

    start = world.number[entry]
    lengths = rustworkx.dijkstra_shortest_path_lengths(world.graph, start, float)
    plain = rustworkx.dijkstra_shortest_path_lengths(world.plain, start, float)
    found = []
    for at, length in lengths.items():
        target = worth.get(at)
        if target is not None and at != start:
            score = 100 * exp(-length) * target[1]
            if score >= LEAST:
                direct = at in plain and plain[at] <= length + _SAME
                found.append(_Way(score, entry, target[0], at, direct))
    return found


def _route(world: _World, ways: Sequence[_Way]) -> None:
    """Fill in the steps."""
    import rustworkx

    for way in ways:
        graph = world.plain if way.plain else world.graph
        paths = rustworkx.dijkstra_shortest_paths(graph, world.number[way.entry], way.last, float)
        way.steps = tuple(paths[way.last])


class _Cuts(Struct):
    """What each edge would end. Keys: (entry, whether no service need be taken over)."""

    dominators: dict[tuple[str, bool], dict[int, int]]
    """Index -> the index that every way to it goes through last."""
    ended: Counter[int]
    """Middle of an edge -> paths that it ends."""


def _cuts(world: _World, ways: Sequence[_Way], told: Sequence[_Way]) -> _Cuts:
    import rustworkx

    by_entry: dict[tuple[str, bool], list[int]] = {}
    for way in ways:
        by_entry.setdefault((way.entry, way.plain), []).append(way.last)
    cuts = _Cuts({}, Counter())
    # Paths over services that are taken over count only where some are told: that is the greater part of the work.
    wanted = {way.plain for way in told}
    for key, targets in sorted(by_entry.items()):
        if key[1] in wanted:
            graph = world.plain if key[1] else world.graph
            cuts.dominators[key] = rustworkx.immediate_dominators(graph, world.number[key[0]])
            cuts.ended.update(_ended(cuts.dominators[key], targets))
    return cuts


def _ended(dominators: Mapping[int, int], targets: Sequence[int]) -> Counter[int]:
    """Index of an edge's middle -> targets that only it leads to."""
    found: Counter[int] = Counter()
    for target in targets:
        at = target
        while True:
            found[at] += 1
            above = dominators.get(at, at)
            if above == at:
                break
            at = above
    return found


def _above(dominators: Mapping[int, int], target: int) -> frozenset[int]:
    found = {target}
    at = target
    while (above := dominators.get(at, at)) != at:
        found.add(above)
        at = above
    return frozenset(found)


def _told(world: _World, way: _Way, nodes: Mapping[str, Node], cuts: _Cuts, ordinary: Mapping[str, int]) -> AttackPath:
    steps = [world.names[at] for at in way.steps if world.names[at]]
    edges = [(at, edge) for at in way.steps if (edge := world.edges[at]) is not None]
    if way.target != steps[-1]:
        steps.append(way.target)
    needed = _above(cuts.dominators[way.entry, way.plain], way.last)
    cuttable = [(at, edge) for at, edge in edges if edge.kind != "runs-as"]
    sure = [(at, edge) for at, edge in cuttable if at in needed]
    at, cut = min(sure or cuttable, key=lambda found: _price(found[1], nodes[found[1].target], cuts.ended[found[0]]))
    paths = cuts.ended[at] if sure else 0
    return AttackPath(
        nodes=tuple(steps),
        labels=tuple(nodes[step].label for step in steps),
        entry="internet" if way.entry == INTERNET else "agent",
        target=way.target,
        score=round(way.score, 1),
        reasons=tuple(_reasons(world, way, nodes)),
        cut=(cut.source, cut.target),
        cut_paths=paths,
        cut_calls=cut.calls,
        advice=_advice(cut, nodes, paths, ordinary),
    )


def _price(edge: Edge, target: Node, paths: int) -> tuple[float, int, str, str]:
    """Ordinary calls lost per path ended; then more paths ended."""
    # A request without its data is refused by the service: that is no gentler.
    gentle = (edge.kind == "carries" and "response" in edge.detail) or not _UNWANTED.isdisjoint(target.flags)
    return ((edge.calls + 1) * (GENTLE if gentle else 1.0) / max(paths, 1), -paths, edge.source, edge.target)


def _key(edge: Edge | None) -> str:
    return f"{edge.source} {edge.target} {edge.kind}" if edge is not None else ""


def _reasons(world: _World, way: _Way, nodes: Mapping[str, Node]) -> list[str]:
    found = []
    for before, at in pairwise(way.steps):
        if (before, at) in world.broken:
            found.append(f"who breaks {nodes[world.names[before]].label} has the service {nodes[world.names[at]].label}")
        edge = world.edges[at]
        if edge is not None:
            found.append(_step(edge, nodes[edge.source], nodes[edge.target]))
    if way.target in nodes and "admin" in nodes[way.target].flags:
        found.append(f"{nodes[way.target].label} is administrative")
    return found


def _step(edge: Edge, source: Node, target: Node) -> str:
    if edge.kind == "carries":
        return (
            f"{source.label} carries {target.label} ({edge.detail})" if edge.detail else f"{source.label} carries {target.label}"
        )
    if edge.kind == "runs-as":
        return f"{source.label} runs as {target.label}"
    weak = [flag for flag in ("unauthenticated", *WEAKNESSES, "deprecated") if flag in target.flags]
    told = f", which is {' and '.join(weak)}" if weak else ""
    if edge.kind == "leads-to":
        return f"{source.label} leads to {target.label}{told} ({edge.calls:,} times, by {edge.evidence})"
    if source.kind == "internet":
        return f"the internet reaches {target.label}{told}"
    if source.kind == "service":
        return f"the service {source.label} calls {target.label}{told} ({edge.calls:,} calls)"
    who = "the agent " if "agent" in source.flags else ""
    return f"{who}{source.label} calls {target.label}{told} ({edge.calls:,} calls)"


def _advice(cut: Edge, nodes: Mapping[str, Node], paths: int, ordinary: Mapping[str, int]) -> str:
    source, target = nodes[cut.source], nodes[cut.target]
    total = ordinary.get(cut.target if cut.kind != "carries" else cut.source, 0)
    share = f"{cut.calls:,} of its {total:,} calls" if total >= cut.calls > 0 else f"{cut.calls:,} calls"
    cost = f"{share} went this way" if cut.calls else "no ordinary call went this way"
    ends = f"ends {paths} path{'s' if paths != 1 else ''}" if paths else "other ways remain"
    if cut.kind == "carries":
        way = "responses" if "response" in cut.detail else "requests"
        what = f"mask or drop {target.label} in the {way} of {source.label} (DataPolicy)"
    elif source.kind == "internet" and {"unauthenticated", "missing-authentication"} & set(target.flags):
        what = f"ask for authentication on {target.label} (AccessPolicy)"
    elif source.kind == "internet":
        what = f"close {target.label} to the internet (AccessPolicy)"
    elif cut.kind == "leads-to":
        what = f"do not let {source.label} lead to {target.label} (AccessPolicy on the latter)"
    else:
        what = f"deny {source.label} the operation {target.label} (AccessPolicy)"
    return f"{what}: {ends}; {cost}"
