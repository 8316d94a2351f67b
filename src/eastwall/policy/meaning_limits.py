"""What can be wrong with a LimitPolicy by itself."""

from __future__ import annotations

from collections.abc import Iterator

from eastwall.policy.kinds import LimitPolicy
from eastwall.policy.limits import parse_amount, parse_rate

MAX_CALLS = 1_000_000
MAX_OBJECTS = 10_000
"""Distinct objects: each is remembered, which is what makes the count exact."""


def faults(spec: LimitPolicy) -> Iterator[tuple[str, str, str]]:
    """(place, message, hint)"""
    if not (spec.rate or spec.concurrency is not None or spec.bytes or spec.records or spec.objects or spec.values):
        yield (
            "spec",
            "the policy limits nothing",
            "write `rate`, `concurrency`, `bytes`, `records`, `objects` or `values`, e.g. `rate: 100/m`",
        )
    if spec.rate:
        try:
            parse_rate(spec.rate)
        except ValueError as error:
            yield "spec.rate", str(error), ""
    if spec.burst is not None and not spec.rate:
        yield "spec.burst", "`spec.burst` is about `rate`, which is not there", "write e.g. `rate: 100/m`, or leave it out"
    for name, number in (("burst", spec.burst), ("concurrency", spec.concurrency)):
        if number is not None and not 1 <= number <= MAX_CALLS:
            yield f"spec.{name}", f"`spec.{name}` must be 1 to {MAX_CALLS}, not {number}", ""
    for name, text in (("bytes", spec.bytes), ("records", spec.records), ("objects", spec.objects), ("values", spec.values)):
        if not text:
            continue
        try:
            amount, _ = parse_amount(text, sizes=name == "bytes")
        except ValueError as error:
            yield f"spec.{name}", str(error), ""
        else:
            if name == "objects" and amount > MAX_OBJECTS:
                yield (
                    "spec.objects",
                    f"`spec.objects` counts at most {MAX_OBJECTS} distinct objects, not {amount}",
                    "limit `records`",
                )
    if spec.values and not spec.classes:
        yield (
            "spec.values",
            "`spec.values` says how many, and `classes` is missing, which says of what",
            "write e.g. `classes: [pan, email]`",
        )
    if spec.classes and not spec.values:
        yield "spec.classes", "`spec.classes` is about `values`, which is not there", "write e.g. `values: 500/d`"
    if spec.direction != "both" and not spec.bytes:
        yield (
            "spec.direction",
            "`spec.direction` is about `bytes`, which is not there",
            "write e.g. `bytes: 10MiB/h`, or leave it out",
        )
    if not spec.per:
        yield "spec.per", "`spec.per` is empty", "write e.g. `[identity]`, or `[service]` for one limit over all callers"
