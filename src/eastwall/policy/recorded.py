"""The facts of a recorded call, so that policies can be evaluated on what happened.

A record keeps who called what, what was found and which data passed, and no values: of headers, bodies, queries and claims nothing can be
told. Whatever reads such a value (a condition, a step of `evaluate`) raises `UnrecordedError`, so that nothing is ever guessed; conditions
may be assumed to hold, not to hold or to fail, one after the other, which tells whether it makes a difference.

A test holds the names of the attributes of `RecordedRequest` and `RecordedOperation` to those of `Request` and `Operation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, cast
from urllib.parse import unquote

from msgspec.structs import replace

from eastwall.discovery.inventory import Inventory, identify
from eastwall.model.call import Call, Peer, Phase, Request, Response
from eastwall.model.decision import ALLOWED, Decision
from eastwall.model.deviations import OwnerMismatch
from eastwall.model.facts import DataHit, Facts
from eastwall.model.finding import Finding
from eastwall.model.identity import Identity, Principal, Strength
from eastwall.model.operation import Operation
from eastwall.model.record import CallRecord
from eastwall.policy.expression_closures import UnrecordedError

__all__ = [
    "LISTED",
    "Identities",
    "RecordedCall",
    "RecordedFacts",
    "UnrecordedError",
    "UnrecordedMap",
    "cut",
    "read_record",
    "was_cut",
]

LISTED = "owner-mismatch"
"""The detection whose findings may be about items of a list (`steps.detections`)."""
MAX_IDENTITIES = 50_000
USER_AGENT = 200
"""Characters of the `user-agent` header that a record keeps."""
STRENGTHS = {int(strength): strength for strength in Strength}


class UnrecordedMap(dict[str, Any]):
    """A map of which the record holds at most the names, and some values."""

    __slots__ = ("_names", "_what")

    def __init__(self, what: str, names: frozenset[str] | None = None, known: Mapping[str, str] | None = None) -> None:
        """`names`: all that there are; None: not recorded."""
        super().__init__(known or {})
        self._what, self._names = what, names

    def whole(self) -> NoReturn:
        raise UnrecordedError(f"records do not hold {self._what}")

    def __contains__(self, name: object) -> bool:
        if super().__contains__(name):
            return True
        if self._names is None:
            self.whole()
        return name in self._names

    def __getitem__(self, name: str) -> Any:
        if super().__contains__(name):
            return super().__getitem__(name)
        if self._names is None or name in self._names:
            self.whole()
        raise KeyError(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401 - this is what `get` does

    def __iter__(self) -> Iterator[str]:
        self.whole()

    def __len__(self) -> int:
        self.whole()

    def __eq__(self, other: object) -> bool:
        self.whole()

    def keys(self) -> Any:
        self.whole()

    def items(self) -> Any:
        self.whole()

    def values(self) -> Any:
        self.whole()


class RecordedRequest:
    """A `Request` of which the record is left."""

    __slots__ = ("_record", "authority", "method")

    def __init__(self, record: CallRecord) -> None:
        self._record, self.method, self.authority = record, record.method, record.authority

    @property
    def path(self) -> str:
        if self._record.query_names:
            raise UnrecordedError("records do not hold values of the query")
        return self._record.path

    @property
    def headers(self) -> UnrecordedMap:
        agent = self._record.user_agent
        return UnrecordedMap("values of headers", known={"user-agent": agent} if 0 < len(agent) < USER_AGENT else None)

    @property
    def scheme(self) -> str:
        raise UnrecordedError("records do not hold the scheme")

    @property
    def body(self) -> bytes:
        if self._record.body_kind == "none":
            return b""
        raise UnrecordedError("records do not hold bodies")

    @property
    def body_state(self) -> Any:
        raise UnrecordedError("records do not hold bodies")


class RecordedOperation:
    """An `Operation` of which the record is left: the request's."""

    __slots__ = ("_record", "method", "path", "segments")

    def __init__(self, record: CallRecord) -> None:
        self._record, self.method, self.path = record, record.method, record.path
        self.segments = tuple([unquote(part) for part in record.path.strip("/").split("/")]) if record.path.strip("/") else ()

    @property
    def protocol(self) -> str:
        return self._record.protocol

    @property
    def name(self) -> str:
        return self._record.operation

    @property
    def traits(self) -> tuple[str, ...]:
        return self._record.traits

    @property
    def selection(self) -> tuple[str, ...]:
        return self._record.selection

    @property
    def body_kind(self) -> str:
        return self._record.body_kind

    @property
    def query(self) -> Any:
        names = self._record.query_names
        # Of a name that comes twice it is not known whether its values are the same, and so whether there is one at all.
        return UnrecordedMap("values of the query", frozenset(names) if len(set(names)) == len(names) else None) if names else ()

    @property
    def body(self) -> Any:
        if self._record.body_kind == "none":
            return None
        raise UnrecordedError("records do not hold bodies")

    @property
    def raw_body(self) -> bytes:
        return cast("bytes", self.body or b"")

    @property
    def arguments(self) -> tuple[Any, ...]:
        return cast("tuple[Any, ...]", self.body or ())

    @property
    def faults(self) -> Any:
        raise UnrecordedError("records do not hold how messages were read")


