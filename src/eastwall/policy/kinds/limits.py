"""How often and how much."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from eastwall.policy.kinds.scope import ModeName, OnError, Scope

LimitKey = Literal["identity", "source", "operation", "tenant", "service"]


class LimitPolicy(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="LimitPolicy"
):
    """How often."""

    rate: str
    """`20/s`, `100/m`, `1000/h`, `5000/d`."""
    burst: int | None = None
    """Calls that may come at once; not set: one second's worth, at least 1."""
    per: tuple[LimitKey, ...] = ("identity",)
    """What is counted apart; several together, e.g. `[identity, operation]`."""
    mode: ModeName = "enforce"
    """How far this policy goes; the service's mode, if lower, holds."""
    on_error: OnError = "block"
    """When a condition cannot be evaluated: `block` answers 503, `monitor` records what would be, `allow` lets the call pass."""
    scope: Scope = Scope()
    """Where it applies."""
    when: tuple[str, ...] = ()
    """CEL conditions, all of which must hold for the call to be counted."""
    reason: str = ""
    """Shown to the refused caller and to analysts: one plain sentence."""
