"""Playbooks, decided: which calls count, when enough have come, what follows, and when it is over. No clock, no disk: see `runtime.playbooks`.

- A call counts once, by its record. What is counted is kept per playbook and key (an identity, an endpoint, ...) as the newest `count` times,
  so that the order in which records come makes no difference; keys are bounded, and the ones longest without a call are forgotten first.
- Calls of imported recordings, and those older than the playbook's window and ten minutes, count for nothing: yesterday's attack is no
  reason to close anything today.
- Per identity only calls count whose caller is proved (`on.strength`): whoever sends attacks under somebody else's name must not get that
  somebody locked out. Identities of `maintenance` never count.
- While a run for a key is in force nothing new happens for it. `maxPerHour` runs an hour, `MAX_PER_HOUR` of all playbooks together.
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Literal, get_args

from msgspec import Struct
from msgspec.structs import replace

from eastwall.model.finding import CONFIDENCES, SEVERITIES, Finding
from eastwall.model.identity import Identity, Principal, Strength
from eastwall.model.record import CallRecord
from eastwall.policy.durations import parse_duration
from eastwall.policy.kinds import Identities, LimitPolicy, Playbook, Policy, Quarantine, Scope, Step
from eastwall.policy.patterns import compile_globs
from eastwall.policy.selecting import STRENGTHS, Selector
from eastwall.policy.world import World

ActorKind = Literal["user", "agent", "workload", "client", "key", "address"]
MAX_PER_HOUR = 20
"""Runs of all playbooks together."""
MAX_KEYS = 10_000
"""Keys that one playbook counts."""
LATE = 600.0
"""Seconds a record may be older than the playbook's window, since engines and control may have been behind."""
EARLY = 300.0
"""Seconds a record may be ahead of the clock; more is a clock that jumped."""
SNAPSHOT = "snapshot of the evidence"
"""That step, in words."""
NAMED = 10
"""Events and findings that a run names."""


class Firing(Struct, frozen=True):
    """Enough calls of a playbook's trigger have come."""

    playbook: str
    key: str
    """What they have in common: `identity user:alice`, `endpoint orders GET /orders/{id}`."""
    count: int
    time: float
    """Of the latest of them, Unix seconds."""
    since: float
    """Of the first of them."""
    record: CallRecord
    """The call that completed the count."""
    events: tuple[str, ...] = ()
    """Event ids, the latest at most."""
    findings: tuple[str, ...] = ()
    """Ids of their findings, each once."""


class Run(Struct, frozen=True):
    """A playbook that was carried out, or would have been."""

    id: str
    playbook: str
    key: str
    began: float
    """Unix seconds, by control's clock."""
    ends: float
    """When its policies are taken back."""
    count: int
    events: tuple[str, ...]
    findings: tuple[str, ...]
    steps: tuple[str, ...]
    """What was done, in words."""
    policies: tuple[Policy, ...] = ()
    """What it put in force."""
    dry: bool = False
    ended: float = 0.0
    """When they were taken back; 0: they are in force."""
    why_ended: str = ""
    evidence: str = ""
    """Name of the file that holds the evidence; empty: none was kept."""


class _Times:
    __slots__ = ("events", "findings", "times")

    def __init__(self) -> None:
        self.times: list[tuple[float, str]] = []
        """(time, event id), sorted."""
        self.findings: dict[str, None] = {}
        self.events: dict[str, None] = {}


