"""Tools of MCP servers: who may call which, with which arguments."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from eastwall.policy.kinds.rollout import Guard, Rollout
from eastwall.policy.kinds.scope import Identities, ModeName, OnError, Scope


class TaintSource(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """What a caller may have been given. All fields that are set must agree."""

    data: tuple[str, ...] = ()
    """Data classes, of which a value was in the answer when it left us: what was redacted or counted was not given."""
    tools: tuple[str, ...] = ()
    """Globs over names of MCP tools, whose answer it was."""
    services: tuple[str, ...] = ()
    """Whose answer it was: names, globs."""
    exposure: tuple[Literal["internet", "partner", "internal", "external"], ...] = ()
    """Only of services with this `exposure`: `[external]` for what third parties say."""


class Taint(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """What a caller may no longer do once it was given something: no payments after reading the web, nothing to the outside after reading
    card numbers."""

    sources: tuple[TaintSource, ...]
    """What taints: one is enough."""
    within: str = "1h"
    """How long it lasts from the last time: `30s`, `10m`, `2h`; a day at most."""
    then: Literal["deny", "human", "operator"] = "deny"
    """`deny`: the tools are closed to the caller; `human`, `operator`: they need what `approval` of that name asks for."""


class ToolPolicy(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="ToolPolicy"
):
    """What must hold for calls of MCP tools. Of several policies for a tool all must hold."""

    servers: tuple[str, ...] = ()
    """Services that are MCP servers: names, globs. Empty: all."""
    tools: tuple[str, ...] = ()
    """Globs over names of tools. Empty: all."""
    callers: Identities = Identities()
    """Who may call them; where no strength is named, `asserted` is needed. Empty: everybody."""
    arguments: tuple[str, ...] = ()
    """CEL conditions over `arguments.NAME` (and all that `when` may name), which must hold: `arguments.amount <= 100.0`."""
    approval: Literal["none", "human", "operator"] = "none"
    """`human`: only for a human whose identity is proved (at least asserted), not for an agent on its own; `operator`: each call (the same
    caller, tool and arguments) waits until somebody approves it: `eastwall approval`."""
    show: tuple[str, ...] = ()
    """Names of arguments that whoever approves a call sees. Empty: none."""
    pinned: dict[str, str] = {}
    """Tool -> `sha256:` and the digest of its definition. An answer to `tools/list` that defines it otherwise is withheld."""
    changed: Literal["block", "report"] = "block"
    """What becomes of an answer in which a pinned definition has changed."""
    taint: Taint | None = None
    """What closes the tools to a caller for a time: what it was given before, by any service. Not set: nothing."""
    unlisted: Literal["allow", "deny"] = "allow"
    """`deny`: tools of these servers that no ToolPolicy's `tools` names are refused."""
    rollout: Rollout | None = None
    """For which part of the calls the policy is enforced; for the rest it is monitored. Not set: all."""
    guard: Guard | None = None
    """When the policy steps back to `monitor` by itself. Not set: never."""
    mode: ModeName = "enforce"
    """How far this policy goes; the service's mode, if lower, holds."""
    on_error: OnError = "block"
    """When a condition cannot be evaluated: `block` answers 503, `monitor` records what would be, `allow` lets the call pass."""
    when: tuple[str, ...] = ()
    """CEL conditions: the policy concerns only calls for which all hold."""
    reason: str = ""
    """Shown to the refused caller and to analysts: one plain sentence."""

    @property
    def scope(self) -> Scope:
        return Scope(services=self.servers)
