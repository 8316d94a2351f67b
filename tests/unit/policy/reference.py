"""The slow, obvious twin of `compile` and `evaluate`: scans all policies for every call, knows no inventory, caches nothing.

It gives (action, would, effects as text) and is written from docs/policy.md, not from the code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from eastwall.discovery.workloads import workload_name
from eastwall.model.call import Mode
from eastwall.model.facts import Facts
from eastwall.model.finding import CONFIDENCES, SEVERITIES, Detection, Finding
from eastwall.model.identity import Identity, Strength
from eastwall.model.snapshot import ServiceScope, Workload
from eastwall.policy.conditions import Condition, ConditionError, request_operation
from eastwall.policy.kinds import (
    AccessPolicy,
    DataPolicy,
    DetectionPolicy,
    Entrance,
    Identities,
    LimitPolicy,
    Policy,
    PolicyException,
    PolicySet,
    Quarantine,
    SchemaPolicy,
    Service,
    TaintSource,
    ToolPolicy,
    TrustZone,
)
from eastwall.policy.patterns import readings

MODES = {"discover": Mode.DISCOVER, "monitor": Mode.MONITOR, "enforce": Mode.ENFORCE}
LEVEL = {"none": Strength.NONE, "guessed": Strength.GUESSED, "asserted": Strength.ASSERTED, "verified": Strength.VERIFIED}


def views_of(mode: Mode) -> frozenset[str]:
    """An enforced policy counts for what is done and for what would be; a monitored one for the latter."""
    return frozenset(["now", "then"] if mode is Mode.ENFORCE else ["then"])


def glob(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def proof(identity: Identity, name: str) -> Strength:
    return max((p.strength for p in identity.chain if f"{p.kind}:{p.name}" == name), default=Strength.NONE)


def selected(who: Identities, identity: Identity, loosens: bool, segments: Segments) -> bool:
    if who == Identities():
        return True
    least = LEVEL[who.strength or ("asserted" if loosens else "none")]

    def proved(kind: str, strength: Strength) -> bool:
        return strength >= least or (kind == "address" and who.strength is None)

    if who.actors:
        if any(glob(a, identity.actor) for a in who.actors):
            if not proved(identity.kind, identity.strength):
                return False
        elif not any(glob(a, f"{p.kind}:{p.name}") and proved(p.kind, p.strength) for p in identity.chain for a in who.actors):
            return False
    on_the_way = who.actors or who.zones or who.namespaces or who.labels or who.agents or who.human == "required"
    of_the_actor = who.classes or who.kinds or who.roles or who.scopes or who.tenants
    if (not on_the_way or (loosens and of_the_actor)) and not proved(identity.kind, identity.strength):
        return False
    near = [(c, strength) for c, strength in segments.workloads(identity, loosens) if strength >= least]
    human = bool(identity.human) and (proof(identity, identity.human) >= Strength.ASSERTED or loosens)
    return all(
        (
            not who.zones
            or any(segments.member(z, identity, loosens, who.strength) for w in who.zones for z in segments.named(w)),
            not who.namespaces or any(glob(n, name.partition("/")[0]) for name, _ in near if "/" in name for n in who.namespaces),
            not who.labels
            or any(glob(w, one) for name, _ in near for one in segments.labels_of(name, loosens) for w in who.labels),
            not who.agents
            or (any(glob(a, identity.agent) for a in who.agents if identity.agent) and proof(identity, identity.agent) >= least),
            who.human != "required" or (identity.human != "" and proof(identity, identity.human) >= least),
            who.human != "absent" or not human,
            not who.classes or any(glob(c, identity.cls) for c in who.classes),
            not who.kinds or identity.kind in who.kinds,
            not who.roles or set(who.roles) & set(identity.roles),
            not who.scopes or set(who.scopes) & set(identity.scopes),
            not who.tenants or any(glob(t, identity.tenant) for t in who.tenants),
        )
    )


def path_fits(pattern: str, method: str, segments: Sequence[str], fold: bool) -> dict[str, str] | None:
    """Path parameters if the pattern covers the segments, else None."""
    wanted, _, path = pattern.partition(" ")
    if wanted not in ("*", method) and not (wanted == "GET" and method == "HEAD"):
        return None
    parts = [part for part in path.split("/") if part]
    rest = bool(parts) and parts[-1] == "**"
    parts = parts[:-1] if rest else parts
    if len(segments) < len(parts) or (len(segments) > len(parts) and not rest):
        return None
    params: dict[str, str] = {}
    for part, segment in zip(parts, segments, strict=False):
        form = re.sub(r"\\\{(\w+)\\\}", lambda m: f"(?P<{m[1]}>.+)", re.escape(part)).replace(r"\*", ".+")
        found = re.fullmatch(form, segment, re.DOTALL | (re.IGNORECASE if fold else 0))
        if found is None:
            return None
        params |= found.groupdict()
    return params


PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Counters:
    """What limits have counted: buckets that fill with time, sets, lists of open calls."""

    def __init__(self) -> None:
        self.buckets: dict[object, tuple[float, float]] = {}
        self.open: dict[object, set[str]] = {}
        self.objects: dict[object, dict[int, float]] = {}
        self.taints: dict[tuple[object, ...], float] = {}
        self.let_in: dict[str, list[tuple[Policy, LimitPolicy, Mode, tuple[str, ...]]]] = {}

    def left(self, key: object, text: str, capacity: float, now: float) -> float:
        number, _, period = text.partition("/")
        rate = int(number) / PERIODS[period[0]]
        tokens, at = self.buckets.get(key, (capacity, now))
        tokens = min(capacity, tokens + rate * (now - at))
        self.buckets[key] = (tokens, now)
        return tokens + 1e-5

    def use(self, key: object, amount: float) -> None:
        tokens, at = self.buckets[key]
        self.buckets[key] = (tokens - amount, at)

    def used(self, key: object, text: str, now: float) -> set[int]:
        period = PERIODS[text.partition("/")[2][0]]
        return {one for one, at in self.objects.get(key, {}).items() if at > now - period}


class Segments:
    """Who is in which zone."""

    def __init__(self, policies: PolicySet, services: Sequence[ServiceScope], workloads: Sequence[Workload]) -> None:
        self.zones = {p.name: p.spec for p in policies.policies if isinstance(p.spec, TrustZone)}
        self.services = {scope.name: scope for scope in services}
        self.known = workloads

    def named(self, wanted: str) -> list[str]:
        return [name for name in self.zones if glob(wanted, name)]

    def workloads(self, identity: Identity, loosens: bool) -> list[tuple[str, Strength]]:
        all_ = [p for p in identity.chain if p.kind == "workload"]
        names = [(workload_name(p.name), p.strength) for p in all_ if not loosens or p.name not in identity.proxies]
        if not loosens:
            return names
        names = [(name, strength) for name, strength in names if strength >= Strength.ASSERTED]
        mine = [one for one in names if identity.workload == one[0] or identity.workload.startswith(one[0] + "/")]
        return mine or (names if len({name for name, _ in names}) == 1 else [])

    def labels_of(self, name: str, loosens: bool) -> set[str]:
        sets = [{f"{key}={value}" for key, value in w.labels} for w in self.known if w.name == name]
        return (set.intersection(*sets) if loosens else set.union(*sets)) if sets else set()

    def holds(self, zone: str, service: str) -> bool:
        members = self.zones[zone].members
        labels = dict(self.services[service].labels) if service in self.services else {}
        return (
            any(glob(s, service) for s in members.services)
            or ("namespace" in labels and any(glob(n, labels["namespace"]) for n in members.namespaces))
            or any(glob(w, f"{key}={value}") for w in members.labels for key, value in labels.items())
        )

    def member(self, zone: str, identity: Identity, loosens: bool, strength: str | None = None) -> bool:
        members = self.zones[zone].members
        least = LEVEL[strength or ("asserted" if loosens else "none")]
        by_selector = members.identities != Identities() and selected(members.identities, identity, loosens, self)
        if by_selector and (strength is None or identity.strength >= least):
            return True
        if identity.agent and any(glob(a, identity.agent) for a in members.agents) and proof(identity, identity.agent) >= least:
            return True
        for name, proved in self.workloads(identity, loosens):
            if proved < least:
                continue
            namespace, slash, account = name.partition("/")
            account = account if slash else name
            if slash and any(glob(n, namespace) for n in members.namespaces):
                return True
            if any(glob(w, one) for w in members.labels for one in self.labels_of(name, loosens)):
                return True
            if account in self.services and self.holds(zone, account):
                home = dict(self.services[account].labels).get("namespace")
                if home is None or (slash and home == namespace):
                    return True
        return False


class Stops:
    """What stops a call, in order of evaluation: for which of the two outcomes (`now`, `then`); action; effect."""

    def __init__(self, twin: Twin, facts: Facts) -> None:
        self.twin, self.facts = twin, facts
        self.found: list[tuple[frozenset[str], str, str]] = []

    def append(self, stop: tuple[frozenset[str], str, str], policy: Policy | None = None, finding: str = "") -> bool:
        """Returns whether it stands for all its outcomes: an Exception may excuse what a policy says."""
        views = frozenset(v for v in stop[0] if policy is None or not self.twin.excused(policy, finding, v, self.facts))
        if views:
            self.found.append((views, stop[1], stop[2]))
        return views == stop[0]


class Twin:
    def __init__(
        self,
        policies: PolicySet,
        mode: Mode,
        detections: Sequence[Detection],
        exposure: str = "",
        services: Sequence[ServiceScope] = (),
        workloads: Sequence[Workload] = (),
        key: bytes = b"",
        stepped_back: Sequence[str] = (),
    ) -> None:
        self.policies, self.mode, self.exposure = policies.policies, mode, exposure
        self.key, self.stepped_back = key, stepped_back
        self.segments = Segments(policies, services, workloads)
        self.defaults = {d.id: d.default_action for d in detections}

    def evaluate(self, facts: Facts, findings: Sequence[Finding], limits: Counters) -> tuple[str, str, str]:
        self.facts = facts
        stops = Stops(self, facts)
        if facts.call.response is None:
            self.quarantine(facts, limits, stops)
            self.admission(facts, stops)
            opened = self.access(facts, stops)
            self.crossing(facts, stops, opened)
            self.tools(facts, limits, stops)
        stripped = self.schema(facts, stops)
        if facts.call.response is None and not any("now" in views for views, _, _ in stops.found):
            self.limits(facts, limits, stops)
        self.detections(facts, findings, stops)
        self.data(facts, stops, stripped)
        if facts.call.response is not None:
            self.answer(facts, limits, stops)
            self.taint(facts, limits, stops)
        done = next(((action, effect) for views, action, effect in stops.found if "now" in views), ("allow", ""))
        return done[0], next((action for views, action, _ in stops.found if "then" in views), "allow"), done[1]

    def excused(self, policy: Policy, finding: str, view: str, facts: Facts) -> bool:
        """Whether some Exception in force lets this call off what a policy says."""
        for _, spec, mode in self.all(PolicyException):
            assert isinstance(spec, PolicyException)
            if view == "now" and mode is not Mode.ENFORCE:
                continue
            if policy.kind == "Quarantine":
                speaks = policy.name in spec.policies
            else:
                named = not spec.policies or any(glob(p, policy.name) for p in spec.policies)
                speaks = named and (not spec.detections or any(glob(d, finding) for d in spec.detections if finding))
            if not speaks or facts.call.time >= self.ends(spec.expires) or not self.admits(spec, facts):
                continue
            params = self.covers(spec, facts)
            if params is None or not selected(spec.scope.identities, facts.identity, True, self.segments):
                continue
            try:
                if all(all(Condition(text, reference=True).holds(facts, way) for text in spec.when) for way in params):
                    return True
            except ConditionError:
                continue
        return False

    def schema(self, facts: Facts, stops: Stops) -> dict[str, set[str]]:
        """Properties that are taken out. In these tests `id` is a required integer and `card` a text, of every operation that is known,
        in requests alone."""
        body = facts.operation.body
        direction = "request" if facts.call.response is None else "response"
        known = facts.match.endpoint is not None and direction == "request"
        strips: dict[str, set[str]] = {"now": set(), "then": set()}
        for policy, spec, mode in self.all(SchemaPolicy):
            assert isinstance(spec, SchemaPolicy)
            applies = spec.direction in (direction, "both") and self.applies(spec, mode, facts, stops, policy)
            if not applies or body is None:
                continue
            found = {"limits"} if spec.max_items is not None and isinstance(body, list) and len(body) > spec.max_items else set()
            if known and not isinstance(body, dict):
                found.add("types")
            elif known:
                found |= {"missing"} if "id" not in body else set()
                found |= {"types"} if not isinstance(body.get("card", ""), str) else set()
                found |= {"unknown"} if set(body) - {"id", "card"} else set()
            actions = {"types": spec.types, "missing": spec.missing, "unknown": spec.unknown, "limits": spec.over_limit}
            done = {actions[aspect] for aspect in found}
            if "block" in done:
                stops.append((views_of(mode), "block", "400" if direction == "request" else "403"), policy)
            elif "strip" in done:
                for view in views_of(mode):
                    if not self.excused(policy, "", view, facts):
                        strips[view] |= set(body) - {"id", "card"}
        return strips

    def ends(self, text: str) -> float:
        day = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return day.timestamp() if "T" in text else (day.replace(tzinfo=UTC) + timedelta(days=1)).timestamp()

    def quarantine(self, facts: Facts, counted: Counters, stops: Stops) -> None:
        for policy, spec, mode in self.all(Quarantine):
            assert isinstance(spec, Quarantine)
            if not spec.indefinite and facts.call.time >= self.ends(spec.until):
                continue
            if spec.tools and not any(glob(t, name) for name, _ in self.called(facts) for t in spec.tools):
                continue
            if not self.applies(spec, mode, facts, stops, policy):
                continue
            if spec.maintenance is None or not selected(spec.maintenance, facts.identity, True, self.segments):
                if not spec.issued_after:
                    stops.append((views_of(mode), "block", "403"), policy)
                elif facts.identity.strength < 3 or float(facts.identity.claims.get("iat", "0")) < self.ends(spec.issued_after):
                    stops.append((views_of(mode), "block", "401"), policy)
            elif spec.rate:
                key = ("quarantine", policy.name)
                number, period = int(spec.rate.partition("/")[0]), PERIODS[spec.rate.partition("/")[2][0]]
                if counted.left(key, spec.rate, max(1, round(number / period)), facts.call.time) < 1:
                    stops.append((views_of(mode), "limit", "429"), policy)
                else:
                    counted.use(key, 1)

    def admission(self, facts: Facts, stops: Stops) -> None:
        for policy, spec, mode in self.all(TrustZone):
            assert isinstance(spec, TrustZone)
            if spec.admission is None or not self.segments.holds(policy.name, facts.call.service):
                continue
            peer, asked = facts.call.peer, spec.admission
            weak = asked.strength is not None and facts.identity.strength < LEVEL[asked.strength]
            if weak or (asked.mtls and not (peer.uri_sans or peer.dns_sans or peer.subject)):
                stops.append((views_of(mode), "block", "403"), policy)

    def crossing(self, facts: Facts, stops: Stops, opened: dict[str, bool]) -> None:
        """Into a zone from outside, and out of one to a third party."""
        service = facts.call.service
        for policy, spec, mode in self.all(TrustZone):
            assert isinstance(spec, TrustZone)
            views = frozenset(view for view in views_of(mode) if not opened[view])
            if self.segments.holds(policy.name, service):
                inside = self.segments.member(policy.name, facts.identity, True)
                if (spec.inside if inside else spec.default) == "allow":
                    continue
                failed = False
                for one in spec.entrances:
                    try:
                        if self.enters(one, facts):
                            break
                    except ConditionError:
                        failed = True
                else:
                    if failed and spec.on_error == "allow":
                        continue
                    if failed and spec.on_error == "monitor":
                        views &= {"then"}
                    stops.append((views, "block", "503" if failed else "403"), policy)
            elif spec.egress == "deny" and service in self.segments.services:
                third = self.segments.services[service]
                named = any(glob(host, name) for host in spec.egress_to for name in (third.name, *third.hosts))
                if third.exposure == "external" and not named and self.segments.member(policy.name, facts.identity, False):
                    stops.append((views, "block", "403"), policy)

    def enters(self, one: Entrance, facts: Facts) -> bool:
        asked = request_operation(facts)
        ways = readings(asked.path, asked.segments)
        method = facts.call.request.method
        if one.operations and not all(any(path_fits(p, method, w, fold=False) is not None for p in one.operations) for w in ways):
            return False
        fits = [next((f for p in one.operations if (f := path_fits(p, method, w, fold=True)) is not None), None) for w in ways]
        params = [one for one in fits if one is not None] or [{}]
        return (
            (
                not one.zones
                or any(self.segments.member(z, facts.identity, True) for wanted in one.zones for z in self.segments.named(wanted))
            )
            and selected(one.identities, facts.identity, True, self.segments)
            and all(all(Condition(text, reference=True).holds(facts, way) for text in one.when) for way in params)
        )

    def called(self, facts: Facts) -> list[tuple[str, dict[str, object]]]:
        body = request_operation(facts).body
        messages = body if isinstance(body, list) else [body]
        calls = [one["params"] for one in messages if isinstance(one, dict) and one.get("method") == "tools/call"]
        return [(params["name"], params.get("arguments", {})) for params in calls]

    def taint_key(self, source: TaintSource, within: str, identity: Identity) -> tuple[object, ...]:
        agent = identity.agent if proof(identity, identity.agent) >= Strength.ASSERTED else ""
        return source, within, identity.actor, agent

    def taint(self, facts: Facts, counted: Counters, stops: Stops) -> None:
        """What an agent is given: what of an answer is neither withheld nor redacted. In these tests every answer has content."""
        mcp = request_operation(facts).protocol == "mcp"
        if not (mcp or facts.identity.agent) or any("now" in views and action != "redact" for views, action, _ in stops.found):
            return
        effect = next((effect for views, _, effect in stops.found if "now" in views), "")
        hidden = {part.partition(":")[0] for part in effect.split(",") if not part.endswith(":original")}
        given = {hit.data_class for hit in facts.data} - hidden
        tools = [name for name, _ in self.called(facts)] if mcp else []
        for policy in self.policies:
            spec = policy.spec
            if not isinstance(spec, ToolPolicy) or spec.taint is None or spec.mode == "discover":
                continue
            for source in spec.taint.sources:
                if (
                    (not source.data or given & set(source.data))
                    and (not source.tools or any(glob(t, name) for name in tools for t in source.tools))
                    and (not source.services or any(glob(s, facts.call.service) for s in source.services))
                    and (not source.exposure or self.exposure in source.exposure)
                ):
                    counted.taints[self.taint_key(source, spec.taint.within, facts.identity)] = facts.call.time

    def tainted(self, spec: ToolPolicy, facts: Facts, counted: Counters) -> bool:
        assert spec.taint is not None
        within = spec.taint.within
        last = max(counted.taints.get(self.taint_key(s, within, facts.identity), 0.0) for s in spec.taint.sources)
        return last > facts.call.time - int(within[:-1]) * PERIODS[within[-1]]

    def tools(self, facts: Facts, counted: Counters, stops: Stops) -> None:
        calls = self.called(facts)
        every = [(p, s, m) for p, s, m in self.all(ToolPolicy) if isinstance(s, ToolPolicy) and self.covers(s, facts) is not None]
        for policy, spec, mode in every:
            mine = [(name, args) for name, args in calls if not spec.tools or any(glob(t, name) for t in spec.tools)]
            listed = all(any(not s.tools or any(glob(t, name) for t in s.tools) for _, s, _ in every) for name, _ in calls)
            stray = spec.unlisted == "deny" and not listed
            if not (mine or stray) or not self.applies(spec, mode, facts, stops, policy):
                continue
            for _, args in mine:
                human = facts.identity.human != "" and proof(facts.identity, facts.identity.human) >= Strength.ASSERTED
                then = spec.taint.then if spec.taint is not None and self.tainted(spec, facts, counted) else ""
                closed = then == "deny" or (then == "human" and not human)
                try:
                    good = (
                        selected(spec.callers, facts.identity, True, self.segments)
                        and (spec.approval != "human" or human)
                        and not closed
                        and all(Condition(t, reference=True).holds(facts, {}, args) for t in spec.arguments)
                    )
                    # In these tests nobody approves anything.
                    if not good or "operator" in (then, spec.approval):
                        stops.append((views_of(mode), "block", "403"), policy)
                except ConditionError:
                    self.failed(spec, mode, stops, policy)
            if stray:
                stops.append((views_of(mode), "block", "403"), policy)

    def in_force(self, policy: Policy) -> bool:
        """Whether this call is in the part that the policy is rolled out to, and its guard has not taken it back."""
        rollout = getattr(policy.spec, "rollout", None)
        if getattr(policy.spec, "guard", None) is not None and policy.name in self.stepped_back:
            return False
        if rollout is None:
            return True
        who = {"identity": self.facts.identity.actor, "source": self.facts.call.peer.address, "call": self.facts.call.id}[
            rollout.by
        ]
        digest = blake2b(f"{policy.name}\0{who}".encode(), digest_size=8, key=self.key).digest()
        return int.from_bytes(digest, "little") % 100_00 < rollout.percent * 100

    def all(self, kind: type, **fields: str) -> list[tuple[Policy, object, Mode]]:
        found = []
        for policy in self.policies:
            spec = policy.spec
            if getattr(spec, "exposure", ()) and not isinstance(spec, Service) and self.exposure not in spec.exposure:  # type: ignore[union-attr]
                continue
            if isinstance(spec, Service) or not isinstance(spec, kind) or any(getattr(spec, k) != v for k, v in fields.items()):
                continue
            mode = min(MODES[spec.mode], self.mode)
            if mode is Mode.ENFORCE and not self.in_force(policy):
                mode = Mode.MONITOR
            if mode is not Mode.DISCOVER:
                found.append((policy, spec, mode))
        return found

    def covers(self, spec: object, facts: Facts) -> list[dict[str, str]] | None:
        """Path parameters of each reading in scope; None: none is."""
        scope = spec.scope  # type: ignore[attr-defined]
        if scope.services and not any(glob(name, facts.call.service) for name in scope.services):
            return None
        zones = [z for wanted in scope.zones for z in self.segments.named(wanted)]
        if scope.zones and not any(self.segments.holds(z, facts.call.service) for z in zones):
            return None
        if not scope.operations:
            return [{}]
        asked, method = request_operation(facts), facts.call.request.method
        fits = [
            next((f for p in scope.operations if (f := path_fits(p, method, way, fold=True)) is not None), None)
            for way in readings(asked.path, asked.segments)
        ]
        return [one for one in fits if one is not None] or None

    def admits(self, spec: object, facts: Facts) -> bool:
        operations = spec.scope.operations  # type: ignore[attr-defined]
        asked = request_operation(facts)
        return not operations or all(
            any(path_fits(p, facts.call.request.method, way, fold=False) is not None for p in operations)
            for way in readings(asked.path, asked.segments)
        )

    def failed(self, spec: object, mode: Mode, stops: Stops, policy: Policy | None = None) -> None:
        if spec.on_error != "allow":  # type: ignore[attr-defined]
            held = Mode.MONITOR if spec.on_error == "monitor" else mode  # type: ignore[attr-defined]
            stops.append((views_of(min(mode, held)), "block", "503"), policy)

    def applies(self, spec: object, mode: Mode, facts: Facts, stops: Stops, policy: Policy) -> bool:
        params = self.covers(spec, facts)
        if params is None or not selected(spec.scope.identities, facts.identity, False, self.segments):  # type: ignore[attr-defined]
            return False
        exempt = getattr(spec, "exempt", None)
        if exempt is not None and selected(exempt, facts.identity, True, self.segments):
            return False
        clear = getattr(spec, "detokenise", None)
        if clear is not None and spec.direction == "response" and selected(clear, facts.identity, True, self.segments):  # type: ignore[attr-defined]
            return False
        try:
            return any(all(Condition(text, reference=True).holds(facts, way) for text in spec.when) for way in params)  # type: ignore[attr-defined]
        except ConditionError:
            self.failed(spec, mode, stops, policy)
            return False

    def access(self, facts: Facts, stops: Stops) -> dict[str, bool]:
        """Whether an AccessPolicy opens the operation, by view."""
        for policy, spec, mode in self.all(AccessPolicy, action="deny"):
            if self.applies(spec, mode, facts, stops, policy):
                stops.append((views_of(mode), "block", "403"), policy)
        lets_in = {}
        for view in (Mode.ENFORCE, Mode.MONITOR):
            name = "now" if view is Mode.ENFORCE else "then"
            closed, opened, failed = False, False, False
            for policy, spec, mode in self.all(AccessPolicy, action="allow"):
                params = self.covers(spec, facts)
                if mode < view or params is None:
                    continue
                closed |= not self.excused(policy, "", name, facts)
                try:
                    opened |= (
                        self.admits(spec, facts)
                        and selected(spec.scope.identities, facts.identity, True, self.segments)  # type: ignore[attr-defined]
                        and all(all(Condition(text, reference=True).holds(facts, way) for text in spec.when) for way in params)  # type: ignore[attr-defined]
                    )
                except ConditionError:
                    lets = spec.on_error == "allow" or (spec.on_error == "monitor" and view is Mode.ENFORCE)  # type: ignore[attr-defined]
                    opened, failed = opened or lets, failed or not lets
            lets_in[name] = opened
            if closed and not opened:
                stops.append((frozenset([name]), "block", "503" if failed else "403"))
        return lets_in

    def limits(self, facts: Facts, counted: Counters, stops: Stops) -> None:
        call, now = facts.call, facts.call.time
        for policy, spec, mode in self.all(LimitPolicy):
            assert isinstance(spec, LimitPolicy)
            if not self.applies(spec, mode, facts, stops, policy):
                continue
            parts = {
                "identity": facts.identity.actor,
                "source": call.peer.address,
                "tenant": facts.identity.tenant,
                "operation": facts.match.endpoint.id if facts.match.endpoint else f"{call.service} ?",
                "service": call.service,
                "class": facts.identity.cls,
            }
            key = (policy.name, *(parts[name] for name in sorted(spec.per)))
            named = {used for _, _, used, _ in facts.used}
            over = (
                (spec.concurrency is not None and len(counted.open.get(key, set())) >= spec.concurrency)
                or any(
                    text and counted.left((name, key), text, int(text.partition("/")[0]), now) < 1
                    for name, text in (("records", spec.records), ("values", spec.values))
                )
                or bool(spec.objects and self.too_many(counted, key, spec.objects, named, now))
            )
            if spec.rate and not over:
                number, period = int(spec.rate.partition("/")[0]), PERIODS[spec.rate.partition("/")[2][0]]
                over = counted.left(key, spec.rate, spec.burst or max(1, round(number / period)), now) < 1
                if not over:
                    counted.use(key, 1)
            if over:
                stops.append((views_of(mode), "limit", "429"), policy)
                if any("now" in views for views, _, _ in stops.found):
                    return
                continue
            if spec.concurrency:
                counted.open.setdefault(key, set()).add(call.id)
            counted.objects.setdefault(key, {}).update(dict.fromkeys(named, now))
            counted.let_in.setdefault(call.id, []).append((policy, spec, mode, key))

    @staticmethod
    def too_many(counted: Counters, key: object, text: str, objects: set[int], now: float) -> bool:
        used = counted.used(key, text, now)
        return bool(objects - used) and len(used | objects) > int(text.partition("/")[0])

    def answer(self, facts: Facts, counted: Counters, stops: Stops) -> None:
        """What is withheld already, or redacted, is not given; what is given uses up what limits count in answers."""
        now, given = facts.call.time, {key for _, key in facts.given}
        redacted = next((effect for views, action, effect in stops.found if "now" in views and action == "redact"), "")
        hidden = {part.partition(":")[0] for part in redacted.split(",") if not part.endswith(":original")}
        body = facts.operation.body
        charges = []
        for policy, spec, mode, key in counted.let_in.get(facts.call.id, []):
            values = sum(count for name, count in facts.amounts if name in spec.classes and name not in hidden)
            amounts = [("records", spec.records, len(body) if isinstance(body, list) else 0), ("values", spec.values, values)]
            charge = [(name, text, amount) for name, text, amount in amounts if text]
            over = any(
                amount and amount > counted.left((name, key), text, int(text.partition("/")[0]), now)
                for name, text, amount in charge
            )
            if over or (spec.objects and self.too_many(counted, key, spec.objects, given, now)):
                # Before what the message would have been changed by: a refused message needs no change.
                at = next((i for i, stop in enumerate(stops.found) if stop[1] == "redact"), len(stops.found))
                views = frozenset(v for v in views_of(mode) if not self.excused(policy, "", v, facts))
                stops.found.insert(at, (views, "limit", "429"))
            else:
                charges.append((key, charge))
        if not any("now" in views and action != "redact" for views, action, _ in stops.found):
            for key, charge in charges:
                counted.objects.setdefault(key, {}).update(dict.fromkeys(given, now))
                for name, _, amount in charge:
                    counted.use((name, key), amount)

    def detections(self, facts: Facts, findings: Sequence[Finding], stops: Stops) -> None:
        if not findings:
            return
        speaking = [(p, s, m) for p, s, m in self.all(DetectionPolicy) if self.applies(s, m, facts, stops, p)]
        for found in findings:
            for view in (Mode.ENFORCE, Mode.MONITOR):
                about = [
                    (policy, spec)
                    for policy, spec, mode in speaking
                    if mode >= view
                    and isinstance(spec, DetectionPolicy)
                    and any(glob(name, found.id) for name in spec.detections)
                    and SEVERITIES.index(found.severity) >= SEVERITIES.index(spec.min_severity)
                    and CONFIDENCES.index(found.confidence) >= CONFIDENCES.index(spec.min_confidence)
                ]
                own = [one for one in about if not one[0].name.startswith("builtin/")] or about
                for policy, spec in own:
                    if (self.defaults[found.id] if spec.action == "default" else spec.action) == "block":
                        stops.append((frozenset(["now" if view is Mode.ENFORCE else "then"]), "block", "403"), policy, found.id)

    def data(self, facts: Facts, stops: Stops, stripped: dict[str, set[str]]) -> None:
        classes = {hit.data_class for hit in facts.data}
        direction = "request" if facts.call.response is None else "response"
        back: list[tuple[frozenset[str], str]] = []
        for _, spec, mode in self.all(DataPolicy, action="tokenise"):
            assert isinstance(spec, DataPolicy)
            found = self.turned(spec, direction, facts)
            if found:
                back.append((views_of(mode), ",".join(f"{name}:original" for name in sorted(found))))
                classes |= found
        applying = [
            (policy, spec, mode)
            for policy, spec, mode in self.all(DataPolicy, direction=direction)
            if isinstance(spec, DataPolicy)
            and not self.opened(spec, facts)
            and (classes & set(spec.classes) or self.formed(spec, facts))
            and self.applies(spec, mode, facts, stops, policy)
        ]
        for policy, spec, mode in applying:
            if spec.action == "block":
                stops.append((views_of(mode), "block", "403"), policy)
        order = ["truncate", "mask", "format", "tokenise", "hash", "redact", "drop"]
        for view in (Mode.ENFORCE, Mode.MONITOR):
            here = "now" if view is Mode.ENFORCE else "then"
            standing = [s for p, s, mode in applying if mode >= view and not self.excused(p, "", here, facts)]
            styles = {
                name: max(
                    (s.action for s in standing if s.action in order and name in s.classes),
                    key=order.index,
                    default="",
                )
                for name in classes
            }
            words = {f"{name}:{style}" for name, style in styles.items() if style}
            words |= {word for views, text in back if here in views for word in text.split(",")}
            words |= {f"-{name}" for name in stripped[here]}
            words |= {"rows" for s in standing if s.action == "aggregate"}
            words |= {f"cut {s.items}" for s in standing if s.action == "truncate" and s.items is not None}
            if words:
                stops.append((frozenset([here]), "redact", ",".join(sorted(words))))

    def turned(self, spec: DataPolicy, direction: str, facts: Facts) -> set[str]:
        """Classes whose tokens in the body are turned back for this caller."""
        who = spec.detokenise if direction == "response" else spec.tokens_from
        held = set(re.findall("ewt_([a-z-]+)_", facts.operation.raw_body.decode())) & set(spec.classes)
        params = self.covers(spec, facts)
        if who is None or not held or params is None or not self.admits(spec, facts):
            return set()
        if not selected(who, facts.identity, True, self.segments):
            return set()
        try:
            holding = all(all(Condition(text, reference=True).holds(facts, way) for text in spec.when) for way in params)
            return held if holding else set()
        except ConditionError:
            return set()

    def opened(self, spec: DataPolicy, facts: Facts) -> bool:
        where, _, name = spec.purpose_from.partition(":")
        if where == "header":
            return facts.identity.strength >= Strength.ASSERTED and facts.call.request.headers.get(name) in spec.purposes
        return (
            where == "claim" and facts.identity.strength is Strength.VERIFIED and facts.identity.claims.get(name) in spec.purposes
        )

    def formed(self, spec: DataPolicy, facts: Facts) -> bool:
        """Whether a policy without classes is about this body: in these tests a list of objects, at its top."""
        body = facts.operation.body
        if spec.classes or not isinstance(body, list):
            return False
        return spec.action == "aggregate" or (spec.items is not None and len(body) > spec.items)
