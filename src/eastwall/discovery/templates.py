"""Path templates of one service, learned from the paths that are called.

`TemplateTree` keeps evidence, not conclusions: a bounded tree of segments with their calls. What is a name and what is a
parameter's value is concluded from it by `template_inference`, each time anew, so that later evidence undoes a wrong merge.

Bounds. Under every node at most so many children of a kind are kept one by one; they are the ones with the lowest hashes
(a bottom-k sample: Cohen and Kaplan 2007), the others are pooled. Which ones these are does not depend on the order of calls,
and a sampled child has all of its calls, so trees learned apart merge to what one tree would have learned. Only when the
whole tree is over its limit, or a node has more word-like children than it may keep, does the order begin to matter a little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from re import compile as regex
from typing import Any, Protocol
from urllib.parse import unquote
from zlib import crc32

import msgspec
from msgspec import Struct

from eastwall.discovery.template_inference import SUFFIX, Inferred, Node, infer
from eastwall.discovery.value_kinds import CLEAR, kind_of
from eastwall.model.endpoint import Parameter

MAX_NODES = 120_000
"""Nodes of a whole tree (about 400 bytes each)."""
MAX_DEPTH = 24
"""Deeper paths are counted in `ignored` and teach nothing."""
MAX_SEGMENT = 200
"""Characters of a segment that are kept; a longer one is a value, told from others by its checksum."""
MAX_METHODS = 16
KEEP_CLEAR = 48
"""Children of one clear kind (uuid, integer, ...) that are kept one by one under a node."""
KEEP_WORDS = 1024
"""Children of the other kinds that are kept one by one under a node."""
_FORMAT = 1

_WEAK = frozenset({401, 403, 407, 429, 502, 503, 504})
_ABSENT = frozenset({0, 404, 405, 410, 501})


_SUFFIX = regex(
    r"([^\0:]+)(:[a-z][A-Za-z]{2,31}|\.(?:json|xml|csv|tsv|html?|txt|pdf|png|jpe?g|gif|svg|webp|ya?ml|zip|gz|atom|rss|ics|vcf|md|"
    r"xlsx?|docx?|pptx?|geojson|kml|gpx|pbf|mvt|mp[34]|wav|js|css|map|php|aspx?|jsp|do|log|sql|bin|exe|tar))"
)


class Template(Struct, frozen=True):
    """One operation found."""

    method: str
    template: str
    """`/orders/{order_id}`."""
    parameters: tuple[Parameter, ...]
    """In path order."""
    count: int
    """Calls it rests on."""


def split_path(path: str) -> list[str]:
    """Segments of a request target, percent-decoded, without query and without the empty ones at the ends.

    A custom verb (`/items/7:archive`, Google AIP-136) or a format (`/items/7.json`) at the end of a segment is a step of its
    own, marked by `SUFFIX`, so that `7` is the same item with and without.
    """
    path = path.partition("?")[0].partition("#")[0].strip("/")
    if not path:
        return []
    segments = [unquote(segment) for segment in path.split("/")] if "%" in path else path.split("/")
    if ":" not in path and "." not in path and SUFFIX not in path:
        return segments
    steps = []
    for segment in segments:
        found = _SUFFIX.fullmatch(segment) if ":" in segment or "." in segment else None
        if found is None:
            steps.append(segment if segment[:1] != SUFFIX else "%00" + segment[1:])
        else:
            steps += [found[1], SUFFIX + found[2]]
    return steps


class TemplateTree:
    """Learner side; one per service. Not thread-safe."""

    __slots__ = ("_inferred", "ignored", "nodes", "root", "tightened")

    def __init__(self) -> None:
        self.root = Node()
        self.nodes = 1
        """Nodes in the tree, pooled ones too."""
        self.ignored = 0
        """Calls that taught nothing: answered 404, 405, 410 or 501, or too deep."""
        self.tightened = 0
        """How often the tree was over its limit and kept half as much from then on."""
        self._inferred: Inferred | None = None

    def observe(self, method: str, path: str, status: int = 200) -> None:
        """Learn from one call. `path` may carry a query, which is ignored.

        A path that the service says it does not have (404, 405, 410, 501) is no evidence; one that anybody in front of the
        service may have answered (401, 403, 407, 429, 502-504) is little.
        """
        if status in _ABSENT:
            self.ignored += 1
            return
        bare = path.partition("?")[0].partition("#")[0]
        segments = split_path(bare)
        if len(segments) > MAX_DEPTH:
            self.ignored += 1
            return
        node = self.root
        node.calls += 1
        for segment in segments:
            node = self._step(node, segment)
            node.calls += 1
        counts = node.methods.get(method)
        if counts is None:
            if len(node.methods) >= MAX_METHODS:
                return
            counts = node.methods[method] = [0, 0, 0]
        counts[1 if status in _WEAK else 0] += 1
        if len(bare) > 1 and bare[-1] == "/":
            counts[2] += 1
        self._inferred = None
        if self.nodes > MAX_NODES:
            self._tighten()

    def templates(self) -> list[Template]:
        """All operations found so far, sorted by template and method."""
        return [
            Template(method=o.method, template=o.template, parameters=o.parameters, count=o.count)
            for o in self._infer().operations
        ]

    def match(self, method: str, path: str) -> Template | None:
        """The template a path belongs to by what is known now, or None."""
        found = self._infer().match(method, split_path(path))
        if found is None:
            return None
        return Template(method=method, template=found.template, parameters=found.parameters, count=found.count)

    def merge(self, other: TemplateTree) -> None:
        """Take in what another tree has seen; `other` is left as it is."""
        while self.tightened < other.tightened:
            self._tighten()
        self.ignored += other.ignored
        self._merge(self.root, other.root)
        self._inferred = None
        if self.nodes > MAX_NODES:
            self._tighten()

    def to_bytes(self) -> bytes:
        """MessagePack. Equal trees give equal bytes."""
        return msgspec.msgpack.encode([_FORMAT, self.tightened, self.ignored, _dump(self.root)])

    @classmethod
    def from_bytes(cls, data: bytes) -> TemplateTree:
        """The tree of `to_bytes`. Raises `ValueError` when the data is something else."""
        try:
            version, tightened, ignored, root = msgspec.msgpack.decode(data)
            if version != _FORMAT:
                raise ValueError(f"template tree has format {version!r}, expected {_FORMAT}")
            tree = cls()
            tree.tightened, tree.ignored = tightened, ignored
            tree.nodes = 0
            tree.root = tree._load(root)
        except (msgspec.DecodeError, TypeError, KeyError, AttributeError) as fault:
            raise ValueError(f"not a template tree: {fault}") from fault
        return tree

    def _infer(self) -> Inferred:
        if self._inferred is None:
            self._inferred = infer(self.root)
        return self._inferred

    def _step(self, node: Node, segment: str) -> Node:
        child = node.children.get(segment)
        if child is not None:
            return child
        if len(segment) > MAX_SEGMENT:
            segment = f"{segment[:MAX_SEGMENT]}~{crc32(segment.encode('utf-8', 'surrogatepass')):08x}"
            child = node.children.get(segment)
            if child is not None:
                return child
        kind = kind_of(segment)
        group = kind if kind in CLEAR else "word"
        rest = node.rest.get(group)
        if rest is not None and _rank(segment) >= rest.threshold:
            return rest
        child = node.children[segment] = Node(group)
        self.nodes += 1
        count = node.kept[group] = node.kept.get(group, 0) + 1
        if count > self._keep(group):
            self._evict(node, group)
            return node.children.get(segment) or node.rest[group]
        return child

    def _keep(self, group: str) -> int:
        return max(8, (KEEP_WORDS if group == "word" else KEEP_CLEAR) >> self.tightened)

    def _evict(self, node: Node, group: str) -> None:
        """Pool the child of this group with the highest rank."""
        worst = max((s for s, child in node.children.items() if child.group == group), key=_rank)
        child = node.children.pop(worst)
        node.kept[group] -= 1
        rest = node.rest.get(group)
        if rest is None:
            rest = node.rest[group] = Node(group)
            self.nodes += 1
        rest.threshold = _rank(worst)
        self._merge(rest, child)
        self.nodes -= _size(child)

    def _merge(self, into: Node, node: Node) -> None:
        into.calls += node.calls
        for method, counts in node.methods.items():
            if method in into.methods or len(into.methods) < MAX_METHODS:
                mine = into.methods.setdefault(method, [0, 0, 0])
                for at in range(3):
                    mine[at] += counts[at]
        for group, theirs in node.rest.items():
            rest = into.rest.get(group)
            if rest is None:
                rest = into.rest[group] = Node(group)
                self.nodes += 1
            if theirs.threshold < rest.threshold:
                rest.threshold = theirs.threshold
                for segment in [s for s, c in into.children.items() if c.group == group and _rank(s) >= theirs.threshold]:
                    child = into.children.pop(segment)
                    into.kept[group] -= 1
                    self._merge(rest, child)
                    self.nodes -= _size(child)
            self._merge(rest, theirs)
        for segment, child in node.children.items():
            self._merge(self._step(into, segment), child)

    def _tighten(self) -> None:
        """Keep half as many children under every node, until the tree is well under its limit."""
        while True:
            self.tightened += 1
            self._prune(self.root)
            if self.nodes <= MAX_NODES * 3 // 4 or self.tightened >= 8:
                return

    def _prune(self, node: Node) -> None:
        for group in sorted(node.kept):
            while node.kept[group] > self._keep(group):
                self._evict(node, group)
        for child in [*node.children.values(), *node.rest.values()]:
            self._prune(child)

    def _load(self, data: Any) -> Node:
        group, calls, methods, children, rest, threshold = data
        node = Node(group)
        self.nodes += 1
        node.calls, node.threshold = calls, threshold
        node.methods = {str(m): [int(c[0]), int(c[1]), int(c[2])] for m, c in methods.items()}
        for segment, child in children.items():
            node.children[segment] = loaded = self._load(child)
            node.kept[loaded.group] = node.kept.get(loaded.group, 0) + 1
        node.rest = {name: self._load(child) for name, child in rest.items()}
        return node


def _dump(node: Node) -> list[Any]:
    return [
        node.group,
        node.calls,
        {m: node.methods[m] for m in sorted(node.methods)},
        {s: _dump(node.children[s]) for s in sorted(node.children)},
        {g: _dump(node.rest[g]) for g in sorted(node.rest)},
        node.threshold,
    ]


def _rank(segment: str) -> int:
    """A 32-bit hash that is the same in every process (`hash` is not). CRC-32 mixed once more, as near texts have near CRCs."""
    return (crc32(segment.encode("utf-8", "surrogatepass")) * 0x9E3779B1 ^ len(segment)) & 0xFFFFFFFF


def _size(node: Node) -> int:
    return 1 + sum(map(_size, node.children.values())) + sum(map(_size, node.rest.values()))


class Observed(Protocol):
    """A recorded call, as `sources` read it."""

    @property
    def method(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def status(self) -> int | None: ...
    @property
    def service(self) -> str: ...


def templates_of(calls: Iterable[Observed]) -> list[dict[str, Any]]:
    """Templates of recorded calls, one tree per service.

    Returns `{"service", "method", "template", "parameters", "count"}` each, sorted; parameters are names in path order.
    """
    trees: dict[str, TemplateTree] = {}
    for call in calls:
        tree = trees.get(call.service)
        if tree is None:
            tree = trees[call.service] = TemplateTree()
        tree.observe(call.method, path_of(call.url), 200 if call.status is None else call.status)
    return list(_rows(trees))


def _rows(trees: dict[str, TemplateTree]) -> Iterator[dict[str, Any]]:
    for service in sorted(trees):
        for found in trees[service].templates():
            yield {
                "service": service,
                "method": found.method,
                "template": found.template,
                "parameters": [p.name for p in found.parameters],
                "count": found.count,
            }


def path_of(url: str) -> str:
    """Request target of a URL; a bare path is one already."""
    if url.startswith("/"):
        return url
    rest = url.partition("://")[2]
    at = min((i for i in map(rest.find, "/?#") if i >= 0), default=len(rest))
    return rest[at:] if rest[at : at + 1] == "/" else "/" + rest[at:]
