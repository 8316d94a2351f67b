"""What the steps have found so far, and the verdict that follows from it."""

from __future__ import annotations

from eastwall.model.call import Mode
from eastwall.model.decision import ALLOWED, Effect, PolicyMatch, Strip, Verdict, Withhold


class Outcome:
    """What the steps have found so far, of one message."""

    __slots__ = (
        "action",
        "deciding",
        "edited",
        "edited_then",
        "edits",
        "effects",
        "matches",
        "withheld",
        "withheld_then",
        "would",
    )

    def __init__(self) -> None:
        self.matches: list[PolicyMatch] = []
        self.effects: tuple[Effect, ...] = ()
        self.action = "allow"
        self.would = "allow"
        self.deciding: PolicyMatch | None = None
        self.edits: list[Effect] = []
        """What enforced policies change in a message that nothing stops, beside its values."""
        self.edited: PolicyMatch | None = None
        self.edited_then: PolicyMatch | None = None
        """The first that would change it, enforced or not."""
        self.withheld: dict[tuple[str | int, ...], PolicyMatch] = {}
        """Paths of items that enforced policies take out, if nothing stops the message."""
        self.withheld_then: PolicyMatch | None = None
        """The first that would take out some, enforced or not."""

    def stop(self, mode: Mode, action: str, match: PolicyMatch, effect: Effect) -> None:
        """A policy of this effective mode stops the call."""
        if mode is Mode.ENFORCE:
            self.stop_now(action, match, effect)
        self.stop_then(action, match)

    def edit(self, mode: Mode, match: PolicyMatch, effect: Effect) -> None:
        """A policy of this effective mode changes a message that nothing stops."""
        if mode is Mode.ENFORCE:
            if effect not in self.edits:
                self.edits.append(effect)
            self.edited = self.edited or match
        self.edited_then = self.edited_then or match

    def stop_now(self, action: str, match: PolicyMatch, effect: Effect) -> None:
        """The enforced policies alone stop the call; only the first that does counts."""
        if self.action == "allow":
            self.action, self.effects, self.deciding = action, (effect,), match

    def stop_then(self, action: str, match: PolicyMatch) -> None:
        """The enforced and the monitored policies together would stop the call; only the first that does counts."""
        if self.would == "allow":
            self.would = action
            if self.deciding is None:
                self.deciding = match

    def verdict(self) -> Verdict:
        matches = self.matches
        if not matches:
            return ALLOWED
        if self.withheld and self.action in ("allow", "redact"):
            self.action, self.effects = "redact", (Withhold(tuple(self.withheld)), *self.effects)
            self.deciding = self.deciding or next(iter(self.withheld.values()))
        if self.edits and self.action in ("allow", "redact"):
            strips = [effect for effect in self.edits if isinstance(effect, Strip)]
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
                i for i, match in enumerate(matches) if match.action not in ("allow", "report") or match is self.deciding
            )
            matches.remove(self.deciding)
            matches.insert(first, self.deciding)
        return Verdict(self.action, self.would, self.effects, tuple(matches))
