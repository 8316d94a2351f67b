"""REST over HTTP: a request or a response as an Operation.

Invariant, fuzzed: any input gives an Operation, in time linear in its bytes and memory within `Limits`. What cannot be read
as it claims is handed over as text, so that content detections still see it, and carries a fault that says what was not
understood. Whoever sends bytes that parsers read differently is not passed as "not JSON".
"""

from __future__ import annotations

from functools import lru_cache
from re import compile as regex
from typing import Any

from eastwall.model.call import BodyState, Request, Response
from eastwall.model.operation import Operation, ParserFault
from eastwall.protocols import coding, json, multipart, urlencoded, xml
from eastwall.protocols.limits import DEFAULT
from eastwall.protocols.limits import Limits as Limits

_CACHED_TARGET = 256
"""Longest request target (characters) that is remembered: the memory of the cache has a bound that no caller can raise."""
_BODILESS = frozenset((204, 205, 304))
_WIDE = frozenset(("utf-7", "utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be"))
"""Charsets in which ASCII bytes do not mean ASCII characters: who uses them for JSON wants to be read differently."""
_CHARSETS = _WIDE.union(
    ("iso-8859-1", "iso-8859-2", "iso-8859-15", "latin1", "windows-1250", "windows-1251", "windows-1252", "cp1252", "koi8-r"),
    ("gbk", "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr"),
)
"""Charsets that are decoded as such. Others, and codecs of Python that are no charset, are not."""


def decode_request(request: Request, limits: Limits) -> Operation:
    """The request as an Operation. Never raises."""
    raw = request.path
    small = len(raw) <= _CACHED_TARGET and limits.max_query >= _CACHED_TARGET and limits.max_segments >= _CACHED_TARGET
    path, segments, query, faults = _cached_target(raw) if small else _target(raw, limits)
    wire = request.body
    if not wire:
        kind = "unread" if request.body_state > BodyState.TRUNCATED else "none"
        return Operation("rest", request.method, segments, path, query, None, kind, faults)
    tree, kind, found, data = _body(wire, request.body_state, request.headers, limits)
    return Operation("rest", request.method, segments, path, query, tree, kind, faults + found if faults else found, data)


def decode_response(response: Response, request: Request, limits: Limits) -> Operation:
    """The response message as an Operation; method and path are the request's, `query` is empty. Never raises."""
    raw = request.path
    small = len(raw) <= _CACHED_TARGET and limits.max_query >= _CACHED_TARGET and limits.max_segments >= _CACHED_TARGET
    path, segments, _, _ = _cached_target(raw) if small else _target(raw, limits)
    wire = response.body
    if not wire or request.method == "HEAD" or response.status in _BODILESS:
        kind = "unread" if response.body_state > BodyState.TRUNCATED else "none"
        return Operation("rest", request.method, segments, path, (), None, kind)
    tree, kind, faults, data = _body(wire, response.body_state, response.headers, limits)
    return Operation("rest", request.method, segments, path, (), tree, kind, faults, data)


def _target(raw: str, limits: Limits) -> tuple[str, tuple[str, ...], tuple[tuple[str, str], ...], tuple[ParserFault, ...]]:
    """(path, segments, query, faults) of a request target (RFC 9112 section 3.2)."""
    if not raw.isascii():
        raw = raw.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    path, _, query_text = raw.partition("?")
    if not path.startswith("/") and "://" in path:
        path = "/" + path.split("://", 1)[1].partition("/")[2]
    faults: list[ParserFault] = []
    parts = path.strip("/").split("/", limits.max_segments) if path else []
    if len(parts) > limits.max_segments:
        faults.append(ParserFault("too-many-values", "path", f"more than {limits.max_segments} segments"))
    if parts == [""]:
        parts = []
    segments = tuple(parts) if "%" not in path else tuple(map(urlencoded.unquote, parts))
    if "%" in path and any(
        urlencoded.REPLACEMENT in s and "%EF%BF%BD" not in p.upper() for s, p in zip(segments, parts, strict=True)
    ):
        faults.append(ParserFault("invalid-utf8", "path"))
    query: tuple[tuple[str, str], ...] = ()
    if query_text:
        query, unread, bad = urlencoded.pairs(query_text, limits.max_query)
        if unread:
            faults.append(ParserFault("too-many-values", "query", f"{unread} characters after parameter {limits.max_query}"))
        if bad:
            faults.append(ParserFault("invalid-utf8", "query"))
    return path, segments, query, tuple(faults)


