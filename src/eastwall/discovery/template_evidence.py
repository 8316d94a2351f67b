"""The evidence that templates rest on: a bounded tree of the path segments that were called.

Under every node at most so many children of a kind are kept one by one; they are the ones with the lowest hashes (a bottom-k
sample: Cohen and Kaplan 2007), the others are pooled. Which ones these are does not depend on the order of calls, and a kept
child has all of its calls, so trees that learned apart merge to what one tree would have learned. Two things let the order matter
a little: the busiest of too many word-like children stay for their calls instead of their hashes, so that `/search` is not lost
among user names; and a tree over its limit keeps half as much from then on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any
from zlib import crc32

from eastwall.discovery.api_words import share_of_api_words
from eastwall.discovery.value_kinds import CLEAR, kind_of

MAX_NODES = 100_000
"""Nodes of a whole tree, some 400 bytes each."""
MAX_SEGMENT = 200
"""Characters of a segment that are kept; a longer one is told from others by its checksum."""
MAX_METHODS = 16
MAX_METHOD = 32
"""Characters of a method that are kept."""
KEEP_CLEAR = 24
"""Children of one clear kind (uuid, integer, ...) that are kept one by one under a node."""
KEEP_WORDS = 256
"""Children of the other kinds, together, that are kept one by one under a node."""
BUSY = 24
"""Calls of a word-like child that make it stay, whatever its rank; at most three quarters of the kept ones stay so."""
_LEAST = 8
_TOP = 1 << 32

SUFFIX = "\0"
"""First character of a step that is the end of the segment before it: `\\0:archive`, `\\0.json`."""

_NO_METHODS: dict[str, list[int]] = {}
_NO_KEPT: dict[str, int] = {}


class Node:
    """A segment in the tree. A dictionary that is empty is one for all nodes (most have no children, or no methods): `Evidence` makes
    a node its own before the first entry, and nobody else writes."""

    __slots__ = ("calls", "children", "echoed", "gone", "group", "kept", "methods", "rank", "rest", "threshold")

    def __init__(self, group: str = "word", rank: int = 0) -> None:
        self.group = group
        """The clear kind, or `word`."""
        self.rank = rank
        """See `rank`."""
        self.echoed = 0
        """Calls whose value here stood in the answer to an earlier call: an id that the service had given out."""
        self.calls = 0
        """Calls that came through here."""
        self.methods = _NO_METHODS
        """Method -> calls that end here: [answered by the service, maybe by somebody before it, with a trailing slash]."""
        self.children = _NO_NODES
        self.rest = _NO_NODES
        """Group -> the children that are not kept one by one, pooled."""
        self.kept = _NO_KEPT
        """Group -> how many children are kept one by one."""
        self.threshold = _TOP
        """In a pooled node: children of the group with this rank or a higher one are pooled."""
        self.gone = False
        """Whether this was pooled with others: it is in no tree any more."""


_NO_NODES: dict[str, Node] = {}


class Trail:
    """A path that was called before, without `SUFFIX`: what a call of it adds to."""

    __slots__ = ("counts", "end", "nodes", "slash")

    def __init__(self, nodes: tuple[Node, ...], counts: list[int], slash: bool) -> None:
        self.nodes = nodes
        """From the root on; each is a child of the one before. As long as the last one is not `gone`, none is, and the path leads
        here: a child is looked for before it is asked what is pooled."""
        self.end = nodes[-1]
        self.counts = counts
        """Of the method, in the last node."""
        self.slash = slash

    def add(self, outcome: int, echoed: Collection[int]) -> None:
        """One more call; see `Evidence.add`."""
        nodes = self.nodes
        for node in nodes:
            node.calls += 1
        if echoed:
            for at in set(echoed):
                if 0 <= at < len(nodes) - 1:
                    nodes[at + 1].echoed += 1
        counts = self.counts
        counts[outcome] += 1
        if self.slash:
            counts[2] += 1


class Evidence:
    """The tree of one service."""

    __slots__ = ("_keep_clear", "_keep_words", "nodes", "root", "tightened")

    def __init__(self) -> None:
        self.root = Node()
        self.nodes = 1
        """Nodes in the tree, pooled ones too."""
        self.tightened = 0
        """How often the tree was over its limit; each time it keeps half as much from then on."""
        self._tell_keep()

    def add(self, steps: Sequence[str], method: str, outcome: int, slash: bool, echoed: Collection[int] = ()) -> int:
        """One call. `outcome` is 0 when the service answered, 1 when it may have been somebody before it; `echoed` are indices
        of segments, so of steps that are no `SUFFIX`. Returns how many calls so far ended where this one does, with this method."""
        node = self.root
        node.calls += 1
        if echoed:
            node = self._walk_echoed(steps, echoed)
        else:
            for step in steps:
                node = node.children.get(step) or self._step(node, step)
                node.calls += 1
        counts = node.methods.get(method)
        if counts is None:
            method = method[:MAX_METHOD].encode("ascii", "replace").decode()
            if len(node.methods) >= MAX_METHODS and method not in node.methods:
                return 0
            if node.methods is _NO_METHODS:
                node.methods = {}
            counts = node.methods.setdefault(method, [0, 0, 0])
        counts[outcome] += 1
        if slash:
            counts[2] += 1
        if self.nodes > MAX_NODES:
            self._tighten()
        return counts[0] + counts[1]

    def trail(self, steps: Sequence[str], method: str, slash: bool) -> Trail | None:
        """What a call of this path adds to, when everything on the way is kept one by one and the method is known."""
        node: Node | None = self.root
        nodes = []
        for step in steps:
            if node is None or step[:1] == SUFFIX:
                return None
            nodes.append(node)
            node = node.children.get(step)
        counts = node.methods.get(method) if node is not None else None
        return None if node is None or counts is None else Trail((*nodes, node), counts, slash)

    def _walk_echoed(self, steps: Sequence[str], echoed: Collection[int]) -> Node:
        node, segment = self.root, -1
        for step in steps:
            node = node.children.get(step) or self._step(node, step)
            node.calls += 1
            if step[:1] != SUFFIX:
                segment += 1
                node.echoed += segment in echoed
        return node

    def merge(self, other: Evidence) -> None:
        """Take in another tree, which is left as it is."""
        while self.tightened < other.tightened:
            self.tightened += 1
            self._tell_keep()
            self._prune(self.root)
        self._merge(self.root, other.root)
        if self.nodes > MAX_NODES:
            self._tighten()

    def settle(self) -> None:
        """Keep no more children than are to be kept. Between two readings there may be some more, which saves sorting."""
        self._prune(self.root)

    def dump(self) -> list[Any]:
        """Plain lists and dictionaries; equal trees give equal ones, in equal order."""
        self.settle()
        return [self.tightened, _dump(self.root)]

    @classmethod
    def load(cls, data: Any) -> Evidence:
        """What `dump` gave. Raises `TypeError`, `ValueError`, `KeyError` or `AttributeError` on anything else."""
        evidence = cls()
        evidence.tightened = int(data[0])
        evidence._tell_keep()
        evidence.nodes = 0
        evidence.root = evidence._load(data[1])
        return evidence

    def _step(self, node: Node, step: str, *, busy: bool = False) -> Node:
        """The child of a step that was not found as it was sent, or what it is pooled in."""
        told = step
        if not told.isascii():
            told = told.encode("utf-8", "replace").decode()  # lone surrogates cannot be stored
        if len(told) > MAX_SEGMENT:
            told = f"{told[:MAX_SEGMENT]}~{crc32(told.encode()):08x}"
        if told is not step:
            child = node.children.get(told)
            if child is not None:
                return child
            step = told
        group, place = _group_and_rank(step)
        rest = node.rest.get(group)
        if rest is not None and not busy and place >= rest.threshold:
            return rest
        kept = node.kept
        if node.children is _NO_NODES:
            node.children = {}
            kept = node.kept = {}
        child = node.children[step] = Node(group, place)
        self.nodes += 1
        count = kept[group] = kept.get(group, 0) + 1
        keep = self._keep_words if group == "word" else self._keep_clear
        if count > keep + (keep >> 2):  # sorting them for each one that comes would be most of the work under a scanner
            self._evict(node, group)
            return node.children.get(step) or node.rest[group]
        return child

    def _tell_keep(self) -> None:
        """How many children are kept one by one; names are among the words: they are the last to go."""
        self._keep_words = max(_LEAST, KEEP_WORDS >> max(0, self.tightened - 2))
        self._keep_clear = max(_LEAST, KEEP_CLEAR >> self.tightened)

    def _evict(self, node: Node, group: str) -> None:
        """Pool the children of this group that are too many: those with the highest ranks, but never a busy one for a quiet one."""
        keep = self._keep_words if group == "word" else self._keep_clear
        here = [(child.rank, step, child) for step, child in node.children.items() if child.group == group]
        busy = [step for _, _, step in sorted((-child.calls, place, step) for place, step, child in here if _busy(child))]
        quiet = [(place, step) for place, step, child in here if not _busy(child)]
        quiet.sort()
        stay = min(len(busy), keep * 3 // 4)
        rest = node.rest.get(group)
        if rest is None:
            rest = self._rest(node, group)
        if len(quiet) > keep - stay:
            rest.threshold = min(rest.threshold, quiet[keep - stay][0])
        for step in [step for _, step in quiet[keep - stay :]] + busy[stay:]:
            self._pool(node, step, rest)

    def _pool(self, node: Node, step: str, rest: Node) -> None:
        child = node.children.pop(step)
        node.kept[child.group] -= 1
        self._merge(rest, child)
        self.nodes -= _take_out(child)

    def _rest(self, node: Node, group: str) -> Node:
        """A new pool for this group of children."""
        if node.rest is _NO_NODES:
            node.rest = {}
        rest = node.rest[group] = Node(group)
        self.nodes += 1
        return rest

    def _merge(self, into: Node, node: Node) -> None:
        into.calls += node.calls
        into.echoed += node.echoed
        for method, counts in node.methods.items():
            if method in into.methods or len(into.methods) < MAX_METHODS:
                if into.methods is _NO_METHODS:
                    into.methods = {}
                mine = into.methods.setdefault(method, [0, 0, 0])
                for at in range(3):
                    mine[at] += counts[at]
        for group, theirs in node.rest.items():
            rest = into.rest.get(group)
            if rest is None:
                rest = self._rest(into, group)
            if theirs.threshold < rest.threshold:
                rest.threshold = theirs.threshold
                for step in [
                    s for s, c in into.children.items() if c.group == group and not _busy(c) and c.rank >= theirs.threshold
                ]:
                    self._pool(into, step, rest)
            self._merge(rest, theirs)
        for step, child in node.children.items():
            self._merge(into.children.get(step) or self._step(into, step, busy=_busy(child)), child)

    def _tighten(self) -> None:
        while self.nodes > MAX_NODES * 3 // 4 and self.tightened < 10:
            self.tightened += 1
            self._tell_keep()
            self._prune(self.root)

    def _prune(self, node: Node) -> None:
        least = min(self._keep_clear, self._keep_words)
        for group in sorted(node.kept) if len(node.children) > least else ():
            if node.kept[group] > (self._keep_words if group == "word" else self._keep_clear):
                self._evict(node, group)
        for children in (node.children, node.rest):
            for child in children.values():
                if child.children or child.rest:
                    self._prune(child)

    def _load(self, data: Any) -> Node:
        group, calls, methods, children, rest, threshold, *more = data
        node = Node(str(group))
        self.nodes += 1
        node.calls, node.threshold = int(calls), int(threshold)
        node.echoed = int(more[0]) if more else 0  # format 1 had none
        node.methods = {str(m): [int(c[0]), int(c[1]), int(c[2])] for m, c in methods.items()} or _NO_METHODS
        if children:
            node.children, node.kept = {}, {}
        for step, child in children.items():
            node.children[str(step)] = loaded = self._load(child)
            loaded.rank = _group_and_rank(str(step))[1]
            node.kept[loaded.group] = node.kept.get(loaded.group, 0) + 1
        node.rest = {str(name): self._load(child) for name, child in rest.items()} or _NO_NODES
        return node


@lru_cache(maxsize=65_536)
def _group_and_rank(step: str) -> tuple[str, int]:
    """Group, and the place in line for being kept: words of APIs come first, or names would be lost among user names."""
    kind = kind_of(step)
    if kind in CLEAR:
        return kind, rank(step)
    return "word", rank(step) >> (12 if share_of_api_words(step) == 1 else 0)


def rank(step: str) -> int:
    """A 32-bit hash that is the same in every process (`hash` is not). CRC-32 is mixed, as near texts have near CRCs."""
    mixed = crc32(step.encode()) * 0x9E3779B1 & 0xFFFFFFFF
    return (mixed ^ mixed >> 15) * 0x85EBCA77 & 0xFFFFFFFF


def _busy(child: Node) -> bool:
    """Whether a word-like child has so many calls that it may be a name: it is not pooled for its rank."""
    return child.group == "word" and child.calls >= BUSY


def _dump(node: Node) -> list[Any]:
    return [
        node.group,
        node.calls,
        {m: node.methods[m] for m in sorted(node.methods)},
        {s: _dump(node.children[s]) for s in sorted(node.children)},
        {g: _dump(node.rest[g]) for g in sorted(node.rest)},
        node.threshold,
        node.echoed,
    ]


def _take_out(node: Node) -> int:
    """Mark this node and all below as `gone`; returns how many they are."""
    node.gone = True
    count = 1
    for children in (node.children, node.rest):
        for child in children.values():
            count += _take_out(child)
    return count
