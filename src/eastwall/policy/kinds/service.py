"""A protected service, and whom to believe about who calls."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from eastwall.policy.kinds.scope import ModeName


class Service(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="Service"
):
    """A protected service: its name is the policy's name."""

    mode: ModeName | None = None
    """How far any policy may go on this service; not set: the mode Eastwall was started with."""
    hosts: tuple[str, ...] = ()
    """Host names under which it is called."""
    owner: str = ""
    """Team that mends it."""
    repository: str = ""
    """URL of its source."""
    spec: str = ""
    """Path of its specification, relative to this file: OpenAPI, Swagger, a Postman collection, GraphQL SDL or .proto."""
    specs: tuple[str, ...] = ()
    """Paths of further specifications."""
    fail: Literal["open", "closed"] | None = None
    """When no engine answers: `open` lets calls pass (counted), `closed` answers 503."""
    max_body: str = ""
    """How much of each body is inspected: `512KiB`, `1MiB`."""
    over_limit: Literal["pass", "block"] | None = None
    """A body over `maxBody`: `pass` (partly inspected, counted) or `block` (413)."""
    identity: Trust | None = None
    """Whom to believe about who calls."""
    environment: str = ""
    """`production`, `staging`, ...: what is not production is told apart in the blueprint."""
    exposure: Literal["internet", "partner", "internal", "external"] | None = None
    """Who can reach it; `external`: it is a third party's. Not set: told from the traffic."""
    labels: dict[str, str] = {}
    """Anything else to tell services by, added to `metadata.labels`; `owner`, `team`, `repository` and `environment` count where the
    fields are not set."""
    deprecated: tuple[str, ...] = ()
    """Operations that ought not to be called any more: `* /v1/**`."""
    admin: tuple[str, ...] = ()
    """Operations that are administrative, beside those that are recognised: `POST /refunds/**`."""


class Jwks(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Keys that sign the callers' tokens."""

    issuer: str = ""
    """`iss` of the tokens that these keys sign; empty: every token."""
    file: str = ""
    """Path of a JWKS file, relative to this file."""
    inline: str = ""
    """The JWKS JSON itself."""


class Trust(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Whom to believe about identity. Of several services the union holds."""

    jwks: tuple[Jwks, ...] = ()
    """Key sets."""
    audiences: tuple[str, ...] = ()
    """Accepted `aud` values; empty accepts any."""
    api_key_headers: tuple[str, ...] = ()
    """Request headers that carry an API key."""
    api_key_query: tuple[str, ...] = ()
    """Query parameters that carry an API key."""
    trusted_proxies: tuple[str, ...] = ()
    """CIDRs, or URI SANs of client certificates, of peers whose forwarded-identity headers are believed."""
    user_header: str = ""
    """Header in which a trusted proxy names the user."""
    address_header: str = ""
    """Header in which a trusted proxy names the caller's address."""
    role_claims: tuple[str, ...] = ()
    """Token claims that hold roles."""
    tenant_claims: tuple[str, ...] = ()
    """Token claims that hold the tenant."""
    session_cookies: tuple[str, ...] = ()
    """Cookies that carry a session."""
    token_headers: tuple[str, ...] = ()
    """Headers beside `authorization` that carry a JWT: `x-amzn-oidc-data`, `cf-access-jwt-assertion`."""
    agents: tuple[str, ...] = ()
    """Globs over `kind:name` of callers that are AI agents: `client:support-*`, `workload:ai/*`."""
    workloads: str = ""
    """Path of a file that says which workload has which address, relative to this file: what `kubectl get pods -A -o json` prints, or a
    list `workloads` of `address`, `name`, `owner`, `since`."""
    certificate_header: str = ""
    """Header in which a trusted proxy says whose client certificate it saw: `x-forwarded-client-cert` of Envoy and Istio. Only where that
    proxy removes it from what comes from outside."""
