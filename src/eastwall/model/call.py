"""A call as the data plane hands it over: bytes and headers, nothing interpreted yet."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from eastwall.model.decision import Decision


class Mode(IntEnum):
    """How far a policy or a scope may go. The effective mode of a policy on a call is the lower of its own and its scope's."""

    DISCOVER = 0
    """Learn and record; policies are not evaluated. Never changes or delays a call."""
    MONITOR = 1
    """Record what `ENFORCE` would have done. Never changes or delays a call."""
    ENFORCE = 2
    """Verdicts are carried out."""


class Phase(IntEnum):
    """Where in its life a call stands when `decide` sees it."""

    REQUEST = 1
    """Request headers, and the body as far as `BodyState` says."""
    RESPONSE = 2
    """Response headers, and the body as far as `BodyState` says, before the caller sees a byte (in enforce mode)."""


class BodyState(IntEnum):
    """How much of a body the engine was given. Everything but NONE and COMPLETE is counted as not (wholly) inspected."""

    NONE = 0
    """The message has no body."""
    COMPLETE = 1
    """`body` is the whole body."""
    TRUNCATED = 2
    """`body` holds the first bytes up to the inspection limit; the rest passed unread."""
    STREAMED = 3
    """A stream (SSE, gRPC, WebSocket, ...) that was passed through; `body` is empty."""
    SKIPPED = 4
    """The inspection plan did not ask for the body; `body` is empty."""


class Peer(Struct, frozen=True):
    """The other end of the connection that brought the call."""

    address: str = ""
    """IP address of the direct peer (never taken from a header), without port."""
    port: int = 0
    tls: bool = False
    """Whether the downstream connection was TLS."""
    uri_sans: tuple[str, ...] = ()
    """URI SANs of a client certificate that Envoy has verified (SPIFFE ids among them); empty without mTLS."""
    dns_sans: tuple[str, ...] = ()
    """DNS SANs of the verified client certificate."""
    subject: str = ""
    """Subject of the verified client certificate, RFC 2253 form."""


class Request(Struct, frozen=True):
    """An HTTP request as it came over the wire."""

    method: str
    """As sent, upper-case for the standard methods."""
    path: str
    """Request target: path and query, undecoded, e.g. `/orders/17?full=1`."""
    headers: dict[str, str]
    """Lower-case names, no pseudo-headers. Repeated fields are joined by `, ` (`cookie` by `; `). Treat as read-only."""
    authority: str = ""
    """`:authority` / Host."""
    scheme: str = "http"
    body: bytes = b""
    body_state: BodyState = BodyState.NONE


class Response(Struct, frozen=True):
    """An HTTP response as the upstream sent it."""

    status: int
    headers: dict[str, str]
    """Lower-case names. Repeated fields are joined by `, ` (`set-cookie` by a newline)."""
    body: bytes = b""
    body_state: BodyState = BodyState.NONE


class Call(Struct, frozen=True):
    """One call at one phase."""

    id: str
    """Event id: a ULID (26 characters, Crockford base 32) made by the data plane. The one id everywhere."""
    service: str
    """Name of the upstream service the call is for (from `--upstream NAME=URL` or a Service policy)."""
    time: float
    """When the request began, Unix seconds (UTC). Core code has no other clock."""
    peer: Peer
    request: Request
    response: Response | None = None
    """Set in `Phase.RESPONSE` only."""
    prior: Decision | None = None
    """In `Phase.RESPONSE`: the decision of the request phase."""

    @property
    def phase(self) -> Phase:
        return Phase.REQUEST if self.response is None else Phase.RESPONSE


class Completion(Struct, frozen=True):
    """What the data plane says when a call is over. Sent once for every call, blocked and broken ones too.

    It names the call well enough for a record even when the engine that saw the request is gone.
    """

    id: str
    service: str
    time: float
    """When the request began, Unix seconds."""
    method: str
    path: str
    authority: str
    status: int
    """Status the caller got; 0 when the connection ended before one was sent."""
    request_bytes: int
    response_bytes: int
    duration_us: int
    """First byte in to last byte out, microseconds."""
    peer_address: str = ""
    uninspected: tuple[str, ...] = ()
    """Reasons for which (a part of) this call was not inspected, e.g. `request-body-truncated`, `engine-timeout`."""
    request_copy: bytes = b""
    """The first bytes of a request body that was streamed past the engine (`BodyState.STREAMED`), copied while they passed. For
    learning and detection only: no policy was asked about them."""
    request_copy_state: BodyState = BodyState.NONE
    """NONE: nothing was copied. COMPLETE: `request_copy` is the whole body. TRUNCATED: its beginning."""
    response_copy: bytes = b""
    """The same of the response."""
    response_copy_state: BodyState = BodyState.NONE
    grpc_status: int = -1
    """`grpc-status` from the answer's trailers or headers (0..16; greater ones are 255); -1: none was seen."""
