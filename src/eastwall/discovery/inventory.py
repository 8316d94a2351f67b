"""Which endpoint a call goes to: the known templates of every service, compiled for lookup.

Order of preference at each segment, first to last: literal, part-segment pattern (`report-{date}.csv`; more literal text first),
whole-segment parameter. A branch that leads nowhere is left for the next one, so `/users/me/orders` beside
`/users/{user_id}/settings` does not hide `/users/me/settings`.

One path may have many operations (GraphQL, JSON-RPC, SOAP, MCP): after the path, the operation's name decides.

- A named operation goes to the endpoint with its very name; else to the endpoint of the path as a whole, if there is one (declared so, or
  learned from calls without a name); so that dressing a call up as another protocol takes it out of no endpoint's checks.
- Otherwise the operation is unknown, however well known the path: `Match(None)`, with the values of the path's parameters.
- A request for several GraphQL fields at once (`query order,orders`) is an operation of its own and is matched by that name only.
  `parts_of` tells the single ones it is made of: it counts as declared when all of them are (`declares`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from hashlib import blake2b
from re import compile as regex
from urllib.parse import unquote

from eastwall.model.endpoint import Endpoint, Match
from eastwall.model.operation import Operation

NO_MATCH = Match(endpoint=None)
CACHE_PATHS = 16_384
"""Paths remembered per generation, over all services and methods; there are two generations."""
CACHE_PATH_LENGTH = 512
"""Longer paths are looked up each time, so that the cache stays small in bytes too."""

_PARAMETER = regex(r"\{([^{}]*)\}")
_GRAPHQL_TYPES = frozenset(("query", "mutation", "subscription", "persisted"))


def endpoint_id(service: str, method: str, template: str, operation: str = "") -> str:
    """`ep_` and 12 hex digits of BLAKE2b over service, method, the template with its parameter names blanked, and the operation
    (see `Operation.name`), where there is one.

    A renamed parameter, or a trailing slash, leaves the id as it is.
    """
    blank = _PARAMETER.sub("{}", template).rstrip("/") or "/"
    name = f"{service}\0{method}\0{blank}\0{operation}" if operation else f"{service}\0{method}\0{blank}"
    return "ep_" + blake2b(name.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def parameters_of(template: str) -> list[str]:
    """Names of the parameters of a template, in order."""
    return _PARAMETER.findall(template)


def split_template(template: str) -> tuple[str, ...]:
    """Segments of a template as written, without the empty ones at the ends."""
    trimmed = template.strip("/")
    return tuple(trimmed.split("/")) if trimmed else ()


def parts_of(operation: str) -> tuple[str, ...]:
    """The single operations that an operation's name is made of, sorted: `query order,orders` -> `query order`, `query orders`.

    Only GraphQL's names have several; any other name, the empty one too, is its own only part.
    """
    parts: list[str] = []
    for piece in operation.split("; "):
        kind, _, fields = piece.partition(" ")
        if kind not in _GRAPHQL_TYPES or not fields:
            return (operation,)
        parts += [f"{kind} {field}" for field in fields.split(",")]
    return tuple(sorted(set(parts)))


def declares(declared: Container[str], service: str, method: str, template: str, operation: str = "") -> bool:
    """Whether a specification whose endpoints have the ids `declared` has an operation.

    It does when it has the very operation, or the path as a whole, or, of a GraphQL request, each root field that is asked for; what it has
    for POST counts for GET too, by which queries may come (GraphQL over HTTP, section 6.3).
    """
    if endpoint_id(service, method, template, operation) in declared or endpoint_id(service, method, template) in declared:
        return True
    parts = [part for part in parts_of(operation) if " __" not in part]
    if not parts or parts[0].partition(" ")[0] not in _GRAPHQL_TYPES:
        return False
    return all(any(endpoint_id(service, way, template, part) in declared for way in (method, "POST")) for part in parts)


class _Pattern:
    """A segment that mixes text and parameters. Leftmost matching without a regular expression: linear in any input."""

    __slots__ = ("inner", "node", "prefix", "source", "suffix", "weight")

    def __init__(self, source: str) -> None:
        texts = [unquote(text) for text in _PARAMETER.split(source)[::2]]
        self.source = source
        self.prefix, self.inner, self.suffix = texts[0], texts[1:-1], texts[-1]
        self.weight = sum(map(len, texts))
        self.node = _Node()

    def values(self, segment: str) -> tuple[str, ...] | None:
        """The parameters' values, each at least one character, or None. An earlier parameter takes as little as it can."""
        end = len(segment) - len(self.suffix)
        start = len(self.prefix)
        if end <= start or not segment.startswith(self.prefix) or not segment.endswith(self.suffix):
            return None
        found = []
        for text in self.inner:
            at = segment.find(text, start + 1, end)
            if at < 0:
                return None
            found.append(segment[start:at])
            start = at + len(text)
        if start >= end:
            return None
        found.append(segment[start:end])
        return tuple(found)


