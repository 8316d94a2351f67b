"""Name or value: the judgement of the segments that follow one another's place.

Clear ids (`value_kinds.CLEAR`) are values. Every other child is judged by the natural logarithm of the odds that it is a value, a
weighted sum (`template_weights`) of

* its look, against the looks of the other values, and whether published APIs use such words as route names;
* what follows it, against what follows the others: values of one parameter share their methods and what comes below, names
  have their own (description length under the pool against on its own; Rissanen 1978);
* traffic: as one parameter the candidates together carry about what an operation of this API carries, as names each of them
  does. That rare means value, or frequent means name, is not assumed: pools of values have heavy heads;
* the place: below a collection that answers itself, at the root, after another parameter.

What follows a child is read through a quick reading of the whole level, by looks alone, so that ids further down do not make two
values look different. The judgement is repeated with the better pool a few times. `template_sets` then judges words together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from math import exp, log2
from typing import Protocol

from eastwall.discovery.api_words import pronounceable, share_of_api_words
from eastwall.discovery.template_evidence import SUFFIX, Node
from eastwall.discovery.template_weights import BIAS, FIRST_BIAS, FIRST_WEIGHTS, WEIGHTS
from eastwall.discovery.value_kinds import look_of

ROUNDS = 4
_USUAL, _DEVIATION = 0.6, 1.8
"""Logarithms (base 2) of the calls of operations lie so much below that of their mean, and spread so far: a skewed API."""
_ALSO_OF_LOOKS = ("after_parameter", "parent_get", "root", "clear_share", "writes_item")
"""Features of looks and place that are also weighed with everything else."""
_ECHO = 3.0
"""Odds that a segment is a value when its text stood in an earlier answer, and as much again when many at its position did."""
_NAMED = 4.0
"""Odds against a value where the same word is a name for sure elsewhere (`/orders/batch` beside `/invoices/batch`), and no answer gave it out. Not fitted:
there are few collections of one shape in the documents."""
REST = 4.0
"""How many values a pool of values that are not kept one by one counts for."""

Step = tuple[str, str]
"""How a place was reached: (`name` | `pattern` | `parameter`, text)."""
Key = tuple[int, str, str]
"""An operation below: (place number, method, kind of the last id on the way there)."""


class Steps(Protocol):
    """What tails are read through: a `template_inference.Place`."""

    @property
    def number(self) -> int: ...
    @property
    def parameter(self) -> Steps | None: ...
    @property
    def names(self) -> Mapping[str, Steps]: ...
    @property
    def patterns(self) -> Mapping[str, Steps]: ...
    def next(self, step: str) -> Steps | None: ...


_NO_TAILS: dict[Key, float] = {}
_NO_FEATURES: dict[str, float] = {}
_OWN = ("api_words", "pronounceable", "elsewhere", "plural_itself", "writes_item", "posts_only")
"""Features of a segment itself, beside its look."""
_WRITES = frozenset({"DELETE", "PUT", "PATCH"})
_POST = frozenset({"POST"})


class Candidate:
    """A child that may be a name or a value."""

    __slots__ = (
        "calls",
        "echo",
        "echoed",
        "features",
        "fixed",
        "fixed_odds",
        "group",
        "leaf",
        "lexical",
        "look",
        "nodes",
        "odds",
        "operations",
        "step",
        "tails",
        "together",
        "total",
    )

    def __init__(self, step: str, nodes: list[Node]) -> None:
        self.step = step
        self.nodes = nodes
        only = nodes[0] if len(nodes) == 1 else None
        self.calls = only.calls if only else sum([node.calls for node in nodes])
        self.echoed = only.echoed if only else sum([node.echoed for node in nodes])
        """Calls whose value here an earlier answer had given out."""
        self.echo = 0.0
        """What that adds to the odds."""
        self.look = look_of(step)
        self.leaf = True
        for node in nodes:
            if node.children or node.rest:
                self.leaf = False
                break
        self.tails = _NO_TAILS
        """Operation below -> 1 + log2(calls)."""
        self.total = 0.0
        """Sum of `tails`."""
        self.operations = 1
        self.features = _NO_FEATURES
        """Those of look and place."""
        self.together = _NO_FEATURES
        """Features of the candidates that look like this one."""
        self.fixed = _NO_FEATURES
        """All features that stay as they are while the pool changes."""
        self.fixed_odds = 0.0
        """What those, and `echo`, add to the odds."""
        self.group: list[Candidate] = []
        """The candidates that look like this one, itself among them."""
        self.lexical = 6.0
        """Odds by look and place alone."""
        self.odds = 20.0
        """Logarithm of the odds that this is a value."""

    @property
    def weight(self) -> float:
        return 1 / (1 + exp(-max(-30.0, min(30.0, self.odds))))

    def count_tails(self, place: Steps, cost: dict[Key, float]) -> None:
        counts: dict[Key, float] = {}
        for node in self.nodes:
            _tails(node, place, 0.0, "", counts, cost)
        self.operations = max(1, len(counts))
        self.tails = {key: 1 + log2(n) for key, n in counts.items()}
        self.total = sum(self.tails.values())


class Level:
    """All that is known at one position while its children are judged."""

    def __init__(self, nodes: Sequence[Node], path: tuple[Step, ...], rest: list[Node], methods: Iterable[str]) -> None:
        self.methods = frozenset(methods)
        """Methods that end at this position."""
        self.nodes = nodes
        self.path = path
        self.rest = rest
        self.candidates: list[Candidate] = []
        self.clear: list[Candidate] = []
        self.cost: dict[Key, float] = {}
        """Operation below -> bits it takes to spell it."""
        self.rest_tails: dict[Key, float] = {}
        self.last = False
        """Whether this is the last round."""

    def count_rest(self, place: Steps) -> None:
        counts: dict[Key, float] = {}
        for node in self.rest:
            _tails(node, place, 0.0, "", counts, self.cost)
        self.rest_tails = {key: REST * (1 + log2(n)) for key, n in counts.items()}


Judge = Callable[[Level, Candidate, dict[str, float]], float]


def judge_by_look(level: Level, contexts: dict[str, set[str]], named: frozenset[str], *, keep: bool) -> None:
    """Odds from looks and place alone. `named`: words that are names for sure elsewhere. `keep`: keep the features, which `judge_by_traffic`
    weighs again."""
    known = len(level.clear) + REST * len(level.rest)
    place = _place(level, known / max(1.0, known + len(level.candidates)))
    odds_of_place = FIRST_BIAS + sum(FIRST_WEIGHTS.get(name, 0.0) * value for name, value in place.items())
    _count_echoes(level)
    if named:
        for c in level.candidates:
            if c.step in named and not c.echoed:
                c.echo -= _NAMED
    before = next((text for how, text in reversed(level.path) if how == "name"), "")
    weights = [FIRST_WEIGHTS.get(name, 0.0) for name in _OWN]
    for c in level.candidates:
        seen = contexts.get(c.step)
        elsewhere = log2(1 + len(seen) - (before in seen) - (before != "" and "" in seen)) if seen else 0.0
        ends = set(c.nodes[0].methods)
        for node in c.nodes[1:]:
            ends.update(node.methods)
        writes, posts = not ends.isdisjoint(_WRITES), ends == _POST
        look, words, sound, plural = _look_alone(c.step)
        own = FIRST_WEIGHTS.get(look, 0.0)
        for weight, value in zip(weights, (words, sound, elsewhere, plural, writes, posts), strict=True):
            own += weight * value
        if keep:
            c.features = {
                **place,
                look: 1.0,
                **dict(zip(_OWN, (words, sound, elsewhere, plural, float(writes), float(posts)), strict=True)),
            }
        c.odds = odds_of_place + own
        c.lexical = clipped(c.odds)
        c.odds += c.echo


@lru_cache(maxsize=65_536)
def _look_alone(step: str) -> tuple[str, float, float, float]:
    """The features that a segment has wherever it stands: look, words of APIs, sound, and whether it is a plural."""
    return (
        f"look_{look_of(step).style}",
        share_of_api_words(step),
        max(-2.0, min(2.0, pronounceable(step))),
        float(step[-1:] == "s" and step[-2:] != "ss"),
    )


def _count_echoes(level: Level) -> None:
    """What answers gave out are ids. A word may stand in an answer by chance, several at one position do not; and where most ids are
    given out, what never was, however often it was called, is a name. Not fitted: how often answers are seen differs."""
    given = sum(c.echoed > 0 for c in level.candidates + level.clear) + REST * sum(node.echoed > 0 for node in level.rest)
    if not given:
        return
    everyone = len(level.candidates) + len(level.clear) + REST * len(level.rest)
    for c in level.candidates:
        if c.echoed:
            c.echo = _ECHO + min(_ECHO, log2(given))
        elif c.calls > 2:
            c.echo = -min(_ECHO, log2(c.calls)) * given / everyone


def clipped(odds: float) -> float:
    return max(-6.0, min(6.0, odds))


def judge_by_traffic(level: Level, per_operation: float, judge: Judge | None) -> None:
    """Odds from everything. `per_operation` is how many calls an operation of this API has in the mean."""
    _together(level, per_operation)
    _fix(level, per_operation)
    for number in range(ROUNDS):
        level.last = number == ROUNDS - 1
        judge_round(level, per_operation, judge)


def _surprise(calls: float, operations: int, per_operation: float) -> float:
    """How far from usual it is that so many operations have so many calls: squared, in units of a usual deviation; 0..9."""
    return min(9.0, ((log2(calls / (operations * per_operation)) + _USUAL) / _DEVIATION) ** 2)


def _place(level: Level, clear_share: float) -> dict[str, float]:
    last = level.path[-1] if level.path else ("root", "")
    return {
        "root": float(not level.path),
        "second": float(len(level.path) == 1),
        "after_parameter": float(last[0] == "parameter"),
        "parent_get": float("GET" in level.methods),
        "parent_post": float("POST" in level.methods),
        "plural": float(last[0] == "name" and last[1].endswith("s")),
        "clear_share": clear_share,
        "parameters": float(min(3, sum(how == "parameter" for how, _ in level.path))),
    }


def _together(level: Level, per_operation: float) -> None:
    """What candidates of one depth, and those among them of one look, are as a group: one operation, or one each."""
    for name, groups in (
        ("all", grouped(level.candidates, lambda c: (c.leaf, ""))),
        ("group", grouped(level.candidates, lambda c: (False, c.look.style))),
    ):
        for group in groups:
            operations = len({key for c in group for key in c.tails}) or 1
            calls = sum(c.calls for c in group)
            features = {
                f"{name}_size": log2(len(group)),
                f"{name}_as_one": _surprise(calls, operations, per_operation),
                f"{name}_as_many": sum(_surprise(c.calls, c.operations, per_operation) for c in group) / len(group),
                f"{name}_reuse": log2(calls / (len(group) * operations)),
                f"{name}_singles": sum(c.calls == 1 for c in group) / len(group),
                f"{name}_lexical": sum(c.lexical for c in group) / len(group),
            }
            for c in group:
                c.together = {**c.together, **features}
                c.group = group


def grouped(candidates: Sequence[Candidate], by: Callable[[Candidate], tuple[bool, str]]) -> Iterable[list[Candidate]]:
    groups: dict[tuple[bool, str], list[Candidate]] = {}
    for c in candidates:
        groups.setdefault(by(c), []).append(c)
    return groups.values()


def _fix(level: Level, per_operation: float) -> None:
    """The features that do not depend on the pool; they are weighed once for all rounds."""
    for c in level.candidates:
        c.fixed = {
            **c.together,
            "lexical": c.lexical,
            "as_name": _surprise(c.calls, c.operations, per_operation),
            "parents": log2(len(c.nodes)),
            "parent_share": len(c.nodes) / len(level.nodes) * min(1.0, log2(len(level.nodes)) / 3),
            "leaf": float(c.leaf),
            **{name: c.features[name] for name in _ALSO_OF_LOOKS},
        }
        c.fixed_odds = c.echo + BIAS + sum(WEIGHTS.get(name, 0.0) * value for name, value in c.fixed.items())


def judge_round(level: Level, per_operation: float, judge: Judge | None) -> None:
    """Odds of all candidates by the pool that their odds so far make."""
    everyone = level.clear + level.candidates
    pool = dict(level.rest_tails)
    count, calls = REST * len(level.rest), float(sum(node.calls for node in level.rest))
    singles = lexical = 0.0
    styles: dict[str, float] = {}
    for c in everyone:
        w = c.weight
        count += w
        calls += w * c.calls
        singles += w * (c.calls == 1)
        lexical += w * c.lexical
        styles[c.look.style] = styles.get(c.look.style, 0.0) + w
        for key, amount in c.tails.items():
            pool[key] = pool.get(key, 0.0) + w * amount
    total = sum(pool.values())
    shared = sum(amount > 0.4 for amount in pool.values())
    among = len(everyone) + REST * len(level.rest)
    # While weights are fitted, no shared structure says more than this: the many collections of one shape (list, item, delete) in
    # the documents would set its weight. In use more shared structure is more evidence.
    low, high = (-20.0, 40.0) if judge is None else (-12.0, 12.0)
    results = []
    groups = {id(c.group): c.group for c in level.candidates}
    of_group = {key: sum(clipped(c.odds) for c in group) for key, group in groups.items()}
    for c in level.candidates:
        w = c.weight
        others = count - w
        own_pool = 0
        for key, amount in c.tails.items():
            if 0.4 < pool[key] <= 0.4 + w * amount:
                own_pool += 1
        operations = max(1, shared - own_pool, c.operations)
        tail = max(low, min(high, _tail_bits(c, w, pool, total, level.cost))) / 4
        features = {
            "tail": tail,
            "leaf_tail": tail * c.leaf,
            "as_value": _surprise(calls + (1 - w) * c.calls, operations, per_operation),
            "others": log2(1 + others),
            "other_share": others / max(1.0, among - 1),
            "singles": (singles - w * (c.calls == 1)) / max(1.0, others),
            "alike": (log2((styles[c.look.style] - w + 0.5) / (others + 2.0)) + 2) * min(1.0, others / 4),
            "others_lexical": (lexical - w * c.lexical) / max(1.0, others),
            "group_odds": (of_group[id(c.group)] - clipped(c.odds)) / max(1, len(c.group) - 1),
        }
        if judge is not None:
            results.append(judge(level, c, {**c.fixed, **features}))
        else:
            results.append(c.fixed_odds + sum(WEIGHTS.get(name, 0.0) * value for name, value in features.items()))
    for c, odds in zip(level.candidates, results, strict=True):
        c.odds = odds


def _tail_bits(c: Candidate, weight: float, pool: dict[Key, float], total: float, cost: dict[Key, float]) -> float:
    """Bits saved when what follows this child is told by the pool of the others instead of on its own."""
    left = total - weight * c.total + 1
    bits = 0.0
    for key, amount in c.tails.items():
        spelled = cost[key]
        share = (max(0.0, pool[key] - weight * amount) + 2.0**-spelled) / left
        bits += spelled + amount * (log2(share) - log2(amount / c.total))
    return bits


def _tails(node: Node, place: Steps, cost: float, kind: str, into: dict[Key, float], costs: dict[Key, float]) -> None:
    """Count the operations below a node, as a reading names them, with the bits it takes to spell each."""
    for method, counts in node.methods.items():
        key = (place.number, method, kind)
        into[key] = into.get(key, 0) + counts[0] + counts[1]
        costs[key] = cost + 1.5
    if not node.children and not node.rest:
        return
    names, patterns, parameter = place.names, place.patterns, place.parameter
    for step, child in node.children.items():
        after = names.get(step)
        if after is None:
            after = place.next(step) if patterns or step[:1] == SUFFIX else parameter
        if after is None:
            continue
        if after is not parameter:
            _tails(child, after, cost + 6.0, kind, into, costs)
        elif child.children or child.rest:
            _tails(child, after, cost + 1.5, child.group, into, costs)
        else:  # most are ids that nothing follows
            for method, counts in child.methods.items():
                key = (after.number, method, child.group)
                into[key] = into.get(key, 0) + counts[0] + counts[1]
                costs[key] = cost + 1.5 + 1.5
    if parameter is not None:
        for child in node.rest.values():
            _tails(child, parameter, cost + 1.5, child.group, into, costs)
