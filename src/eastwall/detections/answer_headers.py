"""Headers of answers that are the same from call to call: judged in the calls that are sampled, which bounds what they cost and how often
they are said."""

from __future__ import annotations

from eastwall.model.facts import Facts


def judged(facts: Facts) -> bool:
    """Whether this call is one of those in which they are looked at: all calls of a new endpoint, then every nth."""
    prior = facts.call.prior
    return prior is None or prior.facts.sampled or facts.match.endpoint is None


def over_tls(facts: Facts) -> bool:
    """Whether the caller came over TLS, as far as can be seen from here."""
    call = facts.call
    return call.peer.tls or call.request.scheme == "https" or call.request.headers.get("x-forwarded-proto", "").lower() == "https"
