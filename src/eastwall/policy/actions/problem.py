"""What a refused caller gets: problem details for HTTP APIs (RFC 9457).

The answer says what to do, and the event id to ask about; nothing of the request, of the finding or of the policy's file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from eastwall.model.call import Call
from eastwall.model.decision import PASS, Answer, Deny, Effect, Throttle, Verdict
from eastwall.model.facts import Facts
from eastwall.policy.actions.own_forms import own_form
from eastwall.policy.actions.tool_error import tool_error
from eastwall.policy.steps.approvals import APPROVAL_NEEDED

PROBLEM_BASE = "https://eastwall.dev/problems/"
UNCUT = Verdict(
    action="block",
    would="block",
    effects=(Deny(403, "Response withheld", "The response was withheld by a security policy.", "response-withheld"),),
)
"""For an answer of which a part was to be withheld, and could not be cut out."""
_encode = msgspec.json.Encoder().encode


def answer(verdict: Verdict, call: Call, facts: Facts | None = None) -> Answer:
    """The answer in the service's place for the first effect that refuses the message; `PASS` when none does.

    `facts` is for protocols with error forms of their own; without it the body is a problem document.
    """
    for effect in verdict.effects:
        if isinstance(effect, Deny) and effect.type == APPROVAL_NEEDED and facts is not None:
            return tool_error(effect, call, facts, PROBLEM_BASE + effect.type) or _problem(effect, call, facts)
        if isinstance(effect, Deny | Throttle):
            return _problem(effect, call, facts)
    return PASS


def rate_limit_fields(standings: Sequence[Throttle]) -> tuple[tuple[str, str], ...]:
    """`RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers (structured fields, RFC 9651)."""
    left, limits = [], []
    for one in standings:
        left.append(
            f'"{one.name}";r={max(0, one.remaining)};t={max(1, math.ceil(one.retry_after)) if one.retry_after > 0 else 0}'
        )
        window = f";w={round(one.window)}" if one.window >= 1 else ""
        limits.append(f'"{one.name}";q={one.limit}{window}' + (f';qu="{one.unit}"' if one.unit else ""))
    return ("ratelimit", ", ".join(left)), ("ratelimit-policy", ", ".join(limits))


def _problem(effect: Effect, call: Call, facts: Facts | None) -> Answer:
    headers = [("cache-control", "no-store"), ("x-eastwall-event-id", call.id)]
    if isinstance(effect, Throttle):
        status, title, detail, kind = 429, "Too many requests", effect.detail, "rate-limited"
        seconds = str(max(1, math.ceil(effect.retry_after)))
        remaining = str(max(0, effect.remaining))
        headers += [
            ("retry-after", seconds),
            ("ratelimit-limit", str(effect.limit)),
            ("ratelimit-remaining", remaining),
            ("ratelimit-reset", seconds),
            # The three above are what clients in the field know.
            *rate_limit_fields((effect,)),
        ]
    elif isinstance(effect, Deny):
        status, title, detail, kind = effect.status, effect.title, effect.detail, effect.type
        if status == 503:
            headers.append(("retry-after", "1"))
        if status == 401:
            # A 401 must name a scheme (RFC 9110, 15.5.2); clients with refresh tokens get a new one at this error (RFC 6750, 3.1).
            headers.append(("www-authenticate", 'Bearer error="invalid_token", error_description="issued too long ago"'))
    else:
        return PASS
    problem = {
        "type": PROBLEM_BASE + kind,
        "title": title,
        "status": status,
        "detail": detail,
        "instance": f"urn:eastwall:event:{call.id}",
        "event_id": call.id,
    }
    form, body = (own_form(problem, call, facts) if facts is not None else None) or ("application/problem+json", _encode(problem))
    headers.insert(0, ("content-type", form))
    # To HEAD no body is sent (RFC 9110, 9.3.2).
    return Answer(deny=True, status=status, headers=tuple(headers), body=b"" if call.request.method == "HEAD" else body)
