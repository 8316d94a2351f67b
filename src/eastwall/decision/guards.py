"""Policies that take themselves back: a guard counts the calls that a policy stops and that look legitimate, and steps it back to `monitor`.

A stopped call looks legitimate when all of this holds:

- the caller is proved (`verified`), and nothing is wrong with its credentials;
- there is no suspicious finding (medium severity and medium confidence, or more) in the call, nor was one in the caller's calls of the last
  hour. Of a DetectionPolicy the finding that it acted on is in question, and counts only when it is told with high confidence;
- the operation is learned, and the caller's class uses it;
- `PASSED` earlier calls of this caller to this operation passed and were answered with success.

A guard with a `share` asks besides how many calls that look legitimate passed, of the operations in its policy's scope, in the same time: these are
counted in buckets of a twentieth of the time. Engines tell each other of them too. Control, which has no such counts, leaves it to the engines.

An engine steps a policy back at once and on its own. It tells other engines and control of the calls that were hit, so that all count all; control
writes it down and publishes it, and it stays until somebody arms the policy again. Losing this state counts less, so a policy steps back later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

from msgspec import Struct

from eastwall.model.call import Mode, Phase
from eastwall.model.decision import Decision, PolicyMatch, Verdict
from eastwall.model.facts import Facts
from eastwall.model.finding import Finding
from eastwall.model.identity import Strength
from eastwall.model.snapshot import StepBack
from eastwall.policy.rollout import GuardRule

PASSED = 3
"""Earlier calls that must have passed."""
USES = 5
"""Clean calls of an operation from which on a class uses it."""
SUSPECT = 3_600.0
"""Seconds for which a finding makes its caller's calls suspicious."""
MAX_HITS = 1_000
MAX_CALLERS = 100_000
MAX_SHAPES = 200_000
BUCKETS = 20
"""Of a guard's time, in which calls that passed are counted."""
MAX_BUCKETS = 3 * BUCKETS
_SUSPICIOUS = frozenset({"medium", "high", "critical"})


class Hit(Struct, frozen=True, array_like=True):
    """A call that looks legitimate and that a policy stopped."""

    policy: str
    time: float
    """Unix seconds."""
    actor: int
    """Hash of the caller."""
    call: str
    """Event id."""


Seen = tuple[str, int, int]
"""(policy, bucket, calls in it that look legitimate and passed)"""


