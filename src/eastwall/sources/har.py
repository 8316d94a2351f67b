"""HTTP Archive (HAR) 1.2, as browsers and proxies write it. Read entry by entry: memory is bounded by the largest entry."""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from datetime import UTC, datetime
from re import search
from typing import IO
from urllib.parse import quote_plus

import msgspec
from msgspec import Struct

from eastwall.model.call import BodyState
from eastwall.sources.json_stream import MAX_ELEMENT, Elements, JsonFault
from eastwall.sources.observed import ObservedCall, Skipped, SourceError, cut_body, join_headers, service_of, shown, trace_context

ORIGIN = "har"


class _Pair(Struct):
    name: str = ""
    value: str | None = ""


class _Post(Struct):
    mime: str | None = msgspec.field(name="mimeType", default="")
    text: str | None = ""
    params: list[_Pair] | None = None


class _Request(Struct):
    method: str
    url: str
    headers: list[_Pair] = []
    post: _Post | None = msgspec.field(name="postData", default=None)
    size: float | None = msgspec.field(name="bodySize", default=0)


class _Content(Struct):
    size: float | None = 0
    mime: str | None = msgspec.field(name="mimeType", default="")
    text: str | None = None
    encoding: str | None = ""


class _Response(Struct):
    status: int = 0
    headers: list[_Pair] = []
    content: _Content | None = None
    size: float | None = msgspec.field(name="bodySize", default=0)


class _Entry(Struct):
    request: _Request
    response: _Response = msgspec.field(default_factory=_Response)
    started: str | None = msgspec.field(name="startedDateTime", default="")
    time: float | None = 0


_DECODER = msgspec.json.Decoder(_Entry)


def read(stream: IO[bytes], name: str, head: bytes = b"", skipped: Skipped | None = None) -> Iterator[ObservedCall]:
    """The calls in file order. Entries that are no HTTP calls (`data:`, `blob:`, `chrome-extension:` ...) are left out.

    `head` is what was already taken from the stream. Raises `SourceError` naming the line of a syntax error, after the calls
    before it. An entry that is not as HAR wants it is counted in `skipped`, and raises where there is none.
    """
    elements = Elements(stream, ("log", "entries"), head)
    try:
        for number, (line, raw) in enumerate(elements):
            try:
                call = _call(raw, number)
            except _NotHttp as other:
                if skipped is not None:
                    skipped.add("not-http", str(other))
                continue
            except ValueError as fault:
                if skipped is None or _is_syntax(fault):
                    raise _fault(fault, name, number, line, raw) from None
                skipped.add("bad-entry", str(_fault(fault, name, number, line, raw)))
                continue
            yield call
    except JsonFault as fault:
        if fault.absent:
            raise SourceError(f"{name}:{fault.line}: JSON, but not HAR: {fault}") from None
        raise SourceError(f"{name}:{fault.line}: not valid JSON: {fault}") from None


class _NotHttp(ValueError):
    """A `data:` URL and the like."""


class _BadEntry(ValueError):
    """Lower-case words about the entry."""


def _is_syntax(fault: ValueError) -> bool:
    """Broken JSON ends the reading: what follows may be anything. (A ValidationError is a DecodeError too.)"""
    return isinstance(fault, msgspec.DecodeError) and type(fault).__name__ == "DecodeError"


def _fault(fault: ValueError, name: str, number: int, line: int, raw: bytes) -> SourceError:
    if isinstance(fault, msgspec.ValidationError):
        # HAR is mostly one long line: the number of the entry says more.
        text = str(fault).replace("`$", f"`$.log.entries[{number}]")
        return SourceError(f"{name}:{line}: JSON, but not HAR: {_lower(text)}")
    if isinstance(fault, msgspec.DecodeError):
        at = search(r"\(byte (\d+)\)", str(fault))
        line += raw.count(b"\n", 0, int(at[1]) if at else len(raw))
        return SourceError(f"{name}:{line}: not valid JSON: {_lower(str(fault))}")
    if isinstance(fault, UnicodeDecodeError):
        return SourceError(f"{name}:{line + raw.count(bytes([10]), 0, fault.start)}: not UTF-8 text")
    return SourceError(f"{name}:{line}: entry {number}: {_lower(str(fault))}")


