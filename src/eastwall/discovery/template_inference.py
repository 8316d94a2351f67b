"""From evidence to places: which segments are names, which are values of a parameter, which are part of both.

The tree is read top-down. All nodes that the segments of one template lead to are taken together; the segments that follow
are judged (`template_judgement`) as names or as values of one parameter, and each name, and all values together, are read on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from re import compile as regex

from eastwall.discovery.api_words import share_of_api_words
from eastwall.discovery.template_evidence import BUSY, SUFFIX, Node
from eastwall.discovery.template_judgement import Candidate, Judge, Level, Step, judge_by_look, judge_by_traffic
from eastwall.discovery.template_sets import judge_sets
from eastwall.discovery.value_kinds import CLEAR, look_of

_KEY_VALUE = regex(r"([A-Za-z_@][A-Za-z0-9_.@-]{0,63}=)('?)([^'=,;()&]+)('?)")
_ODATA_KEY = regex(r"([A-Za-z_][A-Za-z0-9_.]*)\(('?)([^=()',]+)('?)\)")
_OFF = 1.5
"""A reading is repeated when it shows that the calls of a usual operation were taken for so much more or less."""
_SIZE_BIAS = 1.4
"""The operation of a usual call has so many more calls than a usual operation."""
_FEW, _FEW_NEED = 5, 4.0
"""So few values are a closed set until the odds are high: they are told as names."""
_JUDGED, _JUDGED_CLEAR = 300, 64
"""So many words and clear values at one position say all that more of them would."""
_SURE = -3.0
"""Odds from which on a word is a name for sure, and tells the same word at other positions what it is."""
_FORMATS = 3
"""So many formats or verbs behind the values, none shared by two: they belong to the value (`photo.png`), as one parameter."""


class Place:
    """A segment of a template."""

    __slots__ = ("calls", "glued", "kinds", "methods", "names", "number", "parameter", "patterns", "values")

    def __init__(self) -> None:
        self.number = 0
        """Of its reading; see `number_places`."""
        self.calls = 0
        self.methods: dict[str, list[int]] = {}
        """Like `Node.methods`."""
        self.names: dict[str, Place] = {}
        """Literal segments; those that begin with `SUFFIX` end the same segment."""
        self.patterns: dict[str, Place] = {}
        """Segments of text and parameters, by `skeleton`: `itemAt(index={})`."""
        self.parameter: Place | None = None
        self.glued = False
        """Where this is a parameter: formats and verbs belong to its value."""
        self.kinds: Mapping[str, int] = {}
        """Where this is a parameter: kinds of its values."""
        self.values: list[str] = []
        """Where this is a parameter: some values, sorted."""

    def following(self) -> list[Place]:
        """All places one step on."""
        return [*self.names.values(), *self.patterns.values(), *((self.parameter,) if self.parameter else ())]

    def next(self, step: str) -> Place | None:
        """The place a step leads to by preference: name, pattern, parameter."""
        named = self.names.get(step)
        if named is not None:
            return named
        if step[:1] == SUFFIX:
            return self if self.glued else None
        if self.patterns:
            matched = self.patterns.get(skeleton(step))
            if matched is not None:
                return matched
        return self.parameter


def skeleton(step: str) -> str:
    """A segment of keys and values with its values blanked (`users;role={}`, `itemAt(index={})`, `Orders({})`), else ``."""
    if "=" in step:
        blank = _KEY_VALUE.sub(r"\1\2{}\4", step.replace("{", "").replace("}", ""))
        return blank if "{}" in blank else ""
    if step.endswith(")"):
        found = _ODATA_KEY.fullmatch(step)
        return f"{found[1]}({found[2]}{{}}{found[4]})" if found else ""
    return ""


def infer(root: Node, judge: Judge | None = None) -> Place:
    """The places of a tree. `judge` replaces the judgement by traffic while its weights are fitted."""
    return Inference(root, judge).place


class Inference:
    """One reading of a tree."""

    def __init__(self, root: Node, judge: Judge | None = None) -> None:
        self.judge = judge
        self.contexts: dict[str, set[str]] = {}
        self._gather_contexts(root, "")
        self.named: frozenset[str] = frozenset()
        """Words that are names for sure at one position and were taken for values at another."""
        self._sure: set[str] = set()
        self._values: set[str] = set()
        self.per_operation = _usual_calls(self._read([root], (), None, quick=True))
        self.place = self._read([root], (), None, quick=False)
        usual = _usual_calls(self.place)
        off = max(usual, self.per_operation) > _OFF * min(usual, self.per_operation)
        self.named = frozenset(self._sure & self._values)
        if off or self.named:
            if off:
                self.per_operation = usual
            self.place = self._read([root], (), None, quick=False)
        number_places(self.place)

    def _gather_contexts(self, node: Node, before: str) -> None:
        """Word -> the words it follows: a name such as `settings` stands in many places, a value in those of its collection."""
        for step, child in node.children.items():
            if child.group == "word":
                seen = self.contexts.get(step)
                if seen is None:
                    self.contexts[step] = {before}
                elif len(seen) < 16:
                    seen.add(before)
                if child.children or child.rest:
                    self._gather_contexts(child, step)
            elif child.children or child.rest:
                self._gather_contexts(child, before)
        for group, child in node.rest.items():
            self._gather_contexts(child, before if group != "word" else "")

    def _read(self, nodes: Sequence[Node], path: tuple[Step, ...], place: Place | None, *, quick: bool) -> Place:
        """The place that these nodes are, and all that follow."""
        if place is None:
            place = Place()
        elif _belongs_to_value(nodes):
            place.glued = True
            nodes = [*nodes, *(child for node in nodes for step, child in node.children.items() if step[:1] == SUFFIX)]
        children: dict[str, list[Node]] = {}
        rest: list[Node] = []
        methods, glued = place.methods, place.glued
        for node in nodes:
            place.calls += node.calls
            if node.methods:
                for method, counts in node.methods.items():
                    mine = methods.get(method)
                    if mine is None:
                        methods[method] = [*counts]
                    else:
                        mine[0] += counts[0]
                        mine[1] += counts[1]
                        mine[2] += counts[2]
            if node.children:
                for step, child in node.children.items():
                    same = children.get(step)
                    if same is not None:
                        same.append(child)
                    elif not glued or step[:1] != SUFFIX:
                        children[step] = [child]
                rest.extend(node.rest.values())
            elif node.rest:
                rest.extend(node.rest.values())
        patterns: dict[str, list[Node]] = {}
        for step in [s for s in children if "=" in s or s[-1:] == ")"]:
            blank = skeleton(step)
            if blank:
                patterns.setdefault(blank, []).extend(children.pop(step))
        for blank in sorted(patterns):
            place.patterns[blank] = self._read(patterns[blank], (*path, ("pattern", blank)), None, quick=quick)
        if children or rest:
            self._branch(place, nodes, children, rest, path, quick=quick)
        return place

    def _branch(
        self,
        place: Place,
        nodes: Sequence[Node],
        children: dict[str, list[Node]],
        rest: list[Node],
        path: tuple[Step, ...],
        *,
        quick: bool,
    ) -> None:
        names, values = self._split(nodes, children, rest, path, place.methods, quick=quick)
        for step in names:
            place.names[step] = self._read(children[step], (*path, ("name", step)), None, quick=quick)
        if not values and not rest:
            return
        parameter = place.parameter = Place()
        if not quick:
            kinds = [look_of(step).kind for step in values]
            parameter.kinds = Counter(kinds + [node.group if node.group != "word" else "slug" for node in rest])
            parameter.values = values
        pooled = [node for step in values for node in children[step]] + rest
        self._read(pooled, (*path, ("parameter", "")), parameter, quick=quick)

    def _split(
        self,
        nodes: Sequence[Node],
        children: dict[str, list[Node]],
        rest: list[Node],
        path: tuple[Step, ...],
        methods: Iterable[str],
        *,
        quick: bool,
    ) -> tuple[list[str], list[str]]:
        """(names, values) among the children, both sorted."""
        if len(children) == 1 and not rest:
            step, only = next(iter(children.items()))
            if step[:1] == SUFFIX or only[0].group not in CLEAR or _stands_alone(Candidate(step, only)):
                return [step], []  # one word where there could be more: a name until another one comes
            return [], [step]
        level = Level(nodes, path, rest, methods)
        names = []
        more = _spare(children)
        for step in sorted(children.keys() - more) if more else sorted(children):
            if step[:1] == SUFFIX:
                names.append(step)
                continue
            candidate = Candidate(step, children[step])
            (level.clear if children[step][0].group in CLEAR else level.candidates).append(candidate)
        if len(level.clear) == 1 and not rest and _stands_alone(level.clear[0]):
            names.append(level.clear.pop().step)
        weigh = not quick and bool(level.candidates) and len(level.candidates) + len(level.clear) > 1
        judge_by_look(level, self.contexts, self.named, keep=weigh)
        if weigh:
            everyone = [node for c in level.clear + level.candidates for node in c.nodes] + rest
            together = self._read(everyone, (*path, ("parameter", "")), Place(), quick=True)
            number_places(together)
            for c in level.clear + level.candidates:
                c.count_tails(together, level.cost)
            level.count_rest(together)
            judge_by_traffic(level, self.per_operation, self.judge)
            if self.judge is None:
                judge_sets(level, self.per_operation)
        few = not rest and len(level.clear) + sum(c.odds > 0 for c in level.candidates) <= _FEW
        needed = _FEW_NEED if few else 0.0
        if weigh and not self.named:
            self._sure.update([c.step for c in level.candidates if c.odds <= _SURE])
            self._values.update([c.step for c in level.candidates if c.odds > needed])
        names += [c.step for c in level.candidates if c.odds <= needed]
        return sorted(names), sorted([c.step for c in level.clear + level.candidates if c.odds > needed] + list(more))


def _spare(children: dict[str, list[Node]]) -> set[str]:
    """Values that need no judgement: of very many quiet words that are no words of APIs, and of very many clear values, those with
    the higher ranks. What they are is what the others are."""
    if len(children) <= _JUDGED_CLEAR:
        return set()
    words, clear, kept = [], [], 0
    for step, nodes in children.items():
        if nodes[0].group != "word":
            clear.append((nodes[0].rank, step))
        elif (
            (nodes[0].calls if len(nodes) == 1 else sum([node.calls for node in nodes])) >= BUSY
            or step[:1] == SUFFIX
            or share_of_api_words(step) > 0.5
        ):
            kept += 1
        else:
            words.append((nodes[0].rank, step))
    spared = sorted(clear)[_JUDGED_CLEAR:] + sorted(words)[max(_JUDGED // 2, _JUDGED - kept) :]
    return {step for _, step in spared}


def _stands_alone(only: Candidate) -> bool:
    """Whether the one number at a position is a name (`/1/boards`, `/2.0/users`): all calls go through it, and on."""
    kind = look_of(only.step).kind
    below = sum(len(node.children) for node in only.nodes)
    answers = any(good for node in only.nodes for good, _, _ in node.methods.values())
    return kind in ("integer", "number") and len(only.step) <= 4 and only.calls >= 8 and (not answers or below > 2)


def _belongs_to_value(nodes: Sequence[Node]) -> bool:
    """Whether the formats and verbs behind the values of a parameter are part of them: many, and each value has its own."""
    steps: set[str] = set()
    total = both = 0
    for node in nodes:
        if node.children:
            here = [step for step in node.children if step[:1] == SUFFIX]
            if here:
                steps.update(here)
                total += len(here)
                both += len(here) > 1 or bool(node.methods)
    return len(steps) >= _FORMATS and both * 4 < total


def number_places(root: Place) -> None:
    """Give every place of a reading a number of its own, the same for the same reading."""
    stack, number = [root], 0
    while stack:
        here = stack.pop()
        here.number = number
        number += 1
        stack.extend(here.following())


def _usual_calls(root: Place) -> float:
    """Calls of a usual operation: the median over calls, not over operations, as it does not mind many wrong small ones."""
    counts: list[int] = []
    stack = [root]
    while stack:
        place = stack.pop()
        counts += [good + weak for good, weak, _ in place.methods.values()]
        stack.extend(place.following())
    left = sum(counts) / 2
    for count in sorted(counts, reverse=True):
        left -= count
        if left <= 0:
            return max(1.0, count / _SIZE_BIAS)
    return 1.0
