"""One HTTP/1.1 request as text, with its answer behind it where there is one: what `curl -v`, a proxy's "copy as raw" or a test tool saves.

Lines may end in CR LF or LF. A body goes as far as `content-length` says, chunks are joined, and without either it is the rest.
"""

from __future__ import annotations

import re

from eastwall.model.call import BodyState, Request, Response
from eastwall.sources.observed import SourceError, shown

MAX_HEADERS = 1_000
_REQUEST = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}) +(\S.*?)(?: +HTTP/[0-9.]{1,3})?")
_STATUS = re.compile(r"HTTP/[0-9.]{1,3} +([1-5][0-9]{2})(?: .*)?")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):[ \t]*(.*?)[ \t]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\n]*)?\r?\n")
_END = re.compile(rb"\r?\n\r?\n")


def read(data: bytes, name: str) -> tuple[Request, Response | None]:
    """Raises SourceError, one line that names the input and the line in it."""
    text = data.lstrip(b"\r\n")
    skipped = data[: len(data) - len(text)].count(b"\n")
    if not text:
        raise SourceError(f"{name}: is empty; expected a request line such as `GET /orders/1 HTTP/1.1`")
    first, headers, rest, line = _head(text, name, 1 + skipped)
    found = _REQUEST.fullmatch(first)
    if found is None:
        raise SourceError(f"{name}:{1 + skipped}: `{shown(first)}` is no request line; expected e.g. `GET /orders/1 HTTP/1.1`")
    body, rest = _body(headers, rest, name, line)
    target = found[2]
    scheme, authority = "http", headers.get("host", "")
    absolute = re.match(r"(https?)://([^/?#]*)", target, re.IGNORECASE)
    if absolute is not None:
        scheme, authority = absolute[1].lower(), absolute[2]
        target = target[absolute.end() :] or "/"
    request = Request(found[1].upper(), target, headers, authority, scheme, body, BodyState.COMPLETE if body else BodyState.NONE)
    answer = rest.lstrip(b"\r\n")
    if not answer:
        return request, None
    line = data.count(b"\n", 0, len(data) - len(answer)) + 1
    first, headers, rest, after = _head(answer, name, line)
    status = _STATUS.fullmatch(first)
    if status is None:
        raise SourceError(
            f"{name}:{line}: `{shown(first)}` follows the request; expected its answer, `HTTP/1.1 200 OK`, or nothing"
        )
    body, _ = _body(headers, rest, name, after)
    return request, Response(int(status[1]), headers, body, BodyState.COMPLETE if body else BodyState.NONE)


def _head(data: bytes, name: str, line: int) -> tuple[str, dict[str, str], bytes, int]:
    """First line, headers, what follows the empty line, and the line on which that begins."""
    end = _END.search(data)
    head, rest = (data[: end.start()], data[end.end() :]) if end else (data.rstrip(b"\r\n"), b"")
    first, *lines = head.decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
    if len(lines) > MAX_HEADERS:
        raise SourceError(f"{name}:{line}: more than {MAX_HEADERS:,} headers")
    headers: dict[str, str] = {}
    for number, one in enumerate(lines, line + 1):
        found = _FIELD.fullmatch(one)
        if found is None:
            raise SourceError(
                f"{name}:{number}: `{shown(one)}` is no header; expected `Name: value`, and an empty line before the body"
            )
        key, value = found[1].lower(), found[2].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        join = "; " if key == "cookie" else "\n" if key == "set-cookie" else ", "
        headers[key] = f"{headers[key]}{join}{value}" if key in headers else value
    return first, headers, rest, line + len(lines) + 2


def _body(headers: dict[str, str], rest: bytes, name: str, line: int) -> tuple[bytes, bytes]:
    """The body, and what follows it."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return _joined(rest, name, line)
    length = headers.get("content-length", "")
    if not length:
        return rest, b""
    if not length.isdecimal() or len(length) > 12:
        raise SourceError(f"{name}:{line}: `content-length` is `{shown(length)}`, which is no length")
    size = int(length)
    if size > len(rest):
        # Saved texts gain and lose line ends; a longer body than there is would be read as cut.
        raise SourceError(
            f"{name}:{line}: the body has {len(rest):,} bytes, `content-length` says {size:,}; leave it out or mend it"
        )
    after = rest[size:]
    if after.strip() and not after.lstrip(b"\r\n").startswith(b"HTTP/"):
        raise SourceError(
            f"{name}:{line}: the body has {len(rest):,} bytes, `content-length` says {size:,}; leave it out or mend it"
        )
    return rest[:size], after


def _joined(rest: bytes, name: str, line: int) -> tuple[bytes, bytes]:
    body, at, newline = b"", 0, b"\n"
    while True:
        found = _CHUNK.match(rest, at)
        if found is None:
            number = line + rest.count(newline, 0, at)
            raise SourceError(f"{name}:{number}: the size of a chunk is expected, in hexadecimal: the body is said to be chunked")
        size, at = int(found[1], 16), found.end()
        if size == 0:
            end = _END.search(rest, at - 2)
            return body, rest[end.end() :] if end else b""
        if at + size > len(rest):
            raise SourceError(f"{name}:{line + rest.count(newline, 0, at)}: a chunk of {size:,} bytes is cut")
        body += rest[at : at + size]
        at += size
        at += 2 if rest[at : at + 2] == b"\r\n" else 1 if rest[at : at + 1] == b"\n" else 0