class _Leaf:
    """The endpoints of one path."""

    __slots__ = ("operations", "whole")

    def __init__(self) -> None:
        self.whole: Endpoint | None = None
        """The endpoint of the path as a whole."""
        self.operations: dict[str, Endpoint] = {}

    def add(self, endpoint: Endpoint) -> None:
        if endpoint.operation:
            self.operations.setdefault(endpoint.operation, endpoint)
        elif self.whole is None:
            self.whole = endpoint

    def find(self, operation: str) -> Endpoint | None:
        return self.operations.get(operation, self.whole) if operation else self.whole

    def any(self) -> Endpoint:
        return self.whole or next(iter(self.operations.values()))


class _Node:
    __slots__ = ("leaf", "literals", "parameter", "patterns")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.patterns: list[_Pattern] = []
        self.parameter: _Node | None = None
        self.leaf: _Leaf | None = None


class _Scope:
    """The templates of one service and method."""

    __slots__ = ("exact", "root")

    def __init__(self) -> None:
        self.exact: dict[tuple[str, ...], _Leaf] = {}
        self.root = _Node()

    def add(self, endpoint: Endpoint) -> None:
        segments = split_template(endpoint.template)
        if not any("{" in segment for segment in segments):
            self.exact.setdefault(tuple(map(unquote, segments)), _Leaf()).add(endpoint)
            return
        node = self.root
        for segment in segments:
            node = _child(node, segment)
        if node.leaf is None:
            node.leaf = _Leaf()
        node.leaf.add(endpoint)

    def find(self, segments: tuple[str, ...], operation: str) -> Match:
        leaf = self.exact.get(segments)
        endpoint = leaf.find(operation) if leaf is not None else None
        if endpoint is not None:
            return Match(endpoint=endpoint)
        values: list[str] = []
        found = _walk(self.root, segments, 0, values, operation)
        if found is not None:
            endpoint = found.find(operation)
        elif leaf is not None:
            return NO_MATCH  # the path is known, this operation of it is not
        else:
            found = _walk(self.root, segments, 0, values, None)
            if found is None:
                return NO_MATCH
        names = _PARAMETER.findall((endpoint or found.any()).template)
        return Match(endpoint=endpoint, params=tuple(zip(names, values, strict=True)))


def _child(node: _Node, segment: str) -> _Node:
    if "{" not in segment:
        return node.literals.setdefault(unquote(segment), _Node())
    if _PARAMETER.fullmatch(segment):
        if node.parameter is None:
            node.parameter = _Node()
        return node.parameter
    blank = _PARAMETER.sub("{}", segment)
    for pattern in node.patterns:
        if pattern.source == blank:
            return pattern.node
    node.patterns.append(_Pattern(blank))
    node.patterns.sort(key=lambda p: (-p.weight, p.source))
    return next(p.node for p in node.patterns if p.source == blank)


