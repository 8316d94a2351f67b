"""Segments: who belongs together, and who may cross from one to another."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from eastwall.policy.kinds.rollout import Guard, Rollout
from eastwall.policy.kinds.scope import Identities, ModeName, OnError, Scope


class Members(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Services and callers that belong to a zone. One field that fits is enough."""

    services: tuple[str, ...] = ()
    """Names of services, or globs over them. A caller is the service whose name its workload bears; where the service has a label
    `namespace`, in that namespace only."""
    namespaces: tuple[str, ...] = ()
    """Globs over the namespace: of callers by their workload (`namespace/service-account`, `spiffe://../ns/NAMESPACE/sa/..`), of services by their
    label `namespace`."""
    labels: tuple[str, ...] = ()
    """Globs over `NAME=VALUE` labels of services, and of workloads that are known by their address."""
    identities: Identities = Identities()
    """Callers."""
    agents: tuple[str, ...] = ()
    """Globs over `kind:name` of the AI agent or MCP client that calls: `client:support-*`."""


class Entrance(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Calls that may enter a zone from outside. All fields that are set must hold."""

    zones: tuple[str, ...] = ()
    """Names of zones that the caller is a member of, one of them; globs."""
    identities: Identities = Identities()
    """Callers. Where no strength is named, `asserted` is needed."""
    operations: tuple[str, ...] = ()
    """`METHOD /path`, as in a scope. Empty: all."""
    when: tuple[str, ...] = ()
    """CEL conditions, all of which must hold."""


class Admission(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """What every caller of a zone's services must show, those inside too."""

    strength: Literal["asserted", "verified"] | None = None
    """How well the caller's identity must be proved, at least."""
    mtls: bool = False
    """The connection must bear a client certificate that the proxy has verified."""


class TrustZone(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="TrustZone"
):
    """A segment: services and callers that belong together. Calls within it pass, calls from outside only where `from` or an AccessPolicy with
    `action: allow` lets them in."""

    members: Members
    """What is in it."""
    default: Literal["allow", "deny"] = "deny"
    """What becomes of calls from outside that nothing lets in."""
    inside: Literal["allow", "deny"] = "allow"
    """What becomes of calls of members; `deny`: they too need `from` or an AccessPolicy (least privilege within the zone)."""
    entrances: tuple[Entrance, ...] = field(default=(), name="from")
    """Who may enter from outside."""
    admission: Admission | None = None
    """What every caller must show."""
    egress: Literal["allow", "deny"] = "allow"
    """Whether members may call third parties: services whose `exposure` is `external`."""
    egress_to: tuple[str, ...] = ()
    """Third parties that members may call nevertheless: names or hosts of such services, globs."""
    rollout: Rollout | None = None
    """For which part of the calls the policy is enforced; for the rest it is monitored. Not set: all."""
    guard: Guard | None = None
    """When the policy steps back to `monitor` by itself. Not set: never."""
    mode: ModeName = "enforce"
    """How far this policy goes; the service's mode, if lower, holds."""
    on_error: OnError = "block"
    """When a condition cannot be evaluated: `block` answers 503, `monitor` records what would be, `allow` lets the call pass."""
    reason: str = ""
    """Shown to the refused caller and to analysts: one plain sentence."""

    @property
    def scope(self) -> Scope:
        """Zones have members in place of a scope."""
        return Scope()

    @property
    def when(self) -> tuple[str, ...]:
        return ()
