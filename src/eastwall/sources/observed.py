"""A call that was recorded elsewhere, what a reader left out, and the one error readers raise."""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlsplit

from msgspec import Struct

from eastwall.model.call import BodyState

MAX_KEPT_BODY = 1 << 20
"""Bytes of a body that readers keep; the rest is left unread and the body is `TRUNCATED`. As much as inline inspection takes by default."""


class ObservedCall(Struct, frozen=True):
    """One recorded call. What a format does not know keeps its default."""

    method: str
    """Upper-case for the standard methods."""
    url: str
    """As recorded: absolute, or a path."""
    status: int | None = None
    """None when the recording does not say; 0 when there was no answer."""
    service: str = "default"
    """Host of the URL (lower-case, with its port), `default` for a bare path; the name that the recording gives a service (OTLP)."""
    time: float = 0.0
    """When the request began, Unix seconds; 0: not known."""
    duration_us: int = 0
    """Microseconds; 0: not known."""
    request_headers: dict[str, str] = {}
    """Lower-case names; repeated fields joined as in `model.call.Request`. Treat as read-only."""
    request_body: bytes = b""
    """Content codings as on the wire, transfer codings removed."""
    request_body_state: BodyState = BodyState.NONE
    """NONE also for formats that know of no bodies."""
    request_bytes: int = 0
    """Size of the request's body (in access logs: as the log counts); 0: not known or none."""
    response_headers: dict[str, str] = {}
    """As `request_headers`; `set-cookie` joined by newlines. Trailers are among them."""
    response_body: bytes = b""
    response_body_state: BodyState = BodyState.NONE
    response_bytes: int = 0
    peer_address: str = ""
    """IP address of the caller, without port; empty: not known."""
    peer_port: int = 0
    tls: bool = False
    """Whether the caller's connection is known to have been TLS."""
    uri_sans: tuple[str, ...] = ()
    """URI SANs of the caller's certificate, where the recorder (Envoy) has verified it."""
    trace: str = ""
    """Trace id, 32 hex digits."""
    span: str = ""
    """Span id of this call itself, 16 hex digits."""
    parent: str = ""
    """Span id of the call that this one was made in, as far as the recording tells; else of the caller's span."""
    caller: str = ""
    """Name of the calling service (OTLP: its `service.name`)."""
    user: str = ""
    """Who the recorder says the caller signed in as (an access log's remote user)."""
    egress: bool = False
    """A call out of the perimeter: `service` is a third party's host."""
    route: str = ""
    """The template that the service itself names (OTLP `http.route`), e.g. `/orders/{id}`."""
    origin: str = ""
    """What it was read from: `har`, `mitmproxy`, `pcap`, `access-log`, `envoy-als`, `otlp`, `lines`."""


class SourceError(ValueError):
    """A recording cannot be read (on). The text is one line: the input, the line, what is wrong, how to mend it."""


class Skipped:
    """What a reader left out: how often, by reason, and where first. Nothing is left out without a line here."""

    MAX_REASONS = 200

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Reason -> how many calls, lines, connections or messages (the reason says which)."""
        self.first: dict[str, str] = {}
        """Reason -> where it was first and what was there, printable."""

    def add(self, reason: str, where: str = "", count: int = 1) -> None:
        """Count. `reason` is one of the reader's fixed words, `where` may hold user input."""
        if reason not in self.counts:
            if len(self.counts) >= self.MAX_REASONS:
                reason = "other"
            self.first.setdefault(reason, shown(where, 200))
        self.counts[reason] += count

    def merge(self, other: Skipped) -> None:
        for reason, count in other.counts.items():
            self.add(reason, other.first.get(reason, ""), count)

    def total(self) -> int:
        return self.counts.total()


def service_of(url: str) -> str:
    """Host and port of an absolute URL, without user information. Raises `ValueError` when it is none."""
    if url.startswith("/"):
        return "default"
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    if not host or parts.scheme not in ("http", "https", "ws", "wss"):
        raise ValueError("neither a path nor an http(s) URL")
    return host


def join_headers(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Header fields in order, as `model.call` wants them: lower-case, without pseudo-headers, repeated ones joined."""
    found: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        if key in found:
            found[key] += ("\n" if key == "set-cookie" else "; " if key == "cookie" else ", ") + value
        elif key[:1] != ":":
            found[key] = value
    return found


def cut_body(body: bytes) -> tuple[bytes, BodyState]:
    """The part of a whole body that is kept, and its state."""
    if not body:
        return b"", BodyState.NONE
    if len(body) > MAX_KEPT_BODY:
        return body[:MAX_KEPT_BODY], BodyState.TRUNCATED
    return body, BodyState.COMPLETE


def trace_context(headers: dict[str, str]) -> tuple[str, str]:
    """Trace id and the caller's span id of a `traceparent` header (W3C Trace Context); empty where there is none."""
    parts = headers.get("traceparent", "").split("-")
    if len(parts) >= 4 and len(parts[1]) == 32 and len(parts[2]) == 16:
        return parts[1], parts[2]
    return "", ""


def shown(text: str, limit: int = 60) -> str:
    """User input for an error text: printable (no terminal escapes), bounded."""
    plain = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    return plain if len(plain) <= limit else plain[:limit] + "..."
