"""What detections of headers in answers share."""

from __future__ import annotations

from eastwall.model.facts import Facts


def over_tls(facts: Facts) -> bool:
    """Whether the caller came over TLS, as far as can be seen from here."""
    call = facts.call
    return call.peer.tls or call.request.scheme == "https" or call.request.headers.get("x-forwarded-proto", "").lower() == "https"
