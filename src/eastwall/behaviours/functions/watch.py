"""Compares a request with who uses its operation, or those beside and above it, and with the scopes that its callers bear.

Remembered is what each caller of a class with authority changed things by, to know a privilege that is used for the first time: `MAX_ACTORS` callers
with `MAX_OWN` operations each; who was quiet longest leaves first, and what is forgotten is judged as if the caller were new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from re import compile as regex
from typing import Any

from eastwall import behaviours
from eastwall.behaviours.functions.matrix import authority, function_use, machine, use_of
from eastwall.behaviours.functions.model import OVERRIDES, Knowledge, ScopeUse
from eastwall.behaviours.sessions import kinship
from eastwall.discovery.inventory import Inventory, identify, split_template
from eastwall.discovery.lifecycle import is_admin
from eastwall.discovery.objects import SAFE_METHODS, changes
from eastwall.model.call import Completion, Phase
from eastwall.model.decision import Decision
from eastwall.model.deviations import Deviation, FirstUse, FunctionDeviation
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts, FunctionUse
from eastwall.model.identity import Identity
from eastwall.model.operation import Operation

MIN_CALLS = 12
"""Clean calls of an operation before scopes are required there."""
MISSED = 5.0
"""Of them, how many would have lacked it by chance, at least: callers come back, so that their calls are no independent draws."""
REQUIRED = 0.98
"""Share of them that bore a scope for it to be required."""
MIN_USERS = 3
"""Callers of the operation, told apart over all classes."""
RARE = 20
"""Calls of an operation below which the group that it belongs to speaks for it."""
MAX_DEPTH = 8
"""Segments of a path that make groups."""
UNHEARD = 500
"""Clean calls of a service, before it is said that nobody there sends headers that mean another operation."""
MAX_VERDICTS = 10_000
SETTLED = 30
"""Clean calls of a class in the service, before what it never did says anything."""
MAX_ACTORS = 10_000
MAX_OWN = 64
"""Operations of one caller."""
MAX_OPEN = 10_000
KNOWN_FOR = 3_600.0
"""Seconds that a caller was seen changing things, before what it never did itself says anything."""

METHODS, PATHS = behaviours.OVERRIDING[:3], behaviours.OVERRIDING[3:]
_METHOD = regex(r"[A-Za-z]{1,20}")
_WRITING = regex(r"(?i)(?<![a-z])(?:write|create|update|delete|edit|modify|manage|publish)(?![a-z])")
"""In a scope's name: it lets its bearer change something. Those who read bear it by chance, be they ever so many."""
_ADMIN = ":admin"
"""Stands for all operations of one path whose names say that they are administrators' (GraphQL, MCP)."""


class _Group:
    """What lies below a path: who uses it."""

    __slots__ = ("admin", "below", "users")

    def __init__(self) -> None:
        self.below: dict[str, _Group] = {}
        self.users: Counter[str] = Counter()
        self.admin = False


