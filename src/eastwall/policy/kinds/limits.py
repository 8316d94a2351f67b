"""How often and how much."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from eastwall.policy.kinds.rollout import Guard, Rollout
from eastwall.policy.kinds.scope import ModeName, OnError, Scope

LimitKey = Literal["identity", "source", "operation", "tenant", "service", "tool", "agent", "human", "class"]
OnOutage = Literal["local", "block", "allow"]


class LimitPolicy(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="LimitPolicy"
):
    """How often, how many at once, how much. At least one of `rate`, `concurrency`, `bytes`, `records`, `objects` and `values`; of several,
    each holds."""

    rate: str = ""
    """Calls: `20/s`, `100/m`, `1000/h`, `5000/d`."""
    burst: int | None = None
    """Calls of `rate` that may come at once; not set: one second's worth, at least 1."""
    concurrency: int | None = None
    """Calls that may be open at once."""
    bytes: str = ""
    """Bytes of bodies: `10MiB/h`."""
    direction: Literal["both", "request", "response"] = "both"
    """Whose bytes count."""
    records: str = ""
    """Items of answers' lists: `1000/h`."""
    objects: str = ""
    """Distinct objects that requests name or answers give: `200/h`; at most 10000."""
    values: str = ""
    """Values of `classes` in answers, `500/d`: a budget. What a DataPolicy redacts is not given, so it does not count."""
    classes: tuple[str, ...] = ()
    """Data classes that `values` counts."""
    per: tuple[LimitKey, ...] = ("identity",)
    """What is counted apart; several together, e.g. `[identity, operation]`."""
    headers: bool = False
    """Tell on answers that pass how much is left, in the RateLimit header fields."""
    on_outage: OnOutage = "local"
    """When the store that engines share cannot be reached: `local` counts what this engine sees, `block` answers 503, `allow` lets pass
    uncounted."""
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
    """CEL conditions, all of which must hold for the call to be counted."""
    reason: str = ""
    """Shown to the refused caller and to analysts: one plain sentence."""
