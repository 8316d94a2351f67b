"""What findings do to a call, and detections of one's own."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from eastwall.policy.kinds.rollout import Guard, Rollout
from eastwall.policy.kinds.scope import ConfidenceName, ModeName, OnError, Scope, SeverityName


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
    rollout: Rollout | None = None
    """For which part of the calls the policy is enforced; for the rest it is monitored. Not set: all."""
    guard: Guard | None = None
    """When the policy steps back to `monitor` by itself. Not set: never."""
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
