"""What can be wrong with the meaning of one SchemaPolicy."""

from __future__ import annotations

from collections.abc import Iterator

from eastwall.policy.kinds import SchemaPolicy
from eastwall.policy.sizes import parse_size

_BOUNDS = {"max_depth": ("maxDepth", 64), "max_length": ("maxLength", 10**9), "max_items": ("maxItems", 50_000),
           "max_properties": ("maxProperties", 50_000)}  # fmt: skip
"""Field -> (its name, the most that is ever read of a body)."""


def schema_policy(spec: SchemaPolicy) -> Iterator[tuple[str, str, str]]:
    """(place, message, hint) of the faults of its own values."""
    for field, (name, most) in _BOUNDS.items():
        number = getattr(spec, field)
        if number is not None and not 0 < number <= most:
            yield f"spec.{name}", f"`spec.{name}` must be 1 to {most}, not {number}", ""
    if spec.max_size:
        try:
            parse_size(spec.max_size)
        except ValueError as error:
            yield "spec.maxSize", str(error), ""
    if spec.parameters != "ignore" and spec.direction == "response":
        yield "spec.parameters", "`spec.parameters` is about requests, and the direction is `response`", "use `direction: both`"
    bounded = bool(spec.max_size) or any(getattr(spec, field) is not None for field in _BOUNDS)
    if spec.types == spec.unknown == spec.missing == spec.parameters == "ignore" and not bounded:
        yield "spec", "everything is ignored and there is no bound, so the policy does nothing", "say what is to be held"
