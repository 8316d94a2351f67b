"""One policy, compiled: what every kind has. What a kind has beside is in its step's file (`steps/`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from eastwall.model.call import Mode
from eastwall.model.decision import PolicyMatch
from eastwall.policy.conditions import Condition
from eastwall.policy.kinds import BUILTIN, Policy, Rule
from eastwall.policy.patterns import OperationPattern, Paths, parameters, parse_operation, segments_match
from eastwall.policy.rollout import GuardRule, Share
from eastwall.policy.selecting import Selector
from eastwall.policy.world import World

MODES = {"discover": Mode.DISCOVER, "monitor": Mode.MONITOR, "enforce": Mode.ENFORCE}


class CompiledRule:
    """One policy, ready to be asked."""

    __slots__ = (
        "builtin", "conditions", "exempt", "guard", "kind", "location", "mode", "name", "on_error", "patterns", "reason", "selects", "services",
        "share", "to_pass", "uses_path",
    )  # fmt: skip
    step: ClassVar[str] = ""
    """Name of the step of `evaluate` that asks it."""

    def __init__(self, policy: Policy, spec: Rule, world: World, *, loosens: bool = False) -> None:
        """`loosens`: see `Identities.strength`. Raises ConditionError, ValueError on what `check` would not have let pass."""
        self.name, self.location, self.kind = policy.name, policy.location, policy.kind
        self.builtin = policy.name.startswith(BUILTIN)
        self.mode, self.on_error, self.reason = MODES[spec.mode], spec.on_error, spec.reason
        self.services = world.service_test(spec.scope.services, spec.scope.zones)
        self.patterns = tuple(parse_operation(text) for text in spec.scope.operations)
        self.conditions = tuple(Condition(text) for text in spec.when)
        self.uses_path = any(condition.uses_path for condition in self.conditions)
        self.selects = world.selector(spec.scope.identities, loosens=loosens)
        rollout, guard = getattr(spec, "rollout", None), getattr(spec, "guard", None)
        self.share = Share(self.name, rollout, world.key) if rollout is not None else None
        """The part of the calls that it is enforced for; None: all."""
        self.guard = GuardRule(guard) if guard is not None else None
        self.exempt: Selector | None = None
        self.to_pass = ""
        """What would make a call pass that this policy stops, where that is the same for all calls."""


R = TypeVar("R", bound=CompiledRule, covariant=True)


class Bound(Generic[R]):
    """A rule as it stands for one operation: with its effective mode, and what must still be looked at in each call's path."""

    __slots__ = ("allowing", "always", "mode", "opens", "patterns", "rule")

    def __init__(self, rule: R, mode: Mode, patterns: tuple[OperationPattern, ...], *, always: bool, opens: bool) -> None:
        self.rule, self.mode, self.patterns = rule, mode, patterns
        self.allowing = PolicyMatch(
            rule.name, rule.kind, rule.location, mode, "allow", rule.reason or "the policy allows this caller"
        )
        """What is recorded when an `allow` lets a call in."""
        self.always = always
        """Every path of this operation is in scope."""
        self.opens = opens
        """Every path of this operation is in scope when read to the letter: what an `allow` needs to let a call in."""

    def monitored(self) -> Bound[R]:
        """The same, as it stands where it is not enforced."""
        return Bound(self.rule, Mode.MONITOR, self.patterns, always=self.always, opens=self.opens)

    def covers(self, paths: Paths) -> bool:
        """Whether some reading of the path is in scope; services may ignore case, so this does."""
        if self.always:
            return True
        return any(segments_match(p.folded, p.open, way) for p in self.patterns for way in paths.folded)

    def admits(self, paths: Paths) -> bool:
        """Whether every reading of the path is in scope, to the letter."""
        return self.opens or all(any(segments_match(p.segments, p.open, way) for p in self.patterns) for way in paths.plain)

    def params(self, paths: Paths) -> tuple[dict[str, str], ...]:
        """Path parameters under the names of the policy's own patterns, of each reading of the path that is in scope; never empty."""
        return params_of(self.patterns, paths)


_NO_PARAMETERS: tuple[dict[str, str], ...] = ({},)


def params_of(patterns: Sequence[OperationPattern], paths: Paths) -> tuple[dict[str, str], ...]:
    """Path parameters of each reading of the path that is in one of these patterns, under the names of the first that it is in; never empty."""
    found: list[dict[str, str]] = []
    if any(pattern.names for pattern in patterns):
        for way, folded in zip(paths.plain, paths.folded, strict=True):
            for pattern in patterns:
                if segments_match(pattern.folded, pattern.open, folded):
                    values = parameters(pattern, way)
                    if values not in found:
                        found.append(values)
                    break
    return tuple(found) or _NO_PARAMETERS
