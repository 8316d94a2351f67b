"""What the data plane may refuse by itself, because the engine would refuse it whatever else is in the call."""

from __future__ import annotations

from msgspec import Struct


class NativeRule(Struct, frozen=True):
    """Calls of one service that an enforced policy refuses, told by method, path, stated length and client certificate alone."""

    service: str
    policy: str
    """Name of the policy, under which refused calls are counted."""
    methods: tuple[str, ...] = ()
    """Exact; empty: every method."""
    path: str = ""
    """Regular expression (RE2 syntax) over the whole path, undecoded, without query; empty: every path."""
    without_certificate: bool = False
    """Only calls over connections without a client certificate."""
    over: int = 0
    """Only JSON bodies whose stated length is more bytes than this; 0: all calls."""
    status: int = 403
    type: str = ""
    """The problem document that the caller gets (RFC 9457): URI of its kind, ..."""
    title: str = ""
    detail: str = ""
    kind: str = ""
    """What the record of the call says of the policy: its kind, ..."""
    location: str = ""
    """... `file:line` ..."""
    reason: str = ""
    """... why, in words for analysts ..."""
    to_pass: str = ""
    """... and what would make the call pass."""


class NativeRefusal(Struct, frozen=True):
    """One call that the data plane refused by itself, as its log says."""

    event: str
    """The id in its answer; see `event_id.named`."""
    time: float
    """Request start, Unix seconds."""
    duration_ms: int
    service: str
    method: str
    path: str
    """With its query, undecoded; cut off when it is very long."""
    policy: str
    authority: str = ""
    status: int = 403
    source: str = ""
    """IP address of the direct peer."""
    request_bytes: int = 0
    response_bytes: int = 0
    user_agent: str = ""
    kind: str = ""
    """See `NativeRule`."""
    location: str = ""
    reason: str = ""
    to_pass: str = ""
