"""YAML text -> nodes with their places, under limits.

libyaml scans the text, some thirty times as fast as PyYAML; its events are put together here, since its own composer recurses on the C
stack before a limit could be checked. Where there is no libyaml, and for whatever is wrong with a text, PyYAML's loader decides: what is
said of a text does not hang on how PyYAML was built, and a property test holds the two ways to the same nodes (libyaml counts the
spaces before an empty value, PyYAML does not).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import import_module
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.resolver import Resolver

from eastwall.policy.kinds import Fault

_PARSER: Any = getattr(import_module("yaml.cyaml"), "CParser", None) if yaml.__with_libyaml__ else None

_READ_OTHERWISE = re.compile(rf"{yaml.reader.Reader.NON_PRINTABLE.pattern}|[\t\ufeff]|(?:^|[\s,\[{{])\?")
"""What libyaml lets pass and PyYAML does not, or perhaps not, or what it counts otherwise: characters, tabs, byte order marks, keys after `?`."""
MAX_NODES = 50_000
"""YAML nodes of one file."""
MAX_DEPTH = 20
"""Nesting of one document."""
_MAX_CACHED = 64
"""Characters of a scalar whose tag is remembered."""


def documents(file: str, text: str, faults: list[Fault]) -> Iterator[Node]:
    """The documents' nodes, up to the first that is not YAML."""
    found = _scanned(text)
    if found is None:
        found = _loaded(file, text, faults)
    for node in found:
        if not (isinstance(node, ScalarNode) and node.value == "" and node.style is None):  # an empty document, `---` alone
            yield node


class _RefusedError(Exception):
    def __init__(self, node: Any, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.mark, self.message, self.hint = node.start_mark, message, hint


class _Loader(yaml.SafeLoader):
    """Composes nodes under limits."""

    depth = 0
    nodes = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _RefusedError(event, f"anchors and aliases are not allowed: `{event.anchor}`", "write the value out")
        self.depth += 1
        self.nodes += 1
        if self.depth > MAX_DEPTH:
            raise _RefusedError(event, f"nested deeper than {MAX_DEPTH} levels")
        if self.nodes > MAX_NODES:
            raise _RefusedError(event, f"more than {MAX_NODES} values in one file", "split the file")
        try:
            node: Node | None = super().compose_node(parent, index)
            return node
        finally:
            self.depth -= 1


def _loaded(file: str, text: str, faults: list[Fault]) -> Iterator[Node]:
    """By PyYAML's own loader."""
    try:
        loader = _Loader(text)
        while loader.check_node():
            node: Any = loader.get_node()
            yield node
    except _RefusedError as refused:
        faults.append(Fault(file, refused.mark.line + 1, refused.mark.column + 1, refused.message, refused.hint))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        faults.append(Fault(file, line, column, f"not valid YAML: {_one_line(error.problem or error.context or '')}"))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        faults.append(Fault(file, line, column, f"not valid YAML: character U+{ord(text[error.position]):04X} is not allowed"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        faults.append(Fault(file, 1, 1, f"not valid YAML: {_one_line(str(error))}"))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def _scanned(text: str) -> Iterator[Node] | None:
    """By libyaml; None when it cannot, or something is wrong with the text."""
    if _PARSER is None or _READ_OTHERWISE.search(text):
        return None
    try:
        return iter(_Composer(text).documents())
    except (_RefusedError, yaml.YAMLError, ValueError, RecursionError):
        return None


class _Composer:
    """Nodes from libyaml's events, as PyYAML's composer makes them, but without their ends."""

    __slots__ = ("event", "nodes")

    def __init__(self, text: str) -> None:
        self.event: Callable[[], Any] = _PARSER(text).get_event
        self.nodes = 0

    def documents(self) -> list[Node]:
        """All documents. Raises what PyYAML and limits raise."""
        found: list[Node] = []
        while True:
            kind = type(self.event())
            if kind is yaml.StreamEndEvent:
                return found
            if kind is yaml.DocumentStartEvent:
                found.append(self.node(self.event(), 1))

    def node(self, event: Any, depth: int) -> Node:
        kind = type(event)
        self.nodes += 1
        if kind is yaml.AliasEvent or event.anchor or event.tag or depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise _RefusedError(event, "not for this way")  # why, if it is a fault at all, the other way says
        start: Any = event.start_mark
        if kind is yaml.ScalarEvent:
            if "?" in event.value and not event.style:
                raise _RefusedError(event, "not for this way")  # which PyYAML does not read in `[]` and `{}`
            return ScalarNode(_tag(event.value, *event.implicit), event.value, start, None, event.style or None)
        inner: list[Any] = []
        end: Any
        if kind is yaml.SequenceStartEvent:
            while type(end := self.event()) is not yaml.SequenceEndEvent:
                inner.append(self.node(end, depth + 1))
            return SequenceNode(Resolver.DEFAULT_SEQUENCE_TAG, inner, start, None, event.flow_style)
        while type(end := self.event()) is not yaml.MappingEndEvent:
            key = self.node(end, depth + 1)
            inner.append((key, self.node(self.event(), depth + 1)))
        return MappingNode(Resolver.DEFAULT_MAPPING_TAG, inner, start, None, event.flow_style)


_resolve: Callable[..., Any] = Resolver().resolve


def _tag(value: str, plain: bool, quoted: bool) -> str:
    return _plain_tag(value) if plain and len(value) <= _MAX_CACHED else str(_resolve(ScalarNode, value, (plain, quoted)))


@lru_cache(maxsize=4_096)
def _plain_tag(value: str) -> str:
    return str(_resolve(ScalarNode, value, (True, False)))
