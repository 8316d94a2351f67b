"""A message as its verdict wants it changed: for whole bodies and for single events of a stream alike."""

from __future__ import annotations

from typing import NamedTuple, assert_never

from msgspec.structs import replace

from eastwall.decision.compile import LiveSnapshot
from eastwall.discovery.aggregation import StreamRows, aggregate, trim
from eastwall.discovery.data_classes import redact
from eastwall.discovery.data_tokens import elsewhere, turn_back
from eastwall.discovery.withholding import without_items, without_members
from eastwall.model.call import Phase
from eastwall.model.decision import (
    Aggregate,
    Allow,
    Decision,
    Deny,
    Detokenise,
    Effect,
    Quota,
    Redact,
    Strip,
    Throttle,
    Trim,
    Withhold,
)
from eastwall.model.operation import Operation


class Changed(NamedTuple):
    """What became of a message."""

    body: bytes | None
    """None: it stays as it is."""
    asked: frozenset[str]
    """Data classes that were to be replaced."""
    reasons: tuple[str, ...]
    """What could not be done, as records say it: `request-tokens-refused`."""
    uncut: bool
    """Items were to be taken out and could not be cut for certain: the message must not pass."""


def changed(decision: Decision, snapshot: LiveSnapshot, *, event: bool = False, rows: StreamRows | None = None) -> Changed:
    """Carry out what changes the message, each effect on what the one before left. `event`: it is one event of a stream; of a body of
    framed messages that came as a whole nothing is changed. `rows`: those of the stream before it."""
    operation = decision.facts.operation
    side = "request" if decision.phase is Phase.REQUEST else "response"
    asked: set[str] = set()
    reasons: dict[str, None] = {}
    body: bytes | None = None
    for effect in decision.verdict.effects:
        if isinstance(effect, Redact):
            asked.update(effect.data_classes)
        if operation.body_kind == "protobuf" and not event and not isinstance(effect, Withhold):
            continue
        new: bytes | None
        if isinstance(effect, Aggregate) and effect.row:
            if rows is None:
                continue  # the first policy has counted it, or nobody waits for it
            new, rows = rows.take(operation, effect.measures, effect.hidden), None
        else:
            new = _carried(effect, operation, snapshot, side, reasons)
        if new is not None:
            body, operation = new, replace(operation, raw_body=new)
        elif isinstance(effect, Withhold):
            return Changed(None, frozenset(), tuple(reasons), True)
    return Changed(body, frozenset(asked), tuple(reasons), False)


def _carried(effect: Effect, operation: Operation, snapshot: LiveSnapshot, side: str, reasons: dict[str, None]) -> bytes | None:
    match effect:
        case Redact():
            return redact(operation, effect.data_classes, effect.style, snapshot.hash_key, snapshot.data_classes, effect.keep)
        case Withhold():
            return without_items(operation.raw_body, effect.items) if operation.raw_body else None
        case Detokenise():
            turned = turn_back(operation, effect.data_classes, snapshot.hash_key)
            if turned.refused:
                reasons[f"{side}-tokens-refused"] = None
            elif turned.body is None or (side == "request" and elsewhere(operation)):
                reasons[f"{side}-tokens-left"] = None
            return turned.body
        case Strip():
            new = without_members(operation, effect.members)
            if new is None:
                reasons[f"{side}-not-stripped"] = None
            return new
        case Aggregate():
            new = aggregate(operation, effect.places, effect.measures, effect.hidden)
            if new is None:
                reasons[f"{side}-not-aggregated"] = None
            return new
        case Trim():
            new = trim(operation, effect.places, effect.items, effect.characters)
            if new is None:
                reasons[f"{side}-not-truncated"] = None
            return new
        case Allow() | Deny() | Throttle() | Quota():
            return None
        case _:
            assert_never(effect)