class Watcher:
    """One playbook and its counts."""

    def __init__(self, policy: Policy, spec: Playbook, stages: Mapping[str, str], world: World) -> None:
        """`stages`: detection id -> stage of an attack. Raises ValueError on what `parse_files` would not have let pass."""
        self.name, self.spec = policy.name, spec
        on = spec.on
        self.within, self.lasts = parse_duration(on.within), parse_duration(spec.lasts)
        self._stages = stages
        self._findings, self._policies = compile_globs(on.findings), compile_globs(on.policies)
        self._services = compile_globs(on.services)
        self._about_findings = bool(on.findings or on.stages or on.min_severity)
        self._severity = SEVERITIES.index(on.min_severity) if on.min_severity else 0
        self._confidence = CONFIDENCES.index(on.min_confidence)
        self._strength = STRENGTHS[on.strength]
        self._maintenance: Selector | None = (
            world.selector(spec.maintenance, loosens=True) if spec.maintenance is not None else None
        )
        self._counts: OrderedDict[str, _Times] = OrderedDict()

    def see(self, record: CallRecord, now: float) -> Firing | None:
        """Count a call; what follows when it completes the count."""
        if record.origin or record.time > now + EARLY or record.time < now - self.within - LATE:
            return None
        if self._services is not None and not self._services(record.service):
            return None
        found = tuple(finding.id for finding in record.findings if self._counts_finding(finding))
        if (self._about_findings and not found) or (self._policies is not None and not self._refused(record)):
            return None
        if self._maintenance is not None and self._maintenance(identity_of(record)):
            return None
        key = self._key(record)
        return self._count(key, record, found, now) if key else None

    def go_on(self, before: Watcher) -> None:
        """Take over what the same playbook has counted, compiled against an earlier world."""
        self._counts = before._counts

    def forget(self, key: str) -> None:
        """Begin anew with a key."""
        self._counts.pop(key, None)

    def _counts_finding(self, finding: Finding) -> bool:
        return (
            not finding.standing  # a fault of the set-up says nothing of this caller
            and (self._findings is None or self._findings(finding.id))
            and (not self.spec.on.stages or self._stages.get(finding.id, "") in self.spec.on.stages)
            and finding.severity in SEVERITIES
            and SEVERITIES.index(finding.severity) >= self._severity
            and finding.confidence in CONFIDENCES
            and CONFIDENCES.index(finding.confidence) >= self._confidence
        )

    def _refused(self, record: CallRecord) -> bool:
        assert self._policies is not None
        if record.action not in ("block", "limit"):
            return False
        return any(
            m.action in ("block", "limit") and m.mode.name == "ENFORCE" and self._policies(m.policy) for m in record.matches
        )

    def _key(self, record: CallRecord) -> str:
        per = self.spec.on.per
        if per == "identity":
            if not record.actor or (record.actor_kind != "address" and record.strength < self._strength):
                return ""
            return f"identity {record.actor}"
        if per == "endpoint":
            return f"endpoint {record.service} {record.method} {record.template}" if record.template else ""
        if per == "tool":
            return f"tool {record.service} {tool_of(record)}" if tool_of(record) else ""
        return f"service {record.service}" if per == "service" else f"source {record.source}" if record.source else ""

    def _count(self, key: str, record: CallRecord, found: Sequence[str], now: float) -> Firing | None:
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = _Times()
            if len(self._counts) > MAX_KEYS:
                self._counts.popitem(last=False)
        self._counts.move_to_end(key)
        times = counts.times
        if record.id in counts.events:
            return None  # replayed
        # What a clock that has jumped back left in the future would hold the place of what comes now.
        times[:] = [one for one in times if one[0] <= now + EARLY]
        insort(times, (record.time, record.id))
        need = self.spec.on.count
        del times[: max(0, len(times) - need)]
        kept = {event for _, event in times[-max(need, NAMED) :]}
        counts.events = {event: None for event in (*counts.events, record.id) if event in kept}
        counts.findings |= dict.fromkeys(found)
        while len(counts.findings) > NAMED:
            counts.findings.pop(next(iter(counts.findings)))
        if len(times) < need or times[-1][0] - times[0][0] > self.within:
            return None
        events = tuple(event for _, event in times[-NAMED:])
        return Firing(self.name, key, need, times[-1][0], times[0][0], record, events, tuple(counts.findings))


def watchers_of(policies: Iterable[Policy], stages: Mapping[str, str], world: World) -> dict[str, Watcher]:
    """Every playbook by its name. `world`: for `maintenance`. Raises ValueError on what `parse_files` would not have let pass."""
    found = {}
    for policy in policies:
        if isinstance(policy.spec, Playbook) and policy.spec.mode != "discover":
            found[policy.name] = Watcher(policy, policy.spec, stages, world)
    return found


def may_run(firing: Firing, spec: Playbook, runs: Sequence[Run], now: float) -> str:
    """Why a playbook must not run now; empty: it may. `in force` says that nothing new is to be done."""
    live = [run for run in runs if not run.ended]
    if any((run.playbook, run.key) == (firing.playbook, firing.key) for run in live):
        return "in force"
    recent = [run for run in runs if abs(now - run.began) < 3_600 and run.dry == spec.dry_run]
    if sum(run.playbook == firing.playbook for run in recent) >= spec.max_per_hour:
        return f"it ran {spec.max_per_hour} times within the hour, as often as `maxPerHour` lets it"
    if len(recent) >= MAX_PER_HOUR:
        return f"playbooks ran {MAX_PER_HOUR} times within the hour, as often as they may together"
    return ""


def is_over(run: Run, now: float) -> bool:
    """Whether a run's policies are to be taken back. A clock that jumped back far must not make them last."""
    return not run.ended and (now >= run.ends or now < run.began - EARLY)


def policy_of(spec: Playbook, number: int, firing: Firing, run: str, ends: float) -> Policy | None:
    """What a step puts in force, as a policy that ends by itself at `ends`, by the time of the call; None: nothing. Raises ValueError
    where that would be more than what the step is about."""
    rule = _rule(spec, spec.steps[number], firing, ends)
    return Policy(f"playbook/{firing.playbook}/{run}/{number}", rule, f"playbook {firing.playbook}") if rule is not None else None


