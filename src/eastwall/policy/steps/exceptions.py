"""What would stop a call and is excused, for a time."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from eastwall.model.call import Mode
from eastwall.model.decision import PolicyMatch
from eastwall.model.facts import Facts
from eastwall.policy.conditions import ConditionError
from eastwall.policy.kinds import Policy, PolicyException
from eastwall.policy.patterns import Paths, compile_globs
from eastwall.policy.rules import Bound, CompiledRule
from eastwall.policy.steps.applying import meets
from eastwall.policy.times import parse_end, shown_end
from eastwall.policy.world import World


class ExceptionRule(CompiledRule):
    """An Exception."""

    __slots__ = ("detections", "expires", "names", "policies", "words")
    step = "exceptions"

    def __init__(self, policy: Policy, spec: PolicyException, world: World) -> None:
        super().__init__(policy, spec, world, loosens=True)
        self.policies, self.detections = compile_globs(spec.policies), compile_globs(spec.detections)
        self.names = frozenset(spec.policies)
        self.expires = parse_end(spec.expires)
        self.words = f"excused until {shown_end(self.expires)} by Exception `{policy.name}` of {spec.owner}: {spec.reason}"

    def speaks_of(self, match: PolicyMatch) -> bool:
        """Whether what this policy says is excused. What closes something in an emergency is not, unless it is named."""
        if match.kind == "Quarantine":
            return match.policy in self.names
        if self.policies is not None and not self.policies(match.policy):
            return False
        return self.detections is None or (bool(match.finding) and self.detections(match.finding))


class CallExcuses:
    """The Exceptions for one message; looked at when something is about to stop it, so calls that nothing stops pay nothing."""

    __slots__ = ("_bound", "_facts", "_holding", "_paths")

    def __init__(self, bound: Sequence[Bound[ExceptionRule]], facts: Facts, paths: Paths) -> None:
        self._bound, self._facts, self._paths = bound, facts, paths
        self._holding: list[Bound[ExceptionRule]] | None = None

    def excuse(self, match: PolicyMatch, view: Mode) -> PolicyMatch | None:
        """See `outcome.Excuses`."""
        if self._holding is None:
            self._holding = [bound for bound in self._bound if self._holds(bound)]
        for bound in self._holding:
            if bound.mode >= view and bound.rule.speaks_of(match):
                return replace(match, action="excused", reason=f"{match.reason}; {bound.rule.words}", to_pass="")
        return None

    def _holds(self, bound: Bound[ExceptionRule]) -> bool:
        if self._facts.call.time >= bound.rule.expires or not (bound.opens or bound.admits(self._paths)):
            return False
        try:
            return meets(bound, self._facts, self._paths, loosens=True)
        except ConditionError:
            return False  # what loosens must be certain
