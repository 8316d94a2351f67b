"""The most frequent case in short: a request in which nothing was found, of an operation whose rules only ask who calls, and how often.

`evaluate` with all its steps is what counts. This says no more than that they would let a call in, and nothing where they might not. With
thousands of policies what costs is fetching what is different for each operation from memory; so all that is asked stands in one tuple, with
the verdict ready, and what policies share (a test of callers) is the same object for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from eastwall.model.call import Mode
from eastwall.model.decision import ALLOWED, PolicyMatch, Verdict
from eastwall.model.facts import Facts
from eastwall.policy.conditions import Condition, ConditionError
from eastwall.policy.limits import LimitTable
from eastwall.policy.patterns import is_odd
from eastwall.policy.selecting import Selector
from eastwall.policy.steps.applying import NOWHERE, holds
from eastwall.policy.steps.limits import LimitRule, take_rate

if TYPE_CHECKING:
    from eastwall.policy.compile import Rules
    from eastwall.policy.world import Zone


STEPS = frozenset({"zones", "access", "limits", "exceptions", "detections", "data", "schema"})
"""Steps of which what such a request is asked is known here: the last three ask nothing of it, unless rules read bodies; exceptions nothing
of what is let in. Another step that an operation has takes it off the fast path."""


class FastPath(NamedTuple):
    """What is asked of a request for one operation, in this order. Made for one service and method."""

    service: str
    method: str
    patterned: bool
    """An odd path may be another operation's."""
    bans: tuple[Selector, ...]
    """Whom policies deny it: who is among them is no matter for this."""
    held: tuple[tuple[Selector | None, tuple[Condition, ...]], ...]
    """Whom policies deny it when conditions hold, which read no parameters of the path."""
    zones: tuple[tuple[Zone, bool, bool], ...]
    """Zones that it is in, and whether they let in their members, and others, without further question."""
    selects: Selector | None
    """Of the only `allow`: whom it is open to; None: to all."""
    verdict: Verdict
    """When it is open."""
    doors: tuple[tuple[Selector | None, PolicyMatch], ...]
    """The `allow`s, where there are several: in place of the two before."""
    limit: LimitRule | None
    """The only limit, which is a mere rate."""


def fast_path(rules: Rules, service: str, method: str, shared: Callable[[Any], Any]) -> FastPath | None:
    """None where more is to be asked. `shared`: gives the one tuple that is equal to this."""
    if rules.mode is Mode.DISCOVER or rules.staged or rules.reads_request or len(rules.limits) > 1 or not rules.steps <= STEPS:
        return None
    if any(not b.always or b.rule.uses_path or b.rule.exempt is not None for b in (*rules.denies, *rules.allows, *rules.limits)):
        return None
    if not all(b.opens and b.mode is Mode.ENFORCE and not b.rule.conditions for b in rules.allows):
        return None
    bans = [b.rule.selects for b in rules.denies if b.rule.selects is not None and not b.rule.conditions]
    held = tuple((b.rule.selects, b.rule.conditions) for b in rules.denies if b.rule.conditions)
    limits = [b.rule for b in rules.limits]
    if len(bans) + len(held) < len(rules.denies):
        return None  # it is closed to everybody
    if any(one.selects is not None or one.conditions or not one.only_rate for one in limits):
        return None
    zones = tuple((b.rule.zone, not b.rule.inside_closed, not b.rule.closed) for b in rules.zones if b.rule.guards(service))
    if len(zones) < len(rules.zones) or any(b.rule.admission is not None for b in rules.zones):
        return None
    first = rules.allows[0] if rules.allows else None
    several = tuple((b.rule.selects, b.allowing) for b in rules.allows) if len(rules.allows) > 1 else ()
    return FastPath(
        service,
        method,
        rules.patterned,
        shared(tuple(dict.fromkeys(bans))),
        held,
        shared(zones),
        None if first is None else first.rule.selects,
        ALLOWED if first is None else Verdict("allow", "allow", (), (first.allowing,)),
        several,
        limits[0] if limits else None,
    )


def judge(path: FastPath, facts: Facts, limits: LimitTable) -> Verdict | None:
    """The verdict on a request in which nothing was found; None: the steps must be asked."""
    service, method, patterned, bans, held, zones, selects, verdict, doors, limit = path
    call = facts.call
    if call.request.method != method or call.service != service or (patterned and is_odd(facts.operation.path)):
        return None
    identity = facts.identity
    for banned in bans:
        if banned(identity):
            return None
    for test, conditions in held:
        if (test is None or test(identity)) and _may_hold(conditions, facts):
            return None
    for zone, members, others in zones:
        if not (members if zone.has_caller(identity, loosens=True) else others):
            return None
    if doors:
        matches = tuple([match for test, match in doors if test is None or test(identity)])
        if not matches:
            return None
        verdict = Verdict("allow", "allow", (), matches)
    elif selects is not None and not selects(identity):
        return None
    if limit is not None and (limits.outage or not take_rate(limit, facts, limits)):
        return None  # what is refused was not counted: the steps may ask again
    return verdict


def _may_hold(conditions: tuple[Condition, ...], facts: Facts) -> bool:
    try:
        return holds(conditions, facts, NOWHERE, loosens=False)
    except ConditionError:
        return True
