"""What detections and policies see: everything known about one call, nothing to fetch."""

from __future__ import annotations

from msgspec import Struct

from eastwall.model.call import Call, Phase
from eastwall.model.deviations import Deviation
from eastwall.model.endpoint import Match
from eastwall.model.identity import Identity
from eastwall.model.operation import Operation, Value


class ObjectUse(Struct, frozen=True):
    """A request names an object of a learned kind."""

    place: str
    kind: str
    key: int
    """Keyed 64-bit hash of (service, kind, value)."""
    shown: str
    """The value for the explanation, masked unless it is a plain number or uuid."""
    granted: bool
    """The actor was given this object before, or made it."""
    owners: int
    """How many other actors are known to hold it."""
    exclusive: bool
    """See ObjectParameter.exclusive."""
    confidence: float
    evidence: str
    by: str = "actor"
    """See ObjectParameter.by."""


class ForeignUse(Struct, frozen=True):
    """A request names an object that the caller itself was never given and did not make."""

    place: str
    kind: str
    key: int
    shown: str
    others: int
    """How many other actors hold it, without staff and the caller's tenant; -1: so many that the caller may be one of them."""
    tenant: bool
    """The caller's tenant holds it."""


class Property(Struct, frozen=True):
    """A property of a request body that its identity class never sent to this learned operation. Of an operation that is not known, or never had a
    body, only what gives `authority`."""

    place: str
    privileged: bool
    """Its name (or a part) means privilege or state: role, admin, is_*, verified, balance, price, status, owner, ..."""
    response_only: bool
    """Responses carry it, requests never did: read-only by behaviour."""
    declared: bool
    """The declared request schema has it."""
    learned_from: int
    """Clean calls with a body that this knowledge rests on."""
    resource_from: int = 0
    """Clean calls with a body of all operations of the resource, none of which had it either; 0: says nothing."""
    bodies: int = 0
    """Clean calls with a body by the class, at all operations of the service, none of which had a property of this name; 0: some did, or says nothing."""
    chance: float = 1.0
    """How likely it is by chance that the class's next body is the first with a property of this name."""
    authority: bool = False
    """Its value makes of somebody one of those who run the service: `role: admin`. Told of callers who are none of them."""


class FunctionUse(Struct, frozen=True):
    """A call of an operation that the caller's identity class does not use."""

    calls: int
    """Clean calls of the operation by other classes."""
    classes: tuple[str, ...]
    """Who does use it, most calls first."""
    expected: float
    """Calls that the caller's class would have made of it, had it used it as it uses the rest of the service."""
    privileged: bool
    """It is administrative by its path, or only classes with more authority use it."""
    ruled: bool = True
    """It is administrative by its path, or only those who run the service use it; False: staff do."""
    apart: bool = False
    """Only programs use it (service accounts, workloads), and the caller is a person."""
    chance: float = 1.0
    """How likely it is by chance alone that none of its calls came from a class of less authority, 0..1; 1: some did, or the caller's class hardly
    ever calls anything."""
    change_chance: float = 1.0
    """The same of what staff or programs alone change by it, 0..1, compared with all that they and the caller's class change; 1: it changes nothing, or
    the caller's class hardly ever does."""
    grants: bool = False
    """By its name too it is for those who run the service alone: it gives roles or permissions, or another's identity."""
    settled: bool = False
    """So much is known of what the caller's class does that its first use of one more operation is next to impossible by chance."""


class StepUse(Struct, frozen=True):
    """A step of a business flow out of its order, on an object that was seen being made."""

    place: str
    kind: str
    shown: str
    missing: str = ""
    """The operation that always comes before and did not; empty: nothing is missing, see `done`."""
    done: int = 0
    """How often this step, which is done once, was carried out on the object before."""
    objects: int = 0
    """Objects that the rule rests on."""


class ValueUse(Struct, frozen=True):
    """A number in a request that is outside what was learned for its place."""

    place: str
    value: float
    minimum: float
    maximum: float
    samples: int
    """Clean samples that the range rests on."""


