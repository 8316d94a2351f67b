"""Routes as frameworks write them, as templates.

OpenTelemetry's `http.route` is "the matched route, that is, the path template used in the format used by the respective server framework"
(semantic conventions for HTTP): `/orders/:id` (Express, Rails), `/orders/<int:id>` (Flask, Django), `/orders/{id}` (Spring, FastAPI),
`orders/{id:int}` (ASP.NET).
"""

from __future__ import annotations

from re import compile as regex

MAX_LENGTH = 500

_SEGMENT = regex(r"[A-Za-z0-9._~!$&'()+,;=:@%{}-]+")
_COLON = regex(r"(?<![A-Za-z0-9}]):([A-Za-z_][A-Za-z0-9_]*)(?:\([^()]*\))?\??")
_ANGLE = regex(r"<(?:[A-Za-z_]+(?:\([^()<>]*\))?:)?([A-Za-z_][A-Za-z0-9_]*)>")
_BRACE = regex(r"\{([A-Za-z_][A-Za-z0-9_.-]*)(?::[^{}]*(?:\{[^{}]*\}[^{}]*)*)?\??\}")
_FORMAT = regex(r"\(\.:format\)$")


def template_of(route: str) -> str:
    """`/orders/{id}` for a route; empty for one that is no template of one operation (wildcards, expressions, optional parts)."""
    if not route or len(route) > MAX_LENGTH or "*" in route:
        return ""
    route = _FORMAT.sub("", route)
    route = _ANGLE.sub(r"{\1}", route)
    route = _BRACE.sub(r"{\1}", route)
    route = _COLON.sub(r"{\1}", route)
    segments = route.strip("/").split("/") if route.strip("/") else []
    for segment in segments:
        if not _SEGMENT.fullmatch(segment) or segment.count("{") != segment.count("}"):
            return ""
    return "/" + "/".join(segments)
