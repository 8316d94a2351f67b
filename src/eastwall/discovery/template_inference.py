"""From evidence to templates: which segments are names and which are values of a parameter.

The tree is read top-down. All nodes that earlier segments of one template lead to are taken together; the segments that
follow are its children. Clear ids (`value_kinds.CLEAR`) are values. Every other child is judged by the logarithm of the odds
that it is a value (`template_weights`), from:

* its look, and whether published APIs use such words as route names;
* what follows it, against what follows the other candidates: values of one parameter share their methods and what comes
  below, names have their own (`_tail`: description length under a pooled parameter against on its own);
* traffic: as one parameter the candidates together should carry about what an operation of this API carries, as names each
  of them should. That rare means value, or frequent means name, is not assumed: value pools have heavy heads;
* the place: below a collection that answers itself, at the root, after another parameter.

What follows a child is read through a first, quick reading of the whole level, so that ids further down do not make two
values look different. The judgement is repeated with the better pool until it settles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import exp, log2
from urllib.parse import quote

from msgspec import Struct

from eastwall.discovery.api_words import share_of_api_words
from eastwall.discovery.parameter_names import name_parameter
from eastwall.discovery.template_weights import BIAS, FIRST_BIAS, FIRST_WEIGHTS, WEIGHTS
from eastwall.discovery.value_kinds import CLEAR, format_of, look_of
from eastwall.model.endpoint import Parameter

SUFFIX = "\0"
"""First character of a child that is the end of the same segment: `\\0:archive`, `\\0.json`."""
WEAK_ENOUGH = 3
"""Calls answered only by what may not be the service (401, 403, ...) that make an operation all the same."""
_ROUNDS = 3


class Node:
    """A segment in the tree of evidence."""

    __slots__ = ("calls", "children", "group", "kept", "methods", "rest", "threshold")

    def __init__(self, group: str = "word") -> None:
        self.group = group
        """The clear kind, or `word`."""
        self.calls = 0
        """Calls that came through here."""
        self.methods: dict[str, list[int]] = {}
        """Method -> calls that end here: [answered by the service, perhaps by somebody before it, with a trailing slash]."""
        self.children: dict[str, Node] = {}
        self.rest: dict[str, Node] = {}
        """Group -> the children that are not kept one by one, pooled."""
        self.kept: dict[str, int] = {}
        """Group -> children kept one by one."""
        self.threshold = 1 << 32
        """In a pooled node: children of the group with this rank or a higher one are pooled."""


class Place:
    """A segment of a template."""

    __slots__ = ("calls", "kinds", "methods", "names", "number", "parameter", "values")

    def __init__(self) -> None:
        self.number = 0
        self.names: dict[str, Place] = {}
        self.parameter: Place | None = None
        self.methods: dict[str, list[int]] = {}
        self.calls = 0
        self.kinds: Counter[str] = Counter()
        """Kinds of the values, where this is a parameter."""
        self.values: list[str] = []
        """Some values, where this is a parameter."""

    def operations(self) -> int:
        found = len(self.methods) + sum(p.operations() for p in self.names.values())
        return found + (self.parameter.operations() if self.parameter else 0)


Step = tuple[str, str]
"""How a place was reached: (`name` | `parameter` | `root`, token)."""


class Candidate:
    """A child that may be a name or a value."""

    __slots__ = ("calls", "first", "look", "nodes", "odds", "operations", "tails", "token")

    def __init__(self, token: str, nodes: list[Node]) -> None:
        self.token = token
        self.nodes = nodes
        self.calls = sum(node.calls for node in nodes)
        self.look = look_of(token)
        self.tails: dict[tuple[int, str], float] = {}
        self.operations = 1
        self.first: dict[str, float] = {}
        self.odds = 0.0

    @property
    def weight(self) -> float:
        return 1 / (1 + exp(-max(-30.0, min(30.0, self.odds))))


Judge = Callable[["Level", Candidate, dict[str, float]], float]


class Level:
    """All that is known at one position while its children are judged."""

    __slots__ = ("candidates", "clear", "cost", "last", "nodes", "path", "per_operation", "rest")

    def __init__(self, nodes: Sequence[Node], path: tuple[Step, ...], per_operation: float) -> None:
        self.nodes = nodes
        self.path = path
        self.per_operation = per_operation
        self.candidates: list[Candidate] = []
        self.clear: list[Candidate] = []
        self.rest: list[Node] = []
        self.cost: dict[tuple[int, str], float] = {}
        self.last = False


class Inference:
    """One reading of a tree. `judge` replaces the weights when they are fitted (`bench.fit_discovery`)."""

    def __init__(self, root: Node, judge: Judge | None = None) -> None:
        self.root = root
        self.judge = judge
        self.contexts: dict[str, set[str]] = {}
        self._gather_contexts(root, "")
        quick = self._solve([root], (), None, quick=True)
        self.per_operation = max(1.0, root.calls / max(1, quick.operations()))
        self.places = 0
        self.place = self._solve([root], (), None, quick=False)

    def _gather_contexts(self, node: Node, before: str) -> None:
        """Word -> the words it follows: a name such as `settings` stands in many places, a value in those of its collection."""
        for token, child in node.children.items():
            if child.group == "word":
                seen = self.contexts.setdefault(token, set())
                if len(seen) < 16:
                    seen.add(before)
                self._gather_contexts(child, token)
            else:
                self._gather_contexts(child, before)
        for group, child in node.rest.items():
            self._gather_contexts(child, before if group != "word" else "")

    def _solve(self, nodes: Sequence[Node], path: tuple[Step, ...], place: Place | None, *, quick: bool) -> Place:
        place = place or Place()
        children: dict[str, list[Node]] = {}
        rest: list[Node] = []
        for node in nodes:
            place.calls += node.calls
            for method, counts in node.methods.items():
                mine = place.methods.setdefault(method, [0, 0, 0])
                for at in range(3):
                    mine[at] += counts[at]
            for token, child in node.children.items():
                children.setdefault(token, []).append(child)
            rest.extend(node.rest.values())
        if not children and not rest:
            return place
        names, values = self._split(nodes, children, rest, path, quick=quick)
        for token in names:
            place.names[token] = self._solve(children[token], (*path, ("name", token)), None, quick=quick)
        if values or rest:
            pooled = [node for token in values for node in children[token]] + rest
            parameter = place.parameter = Place()
            for token in values:
                parameter.kinds[look_of(token).kind] += 1
            for node in rest:
                parameter.kinds[node.group if node.group != "word" else "slug"] += 1
            parameter.values = values[:64]
            self._solve(pooled, (*path, ("parameter", "")), parameter, quick=quick)
        return place

    def _split(
        self, nodes: Sequence[Node], children: dict[str, list[Node]], rest: list[Node], path: tuple[Step, ...], *, quick: bool
    ) -> tuple[list[str], list[str]]:
        """(names, values) among the children, both sorted."""
        level = Level(nodes, path, 1.0 if quick else self.per_operation)
        level.rest = rest
        names = []
        for token in sorted(children):
            if token[0:1] == SUFFIX:
                names.append(token)
                continue
            candidate = Candidate(token, children[token])
            if children[token][0].group in CLEAR:
                level.clear.append(candidate)
            else:
                level.candidates.append(candidate)
        self._first(level)
        if not quick and (len(level.candidates) + len(level.clear) > 1 or self.judge):
            self._second(level)
        names += [c.token for c in level.candidates if c.odds <= 0]
        values = [c.token for c in level.clear] + [c.token for c in level.candidates if c.odds > 0]
        return sorted(names), sorted(values)

    def _first(self, level: Level) -> None:
        """Odds from looks and place alone."""
        known = len(level.clear) + 4 * len(level.rest)
        total = known + len(level.candidates)
        place = _place_features(level, known / max(1, total))
        for c in level.candidates:
            c.first = {**place, **self._looks(level, c)}
            c.odds = FIRST_BIAS + sum(FIRST_WEIGHTS.get(name, 0.0) * value for name, value in c.first.items())

    def _looks(self, level: Level, c: Candidate) -> dict[str, float]:
        before = _name_before(level.path)
        elsewhere = len(self.contexts.get(c.token, set()) - {before, ""})
        ends = {m for node in c.nodes for m in node.methods}
        return {
            f"look_{c.look.style}": 1.0,
            "api_words": share_of_api_words(c.token),
            "elsewhere": log2(1 + elsewhere),
            "writes_item": 1.0 if ends & {"DELETE", "PUT", "PATCH"} else 0.0,
            "posts_only": 1.0 if ends == {"POST"} else 0.0,
        }

    def _second(self, level: Level) -> None:
        everyone = level.clear + level.candidates
        pooled = [node for c in everyone for node in c.nodes] + level.rest
        place = self._solve(pooled, (*level.path, ("parameter", "")), None, quick=True)
        number_places(place)
        for c in everyone:
            counts: dict[tuple[int, str], float] = {}
            for node in c.nodes:
                self._tails(node, place, 0.0, counts, level.cost)
            c.operations = max(1, len(counts))
            c.tails = {key: 1 + log2(n) for key, n in counts.items()}
        rest: dict[tuple[int, str], float] = {}
        for node in level.rest:
            self._tails(node, place, 0.0, rest, level.cost)
        for number in range(_ROUNDS):
            level.last = number == _ROUNDS - 1
            self._round(level, {key: 4 * (1 + log2(n)) for key, n in rest.items()})

    def _tails(
        self, node: Node, place: Place, cost: float, into: dict[tuple[int, str], float], costs: dict[tuple[int, str], float]
    ) -> None:
        """Count the operations below a node, as the quick reading names them, with the bits it takes to spell each."""
        for method, counts in node.methods.items():
            key = (place.number, method)
            into[key] = into.get(key, 0) + counts[0] + counts[1]
            costs[key] = cost + 1.5
        for token, child in node.children.items():
            named = place.names.get(token)
            if named is not None:
                self._tails(child, named, cost + 6, into, costs)
            elif place.parameter is not None:
                self._tails(child, place.parameter, cost + 1.5, into, costs)
        for child in node.rest.values():
            if place.parameter is not None:
                self._tails(child, place.parameter, cost + 1.5, into, costs)

    def _round(self, level: Level, rest: dict[tuple[int, str], float]) -> None:
        everyone = level.clear + level.candidates
        pool: dict[tuple[int, str], float] = dict(rest)
        k, calls, singles = 4.0 * len(level.rest), float(sum(n.calls for n in level.rest)), 0.0
        styles: dict[str, float] = {}
        for c in level.clear:
            c.odds = 20.0
        for c in everyone:
            w = c.weight
            k += w
            calls += w * c.calls
            singles += w * (c.calls == 1)
            styles[c.look.style] = styles.get(c.look.style, 0.0) + w
            for key, amount in c.tails.items():
                pool[key] = pool.get(key, 0.0) + w * amount
        total = sum(pool.values())
        everyone_count = len(everyone) + 4 * len(level.rest)
        results = []
        for c in level.candidates:
            w = c.weight
            others, other_calls = k - w, calls - w * c.calls
            operations = sum(1 for key, amount in pool.items() if amount - w * c.tails.get(key, 0.0) > 0.4) or 1
            features = dict(c.first)
            style = c.look.style
            alike = styles.get(style, 0.0) - w
            features["alike"] = log2((alike + 0.5) / (others + 2.0)) - log2(0.25)
            features["tail"] = max(-12.0, min(12.0, _tail(c, w, pool, total, level.cost))) / 4
            features["own_rate"] = max(-8.0, min(4.0, log2(c.calls / (c.operations * level.per_operation))))
            features["pool_rate"] = max(
                -6.0, min(8.0, log2((other_calls + c.calls) / (max(operations, c.operations) * level.per_operation)))
            )
            features["others"] = log2(1 + others)
            features["other_share"] = others / max(1.0, everyone_count - 1)
            features["singles"] = (singles - w * (c.calls == 1)) / max(1.0, others)
            features["leaf"] = 1.0 if all(not n.children and not n.rest for n in c.nodes) else 0.0
            features["leaf_pool_rate"] = features["leaf"] * features["pool_rate"]
            features["leaf_own_rate"] = features["leaf"] * features["own_rate"]
            features["leaf_tail"] = features["leaf"] * features["tail"]
            features["siblings"] = log2(everyone_count)
            features["spread"] = log2(len(c.nodes))
            if self.judge is not None:
                results.append(self.judge(level, c, features))
            else:
                results.append(BIAS + sum(WEIGHTS.get(name, 0.0) * value for name, value in features.items()))
        for c, odds in zip(level.candidates, results, strict=True):
            c.odds = odds


def _tail(
    c: Candidate, weight: float, pool: dict[tuple[int, str], float], total: float, cost: dict[tuple[int, str], float]
) -> float:
    """Bits saved when what follows this child is told by the pool instead of on its own."""
    own = sum(c.tails.values())
    left = total - weight * own
    bits = 0.0
    for key, amount in c.tails.items():
        spelled = cost[key]
        share = (max(0.0, pool[key] - weight * amount) + 2.0**-spelled) / (left + 1)
        bits += spelled + amount * (log2(share) - log2(amount / own))
    return bits


def _name_before(path: tuple[Step, ...]) -> str:
    for how, token in reversed(path):
        if how == "name":
            return token
    return ""


def _place_features(level: Level, clear_share: float) -> dict[str, float]:
    path = level.path
    last = path[-1] if path else ("root", "")
    ends = {m for node in level.nodes for m in node.methods}
    branching = sum(1 for how, _ in path if how == "parameter")
    return {
        "root": 1.0 if not path else 0.0,
        "second": 1.0 if len(path) == 1 else 0.0,
        "after_parameter": 1.0 if last[0] == "parameter" else 0.0,
        "parent_get": 1.0 if "GET" in ends else 0.0,
        "parent_post": 1.0 if "POST" in ends else 0.0,
        "plural": 1.0 if last[0] == "name" and last[1].endswith("s") else 0.0,
        "clear_share": clear_share,
        "parameters": float(min(3, branching)),
    }


class Found(Struct, frozen=True):
    """One operation of a reading."""

    method: str
    template: str
    parameters: tuple[Parameter, ...]
    count: int


class Inferred:
    """The templates of one reading, and the way from a path to them."""

    def __init__(self, root: Place) -> None:
        self.root = root
        self.operations: list[Found] = []
        self.by_place: dict[tuple[int, str], Found] = {}
        number_places(root)
        self._walk(root, [], None, [], [])
        self.operations.sort(key=lambda o: (o.template, o.method))

    def _walk(self, place: Place, texts: list[str], before: str | None, parameters: list[Parameter], names: list[str]) -> None:
        for method in sorted(place.methods):
            good, weak, slash = place.methods[method]
            if not good and weak < WEAK_ENOUGH:
                continue
            template = "/" + "/".join(texts) + ("/" if slash * 2 > good + weak and texts else "")
            found = Found(method=method, template=template, parameters=tuple(parameters), count=good + weak)
            self.operations.append(found)
            self.by_place[place.number, method] = found
        for token in sorted(place.names):
            if token[0] == SUFFIX:
                self._walk(place.names[token], [*texts[:-1], texts[-1] + _quoted(token[1:])], None, parameters, names)
            else:
                self._walk(place.names[token], [*texts, _quoted(token)], token, parameters, names)
        if place.parameter is not None:
            kind = format_of(place.parameter.kinds)
            name = name_parameter(before, kind, names)
            step = [*parameters, Parameter(name=name, kind=kind)]
            self._walk(place.parameter, [*texts, f"{{{name}}}"], None, step, [*names, name])

    def match(self, method: str, segments: Sequence[str]) -> Found | None:
        return self._match(self.root, method, segments, 0)

    def _match(self, place: Place, method: str, segments: Sequence[str], at: int) -> Found | None:
        if at == len(segments):
            return self.by_place.get((place.number, method))
        named = place.names.get(segments[at])
        if named is not None:
            found = self._match(named, method, segments, at + 1)
            if found is not None:
                return found
        if place.parameter is not None and segments[at][:1] != SUFFIX:
            return self._match(place.parameter, method, segments, at + 1)
        return None


def number_places(place: Place) -> None:
    stack, number = [place], 0
    while stack:
        here = stack.pop()
        here.number = number
        number += 1
        stack.extend(here.names.values())
        if here.parameter:
            stack.append(here.parameter)


def _quoted(text: str) -> str:
    return quote(text, safe=":@!$&'()*+,;=~")


def infer(root: Node) -> Inferred:
    return Inferred(Inference(root).place)
