"""What is done by itself when something happens, for a time."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from eastwall.policy.kinds.scope import ConfidenceName, Identities, ModeName, SeverityName, StrengthName

Counted = Literal["identity", "service", "endpoint", "tool", "source"]


class Trigger(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Which calls count, and how many it takes. What is set must all hold of a call; at least one of `findings`, `stages`, `minSeverity`,
    `policies` is."""

    findings: tuple[str, ...] = ()
    """Ids of detections, globs."""
    stages: tuple[Literal["reconnaissance", "exploitation", "lateral-movement", "exfiltration"], ...] = ()
    """Stages of an attack, of the same finding."""
    min_severity: SeverityName | None = None
    """Least severity of that finding."""
    min_confidence: ConfidenceName = "medium"
    """Least confidence of that finding."""
    policies: tuple[str, ...] = ()
    """Names of policies, globs, that refused the call (blocked or limited it, enforced)."""
    services: tuple[str, ...] = ()
    """Names of services, globs; empty: all."""
    count: int = 1
    """So many such calls ..."""
    within: str = "10m"
    """... in so long a time: `30s`, `10m`, `1h`."""
    per: Counted = "identity"
    """Of one identity, service, endpoint, tool (MCP) or network address."""
    strength: StrengthName = "verified"
    """How well the caller must be proved, at least, for a call to count per identity: what anybody can claim must not be turned against
    whom it names. Network addresses are exempt."""


class LimitStep(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Slows down."""

    rate: str
    """`10/m`, as in a LimitPolicy."""
    burst: int | None = None
    """Calls that may come at once; not set: one second's worth, at least 1."""


class Notify(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Whom to tell: one of `webhook`, `webhookSecret` and `syslog`."""

    webhook: str = ""
    """`https://...`: a JSON document is posted."""
    webhook_secret: str = ""
    """Name of the secret that holds the address, where that is one itself (Slack's are)."""
    bearer_secret: str = ""
    """Name of the secret that is sent as bearer token."""
    format: Literal["json", "slack"] = "json"
    """`slack`: `{"text": ...}`, as Slack and what is compatible with it take it."""
    syslog: str = ""
    """`udp://HOST:PORT` or `tcp://HOST:PORT`: RFC 5424."""


class Step(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """One thing to do: exactly one of these."""

    quarantine: Literal["identity", "endpoint", "service", "tool"] | None = None
    """Closes what the call that completed the count came from or went to."""
    limit: LimitStep | None = None
    """Slows the identity down; where calls are counted per service, endpoint or tool, each caller of it."""
    require_reauthentication: bool = False
    """Answers the identity with 401 until it shows a verified token that was issued later."""
    notify: Notify | None = None
    """Tells somebody."""
    snapshot: bool = False
    """Keeps the calls, findings and policies of the moment in a file, whose hash goes into the audit log."""


class Playbook(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="Playbook"
):
    """Acts by itself, for a time: when calls of `on` come, `steps` are carried out, and undone after `for`."""

    on: Trigger
    """When."""
    steps: tuple[Step, ...]
    """What is done, in this order; at most 10."""
    lasts: str = msgspec.field(default="1h", name="for")
    """After so long what was closed or slowed down is as before: `15m`, `1h`, `7d`; at most 30 days."""
    dry_run: bool = False
    """Only record what would be done."""
    max_per_hour: int = 5
    """Runs per hour, 1 to 100; what would be more is recorded and not done. All playbooks together run 20 times an hour at most."""
    maintenance: Identities | None = None
    """Who is never acted against, and may enter what is closed. Where no strength is named, `asserted` is needed."""
    mode: ModeName = "enforce"
    """How far its steps go; the service's mode, if lower, holds."""
    reason: str = ""
    """Shown to the refused caller and to analysts: one plain sentence."""
