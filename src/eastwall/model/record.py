"""The record of a completed call: what spool, lake and learner get. Holds shapes, sizes, hashes and classes, no bodies."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from eastwall.model.decision import PolicyMatch
from eastwall.model.facts import DataHit, Field
from eastwall.model.finding import Finding

RECORD_VERSION = 1


class CallRecord(Struct, frozen=True, array_like=True):
    """One completed call. Field order is the wire format: append only, and give each new field a default."""

    version: int
    id: str
    """Event id."""
    time: float
    """Request start, Unix seconds."""
    service: str
    method: str
    path: str
    """Path without query, as sent (an access log holds the same). Query values are never kept."""
    authority: str
    status: int
    """As sent to the caller; 0: none was."""
    request_bytes: int
    response_bytes: int
    duration_us: int
    source: str
    """IP address of the direct peer."""
    endpoint: str = ""
    """Endpoint id at decision time; empty when unknown then."""
    template: str = ""
    actor: str = ""
    actor_kind: str = ""
    actor_class: str = ""
    strength: int = 0
    """Strength value."""
    principals: tuple[str, ...] = ()
    """`kind:name` of the chain."""
    roles: tuple[str, ...] = ()
    identity_faults: tuple[str, ...] = ()
    body_kind: str = ""
    response_kind: str = ""
    """Body kind of the response; empty when not inspected."""
    query_names: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    """Property places of the request body."""
    sampled: bool = False
    request_fields: tuple[Field, ...] = ()
    response_fields: tuple[Field, ...] = ()
    used: tuple[tuple[str, str, int], ...] = ()
    """(place, object kind, key) of objects named in the request."""
    given: tuple[tuple[str, int], ...] = ()
    """(object kind, key) given in the response."""
    findings: tuple[Finding, ...] = ()
    data: tuple[DataHit, ...] = ()
    action: str = "allow"
    """What was done: `allow`, `block`, `limit`, `redact`."""
    would: str = "allow"
    matches: tuple[PolicyMatch, ...] = ()
    uninspected: tuple[str, ...] = ()
    snapshot: int = 0
    """Version of the snapshot that decided; 0: no engine decided."""
    decide_us: int = 0
    """Time spent in `decide`, both phases, microseconds."""
    user_agent: str = ""
    trace: str = ""
    """W3C trace id, if the caller sent one."""
    engine: str = ""
    """Which engine process."""
    protocol: str = "rest"
    operation: str = ""
    """See `Operation.name`."""
    traits: tuple[str, ...] = ()
    """Of request and response."""
    selection: tuple[str, ...] = ()
    parent: str = ""
    """Span id in the caller's `traceparent`: which call (of the caller's) this one was made in. 16 hex digits."""
    span: str = ""
    """Span id of this call itself, where the recording knows it (OTLP). 16 hex digits."""
    strengths: tuple[int, ...] = ()
    """Strength of each of `principals`."""
    agent: str = ""
    """See `Identity.agent`."""
    human: str = ""
    """See `Identity.human`."""
    tenant: str = ""
    scopes: tuple[str, ...] = ()
    caller: str = ""
    """Name of the service or workload that calls, where known: see `Identity.workload`, or the client's `service.name` (OTLP)."""
    origin: str = ""
    """Empty: seen inline. Otherwise the source that it was read from: `har`, `pcap`, `otlp`, `access-log`, ..."""
    egress: bool = False
    """A call out of the perimeter: `service` is a third party's host."""
    deprecation: str = ""
    """What the answer's `Deprecation` or `Sunset` header says, at most 64 characters."""
    echoed: tuple[int, ...] = ()
    """Indices of the path segments whose value stood in an answer before: values, not names (only while the endpoint is new)."""
    request_type: str = ""
    """Media type of the request body, lower-case, without parameters."""
    response_type: str = ""
    """The same of the response."""
    route: str = ""
    """The template as the service's own framework knows it (`/orders/{id}`), where the recording says so (OTLP `http.route`)."""
    request_events: int = 0
    """Events (messages of gRPC and WebSocket) of a streamed request that were judged as they passed."""
    response_events: int = 0
    """The same of the response: events, lines, messages."""
    notes: tuple[tuple[str, Any], ...] = ()
    """(model of `behaviours`, what its watch noted of the call for learning): counts, hashes and names, no values."""
    release: str = ""
    """Which release of the service answered, as a header says: `x-app-version 2.1`, at most 80 characters. Not where the caller sent it."""