class _Answer:
    """A `Response` of which the record is left."""

    __slots__ = ("status",)

    def __init__(self, status: int) -> None:
        self.status = status

    def __getattr__(self, name: str) -> NoReturn:
        raise UnrecordedError(f"records do not hold the {name} of answers")


class _AnswerOperation:
    """The operation of an answer; a data policy or a finding speaks of it without reading it."""

    __slots__ = ("_record",)

    def __init__(self, record: CallRecord) -> None:
        self._record = record

    @property
    def protocol(self) -> str:
        return self._record.protocol

    @property
    def body_kind(self) -> str:
        return self._record.response_kind

    def __getattr__(self, name: str) -> NoReturn:
        raise UnrecordedError(f"records do not hold the {name} of answers")


class RecordedFacts(Facts, frozen=True):
    """Facts of a recorded call."""

    assumed: dict[str, bool | None] = {}  # noqa: RUF012 - msgspec copies it
    """Text of a condition that cannot be judged -> what is tried for it; None: that it cannot be evaluated."""

    def assume(self, condition: str, why: str) -> bool | None:
        """What is assumed of a condition that cannot be judged. Raises UnrecordedError when nothing is."""
        if condition in self.assumed:
            return self.assumed[condition]
        raise UnrecordedError(why, condition) from None


class RecordedCall:
    """One recorded call, as `evaluate` wants it."""

    __slots__ = ("findings", "record", "request", "response", "response_findings")

    def __init__(
        self,
        record: CallRecord,
        request: RecordedFacts,
        findings: tuple[Finding, ...],
        response: RecordedFacts | None,
        response_findings: tuple[Finding, ...],
    ) -> None:
        self.record = record
        self.request, self.findings = request, findings
        self.response, self.response_findings = response, response_findings
        """None and empty: there is nothing in the answer that a policy could be about."""


class Identities:
    """Identities by what records say of them: most calls come from few callers."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Any, Identity] = {}

    def of(self, record: CallRecord) -> Identity:
        key = (record.actor, record.actor_class, record.principals, record.roles, record.scopes, record.tenant, record.strengths,
               record.agent, record.human, record.caller, record.identity_faults)  # fmt: skip
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MAX_IDENTITIES:
                self._known.clear()
            found = self._known[key] = _identity(record)
        return found


def _identity(record: CallRecord) -> Identity:
    chain = []
    for number, principal in enumerate(record.principals):
        kind, _, name = principal.partition(":")
        strength = record.strengths[number] if number < len(record.strengths) else 0
        chain.append(Principal(kind, name, STRENGTHS.get(strength, Strength.NONE)))
    strength = STRENGTHS.get(record.strength, Strength.NONE)
    return Identity(
        actor=record.actor,
        kind=record.actor_kind,
        strength=strength,
        cls=record.actor_class,
        chain=tuple(chain),
        roles=record.roles,
        scopes=record.scopes,
        tenant=record.tenant,
        claims=_claims(record, chain),
        faults=record.identity_faults,
        agent=record.agent,
        human=record.human,
        workload=record.caller,
    )


def _claims(record: CallRecord, chain: list[Principal]) -> dict[str, str]:
    """No claims where there was no token; else the subject where the actor's name must be it (`discovery.identity`)."""
    kinds = {principal.kind for principal in chain}
    name = record.actor.partition(":")[2]
    if record.actor_kind == "user":
        users = [principal for principal in chain if principal.kind == "user"]
        # Who acts for somebody is the subject of some tokens, and a proxy may vouch for another user than the token beside it names.
        acts = any(principal.kind == "agent" and principal.strength == record.strength for principal in chain)
        beside = record.strength == Strength.ASSERTED and "client" in kinds
        if len(users) == 1 and not acts and not beside and "|" not in name:
            return UnrecordedMap("claims", known={"sub": name})
        return UnrecordedMap("claims")
    tokens = any(fault.startswith("jwt-") for fault in record.identity_faults)
    spiffe = all(principal.name.startswith("spiffe://") for principal in chain if principal.kind == "workload")
    if kinds <= {"address", "key"} and not tokens:
        return {}
    if kinds <= {"address", "workload"} and spiffe and len([p for p in chain if p.kind == "workload"]) == 1:
        return UnrecordedMap("claims", known={"sub": name})  # a certificate's name, or the subject of a JWT-SVID: the same
    return UnrecordedMap("claims")


