"""The facts of a recorded call, so that policies can be evaluated on what happened.

A record keeps who called what, what was found and which data passed, and no values: of headers, bodies, queries and claims nothing can be
told. Whatever reads such a value (a condition, a step of `evaluate`) raises `UnrecordedError`, so that nothing is ever guessed; conditions
may be assumed to hold, not to hold or to fail, one after the other, which tells whether it makes a difference.

Tests hold the attributes of the classes here to those of what they stand for, and to what the steps of `evaluate` read of `Facts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, cast
from urllib.parse import unquote

from eastwall.discovery.inventory import Inventory, identify
from eastwall.model.call import BodyState, Call, Peer, Phase, Request, Response
from eastwall.model.decision import ALLOWED, Decision
from eastwall.model.deviations import OwnerMismatch
from eastwall.model.facts import DataHit, Facts
from eastwall.model.finding import Finding
from eastwall.model.identity import Identity, Principal, Strength
from eastwall.model.operation import Operation
from eastwall.model.record import CallRecord
from eastwall.policy.expression_closures import UnrecordedError
from eastwall.policy.kinds import BUILTIN

__all__ = [
    "LISTED",
    "STOPPED",
    "Identities",
    "RecordedCall",
    "RecordedFacts",
    "UnrecordedError",
    "UnrecordedMap",
    "read_record",
]

STOPPED = frozenset(("block", "limit"))
_STATES = {
    "request-body-truncated": BodyState.TRUNCATED,
    "request-streamed": BodyState.STREAMED,
    "request-body-skipped": BodyState.SKIPPED,
}
LISTED = "owner-mismatch"
"""The detection whose findings may be about items of a list (`steps.detections`)."""
MAX_IDENTITIES = 50_000
USER_AGENT = 200
"""Characters of the `user-agent` header that a record keeps."""
STRENGTHS = {int(strength): strength for strength in Strength}


class UnrecordedMap(dict[str, Any]):
    """A map of which the record holds at most the names, and some values."""

    __slots__ = ("_names", "_what")

    def __init__(self, what: str, names: frozenset[str] | None = None, known: Mapping[str, Any] | None = None) -> None:
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
    def body(self) -> Any:
        return _Bytes(self._record.request_bytes) if self._record.body_kind != "none" else b""

    @property
    def body_state(self) -> BodyState:
        if self._record.body_kind == "none":
            return BodyState.NONE
        return next((state for reason, state in _STATES.items() if reason in self._record.uninspected), BodyState.COMPLETE)


class RecordedPeer:
    """A `Peer` of which the record is left."""

    __slots__ = ("address",)

    def __init__(self, address: str) -> None:
        self.address = address

    def __getattr__(self, name: str) -> NoReturn:
        raise UnrecordedError("records do not hold how the caller was connected")


class _Bytes:
    """A body of which only the length is known."""

    __slots__ = ("_length",)

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __bool__(self) -> bool:
        return self._length > 0

    def __getattr__(self, name: str) -> NoReturn:
        raise UnrecordedError("records do not hold bodies")

    def __getitem__(self, at: object) -> NoReturn:
        raise UnrecordedError("records do not hold bodies")

    def __iter__(self) -> NoReturn:
        raise UnrecordedError("records do not hold bodies")

    def __eq__(self, other: object) -> bool:
        raise UnrecordedError("records do not hold bodies")

    __hash__ = None  # type: ignore[assignment]


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
        record = self._record
        if record.body_kind == "none":
            return None
        method, _, tool = record.operation.partition(" ")
        if record.protocol == "mcp" and record.body_kind == "json" and method and "batch" not in record.traits:
            arguments = UnrecordedMap("arguments of tools")
            params = UnrecordedMap(
                "bodies", known={"name": tool, "arguments": arguments} if method == "tools/call" and tool else None
            )
            return UnrecordedMap("bodies", known={"method": method, "params": params})
        raise UnrecordedError("records do not hold bodies")

    @property
    def raw_body(self) -> Any:
        return _Bytes(self._record.request_bytes) if self._record.body_kind != "none" else b""

    @property
    def arguments(self) -> tuple[Any, ...]:
        if self._record.body_kind == "none":
            return ()
        raise UnrecordedError("records do not hold bodies")

    @property
    def faults(self) -> Any:
        raise UnrecordedError("records do not hold how messages were read")


class RecordedResponse:
    """A `Response` of which the record is left. What was sent in place of an answer that was held back says nothing of it."""

    __slots__ = ("_record", "status")

    def __init__(self, record: CallRecord) -> None:
        self._record, self.status = record, record.status

    @property
    def headers(self) -> UnrecordedMap:
        return UnrecordedMap("values of headers", known={"content-length": str(self._record.response_bytes)})

    @property
    def body(self) -> Any:
        return _Bytes(self._record.response_bytes)

    @property
    def body_state(self) -> BodyState:
        return BodyState.COMPLETE if self._record.response_bytes else BodyState.NONE


class RecordedAnswer:
    """An `Operation` of an answer of which the record is left."""

    __slots__ = ("_record",)

    def __init__(self, record: CallRecord) -> None:
        self._record = record

    @property
    def protocol(self) -> str:
        return self._record.protocol

    @property
    def body_kind(self) -> str:
        return self._record.response_kind

    @property
    def raw_body(self) -> Any:
        return _Bytes(self._record.response_bytes)

    @property
    def body(self) -> Any:
        if self._record.response_kind == "none":
            return None
        raise UnrecordedError("records do not hold bodies")

    def __getattr__(self, name: str) -> NoReturn:
        raise UnrecordedError(f"records do not hold the {name.replace('_', ' ')} of answers")


class RecordedFacts(Facts, frozen=True):
    """Facts of a recorded call."""

    assumed: dict[str, bool | None] = {}  # noqa: RUF012 - msgspec copies it
    """Text of a condition that cannot be judged -> what is tried for it; None: that it cannot be evaluated."""

    @property  # type: ignore[misc]
    def amounts(self) -> tuple[tuple[str, int], ...]:
        raise UnrecordedError("records do not hold how many values an answer has")

    def assume(self, condition: str, why: str) -> bool | None:
        """What is assumed of a condition that cannot be judged. Raises UnrecordedError when nothing is."""
        if condition in self.assumed:
            return self.assumed[condition]
        raise UnrecordedError(why, condition) from None


class RecordedCall:
    """One recorded call, as `evaluate` wants it."""

    __slots__ = ("answered", "data", "findings", "record", "request", "response_findings")

    def __init__(self, record: CallRecord, request: RecordedFacts) -> None:
        self.record, self.request = record, request
        findings = record.findings
        self.findings: tuple[Finding, ...] = tuple([one for one in findings if one.phase != "response"]) if findings else ()
        self.response_findings: tuple[Finding, ...] = (
            tuple([one for one in findings if one.phase == "response"]) if findings else ()
        )
        self.data: tuple[DataHit, ...] = tuple([hit for hit in record.data if hit.direction != "request"]) if record.data else ()
        """Data in the answer."""
        self.answered = record.action not in STOPPED or bool(self.data or self.response_findings)
        """There was an answer that was looked at."""

    def response(self, *, listed: bool = False) -> RecordedFacts:
        """Facts of the answer. `listed`: as one of which the items that are others' can be taken out; which ones is not recorded."""
        request, record = self.request, self.record
        asked = request.call
        prior = Decision(asked.id, Phase.REQUEST, request.match, request.identity, request, (), ALLOWED)
        answer = cast("Response", RecordedResponse(record))
        places = [one.where for one in self.response_findings if one.id == LISTED] if listed else ()
        return RecordedFacts(
            call=Call(asked.id, asked.service, asked.time, asked.peer, asked.request, answer, prior),
            phase=Phase.RESPONSE,
            operation=cast("Operation", RecordedAnswer(record)),
            match=request.match,
            identity=request.identity,
            data=self.data,
            fields=record.response_fields,
            given=record.given,
            sampled=record.sampled,
            deviations=tuple([OwnerMismatch(place, claim="", shown="", equal=0, of=0, items=((),)) for place in places]),
            assumed=request.assumed,
        )

    def cut(self) -> bool | None:
        """Whether an answer with others' items is a list that can be cut; None: nothing tells."""
        for match in self.record.matches:
            if match.action == "filter":
                return True
            if match.action == "block" and match.finding == LISTED and match.policy.startswith(BUILTIN):
                return False  # the built-in policy cuts what can be cut
        return None


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
    call = Call(
        record.id,
        record.service,
        record.time,
        cast("Peer", RecordedPeer(record.source)),
        cast("Request", RecordedRequest(record)),
    )
    request = RecordedFacts(
        call=call,
        phase=Phase.REQUEST,
        operation=operation,
        match=identify(record.service, operation, inventory),
        identity=identities.of(record),
        used=tuple([(place, kind, key, "") for place, kind, key in record.used]) if record.used else (),
        data=tuple([hit for hit in record.data if hit.direction == "request"]) if record.data else (),
        fields=record.request_fields,
        properties=record.properties,
        sampled=record.sampled,
    )
    return RecordedCall(record, request)
