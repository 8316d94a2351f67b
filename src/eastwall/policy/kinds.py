"""What an author may write: the policy kinds, one frozen struct each, in the words of the YAML (camelCase there).

A new kind is one struct here, its name in `Spec` and `KINDS`, and its place in the order of `evaluate`. The JSON Schemas for
editors are generated from these structs and the docstrings under their fields.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

API_VERSION = "eastwall.dev/v1alpha1"
BUILTIN = "builtin/"
"""Prefix of the names of policies that come with Eastwall. A policy of one's own with the same name takes its place."""

ModeName = Literal["discover", "monitor", "enforce"]
OnError = Literal["block", "monitor", "allow"]
StrengthName = Literal["none", "guessed", "asserted", "verified"]
SeverityName = Literal["info", "low", "medium", "high", "critical"]
ConfidenceName = Literal["low", "medium", "high"]
LimitKey = Literal["identity", "source", "operation", "tenant", "service"]


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
    strength: StrengthName | None = None
    """How well the identity must be proved, at least. Where a selector loosens (an `allow` policy, `except`) and this is not set,
    it is `asserted`: what nobody checked opens no door. Network addresses are exempt, they are seen and not claimed."""


class Scope(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Where a policy applies. What is left out applies to all."""

    services: tuple[str, ...] = ()
    """Names of services, or globs over them."""
    operations: tuple[str, ...] = ()
    """`METHOD /path`: `GET /orders/{order_id}`, `* /admin/**`. `{name}` and `*` stand for one path segment or a part of one, `**`
    at the end for any number (also none), `*` as the method for every method. GET includes HEAD."""
    identities: Identities = Identities()
    """Callers."""


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


class AccessPolicy(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="AccessPolicy"
):
    """Who may call what. Deny wins. An operation in the scope of an `allow` policy is closed to everybody whom none selects."""

    action: Literal["allow", "deny"]
    """`allow` or `deny`."""
    mode: ModeName = "enforce"
    """How far this policy goes; the service's mode, if lower, holds."""
    on_error: OnError = "block"
    """When a condition cannot be evaluated: `block` answers 503, `monitor` records what would be, `allow` lets the call pass."""
    scope: Scope = Scope()
    """Where it applies."""
    when: tuple[str, ...] = ()
    """CEL conditions, all of which must hold: `path.user_id == identity.sub`."""
    reason: str = ""
    """Shown to the refused caller and to analysts: one plain sentence."""


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


class DataPolicy(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="DataPolicy"
):
    """Which data may pass to whom. Of several for a class the strictest action holds: block, drop, redact, hash, format, mask."""

    classes: tuple[str, ...]
    """Data classes: built-in ones (`pan`, `ssn`, `email`, `person-name`, ...; docs/data-classes.md lists them) and your own."""
    action: Literal["redact", "mask", "format", "hash", "drop", "block"]
    """`redact` (fixed text), `mask` (keep the last four), `format` (another value of the same length and form), `hash` (keyed), `drop` (remove
    the field), `block` (refuse it all)."""
    direction: Literal["request", "response"] = "response"
    """Which message."""
    mode: ModeName = "enforce"
    """How far this policy goes; the service's mode, if lower, holds."""
    on_error: OnError = "block"
    """When a condition cannot be evaluated: `block` answers 503, `monitor` records what would be, `allow` lets the call pass."""
    scope: Scope = Scope()
    """Where it applies; `scope.identities` are the callers it applies to."""
    exempt: Identities | None = msgspec.field(default=None, name="except")
    """Callers it does not apply to."""
    when: tuple[str, ...] = ()
    """CEL conditions, all of which must hold."""
    reason: str = ""
    """Shown to the refused caller and to analysts: one plain sentence."""


class DataClass(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="DataClass"
):
    """A data class of your own: its name is the policy's name, and DataPolicies may name it. Patterns and words tell values anywhere;
    with neither, the names of fields tell them."""

    patterns: tuple[str, ...] = ()
    """Regular expressions (RE2 syntax: no look-around, no back references), any of which a value or a part of it must match."""
    words: tuple[str, ...] = ()
    """Values, without regard to case; at most 5000."""
    names: tuple[str, ...] = ()
    """Globs over names of fields, without regard to case: `*_badge_no`. Used when there are neither patterns nor words."""
    validator: Literal[
        "luhn", "verhoeff", "mod97", "mod11-2", "mod11-10", "ean13", "iban", "pan", "ssn", "aba", "nhs", "npi", "cpf", "bic"
    ] | None = None  # fmt: skip
    """Check that must agree besides; separators are left out of the value."""
    sensitivity: Literal["low", "medium", "high", "critical"] = "medium"
    """How much its loss would hurt: counts in the risk score of endpoints."""


class DetectionPolicy(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="DetectionPolicy"
):
    """What a finding does to a call. One's own policies that speak about a finding go before the built-in one."""

    detections: tuple[str, ...]
    """Ids of detections, or `*`."""
    action: Literal["block", "filter", "report", "default"]
    """`block`, `filter` (take the items that a finding is about out of the answer's lists; block what is no list), `report` (record, let
    pass), or `default` (as the detection's own default action says, and where that is to block: `filter` for lists)."""
    min_severity: SeverityName = "info"
    """Findings below it are left to other policies."""
    min_confidence: ConfidenceName = "low"
    """Findings below it are left to other policies."""
    mode: ModeName = "enforce"
    """How far this policy goes; the service's mode, if lower, holds."""
    on_error: OnError = "block"
    """When a condition cannot be evaluated: `block` answers 503, `monitor` records what would be, `allow` lets the call pass."""
    scope: Scope = Scope()
    """Where it applies."""
    when: tuple[str, ...] = ()
    """CEL conditions, all of which must hold."""
    thresholds: dict[str, float] = {}
    """Reserved for the detections' own thresholds; must be empty."""
    reason: str = ""
    """Shown to the refused caller and to analysts: one plain sentence."""


class Confirm(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """What must hold besides a rule's pattern, of the part that the pattern matched."""

    pattern: str = ""
    """A further regular expression that must match in the part; `validator` and `minEntropy` are then asked of what this one matched."""
    validator: Literal[
        "luhn", "verhoeff", "mod97", "mod11-2", "mod11-10", "ean13", "iban", "pan", "ssn", "aba", "nhs", "npi", "cpf", "bic"
    ] | None = None  # fmt: skip
    """Check that must agree on the part; separators are left out."""
    min_entropy: float = 0.0
    """Shannon entropy that the part must have at least, in bits per character: random hexadecimal has up to 4, random Base64 up to 6."""


class PackRule(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """One rule of a pack: a pattern over single values of a message."""

    id: str
    """Lower-case letters, digits, `-`. Its findings have the id `pack-NAME/ID`."""
    title: str
    """A few words: what is found."""
    severity: SeverityName
    """How bad it is. The built-in policy blocks from `high` on."""
    pattern: str
    """Regular expression as Hyperscan takes it (PCRE without look-around and back references). Letters match in any case, `.` matches line
    ends too, `^` and `$` are the ends of lines."""
    detects: str
    """One sentence: what it is there for."""
    does_not_detect: str
    """One sentence: what comes near and stays quiet."""
    matches: tuple[str, ...]
    """Values that it must match. The pack is refused when it does not."""
    near_misses: tuple[str, ...]
    """Values that it must not match. The pack is refused when it does."""
    confidence: ConfidenceName = "medium"
    """How sure a finding is. The built-in policy blocks from `medium` on."""
    phase: Literal["request", "response", "both"] = "request"
    """Which messages are looked at."""
    where: tuple[str, ...] = ()
    """Places: `path`, `query`, `header`, `cookie`, `claim` (of a token), `body`, each with a glob over names behind a colon where wanted:
    `header:x-*`, `body:items[].note`. Empty: everywhere."""
    caseful: bool = False
    """Letters match in the case given only."""
    decoded: bool = True
    """Values of requests are looked at under further encodings too (percent, Base64, escapes, ...)."""
    confirm: Confirm = Confirm()
    """What must hold besides, of the part that the pattern matched."""
    services: tuple[str, ...] = ()
    """Names of services, or globs over them. Empty: all."""
    operations: tuple[str, ...] = ()
    """`METHOD /path`, as in a scope. Empty: all."""
    owasp: tuple[str, ...] = ()
    """What it belongs to: `API8:2023`, `A03:2021`, `LLM01:2025`."""
    cwe: tuple[str, ...] = ()
    """`CWE-200`."""
    attack: tuple[str, ...] = ()
    """MITRE ATT&CK or ATLAS techniques: `T1190`."""
    action: Literal["block", "report"] = "block"
    """What the built-in policy does in enforce mode with its findings of high severity."""


class RulePack(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="RulePack"
):
    """Detections of your own: rules about the content of requests and responses. The pack's name is the policy's name; DetectionPolicies
    may name its rules, `pack-NAME/RULE`, or all of them, `pack-NAME/*`."""

    rules: tuple[PackRule, ...]
    """At most 200."""
    description: str = ""
    """What the pack is for."""


Spec = Service | AccessPolicy | LimitPolicy | DataPolicy | DetectionPolicy | DataClass | RulePack
Rule = AccessPolicy | LimitPolicy | DataPolicy | DetectionPolicy
"""The kinds that judge calls."""
KINDS: dict[str, type[Spec]] = {
    "Service": Service,
    "AccessPolicy": AccessPolicy,
    "LimitPolicy": LimitPolicy,
    "DataPolicy": DataPolicy,
    "DetectionPolicy": DetectionPolicy,
    "DataClass": DataClass,
    "RulePack": RulePack,
}


class Policy(Struct, frozen=True):
    """One YAML document."""

    name: str
    spec: Spec
    location: str
    """`file:line` of the document, or `builtin`."""
    labels: dict[str, str] = {}
    marks: dict[str, tuple[int, int]] = {}
    """Place in the document (`spec.scope.services[0]`) -> (line, column), both from 1. Not encoded."""

    @property
    def kind(self) -> str:
        return type(self.spec).__name__

    @property
    def file(self) -> str:
        return self.location.rpartition(":")[0] or self.location


class PolicySet(Struct, frozen=True):
    """All policies, built-in ones first, then in order of file and place."""

    policies: tuple[Policy, ...] = ()
    rule_automata: bytes = b""
    """The rules of its packs, compiled (see `rule_packs.with_automata`); empty: whoever needs them compiles them."""


class Fault(Struct, frozen=True, order=True):
    """One thing that is wrong with a policy file."""

    file: str
    line: int
    """From 1."""
    column: int
    """From 1."""
    message: str
    """Lower case, user input in backticks, no final period."""
    hint: str = ""
    """How to mend it; may be empty."""
    warning: bool = False
    """The policy can be applied nevertheless."""

    def __str__(self) -> str:
        kind = "warning: " if self.warning else ""
        where = f"{self.file}:{self.line}:{self.column}: " if self.file else ""  # a fault of the whole set has no place
        return f"{where}{kind}{self.message}" + (f" ({self.hint})" if self.hint else "")


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(PolicySet)


def encode(policies: PolicySet) -> bytes:
    """MessagePack for the snapshot, without the positions inside documents."""
    plain = tuple(msgspec.structs.replace(policy, marks={}) for policy in policies.policies)
    return _encoder.encode(PolicySet(plain, policies.rule_automata))


def decode(data: bytes) -> PolicySet:
    """The inverse of `encode`; empty bytes are the empty set. Raises `ValueError` on anything else."""
    try:
        return _decoder.decode(data) if data else PolicySet()
    except msgspec.DecodeError as error:
        raise ValueError(f"the policy set in the snapshot cannot be read: {error}") from None