def _call(raw: bytes, number: int) -> ObservedCall:
    """Raises _NotHttp, and ValueError on what is not HAR."""
    if not raw:
        raise _BadEntry(f"it is over {MAX_ELEMENT >> 20} MiB")
    try:
        entry = _DECODER.decode(raw)
    except RecursionError:
        raise _BadEntry("it is nested too deeply") from None
    request, response = entry.request, entry.response
    try:
        service = _service(request.url)
    except ValueError:
        if search(r"\A(?!https?:|wss?:)[a-z][a-z0-9+.-]*:", request.url):
            raise _NotHttp(shown(request.url)) from None
        raise _BadEntry(f"`{shown(request.url)}` is not a URL") from None
    if not 0 <= response.status <= 999:
        raise _BadEntry(f"{response.status} is not an HTTP status")
    headers = _headers(request.headers)
    body, body_state = _request_body(request)
    answer_headers = _headers(response.headers)
    answer, answer_state = _response_body(response, answer_headers)
    trace, parent = trace_context(headers)
    return ObservedCall(
        method=request.method.upper(),
        url=request.url,
        status=response.status,
        service=service,
        time=seconds(entry.started or ""),
        duration_us=_micro(entry.time),
        request_headers=headers,
        request_body=body,
        request_body_state=body_state,
        request_bytes=max(_size(request.size), len(body)),
        response_headers=answer_headers,
        response_body=answer,
        response_body_state=answer_state,
        response_bytes=max(_size(response.size), _size(response.content.size if response.content else 0), len(answer)),
        tls=request.url[:6].lower() == "https:",
        trace=trace,
        parent=parent,
        origin=ORIGIN,
    )


_services: dict[str, str] = {}


def _service(url: str) -> str:
    """`service_of`, remembered by what is before the path. Raises ValueError."""
    slash = url.find("/", 8)
    origin = url[:slash] if slash > 0 else url
    found = _services.get(origin)
    if found is None:
        found = service_of(url)
        if len(_services) > 1_000:
            _services.clear()
        if slash > 0 and "?" not in origin and "#" not in origin:
            _services[origin] = found
    return found


def _headers(pairs: list[_Pair]) -> dict[str, str]:
    return join_headers([(pair.name, pair.value or "") for pair in pairs])


def _request_body(request: _Request) -> tuple[bytes, BodyState]:
    post = request.post
    if post is not None and post.text:
        return cut_body(post.text.encode("utf-8", "surrogatepass"))
    if post is not None and post.params and "urlencoded" in (post.mime or ""):
        return cut_body("&".join(f"{quote_plus(p.name)}={quote_plus(p.value or '')}" for p in post.params).encode())
    return b"", BodyState.SKIPPED if _size(request.size) else BodyState.NONE


def _response_body(response: _Response, headers: dict[str, str]) -> tuple[bytes, BodyState]:
    content = response.content
    # HAR holds bodies decoded: the codings that the header names are gone.
    headers.pop("content-encoding", None)
    if content is None or not content.text:
        missing = _size(response.size) or (content is not None and _size(content.size))
        return b"", BodyState.SKIPPED if missing else BodyState.NONE
    if content.mime:
        headers.setdefault("content-type", content.mime)
    if content.encoding == "base64":
        try:
            return cut_body(binascii.a2b_base64(content.text.encode()))
        except ValueError:
            return b"", BodyState.SKIPPED
    return cut_body(content.text.encode("utf-8", "surrogatepass"))


def _size(given: float | None) -> int:
    """HAR writes -1 where it does not know."""
    return int(given) if given is not None and 0 < given < 1 << 50 else 0


def _micro(milliseconds: float | None) -> int:
    return int(milliseconds * 1000) if milliseconds is not None and 0 < milliseconds < 1e12 else 0


def seconds(text: str) -> float:
    """Unix seconds of an ISO 8601 time; 0.0 when it is none. Without a zone it is taken for UTC."""
    try:
        when = datetime.fromisoformat(text[:40])
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def _lower(text: str) -> str:
    return shown(text[:1].lower() + text[1:], 200)