def _walk(node: _Node, segments: tuple[str, ...], at: int, values: list[str], operation: str | None) -> _Leaf | None:
    """Depth-first by preference, to a path that has the operation; None: any. Each trie node is reached by one way only, so a lookup
    visits none twice."""
    if at == len(segments):
        leaf = node.leaf
        return leaf if leaf is not None and (operation is None or leaf.find(operation) is not None) else None
    segment = segments[at]
    literal = node.literals.get(segment)
    if literal is not None:
        found = _walk(literal, segments, at + 1, values, operation)
        if found is not None:
            return found
    mark = len(values)
    for pattern in node.patterns:
        taken = pattern.values(segment)
        if taken is not None:
            values.extend(taken)
            found = _walk(pattern.node, segments, at + 1, values, operation)
            if found is not None:
                return found
            del values[mark:]
    if node.parameter is not None and segment:
        values.append(segment)
        found = _walk(node.parameter, segments, at + 1, values, operation)
        if found is not None:
            return found
        del values[mark:]
    return None


def _beside(match: Match, operation: Operation, paths: _Scope) -> Match:
    """The match of an unknown operation with the operation of another method at its path, if there is one."""
    found = paths.find(operation.segments, "")
    if found.endpoint is None or found.endpoint.method == operation.method:
        return match
    return Match(None, match.params or found.params, found.endpoint)


class Inventory:
    """Compiled endpoints. Immutable but for its bounded cache of looked-up paths; one thread at a time uses it."""

    __slots__ = ("any_method", "older", "recent", "scopes")

    def __init__(self, scopes: dict[tuple[str, str], _Scope], any_method: dict[str, _Scope]) -> None:
        self.scopes = scopes
        self.any_method = any_method
        """Service -> its paths, whatever the method, each with the operation that is called most."""
        self.recent: dict[tuple[str, ...], Match] = {}
        """(service, method, path), and the operation's name if it has one -> match."""
        self.older: dict[tuple[str, ...], Match] = {}


def compile_inventory(endpoints: Iterable[Endpoint]) -> Inventory:
    """Build the lookup. Of two endpoints that differ in parameter names only, the one with the lower (template, id) is taken."""
    endpoints = tuple(endpoints)
    scopes: dict[tuple[str, str], _Scope] = {}
    for endpoint in sorted(endpoints, key=lambda e: (e.service, e.method, e.template, e.operation, e.id)):
        scopes.setdefault((endpoint.service, endpoint.method), _Scope()).add(endpoint)
    any_method: dict[str, _Scope] = {}
    for endpoint in sorted(endpoints, key=lambda e: (-e.calls, e.service, e.method, e.template, e.id)):
        if not endpoint.operation:
            any_method.setdefault(endpoint.service, _Scope()).add(endpoint)
    return Inventory(scopes, any_method)


def identify(service: str, operation: Operation, inventory: Inventory) -> Match:
    """The endpoint of a request, with the decoded values of its path parameters; `Match(None)` when none is known, with what is `beside`
    it where another method of the path is."""
    name = operation.name
    key: tuple[str, ...] = (
        (service, operation.method, operation.path, name) if name else (service, operation.method, operation.path)
    )
    match = inventory.recent.get(key)
    if match is not None:
        return match
    scope = inventory.scopes.get((service, operation.method))
    match = inventory.older.get(key)
    if match is None:
        match = scope.find(operation.segments, name) if scope is not None else NO_MATCH
        if match.endpoint is None and service in inventory.any_method:
            match = _beside(match, operation, inventory.any_method[service])
    if len(operation.path) <= CACHE_PATH_LENGTH:
        # Two generations instead of an exact LRU: as bounded, and a hit costs one dictionary look-up, not a re-ordering.
        if len(inventory.recent) >= CACHE_PATHS:
            inventory.older, inventory.recent = inventory.recent, {}
        inventory.recent[key] = match
    return match
