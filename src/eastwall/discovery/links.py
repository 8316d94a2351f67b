"""Objects that stand outside bodies' members and paths: in the links of an answer and in a request's headers."""

from __future__ import annotations

from functools import lru_cache
from re import compile as regex
from urllib.parse import unquote

from eastwall.discovery.objects import in_segments, reference

try:
    from eastwall.discovery._raw import links as _links
except ImportError:  # no C compiler at installation: `accelerated` says so
    accelerated = False
else:
    accelerated = True

_LINK = regex(rb'"(?:href|self|url|uri|link|location|next|canonical|related|_self)"\s{0,4}:\s{0,4}"([^"\\]{2,300})"')
"""Members that hold a link: HAL, JSON:API, JSON Hyper-Schema and what services make of them."""
MARKS = (b'href"', b'"self"', b'"url"', b'"uri"', b'"link"', b'"location"')
"""Without one of these a body is taken to link to nothing. They are once more in `_raw.c`."""
LINK_LIMIT = 200
"""Links read in one answer."""


@lru_cache(maxsize=8192)
def _in_header(name: str) -> str:
    """Kind of the object that a header names: `x-order-id`; empty for headers of other use."""
    return reference(name[2:].replace("-", "_")) or "" if name.startswith("x-") else ""


@lru_cache(maxsize=1024)
def naming_headers(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """(name, kind) of the headers that name objects. `names`: of a message's headers."""
    return tuple([(name, kind) for name in names if (kind := _in_header(name))])


def marked(raw: bytes) -> bool:
    """Whether one of `MARKS` is in a body: the readable twin of `_raw.links`."""
    return any(mark in raw for mark in MARKS)


def linked(raw: bytes, location: str = "") -> list[tuple[str, str]]:
    """(kind, value) of the objects that an answer links to: in `href`, `self` and their like, and in its `Location`."""
    targets = [location] if location else []
    if _links(raw) if accelerated else marked(raw):
        targets += [found[1].decode("utf-8", "replace") for found, _ in zip(_LINK.finditer(raw), range(LINK_LIMIT), strict=False)]
    links = []
    for target in dict.fromkeys(targets):
        path = target.partition("://")[2].partition("/")[2] if "://" in target else target
        if "/" in path or "://" in target:
            parts = tuple([unquote(part) for part in path.partition("?")[0].partition("#")[0].split("/") if part])[:30]
            links += [(kind, value) for _, kind, value in in_segments(parts)]
    return links
