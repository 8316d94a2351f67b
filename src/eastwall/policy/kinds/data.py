"""Which data may pass to whom, and classes of data of one's own."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from eastwall.policy.kinds.rollout import Guard, Rollout
from eastwall.policy.kinds.scope import Identities, ModeName, OnError, Scope


class DataPolicy(
    Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="DataPolicy"
):
    """Which data may pass to whom. Of several for a class the strictest action holds: block, drop, redact, hash, tokenise, format, mask,
    truncate."""

    action: Literal["redact", "mask", "format", "hash", "tokenise", "truncate", "aggregate", "drop", "block"]
    """`redact` (fixed text), `mask` (keep the last four), `format` (another value of the same length and form), `hash` (keyed), `tokenise` (a text
    that is turned back for the callers of `detokenise`), `truncate` (keep the beginning), `aggregate` (rows become counts), `drop` (remove the
    field), `block` (refuse it all)."""
    classes: tuple[str, ...] = ()
    """Data classes: built-in ones (`pan`, `ssn`, `email`, `person-name`, ...; docs/data-classes.md lists them) and your own. `aggregate` and
    `truncate` need none: they are then about all rows, or about `paths`."""
    direction: Literal["request", "response"] = "response"
    """Which message."""
    detokenise: Identities | None = None
    """`tokenise`: callers who get the originals. In answers to them tokens are turned back, and nothing becomes a token."""
    tokens_from: Identities | None = None
    """`tokenise` of responses: callers whose requests may hold tokens; they become the originals before the service sees them."""
    keep: int | None = None
    """`truncate`: characters that are kept of a value, or of a text at `paths`."""
    items: int | None = None
    """`truncate`: items that are kept of a list."""
    paths: tuple[str, ...] = ()
    """`aggregate`, `truncate`: places in a JSON body, `items`, `orders[].lines`, `$` for the body itself. Empty: every list."""
    measures: tuple[str, ...] = ()
    """`aggregate`: names of fields of the rows, of which the smallest and largest number stand beside the count; never of sensitive ones."""
    purposes: tuple[str, ...] = ()
    """Purposes for which the data may pass as it is."""
    purpose_from: str = ""
    """Where a call says its purpose: `header:NAME` (of a caller whose identity is at least asserted) or `claim:NAME` (of a token that was
    checked)."""
    exposure: tuple[Literal["internet", "partner", "internal", "external"], ...] = ()
    """Only services with this `exposure`: `[external]` for what leaves to third parties. Empty: all."""
    rollout: Rollout | None = None
    """For which part of the calls the policy is enforced; for the rest it is monitored. Not set: all."""
    guard: Guard | None = None
    """When the policy steps back to `monitor` by itself. Not set: never."""
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