@lru_cache(maxsize=8192)
def _cached_target(raw: str) -> tuple[str, tuple[str, ...], tuple[tuple[str, str], ...], tuple[ParserFault, ...]]:
    # So short a target stays below the limits on counts, so they are no part of the key.
    return _target(raw, DEFAULT)


def _body(
    wire: bytes, state: BodyState, headers: dict[str, str], limits: Limits
) -> tuple[Any, str, tuple[ParserFault, ...], bytes]:
    """(tree, kind, faults, decoded bytes) of a body that has bytes."""
    content_type = headers.get("content-type", "")
    kind, charset, boundary = (_cached_type if len(content_type) <= _CACHED_TARGET else _type)(content_type)
    truncated = state is BodyState.TRUNCATED
    if "content-encoding" not in headers:
        if kind == "json" and not charset and not truncated:  # nearly every body of an API
            parsed = json.parse(wire, limits)
            if parsed.ok:
                return parsed.tree, "json", parsed.faults, wire
            return _as_text(wire, _mismatch(wire, parsed.faults))
        return _read(wire, kind, charset, boundary, truncated, limits)
    decoded = coding.decode(wire, headers["content-encoding"], limits, truncated=truncated)
    if not decoded.readable and wire[:1] not in b"{[" and not (kind in ("form", "text") and wire.isascii()):
        return None, "unread", decoded.faults, wire
    # Most services ignore a content-encoding on requests: a body that is plain under a lying header is read as it is.
    tree, kind, faults, data = _read(decoded.data, kind, charset, boundary, not decoded.complete or truncated, limits)
    return tree, kind, decoded.faults + faults, data


def _read(
    data: bytes, kind: str, charset: str, boundary: str, truncated: bool, limits: Limits
) -> tuple[Any, str, tuple[ParserFault, ...], bytes]:
    faults: tuple[ParserFault, ...] = ()
    if charset and kind in ("json", "form", "text", "xml"):
        data, faults = _transcode(data, charset)
    if kind == "json":
        if truncated:
            return _as_text(data, faults)
        parsed = json.parse(data, limits)
        if not parsed.ok:
            return _as_text(data, faults + _mismatch(data, parsed.faults))
        return parsed.tree, "json", faults + parsed.faults, data
    if kind == "multipart":
        parts, found = multipart.parse(data, boundary, limits, truncated=truncated)
        if parts:
            return parts, "multipart", found, data
        return _as_text(data, found)
    if not truncated and data.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] in (b"{", b"["):
        sniffed = _sniff(data, kind, limits)
        if sniffed is not None:
            return sniffed[0], "json", faults + sniffed[1], data
    if kind == "xml" or (kind != "form" and data[:5] == b"<?xml"):
        return _xml(data, kind, charset, faults, truncated, limits)
    if kind == "form":
        return _form(data, faults, truncated, limits)
    if kind == "text" or (not kind and _is_text(data)):
        return _as_text(data, faults)
    return None, "binary", faults, data


def _is_text(data: bytes) -> bool:
    """Whether a body without a type reads as text: a recipient may examine the data (RFC 9110, 8.3), and so services do."""
    try:
        return _CONTROLS.search(data.decode()) is None
    except UnicodeDecodeError:
        return False


_CONTROLS = regex(r"[\x00-\x08\x0e-\x1f\x7f]")


def _xml(
    data: bytes, kind: str, charset: str, faults: tuple[ParserFault, ...], truncated: bool, limits: Limits
) -> tuple[Any, str, tuple[ParserFault, ...], bytes]:
    """A body that is called XML, or that begins like it."""
    if truncated:
        return _as_text(data, faults) if kind in ("xml", "text") else (None, "binary", faults, data)
    # What was transcoded is UTF-8 now, whatever its declaration says.
    parsed = xml.parse(data, limits, "utf-8" if charset in _CHARSETS else None)
    if kind in ("binary", "text"):
        faults += (ParserFault("content-type-mismatch", "header.content-type", f"called {kind}, looks like xml"),)
    if parsed.ok:
        return parsed.tree, "xml", faults + parsed.faults, data
    return _as_text(data, faults + parsed.faults)


