"""Where an API stands between design and retirement, and what is special about it: `Lifecycle` per endpoint.

| state | when |
|---|---|
| `managed` | declared and seen |
| `observed` | seen; no specification speaks for it |
| `shadow` | seen; the specification that speaks for its path does not have it |
| `ghost` | declared, never seen |
| `zombie` | seen, though deprecated, or of an old version that no specification keeps |

A specification speaks for the paths below its base path (`servers`), whatever version stands there, and for no others: an API without
a specification beside one that has one, behind the same host, has no shadows. A specification that names no base path, and
whose templates all begin with something that ends in `/api`, a version or the like, speaks for what begins so.

`Surroundings` are made once per service, `lifecycle` then costs some microseconds per endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from re import compile as regex

from msgspec import Struct

from eastwall.discovery.inventory import declares
from eastwall.discovery.objects import SAFE_METHODS
from eastwall.model.blueprint import Lifecycle
from eastwall.model.endpoint import Endpoint
from eastwall.model.snapshot import ServiceScope

DAY = 86_400.0
NEW = DAY
"""Seconds for which an operation counts as new."""
GRACE = 3_600.0
"""Seconds after a service was first seen in which its operations are no news."""
SILENT = DAY
"""Seconds without a call before an operation may count as vanished, ..."""
SILENT_INTERVALS = 20.0
"""... and so many of its usual intervals, ..."""
VANISHED_CALLS = 10
"""... if it had so many calls before."""
OPEN_SHARE = 0.05
"""Share of successful calls with an identity up to which an operation counts as unauthenticated."""
CLOSED_SHARE = 0.95
"""The same from which it counts as authenticated."""
MIN_CALLS = 5
"""Successful calls that must be there for either."""
MIN_SIBLINGS = 3
"""Operations of the same resource that must be authenticated for one that is not to stand out."""

_PARAMETER = regex(r"\{[^{}]*\}")
_VERSION = regex(r"v(\d{1,4})(?:[._](\d{1,4}))?(?:(?:alpha|beta|rc)\d*)?")
_DATE_VERSION = regex(r"(20\d\d)-(0[1-9]|1[0-2])(?:-\d\d)?")
_PACKAGE_VERSION = regex(r"(?<=\w)\.v(\d{1,4})(?:(?:alpha|beta)\d*)?(?=\.\w)")
STRUCTURE = frozenset({"api", "apis", "rest", "service", "services", "public", "internal", "gateway", "rpc"})
"""Path segments that name no thing."""
_ADMIN = frozenset(
    "admin admins administration administrator adm superuser root sudo internal debug actuator manage management console "
    "backoffice back-office ops operator staff heapdump threaddump env jolokia pprof shutdown impersonate".split()
)
"""Path segments of operations for those who run a service."""
_TRIAL = frozenset("debug test tests testing dev staging stage sandbox mock mocks demo beta uat qa".split())
_TRIAL_ENVIRONMENTS = ("dev", "test", "stag", "sandbox", "qa", "uat", "demo", "preprod", "pre-prod", "non-prod", "nonprod")
_OPEN_BY_NATURE = frozenset(
    "login signin sign-in signup sign-up register registration token tokens oauth oauth2 auth authorize sso saml callback health "
    "healthz healthcheck livez readyz ready live ping status version .well-known openapi.json swagger.json docs favicon.ico "
    "robots.txt csrf forgot forgot-password reset-password password-reset verify captcha webhook webhooks logout".split()
)
"""Path segments of operations that are meant for those who have not signed in."""
_READING = ("query ", "subscription ", "resources/", "prompts/", "tools/list", "initialize", "ping")
"""How the names of operations begin that change nothing (GraphQL, MCP)."""
_IMPLIED = frozenset({"HEAD", "OPTIONS"})
"""Servers answer HEAD wherever they answer GET; browsers ask OPTIONS before they call across origins."""


class Exposure(Struct, frozen=True):
    """What traffic says of an endpoint that its profile does not."""

    public_calls: int = 0
    """Calls from public addresses."""
    agents: tuple[str, ...] = ()
    """Agents that call it."""
    egress: bool = False
    """Its service is a third party's."""
    versions: tuple[str, ...] = ()
    """Versions that media types of its messages name."""
    weaker: tuple[str, ...] = ()
    """Sentences on checks that another version of it has and it lacks (`discovery.versions`)."""


