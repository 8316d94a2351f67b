"""Data that may not pass as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from eastwall.discovery.aggregation import is_row, longer, rows_of
from eastwall.discovery.data_tokens import MARK, elsewhere, token_classes
from eastwall.model.call import Mode
from eastwall.model.decision import Aggregate, Deny, Detokenise, Effect, PolicyMatch, Redact, Trim
from eastwall.model.facts import Facts
from eastwall.model.identity import Strength
from eastwall.policy.conditions import ConditionError
from eastwall.policy.kinds import DataPolicy, Policy
from eastwall.policy.patterns import Paths
from eastwall.policy.rules import Bound, CompiledRule
from eastwall.policy.selecting import selector_words
from eastwall.policy.steps.applying import NOWHERE, applies, holds, match_of
from eastwall.policy.steps.outcome import Outcome
from eastwall.policy.wording import shown
from eastwall.policy.world import World

STRICTNESS = {"truncate": 0, "mask": 1, "format": 2, "tokenise": 3, "hash": 4, "redact": 5, "drop": 6}
"""Of several data policies for a class the strictest holds: the one that leaves least to whoever reads it, the policy's permitted callers
left aside. `truncate` leaves as much as its author says, `mask` four characters, `format` the form, `tokenise` and `hash` that two values are
equal, of which the first can be turned back."""


class DataRule(CompiledRule):
    """A DataPolicy."""

    __slots__ = ("classes", "direction", "exposure", "keep", "purpose", "purposes", "shape", "style", "turns")
    step = "data"

    def __init__(self, policy: Policy, spec: DataPolicy, world: World) -> None:
        super().__init__(policy, spec, world)
        self.classes = frozenset(spec.classes)
        self.style: str = spec.action
        self.direction: str = spec.direction
        self.keep = spec.keep or 0
        self.exposure = frozenset(spec.exposure)
        self.purposes = frozenset(spec.purposes)
        self.purpose: tuple[str, str] = ("", "")
        """(`header` or `claim`, its name)."""
        if spec.purpose_from:
            kind, _, name = spec.purpose_from.partition(":")
            self.purpose = (kind, name.lower() if kind == "header" else name)
        doors = [selector for selector in (spec.exempt, spec.detokenise if spec.direction == "response" else None) if selector]
        tests = [test for test in (world.selector(door, loosens=True) for door in doors) if test is not None]
        if tests:
            self.exempt = tests[0] if len(tests) == 1 else lambda identity: any(test(identity) for test in tests)
        self.turns = {
            direction: world.selector(who, loosens=True)
            for direction, who in (("response", spec.detokenise), ("request", spec.tokens_from))
            if who is not None
        }
        """Direction -> callers for whom tokens are turned back."""
        self.shape: Effect | None = None
        """What becomes of the body's form, for a policy that needs no class."""
        if self.style == "aggregate":
            self.shape = Aggregate(spec.paths, spec.measures)
        elif self.style == "truncate" and (spec.items is not None or spec.paths):
            self.shape = Trim(spec.paths, spec.items, spec.keep if spec.paths else None)
        what = ", ".join(spec.classes) or ("rows" if self.style == "aggregate" else "more than the policy keeps")
        words = [f"be a caller with {selector_words(door)}" for door in doors]
        words += [f"call for the purpose {' or '.join(spec.purposes)}"] if spec.purposes else []
        self.to_pass = ", or ".join([f"send no {what}", *words])

    def opened(self, facts: Facts) -> bool:
        """Whether the call has a purpose for which the data may pass. What nobody checked opens nothing."""
        kind, name = self.purpose
        if kind == "header":
            message = facts.call.request
            return facts.identity.strength >= Strength.ASSERTED and message.headers.get(name, "").strip() in self.purposes
        # The claims of an identity are those of a token that is proved at least as well as its actor.
        return (
            kind == "claim" and facts.identity.strength is Strength.VERIFIED and facts.identity.claims.get(name) in self.purposes
        )

    def concerns(self, facts: Facts, found: Iterable[str], *, event: bool = False) -> list[str] | None:
        """Classes of the message that the policy is about, none for one that is about the message's form; None: it is not about it."""
        classes = [name for name in found if name in self.classes]
        if classes:
            return classes if self.style != "aggregate" or self.reshaping(facts, classes, event=event) is not None else None
        shape = self.shape
        if shape is None or self.classes or not facts.operation.raw_body:
            return None
        operation = facts.operation
        if isinstance(shape, Aggregate):
            return [] if self._row(facts, shape, event=event) or rows_of(operation, shape.places) else None
        return [] if isinstance(shape, Trim) and longer(operation, shape.places, shape.items, shape.characters) else None

    @staticmethod
    def _row(facts: Facts, shape: Aggregate, *, event: bool) -> bool:
        """Whether the message is a row of a stream; `$` among the places stands for the stream."""
        return event and (not shape.places or "$" in shape.places) and is_row(facts.operation)

    def reshaping(self, facts: Facts, classes: Sequence[str], *, event: bool = False) -> Effect | None:
        """What becomes of the form of this message."""
        shape = self.shape
        if isinstance(shape, Aggregate):
            hidden = tuple(dict.fromkeys(hit.place for hit in facts.data))
            if self._row(facts, shape, event=event):
                return Aggregate((), shape.measures, hidden, row=True)
            if facts.operation.protocol == "mcp":  # places in what a tool answered are not those of its envelope
                return Aggregate(shape.places, shape.measures, hidden) if rows_of(facts.operation, shape.places) else None
            places = shape.places or _lists(hit.place for hit in facts.data if hit.data_class in classes)
            return Aggregate(places, shape.measures, hidden) if places or not classes else None
        return shape


