"""See `behaviours.holding`: pace by class, and what must come before what."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from eastwall.behaviours.holding import Holding, Key, Part, never, usual_part
from eastwall.behaviours.sessions.invariants import Rules
from eastwall.behaviours.sessions.model import Knowledge, Model

_PACES = ("changes in ten seconds", "without a pause", "active hours of a day", "")


def _split(known: Knowledge) -> dict[Key, Any]:
    found: dict[Key, Any] = {("pace", service, cls): usual for service, cls, usual in known.paces}
    return found | {("order", rules.endpoint or rules.label): rules for rules in known.rules if rules.after or rules.once}


def _join(known: Knowledge, things: dict[Key, Any]) -> Knowledge:
    rules = {(one.endpoint or one.label): one for one in known.rules if not one.after and not one.once}
    rules |= {key[1]: value for key, value in things.items() if key[0] == "order"}
    paces = tuple((key[1], key[2], value) for key, value in sorted(things.items()) if key[0] == "pace")
    ordered = sorted(rules.values(), key=lambda one: (one.endpoint != "", one.endpoint or one.label))
    return replace(known, rules=tuple(ordered), paces=paces)


def _needs(rules: Rules) -> set[tuple[str, ...]]:
    """What it needs before it, and what it is done once on."""
    return {("after", one.before, one.kind, one.cls) for one in rules.after if one.causal} | {
        ("once", one.scope) for one in rules.once
    }


def _calls(rules: Rules) -> int:
    return max([one.calls for one in rules.after if one.causal] + [one.things for one in rules.once], default=0)


def _shown(rules: Rules) -> str:
    told = [f"after {one.label}" for one in rules.after if one.causal] + [f"once on each {one.scope}" for one in rules.once]
    return ", ".join(told) if told else "in any order"


_ORDER = Part(
    Rules, _calls, lambda first, second: not _needs(first) <= _needs(second), never, lambda key: "its order", _shown, lost=True, firm=100
)  # fmt: skip
HOLDING = Holding(
    {"pace": usual_part(_PACES, lambda key: f"the pace of `{key[2]}`"), "order": _ORDER}, _split, _join, Model.backers
)
