"""Data that may not pass as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eastwall.model.call import Mode
from eastwall.model.decision import Deny, Effect, PolicyMatch, Redact
from eastwall.model.facts import Facts
from eastwall.policy.kinds import DataPolicy, Policy
from eastwall.policy.patterns import Paths
from eastwall.policy.rules import Bound, CompiledRule
from eastwall.policy.selecting import selector_words
from eastwall.policy.steps.applying import applies, match_of
from eastwall.policy.steps.outcome import Outcome
from eastwall.policy.wording import shown
from eastwall.policy.world import World

STRICTNESS = {"mask": 0, "format": 1, "hash": 2, "redact": 3, "drop": 4}
"""Of several data policies for a class the strictest holds: the one that leaves least."""


class DataRule(CompiledRule):
    """A DataPolicy."""

    __slots__ = ("classes", "direction", "style")
    step = "data"

    def __init__(self, policy: Policy, spec: DataPolicy, world: World) -> None:
        super().__init__(policy, spec, world)
        self.classes = frozenset(spec.classes)
        self.style: str = spec.action
        self.direction: str = spec.direction
        exempt = ""
        if spec.exempt is not None:
            self.exempt = world.selector(spec.exempt, loosens=True)
            exempt = selector_words(spec.exempt)
        self.to_pass = f"send no {', '.join(spec.classes)}" + (f", or be a caller with {exempt}" if exempt else "")


def judge(rules: Mapping[str, Sequence[Bound[DataRule]]], facts: Facts, paths: Paths, outcome: Outcome) -> None:
    """`rules` by direction. What blocks goes before what changes."""
    direction = "request" if facts.call.response is None else "response"
    found = dict.fromkeys([hit.data_class for hit in facts.data])
    changing: list[tuple[Bound[DataRule], list[str], PolicyMatch]] = []
    for bound in rules[direction]:
        rule = bound.rule
        classes: list[str] = [name for name in found if name in rule.classes]
        if not classes or not applies(bound, facts, paths, outcome):
            continue
        blocks = rule.style == "block"
        reason = rule.reason or f"{', '.join(classes)} in the {direction}, for {shown(facts.identity.actor)}: {rule.style}"
        match = match_of(rule, bound.mode, "block" if blocks else "redact", reason, "", rule.to_pass)
        outcome.matches.append(match)
        if blocks:
            title = "Request refused" if direction == "request" else "Response withheld"
            detail = rule.reason or f"The {direction} holds data that may not pass."
            outcome.stop(bound.mode, "block", match, Deny(403, title, detail, "data-blocked"))
        else:
            changing.append((bound, classes, match))
    # After all of them: a policy that blocks goes before those that change, wherever it stands.
    for bound, _, match in changing:
        outcome.stop(bound.mode, "redact", match, _UNCHANGED)
    if outcome.action == "redact":
        outcome.effects = _redactions(changing)


_UNCHANGED = Redact((), "redact")
"""Stands in until all data policies are known."""


def _redactions(changing: Sequence[tuple[Bound[DataRule], list[str], PolicyMatch]]) -> tuple[Effect, ...]:
    """One effect per style, strictest first; each class is under the strictest style of the enforced policies that name it."""
    styles: dict[str, str] = {}
    for bound, classes, _ in changing:
        if bound.mode is Mode.ENFORCE:
            style = bound.rule.style
            for name in classes:
                if name not in styles or STRICTNESS[style] > STRICTNESS[styles[name]]:
                    styles[name] = style
    by_style: dict[str, list[str]] = {}
    for name, style in styles.items():
        by_style.setdefault(style, []).append(name)
    return tuple(Redact(tuple(by_style[style]), style) for style in sorted(by_style, key=STRICTNESS.__getitem__, reverse=True))
