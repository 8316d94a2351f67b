"""Policies on recorded calls: what a plan would have done with each, and what that changes, in groups.

Pure and in order of time (limits count), so calls are given as they were made. Everything is bounded: groups, the callers told apart in
one, and examples.

**Judged** is what the plan says of the facts of the record (`recorded`). What reads a value that records do not hold is tried every way it
can turn out; where that makes a difference the call *cannot be judged*, and is counted apart.

**Legitimate** is a call with no finding that passed. It is what a new policy must not block.
"""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush
from itertools import product
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from eastwall.discovery.inventory import Inventory
from eastwall.model.call import Completion
from eastwall.model.decision import PolicyMatch, Verdict
from eastwall.model.record import CallRecord
from eastwall.policy.compile import Plan, Rules
from eastwall.policy.evaluate import evaluate
from eastwall.policy.limits import LimitTable
from eastwall.policy.recorded import (
    LISTED,
    STOPPED,
    Identities,
    RecordedCall,
    UnrecordedError,
    read_record,
)
from eastwall.policy.steps import limits as rate_limits
from eastwall.policy.steps.limits import LimitRule
from eastwall.policy.wording import shown

Change = Literal["blocked", "passed", "changed", "unjudged"]
PASSING = ("allow", "report", "excused")
"""Actions of policies that matched and stopped or changed nothing."""
MAX_GROUPS = 5_000
MAX_CALLERS = 10_000
"""Callers told apart in one group; further ones are `at least`."""
MAX_EXAMPLES = 3
MAX_TRIED = 3
"""Conditions of one call that are tried every way."""
_WAYS: tuple[bool | None, ...] = (False, True, None)
OTHERS = "(others)"
ORDER: tuple[Change, ...] = ("blocked", "passed", "changed", "unjudged")
DETECTOR_ERRORS = "builtin/detector-errors"


class Outcome(Struct, frozen=True):
    """What a plan does with one recorded call."""

    action: str
    """`allow`, `redact`, `limit`, `block`; empty: cannot be judged."""
    match: PolicyMatch | None = None
    """The deciding policy, when it is not let through."""
    why: str = ""
    """Why it cannot be judged."""
    condition: str = ""
    """Text of the condition that cannot be judged."""


ALLOWED = Outcome("allow")