NOTHING = Exposure()


class Surroundings(Struct, frozen=True):
    """What must be known of a service to tell the state of its operations."""

    scope: ServiceScope
    bases: tuple[tuple[str, ...], ...] = ()
    """Base paths, as segments, that specifications speak for; without any there is no specification."""
    declared: frozenset[str] = frozenset()
    """Blank templates that specifications have."""
    ids: frozenset[str] = frozenset()
    """Ids of the endpoints that specifications have."""
    seen: frozenset[tuple[str, str]] = frozenset()
    """(method, blank template) of what is called."""
    newest: dict[tuple[str, str], tuple[int, ...]] = {}
    """(method, template without its version) -> the highest version there is; () for one without a version in the path."""
    open_methods: dict[str, frozenset[str]] = {}
    """Blank template -> methods that are called without identity."""
    closed_methods: dict[str, frozenset[str]] = {}
    """Blank template -> methods that are called with identity."""
    closed: dict[str, int] = {}
    """Family (see `family`) -> operations that are called with identity."""
    opened: dict[str, int] = {}
    first_seen: float = 0.0
    last_seen: float = 0.0
    deprecated: Callable[[Endpoint], bool] = lambda _: False
    """Whether the service's policy calls the operation deprecated."""
    admin: Callable[[Endpoint], bool] = lambda _: False
    """The same for administrative."""


def survey(
    endpoints: Sequence[Endpoint],
    scope: ServiceScope,
    declared: Sequence[Endpoint] = (),
    *,
    deprecated: Callable[[Endpoint], bool] = lambda _: False,
    admin: Callable[[Endpoint], bool] = lambda _: False,
) -> Surroundings:
    """The surroundings of one service's endpoints. `declared`: what its specifications have; when empty, those endpoints count
    whose origin is `declared` or `both`."""
    spoken = declared or [e for e in endpoints if e.origin != "observed"]
    newest: dict[tuple[str, str], tuple[int, ...]] = {}
    open_methods: dict[str, set[str]] = {}
    closed_methods: dict[str, set[str]] = {}
    opened: dict[str, int] = {}
    closed: dict[str, int] = {}
    seen = [e for e in endpoints if e.calls]
    kept = {(e.method, blank(e.template)) for e in spoken}
    for endpoint in [*seen, *spoken]:
        version, rest = versioned(endpoint.template)
        key = (endpoint.method, rest)
        if not version and (endpoint.method, blank(endpoint.template)) not in kept:
            continue  # a path without a version is the present one only where a specification says so
        newest[key] = _newer(newest[key], version) if key in newest else version
    for endpoint in seen:
        share = identified(endpoint)
        if share is None:
            continue
        if share <= OPEN_SHARE:
            open_methods.setdefault(blank(endpoint.template), set()).add(endpoint.method)
            opened[family(endpoint.template)] = opened.get(family(endpoint.template), 0) + 1
        elif share >= CLOSED_SHARE:
            closed_methods.setdefault(blank(endpoint.template), set()).add(endpoint.method)
            closed[family(endpoint.template)] = closed.get(family(endpoint.template), 0) + 1
    return Surroundings(
        scope=scope,
        bases=_bases(spoken),
        declared=frozenset(blank(e.template) for e in spoken),
        ids=frozenset(e.id for e in spoken),
        seen=frozenset((e.method, blank(e.template)) for e in seen),
        newest=newest,
        open_methods={path: frozenset(methods) for path, methods in open_methods.items()},
        closed_methods={path: frozenset(methods) for path, methods in closed_methods.items()},
        closed=closed,
        opened=opened,
        first_seen=min((e.first_seen for e in seen), default=0.0),
        last_seen=max((e.last_seen for e in seen), default=0.0),
        deprecated=deprecated,
        admin=admin,
    )


