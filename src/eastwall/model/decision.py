"""What the engine decides, and what it wants done. Effects are a small closed union: a new one makes the type checker
point at every place that carries effects out (`assert_never`)."""

from __future__ import annotations

from msgspec import Struct

from eastwall.model.call import Mode, Phase
from eastwall.model.endpoint import Match
from eastwall.model.facts import Facts
from eastwall.model.finding import Finding
from eastwall.model.identity import Identity


class Allow(Struct, frozen=True):
    """Let the message pass as it is."""


class Deny(Struct, frozen=True):
    """Answer in the service's place."""

    status: int
    title: str
    detail: str
    """Safe to show the caller."""
    type: str
    """Problem type, last path element of the RFC 9457 `type` URI, e.g. `access-denied`."""


class Throttle(Struct, frozen=True):
    """Too much: 429."""

    retry_after: float
    """Seconds until a call would pass."""
    limit: int
    remaining: int
    detail: str
    name: str = "default"
    """What is counted, in the RateLimit header fields."""
    window: float = 0.0
    """Seconds in which the whole limit comes back; 0: not told."""
    unit: str = ""
    """Quota unit (draft-ietf-httpapi-ratelimit-headers): `content-bytes`, `concurrent-requests`; empty: requests."""


class Quota(Struct, frozen=True):
    """Tell the caller how much is left, with an answer that passes."""

    standings: tuple[Throttle, ...]
    """`retry_after` is in how many seconds the whole limit is there again; `detail` is empty."""


class Redact(Struct, frozen=True):
    """Replace sensitive values in the message body; the body stays valid JSON."""

    data_classes: tuple[str, ...]
    style: str
    """`redact` (fixed text), `mask` (keep last four), `format` (another of the same form), `hash` (keyed), `tokenise` (keyed, can be turned
    back), `truncate` (keep the first `keep` characters), `drop` (remove the field)."""
    keep: int = 0


class Detokenise(Struct, frozen=True):
    """Turn tokens in the body back into the values that they stand for."""

    data_classes: tuple[str, ...]


class Strip(Struct, frozen=True):
    """Take properties out of the body."""

    members: tuple[tuple[str | int, ...], ...]
    """Paths in the body, each of which ends in a name."""


class Aggregate(Struct, frozen=True):
    """Put counts in the place of rows."""

    places: tuple[str, ...]
    """Places of lists; empty: every list of rows."""
    measures: tuple[str, ...] = ()
    """Names of fields of the rows whose smallest and largest number is told."""
    hidden: tuple[str, ...] = ()
    """Places of sensitive data: never measured."""
    row: bool = False
    """The message is an event of a stream of rows, and itself a row: it becomes the count of those so far."""


class Trim(Struct, frozen=True):
    """Cut lists and texts short."""

    places: tuple[str, ...]
    """Of lists and texts; empty: every list, no text."""
    items: int | None = None
    """Items of a list that are kept."""
    characters: int | None = None
    """Characters of a text that are kept."""


class Withhold(Struct, frozen=True):
    """Take items out of the lists of an answer; what cannot be cut is refused."""

    items: tuple[tuple[str | int, ...], ...]
    """Paths in the body."""


Effect = Allow | Deny | Throttle | Redact | Withhold | Detokenise | Strip | Aggregate | Trim | Quota


class PolicyMatch(Struct, frozen=True):
    """One policy that had something to say about a call."""

    policy: str
    """Name, e.g. `orders-owner-only`; built-in ones start with `builtin/`."""
    kind: str
    location: str
    """`file:line`, or `builtin`."""
    mode: Mode
    """Effective mode (lower of the policy's and the scope's)."""
    action: str
    """`allow`, `block`, `limit`, `redact`, `filter` (items are taken out of a list), `report`."""
    reason: str
    """One plain sentence."""
    finding: str = ""
    """Id of the finding it acted on, for DetectionPolicy."""
    to_pass: str = ""
    """What would have made the call pass."""


class Verdict(Struct, frozen=True):
    """The outcome of policy evaluation."""

    action: str
    """What is done: `allow`, `block`, `limit`, `redact` (the message is changed; also when items are taken out of it)."""
    would: str
    """What enforce would have done: the same words. Equal to `action` when every match is enforced."""
    effects: tuple[Effect, ...] = ()
    """What to carry out now (only from enforced matches); empty means allow."""
    matches: tuple[PolicyMatch, ...] = ()
    """All that matched, in order of evaluation; the deciding one first among the non-allow ones."""


ALLOWED = Verdict(action="allow", would="allow")


class Decision(Struct, frozen=True):
    """Everything the engine concluded about one call at one phase."""

    call_id: str
    phase: Phase
    match: Match
    identity: Identity
    facts: Facts
    findings: tuple[Finding, ...]
    verdict: Verdict


class Answer(Struct, frozen=True):
    """What a data-plane adapter must do with the message at hand."""

    deny: bool = False
    """True: answer the caller with `status`, `headers` and `body` in the service's place."""
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    """deny: the headers of the answer. Otherwise: headers to set on the passing message."""
    remove_headers: tuple[str, ...] = ()
    body: bytes | None = None
    """deny: the body of the answer. Otherwise: the replaced message body, None to leave it."""
    want_response: int = 2
    """Answer to a request: 0 = do not show the response, 1 = its headers, 2 = headers and body."""


PASS = Answer()


class Piece(Struct, frozen=True):
    """Bytes of a message that is a stream, as the data plane received them; events begin and end anywhere in them."""

    call_id: str
    phase: Phase
    """Which message: REQUEST or RESPONSE."""
    data: bytes
    end: bool = False
    """The message ends with these bytes."""
    watched: bool = False
    """The bytes have passed already; nobody waits for the answer."""


class Release(Struct, frozen=True):
    """What becomes of the bytes of a stream that the data plane holds."""

    consumed: int
    """So many of the held bytes, the oldest first, are let go; further ones stay held."""
    body: bytes | None = None
    """Goes on in their place; None: they go on as they are."""
    end: bool = False
    """Nothing passes after that: the stream ends here, whatever is held and may yet come."""
    trailers: tuple[tuple[str, str], ...] = ()
    """end: trailers to send (gRPC)."""
    part: bool = False
    """Of an event that is let go not all was looked at: it is too large."""
