"""Folds call records into what the snapshot holds: endpoints with their profiles, and who holds which objects.

The rules for this file:

- `fold` is the hot function: what can be concluded later is concluded in `endpoints`.
- Everything learned is a count, a set or a minimum, so that learners of shards `merge` to what one learner would have learned.
- Records that are not clean (findings, not let through, not 2xx) teach nothing about properties, requests and ownership.
- Which template a call belongs to is looked up in the templates known at that moment. Records of paths without template wait, and with them
  all that come after, until there are so many that templates are asked for (or the batch is over): else each path would be
  learned as an operation of its own, to be joined with the others right after. When templates change (siblings merge, a
  wrong merge is undone), each profile moves to the template that its example paths now belong to.

Over 500 lines: each kind of state is folded, merged, dumped and loaded here, so that none is forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any, Generic, TypeVar, cast

import msgspec

from eastwall.behaviours import Models, Told, encode_known
from eastwall.discovery.inventory import compile_inventory, endpoint_id
from eastwall.discovery.objects import changes
from eastwall.discovery.routes import template_of
from eastwall.discovery.templates import TemplateTree
from eastwall.learning.baselines import Baselines
from eastwall.learning.changes import Changes
from eastwall.learning.clean_calls import learn_objects, learn_steps
from eastwall.learning.edges import Edges
from eastwall.learning.identities import Identities
from eastwall.learning.ownership import ANONYMOUS, MAX_HOLDERS, MAX_PUBLISHED, UNKNOWN, Evidence, Judgement, Ownership, live
from eastwall.learning.profile import LearningWindow, Profile
from eastwall.learning.publish import Context, identify_declared, publish
from eastwall.learning.services import NAMED_BY_PATH, REASSOCIATE, Service
from eastwall.learning.steps import Steps
from eastwall.model.endpoint import Endpoint, Parameter
from eastwall.model.record import CallRecord

FORMAT = 11
MAX_SERVICES = 1000
MAX_PROFILES = 10_000
"""Endpoints per service; when over, those with the fewest calls leave."""
MAX_LOOKUPS = 20_000
"""Paths remembered per service with their endpoint."""
MAX_OPERATIONS = 1_000
"""Operations of one path (GraphQL root fields, MCP tools, ...), whatever callers name; further ones count for the path as a whole."""
TOGETHER = 256
"""Records that are learned from together."""
MAX_WAITING = 2_048
"""Records kept until templates are asked for; with more, those of paths without template are learned from by their paths."""

_LATEST = 1e11
"""Unix seconds. What is later, or no number, is no time of a call."""
_NO_NOTES: Mapping[str, Any] = {}
_UNKNOWN_TO_SERVICE = frozenset({0, 404, 405, 410, 501})
_AWAITED = Profile("", "", "")
"""Stands for the profile of a record that waits for a template."""
T = TypeVar("T")


class _Part(Generic[T]):
    """Something of what is learned. Who asks for it gets it with all records learned, those too that wait."""

    def __set_name__(self, owner: type[Learner], name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, learner: Learner, owner: type[Learner]) -> T:
        learner._learn()
        return cast("T", getattr(learner, self._name))

    def __set__(self, learner: Learner, part: T) -> None:
        setattr(learner, self._name, part)


class Learner:
    """Mergeable state of everything learned from records. One thread at a time."""

    edges = _Part[Edges]()
    identities = _Part[Identities]()
    behaviours = _Part[Models]()
    """The models of `behaviours`."""
    baselines = _Part[Baselines]()
    """What callers agreed on: all that `endpoints` gives."""
    unlearned = _Part[int]()
    """Records that could not be learned from, by this learner since it was made."""
    fault = _Part[str]()
    """What was wrong with the last of them."""

    def __init__(self, hash_key: bytes, window: LearningWindow | None = None, evidence: Evidence | None = None) -> None:
        self.hash_key = hash_key
        self.window = window or LearningWindow()
        self.evidence = evidence or Evidence()
        self.folded = 0
        """Records folded, whole life."""
        self._unlearned = 0
        self._fault = ""
        self._edges = Edges()
        self._identities = Identities()
        self._behaviours = Models()
        self._baselines = Baselines()
        self.changes = Changes()
        """Fed by who knows the time (`Changes.observe`); kept here so that it is stored and merged with the rest."""
        self._services: dict[str, Service] = {}
        self._taken: list[tuple[CallRecord, Service, Profile]] = []
        """Records, in the order they came, that nothing was learned from yet. They stay between calls of `fold` while some of them wait."""
        self._waiting = 0
        """How many of them wait for a template (`_AWAITED`)."""

    def fold(self, records: Iterable[CallRecord]) -> None:
        """Learn from records, in any order. One that cannot be learned from is counted (`unlearned`), and holds up no other: it would
        come again with its whole batch, for ever."""
        for record in records:
            try:
                self._take(record)
            except Exception as fault:  # noqa: BLE001 - a fault of ours that some caller has found
                self._passed_over(record, fault)
            if len(self._taken) >= (MAX_WAITING if self._waiting else TOGETHER):
                self._learn()
        if not self._waiting:
            self._learn()

    def _take(self, record: CallRecord) -> None:
        """Find the profile of a record, and keep both until there are enough to learn from together."""
        service = self._services.get(record.service)
        if service is None:
            if len(self._services) >= MAX_SERVICES or not record.service:
                return
            service = self._services[record.service] = Service()
        if not 0 <= record.time <= _LATEST:
            raise ValueError(f"its time is {record.time!r}")
        self.folded += 1
        profile = self._profile(service, record)
        if profile is not None:
            self._taken.append((record, service, profile))

    def _learn(self) -> None:
        """Learn from what was taken, also from what waits."""
        if not self._taken:
            return
        for service in self._services.values() if self._waiting else ():
            self._find(service)
        taken, self._taken = self._taken, []
        for at in range(0, len(taken), TOGETHER):
            self._learn_from(taken[at : at + TOGETHER])

    def _learn_from(self, taken: Sequence[tuple[CallRecord, Service, Profile]]) -> None:
        """One part of the state after the other: a processor's caches hold one of them at a time. A record that one of the first parts cannot
        learn from teaches no profile, and no model."""
        faulty: dict[int, tuple[CallRecord, Exception]] = {}
        for part in (self._edges, self._identities, self._baselines):
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
                    learn_objects(service.objects, record)
                    if (record.used or record.given) and changes(record.method, record.operation):
                        learn_steps(service.steps, record, profile)
            except Exception as fault:  # noqa: BLE001 - as in `fold`
                faulty[id(record)] = record, fault
        faulty.update({id(one[0]): one for one in self._behaviours.fold(told)})
        for one in faulty.values():
            self._passed_over(*one)

    def _passed_over(self, record: CallRecord, fault: Exception) -> None:
        self._unlearned += 1
        self._fault = f"call `{record.id}`: {type(fault).__name__}: {fault}"

    def declare(self, service: str, endpoints: Iterable[Endpoint]) -> None:
        """What a spec says the service has; replaces an earlier declaration. Its templates override inferred ones."""
        state = self._services.setdefault(service, Service())
        state.declared = identify_declared(service, endpoints)
        state.compile_known()

    def merge(self, other: Learner) -> None:
        """Take in what another learner has learned; `other` is left as it is.

        Its declarations count for services that have none here.
        """
        self._learn()
        other._learn()
        self.folded += other.folded
        self._edges.merge(other._edges)
        self._identities.merge(other._identities)
        self.changes.merge(other.changes)
        self._baselines.merge(other._baselines)
        self._behaviours.merge(other._behaviours)
        for name, theirs in other._services.items():
            mine = self._services.setdefault(name, Service())
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
        names = sorted(self._services)
        for name in names:
            service = self._services[name]
            if not (lazy and service.parameters and not service.tree.due):
                self._associate(name, service)
        self._learn()
        found: list[Endpoint] = []
        for name in names:
            service = self._services[name]
            context = Context(
                service=name,
                window=self.window,
                judgements=self._judgements(service),
                parameters=service.parameters,
                declared=service.declared,
                invariants=service.step_rules(name),
            )
            found += publish(service.profiles, context)
        return self._baselines.adopt(found)

    def knowledge(self, endpoints: Sequence[Endpoint]) -> tuple[tuple[str, bytes], ...]:
        """(model of behaviour, what it knows as the baselines have it, in MessagePack). `endpoints`: as just asked for."""
        return encode_known(self.baselines.hold(self.behaviours, endpoints))

    def ownership(self, limit: int, now: float = inf) -> tuple[tuple[int, tuple[str, ...]], ...]:
        """(object key, at most 8 actors that hold it, the first first), the most recently given objects, oldest of them first. A last
        actor `""` says that there may be more.

        Without public kinds, without actors of broad classes, who may see everything, and without grants that were not seen for long
        (`ownership.live`). `now`: no call can be later, Unix seconds.
        """
        self._learn()
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
        self._learn()
        return {
            profile.key: dict(profile.findings)
            for service in self._services.values()
            for profile in service.profiles.values()
            if profile.findings
        }

    def kinds(self, service: str) -> dict[str, Judgement]:
        """What is concluded about each kind of object of a service."""
        self._learn()
        state = self._services.get(service)
        return self._judgements(state) if state is not None else {}

    def to_bytes(self) -> bytes:
        """MessagePack, versioned. The hash key is not in it."""
        self._learn()
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
                self._edges.dump(),
                self._identities.dump(),
                self.changes.dump(),
                self._behaviours.dump(),
                self._baselines.dump(),
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
                state = learner._services[name] = Service()
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

    def _profile(self, service: Service, record: CallRecord) -> Profile | None:
        """The profile a record belongs to, made when it is the first of its path; `_AWAITED` when no template is known for it yet."""
        method, path, status, operation = record.method, record.path, record.status, record.operation
        if record.findings and any(finding.suspicious and finding.where.startswith("path") for finding in record.findings):
            return None  # an attack in a path is no name of an API
        protocol = record.protocol
        named = protocol in NAMED_BY_PATH
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
        found = service.lookups.get((method, path, operation))
        if found is not None:
            return service.profiles[found]
        if named:
            return self._profile_at(service, record, path, protocol, operation)
        if not operation and (method, path) in service.awaited:
            self._waiting += 1
            return _AWAITED
        match = self._match(service, record, protocol, operation)
        if match is None:
            if status in _UNKNOWN_TO_SERVICE:
                return None
            service.loose += 1
            if service.loose > service.limit:
                self._associate(record.service, service)
                service.limit = max(REASSOCIATE, len(service.profiles))
                match = self._match(service, record, protocol, operation)
            elif not operation and len(service.profiles) + len(service.awaited) < 2 * MAX_PROFILES:
                service.awaited.add((method, path))
                self._waiting += 1
                return _AWAITED
        return self._profile_at(service, record, match or path, protocol, operation)

    @staticmethod
    def _profile_at(service: Service, record: CallRecord, at: Endpoint | str, protocol: str, operation: str) -> Profile | None:
        """The profile of an operation, made when this is its first call. `at`: the endpoint of its path, or the path where none is known."""
        method, asked, named = record.method, operation, protocol in NAMED_BY_PATH
        template = at if isinstance(at, str) else at.template
        if isinstance(at, str) or operation or at.operation or at.method != method:
            key = endpoint_id(record.service, method, template, operation)
        else:
            key = at.id
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
        profile.example(record.path)
        if len(service.lookups) >= MAX_LOOKUPS:
            service.lookups.clear()
        service.lookups[(method, record.path, asked)] = key
        return profile

    def _find(self, service: Service) -> None:
        """Find the profiles of a service's records that wait: by the templates known now, or else by their paths."""
        if not service.awaited:
            return
        found: list[tuple[CallRecord, Service, Profile]] = []
        for one in self._taken:
            record, of, profile = one
            if profile is _AWAITED and of is service:
                self._waiting -= 1
                known = service.lookups.get((record.method, record.path, ""))
                if known is not None:
                    found.append((record, of, service.profiles[known]))
                    continue
                protocol = "rest" if record.protocol in NAMED_BY_PATH else record.protocol
                at = self._match(service, record, protocol, "") or record.path
                made = self._profile_at(service, record, at, protocol, "")
                if made is not None:
                    found.append((record, of, made))
            else:
                found.append(one)
        self._taken = found
        service.awaited.clear()

    @staticmethod
    def _match(service: Service, record: CallRecord, protocol: str, operation: str) -> Endpoint | None:
        """The endpoint of a record's path by what is known now: a declared one before an inferred one."""
        return service.match(record.service, record.method, record.path, protocol, operation)

    def _associate(self, name: str, service: Service) -> Mapping[str, tuple[Parameter, ...]]:
        """Ask for the templates anew and move every profile to the one its example paths belong to now.

        Returns the parameters of all templates by endpoint id.
        """
        if not service.stale:
            return service.parameters
        if len(service.profiles) > MAX_PROFILES:
            self._learn()  # those with the most calls stay
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
            if profile.protocol in NAMED_BY_PATH:
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
        self._edges.move(renamed)
        self._identities.move(renamed)
        self.changes.move(renamed)
        self._behaviours.move(renamed)
        self._baselines.move(name, renamed)
        service.steps.move(renamed)
        if len(moved) > MAX_PROFILES:
            kept = sorted(moved, key=lambda key: (-moved[key].calls, key))[:MAX_PROFILES]
            moved = {key: moved[key] for key in kept}
        service.profiles = moved
        service.count_operations(name)
        service.lookups.clear()
        self._taken = [
            (record, of, moved.get(renamed.get(p.key, p.key), p) if of is service and p is not _AWAITED else p)
            for record, of, p in self._taken
        ]
        self._find(service)
        service.loose = 0
        service.stale = False
        return service.parameters

    def _judgements(self, service: Service) -> dict[str, Judgement]:
        if service.judged_at != self.folded:
            service.judged = {kind: service.objects.judge(kind, self.evidence, self.hash_key) for kind in service.objects.kinds}
            service.judged_at = self.folded
        return service.judged


def _answered_by_grpc(record: CallRecord) -> bool:
    """Whether the answer too is gRPC's (PROTOCOL-HTTP2.md: POST, HTTP status 200, a content type of its own). Logs may not tell the type."""
    if record.response_type:
        return record.response_type.startswith("application/grpc")
    return record.method == "POST" and record.status in (0, 200)
