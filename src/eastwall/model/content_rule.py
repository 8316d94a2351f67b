"""A rule about content that a user wrote, as control hands it to the engines."""

from __future__ import annotations

from msgspec import Struct


class ContentRule(Struct, frozen=True):
    """One rule of a pack. What is wrong with one, `discovery.content_rules.problems` says."""

    id: str
    """`pack-NAME/RULE`: the id of its findings."""
    title: str
    pattern: str
    """Hyperscan (PCRE subset) expression over one value; `.` matches newlines, `^` and `$` are ends of lines."""
    severity: str = "medium"
    """One of `model.finding.SEVERITIES`."""
    confidence: str = "medium"
    """One of `model.finding.CONFIDENCES`."""
    phases: tuple[str, ...] = ("request",)
    """`request`, `response`."""
    where: tuple[str, ...] = ()
    """`PLACE` or `PLACE:GLOB`: `query`, `header:x-*`, `body:items[].note`. Empty: everywhere."""
    caseful: bool = False
    """Letters match in the case given only."""
    decoded: bool = True
    """Texts under further layers of encoding (percent, Base64, escapes, ...) are looked at too. Requests only."""
    confirm: str = ""
    """A further expression, which must match in what `pattern` matched. The next two are then asked of what it matched."""
    validator: str = ""
    """A check of `discovery.data_custom.VALIDATORS` that must agree on what was matched, without separators."""
    min_entropy: float = 0.0
    """Bits per character (Shannon) that what was matched must have at least."""
    services: tuple[str, ...] = ()
    """Globs over services; empty: all."""
    operations: tuple[str, ...] = ()
    """`METHOD /path` patterns; empty: all."""
    owasp: tuple[str, ...] = ()
    cwe: tuple[str, ...] = ()
    attack: tuple[str, ...] = ()
    action: str = "block"
    """`block` or `report`: what the built-in policy does with its findings in enforce mode."""
    detects: str = ""
    """One sentence, for people."""
    matches: tuple[str, ...] = ()
    """Values that it must match. Only where it is checked."""
    near_misses: tuple[str, ...] = ()
    """Values that it must not match. Only where it is checked."""
