"""What is counted for one endpoint, and the `Endpoint` that follows from it.

`Profile.fold` is over 60 lines: each count is folded, merged, dumped, loaded and published, in that order, so that none is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from zlib import crc32

from msgspec import Struct

from eastwall.behaviours.sketch import Distinct, hash64
from eastwall.discovery.shapes import ABSENT
from eastwall.learning.class_properties import ClassProperties
from eastwall.learning.functions import Users
from eastwall.learning.habits import Habits
from eastwall.learning.schema import SchemaState
from eastwall.model.facts import Field
from eastwall.model.record import CallRecord

MAX_STATUSES = 40
MAX_SCHEMAS = 12
"""Response schemas, one per status."""
MAX_CLASSES = 32
"""Identity classes kept apart; the one with the fewest calls leaves for a new one, so that made-up roles do not keep out real ones."""
MAX_USES = 64
"""Places in query and body that name objects. When there are more, the quarter used least leaves."""
MAX_TRAITS = 16
MAX_SELECTION = 500
"""GraphQL field paths of one operation. When there are more, the quarter asked for least leaves."""
MAX_DOUBTS = 500
"""Places whose data class rests on less than a validator."""
MAX_MEDIA = 4
"""Media types of one message."""
MAX_KINDS = 8
"""Kinds of request bodies."""
MAX_EXAMPLES = 8
"""Paths kept to find the endpoint again when templates change: those with the lowest checksums."""
LONG_PLACE = 256
"""Characters of a place that tell whether it is one of a password: the last ones."""

_WITHOUT_HEADERS = frozenset({"access-log", "otlp", "envoy-als", "lines", "import"})
"""Origins of records that cannot tell an identity that there was."""
_PASSWORDS = frozenset({"password", "passwd", "pwd", "passphrase", "pass", "pin", "passcode", "secret"})
_NEW_PASSWORDS = ("new", "confirm", "repeat", "again", "old", "current", "verify")


class LearningWindow(Struct, frozen=True):
    """When an endpoint is `learned`. The defaults are reached by a minute of a demo's traffic; raise them for real services."""

    calls: int = 20
    """Clean calls at least."""
    actors: int = 2
    """Distinct actors at least; not asked for when there are `lone_calls` clean calls (a service that one workload calls)."""
    lone_calls: int = 200
    seconds: float = 10.0
    """From the first to the last call at least."""


def _unauthenticated(record: CallRecord) -> bool:
    """Whether the call was found to lack authentication: enough of such calls would else make it look unneeded. An analyst's "this was fine"
    lowers the finding, and the call counts."""
    return any(finding.id == "missing-authentication" and finding.suspicious for finding in record.findings)


def _objected(record: CallRecord) -> bool:
    """Whether a SchemaPolicy found the call other than its schema says, enforced or on trial: what it objects to once must not be known by
    the second time, or `monitor` would show less than `enforce` does."""
    return any(match.kind == "SchemaPolicy" and match.action != "allow" for match in record.matches)


def doubt(direction: str, place: str, data_class: str) -> str:
    """A key of `Profile.doubts`."""
    return f"{direction}\0{place}\0{data_class}"