class Judge:
    """One plan, and its live limits."""

    def __init__(self, plan: Plan, *, enforced: bool = True) -> None:
        """`enforced`: as if every policy were enforced (of the services' modes the plan knows already); else as each says itself."""
        self.plan, self.enforced = plan, enforced
        self._limits = LimitTable()
        rules = [rule for rule in plan.rules if isinstance(rule, LimitRule)]
        self._metered = any(rule.concurrency or rule.metered for rule in rules)
        self._open: list[tuple[float, str, Completion, bool]] = []
        """When calls end that count under a limit until then; the earliest first."""

    def judge(self, call: RecordedCall) -> Outcome:
        """What the plan does with a call. Calls are to come in the order of their times."""
        if not self._metered:
            return self._whole(call)
        while self._open and self._open[0][0] <= call.record.time:
            _, _, completion, refused = heappop(self._open)
            rate_limits.completed(self._limits, completion, refused=refused)
        outcome, record = self._whole(call), call.record
        completion = Completion(
            record.id, record.service, record.time, record.method, record.path, record.authority, record.status,
            record.request_bytes, record.response_bytes, record.duration_us,
        )  # fmt: skip
        heappush(self._open, (record.time + record.duration_us / 1e6, record.id, completion, outcome.action in STOPPED))
        return outcome

    def _whole(self, call: RecordedCall) -> Outcome:
        try:
            return self._judged(call, self._limits)
        except UnrecordedError as error:
            return self._tried(call, str(error), error.condition)

    def _rules(self, call: RecordedCall) -> Rules:
        request = call.request
        return self.plan.rules_for(call.record.service, call.record.method, request.match.endpoint, request.operation)

    def _judged(self, call: RecordedCall, limits: LimitTable) -> Outcome:
        outcome = self._outcome(evaluate(self.plan, call.request, call.findings, (), limits))
        if outcome.action in STOPPED or not call.answered:
            return outcome
        if not (call.data or call.response_findings or call.record.id in limits.meters):
            rules = self._rules(call)
            if not rules.reads_response and not rules.pinning and not rules.taints:
                return outcome
        answered = self._outcome(evaluate(self.plan, call.response(), call.response_findings, (), limits))
        if answered.action != "allow" and any(one.id == LISTED for one in call.response_findings):
            answered = self._listed(call, answered, limits)
        return answered if answered.action != "allow" else outcome

    def _listed(self, call: RecordedCall, whole: Outcome, limits: LimitTable) -> Outcome:
        """Of an answer with items that are others': cut or withheld."""
        cut = call.cut()
        if cut is False:
            return whole
        listed = self._outcome(evaluate(self.plan, call.response(listed=True), call.response_findings, (), limits))
        if cut or listed.action == whole.action:
            return listed
        raise UnrecordedError("the record does not tell whether others' items could be taken out of the answer")

    def _outcome(self, verdict: Verdict) -> Outcome:
        action = verdict.would if self.enforced else verdict.action
        if action == "allow":
            return ALLOWED
        return Outcome(action, next((match for match in verdict.matches if match.action not in PASSING), None))

    def _tried(self, call: RecordedCall, why: str, condition: str) -> Outcome:
        """Every way in which the conditions that cannot be judged may turn out: when all come to the same, that is it."""
        cannot = Outcome("", None, why, condition)
        rules = self._rules(call)
        # A limit would have to count the call, or not; what a caller was given before is not in the table that is tried.
        if not condition or rules.limits or any(one.rule.taints for one in rules.tools):
            return cannot
        conditions = [condition]
        asked = call.request
        try:
            while len(conditions) <= MAX_TRIED:
                outcomes = []
                try:
                    for ways in product(_WAYS, repeat=len(conditions)):
                        call.request = replace(asked, assumed=dict(zip(conditions, ways, strict=True)))
                        outcomes.append(self._judged(call, LimitTable()))
                except UnrecordedError as further:
                    if not further.condition:
                        return cannot
                    conditions.append(further.condition)
                    continue
                return outcomes[0] if len({outcome.action for outcome in outcomes}) == 1 else cannot
        finally:
            call.request = asked
        return cannot


class Group(Struct):
    """Calls that change in the same way, by the same policy, on the same operation, of the same class of callers."""

    change: Change
    before: str
    """What was done (replay), or what the first plan does (diff)."""
    after: str
    """What the new plan does; empty: cannot be judged."""
    policy: str
    kind: str
    location: str
    """`file:line` of the policy."""
    reason: str
    service: str
    operation: str
    """`GET /orders/{order_id}`; of calls to unknown endpoints the first segment of their paths."""
    caller_class: str
    calls: int = 0
    legitimate: int = 0
    """Of these, with no finding, and passed so far."""
    already: int = 0
    """Of these, stopped by the applied policies too, were they enforced."""
    callers: int = 0
    """Distinct ones; at most MAX_CALLERS are told apart."""
    examples: list[tuple[str, float, str]] = []
    """(event id, time, caller), of different callers where there are several."""


class Totals(Struct):
    """Counts of calls; each is in one of the first five."""

    calls: int = 0
    unchanged: int = 0
    blocked: int = 0
    """Newly blocked, or limited."""
    passed: int = 0
    """Newly passed."""
    changed: int = 0
    """Done otherwise: redacted or not, limited or blocked."""
    unjudged: int = 0
    """Cannot be judged."""
    legitimate: int = 0
    """Of all calls, those with no finding that passed."""
    blocked_legitimate: int = 0
    blocked_already: int = 0
    """Of the newly blocked, those that the applied policies would stop too, were they enforced."""


