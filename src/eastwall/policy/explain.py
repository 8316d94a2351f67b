"""A verdict in plain lines, for `eastwall why`."""

from __future__ import annotations

from eastwall.model.call import Mode
from eastwall.model.decision import PolicyMatch, Verdict

DONE = {
    "allow": "let through",
    "block": "blocked",
    "limit": "turned away, over a rate limit",
    "redact": "let through, with data replaced",
}


def explain(verdict: Verdict) -> list[str]:
    """What was done and why, the deciding policy first. Never empty."""
    lines = [f"the message was {DONE[verdict.action]}"]
    if verdict.would != verdict.action:
        lines.append(f"had every policy been enforced, it would have been {DONE[verdict.would]}")
    if not verdict.matches:
        lines.append("no policy had anything to say about it")
    for match in verdict.matches:
        lines += _match_lines(match)
    return lines


def _match_lines(match: PolicyMatch) -> list[str]:
    where = "" if match.location == "builtin" else f" ({match.location})"
    held = "" if match.mode is Mode.ENFORCE else f", {match.mode.name.lower()} only"
    lines = [f"{match.action}{held}: {match.kind} `{match.policy}`{where}: {match.reason}"]
    if match.to_pass and match.action not in ("allow", "report"):
        lines.append(f"  to pass: {match.to_pass}")
    return lines