def read_record(record: CallRecord, inventory: Inventory, identities: Identities) -> RecordedCall:
    """A record's facts. `inventory`: the endpoints as they are known now, which the plan would go by."""
    operation = cast("Operation", RecordedOperation(record))
    identity = identities.of(record)
    match = identify(record.service, operation, inventory)
    call = Call(record.id, record.service, record.time, Peer(record.source), cast("Request", RecordedRequest(record)))
    data, findings = record.data, record.findings
    asked: tuple[DataHit, ...] = ()
    answered: tuple[DataHit, ...] = ()
    found: tuple[Finding, ...] = ()
    told: tuple[Finding, ...] = ()
    if data:
        asked = tuple([hit for hit in data if hit.direction == "request"])
        answered = tuple([hit for hit in data if hit.direction != "request"])
    if findings:
        found = tuple([one for one in findings if one.phase != "response"])
        told = tuple([one for one in findings if one.phase == "response"])
    used = tuple([(place, kind, key, "") for place, kind, key in record.used]) if record.used else ()
    request = RecordedFacts(
        call=call,
        phase=Phase.REQUEST,
        operation=operation,
        match=match,
        identity=identity,
        used=used,
        data=asked,
        fields=record.request_fields,
        properties=record.properties,
        sampled=record.sampled,
    )
    response = _response(record, request, answered, told) if answered or told else None
    return RecordedCall(record, request, found, response, told)


def _response(record: CallRecord, request: RecordedFacts, data: tuple[DataHit, ...], told: tuple[Finding, ...]) -> RecordedFacts:
    asked = request.call
    prior = Decision(asked.id, Phase.REQUEST, request.match, request.identity, request, (), ALLOWED)
    answer = cast("Response", _Answer(record.status))
    call = Call(asked.id, asked.service, asked.time, asked.peer, asked.request, answer, prior)
    return RecordedFacts(
        call=call,
        phase=Phase.RESPONSE,
        operation=cast("Operation", _AnswerOperation(record)),
        match=request.match,
        identity=request.identity,
        data=data,
        fields=record.response_fields,
        given=record.given,
        sampled=record.sampled,
    )


def cut(call: RecordedCall) -> RecordedFacts:
    """The answer as one of which a list's items that are others' can be taken out: which ones is not recorded."""
    assert call.response is not None
    places = [one.where for one in call.response_findings if one.id == LISTED]
    items = tuple([OwnerMismatch(place=place, claim="", shown="", equal=0, of=0, items=((),)) for place in places])
    return replace(call.response, deviations=items)


def was_cut(record: CallRecord) -> bool | None:
    """Whether an answer with others' items is a list that can be cut; None: nothing tells."""
    if any(match.action == "filter" for match in record.matches):
        return True
    if any(
        match.action == "block" and match.finding == LISTED and match.policy.startswith("builtin/") for match in record.matches
    ):
        return False  # the built-in policy cuts what can be cut
    return None
