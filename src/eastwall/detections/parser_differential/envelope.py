"""What headers, path and parameters say in two ways: framing (RFC 9112 section 6.3), overriding headers, odd paths (RFC 3986 section 6)."""

from __future__ import annotations

import re

from eastwall.discovery.objects import SAFE_METHODS
from eastwall.model.endpoint import Schema
from eastwall.model.facts import Facts
from eastwall.model.operation import Operation, ParserFault

_METHOD_HEADERS = ("x-http-method-override", "x-http-method", "x-method-override")
_URL_HEADERS = ("x-original-url", "x-rewrite-url", "x-override-url")
_WATCHED = frozenset((*_METHOD_HEADERS, *_URL_HEADERS, "transfer-encoding"))
_CODINGS = frozenset(("gzip", "x-gzip", "deflate", "compress", "br", "zstd"))

# Forms in which a router that does not normalise sees another path than a service that does. A `%2F` alone is no such form: many APIs take
# names with slashes in one segment.
_AMBIGUOUS = re.compile(
    r"(?:/|%2f|%5c)(?:(?:\.|%2e){2}(?:;|\\|%5c|%2f|%00)|(?:%2e\.?|\.%2e|%2e%2e)(?:[/?]|$))|\\|%252e|%c0%a[ef]|%c1%9c|%e0%80%a|%00",
    re.IGNORECASE,
)
_UNUSUAL = re.compile(r"^//|/\.(?:/|$)|#")
_MAY_BE_ODD = re.compile(r"[%\\#;]|^//|/\.")
_MEDIA_TYPE = re.compile(r"(?:^|,)\s{0,8}[\w.+-]{1,80}/[\w.+-]{1,80}\s{0,8}(?=[;,]|$)")


def envelope_faults(facts: Facts) -> tuple[ParserFault, ...]:
    """Empty for nearly all requests, after a few looks."""
    request, operation = facts.call.request, facts.operation
    headers = request.headers
    faults: tuple[ParserFault, ...] = ()
    if not _WATCHED.isdisjoint(headers):
        faults += (*_framing(headers), *_overrides(request.method, operation, headers))
    length = headers.get("content-length", "")
    if "," in length:
        faults += (_lengths(length),)
    if "," in headers.get("content-type", "") and len(_MEDIA_TYPE.findall(headers["content-type"][:1000])) > 1:
        faults += (ParserFault("ambiguous-content-type", "header.content-type", headers["content-type"][:60]),)
    if operation.body_kind == "multipart" and headers.get("content-type", "").lower().count("boundary=") > 1:
        faults += (ParserFault("bad-multipart", "header.content-type", "two boundaries"),)
    if "," in request.authority or "," in headers.get("host", ""):
        faults += (ParserFault("ambiguous-host", "header.host"),)
    if _MAY_BE_ODD.search(request.path):
        faults += _path(operation.path)
    if len(operation.query) > 1 or operation.body_kind == "form":
        faults += _duplicates(facts, operation)
    return faults


def _framing(headers: dict[str, str]) -> tuple[ParserFault, ...]:
    if "transfer-encoding" not in headers:
        return ()
    where, value = "header.transfer-encoding", headers["transfer-encoding"]
    *before, last = [part.strip(" \t").lower() for part in value.split(",", 8)]
    if last != "chunked" or not _CODINGS.issuperset(before) or value != value.strip():
        return (ParserFault("odd-transfer-coding", where, f"`{value[:40]}`"),)
    if "content-length" in headers:
        return (ParserFault("ambiguous-length", where, "a length and chunks"),)
    return ()


def _lengths(value: str) -> ParserFault:
    same = len({part.strip() for part in value.split(",", 16)}) == 1
    return ParserFault("repeated-length" if same else "ambiguous-length", "header.content-length", f"`{value[:40]}`")


def _overrides(method: str, operation: Operation, headers: dict[str, str]) -> tuple[ParserFault, ...]:
    faults: tuple[ParserFault, ...] = ()
    for name in _METHOD_HEADERS:
        asked = headers.get(name, method).strip().upper()[:20]
        if asked != method:
            # Browsers and proxies that know only GET and POST made the latter a tunnel; nobody tunnels through a safe method.
            id = "method-override" if method in SAFE_METHODS else "method-tunnel"
            faults += (ParserFault(id, f"header.{name}", f"{method} as {asked}"),)
    for name in _URL_HEADERS:
        if name in headers:
            value = headers[name].strip()
            path = (value.partition("://")[2].partition("/")[2] if "://" in value[:12] else value).partition("?")[0].strip("/")
            own = operation.path.strip("/")
            if path != own:
                kept = bool(own and path) and (path.endswith(own) or own.endswith(path))
                faults += (ParserFault("url-rewritten" if kept else "url-override", f"header.{name}", f"`{value[:60]}`"),)
    return faults


def _path(path: str) -> tuple[ParserFault, ...]:
    if found := _AMBIGUOUS.search(path):
        return (ParserFault("ambiguous-path", "path", f"`{found[0]}`"),)
    if found := _UNUSUAL.search(path):
        return (ParserFault("unusual-path", "path", f"`{found[0]}`"),)
    return ()


def _duplicates(facts: Facts, operation: Operation) -> tuple[ParserFault, ...]:
    """Parameters that come twice with different values, where the endpoint is known to take one."""
    endpoint = facts.match.endpoint
    if endpoint is None:
        return ()
    query = operation.query
    if len(query) > 1 and len({name for name, _ in query}) != len(query):
        first: dict[str, str] = {}
        for name, value in query:
            if first.setdefault(name, value) != value and _takes_one(endpoint.query, f"query.{name}"):
                return (ParserFault("duplicate-parameter", f"query.{name[:64]}"),)
    if operation.body_kind == "form" and type(operation.body) is dict:
        for name, value in operation.body.items():
            if type(value) is list and len(set(value)) > 1 and _takes_one(endpoint.request, name):
                return (ParserFault("duplicate-parameter", f"body.{name[:64]}"),)
    return ()


def _takes_one(schema: Schema, place: str) -> bool:
    """Whether a place is known, and was never a list."""
    return any(field.place == place and "array" not in field.kinds for field in schema.fields)
