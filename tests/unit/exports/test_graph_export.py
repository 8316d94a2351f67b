"""The graph as dot, json and graphml, with names that mean harm."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.exports.graph import FORMATS, plain, render
from eastwall.model.blueprint import Edge, Graph, Node

HOSTILE = (
    '"];evil[label="x',
    "</data><node id='x'/>",
    "]]>",
    "<script>alert(1)</script>",
    "\x1b]0;owned\x07",
    "\x1b[2J",
    "a\nb",
    "back\\slash\\",
    "\\N\\l\\",
    "\u202egnp.exe",
    "\u2028",
    "\ud800",
    "\ufffe",
    "\x00",
    "&amp;&lt;&#x1b;",
    "-->",
    "é日本",
)
_XML = "{http://graphml.graphdrawing.org/xmlns}"
_TOKEN = re.compile(r'\s+|->|[\[\]{};=,]|"(?:[^"\\]|\\.)*"|[A-Za-z_][A-Za-z0-9_]*|-?\d+(?:\.\d+)?', re.DOTALL)


def graph(names: tuple[str, ...]) -> Graph:
    nodes = tuple(Node(f"operation:{n}", "operation", n, (n,), 80) for n in names)
    edges = tuple(Edge(a.id, b.id, "leads-to", 3, 0.5, 1.0, 2.0, a.label, 0.9, b.label) for a, b in pairwise(nodes))
    return Graph(nodes, edges)


def dot_tokens(text: str) -> list[str]:
    """The tokens of the DOT language's grammar; fails on anything else."""
    found, at = [], 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        assert token, f"no token at {text[at : at + 40]!r}"
        if not token[0].isspace():
            found.append(token[0])
        at = token.end()
    return found


def statements(tokens: list[str]) -> tuple[set[str], list[tuple[str, str]]]:
    """(node ids, edges) of a digraph, read strictly."""
    assert tokens[:3] == ["digraph", "eastwall", "{"]
    assert tokens[-1] == "}"
    nodes: set[str] = set()
    edges: list[tuple[str, str]] = []
    at = 3
    while at < len(tokens) - 1:
        end = tokens.index(";", at)
        part = tokens[at:end]
        if part[1] == "=":
            assert len(part) == 3
        elif part[1] == "->":
            edges.append((part[0], part[2]))
            _attributes(part[3:])
        else:
            if part[0] != "node":
                nodes.add(part[0])
            _attributes(part[1:])
        at = end + 1
    return nodes, edges


def _attributes(part: list[str]) -> None:
    assert (part[0], part[-1]) == ("[", "]")
    for at in range(1, len(part) - 1, 4):
        assert part[at + 1] == "="
        assert at + 3 == len(part) - 1 or part[at + 3] == ","


@pytest.mark.parametrize("form", FORMATS)
def test_no_control_or_format_character_leaves(form: str) -> None:
    text = render(graph(HOSTILE), form)
    text.encode()
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "日本" in text


def test_dot_is_what_graphviz_reads() -> None:
    whole = graph(HOSTILE)
    nodes, edges = statements(dot_tokens(render(whole, "dot")))
    assert len(nodes) == len(HOSTILE)
    assert len(edges) == len(HOSTILE) - 1
    assert {end for edge in edges for end in edge} == nodes


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_itself() -> None:
    done = subprocess.run(["dot", "-Tplain"], input=render(graph(HOSTILE), "dot"), capture_output=True, text=True, check=True)
    assert done.stdout.count("\nnode ") == len(HOSTILE)


def test_graphml_is_xml_with_all_values() -> None:
    root = ElementTree.fromstring(render(graph(HOSTILE), "graphml"))
    nodes = root.findall(f"{_XML}graph/{_XML}node")
    assert [node.get("id") for node in nodes] == [plain(f"operation:{name}") for name in HOSTILE]
    labels = [data.text for node in nodes for data in node if data.get("key") == "node-label"]
    assert labels == [plain(name) for name in HOSTILE]
    edges = root.findall(f"{_XML}graph/{_XML}edge")
    ids = {node.get("id") for node in nodes}
    assert all({edge.get("source"), edge.get("target")} <= ids for edge in edges)
    keys = {key.get("id") for key in root.findall(f"{_XML}key")}
    assert {data.get("key") for data in root.iter(f"{_XML}data")} <= keys


def test_json_is_the_graph() -> None:
    found = json.loads(render(graph(("a", "b")), "json"))
    assert found["nodes"][0] == {"id": "operation:a", "kind": "operation", "label": "a", "flags": ["a"], "risk": 80}
    assert found["edges"][0]["calls"] == 3


def test_an_empty_graph_and_an_unknown_format() -> None:
    for form in FORMATS:
        assert render(Graph(), form)
    with pytest.raises(ValueError, match="`svg` is not a format"):
        render(Graph(), "svg")


def test_long_names_are_cut_for_people_only() -> None:
    long = "x" * 5_000
    assert "x" * 200 not in render(graph((long,)), "dot").split("[", 2)[2]
    assert long in render(graph((long,)), "graphml")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=4, unique=True))
def test_any_names(names: list[str]) -> None:
    whole = graph(tuple(names))
    text = render(whole, "dot")
    _, edges = statements(dot_tokens(text))
    assert len(edges) == len(names) - 1
    root = ElementTree.fromstring(render(whole, "graphml"))
    assert len(root.findall(f"{_XML}graph/{_XML}node")) == len(names)
    json.loads(render(whole, "json"))
    assert all(c.isprintable() or c == "\n" for c in text)
