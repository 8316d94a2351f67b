"""What policies would stop, and shall not, for a time."""

from __future__ import annotations

from msgspec import Struct

from eastwall.policy.kinds.scope import ModeName, OnError, Scope


class PolicyException(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="Exception"
):
    """Excuses calls from policies or detections for a time: they pass, and what would have stopped them is recorded as excused."""

    expires: str
    """When it ends, RFC 3339: `2026-12-01T08:00:00Z`, or a date: the end of that day, UTC. Afterwards it has no effect."""
    reason: str
    """Why: one plain sentence, for whoever reads `eastwall why`."""
    owner: str
    """Who answers for it."""
    policies: tuple[str, ...] = ()
    """Names of policies, or globs over them. A Quarantine is excused only where its name stands here in full."""
    detections: tuple[str, ...] = ()
    """Ids of detections, or globs: whatever policy acts on their findings."""
    scope: Scope = Scope()
    """Which calls. Where its selector of callers names no strength, `asserted` is needed."""
    when: tuple[str, ...] = ()
    """CEL conditions, all of which must hold; where one cannot be evaluated, nothing is excused."""
    mode: ModeName = "enforce"
    """`monitor`: it is recorded what would be excused."""

    @property
    def on_error(self) -> OnError:
        return "block"