class Comparison:
    """Takes recorded calls in order of time, and tells what changes. `groups` and `totals` are the result."""

    def __init__(self, new: Judge, old: Judge | None, inventory: Inventory, *, against_old: bool = False) -> None:
        """`old`: the applied plan, or that of the first directory. `against_old`: compare with what it does, not with what was done."""
        self._new, self._old, self._against_old = new, old, against_old
        self._inventory, self._identities = inventory, Identities()
        self._groups: dict[tuple[str, ...], Group] = {}
        self._callers: dict[int, set[str]] = {}
        self._conditions: dict[str, tuple[str, str, str]] = {}
        for judge in (old, new):
            for rule in judge.plan.rules if judge is not None else ():
                for condition in rule.conditions:
                    self._conditions[condition.text] = (rule.name, rule.kind, rule.location)
        self.totals = Totals()
        self.legitimate: Counter[str] = Counter()
        """Legitimate calls, by service."""

    def add(self, record: CallRecord) -> None:
        """Take one call: the next in the order of time."""
        totals = self.totals
        totals.calls += 1
        legitimate = not record.findings and record.action not in STOPPED
        if legitimate:
            totals.legitimate += 1
            self.legitimate[record.service] += 1
        done = next((match for match in record.matches if match.action not in PASSING), None)
        if not record.actor or any(match.policy == DETECTOR_ERRORS for match in record.matches):
            self._note(record, "unjudged", record.action, Outcome("", None, "it was not inspected, or a detector failed"))
            return
        call = read_record(record, self._inventory, self._identities)
        after = self._new.judge(call)
        then = self._old.judge(call) if self._old is not None else None
        before = then if self._against_old and then is not None else Outcome(record.action, done)
        if not after.action or not before.action:
            self._note(record, "unjudged", before.action, before if after.action else after)
        elif after.action == before.action:
            totals.unchanged += 1
        elif after.action in STOPPED and before.action not in STOPPED:
            already = not self._against_old and then is not None and then.action in STOPPED
            totals.blocked_legitimate += legitimate
            totals.blocked_already += already
            self._note(record, "blocked", before.action, after, legitimate=legitimate, already=already)
        else:
            change: Change = "passed" if before.action in STOPPED and after.action not in STOPPED else "changed"
            told = after if after.match is not None else Outcome(after.action, before.match)
            self._note(record, change, before.action, told, legitimate=legitimate)

    def _note(
        self, record: CallRecord, change: Change, before: str, after: Outcome, *, legitimate: bool = False, already: bool = False
    ) -> None:
        setattr(self.totals, change, getattr(self.totals, change) + 1)
        operation = _operation(record)
        policy = after.match.policy if after.match is not None else ""
        key = (change, before, after.action, policy, record.service, operation, record.actor_class, after.condition)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= MAX_GROUPS:
                # Callers make up paths and classes: what is over the bound is told as one.
                operation, cls, key = OTHERS, OTHERS, (change, before, after.action, policy, "", "", "", "")
                group = self._groups.get(key)
            else:
                cls = record.actor_class
            if group is None:
                told = self._told(after)
                group = Group(change, before, after.action, *told, record.service, operation, cls)
                self._groups[key] = group
                self._callers[id(group)] = set()
        group.calls += 1
        group.legitimate += legitimate
        group.already += already
        callers = self._callers[id(group)]
        stranger = record.actor not in callers
        if stranger and len(callers) < MAX_CALLERS:
            callers.add(record.actor)
            group.callers += 1
        if stranger and len(callers) <= MAX_EXAMPLES:
            # Examples of different callers go before further ones of the same.
            group.examples.insert(len(callers) - 1, (record.id, record.time, record.actor))
            del group.examples[MAX_EXAMPLES:]
        elif len(group.examples) < MAX_EXAMPLES:
            group.examples.append((record.id, record.time, record.actor))

    def _told(self, after: Outcome) -> tuple[str, str, str, str]:
        """Policy, kind, location and reason."""
        if (match := after.match) is not None:
            return match.policy, match.kind, match.location, match.reason
        if not after.condition:
            return "", "", "", after.why
        return *self._conditions.get(after.condition, ("", "", "")), f"its condition {shown(after.condition)}: {after.why}"

    def groups(self) -> list[Group]:
        """What changes, the newly blocked legitimate calls first, then by number of calls."""
        return sorted(
            self._groups.values(),
            key=lambda g: (ORDER.index(g.change), -g.legitimate, -g.calls, g.policy, g.service, g.operation, g.caller_class),
        )


def _operation(record: CallRecord) -> str:
    if record.template:
        name = f" {record.operation}" if record.operation else ""
        return f"{record.method} {record.template}{name}"
    first = record.path.strip("/").partition("/")[0]
    return f"{record.method} /{first[:60]}" + ("/**" if record.path.strip("/") != first else "")