def _lists(places: Iterable[str]) -> tuple[str, ...]:
    """The outermost lists that these places are in."""
    return tuple(dict.fromkeys(place.partition("[]")[0] or "$" for place in places if "[]" in place))


Changing = list[tuple[Bound[DataRule], list[str], PolicyMatch]]


def judge(
    rules: Mapping[str, Sequence[Bound[DataRule]]], turning: Mapping[str, Sequence[Bound[DataRule]]], facts: Facts, paths: Paths,
    outcome: Outcome, *, event: bool = False,
) -> None:  # fmt: skip
    """`event`: the message is one event of a stream. `rules` and `turning` (those that turn tokens back) by direction. What blocks goes before what changes."""
    direction = "request" if facts.call.response is None else "response"
    found = dict.fromkeys([hit.data_class for hit in facts.data])
    turned = _turned(turning[direction], facts, paths, outcome) if turning[direction] else []
    for _, effect, _ in turned:
        # They are in the message once it is changed: what other policies say of them holds.
        found |= dict.fromkeys(effect.data_classes)
    changing: Changing = []
    for bound in rules[direction]:
        rule = bound.rule
        classes = rule.concerns(facts, found, event=event)
        if classes is None or (rule.purposes and rule.opened(facts)) or not applies(bound, facts, paths, outcome):
            continue
        blocks = rule.style == "block"
        what = ", ".join(classes) or ("rows" if rule.style == "aggregate" else "lists or texts")
        reason = rule.reason or f"{what} in the {direction}, for {shown(facts.identity.actor)}: {rule.style}"
        match = match_of(rule, bound.mode, "block" if blocks else "redact", reason, "", rule.to_pass)
        outcome.matches.append(match)
        if blocks:
            title = "Request refused" if direction == "request" else "Response withheld"
            detail = rule.reason or f"The {direction} holds data that may not pass."
            outcome.stop(bound.mode, "block", match, Deny(403, title, detail, "data-blocked"))
        else:
            changing.append((bound, classes, match))
    # After all of them: a policy that blocks goes before those that change, wherever it stands.
    for bound, effect, match in turned:
        outcome.edit(bound.mode, match, effect)
    _reshape(changing, facts, outcome, event=event)
    for bound, _, match in changing:
        if bound.rule.style in STRICTNESS:
            outcome.stop(bound.mode, "redact", match, _UNCHANGED)
    if outcome.action == "redact":
        outcome.effects = _redactions([one for one in changing if not outcome.excused(one[2], Mode.ENFORCE)])


_UNCHANGED = Redact((), "redact")
"""Stands in until all data policies are known."""


def _turned(
    rules: Sequence[Bound[DataRule]], facts: Facts, paths: Paths, outcome: Outcome
) -> list[tuple[Bound[DataRule], Detokenise, PolicyMatch]]:
    """The policies that turn tokens of this message back, and record that they do."""
    operation = facts.operation
    request = facts.call.response is None
    if MARK not in operation.raw_body and not (request and elsewhere(operation)):
        return []
    held = token_classes(operation.raw_body)
    found = []
    for bound in rules:
        rule = bound.rule
        selects = rule.turns["request" if request else "response"]
        classes = tuple(sorted(rule.classes & held)) if held else tuple(sorted(rule.classes))
        if not classes or not (bound.opens or bound.admits(paths)) or not (selects is None or selects(facts.identity)):
            continue
        try:
            if not holds(rule.conditions, facts, bound.params(paths) if rule.uses_path else NOWHERE, loosens=True):
                continue
        except ConditionError as error:
            reason = f"tokens are not turned back, its condition could not be evaluated: {error}"
            outcome.matches.append(match_of(rule, bound.mode, "report", reason))
            continue
        reason = f"tokens of {', '.join(classes)} are turned back for {shown(facts.identity.actor)}"
        match = match_of(rule, bound.mode, "redact", reason)
        outcome.matches.append(match)
        found.append((bound, Detokenise(classes), match))
    return found


def _reshape(changing: Changing, facts: Facts, outcome: Outcome, *, event: bool) -> None:
    """Rows become counts before lists are cut: what is counted is all of them."""
    for style in ("aggregate", "truncate"):
        for bound, classes, match in changing:
            rule = bound.rule
            if rule.style != style or rule.shape is None:
                continue
            effect = rule.reshaping(facts, classes, event=event)
            if effect is not None:
                outcome.edit(bound.mode, match, effect)


def _redactions(changing: Changing) -> tuple[Effect, ...]:
    """One effect per style, strictest first; each class is under the strictest style of the enforced policies that name it."""
    styles: dict[str, tuple[int, int]] = {}
    """Class -> (strictness, characters that are kept, negative: fewer are stricter)."""
    for bound, classes, _ in changing:
        rule = bound.rule
        if bound.mode is Mode.ENFORCE and rule.style in STRICTNESS:
            strict = (STRICTNESS[rule.style], -rule.keep)
            for name in classes:
                if name not in styles or strict > styles[name]:
                    styles[name] = strict
    by_style: dict[tuple[int, int], list[str]] = {}
    for name, strict in styles.items():
        by_style.setdefault(strict, []).append(name)
    words = tuple(STRICTNESS)
    return tuple(Redact(tuple(by_style[strict]), words[strict[0]], -strict[1]) for strict in sorted(by_style, reverse=True))
