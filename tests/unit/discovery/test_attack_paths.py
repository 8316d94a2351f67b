"""Paths and cuts on graphs with known truth, and against brute force."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery.attack_paths import MAX_AGENTS, attack_paths
from eastwall.model.blueprint import Edge, Graph, Node

pytest.importorskip("rustworkx", reason="comes with control (`pip install eastwall[all]`), not with engines")


def graph(nodes: dict[str, tuple[str, ...]], edges: list[tuple[str, str, str, int]]) -> Graph:
    """`nodes`: id -> flags; kinds are in the ids. `edges`: (source, target, kind, calls)."""
    found = [
        Node(key, "internet" if key == "internet" else key.partition(":")[0], key.partition(":")[2] or key, flags)
        for key, flags in sorted(nodes.items())
    ]
    return Graph(
        tuple(found),
        tuple(
            Edge(source, target, kind, calls, detail="response: x" if kind == "carries" else "", evidence="trace")
            for source, target, kind, calls in sorted(edges)
        ),
    )


def shop() -> Graph:
    """The internet reaches the shop window; it leads to orders, these to billing, which has cards. A support agent reads orders, and
    may delete users since somebody was in a hurry."""
    return graph(
        {
            "internet": (),
            "identity:support-bot": ("agent",),
            "identity:user": ("human",),
            "service:front": (),
            "service:orders": (),
            "service:billing": (),
            "operation:window": ("internet-facing", "unauthenticated"),
            "operation:checkout": ("internet-facing",),
            "operation:order": (),
            "operation:cards": ("zombie",),
            "operation:delete": ("admin",),
            "data:pan": ("sensitive",),
            "data:email": (),
        },
        [
            ("internet", "operation:window", "calls", 50_000),
            ("internet", "operation:checkout", "calls", 9_000),
            ("identity:user", "operation:order", "calls", 20_000),
            ("identity:support-bot", "operation:order", "calls", 4_000),
            ("identity:support-bot", "operation:delete", "calls", 3),
            ("service:front", "operation:window", "has", 50_000),
            ("service:front", "operation:checkout", "has", 9_000),
            ("service:orders", "operation:order", "has", 33_000),
            ("service:billing", "operation:cards", "has", 40),
            ("service:orders", "operation:delete", "has", 3),
            ("operation:checkout", "operation:order", "leads-to", 8_900),
            ("operation:order", "operation:cards", "leads-to", 40),
            ("operation:cards", "data:pan", "carries", 40),
            ("operation:order", "data:email", "carries", 30_000),
        ],
    )


SENSITIVITY = {"pan": "critical", "email": "low"}


def test_the_shop() -> None:
    found = attack_paths(shop(), 20, lambda name: SENSITIVITY[name])
    ways = {(path.entry, path.nodes[-1]): path for path in found}
    cards = ways["internet", "data:pan"]
    assert cards.nodes == ("internet", "operation:checkout", "operation:order", "operation:cards", "data:pan")
    assert cards.reasons[-1] == "cards carries pan (response: x)"
    assert "which is zombie" in " ".join(cards.reasons)
    # 40 ordinary calls against 8,900 and more on every other edge of the way; and it ends the agent's way to the cards too.
    assert cards.cut in (("operation:order", "operation:cards"), ("operation:cards", "data:pan"))
    assert (cards.cut_paths, cards.cut_calls) == (2, 40)
    assert "40 of its 40 calls" in cards.advice
    admin = ways["agent", "operation:delete"]
    assert admin.cut == ("identity:support-bot", "operation:delete")
    assert admin.advice == "deny support-bot the operation delete (AccessPolicy): ends 1 path; 3 of its 3 calls went this way"
    assert admin.score > ways["agent", "data:email"].score
    assert [path.score for path in found] == sorted((path.score for path in found), reverse=True)


def test_an_edge_that_carries_everything_is_not_cut_when_there_is_a_tighter_one() -> None:
    """All fifty ways go through the entry's only edge; each ends at a rarely called operation."""
    nodes: dict[str, tuple[str, ...]] = {"internet": (), "operation:entry": (), "data:pan": (), "service:s": ()}
    edges = [("internet", "operation:entry", "calls", 1_000_000)]
    for n in range(50):
        nodes[f"operation:o{n}"] = ()
        edges += [
            ("service:s", f"operation:o{n}", "has", 1_000),
            ("operation:entry", f"operation:o{n}", "leads-to", 100),
            (f"operation:o{n}", "data:pan", "carries", 1_000),
        ]
    for path in attack_paths(graph(nodes, edges), 50, lambda _: "critical"):
        assert path.cut == ("operation:entry", path.nodes[2])
        assert path.cut_calls == 100


