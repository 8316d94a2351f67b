"""What control publishes and engines load: one immutable, versioned file. Everything the hot path knows is in it."""

from __future__ import annotations

from msgspec import Struct

from eastwall.model.call import Mode
from eastwall.model.endpoint import Endpoint, KnownSchemas
from eastwall.model.holdings import Holdings

SNAPSHOT_FORMAT = 1


class ServiceScope(Struct, frozen=True):
    """A protected service and how it is treated."""

    name: str
    mode: Mode = Mode.DISCOVER
    fail: str = "open"
    """What Envoy does when no engine answers: `open` (pass, counted) or `closed` (503)."""
    hosts: tuple[str, ...] = ()
    owner: str = ""
    repository: str = ""
    max_body: int = 1 << 20
    """Bytes of each body that are inspected."""
    over_limit: str = "pass"
    """A body over `max_body`: `pass` (partly inspected, counted) or `block` (413)."""
    environment: str = ""
    """`production`, `staging`, ...: as its policy says."""
    exposure: str = ""
    """`internet`, `partner`, `internal`, or `external` (a third party's); empty: told from the traffic."""
    labels: tuple[tuple[str, str], ...] = ()
    """(name, value), sorted."""
    deprecated: tuple[str, ...] = ()
    """Operations (`GET /v1/**`) that ought not to be called any more."""
    sensitivity: tuple[str, ...] = ()
    """Operations (`* /admin/**`) that are administrative, beside those that are recognised."""


class Workload(Struct, frozen=True):
    """A workload that is known by its network address: a Kubernetes pod, or a host of an inventory."""

    address: str
    """IP address or CIDR."""
    name: str
    """`namespace/service-account`, or the name of the host's role."""
    owner: str = ""
    """Deployment, StatefulSet, ... that it is an instance of."""
    labels: tuple[tuple[str, str], ...] = ()
    """(name, value), sorted."""
    since: float = 0.0
    """Unix seconds from which on the address was this workload's; 0: always."""


class CustomDataClass(Struct, frozen=True):
    """A data class of the user's own (policy kind `DataClass`)."""

    name: str
    patterns: tuple[str, ...] = ()
    """Regular expressions (RE2 syntax), any of which a whole value or a part of it must match."""
    words: tuple[str, ...] = ()
    """Dictionary: values, case-insensitive."""
    names: tuple[str, ...] = ()
    """Globs over field names; alone, they make every value of such a field of the class."""
    validator: str = ""
    """`luhn`, `mod97`, `verhoeff`, ...: what must hold beside."""
    sensitivity: str = "medium"
    """`low`, `medium`, `high`, `critical`."""


class TrustConfig(Struct, frozen=True):
    """Whom to believe about identity."""

    jwks: tuple[tuple[str, bytes], ...] = ()
    """(issuer or ``, JWKS JSON). With an empty issuer the set applies to every token."""
    audiences: tuple[str, ...] = ()
    """Accepted audiences; empty accepts any."""
    api_key_headers: tuple[str, ...] = ("x-api-key", "api-key", "apikey")
    api_key_query: tuple[str, ...] = ("api_key", "apikey")
    trusted_proxies: tuple[str, ...] = ()
    """CIDRs or URI SANs of peers whose forwarded-identity headers are believed."""
    user_header: str = "x-forwarded-user"
    address_header: str = "x-forwarded-for"
    role_claims: tuple[str, ...] = ("roles", "role", "groups")
    tenant_claims: tuple[str, ...] = ("tenant", "tenant_id", "org_id")
    token_headers: tuple[str, ...] = ()
    """Headers beside `authorization` that carry a JWT, e.g. `x-amzn-oidc-data`."""
    agents: tuple[str, ...] = ()
    """Globs over `kind:name` of principals that are AI agents, e.g. `client:support-*`."""
    workloads: tuple[Workload, ...] = ()
    """Workloads known by address."""
    session_cookies: tuple[str, ...] = ("session", "sessionid", "sid", "connect.sid", "PHPSESSID", "JSESSIONID")
    certificate_header: str = ""
    """Header in which a trusted proxy says whose certificate it saw, in the form of `x-forwarded-client-cert`; empty: none is believed."""


class PolicyStatus(Struct, frozen=True):
    """Which set of policies a snapshot holds."""

    digest: str = ""
    """Of its files, 16 hex digits; empty: none were applied."""
    applied: float = 0.0
    """Unix seconds."""
    commit: str = ""
    """Git commit it came from; empty: from no repository."""
    author: str = ""
    """`Name <address>` of the commit."""


class StepBack(Struct, frozen=True):
    """A policy that its guard took back to `monitor`."""

    policy: str
    time: float
    """Unix seconds of the call that was one too many."""
    reason: str
    """One plain sentence."""
    calls: tuple[str, ...] = ()
    """Event ids of the last of the calls that it stopped, at most 10."""


class Approval(Struct, frozen=True):
    """What somebody said of a call of a tool that needs approval."""

    id: str
    """Of the call: see `policy.approvals`."""
    granted: float
    """When it was said, Unix seconds."""
    until: float
    """When it ends, Unix seconds."""
    by: str
    """Who said it."""
    once: bool = True
    """For one call; else for any number until it ends."""
    denied: bool = False
    """The call is refused until then."""


class Snapshot(Struct, frozen=True):
    """The world as the engines know it. Compiled by `decision.compile` after load."""

    format: int
    version: int
    """Counts up by one per publication."""
    created: float
    hash_key: bytes
    """Per-installation key for object and identity hashes. The file is mode 0600 for its sake."""
    services: tuple[ServiceScope, ...] = ()
    trust: TrustConfig = TrustConfig()
    endpoints: tuple[Endpoint, ...] = ()
    policy: bytes = b""
    """The checked policy set, MessagePack of `policy.PolicySet`."""
    ownership: tuple[tuple[int, tuple[str, ...]], ...] = ()
    """(object key, actors that hold it, at most 4), the most recently used ones, bounded."""
    detections_off: tuple[str, ...] = ()
    data_classes: tuple[CustomDataClass, ...] = ()
    descriptors: tuple[tuple[str, bytes], ...] = ()
    """(service, serialized google.protobuf.FileDescriptorSet): how gRPC messages of the service are to be read."""
    identity_classes: tuple[tuple[str, str], ...] = ()
    """(glob over `kind:name`, identity class): learned, so that a new instance of a known workload is no stranger. First match holds."""
    behaviours: tuple[tuple[str, bytes], ...] = ()
    """(model of `behaviours`, what it published, in MessagePack)."""
    schemas: tuple[KnownSchemas, ...] = ()
    """Of the operations that SchemaPolicies are about."""
    stepped_back: tuple[StepBack, ...] = ()
    """Policies that are monitored until somebody arms them again, whatever their mode."""
    rearmed: tuple[tuple[str, float], ...] = ()
    """(policy, when somebody armed it again, Unix seconds)."""
    approvals: tuple[Approval, ...] = ()
    """Of calls of tools, those that have not ended and were not used."""
    holdings: Holdings = Holdings()
    """The same as `ownership`, in the form that engines read without decoding it; control fills this one."""
    policy_status: PolicyStatus = PolicyStatus()
    """Where `policy` came from: engines say in their heartbeats which set they judge by."""