def lifecycle(endpoint: Endpoint, around: Surroundings, now: float, seen: Exposure = NOTHING) -> Lifecycle:
    """State and flags of an endpoint, each with its reason. `now`: Unix seconds."""
    scope = around.scope
    flags: dict[str, str] = {}
    state, why = _state(endpoint, around, flags)
    exposure = _exposure(around, seen, flags)
    if not scope.owner:
        flags["orphan"] = f"no Service policy names an owner of `{endpoint.service}`"
    if seen.agents:
        more = f" and {len(seen.agents) - 1} more" if len(seen.agents) > 1 else ""
        flags["agent-reachable"] = f"the agent `{seen.agents[0]}`{more} calls it"
    if is_admin(endpoint) or around.admin(endpoint):
        told = "the Service policy says so" if around.admin(endpoint) else "its path is one of those for who runs a service"
        flags["admin"] = f"it is administrative: {told}"
    if len(seen.versions) > 1:
        older, newest = sorted(seen.versions, key=lambda version: (len(version), version))[-2:]
        flags.setdefault("old-version", f"media types of its messages name version {older}, and version {newest}, which is newer")
    if seen.weaker:
        flags["weaker-version"] = "; ".join(seen.weaker)
    _environment(endpoint, scope, flags)
    _authentication(endpoint, around, flags)
    _time(endpoint, around, now, flags)
    return Lifecycle(
        state=state,
        flags=tuple(sorted(flags)),
        exposure=exposure,
        owner=scope.owner,
        repository=scope.repository,
        environment=scope.environment,
        reasons=(why, *(flags[name] for name in sorted(flags))),
    )


def _state(endpoint: Endpoint, around: Surroundings, flags: dict[str, str]) -> tuple[str, str]:
    deprecated = ""
    if endpoint.deprecated:
        deprecated = "its specification, or a `Deprecation` or `Sunset` header of its answers, says that it is deprecated"
    elif around.deprecated(endpoint):
        deprecated = "the Service policy says that it is deprecated"
    if deprecated:
        flags["deprecated"] = deprecated
    if not endpoint.calls:
        other = next((t for t in endpoint.alternatives if (endpoint.method, blank(t)) in around.seen), "")
        if other:
            return "managed", f"it is declared, and seen below another of its base paths (`{other}`)"
        return "ghost", "it is declared and was never seen"
    version, rest = versioned(endpoint.template)
    newest = around.newest.get((endpoint.method, rest), version)
    old = bool(version) and newest != version and _newer(newest, version) == newest
    if old:
        name = f"version {'.'.join(map(str, newest))}" if newest else "one without a version in its path, which is declared,"
        flags["old-version"] = f"it is of version {'.'.join(map(str, version))}, and there is {name} of it"
    if deprecated:
        return "zombie", f"{deprecated}, and it is still called ({endpoint.calls:,} calls)"
    if old and endpoint.origin == "observed":
        return "zombie", f"{flags['old-version']}; the old one is still called ({endpoint.calls:,} calls) and not declared"
    if endpoint.origin == "both":
        return "managed", "it is declared and seen"
    if declares(around.ids, endpoint.service, endpoint.method, endpoint.template, endpoint.operation):
        return "managed", "what it asks for is declared, and seen"
    if not around.bases:
        return "observed", f"it is seen; `{endpoint.service}` has no specification"
    if endpoint.method in _IMPLIED and blank(endpoint.template) in around.declared:
        return "managed", f"its path is declared, and servers and browsers add `{endpoint.method}` by themselves"
    base = next((base for base in around.bases if _speaks(base, endpoint.template)), None)
    if base is None:
        spoken = ", ".join(f"`/{'/'.join(base)}`" for base in around.bases[:3])
        return "observed", f"it is seen, outside of what the specification of `{endpoint.service}` speaks for ({spoken})"
    return "shadow", f"it is seen ({endpoint.calls:,} calls), and the specification of `{endpoint.service}` does not have it"