def words(step: Step, firing: Firing) -> str:
    """A step, for people."""
    if step.quarantine is not None:
        return f"quarantine of {_target(step.quarantine, firing)}"
    if step.limit is not None:
        return f"limit of {step.limit.rate} on {firing.key}"
    if step.require_reauthentication:
        return f"re-authentication of {firing.key}"
    if step.notify is not None:
        # A webhook's path may be a secret, its host is none.
        return f"notification by {'syslog' if step.notify.syslog else step.notify.format}"
    return SNAPSHOT


def tool_of(record: CallRecord) -> str:
    """The MCP tool that was called; empty: none."""
    method, _, name = record.operation.partition(" ")
    return name if record.protocol == "mcp" and method == "tools/call" else ""


def identity_of(record: CallRecord) -> Identity:
    """The caller as the record knows it, for selectors."""
    strengths = record.strengths or (0,) * len(record.principals)
    chain = []
    for text, strength in zip(record.principals, strengths, strict=False):
        kind, _, name = text.partition(":")
        chain.append(Principal(kind, name, Strength(strength)))
    return Identity(
        actor=record.actor,
        kind=record.actor_kind,
        strength=Strength(record.strength),
        cls=record.actor_class,
        chain=tuple(chain),
        roles=record.roles,
        scopes=record.scopes,
        tenant=record.tenant,
        agent=record.agent,
        human=record.human,
        workload=record.caller,
    )


def _rule(spec: Playbook, step: Step, firing: Firing, ends: float) -> Quarantine | LimitPolicy | None:
    until = _moment(ends)
    reason = spec.reason or f"Closed for now by the playbook {firing.playbook}."
    if step.quarantine is not None:
        scope, tools = _scope(step.quarantine, firing)
        return Quarantine(
            scope=scope, tools=tools, maintenance=spec.maintenance, until=until, mode=spec.mode, on_error="allow", reason=reason
        )
    if step.require_reauthentication:
        scope, _ = _scope("identity", firing)
        again = spec.reason or "Sign in again."
        return Quarantine(
            scope=scope, issued_after=_moment(firing.time + 1), until=until, mode=spec.mode, on_error="allow", reason=again
        )
    if step.limit is not None:
        target = firing.key.partition(" ")[0]
        scope, when = (Scope(), (_from(firing.record.source),)) if target == "source" else (_scope(target, firing)[0], ())
        return LimitPolicy(
            rate=step.limit.rate,
            burst=step.limit.burst,
            per=("source",) if target == "source" else ("identity",),
            scope=scope,
            mode=spec.mode,
            on_error="allow",
            when=(*when, f'call.time < timestamp("{until}")'),
            reason=spec.reason or f"Slowed down for now by the playbook {firing.playbook}.",
        )
    return None


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _from(source: str) -> str:
    """The condition that a call comes from an address. Raises ValueError."""
    return f'call.source == "{ip_address(source)}"'


def _target(kind: str, firing: Firing) -> str:
    record = firing.record
    return {
        "identity": f"identity {record.actor}",
        "endpoint": f"endpoint {record.service} {record.method} {record.template}",
        "service": f"service {record.service}",
        "tool": f"tool {tool_of(record)} of {record.service}",
    }.get(kind, firing.key)


def _scope(kind: str, firing: Firing) -> tuple[Scope, tuple[str, ...]]:
    """(scope, tools). Values out of calls are taken to the letter: see `literal`."""
    record = firing.record
    if kind == "identity":
        # Only where it is who calls, not where somebody else comes through it: behind an address there are many, behind a workload all its users.
        return Scope(identities=Identities(actors=(literal(record.actor),), kinds=(_kind(record.actor_kind),))), ()
    services = (literal(record.service),)
    if kind == "endpoint":
        if not record.template:
            raise ValueError("the call was to no known endpoint")
        return Scope(services=services, operations=(literal(f"{record.method} {record.template}"),)), ()
    if kind == "tool" and not tool_of(record):
        raise ValueError("the call was of no tool")
    return Scope(services=services), (literal(tool_of(record)),) if kind == "tool" else ()


def _kind(name: str) -> ActorKind:
    for known in get_args(ActorKind):
        if known == name:
            return known  # type: ignore[no-any-return]  # one of the literals
    raise ValueError("what kind of caller it is is not known")


def literal(text: str) -> str:
    """A name as a glob that matches nothing but it. Raises ValueError where there is none: a caller who calls himself `user:*` must not
    get everybody locked out."""
    if "*" in text:
        raise ValueError(f"`{text[:100]}` holds a `*`, so no policy can mean it alone")
    return text


def ended(run: Run, now: float, why: str) -> Run:
    """A run whose policies were taken back."""
    return replace(run, ended=now, why_ended=why)
