"""A call that was recorded elsewhere, and the one error readers raise."""

from __future__ import annotations

from urllib.parse import urlsplit

from msgspec import Struct


class ObservedCall(Struct, frozen=True):
    """One recorded call."""

    method: str
    """Upper-case for the standard methods."""
    url: str
    """As recorded: absolute, or a path."""
    status: int | None = None
    """None when the recording does not say; 0 when there was no answer."""
    service: str = "default"
    """Host of the URL (lower-case, with its port), `default` for a bare path."""


class SourceError(ValueError):
    """A recording cannot be read. The text is one line: the input, the line, what is wrong, how to mend it."""


def service_of(url: str) -> str:
    """Host and port of an absolute URL, without user information. Raises `ValueError` when it is none."""
    if url.startswith("/"):
        return "default"
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    if not host or parts.scheme not in ("http", "https", "ws", "wss"):
        raise ValueError("neither a path nor an http(s) URL")
    return host


def shown(text: str, limit: int = 60) -> str:
    """User input for an error text: printable (no terminal escapes), bounded."""
    plain = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    return plain if len(plain) <= limit else plain[:limit] + "..."