def _exposure(around: Surroundings, seen: Exposure, flags: dict[str, str]) -> str:
    scope = around.scope
    if scope.exposure == "external" or (seen.egress and not scope.exposure):
        flags["third-party"] = "it is a third party's"
        return "external"
    if scope.exposure == "internet":
        flags["internet-facing"] = "the Service policy says that the internet reaches it"
    elif seen.public_calls:
        # What was seen weighs more than what a policy says: an internal service with callers from outside is news.
        flags["internet-facing"] = f"{seen.public_calls:,} calls came from public addresses"
    return "internet" if "internet-facing" in flags else scope.exposure or "internal"


def _environment(endpoint: Endpoint, scope: ServiceScope, flags: dict[str, str]) -> None:
    environment = scope.environment.lower()
    if environment.startswith(_TRIAL_ENVIRONMENTS):
        flags["non-production"] = f"its environment is `{scope.environment}`"
    elif not environment and (word := next((s for s in _words(endpoint.template) if s in _TRIAL), "")):
        flags["non-production"] = f"its path has `{word}`"


def _authentication(endpoint: Endpoint, around: Surroundings, flags: dict[str, str]) -> None:
    share = identified(endpoint)
    if share is None:
        return
    if share <= OPEN_SHARE:
        flags["unauthenticated"] = f"it answers callers without any identity ({1 - share:.0%} of its successful calls)"
    if endpoint.secured and share < CLOSED_SHARE:
        flags["missing-authentication"] = (
            f"its specification asks for authentication, and {1 - share:.0%} of its successful calls had none"
        )
        return
    if share > OPEN_SHARE or endpoint.login or endpoint.secured is False or open_by_nature(endpoint.template):
        return
    beside = around.closed_methods.get(blank(endpoint.template), frozenset()) - {endpoint.method}
    # Reading without and writing with a sign-in is how catalogues are meant; the other way round is a hole.
    reads = endpoint.method in SAFE_METHODS or endpoint.operation.startswith(_READING)
    beside = beside & SAFE_METHODS if reads and not _sensitive(endpoint) else beside
    if beside:
        flags["missing-authentication"] = (
            f"`{endpoint.method}` is answered without identity, while {', '.join(f'`{m}`' for m in sorted(beside))} of the same path "
            "is called with one"
        )
        return
    kin = family(endpoint.template)
    closed, opened = around.closed.get(kin, 0), around.opened.get(kin, 0)
    if closed >= MIN_SIBLINGS and closed >= 3 * opened and (not reads or _sensitive(endpoint)):
        flags["missing-authentication"] = (
            f"it is answered without identity, while {closed} operations beside it are called with one"
        )


def _time(endpoint: Endpoint, around: Surroundings, now: float, flags: dict[str, str]) -> None:
    if not endpoint.calls:
        return
    if now - endpoint.first_seen < NEW and endpoint.first_seen > around.first_seen + GRACE:
        flags["new"] = f"it was first seen {_ago(now - endpoint.first_seen)} ago"
    interval = (endpoint.last_seen - endpoint.first_seen) / max(endpoint.calls - 1, 1)
    silent = around.last_seen - endpoint.last_seen  # by the service's own clock: when it is not called at all, nothing vanished
    if endpoint.calls >= VANISHED_CALLS and silent > max(SILENT, SILENT_INTERVALS * interval):
        flags["vanished"] = f"it was last called {_ago(now - endpoint.last_seen)} ago, and before that every {_ago(interval)}"


# --- what paths say


def blank(template: str) -> str:
    """A template without the names of its parameters, and without a slash at its end."""
    return _PARAMETER.sub("{}", template).rstrip("/") or "/"


