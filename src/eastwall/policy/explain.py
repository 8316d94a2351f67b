"""A verdict in plain lines, for `eastwall why` and `eastwall policy explain`, and how a policy is named in them."""

from __future__ import annotations

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


def named(kind: str, policy: str, location: str) -> str:
    """A policy with its place: AccessPolicy `own-orders` (shop.yaml:12)."""
    return f"{kind} `{policy}`" + ("" if location == "builtin" else f" ({location})")


def held(mode: str) -> str:
    """`, monitor only`; nothing of a policy that is enforced."""
    return "" if mode == "enforce" else f", {mode} only"


def _match_lines(match: PolicyMatch) -> list[str]:
    what = f"{match.action}{held(match.mode.name.lower())}"
    lines = [f"{what}: {named(match.kind, match.policy, match.location)}: {match.reason}"]
    if match.to_pass and match.action not in ("allow", "report"):
        lines.append(f"  to pass: {match.to_pass}")
    return lines