class Known:
    """Look-up tables of one snapshot."""

    __slots__ = ("inventory", "lone", "overriding", "required", "roots", "ruling", "totals", "users", "verdicts")

    def __init__(self, knowledge: Knowledge, world: behaviours.World) -> None:
        self.inventory: Inventory = world.inventory
        self.roots: dict[str, _Group] = {}
        """Service -> its paths as a tree."""
        self.totals: dict[str, Counter[str]] = {}
        """Service -> class -> clean calls."""
        self.users: dict[str, frozenset[str]] = {}
        """Endpoint id -> classes that made a clean call of it."""
        most: dict[str, Counter[str]] = {}
        for endpoint in world.endpoints:
            self.users[endpoint.id] = frozenset(cls for cls, _, _ in endpoint.users)
            totals = self.totals.setdefault(endpoint.service, Counter())
            seen = most.setdefault(endpoint.service, Counter())
            totals.update({cls: calls for cls, calls, _ in endpoint.users})
            for cls, _, actors in endpoint.users:
                seen[cls] = max(seen[cls], actors)
            if endpoint.users:
                self._group(endpoint)
        self.lone = {service: frozenset(cls for cls, actors in seen.items() if actors < 2) for service, seen in most.items()}
        self.ruling: dict[str, bool] = {cls: authority(cls) or machine(cls) for seen in most.values() for cls in seen}
        """Class -> whether it has authority, or is one of programs."""
        self.verdicts: dict[tuple[str, tuple[str, ...], str], tuple[FunctionUse, str] | None] = {}
        self.overriding = frozenset(knowledge.overriding)
        self.required = _required(knowledge.scopes, {endpoint.id: endpoint for endpoint in world.endpoints})
        """Endpoint id -> (scope, calls, calls that would have lacked it by chance)."""

    def _group(self, endpoint: Endpoint) -> None:
        node = self.roots.setdefault(endpoint.service, _Group())
        users = {cls: calls for cls, calls, _ in endpoint.users}
        for name in steps_of(endpoint):
            node = node.below.setdefault(name, _Group())
            node.users.update(users)
            node.admin = node.admin or is_admin(endpoint)

    def of_group(self, service: str, steps: tuple[str, ...], cls: str) -> tuple[FunctionUse, str] | None:
        """What is strange about a class calling something below these steps: by the widest group that others have to themselves."""
        key = (service, steps, cls)
        if key not in self.verdicts:
            if len(self.verdicts) > MAX_VERDICTS:
                self.verdicts.clear()
            self.verdicts[key] = self._of_group(*key)
        return self.verdicts[key]

    def _of_group(self, service: str, steps: tuple[str, ...], cls: str) -> tuple[FunctionUse, str] | None:
        node, totals = self.roots.get(service), self.totals.get(service)
        if node is None or totals is None:
            return None
        for depth, step in enumerate(steps, 1):
            below = node.below.get(step) or node.below.get("{}")
            if below is None:
                return None
            node = below
            if not node.users[cls]:
                use = use_of([(calls, name) for name, calls in node.users.items()], cls, totals, admin=node.admin)
                if use is not None and use.privileged:
                    return use, "/" + "/".join(steps[:depth])
        return None


def compile(knowledge: Knowledge, world: behaviours.World) -> Known:
    """For the watch."""
    return Known(knowledge, world)