def versioned(template: str) -> tuple[tuple[int, ...], str]:
    """(version, the blank template with `{version}` in its place): `/api/v2/orders/{id}` is of version (2,), `/api/{version}/orders/{}`
    without it is `/api/orders/{}`; of gRPC `/shop.v1.Orders/Get` is `/shop.Orders/Get`. Of a template without a version: () and the blank template itself."""
    segments = blank(template).split("/")
    for at, segment in enumerate(segments[:5]):
        found = _VERSION.fullmatch(segment.lower()) or _DATE_VERSION.fullmatch(segment)
        if found:
            rest = "/".join(segments[:at] + segments[at + 1 :])
            return tuple(int(part) for part in found.groups() if part), rest or "/"
        package = _PACKAGE_VERSION.search(segment)
        if package:  # of gRPC
            segments[at] = segment[: package.start()] + segment[package.end() :]
            return (int(package[1]),), "/".join(segments)
    return (), "/".join(segments)


def _newer(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The later of two versions; none at all, where it is declared, is the present one."""
    return () if not a or not b else max(a, b)


def family(template: str) -> str:
    """What operations on one thing have in common: the path up to its first segment that is no mere structure, without a version."""
    segments = versioned(template)[1].split("/")[1:]
    for at, segment in enumerate(segments):
        if segment.lower() not in STRUCTURE:
            return "/" + "/".join(segments[: at + 1])
    return "/" + "/".join(segments)


def is_admin(endpoint: Endpoint) -> bool:
    """Whether the path, or the operation's name, is one of those for who runs a service."""
    words = _words(endpoint.template)
    name = endpoint.operation.lower()
    return any(word in _ADMIN for word in words) or any(part.startswith("admin") for part in regex(r"[^a-z]+").split(name))


def open_by_nature(template: str) -> bool:
    """Whether an operation is meant for those who have not signed in: sign-in, health, ..."""
    return not _OPEN_BY_NATURE.isdisjoint(_words(template))


def _words(template: str) -> Iterable[str]:
    return [segment.lower() for segment in template.split("/") if segment and "{" not in segment]


def _sensitive(endpoint: Endpoint) -> bool:
    return any(direction == "response" for direction, _, _ in endpoint.data_classes)


def identified(endpoint: Endpoint) -> float | None:
    """Share of its successful calls that had an identity, 0..1; None when they are too few to say."""
    succeeded = endpoint.identifiable
    if succeeded < 0:
        succeeded = sum(count for status, count in endpoint.statuses if 200 <= status < 300)
    return endpoint.authenticated if succeeded >= MIN_CALLS else None


def _bases(spoken: Sequence[Endpoint]) -> tuple[tuple[str, ...], ...]:
    """Base paths of specifications; where they do not say, what their templates have in common, if that is mere structure."""
    if not spoken:
        return ()
    said = {tuple(s for s in e.base.split("/") if s) for e in spoken if e.base}
    bare = [tuple(s for s in e.template.split("/") if s) for e in spoken if not e.base]
    if bare:
        common: list[str] = []
        for column in zip(*bare, strict=False):
            if any(other != column[0] for other in column) or "{" in column[0]:
                break
            common.append(column[0])
        # `/petstore/v2` and `/api` are bases; `/orders` may be all that a specification of the whole host has.
        while common and common[-1].lower() not in STRUCTURE and not _VERSION.fullmatch(common[-1].lower()):
            common.pop()
        said.add(tuple(common))
    return tuple(sorted(said))


def speaks(around: Surroundings, endpoint: Endpoint) -> bool:
    """Whether a specification of the service speaks for an operation's path."""
    return any(_speaks(base, endpoint.template) for base in around.bases)


def _speaks(base: tuple[str, ...], template: str) -> bool:
    """Whether a path is below a base, or would be in another version of it."""
    segments = [s for s in template.split("/") if s]
    if len(segments) < len(base):
        return False
    return all(
        want == have or (_VERSION.fullmatch(want.lower()) and _VERSION.fullmatch(have.lower()))
        for want, have in zip(base, segments, strict=False)
    )


def _ago(seconds: float) -> str:
    seconds = max(seconds, 0.0)
    for size, name in ((DAY, "days"), (3_600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"
