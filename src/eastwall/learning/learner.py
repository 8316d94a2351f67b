"""Folds call records into what the snapshot holds: endpoints with their profiles, and who holds which objects.

The rules for this file:

- `fold` is the hot function: what can be concluded later is concluded in `endpoints`.
- Everything learned is a count, a set or a minimum, so that learners of shards `merge` to what one learner would have learned.
- Records that are not clean (findings, not let through, not 2xx) teach nothing about properties, requests and ownership.
- Which template a call belongs to is looked up in the templates known at that moment. When they change (siblings merge, a wrong
  merge is undone), each profile moves to the template that its example paths now belong to.

Over 500 lines: each kind of state is folded, merged, dumped and loaded here, so that none is forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

import msgspec

from eastwall.behaviours import Models, Told, encode_known
from eastwall.behaviours.sketch import hash64
from eastwall.discovery.inventory import Inventory, compile_inventory, endpoint_id, identify, parameters_of
from eastwall.discovery.objects import changes, made_kind
from eastwall.discovery.routes import template_of
from eastwall.discovery.templates import TemplateTree, split_path
from eastwall.learning.baselines import Baselines
from eastwall.learning.changes import Changes
from eastwall.learning.edges import Edges
from eastwall.learning.identities import Identities
from eastwall.learning.ownership import ANONYMOUS, MAX_HOLDERS, MAX_PUBLISHED, UNKNOWN, Evidence, Judgement, Ownership, live
from eastwall.learning.profile import LearningWindow, Profile
from eastwall.learning.publish import Context, identify_declared, publish
from eastwall.learning.steps import CREATED, Steps
from eastwall.model.endpoint import Endpoint, Parameter
from eastwall.model.operation import Operation
from eastwall.model.record import CallRecord

FORMAT = 11
MAX_SERVICES = 1000
MAX_PROFILES = 10_000
"""Endpoints per service; when over, those with the fewest calls leave."""
MAX_LOOKUPS = 20_000
"""Paths remembered per service with their endpoint."""
MAX_ROUTES = 5_000
"""Routes per service that its own framework told; further ones are not taken."""
MAX_OPERATIONS = 1_000
"""Operations of one path (GraphQL root fields, MCP tools, ...), whatever callers name; further ones count for the path as a whole."""
TOGETHER = 256
"""Records that are learned from together."""
REASSOCIATE = 256
"""Paths without template after which the templates are asked for anew."""

_LATEST = 1e11
"""Unix seconds. What is later, or no number, is no time of a call."""
_NO_NOTES: Mapping[str, Any] = {}
_UNKNOWN_TO_SERVICE = frozenset({0, 404, 405, 410, 501})
_NAMED_BY_PATH = frozenset({"grpc"})
"""Protocols whose paths are names throughout: nothing in them is a value."""


class _Service:
    """One service's share of the state."""

    __slots__ = (
        "declared",
        "declared_inventory",
        "inventory",
        "judged",
        "judged_at",
        "limit",
        "lookups",
        "loose",
        "objects",
        "operations",
        "parameters",
        "profiles",
        "routes",
        "stale",
        "steps",
        "tree",
    )

    def __init__(self) -> None:
        self.tree = TemplateTree()
        self.profiles: dict[str, Profile] = {}
        """By endpoint id."""
        self.objects = Ownership()
        self.steps = Steps()
        self.declared: dict[str, Endpoint] = {}
        self.declared_inventory: Inventory = compile_inventory(())
        self.inventory: Inventory = compile_inventory(())
        self.routes: dict[str, Endpoint] = {}
        """Templates that the service's own framework told, by endpoint id: like declared ones, they go before inferred ones."""
        self.lookups: dict[tuple[str, str, str], str] = {}
        """(method, path, operation) -> endpoint id."""
        self.operations: Counter[str] = Counter()
        """Profiles with an operation by the id of their path."""
        self.loose = 0
        """Profiles that stand for a path, not for a template, since the last association."""
        self.limit = REASSOCIATE
        self.stale = False
        """Whether anything was learned since the last association."""
        self.parameters: dict[str, tuple[Parameter, ...]] = {}
        self.judged: dict[str, Judgement] = {}
        self.judged_at = -1
        """`folded` when `judged` was concluded."""

    def match(self, service: str, method: str, path: str, protocol: str, name: str) -> Endpoint | None:
        """The endpoint of a path: a declared one before an inferred one. Of an operation, the endpoint of its path, unless it is
        declared itself."""
        operation = Operation(protocol=protocol, method=method, segments=tuple(split_path(path)), path=path, name=name)
        if self.declared or self.routes:
            found = identify(service, operation, self.declared_inventory).endpoint
            if found is not None:
                return found
        if name:
            operation = Operation(protocol="rest", method=method, segments=operation.segments, path=path)
        return identify(service, operation, self.inventory).endpoint

    def compile_known(self) -> None:
        """Make the look-up of what is known without inference; a declared template goes before a told one."""
        self.declared_inventory = compile_inventory({**self.routes, **self.declared}.values())
        self.lookups.clear()
        self.stale = True

    def route(self, service: str, method: str, template: str) -> None:
        """Take a template that the service's framework told."""
        key = endpoint_id(service, method, template)
        if not template or key in self.routes or len(self.routes) >= MAX_ROUTES:
            return
        parameters = tuple(Parameter(name=name, kind="string") for name in parameters_of(template))
        self.routes[key] = Endpoint(id=key, service=service, method=method, template=template, parameters=parameters)
        self.compile_known()

    def count_operations(self, name: str) -> None:
        """Count the profiles of each path anew."""
        self.operations = Counter(
            endpoint_id(name, p.method, p.template)
            for p in self.profiles.values()
            if p.operation and p.protocol not in _NAMED_BY_PATH
        )


