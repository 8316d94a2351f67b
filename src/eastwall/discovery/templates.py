"""Path templates of one service, learned from the paths that are called.

`TemplateTree` keeps evidence (`template_evidence`), not conclusions. What is a name and what is the value of a parameter is
concluded from the evidence (`template_inference`) each time anew, so that later calls undo a wrong merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from re import compile as regex
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from eastwall.discovery.template_evidence import SUFFIX, Evidence, Trail
from eastwall.discovery.template_inference import infer
from eastwall.discovery.template_reading import Reading
from eastwall.model.endpoint import Parameter

MAX_DEPTH = 24
"""Deeper paths are counted in `ignored` and teach nothing."""
MAX_TRAILS = 4096
"""Paths called again and again that are remembered with the evidence they add to; all are forgotten when there are more."""
MAX_TRAIL = 256
"""Characters of such a path."""
SMALL = 1000
"""A tree of no more nodes is read in some 20 ms: its readings are always `due`."""
_GROWTH = 10
"""A larger one is read again when its calls or nodes have grown (or been pooled) by one part in so many."""
_OFTEN = 16
"""Once in so many calls that end at a node, the path is remembered if it can be; where values are pooled it never can."""
_FORMAT = 2

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


class TemplateTree:
    """Learner side; one per service. Not thread-safe."""

    __slots__ = ("_evidence", "_read_at", "_reading", "_trails", "ignored")

    def __init__(self) -> None:
        self._evidence = Evidence()
        self._reading: Reading | None = None
        """The last one, when nothing was learned since."""
        self._read_at: tuple[int, int] | None = None
        """Calls and nodes at the last reading."""
        self._trails: dict[tuple[str, str], Trail] = {}
        """(method, path without query) -> what a call adds to. Only saves time."""
        self.ignored = 0
        """Calls that taught nothing: answered 404, 405, 410, 501 or not at all, or too deep."""

    @property
    def nodes(self) -> int:
        """Nodes of evidence, bounded by `template_evidence.MAX_NODES`."""
        return self._evidence.nodes

    def observe(self, method: str, path: str, status: int = 200, echoed: tuple[int, ...] = ()) -> None:
        """Learn from one call. `path` may carry a query, which is ignored.

        A path that the service says it does not have (404, 405, 410, 501) is no evidence; one that anybody in front of the
        service may have answered (401, 403, 407, 429, 502-504) is little. `echoed`: indices of the path's segments whose value stood
        in the body of an earlier answer of this service, as the ids do that it gives out.
        """
        if status in _ABSENT:
            self.ignored += 1
            return
        if "?" in path or "#" in path:
            path = path.partition("?")[0].partition("#")[0]
        self._reading = None
        trail = self._trails.get((method, path))
        if trail is not None and not trail.end.gone:
            trail.add(1 if status in _WEAK else 0, echoed)
            return
        steps = split_steps(path)
        if len(steps) > MAX_DEPTH:
            self.ignored += 1
            return
        slash = len(path) > 1 and path[-1] == "/"
        calls = self._evidence.add(steps, method, 1 if status in _WEAK else 0, slash, echoed)
        if calls and calls % _OFTEN == 0 and len(path) <= MAX_TRAIL:
            trail = self._evidence.trail(steps, method, slash)
            if trail is not None:
                if len(self._trails) >= MAX_TRAILS:
                    self._trails.clear()
                self._trails[method, path] = trail

    @property
    def due(self) -> bool:
        """Whether so much was learned since the last reading that another is worth its time, which is some 20 us a node. A caller that
        asks often may keep what `templates` gave while nothing is due; it should not do so for ever, as a first call of something new
        alone makes nothing due."""
        if self._reading is not None:
            return False
        calls, nodes = self._evidence.root.calls, self._evidence.nodes
        if self._read_at is None or nodes <= SMALL:
            return True
        then_calls, then_nodes = self._read_at
        return (calls - then_calls) * _GROWTH >= then_calls or abs(nodes - then_nodes) * _GROWTH >= then_nodes

    def templates(self) -> list[Template]:
        """All operations found so far, sorted by template and method. Always exact; reads the evidence anew when there is more."""
        return [Template(o.method, o.template, o.parameters, o.count) for o in self._read().operations]

    def match(self, method: str, path: str) -> Template | None:
        """The template a path belongs to by what is known now, or None."""
        found = self._read().match(method, split_steps(path.partition("?")[0].partition("#")[0]))
        return None if found is None else Template(method, found.template, found.parameters, found.count)

    def merge(self, other: TemplateTree) -> None:
        """Take in what another tree has seen; `other` is left as it is."""
        self.ignored += other.ignored
        self._evidence.merge(other._evidence)
        self._reading = self._read_at = None

    def to_bytes(self) -> bytes:
        """MessagePack. Equal trees give equal bytes."""
        return msgspec.msgpack.encode([_FORMAT, self.ignored, self._evidence.dump()])

    @classmethod
    def from_bytes(cls, data: bytes) -> TemplateTree:
        """The tree of `to_bytes`. Raises `ValueError` when the data is something else."""
        tree = cls()
        try:
            version, tree.ignored, evidence = msgspec.msgpack.decode(data)
            if version not in (1, _FORMAT):
                raise ValueError(f"format {version!r}, expected {_FORMAT}")
            tree._evidence = Evidence.load(evidence)
        except (msgspec.DecodeError, TypeError, ValueError, KeyError, IndexError, AttributeError) as fault:
            raise ValueError(f"not a template tree: {fault}") from fault
        return tree

    def _read(self) -> Reading:
        if self._reading is None:
            self._evidence.settle()
            self._reading = Reading(infer(self._evidence.root))
            self._read_at = (self._evidence.root.calls, self._evidence.nodes)
        return self._reading


def split_path(path: str) -> list[str]:
    """Segments of a request target, percent-decoded, without query and without the empty ones at the ends."""
    path = path.partition("?")[0].partition("#")[0].strip("/")
    if not path:
        return []
    return [unquote(segment) for segment in path.split("/")] if "%" in path else path.split("/")


def split_steps(path: str) -> list[str]:
    """Like `split_path` (no query here), with a custom verb (`/items/7:archive`, Google AIP-136) or a file format
    (`/items/7.json`) at the end of a segment as a step of its own, so that `7` is the same item with and without."""
    path = path.strip("/")
    if not path:
        return []
    segments = [unquote(segment) for segment in path.split("/")] if "%" in path else path.split("/")
    if ":" not in path and "." not in path and "%" not in path and SUFFIX not in path:
        return segments
    steps: list[str] = []
    for segment in segments:
        if segment[:1] == SUFFIX:
            steps.append("%00" + segment[1:])  # what looks like one of our marks is told as it was sent
            continue
        found = _SUFFIX.fullmatch(segment) if ":" in segment or "." in segment else None
        if found is None:
            steps.append(segment)
        else:
            steps += (found[1], SUFFIX + found[2])
    return steps


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
