"""Who really calls, and how sure we are."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct


class Strength(IntEnum):
    """How much an identity claim is worth."""

    NONE = 0
    """Nobody said who calls; the actor is the network address."""
    GUESSED = 1
    """Derived from something the caller controls and nobody checked (an unverified JWT, a basic user name, a cookie)."""
    ASSERTED = 2
    """Said by a peer that is configured as trusted (forwarded header from a trusted proxy), or an API key seen as a whole."""
    VERIFIED = 3
    """Proved by cryptography: a client certificate, a JWT whose signature was checked."""


class Principal(Struct, frozen=True):
    """One link of the chain human -> agent -> workload."""

    kind: str
    """`workload` (mTLS SAN, Kubernetes service account), `user` (JWT sub, forwarded user, basic), `agent` (AI agent, MCP client),
    `client` (azp/client_id), `key` (API key), `address`."""
    name: str
    """e.g. `spiffe://shop/ns/web/sa/front`, `alice`, `key:9f86d081` (hash, never the key), `127.0.0.1`."""
    strength: Strength


class Identity(Struct, frozen=True):
    """The caller of one call."""

    actor: str
    """Id of who really calls: the last human or workload in the chain, `kind:name`, e.g. `user:alice`. Key of all per-actor state."""
    kind: str
    """`user`, `agent`, `workload`, `client`, `key` or `address` (see `Principal.kind`)."""
    strength: Strength
    cls: str
    """Identity class, under which behaviour is learned beside the single actor, e.g. `user`, `user+admin`, `workload:front`, `anonymous`.
    From kind and roles, so that a new user or pod is not a stranger."""
    chain: tuple[Principal, ...] = ()
    """Every principal found, strongest first."""
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    tenant: str = ""
    claims: dict[str, str] = {}
    """Scalar token claims as text (never the token). Treat as read-only."""
    faults: tuple[str, ...] = ()
    """What is wrong with the credentials: `jwt-bad-signature`, `jwt-expired`, `jwt-alg-none`, `jwt-malformed`, `jwt-unverified`, ..."""
    agent: str = ""
    """`kind:name` of the AI agent or MCP client that makes the call, on its own or for somebody; empty: none known."""
    human: str = ""
    """`kind:name` of the human for whom the call is made; empty: none known."""
    workload: str = ""
    """Name of the calling workload, without what differs between its instances: `web/front` (namespace and service account), `front`."""
    proxies: tuple[str, ...] = ()
    """Names of the workloads in `chain` that are trusted proxies and only passed the call on."""
