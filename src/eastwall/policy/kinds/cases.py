"""Tests of policies: calls, and what the policies beside them are to do with each."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct

from eastwall.policy.kinds.scope import ModeName, StrengthName

VerdictName = Literal["allow", "block", "limit", "redact", "report"]


class CaseCaller(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Who calls, as Eastwall would have told the caller apart."""

    actor: str
    """`kind:name`: `user:alice`, `workload:shop/web`, `agent:helper`, `key:9f86d081`, `address:10.0.0.7`."""
    strength: StrengthName = "verified"
    """How well the identity is proved."""
    cls: str = msgspec.field(default="", name="class")
    """Identity class; not set: the kind, and the roles behind it (`user+admin`)."""
    roles: tuple[str, ...] = ()
    """Roles."""
    scopes: tuple[str, ...] = ()
    """OAuth scopes."""
    tenant: str = ""
    """Tenant."""
    claims: dict[str, str] = {}
    """Claims of the token. Where `sub` is not among them it is the actor's name."""
    chain: tuple[str, ...] = ()
    """Further principals, `kind:name`, each as well proved as the actor."""
    agent: str = ""
    """`kind:name` of the AI agent that makes the call."""
    human: str = ""
    """`kind:name` of the human for whom the call is made; of a user, the user."""
    workload: str = ""
    """Name of the calling workload."""


class CaseCall(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """A request."""

    path: str
    """`/orders/17`, with a query if it has one."""
    service: str = ""
    """Name of the service; not set: the only one that the policies name."""
    method: str = "GET"
    """HTTP method."""
    headers: dict[str, str] = {}
    """Header fields."""
    body: Any = None
    """Sent as JSON; a text as it is."""
    caller: CaseCaller | None = None
    """Who calls. Not set: told from `token`, `headers`, `certificate` and `source`, as of any call."""
    token: dict[str, Any] = {}
    """Claims of a bearer token, which is signed for the test and trusted."""
    certificate: str = ""
    """URI SAN of the client certificate: `spiffe://shop/ns/web/sa/front`."""
    source: str = "127.0.0.1"
    """IP address of the peer."""
    host: str = ""
    """`Host` of the request."""
    scheme: Literal["http", "https"] = "http"
    """Scheme of the request."""


class CaseResponse(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """What the service answers."""

    status: int = 200
    """Status code."""
    headers: dict[str, str] = {}
    """Header fields."""
    body: Any = None
    """Answered as JSON; a text as it is."""


class Expected(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """What is to happen. Only what is set is looked at."""

    action: VerdictName
    """What is done: `allow`, `block`, `limit`, `redact` (changed in any way), or `report` (let through, and a finding recorded)."""
    policy: str = ""
    """Name of the policy that decides; with `allow`, of one that lets the call in; with `report`, of one that reports."""
    reason: str = ""
    """Text that stands in the reason of that policy."""
    would: VerdictName | None = None
    """What would be done were every policy enforced."""
    status: int | None = None
    """Status that the caller gets."""
    body: Any = UNSET
    """The answer's body as the caller gets it; of a call without `response`, the request's body as the service gets it."""


class CaseStep(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """One call of a sequence."""

    call: CaseCall
    """The request."""
    expect: Expected
    """What is to happen."""
    response: CaseResponse | None = None
    """The answer, when the request reaches the service."""
    at: float | None = None
    """Seconds after the beginning of the case; not set: as the step before."""
    repeat: int = 1
    """The same call so many times, each of which is to come out so."""


class Case(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """One case: a call (`call`, `response`, `expect`), or several in sequence (`steps`)."""

    name: str
    """What it shows, in one line."""
    mode: ModeName | None = None
    """Mode of the services; not set: the file's."""
    call: CaseCall | None = None
    """The request."""
    response: CaseResponse | None = None
    """The answer, when the request reaches the service."""
    expect: Expected | None = None
    """What is to happen."""
    steps: tuple[CaseStep, ...] = ()
    """Calls in sequence; limits count over them."""


class PolicyTest(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="PolicyTest"
):
    """Cases for the policies in the same directory. In files `*.test.yaml`; `eastwall policy test` runs them, each from a fresh start."""

    cases: tuple[Case, ...]
    """The cases."""
    mode: ModeName = "enforce"
    """Mode of the services, whatever their policies say."""
    time: str = ""
    """When the cases begin: `2026-12-01T08:00:00Z`; not set: now."""