def test_one_tight_edge_before_many_ways_is_cut() -> None:
    nodes: dict[str, tuple[str, ...]] = {"internet": (), "operation:entry": (), "operation:hub": (), "data:pan": ()}
    edges = [("internet", "operation:entry", "calls", 1_000_000), ("operation:entry", "operation:hub", "leads-to", 200)]
    for n in range(50):
        nodes[f"operation:o{n}"] = ()
        edges += [("operation:hub", f"operation:o{n}", "leads-to", 100), (f"operation:o{n}", "data:pan", "carries", 100)]
    found = attack_paths(graph(nodes, edges), 50, lambda _: "critical")
    assert len(found) == 50
    assert {path.cut for path in found} == {("operation:entry", "operation:hub")}
    assert {path.cut_paths for path in found} == {50}


def test_where_two_ways_remain_no_cut_claims_to_end_them() -> None:
    nodes: dict[str, tuple[str, ...]] = {
        "internet": (), "operation:a": (), "operation:b": (), "operation:admin": ("admin",),
    }  # fmt: skip
    edges = [
        ("internet", "operation:a", "calls", 10),
        ("internet", "operation:b", "calls", 10),
        ("operation:a", "operation:admin", "leads-to", 10),
        ("operation:b", "operation:admin", "leads-to", 10),
    ]
    (path,) = attack_paths(graph(nodes, edges))
    assert path.cut_paths == 0
    assert "other ways remain" in path.advice


def test_a_service_that_is_taken_over_calls_what_it_calls() -> None:
    nodes: dict[str, tuple[str, ...]] = {
        "internet": (), "operation:upload": ("unauthenticated",), "service:files": (), "operation:reset": ("admin",),
        "identity:workload:ns/files": (), "operation:wipe": ("admin",),
    }  # fmt: skip
    edges = [
        ("internet", "operation:upload", "calls", 10),
        ("service:files", "operation:upload", "has", 10),
        ("service:files", "operation:reset", "calls", 10),
        ("service:files", "identity:workload:ns/files", "runs-as", 0),
        ("identity:workload:ns/files", "operation:wipe", "calls", 10),
    ]
    found = attack_paths(graph(nodes, edges))
    assert {path.nodes for path in found} == {
        ("internet", "operation:upload", "service:files", "operation:reset"),
        ("internet", "operation:upload", "service:files", "identity:workload:ns/files", "operation:wipe"),
    }
    assert all("who breaks upload has the service files" in path.reasons for path in found)
    assert all(path.cut[0] != "service:files" or path.cut[1].startswith("operation:") for path in found)


def test_data_is_masked_before_an_operation_is_closed_unless_nobody_should_call_it() -> None:
    def cut(*flags: str) -> tuple[str, str]:
        nodes = {"internet": (), "operation:me": flags, "data:email": (), "data:phone": ()}
        edges = [
            ("internet", "operation:me", "calls", 90),
            ("operation:me", "data:email", "carries", 90),
            ("operation:me", "data:phone", "carries", 90),
        ]
        (path, _) = attack_paths(graph(nodes, edges), 5, lambda _: "high")
        return path.cut

    assert cut() == ("operation:me", "data:email")
    assert cut("zombie") == ("internet", "operation:me")


