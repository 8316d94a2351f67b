"""The graph for other tools: `dot` (Graphviz), `json`, `graphml` (Gephi, yEd, networkx).

Names come from traffic and are hostile until proved otherwise: control characters, bidirectional overrides and lone surrogates are
written as their code points in every format, and each format's own quoting is applied to the rest. No name can end a string, open a tag, or reach a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

import msgspec

from eastwall.model.blueprint import Edge, Graph, Node

FORMATS = ("dot", "json", "graphml")
MAX_LABEL = 120
"""Characters of a name in `dot`, which people look at."""

_SHAPES = {
    "identity": "ellipse",
    "service": "component",
    "operation": "box",
    "data": "cylinder",
    "external": "tab",
    "internet": "doublecircle",
}
_NODE_KEYS = (("kind", "string"), ("label", "string"), ("flags", "string"), ("risk", "int"))
_EDGE_KEYS = (
    ("kind", "string"), ("calls", "long"), ("rate", "double"), ("first_seen", "double"), ("last_seen", "double"), ("evidence", "string"),
    ("confidence", "double"), ("detail", "string"),
)  # fmt: skip


def render(graph: Graph, format: str) -> str:
    """The graph as text. Raises ValueError, one line, for another format than `FORMATS`."""
    if format == "json":
        return msgspec.json.format(msgspec.json.encode(_clean(graph)), indent=2).decode() + "\n"
    if format == "dot":
        return _dot(graph)
    if format == "graphml":
        return _graphml(graph)
    raise ValueError(f"`{format[:40]}` is not a format of graphs: write {', '.join(FORMATS)}")


def plain(text: str) -> str:
    """Text without what a terminal, a browser or an XML parser would act upon: such characters are told by number, `u202e` after a backslash."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _clean(graph: Graph) -> Graph:
    return Graph(
        tuple(
            msgspec.structs.replace(n, id=plain(n.id), label=plain(n.label), flags=tuple(plain(f) for f in n.flags))
            for n in graph.nodes
        ),
        tuple(
            msgspec.structs.replace(
                e, source=plain(e.source), target=plain(e.target), evidence=plain(e.evidence), detail=plain(e.detail)
            )
            for e in graph.edges
        ),
    )


# --- dot


def _dot(graph: Graph) -> str:
    lines = ["digraph eastwall {", "  rankdir=LR;", '  node [fontname="sans-serif"];']
    lines += [f"  {_quoted(node.id)} [{_node_style(node)}];" for node in graph.nodes]
    lines += [f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [{_edge_style(edge)}];" for edge in graph.edges]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str, most: int = 0) -> str:
    """A quoted string of the DOT language: backslashes are doubled, since Graphviz reads escapes (`\\N`, `\\l`) in labels."""
    text = plain(text)
    if most and len(text) > most:
        text = text[: most - 1] + "…"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _node_style(node: Node) -> str:
    style = [f"label={_quoted(node.label, MAX_LABEL)}", f"shape={_SHAPES.get(node.kind, 'box')}", f"class={_quoted(node.kind)}"]
    if node.risk >= 70:
        style.append('color="red"')
    elif node.risk >= 45:
        style.append('color="orange"')
    if "sensitive" in node.flags or "admin" in node.flags:
        style.append("penwidth=2")
    if node.flags:
        style.append(f"tooltip={_quoted(', '.join(node.flags), MAX_LABEL)}")
    return ", ".join(style)


def _edge_style(edge: Edge) -> str:
    style = [f"class={_quoted(edge.kind)}"]
    if edge.kind == "calls":
        style.append(f"label={_quoted(f'{edge.calls:,}')}")
    elif edge.kind == "has":
        style.append("style=dotted, arrowhead=none")
    elif edge.kind == "leads-to":
        style.append(f"label={_quoted(f'{edge.calls:,} by {edge.evidence}')}")
        style.append("style=dashed" if edge.evidence == "timing" else "style=bold")
    if edge.detail:
        style.append(f"tooltip={_quoted(edge.detail, MAX_LABEL)}")
    return ", ".join(style)


# --- graphml


def _graphml(graph: Graph) -> str:
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">',
        *(_declared(name, "node", kind) for name, kind in _NODE_KEYS),
        *(_declared(name, "edge", kind) for name, kind in _EDGE_KEYS),
        '  <graph id="eastwall" edgedefault="directed">',
    ]
    for node in graph.nodes:
        values: list[tuple[str, object]] = [
            ("kind", node.kind), ("label", node.label), ("flags", " ".join(node.flags)), ("risk", node.risk),
        ]  # fmt: skip
        lines.append(f"    <node id={_attribute(node.id)}>{_data('node', values)}</node>")
    for edge in graph.edges:
        found = [(name, getattr(edge, name)) for name, _ in _EDGE_KEYS]
        lines.append(f"    <edge source={_attribute(edge.source)} target={_attribute(edge.target)}>{_data('edge', found)}</edge>")
    return "\n".join([*lines, "  </graph>", "</graphml>"]) + "\n"


def _declared(name: str, place: str, kind: str) -> str:
    return f'  <key id="{place}-{name}" for="{place}" attr.name="{name}" attr.type="{kind}"/>'


def _attribute(text: str) -> str:
    return quoteattr(plain(text))


def _data(place: str, values: Iterable[tuple[str, object]]) -> str:
    return "".join(f'<data key="{place}-{name}">{escape(plain(str(value)))}</data>' for name, value in values)