class GuardTable:
    """What guards have counted, and which policies have stepped back."""

    def __init__(self) -> None:
        self.stepped: dict[str, StepBack] = {}
        """Policies that have stepped back, by name."""
        self.rearmed: dict[str, float] = {}
        """Policy -> when somebody armed it again: what was hit before no longer counts."""
        self.fresh: list[StepBack] = []
        """Stepped back by this engine, since somebody asked."""
        self.told: list[Hit] | None = None
        """Hits since other engines were told; None: nobody is told."""
        self.rules: Mapping[str, GuardRule] = {}
        """The guards of the present plan, by policy."""
        self.counts = True
        """Whether calls that passed are counted here: control's table only hears of hits."""
        self.sharing: frozenset[str] = frozenset()
        """Policies whose guards have a `share`."""
        self.told_seen: dict[tuple[str, int], int] = {}
        """Calls that passed since other engines were told; empty where nobody is."""
        self._seen: dict[str, dict[int, int]] = {}
        """Policy -> bucket -> calls that passed, everywhere."""
        self._hits: dict[str, deque[Hit]] = {}
        self._suspects: dict[int, float] = {}
        self._passed: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._suspects) + len(self._passed) + sum(map(len, self._hits.values()))

    # -- what engines see -----------------------------------------------------------------------------------------

    def judged(self, facts: Facts, findings: Sequence[Finding], verdict: Verdict, covering: Iterable[str] = ()) -> None:
        """A message was judged. Asked only where the plan has guards. `covering`: policies with a `share` that are about its operation."""
        actor = _hash(facts.identity.actor)
        stopped = None
        if verdict.action in ("block", "limit"):
            stopped = next((m for m in verdict.matches if m.mode is Mode.ENFORCE and m.action in ("block", "limit")), None)
        if stopped is not None and stopped.policy in self.rules and self._legitimate(facts, findings, stopped, actor):
            hit = Hit(stopped.policy, facts.call.time, actor, facts.call.id)
            if self.told is not None:
                self.told.append(hit)
            self.take(hit)
        elif stopped is None and covering and facts.phase is Phase.REQUEST and self._legitimate(facts, findings, None, actor):
            for name in covering:
                if (guard := self.rules.get(name)) is not None:
                    self._see(name, int(facts.call.time * BUCKETS / guard.within), 1)
                    if self.told is not None:
                        key = (name, int(facts.call.time * BUCKETS / guard.within))
                        self.told_seen[key] = self.told_seen.get(key, 0) + 1
        if any(map(_suspicious, findings)):
            if len(self._suspects) >= MAX_CALLERS and actor not in self._suspects:
                del self._suspects[next(iter(self._suspects))]
            self._suspects.pop(actor, None)
            self._suspects[actor] = facts.call.time

    def passed(self, request: Decision, status: int) -> None:
        """A call that nothing stopped is over."""
        endpoint = request.match.endpoint
        if endpoint is None or not 200 <= status < 400 or request.identity.strength < Strength.VERIFIED:
            return
        shape = _hash(f"{request.identity.actor}\0{endpoint.id}")
        count = self._passed.pop(shape, 0)
        if len(self._passed) >= MAX_SHAPES:
            del self._passed[next(iter(self._passed))]
        self._passed[shape] = min(count + 1, PASSED)

    def _legitimate(self, facts: Facts, findings: Sequence[Finding], stopped: PolicyMatch | None, actor: int) -> bool:
        identity, endpoint = facts.identity, facts.match.endpoint
        if identity.strength < Strength.VERIFIED or identity.faults or endpoint is None or endpoint.status != "learned":
            return False
        in_question = stopped.finding if stopped is not None else ""
        if any(_suspicious(one) and (one.id != in_question or one.confidence == "high") for one in findings):
            return False
        if facts.call.time - self._suspects.get(actor, float("-inf")) < SUSPECT:
            return False
        if not any(cls == identity.cls and calls >= USES for cls, calls, _ in endpoint.users):
            return False
        return self._passed.get(_hash(f"{identity.actor}\0{endpoint.id}"), 0) >= PASSED

    # -- counting -------------------------------------------------------------------------------------------------

    def take(self, hit: Hit) -> None:
        """Count a hit, wherever it was seen; a policy that has too many steps back."""
        guard = self.rules.get(hit.policy)
        if guard is None or hit.policy in self.stepped or hit.time <= self.rearmed.get(hit.policy, 0.0):
            return
        hits = self._hits.setdefault(hit.policy, deque(maxlen=MAX_HITS))
        if any(one.call == hit.call for one in hits):
            return
        hits.append(hit)
        within = [one for one in hits if abs(one.time - hit.time) <= guard.within]
        callers = len({one.actor for one in within})
        if len(within) <= guard.legitimate or callers < guard.callers:
            return
        reason = f"{len(within)} calls of {callers} callers that look legitimate were stopped within {guard.words}"
        if guard.share:
            if not self.counts:
                return
            passed = self._passed_around(hit.policy, hit.time, guard)
            share = len(within) / (len(within) + passed)
            if share <= guard.share:
                return
            reason += f", {share:.1%} of all that look legitimate"
        step = StepBack(hit.policy, hit.time, reason, tuple(one.call for one in within[-10:]))
        self.stepped[hit.policy] = step
        self.fresh.append(step)
        hits.clear()

    def take_seen(self, seen: Seen) -> None:
        """Count calls that passed elsewhere."""
        policy, bucket, count = seen
        if policy in self.sharing and count > 0:
            self._see(policy, bucket, count)

    def _see(self, policy: str, bucket: int, count: int) -> None:
        buckets = self._seen.setdefault(policy, {})
        buckets[bucket] = buckets.get(bucket, 0) + count
        if len(buckets) > MAX_BUCKETS:
            del buckets[min(buckets)]

    def _passed_around(self, policy: str, time: float, guard: GuardRule) -> int:
        width = guard.within / BUCKETS
        at = int(time / width)
        return sum(count for bucket, count in self._seen.get(policy, {}).items() if abs(bucket - at) <= BUCKETS)

    def news_seen(self) -> list[Seen]:
        """What other engines are to be told since last time."""
        told = [(policy, bucket, count) for (policy, bucket), count in self.told_seen.items()]
        self.told_seen.clear()
        return told

    def follow(self, rules: Mapping[str, GuardRule], stepped: Iterable[StepBack], rearmed: Iterable[tuple[str, float]]) -> None:
        """Take over what control has published. What this engine stepped back since stays."""
        self.rules, self.rearmed = rules, dict(rearmed)
        self.sharing = frozenset(name for name, guard in rules.items() if guard.share)
        for name in [name for name in self._seen if name not in self.sharing]:
            del self._seen[name]
        mine = {name: step for name, step in self.stepped.items() if step.time > self.rearmed.get(name, 0.0)}
        self.stepped = {**mine, **{step.policy: step for step in stepped}}
        for name, hits in self._hits.items():
            at = self.rearmed.get(name, 0.0)
            while hits and hits[0].time <= at:
                hits.popleft()
        for name in [name for name in self._hits if name not in rules]:
            del self._hits[name]

    def recent(self) -> list[Hit]:
        """The latest hits of each policy: what control counts over all engines."""
        return [hit for hits in self._hits.values() for hit in list(hits)[-100:]]


def _suspicious(finding: Finding) -> bool:
    return finding.severity in _SUSPICIOUS and finding.confidence != "low"


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
