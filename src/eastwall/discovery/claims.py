"""Token claims as bounded text."""

from __future__ import annotations

from typing import Any

MAX_NAME = 256
"""Characters of a name or a claim."""
_MAX_CLAIMS = 64
_MAX_ROLES = 32
_SECRET = ("password", "secret", "access_token", "refresh_token", "api_key", "apikey", "private")
"""Parts of claim names whose values are not kept."""


def kept(claims: dict[str, Any]) -> dict[str, str]:
    """The scalar claims, without those that hold secrets."""
    told: dict[str, str] = {}
    for name, value in list(claims.items())[:_MAX_CLAIMS]:
        if (text := scalar(value)) is not None and not any(word in name.lower() for word in _SECRET):
            told[name[:MAX_NAME]] = text
    return told


def words(claims: dict[str, Any], names: tuple[str, ...], separator: str) -> tuple[str, ...]:
    """The values of list or text claims, in order, each once."""
    found: dict[str, None] = {}
    for name in names:
        value = claim_at(claims, name)
        items = value.split(separator) if isinstance(value, str) else value if isinstance(value, list) else ()
        for item in items[:_MAX_ROLES]:
            if isinstance(item, str) and (word := clean(item.strip())):
                found[word[:64]] = None
    return tuple(found)[:_MAX_ROLES]


def claim_at(claims: dict[str, Any], name: str) -> Any:
    """A claim by name, or by a dotted path (`realm_access.roles`)."""
    if name in claims or "." not in name:
        return claims.get(name)
    node: Any = claims
    for step in name.split("."):
        node = node.get(step) if isinstance(node, dict) else None
    return node


def scalar(value: Any) -> str | None:
    """A scalar claim as text, None for others."""
    if isinstance(value, str):
        return value[:MAX_NAME]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)[:MAX_NAME] if not isinstance(value, int) or abs(value) < 10**100 else None
    return None


def clean(name: str) -> str:
    """A name fit for logs and keys: bounded, without control characters."""
    name = name[:MAX_NAME]
    return name if name.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in name)