class Profile:
    """Counts of one endpoint. `merge` adds; nothing depends on the order of records."""

    __slots__ = (
        "actors",
        "authenticated",
        "bodies",
        "calls",
        "classes",
        "clean",
        "deprecations",
        "doubts",
        "examples",
        "findings",
        "first",
        "habits",
        "key",
        "kinds",
        "last",
        "media",
        "method",
        "operation",
        "passwords",
        "plain",
        "protocol",
        "query",
        "refused",
        "request",
        "responses",
        "selection",
        "statuses",
        "succeeded",
        "template",
        "traits",
        "users",
        "uses",
    )

    def __init__(self, key: str, method: str, template: str, protocol: str = "rest", operation: str = "") -> None:
        self.key = key
        """Endpoint id."""
        self.method = method
        self.protocol = protocol
        self.operation = operation
        self.template = template
        """The template, or the path itself as long as none is known."""
        self.examples: dict[str, int] = {}
        """path -> its checksum."""
        self.calls = 0
        self.clean = 0
        """Calls without findings that were let through and answered 2xx."""
        self.plain = 0
        """Of `clean`, those in plain REST."""
        self.first = 0.0
        self.last = 0.0
        self.statuses: dict[int, int] = {}
        self.actors = Distinct()
        self.succeeded = 0
        self.authenticated = 0
        """Of `succeeded`, those with an identity."""
        self.bodies = 0
        """Calls with properties in the body, whatever came of them."""
        self.passwords = 0
        """Of `bodies`, those with a password to sign in with."""
        self.refused = 0
        """Of `passwords`, those answered 401 or 403."""
        self.classes: dict[str, ClassProperties] = {}
        self.uses: dict[str, dict[str, int]] = {}
        """place -> object kind -> clean calls."""
        self.request = SchemaState()
        self.query = SchemaState()
        self.responses: dict[int, SchemaState] = {}
        self.traits: set[str] = set()
        self.selection: dict[str, int] = {}
        """GraphQL field path -> clean calls that asked for it."""
        self.kinds: set[str] = set()
        self.media: dict[int, set[str]] = {}
        """Status (0: the request) -> media types."""
        self.doubts: dict[str, int] = {}
        """`direction place class` of data that no validator agreed to (a name alone tells a person's name) -> the surest hit, percent."""
        self.findings: dict[str, int] = {}
        """Severity -> findings."""
        self.deprecations = 0
        """Answers that said the endpoint is deprecated."""
        self.habits = Habits()
        self.users = Users()

    def fold(self, record: CallRecord) -> bool:
        """Add one call; True when it was clean."""
        time, status = record.time, record.status
        if not self.calls or time < self.first:
            self.first = time
        if time > self.last:
            self.last = time
        self.calls += 1
        # What a policy answered in its place is no answer of the endpoint.
        if record.action in ("allow", "redact") and (status in self.statuses or len(self.statuses) < MAX_STATUSES):
            self.statuses[status] = self.statuses.get(status, 0) + 1
        # GraphQL, gRPC, JSON-RPC and SOAP answer their errors with 200.
        success = 200 <= status < 300 and "fault" not in record.traits
        # A log without headers says nothing of who called, nor does a record of a call that no engine saw.
        told = record.strength or (record.origin not in _WITHOUT_HEADERS and not _unauthenticated(record))
        if (success or status == 101) and record.actor and told:
            self.succeeded += 1
            if record.strength:
                self.authenticated += 1
        if record.properties and record.action != "block":
            self.bodies += 1
            if _takes_password(record.properties):
                self.passwords += 1
                if status in (401, 403):
                    self.refused += 1
        findings = record.findings
        unsuspicious = record.action == "allow" and not (findings and any(finding.suspicious for finding in findings))
        if unsuspicious and record.matches:
            unsuspicious = not _objected(record)
        if success and record.action == "allow":
            self.habits.fold(record)
        if record.traits:
            self._traits(record.traits)
        if record.data:
            for hit in record.data:
                if hit.confidence < 1.0:
                    self._doubt(doubt(hit.direction, hit.place, hit.data_class), int(hit.confidence * 100))
        if findings:
            for finding in findings:
                self.findings[finding.severity] = self.findings.get(finding.severity, 0) + 1
        if record.deprecation:
            self.deprecations += 1
        actor = hash64(record.actor) if record.actor and unsuspicious else None
        if actor is not None:
            self.actors.add(actor)
        if unsuspicious and record.response_fields and (status in self.responses or len(self.responses) < MAX_SCHEMAS):
            schema = self.responses.get(status)
            if schema is None:
                schema = self.responses[status] = SchemaState()
            schema.fold(record.response_fields, time)
            if record.response_type not in self.media.get(status, ()):
                self._media(status, (record.response_type,))
        if not (success and unsuspicious):
            return False
        self.clean += 1
        if actor is not None:
            self.users.fold(record.actor_class, actor)
        if record.protocol == "rest":
            self.plain += 1
        if record.sampled or record.request_fields:
            self._request(record.request_fields, time)
            if record.request_type not in self.media.get(0, ()):
                self._media(0, (record.request_type,))
        if record.properties:
            self._properties(record)
        if record.body_kind not in self.kinds and record.body_kind not in ("", "none", "unread"):
            self._kinds((record.body_kind,))
        if record.selection:
            for path in record.selection:
                self._select(path, 1)
        if record.used:
            for place, kind, _ in record.used:
                if not place.startswith("path."):
                    self._use(place, kind, 1)
        return True

    def example(self, path: str) -> None:
        """Remember the path, if it is one of those to keep."""
        if path not in self.examples:
            checksum = crc32(path.encode("utf-8", "surrogatepass"))
            if len(self.examples) >= MAX_EXAMPLES:
                if checksum > max(self.examples.values()):
                    return
                highest, worst = max([(known, other) for other, known in self.examples.items()])
                if (checksum, path) > (highest, worst):
                    return
                del self.examples[worst]
            self.examples[path] = checksum

    def merge(self, other: Profile) -> None:
        """Add what another profile has counted."""
        if other.calls:
            self.first = min(self.first, other.first) if self.calls else other.first
            self.last = max(self.last, other.last)
        for path in other.examples:
            self.example(path)
        for status, count in other.statuses.items():
            if status in self.statuses or len(self.statuses) < MAX_STATUSES:
                self.statuses[status] = self.statuses.get(status, 0) + count
        self.calls += other.calls
        self.clean += other.clean
        self.plain += other.plain
        self.succeeded += other.succeeded
        self.authenticated += other.authenticated
        self.bodies += other.bodies
        self.passwords += other.passwords
        self.refused += other.refused
        self.actors.merge(other.actors)
        for name, theirs in other.classes.items():
            self._class(name, theirs.calls).merge(theirs)
        for place, kinds in other.uses.items():
            for kind, count in kinds.items():
                self._use(place, kind, count)
        self._traits(other.traits)
        self._kinds(other.kinds)
        self.deprecations += other.deprecations
        for key, percent in other.doubts.items():
            self._doubt(key, percent)
        for status, types in other.media.items():
            self._media(status, types)
        for severity, count in other.findings.items():
            self.findings[severity] = self.findings.get(severity, 0) + count
        for path, count in other.selection.items():
            self._select(path, count)
        self.habits.merge(other.habits)
        self.users.merge(other.users)
        self.request.merge(other.request)
        self.query.merge(other.query)
        for status, schema in other.responses.items():
            if status in self.responses or len(self.responses) < MAX_SCHEMAS:
                self.responses.setdefault(status, SchemaState()).merge(schema)

    def status(self, window: LearningWindow) -> str:
        """`learned` or `learning`."""
        enough = self.clean >= window.calls and self.last - self.first >= window.seconds
        crowd = self.actors.count() >= window.actors or self.clean >= window.lone_calls
        return "learned" if enough and crowd else "learning"

    def spoken(self) -> str:
        """The protocol. Of a path as a whole plain REST when that is the most of it: any caller can send a header of another."""
        return "rest" if not self.operation and self.plain * 2 > self.clean else self.protocol

    def login(self) -> bool:
        """Whether it takes credentials: most bodies hold a password, and it refuses some with 401/403 or has none to refuse yet.

        A registration holds a password too, but creates something (201).
        """
        if self.method not in ("POST", "PUT") or self.passwords * 2 <= self.bodies:
            return False
        return self.refused > 0 or (self.succeeded > 0 and not self.statuses.get(201))

    def sample_every(self) -> int:
        """1 while there are few calls; then fewer, and fewer still once no schema changed for a minute (or a tenth of the time known).

        Shaping a message costs as much as all the rest of judging it, so a busy endpoint is never sampled whole for long.
        """
        schemas = (self.request, self.query, *self.responses.values())
        settled = self.last - max(schema.changed for schema in schemas)
        if self.calls < 200:
            return 1
        changing = settled < max(60.0, (self.last - self.first) / 10)
        if self.calls < 2_000:
            return 2 if changing else 8
        return 8 if changing else 32

    def _traits(self, traits: Iterable[str]) -> None:
        if self.traits.issuperset(traits):
            return
        self.traits.update(traits)
        if len(self.traits) > MAX_TRAITS:
            self.traits = set(sorted(self.traits)[:MAX_TRAITS])

    def _kinds(self, kinds: Iterable[str]) -> None:
        self.kinds.update(kinds)
        if len(self.kinds) > MAX_KINDS:
            self.kinds = set(sorted(self.kinds)[:MAX_KINDS])

    def _doubt(self, key: str, percent: int) -> None:
        known = self.doubts.get(key)
        if known is None and len(self.doubts) >= MAX_DOUBTS:
            return
        if known is None or percent > known:
            self.doubts[key] = percent

    def _media(self, status: int, types: Iterable[str]) -> None:
        known = self.media.get(status)
        if known is None:
            if len(self.media) > MAX_SCHEMAS:
                return
            known = self.media[status] = set()
        known.update(filter(None, types))
        if len(known) > MAX_MEDIA:
            self.media[status] = set(sorted(known)[:MAX_MEDIA])

    def _select(self, path: str, count: int) -> None:
        known = self.selection.get(path)
        if known is None and len(self.selection) >= MAX_SELECTION:
            kept = sorted(self.selection, key=lambda p: (-self.selection[p], p))[: MAX_SELECTION * 3 // 4]
            self.selection = {p: self.selection[p] for p in kept}
        self.selection[path] = (known or 0) + count

    def _use(self, place: str, kind: str, count: int) -> None:
        kinds = self.uses.get(place)
        if kinds is None:
            if len(self.uses) >= MAX_USES:
                kept = sorted(self.uses, key=lambda p: (-sum(self.uses[p].values()), p))[: MAX_USES * 3 // 4]
                self.uses = {p: self.uses[p] for p in kept}
            kinds = self.uses[place] = {}
        kinds[kind] = kinds.get(kind, 0) + count

    def _request(self, fields: tuple[Field, ...], time: float) -> None:
        body: list[Field] = []
        query: list[Field] = []
        for field in fields:
            if field.place[:6] != "query.":
                body.append(field)
            elif field.kind != ABSENT:
                query.append(field)
        if body:
            self.request.fold(body, time)
        self.query.fold(query, time)

    def _properties(self, record: CallRecord) -> None:
        self._class(record.actor_class, 1).fold(record.properties, hash64(record.actor))

    def _class(self, name: str, calls: int) -> ClassProperties:
        """A class that is about to get `calls`; when it is one too many and has the fewest, it is not kept."""
        found = self.classes.get(name)
        if found is None:
            found = ClassProperties()
            if len(self.classes) >= MAX_CLASSES:
                least = min(self.classes, key=lambda key: (self.classes[key].calls, key))
                if self.classes[least].calls > calls:
                    return found
                del self.classes[least]
            self.classes[name] = found
        return found

    def dump(self) -> list[Any]:
        """Plain data for `load`."""
        return [
            self.key,
            self.method,
            self.template,
            list(self.examples),
            self.calls,
            self.clean,
            self.first,
            self.last,
            self.statuses,
            list(self.actors.hashes),
            self.succeeded,
            self.authenticated,
            self.bodies,
            self.passwords,
            self.refused,
            {name: [c.calls, list(c.actors), c.places] for name, c in self.classes.items()},
            self.uses,
            self.request.dump(),
            self.query.dump(),
            {status: schema.dump() for status, schema in self.responses.items()},
            self.protocol,
            self.operation,
            sorted(self.traits),
            self.selection,
            sorted(self.kinds),
            self.deprecations,
            self.findings,
            {status: sorted(types) for status, types in self.media.items()},
            self.doubts,
            self.plain,
            self.habits.dump(),
            self.users.dump(),
        ]

    @classmethod
    def load(cls, data: Any) -> Profile:
        state = cls(data[0], data[1], data[2], data[20], data[21])
        for path in data[3]:
            state.example(path)
        (state.calls, state.clean, state.first, state.last, state.statuses) = data[4:9]
        state.actors = Distinct(set(data[9]))
        (state.succeeded, state.authenticated, state.bodies, state.passwords, state.refused) = data[10:15]
        for name, (calls, actors, places) in data[15].items():
            entry = state.classes[name] = ClassProperties()
            entry.calls, entry.actors, entry.places = calls, set(actors), places
        state.uses = data[16]
        state.request, state.query = SchemaState.load(data[17]), SchemaState.load(data[18])
        state.responses = {status: SchemaState.load(schema) for status, schema in data[19].items()}
        state.traits, state.selection, state.kinds, state.deprecations = set(data[22]), data[23], set(data[24]), data[25]
        state.doubts = data[28]
        state.findings, state.media = data[26], {status: set(types) for status, types in data[27].items()}
        state.plain, state.habits, state.users = data[29], Habits.load(data[30]), Users.load(data[31])
        return state


def _takes_password(places: tuple[str, ...]) -> bool:
    found = False
    for place in places:
        told = _password(place if len(place) <= LONG_PLACE else place[-LONG_PLACE:])
        if told:
            if told < 0:
                return False
            found = True
    return found


@lru_cache(maxsize=4_096)
def _password(place: str) -> int:
    """1 for a place of a password, -1 for one of another than that to sign in with, else 0."""
    leaf = place.rpartition(".")[2].lower()
    if leaf in _PASSWORDS:
        return 1
    if "passw" in leaf or "pwd" in leaf:
        return -1 if leaf.startswith(_NEW_PASSWORDS) or leaf.endswith(_NEW_PASSWORDS) else 1
    return 0
