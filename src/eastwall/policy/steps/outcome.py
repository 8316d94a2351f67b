"""What the steps have found so far, and the verdict that follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from eastwall.model.call import Mode
from eastwall.model.decision import ALLOWED, Detokenise, Effect, PolicyMatch, Strip, Verdict, Withhold

if TYPE_CHECKING:
    from eastwall.policy.steps.approvals import Use, Waiting


class Excuses(Protocol):
    """The Exceptions that apply to a call (`steps.exceptions`)."""

    def excuse(self, match: PolicyMatch, view: Mode) -> PolicyMatch | None:
        """What is recorded in place of `match` when it is excused, among the enforced Exceptions (ENFORCE) or all (MONITOR); else None."""


class Outcome:
    """What the steps have found so far, of one message."""

    # Made for every call that some rule is about, and mostly nothing is found: what is seldom set stands in the class.
    action = "allow"
    would = "allow"
    effects: tuple[Effect, ...] = ()
    deciding: PolicyMatch | None = None
    edits: Sequence[Effect] = ()
    """What enforced policies change in a message that nothing stops, beside its values."""
    edited: PolicyMatch | None = None
    edited_then: PolicyMatch | None = None
    """The first that would change it, enforced or not."""
    withheld: Mapping[tuple[str | int, ...], PolicyMatch] = MappingProxyType({})
    """Paths of items that enforced policies take out, if nothing stops the message."""
    withheld_then: PolicyMatch | None = None
    """The first that would take out some, enforced or not."""
    uses: tuple[Use, ...] = ()
    """Approvals for a single call that this one uses up if it passes."""
    waiting: tuple[Waiting, ...] = ()
    """Calls of tools in it that wait for approval."""
    _excused: Mapping[int, PolicyMatch] = MappingProxyType({})

    def __init__(self, excuses: Excuses | None = None) -> None:
        self._excuses = excuses
        self.matches: list[PolicyMatch] = []

    def excused(self, match: PolicyMatch, view: Mode) -> bool:
        """Whether an Exception lets the call off what this policy says. `view`: ENFORCE, what is done; MONITOR, what would be done."""
        if self._excuses is None:
            return False
        told = self._excuses.excuse(match, view)
        if told is None:
            return False
        if view is Mode.ENFORCE or match.mode is not Mode.ENFORCE or id(match) in self._excused:
            self._excused = {id(match): told, **self._excused}
        return True

    def edit(self, mode: Mode, match: PolicyMatch, effect: Effect) -> None:
        """A policy of this effective mode changes a message that nothing stops."""
        restricts = not isinstance(effect, Detokenise)
        if mode is Mode.ENFORCE and not (restricts and self.excused(match, Mode.ENFORCE)):
            if effect not in self.edits:
                self.edits = (*self.edits, effect)
            self.edited = self.edited or match
        if not (restricts and self.excused(match, Mode.MONITOR)):
            self.edited_then = self.edited_then or match

    def refuse(self, mode: Mode, action: str, match: PolicyMatch, effect: Effect) -> None:
        """`stop`, also of a message that was to pass changed."""
        if mode is Mode.ENFORCE and not self.excused(match, Mode.ENFORCE) and self.action in ("allow", "redact"):
            self.action, self.effects, self.deciding = action, (effect,), match
        if not self.excused(match, Mode.MONITOR) and self.would in ("allow", "redact"):
            self.would = action
            if self.deciding is None:
                self.deciding = match

    def withhold(self, items: Iterable[tuple[str | int, ...]], match: PolicyMatch) -> None:
        """An enforced policy takes these items out."""
        self.withheld = {**self.withheld, **dict.fromkeys(items, match)}

    def stop(self, mode: Mode, action: str, match: PolicyMatch, effect: Effect) -> bool:
        """A policy of this effective mode stops the call. Returns whether it does: an Exception may excuse the call."""
        stands = mode is not Mode.ENFORCE or self.stop_now(action, match, effect)
        return self.stop_then(action, match) and stands

    def stop_now(self, action: str, match: PolicyMatch, effect: Effect) -> bool:
        """The enforced policies alone stop the call; only the first that does counts."""
        if self.excused(match, Mode.ENFORCE):
            return False
        if self.action == "allow":
            self.action, self.effects, self.deciding = action, (effect,), match
        return True

    def stop_then(self, action: str, match: PolicyMatch) -> bool:
        """The enforced and the monitored policies together would stop the call; only the first that does counts."""
        if self.excused(match, Mode.MONITOR):
            return False
        if self.would == "allow":
            self.would = action
            if self.deciding is None:
                self.deciding = match
        return True

    def verdict(self) -> Verdict:
        matches = self.matches
        if not matches:
            return Verdict("allow", "allow", self.effects) if self.effects else ALLOWED
        if self.withheld and self.action in ("allow", "redact"):
            self.action, self.effects = "redact", (Withhold(tuple(self.withheld)), *self.effects)
            self.deciding = self.deciding or next(iter(self.withheld.values()))
        if self.edits and self.action in ("allow", "redact"):
            members = dict.fromkeys(path for effect in self.edits if isinstance(effect, Strip) for path in effect.members)
            strips = (Strip(tuple(members)),) if members else ()
            others = [effect for effect in self.edits if not isinstance(effect, Strip)]
            # Properties go before items: paths of items do not change by it.
            withheld = self.effects[:1] if self.withheld else ()
            self.effects = (*strips, *withheld, *others, *self.effects[len(withheld) :])
            self.action, self.deciding = "redact", self.deciding or self.edited
        if self.edited_then is not None and self.would == "allow":
            self.would = "redact"
            self.deciding = self.deciding or self.edited_then
        if self.withheld_then is not None and self.would == "allow":
            self.would = "redact"
            self.deciding = self.deciding or self.withheld_then
        if self.deciding is not None:
            first = next(
                i
                for i, match in enumerate(matches)
                if (match.action not in ("allow", "report") and id(match) not in self._excused) or match is self.deciding
            )
            matches.remove(self.deciding)
            matches.insert(first, self.deciding)
        if self._excused:
            matches = [self._excused.get(id(match), match) for match in matches]
        return Verdict(self.action, self.would, self.effects, tuple(matches))
