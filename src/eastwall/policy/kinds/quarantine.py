"""Closed for now."""

from __future__ import annotations

from msgspec import Struct

from eastwall.policy.kinds.scope import Identities, ModeName, OnError, Scope


class Quarantine(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="Quarantine"
):
    """Closes operations, services, callers or tools for a time. Asked before everything else, so nothing opens what it closes."""

    scope: Scope = Scope()
    """What is closed: services, operations, callers. All that are set must agree."""
    tools: tuple[str, ...] = ()
    """Globs over names of MCP tools: only calls of these are refused."""
    maintenance: Identities | None = None
    """Who may still enter. Where no strength is named, `asserted` is needed."""
    rate: str = ""
    """How often all of those together may call: `10/m`."""
    until: str = ""
    """When it ends, RFC 3339: `2026-12-01T08:00:00Z`, or a date: the end of that day, UTC."""
    issued_after: str = ""
    """Not closed but signed out: callers whose verified token was issued at this time (RFC 3339; its claim `iat`) or later enter, the others
    get 401."""
    indefinite: bool = False
    """It ends when somebody lifts it. Either this or `until` is needed."""
    mode: ModeName = "enforce"
    """How far this policy goes; the service's mode, if lower, holds."""
    on_error: OnError = "block"
    """When a condition cannot be evaluated: `block` answers 503, `monitor` records what would be, `allow` lets the call pass."""
    when: tuple[str, ...] = ()
    """CEL conditions, all of which must hold."""
    reason: str = ""
    """Shown to the refused caller and to analysts: one plain sentence."""
