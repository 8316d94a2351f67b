"""What a message may look like."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from eastwall.policy.kinds.rollout import Guard, Rollout
from eastwall.policy.kinds.scope import ModeName, OnError, Scope


class SchemaPolicy(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="SchemaPolicy"
):
    """What the bodies of messages may look like: held against the schema that was learned of the operation or is declared for it, and against
    bounds that need none. Where a schema is not known, or learned from too little, the record says so and nothing is guessed."""

    source: Literal["learned", "declared", "either"] = "either"
    """Which schema: what was `learned` of the operation, what a specification `declared`, or `either`: the declared one where there is one."""
    direction: Literal["request", "response", "both"] = "request"
    """Which messages."""
    types: Literal["ignore", "report", "block"] = "report"
    """A value of another JSON type than the schema says, or another kind of body."""
    unknown: Literal["ignore", "report", "strip", "block"] = "report"
    """A property that the schema does not have; `strip` takes it out and lets the rest pass."""
    missing: Literal["ignore", "report", "block"] = "report"
    """A required property that is not there."""
    parameters: Literal["ignore", "report", "block"] = "ignore"
    """Of requests: a query parameter that the schema does not have, one that is no number or truth value though it must be, or a required one
    that is not there."""
    max_depth: int | None = None
    """Levels of objects and lists in each other."""
    max_length: int | None = None
    """Characters of a text."""
    max_items: int | None = None
    """Items of a list."""
    max_properties: int | None = None
    """Properties of an object."""
    max_size: str = ""
    """Bytes of the body: `64KiB`."""
    over_limit: Literal["report", "block"] = "block"
    """A body that is over one of the bounds."""
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
    """CEL conditions, all of which must hold."""
    reason: str = ""
    """Shown to the refused caller and to analysts: one plain sentence."""