class LoginWindow(Struct, frozen=True):
    """Failed sign-ins around this one (this call's own result is not in it), over the window."""

    window: float
    """Seconds."""
    source_failures: int
    """Failures from this source address."""
    source_accounts: int
    """Distinct accounts (hashed) tried and failed from this source."""
    account_failures: int
    """Failures of this account from anywhere."""
    account_sources: int
    """Distinct sources that failed on this account."""
    failure_share: float
    """Failed / all sign-ins of this endpoint in the window, 0..1."""


class DataHit(Struct, frozen=True):
    """A value of a data class, found and validated in a body."""

    data_class: str
    place: str
    """JSON place, or `body` in text."""
    masked: str
    """e.g. `************1111`: at most the last four."""
    direction: str = "request"
    """`request` or `response`: which message held it."""
    confidence: float = 1.0
    """0..1: 1 when a validator agreed, less when only the field's name or the form of the value says so."""


class Field(Struct, frozen=True, array_like=True):
    """The shape of one value: what a record keeps instead of the value."""

    place: str
    """`items[].price` in a body, `query.NAME`."""
    kind: str
    """JSON type."""
    format: str = ""
    data_class: str = ""
    length: int = 0
    """Characters, items or keys."""
    number: float | None = None
    """The value, for plain numbers of fields with no data class that are not ids (bounds learning); else None."""
    text: str = ""
    """The string itself where it may be one of an enumeration: a short word such as `PENDING` or `credit_card`, in a field that by its
    name and class is no secret, person or id; else empty. Longer or other text is never kept."""


class Facts(Struct, frozen=True):
    """Everything known about one call at one phase. Detections are pure functions of this."""

    call: Call
    phase: Phase
    operation: Operation
    """The request, or in the response phase the response message."""
    match: Match
    identity: Identity
    suspects: tuple[tuple[Value, frozenset[str]], ...] = ()
    """Values the prefilter hit, each with the pattern families (`sql`, `command`, `traversal`, ...) that hit it."""
    used: tuple[tuple[str, str, int, str], ...] = ()
    """Objects that the request names: (place, kind, key, value fit to show). Empty while the endpoint is unknown."""
    objects: tuple[ObjectUse, ...] = ()
    """Those of them that are of an exclusive kind."""
    new_properties: tuple[Property, ...] = ()
    login: LoginWindow | None = None
    """Set on operations that take credentials."""
    data: tuple[DataHit, ...] = ()
    amounts: tuple[tuple[str, int], ...] = ()
    """(data class, values of it in an answer's body), of the classes that some policy counts."""
    fields: tuple[Field, ...] = ()
    """Shape of the message; empty unless this call is sampled."""
    properties: tuple[str, ...] = ()
    """Property places of the request body (always, for bodies that are JSON or forms)."""
    given: tuple[tuple[str, int], ...] = ()
    """Response phase: (object kind, key) given to the caller."""
    uninspected: tuple[str, ...] = ()
    """Reasons why (a part of) this message was not inspected."""
    sampled: bool = False
    """The learner gets the shapes of this call: of the request, and then of its response."""
    echoed: tuple[int, ...] = ()
    """Indices of the path segments that an answer gave before; asked only while the endpoint is new."""
    audited: bool = False
    """Faults of the set-up (a banner, a missing header), which each call shows again, are looked for in this one."""
    function: FunctionUse | None = None
    """Set when the caller's class does not use this operation, and others do."""
    values: tuple[ValueUse, ...] = ()
    """Numbers outside their learned range."""
    steps: tuple[StepUse, ...] = ()
    """Steps out of their learned order."""
    unjudged: int = 0
    """Values of this message that the prefilter hit, or would have, and that no detection saw: more than one message is given."""
    deviations: tuple[Deviation, ...] = ()
    """How the message differs from learned behaviour, by the models of `behaviours`."""
    strange: tuple[tuple[int, int], ...] = ()
    """Objects of `used` that the caller was never given and did not make: (index in `used`, how many others hold it, 4 for more)."""
    foreign: tuple[ForeignUse, ...] = ()
    """Objects that the request names and that the caller itself, whatever its tenant holds, was never given; of operations that are not
    known yet too."""
