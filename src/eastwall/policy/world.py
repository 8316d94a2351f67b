"""What rules are compiled against, beside their own text."""

from __future__ import annotations

from collections.abc import Mapping

from eastwall.policy.kinds import Identities
from eastwall.policy.selecting import Selector, compile_selector


class World:
    """What is known of the detections, and what policies say that others refer to."""

    __slots__ = ("default_actions",)

    def __init__(self, default_actions: Mapping[str, str]) -> None:
        self.default_actions = default_actions
        """Detection id -> what it does of itself."""

    def selector(self, identities: Identities, *, loosens: bool) -> Selector | None:
        """A test of callers; None selects everybody. `loosens`: see `Identities.strength`."""
        return compile_selector(identities, loosens=loosens)