class Learner:
    """Mergeable state of everything learned from records. One thread at a time."""

    def __init__(self, hash_key: bytes, window: LearningWindow | None = None, evidence: Evidence | None = None) -> None:
        self.hash_key = hash_key
        self.window = window or LearningWindow()
        self.evidence = evidence or Evidence()
        self.folded = 0
        """Records folded, whole life."""
        self.unlearned = 0
        """Records that could not be learned from, by this learner since it was made."""
        self.fault = ""
        """What was wrong with the last of them."""
        self.edges = Edges()
        self.identities = Identities()
        self.behaviours = Models()
        """The models of `behaviours`."""
        self.baselines = Baselines()
        """What callers agreed on: all that `endpoints` gives."""
        self.changes = Changes()
        """Fed by who knows the time (`Changes.observe`); kept here so that it is stored and merged with the rest."""
        self._services: dict[str, _Service] = {}
        self._taken: list[tuple[CallRecord, _Service, Profile]] = []
        """Records whose profile is found, and that nothing was learned from yet; empty but during `fold`."""

    def fold(self, records: Iterable[CallRecord]) -> None:
        """Learn from records, in any order. One that cannot be learned from is counted (`unlearned`), and holds up no other: it would
        come again with its whole batch, for ever."""
        for record in records:
            try:
                self._take(record)
            except Exception as fault:  # noqa: BLE001 - a fault of ours that some caller has found
                self._passed_over(record, fault)
            if len(self._taken) >= TOGETHER:
                self._learn()
        self._learn()

    def _take(self, record: CallRecord) -> None:
        """Find the profile of a record, and keep both until there are enough to learn from together."""
        service = self._services.get(record.service)
        if service is None:
            if len(self._services) >= MAX_SERVICES or not record.service:
                return
            service = self._services[record.service] = _Service()
        if not 0 <= record.time <= _LATEST:
            raise ValueError(f"its time is {record.time!r}")
        self.folded += 1
        profile = self._profile(service, record)
        if profile is not None:
            self._taken.append((record, service, profile))

    def _learn(self) -> None:
        """Learn from what was taken, one part of the state after the other: a processor's caches hold one of them at a time. A record that
        one of the first parts cannot learn from teaches no profile, and no model."""
        taken, self._taken = self._taken, []
        faulty: dict[int, tuple[CallRecord, Exception]] = {}
        for part in (self.edges, self.identities, self.baselines):
            fold = part.fold
            for record, _, profile in taken:
                try:
                    fold(record, profile.key)
                except Exception as fault:  # noqa: BLE001 - as in `fold`
                    faulty[id(record)] = record, fault
        told: list[Told] = []
        for record, service, profile in taken:
            if faulty and id(record) in faulty:
                continue
            try:
                clean = profile.fold(record)
                told.append((record, profile.key, dict(record.notes) if record.notes else _NO_NOTES, clean))
                if clean:
                    _objects(service.objects, record)
                    if (record.used or record.given) and changes(record.method, record.operation):
                        _steps(service.steps, record, profile)
            except Exception as fault:  # noqa: BLE001 - as in `fold`
                faulty[id(record)] = record, fault
        faulty.update({id(one[0]): one for one in self.behaviours.fold(told)})
        for one in faulty.values():
            self._passed_over(*one)

    def _passed_over(self, record: CallRecord, fault: Exception) -> None:
        self.unlearned += 1
        self.fault = f"call `{record.id}`: {type(fault).__name__}: {fault}"

    def declare(self, service: str, endpoints: Iterable[Endpoint]) -> None:
        """What a spec says the service has; replaces an earlier declaration. Its templates override inferred ones."""
        state = self._services.setdefault(service, _Service())
        state.declared = identify_declared(service, endpoints)
        state.compile_known()

    def merge(self, other: Learner) -> None:
        """Take in what another learner has learned; `other` is left as it is.

        Its declarations count for services that have none here.
        """
        self.folded += other.folded
        self.edges.merge(other.edges)
        self.identities.merge(other.identities)
        self.changes.merge(other.changes)
        self.baselines.merge(other.baselines)
        self.behaviours.merge(other.behaviours)
        for name, theirs in other._services.items():
            mine = self._services.setdefault(name, _Service())
            if theirs.declared and not mine.declared:
                self.declare(name, theirs.declared.values())
            mine.tree.merge(theirs.tree)
            for key, profile in theirs.profiles.items():
                into = mine.profiles.get(key)
                if into is None:
                    into = mine.profiles[key] = Profile(
                        key, profile.method, profile.template, profile.protocol, profile.operation
                    )
                into.merge(profile)
            mine.count_operations(name)
            mine.objects.merge(theirs.objects)
            mine.steps.merge(theirs.steps)
            mine.routes = {**theirs.routes, **mine.routes}
            mine.compile_known()

    def endpoints(self, *, lazy: bool = False) -> tuple[Endpoint, ...]:
        """Everything known, sorted by service, template and method. Declared endpoints that were never seen have no calls.

        `lazy`: templates of a large service may be those of the last time, while little was learned since (`TemplateTree.due`).
        """
        found: list[Endpoint] = []
        for name in sorted(self._services):
            service = self._services[name]
            known = lazy and service.parameters and not service.tree.due
            parameters = service.parameters if known else self._associate(name, service)
            context = Context(
                service=name,
                window=self.window,
                judgements=self._judgements(service),
                parameters=parameters,
                declared=service.declared,
                invariants=service.steps.invariants(),
            )
            found += publish(service.profiles, context)
        return self.baselines.adopt(found)

    def knowledge(self, endpoints: Sequence[Endpoint]) -> tuple[tuple[str, bytes], ...]:
        """(model of behaviour, what it knows as the baselines have it, in MessagePack). `endpoints`: as just asked for."""
        return encode_known(self.baselines.hold(self.behaviours, endpoints))

    def ownership(self, limit: int, now: float = inf) -> tuple[tuple[int, tuple[str, ...]], ...]:
        """(object key, at most 8 actors that hold it, the first first), the most recently given objects, oldest of them first. A last
        actor `""` says that there may be more.

        Without public kinds, without actors of broad classes, who may see everything, and without grants that were not seen for long
        (`ownership.live`). `now`: no call can be later, Unix seconds.
        """
        recent: list[tuple[float, int, tuple[str, ...]]] = []
        broad = self.behaviours.of("ownership_claims").broad(self._service_of())
        for name, service in self._services.items():
            judgements, today = self._judgements(service), service.objects.today(now)
            for key, (last, kind, holders) in service.objects.held.items():
                judged = judgements.get(kind, UNKNOWN)
                if judged.public:
                    continue
                staff = broad.get((name, kind), ())
                owners = [one for one in holders if one[2] not in judged.broad and one[2] not in staff]
                actors = tuple([actor for _, actor, _, _ in live(owners, today)])
                if judged.by == "tenant":
                    tenants = dict.fromkeys(map(service.objects.group, actors))
                    actors = tuple(dict.fromkeys((*tenants, *actors)))
                if len(actors) > MAX_PUBLISHED or len(holders) >= MAX_HOLDERS:
                    actors = (*actors[:MAX_PUBLISHED], ANONYMOUS)
                if actors:
                    recent.append((last, key, actors))
        recent.sort()
        return tuple((key, actors) for _, key, actors in recent[-limit:]) if limit > 0 else ()

    def _service_of(self) -> dict[str, str]:
        """Endpoint id -> service."""
        return {key: name for name, service in self._services.items() for key in service.profiles}

    def findings(self) -> dict[str, dict[str, int]]:
        """Endpoint id -> severity -> findings in its calls."""
        return {
            profile.key: dict(profile.findings)
            for service in self._services.values()
            for profile in service.profiles.values()
            if profile.findings
        }

    def kinds(self, service: str) -> dict[str, Judgement]:
        """What is concluded about each kind of object of a service."""
        state = self._services.get(service)
        return self._judgements(state) if state is not None else {}

    def to_bytes(self) -> bytes:
        """MessagePack, versioned. The hash key is not in it."""
        services = {
            name: [
                s.tree.to_bytes(),
                [p.dump() for p in s.profiles.values()],
                s.objects.dump(),
                list(s.declared.values()),
                list(s.routes.values()),
                s.steps.dump(),
            ]
            for name, s in self._services.items()
        }
        return msgspec.msgpack.encode(
            [
                FORMAT,
                self.folded,
                services,
                self.edges.dump(),
                self.identities.dump(),
                self.changes.dump(),
                self.behaviours.dump(),
                self.baselines.dump(),
            ]
        )

    @classmethod
    def from_bytes(
        cls, data: bytes, hash_key: bytes, window: LearningWindow | None = None, evidence: Evidence | None = None
    ) -> Learner:
        """The learner of `to_bytes`. Raises `ValueError` when the data is something else or of another version."""
        learner = cls(hash_key, window, evidence)
        try:
            version, *rest = msgspec.msgpack.decode(data, strict=False)
            if version != FORMAT:
                raise ValueError(f"learned state has format {version!r}, expected {FORMAT}")
            learner.folded, services, edges, identities, changes, behaviours, baselines = rest
            learner.edges, learner.identities, learner.changes = (
                Edges.load(edges),
                Identities.load(identities),
                Changes.load(changes),
            )
            learner.behaviours, learner.baselines = Models.load(behaviours), Baselines.load(baselines)
            for name, (tree, profiles, objects, declared, routes, steps) in services.items():
                state = learner._services[name] = _Service()
                state.tree = TemplateTree.from_bytes(tree)
                for dumped in profiles:
                    profile = Profile.load(dumped)
                    state.profiles[profile.key] = profile
                state.count_operations(name)
                state.objects = Ownership.load(objects)
                state.steps = Steps.load(steps)
                state.routes = {e.id: e for e in msgspec.convert(routes, list[Endpoint])}
                learner.declare(name, msgspec.convert(declared, list[Endpoint]))
                state.stale = True
        except (msgspec.MsgspecError, TypeError, KeyError, IndexError, AttributeError) as fault:
            raise ValueError(f"not learned state: {fault}") from fault
        return learner

    def _profile(self, service: _Service, record: CallRecord) -> Profile | None:
        """The profile a record belongs to, made when it is the first of its path."""
        method, path, status, operation = record.method, record.path, record.status, record.operation
        if record.findings and any(finding.suspicious and finding.where.startswith("path") for finding in record.findings):
            return None  # an attack in a path is no name of an API
        protocol = record.protocol
        named = protocol in _NAMED_BY_PATH
        if named and not _answered_by_grpc(record):
            # A content type that any caller can send. Else each id in a path would become an endpoint of its own, without checks.
            if not 200 <= status < 300:
                return None
            named, protocol, operation = False, "rest", ""
        if record.route and status not in _UNKNOWN_TO_SERVICE:
            service.route(record.service, method, template_of(record.route))
        if not named:
            service.tree.observe(method, path, status, record.echoed)
        service.stale = True
        asked = operation
        found = service.lookups.get((method, path, asked))
        if found is not None:
            return service.profiles[found]
        template = path if named else self._template(service, record, protocol, operation)
        if template is None:
            if status in _UNKNOWN_TO_SERVICE:
                return None
            service.loose += 1
            if service.loose > service.limit:
                self._associate(record.service, service)
                service.limit = max(REASSOCIATE, len(service.profiles))
                template = self._template(service, record, protocol, operation)
        if template is None:
            template = path
        key = endpoint_id(record.service, method, template, operation)
        profile = service.profiles.get(key)
        if profile is None and operation and not named:
            path_key = endpoint_id(record.service, method, template)
            if service.operations[path_key] >= MAX_OPERATIONS:
                key, operation = path_key, ""
                profile = service.profiles.get(key)
        if profile is None and operation and "fault" in record.traits:
            return None  # the protocol's own way of saying 404, or that the call was not understood
        if profile is None:
            if len(service.profiles) >= 2 * MAX_PROFILES:
                return None  # until the next association leaves those with the most calls
            if operation and not named:
                service.operations[endpoint_id(record.service, method, template)] += 1
            profile = service.profiles[key] = Profile(key, method, template, protocol, operation)
        profile.example(path)
        if len(service.lookups) >= MAX_LOOKUPS:
            service.lookups.clear()
        service.lookups[(method, path, asked)] = key
        return profile

    @staticmethod
    def _template(service: _Service, record: CallRecord, protocol: str, operation: str) -> str | None:
        """The template of a record's path by what is known now: a declared one before an inferred one."""
        match = service.match(record.service, record.method, record.path, protocol, operation)
        return match.template if match is not None else None

    def _associate(self, name: str, service: _Service) -> Mapping[str, tuple[Parameter, ...]]:
        """Ask for the templates anew and move every profile to the one its example paths belong to now.

        Returns the parameters of all templates by endpoint id.
        """
        if not service.stale:
            return service.parameters
        self._learn()  # by the ids that were
        templates = {endpoint_id(name, t.method, t.template): t for t in service.tree.templates()}
        service.inventory = compile_inventory(
            Endpoint(id=key, service=name, method=t.method, template=t.template, parameters=t.parameters)
            for key, t in templates.items()
        )
        service.parameters = {key: t.parameters for key, t in templates.items()}
        for key, told in service.routes.items():
            inferred = service.parameters.get(key, ())
            service.parameters[key] = inferred if len(inferred) == len(told.parameters) else told.parameters
        moved: dict[str, Profile] = {}
        renamed: dict[str, str] = {}
        for key, profile in service.profiles.items():
            if profile.protocol in _NAMED_BY_PATH:
                moved[key] = profile
                service.parameters.setdefault(endpoint_id(name, profile.method, profile.template), ())
                continue
            votes: Counter[tuple[str, str]] = Counter()
            for path in profile.examples:
                match = service.match(name, profile.method, path, profile.protocol, profile.operation)
                if match is not None:
                    votes[(endpoint_id(name, match.method, match.template, profile.operation), match.template)] += 1
            # Most votes; on a draw the lower id, so that the outcome does not hang on the order of records.
            (new, template), _ = min(votes.items(), key=lambda item: (-item[1], item[0]), default=((key, profile.template), 0))
            into = moved.get(new)
            if new != key:
                renamed[key] = new
            if into is None and new == key:
                profile.template = template
                moved[new] = profile
                continue
            if into is None:
                into = moved[new] = Profile(new, profile.method, template, profile.protocol, profile.operation)
            into.merge(profile)
        self.edges.move(renamed)
        self.identities.move(renamed)
        self.changes.move(renamed)
        self.behaviours.move(renamed)
        self.baselines.move(name, renamed)
        service.steps.move(renamed)
        if len(moved) > MAX_PROFILES:
            kept = sorted(moved, key=lambda key: (-moved[key].calls, key))[:MAX_PROFILES]
            moved = {key: moved[key] for key in kept}
        service.profiles = moved
        service.count_operations(name)
        service.lookups.clear()
        service.loose = 0
        service.stale = False
        return service.parameters

    def _judgements(self, service: _Service) -> dict[str, Judgement]:
        if service.judged_at != self.folded:
            service.judged = {kind: service.objects.judge(kind, self.evidence) for kind in service.objects.kinds}
            service.judged_at = self.folded
        return service.judged


