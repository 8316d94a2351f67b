"""What can be wrong with what all kinds share: operations, conditions, selectors of callers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eastwall.policy import conditions
from eastwall.policy.kinds import Identities
from eastwall.policy.patterns import parse_operation
from eastwall.policy.wording import shown, suggestion

Found = Iterator[tuple[str, str, str]]
"""(place, message, hint)"""


def operation_faults(patterns: Sequence[str], place: str) -> Found:
    for i, pattern in enumerate(patterns):
        try:
            parse_operation(pattern)
        except ValueError as error:
            yield f"{place}[{i}]", str(error), "write e.g. `GET /orders/{order_id}` or `* /admin/**`"


def condition_faults(texts: Sequence[str], place: str, *, tools: bool = False) -> Found:
    """`tools`: the arguments of a tool may be named."""
    for i, text in enumerate(texts):
        for fault in conditions.faults(text, conditions.TOOL_VARIABLES if tools else conditions.VARIABLES):
            hint = fault.hint or (suggestion(fault.word, fault.known) if fault.word else "")
            yield f"{place}[{i}]", f"condition {shown(text)}, character {fault.position + 1}: {fault.message}", hint


def identity_faults(selector: Identities, place: str) -> Found:
    for name in ("actors", "classes", "roles", "scopes", "tenants", "zones", "namespaces", "labels", "agents"):
        for i, text in enumerate(getattr(selector, name)):
            if not text:
                yield f"{place}.{name}[{i}]", f"an empty text in `{place}.{name}` selects nobody", ""
    for name, example in (("actors", "user:"), ("agents", "client:")):
        for i, actor in enumerate(getattr(selector, name)):
            if actor and ":" not in actor and "*" not in actor:
                yield (
                    f"{place}.{name}[{i}]",
                    f"{name[:-1]} `{actor[:60]}` has no kind, so it selects nobody",
                    f"write e.g. `{example}{actor[:40]}`",
                )
    yield from label_faults(selector.labels, f"{place}.labels")


def label_faults(labels: Sequence[str], place: str) -> Found:
    for i, label in enumerate(labels):
        if label and "=" not in label and "*" not in label:
            yield f"{place}[{i}]", f"label {shown(label)} has no value, so it selects nothing", f"write e.g. `{label[:40]}=*`"
