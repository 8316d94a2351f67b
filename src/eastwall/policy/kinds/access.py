"""Who may call what."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from eastwall.policy.kinds.rollout import Guard, Rollout
from eastwall.policy.kinds.scope import ModeName, OnError, Scope


class AccessPolicy(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="AccessPolicy"
):
    """Who may call what. Deny wins. An operation in the scope of an `allow` policy is closed to everybody whom none selects."""

    action: Literal["allow", "deny"]
    """`allow` or `deny`."""
    rollout: Rollout | None = None
    """For which part of the calls the policy is enforced; for the rest it is monitored. Not set: all."""
    guard: Guard | None = None
    """When the policy steps back to `monitor` by itself. Not set: never."""
    mode: ModeName = "enforce"
    """How far this policy goes; the service's mode, if lower, holds."""
    on_error: OnError = "block"
    """When a condition cannot be evaluated: `block` answers 503, `monitor` records what would be, `allow` lets the call pass."""
    scope: Scope = Scope()
    """Where it applies."""
    when: tuple[str, ...] = ()
    """CEL conditions, all of which must hold: `path.user_id == identity.sub`."""
    reason: str = ""
    """Shown to the refused caller and to analysts: one plain sentence."""