def _answered_by_grpc(record: CallRecord) -> bool:
    """Whether the answer too is gRPC's (PROTOCOL-HTTP2.md: POST, HTTP status 200, a content type of its own). Logs may not tell the type."""
    if record.response_type:
        return record.response_type.startswith("application/grpc")
    return record.method == "POST" and record.status in (0, 200)


def _steps(steps: Steps, record: CallRecord, profile: Profile) -> None:
    """Learn what a clean call did to which objects. A POST to a collection that gives one object of its kind unasked has made it."""
    actor = hash64(record.actor)
    named = {(kind, key) for _, kind, key in record.used}
    for kind, key in named:
        steps.note(kind, key, profile.key, actor, record.time)
    if record.method == "POST" and record.given:
        endpoint = Endpoint(
            profile.key, record.service, profile.method, profile.template, protocol=profile.protocol, operation=profile.operation
        )
        own = made_kind(endpoint)
        made = [(kind, key) for kind, key in record.given if kind == own and (kind, key) not in named]
        if len(made) == 1:
            steps.note(own, made[0][1], CREATED, actor, record.time)


def _objects(objects: Ownership, record: CallRecord) -> None:
    """Learn who holds what from a clean call."""
    actor, cls = record.actor, record.actor_class
    if not actor or record.strength == 0:
        # An address stands for nobody in particular. What may be read without any identity belongs to nobody either.
        if record.method == "GET":
            for _, kind, key in record.used:
                objects.use(kind, key, ANONYMOUS, "", record.time)
        return
    if record.tenant:
        objects.belongs(actor, record.tenant)
    created = record.status == 201 and record.method == "PUT"
    used, given = record.used, record.given
    asked = {(kind, key): created and place.startswith("path.") for place, kind, key in used}
    if given:
        # Before its template is known nobody can tell what a path names: it may have been what was given.
        unread = record.method == "GET" and (
            not record.endpoint or (bool(record.echoed) and not any(place.startswith("path.") for place, _, _ in used))
        )
        unasked = [one for one in given if one not in asked] if asked else given
        objects.give_all(unasked, actor, cls, record.time, asked=unread)
    for one, made in asked.items():
        if made or one in given:
            objects.give(*one, actor, cls, record.time, asked=not made)
        else:
            objects.use(*one, actor, cls, record.time)