def _sniff(data: bytes, kind: str, limits: Limits) -> tuple[Any, tuple[ParserFault, ...]] | None:
    """A body that begins like JSON but is not called so: services that do not look at the type read it as JSON."""
    parsed = json.parse(data, limits)
    if not parsed.ok or any(fault.id == "trailing-data" for fault in parsed.faults):
        return None
    if kind == "form" and (b"=" in data or b"&" in data):
        # Readable both ways; a service that obeys the type sees the form, so the form is what is judged.
        return None
    if kind == "":
        return parsed.tree, parsed.faults
    return parsed.tree, (ParserFault("content-type-mismatch", "header.content-type", f"called {kind}, is json"), *parsed.faults)


def _form(
    data: bytes, faults: tuple[ParserFault, ...], truncated: bool, limits: Limits
) -> tuple[Any, str, tuple[ParserFault, ...], bytes]:
    text = data.decode("utf-8", "replace")
    found, unread, bad = urlencoded.pairs(text, limits.max_query)
    if unread:
        faults += (ParserFault("too-many-values", "body", f"{unread} characters after field {limits.max_query}"),)
    if bad or (urlencoded.REPLACEMENT in text and not truncated and b"\xef\xbf\xbd" not in data):
        faults += (ParserFault("invalid-utf8", "body"),)
    if data[:1] in (b"{", b"["):
        faults += (ParserFault("content-type-mismatch", "header.content-type", "called form, looks like json"),)
    if data[:5] == b"<?xml":
        faults += (ParserFault("content-type-mismatch", "header.content-type", "called form, looks like xml"),)
    return urlencoded.grouped(found), "form", faults, data


def _mismatch(data: bytes, faults: tuple[ParserFault, ...]) -> tuple[ParserFault, ...]:
    """Faults of a body that is called JSON and is none."""
    if faults and faults[-1].id == "invalid-json" and data.lstrip()[:1] not in (b"{", b"[", b'"'):
        return (*faults, ParserFault("content-type-mismatch", "header.content-type", "called json, is none"))
    return faults


def _as_text(data: bytes, faults: tuple[ParserFault, ...]) -> tuple[Any, str, tuple[ParserFault, ...], bytes]:
    return data.decode("utf-8", "replace"), "text", faults, data


def _transcode(data: bytes, charset: str) -> tuple[bytes, tuple[ParserFault, ...]]:
    """The body in UTF-8, from a charset its type names."""
    if charset not in _CHARSETS:
        return data, (ParserFault("unknown-encoding", "header.content-type", f"charset `{charset[:40]}`"),)
    if charset not in _WIDE and data.isascii():
        return data, ()
    text = data.decode(charset, "replace")
    fault = ParserFault("unknown-encoding", "header.content-type", f"charset `{charset}`, which not every reader obeys")
    return text.encode("utf-8", "replace"), ((fault,) if charset in _WIDE else ())


_JSON = frozenset(("json", "x-json", "csp-report", "json-rpc", "jsonrequest", "x-amz-json-1.0", "x-amz-json-1.1"))
"""Subtypes of JSON that do not end in `+json` (RFC 6839): reports of browsers, JSON-RPC over HTTP, AWS."""


def _type(header: str) -> tuple[str, str, str]:
    """(kind, charset, boundary) of a Content-Type; the charset is empty for UTF-8 and its subset ASCII."""
    name, parameters = multipart.parameters_of(header)
    name = name.lower()
    charset = parameters.get("charset", "").strip("'\" ").lower()
    if charset in ("utf-8", "utf8", "us-ascii", "ascii"):
        charset = ""
    main, _, sub = name.partition("/")
    if sub in _JSON or sub.endswith("+json"):
        kind = "json"
    elif name == "application/x-www-form-urlencoded":
        kind = "form"
    elif name == "multipart/form-data":
        kind = "multipart"
    elif sub == "xml" or (sub.endswith("+xml") and sub != "xhtml+xml"):
        kind = "xml"
    elif main == "text" or sub in ("xhtml+xml", "javascript", "x-ndjson", "jsonl", "yaml", "graphql", "sql", "x-yaml"):
        kind = "text"
    elif not name:
        kind = ""
    else:
        kind = "binary"
    return kind, charset, parameters.get("boundary", "")


_cached_type = lru_cache(maxsize=512)(_type)
