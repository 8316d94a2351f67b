"""Where policies apply and to whom: what all kinds share."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

API_VERSION = "eastwall.dev/v1alpha1"
BUILTIN = "builtin/"
"""Prefix of the names of policies that come with Eastwall. A policy of one's own with the same name takes its place."""

ModeName = Literal["discover", "monitor", "enforce"]
OnError = Literal["block", "monitor", "allow"]
StrengthName = Literal["none", "guessed", "asserted", "verified"]
SeverityName = Literal["info", "low", "medium", "high", "critical"]
ConfidenceName = Literal["low", "medium", "high"]


class Identities(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Selects callers. Every field that is set must agree; within a field one of its items is enough. Empty selects everybody."""

    actors: tuple[str, ...] = ()
    """Globs over `kind:name` of the caller or of any principal in its chain: `user:alice`, `workload:spiffe://shop/ns/web/*`."""
    classes: tuple[str, ...] = ()
    """Globs over the identity class: `user+admin`, `workload:*`, `anonymous`."""
    kinds: tuple[Literal["user", "agent", "workload", "client", "key", "address"], ...] = ()
    """What the caller is."""
    roles: tuple[str, ...] = ()
    """Roles, one of which the caller must bear."""
    scopes: tuple[str, ...] = ()
    """OAuth scopes, one of which the caller's token must bear."""
    tenants: tuple[str, ...] = ()
    """Globs over the caller's tenant."""
    zones: tuple[str, ...] = ()
    """Names of TrustZones, or globs, one of which the caller is a member of."""
    namespaces: tuple[str, ...] = ()
    """Globs over the namespace of the calling workload."""
    labels: tuple[str, ...] = ()
    """Globs over `NAME=VALUE` labels of the calling workload, where it is known by its address."""
    agents: tuple[str, ...] = ()
    """Globs over `kind:name` of the AI agent or MCP client that calls, on its own or for somebody; `*`: any."""
    human: Literal["required", "absent"] | None = None
    """Whether a human is behind the call: `absent` is an agent or a workload on its own."""
    strength: StrengthName | None = None
    """How well the identity must be proved, at least. Where a selector loosens (an `allow` policy, `except`) and this is not set,
    it is `asserted`: what nobody checked opens no door. Network addresses are exempt, they are seen and not claimed."""


class Scope(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Where a policy applies. What is left out applies to all."""

    services: tuple[str, ...] = ()
    """Names of services, or globs over them."""
    zones: tuple[str, ...] = ()
    """Names of TrustZones, or globs: the services that are members of one of them."""
    operations: tuple[str, ...] = ()
    """`METHOD /path`: `GET /orders/{order_id}`, `* /admin/**`. `{name}` and `*` stand for one path segment or a part of one, `**`
    at the end for any number (also none), `*` as the method for every method. GET includes HEAD."""
    identities: Identities = Identities()
    """Callers."""
