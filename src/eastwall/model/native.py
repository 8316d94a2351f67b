"""What the data plane may refuse by itself, because the engine would refuse it whatever else is in the call."""

from __future__ import annotations

from msgspec import Struct


class NativeRule(Struct, frozen=True):
    """Calls of one service that an enforced policy refuses, told by method, path and client certificate alone."""

    service: str
    policy: str
    """Name of the policy, under which refused calls are counted."""
    methods: tuple[str, ...] = ()
    """Exact; empty: every method."""
    path: str = ""
    """Regular expression (RE2 syntax) over the whole path, undecoded, without query; empty: every path."""
    without_certificate: bool = False
    """Only calls over connections without a client certificate."""
    status: int = 403
    body: str = ""
    """Problem document (RFC 9457), JSON."""
