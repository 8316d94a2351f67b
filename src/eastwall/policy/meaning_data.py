"""What can be wrong with the meaning of one DataPolicy."""

from __future__ import annotations

import re
from collections.abc import Iterator

from eastwall.policy.kinds import DataPolicy, Identities
from eastwall.policy.wording import shown

MAX_KEPT = 1_000_000
MAX_PATHS = 100
Found = Iterator[tuple[str, str, str]]
"""(place, message, hint)"""
_ONLY: dict[str, tuple[str, ...]] = {
    "detokenise": ("tokenise",),
    "tokens_from": ("tokenise",),
    "keep": ("truncate",),
    "items": ("truncate",),
    "paths": ("aggregate", "truncate"),
    "measures": ("aggregate",),
}
"""Fields that have a meaning for some actions only."""
_PURPOSE = re.compile(r"header:[A-Za-z0-9!#$%&'*+.^_|~-]{1,100}|claim:[^\s:][^:]{0,199}")


def data_policy(spec: DataPolicy) -> Found:
    """Faults of a DataPolicy's own values, those of its selectors left aside."""
    for field, actions in _ONLY.items():
        name = "tokensFrom" if field == "tokens_from" else field
        if getattr(spec, field) not in (None, ()) and spec.action not in actions:
            words = " and ".join(f"`{action}`" for action in actions)
            yield f"spec.{name}", f"`spec.{name}` is for {words} only, and the action is `{spec.action}`", "leave it out"
    yield from _about(spec)
    yield from _kept(spec)
    yield from _purposes(spec)
    if spec.exempt == Identities():
        yield "spec.except", "`spec.except` selects everybody, so the policy does nothing", ""
    if spec.action == "tokenise":
        if spec.direction == "request" and spec.tokens_from is not None:
            message = "`spec.tokensFrom` turns tokens of requests back, and this policy makes them there"
            yield "spec.tokensFrom", message, "use `direction: response`"
        if spec.direction == "response" and spec.detokenise == Identities():
            yield "spec.detokenise", "`spec.detokenise` selects everybody, so nobody would get a token", ""
        if spec.tokens_from == Identities():
            yield "spec.tokensFrom", "`spec.tokensFrom` selects everybody", "name the callers that hold tokens"


def _about(spec: DataPolicy) -> Found:
    if spec.classes:
        return
    if spec.action == "truncate":
        if spec.items is None and not spec.paths:
            message = "neither `classes` nor `items` nor `paths`, so the policy does nothing"
            yield "spec", message, "say what is to be cut short"
    elif spec.action != "aggregate":
        yield "spec.classes", "`spec.classes` is empty, so the policy does nothing", ""


def _kept(spec: DataPolicy) -> Found:
    if spec.action == "truncate":
        if spec.keep is None and spec.classes:
            yield "spec.keep", "`truncate` needs `keep`, the number of characters that stay of a value", "write e.g. `keep: 6`"
        if spec.keep is None and spec.items is None and not spec.classes and spec.paths:
            yield "spec", "neither `keep` nor `items`, so nothing is cut short", "write e.g. `items: 10`"
    for name, number in (("keep", spec.keep), ("items", spec.items)):
        if number is not None and not 0 <= number <= MAX_KEPT:
            yield f"spec.{name}", f"`spec.{name}` must be 0 to {MAX_KEPT}, not {number}", ""
    for name, places in (("paths", spec.paths), ("measures", spec.measures)):
        if len(places) > MAX_PATHS:
            yield f"spec.{name}", f"`spec.{name}` has {len(places)} items, at most {MAX_PATHS} are allowed", ""
        for i, place in enumerate(places):
            if not place or not place.isprintable() or len(place) > 300:
                yield f"spec.{name}[{i}]", f"{shown(place)} is no place in a body", "write e.g. `items`, `orders[].lines`, `$`"
            elif name == "paths" and spec.action == "aggregate" and place.endswith("[]"):
                yield f"spec.paths[{i}]", f"{shown(place)} is the place of items", f"the list is at `{place[:-2][:80] or '$'}`"


def _purposes(spec: DataPolicy) -> Found:
    if bool(spec.purposes) != bool(spec.purpose_from):
        lacking = "purposeFrom" if spec.purposes else "purposes"
        yield f"spec.{lacking}", f"`spec.{lacking}` is not there, so no purpose is known", "write both or neither"
    if spec.purpose_from and not _PURPOSE.fullmatch(spec.purpose_from):
        message = f"{shown(spec.purpose_from)} does not say where a purpose stands"
        yield "spec.purposeFrom", message, "write e.g. `header:x-purpose` or `claim:purpose`"
    for i, purpose in enumerate(spec.purposes):
        if not purpose or purpose != purpose.strip():
            yield f"spec.purposes[{i}]", f"{shown(purpose)} is no purpose", ""