def test_signing_in_is_no_theft() -> None:
    nodes: dict[str, tuple[str, ...]] = {"internet": (), "operation:login": ("sign-in", "unauthenticated"), "data:secret": ()}
    edges = [("internet", "operation:login", "calls", 9), ("operation:login", "data:secret", "carries", 9)]
    assert attack_paths(graph(nodes, edges), 5, lambda _: "critical") == ()


def test_humans_and_workloads_are_no_entries() -> None:
    nodes: dict[str, tuple[str, ...]] = {"identity:user": ("human",), "operation:admin": ("admin",)}
    assert attack_paths(graph(nodes, [("identity:user", "operation:admin", "calls", 1)])) == ()
    assert attack_paths(Graph()) == ()
    assert attack_paths(shop(), 0) == ()


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 9), st.integers(1, 24))
def test_cuts_against_brute_force(seed: int, size: int, count: int) -> None:
    """`cut_paths` is what is really no longer reached when the edge is gone; 0 exactly where no edge of the path ends it."""
    rng = random.Random(seed)
    nodes: dict[str, tuple[str, ...]] = {"internet": (), "identity:bot": ("agent",), "data:pan": ()}
    for n in range(size):
        nodes[f"operation:{n}"] = ("admin",) if rng.random() < 0.2 else ()
    names = list(nodes)
    edges: dict[tuple[str, str], tuple[str, str, str, int]] = {}
    for _ in range(count):
        source, target = rng.choice(names), rng.choice([name for name in names if name.startswith(("operation", "data"))])
        if source == target or source == "data:pan" or (target == "data:pan" and not source.startswith("operation")):
            continue
        kind = "carries" if target == "data:pan" else "leads-to" if source.startswith("operation") else "calls"
        edges[source, target] = (source, target, kind, rng.randrange(1, 1_000))
    whole = graph(nodes, list(edges.values()))
    found = attack_paths(whole, 1_000, lambda _: "critical")
    goals = {(path.nodes[0], path.nodes[-2:] if path.target == "data:pan" else path.nodes[-1:]) for path in found}

    def reached(without: tuple[str, str]) -> set[tuple[str, tuple[str, ...]]]:
        kept = [pair for pair in edges if pair != without]
        alive = set()
        for entry in ("internet", "identity:bot"):
            seen, todo = {entry}, [entry]
            while todo:
                here = todo.pop()
                for source, target in kept:
                    if source == here and target not in seen:
                        seen.add(target)
                        todo.append(target)
            for start, goal in goals:
                last = len(goal) < 2 or (goal[0], goal[1]) in kept
                if start == entry and goal[0] in seen and last:
                    alive.add((start, goal))
        return alive

    assert reached(("", "")) == goals
    for path in found:
        goal = (path.nodes[0], path.nodes[-2:] if path.target == "data:pan" else path.nodes[-1:])
        if path.cut_paths:
            dead = goals - reached(path.cut)
            assert goal in dead
            assert len(dead) == path.cut_paths
        else:
            on_path = [(a, b) for a, b in zip(path.nodes, path.nodes[1:], strict=False)]
            assert all(goal in reached(edge) for edge in on_path)


def test_equal_graphs_give_equal_paths() -> None:
    assert attack_paths(shop()) == attack_paths(shop())


def test_a_large_graph_takes_less_than_two_seconds() -> None:
    """2,000 operations and 20,000 edges. Measured: 0.3 s for 20 paths, 0.7 s for 1,000 (`bench/blueprint.py`)."""
    import time

    from bench.blueprint import large_graph

    whole = large_graph()
    assert len(whole.edges) == 20_000
    began = time.process_time()
    found = attack_paths(whole, 20)
    assert time.process_time() - began < 10
    assert len(found) == 20


def test_entries_are_bounded() -> None:
    nodes: dict[str, tuple[str, ...]] = {f"identity:bot{n}": ("agent",) for n in range(100)} | {"operation:admin": ("admin",)}
    edges = [(f"identity:bot{n}", "operation:admin", "calls", n + 1) for n in range(100)]
    found = attack_paths(graph(nodes, edges), 1_000)
    assert len(found) == MAX_AGENTS
    assert {path.cut_calls for path in found} == set(range(101 - MAX_AGENTS, 101))
