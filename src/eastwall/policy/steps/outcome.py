"""What the steps have found so far, and the verdict that follows from it."""

from __future__ import annotations

from eastwall.model.call import Mode
from eastwall.model.decision import ALLOWED, Effect, PolicyMatch, Verdict, Withhold


class Outcome:
    """What the steps have found so far, of one message."""

    __slots__ = ("action", "deciding", "effects", "matches", "withheld", "withheld_then", "would")

    def __init__(self) -> None:
        self.matches: list[PolicyMatch] = []
        self.effects: tuple[Effect, ...] = ()
        self.action = "allow"
        self.would = "allow"
        self.deciding: PolicyMatch | None = None
        self.withheld: dict[tuple[str | int, ...], PolicyMatch] = {}
        """Paths of items that enforced policies take out, if nothing stops the message."""
        self.withheld_then: PolicyMatch | None = None
        """The first that would take out some, enforced or not."""

    def stop(self, mode: Mode, action: str, match: PolicyMatch, effect: Effect) -> None:
        """A policy of this effective mode stops the call."""
        if mode is Mode.ENFORCE:
            self.stop_now(action, match, effect)
        self.stop_then(action, match)

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