class _Own:
    """What one caller changed things by."""

    __slots__ = ("operations", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        self.operations: dict[str, None] = {}


class Watch(behaviours.Watch):
    """See above."""

    def __init__(self) -> None:
        self._own: dict[str, _Own] = {}
        self._open: dict[str, str] = {}
        """Call under way -> operation that its caller changes something by for the first time; empty: it bears a header that means another."""

    def __len__(self) -> int:
        return len(self._own)

    def asks(self, phase: Phase, endpoint: Endpoint, known: Known) -> Any:
        """An operation that reads, and is well known, is asked about where a header may mean another one."""
        plain = endpoint.method in SAFE_METHODS and not endpoint.operation
        return behaviours.STRANGE if plain and endpoint.calls >= RARE and endpoint.id not in known.required else True

    def request(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        identity = facts.identity
        if not identity.strength:
            return ()  # an address has no class of its own: `missing-authentication` judges these
        found: tuple[Deviation, ...] = ()
        endpoint = facts.match.endpoint
        if endpoint is None:
            found = self._unknown(facts, known)
        elif endpoint.id in known.required or endpoint.calls < RARE:
            found = self._known(endpoint, facts, known)
        headers = facts.call.request.headers
        if not headers.keys().isdisjoint(behaviours.OVERRIDING):
            found += self._overridden(facts, known)
        if facts.call.request.method not in SAFE_METHODS:
            found += self._first(facts, known)
        return found

    def _first(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        """Whether something is changed that the class, or a caller with authority, never changed."""
        cls, endpoint = facts.identity.cls, facts.match.endpoint
        used = endpoint is not None and cls in known.users.get(endpoint.id, ())
        ruling = known.ruling.get(cls, False)
        if used and not ruling:
            return ()
        operation = facts.operation
        if not changes(operation.method, endpoint.operation if endpoint is not None else operation.name):
            return ()
        now, own = facts.call.time, self._own.get(facts.identity.actor) if ruling else None
        if ruling and endpoint is not None and (own is None or endpoint.id not in own.operations):
            self._await(facts, endpoint.id)
        mine = False
        if used:
            mine = own is not None and endpoint is not None and endpoint.id not in own.operations and now - own.since >= KNOWN_FOR
            if not mine:
                return ()
        calls = known.totals.get(facts.call.service, Counter())[cls]
        if calls < SETTLED:
            return ()
        others = 0 if endpoint is None else sum(count for name, count, _ in endpoint.users if name != cls)
        what = _name(endpoint) if endpoint is not None else (operation.name or f"{operation.method[:20]} {operation.path}")[:120]
        return (FirstUse("operation", what, cls, calls, others, mine, ruling),)

    def _await(self, facts: Facts, operation: str) -> None:
        if len(self._open) >= MAX_OPEN:
            del self._open[next(iter(self._open))]
        self._open[facts.call.id] = operation

    def notes(self, endpoint: Endpoint, known: Known) -> dict[str, Any]:
        return self._open

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        if not self._open or (operation := self._open.pop(request.call_id, None)) is None:
            return None
        headers = request.facts.call.request.headers
        if operation and 200 <= completion.status < 300 and request.verdict.action != "block":
            actor = request.facts.identity.actor
            own = self._own.pop(actor, None)
            if own is None:
                if len(self._own) >= MAX_ACTORS:
                    del self._own[next(iter(self._own))]
                own = _Own(request.facts.call.time)
            self._own[actor] = own
            if len(own.operations) >= MAX_OWN:
                del own.operations[next(iter(own.operations))]
            own.operations[operation] = None
        return None if headers.keys().isdisjoint(behaviours.OVERRIDING) else OVERRIDES

    def _known(self, endpoint: Endpoint, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        identity = facts.identity
        found: tuple[Deviation, ...] = ()
        needed = known.required.get(endpoint.id)
        if needed is not None:
            found = tuple(_lacking(endpoint, needed, identity))
        if endpoint.calls < RARE:
            told = known.of_group(endpoint.service, steps_of(endpoint), identity.cls)
            if told is not None and not any(cls == identity.cls and actors >= 2 for cls, _, actors in endpoint.users):
                found += (_deviation(told[0], _name(endpoint), told[1]),)
        return found

    def _unknown(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        beside, operation = facts.match.beside, facts.operation
        steps = steps_of(beside) if beside is not None else _steps(operation.segments, operation.name)
        told = known.of_group(facts.call.service, steps, facts.identity.cls)
        if told is None:
            return ()
        return (_deviation(told[0], f"{operation.method[:20]} /{'/'.join(steps)}"[:120], told[1]),)

    def _overridden(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        request, service, cls = facts.call.request, facts.call.service, facts.identity.cls
        method, path, via = request.method, "", ""
        for name in behaviours.OVERRIDING:
            value = request.headers.get(name, "").strip()
            if name in METHODS and _METHOD.fullmatch(value) and value.upper() != method:
                method, via = value.upper(), name
            elif name in PATHS and value:
                path, via = _path(value[:2_000]), name
        if not via:
            return ()
        if len(self._open) < MAX_OPEN:
            self._open.setdefault(facts.call.id, "")
        segments = tuple(part for part in path.split("/") if part) if path else facts.operation.segments
        meant = Operation("rest", method, segments, path or facts.operation.path)
        match = identify(service, meant, known.inventory)
        use: FunctionUse | None = None
        group = ""
        if match.endpoint is not None:
            use = function_use(match.endpoint, cls, known.totals[service], lone=cls in known.lone[service])
        if use is None and (match.endpoint is None or not any(name == cls for name, _, _ in match.endpoint.users)):
            beside = match.endpoint or match.beside
            told = known.of_group(service, steps_of(beside) if beside else _steps(segments, ""), cls)
            use, group = told if told is not None else (None, "")
        what = f"{method} /{'/'.join(segments)}"[:120]
        if use is not None:
            return (_deviation(use, what, group, via),)
        calls = sum(known.totals.get(service, Counter()).values())
        unknown = facts.match.endpoint is None or match.endpoint is None
        if service in known.overriding or calls < UNHEARD or not unknown or path or method in SAFE_METHODS:
            return ()
        return (FunctionDeviation(f"header.{via}", what, calls=calls, unheard=True),)


def steps_of(endpoint: Endpoint) -> tuple[str, ...]:
    """Of which groups an operation is, from the outermost in: the segments of its template, `{}` for parameters."""
    segments = tuple("{}" if "{" in segment else segment for segment in split_template(endpoint.template))
    return _steps(segments, endpoint.operation, admin=is_admin(endpoint))


def _steps(segments: Iterable[str], operation: str, *, admin: bool = False) -> tuple[str, ...]:
    steps, operation = tuple(segments)[:MAX_DEPTH], operation.removeprefix("tools/call ")
    if not operation or "/" in operation:
        return steps
    named = admin or any(part.startswith("admin") for part in regex(r"[^a-z]+").split(operation.lower()))
    return (*steps, _ADMIN if named else operation)


def _path(target: str) -> str:
    """The path of a request target or URL, whatever a caller wrote there."""
    _, scheme, rest = target.partition("://")
    path = "/" + rest.partition("/")[2] if scheme else target
    return path.partition("?")[0].partition("#")[0]


def _name(endpoint: Endpoint) -> str:
    return (endpoint.operation or f"{endpoint.method} {endpoint.template}")[:120]


def _deviation(use: FunctionUse, what: str, group: str, via: str = "") -> FunctionDeviation:
    return FunctionDeviation(
        place=f"header.{via}" if via else "operation",
        what=what,
        group=group,
        calls=use.calls,
        classes=use.classes,
        expected=use.expected,
        privileged=use.privileged,
        chance=use.chance,
    )


def _lacking(endpoint: Endpoint, needed: tuple[tuple[str, int, float], ...], identity: Identity) -> Iterable[FunctionDeviation]:
    for scope, calls, expected in needed:
        if scope not in identity.scopes and not authority(identity.cls):
            yield FunctionDeviation(
                place="operation", what=_name(endpoint), calls=calls, expected=expected, privileged=True, scope=scope
            )


def _required(scopes: tuple[ScopeUse, ...], endpoints: dict[str, Endpoint]) -> dict[str, tuple[tuple[str, int, float], ...]]:
    """What callers of an operation all bear, and others do not: else it says nothing."""
    bore: dict[str, Counter[str]] = {}
    whole: Counter[str] = Counter()
    for use in scopes:
        service = endpoints[use.endpoint].service
        whole[service] += use.calls
        bore.setdefault(service, Counter()).update(dict(use.scopes))
    found: dict[str, tuple[tuple[str, int, float], ...]] = {}
    for use in scopes:
        endpoint = endpoints[use.endpoint]
        if use.calls < MIN_CALLS or sum(actors for _, _, actors in endpoint.users) < MIN_USERS:
            continue
        total = whole[endpoint.service]
        needed = tuple(
            (scope, use.calls, round(use.calls * (1 - bore[endpoint.service][scope] / total), 2))
            for scope, calls in use.scopes
            if calls >= REQUIRED * use.calls
        )
        reads = kinship.reads(endpoint)
        needed = tuple(one for one in needed if one[2] >= MISSED and not (reads and _WRITING.search(one[0])))
        if needed:
            found[use.endpoint] = needed
    return found
