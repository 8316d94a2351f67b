"""HTTP Archive (HAR) 1.2, as browsers and proxies write it."""

from __future__ import annotations

from collections.abc import Iterator
from re import search
from typing import IO

import msgspec
from msgspec import Struct

from eastwall.sources.observed import ObservedCall, SourceError, service_of, shown

MAX_BYTES = 512 << 20
"""A larger document is refused: HAR is one JSON value and has to be in memory whole."""


class _Request(Struct):
    method: str
    url: str


class _Response(Struct):
    status: int = 0


class _Entry(Struct):
    request: _Request
    response: _Response = msgspec.field(default_factory=_Response)


class _Log(Struct):
    entries: list[_Entry]


class _Har(Struct):
    log: _Log


_DECODER = msgspec.json.Decoder(_Har)


def read(stream: IO[bytes], name: str, head: bytes = b"") -> Iterator[ObservedCall]:
    """The calls in file order. Entries that are no HTTP calls (`data:`, `blob:`, `chrome-extension:` ...) are left out.

    `head` is what was already taken from the stream. Raises `SourceError` naming the line of a syntax error, or the entry that
    is not as HAR wants it.
    """
    data = head + stream.read(MAX_BYTES + 1 - len(head))
    if len(data) > MAX_BYTES:
        raise SourceError(f"{name}: HAR is over {MAX_BYTES >> 20} MiB; export it in parts")
    try:
        document = _DECODER.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except msgspec.ValidationError as fault:
        raise SourceError(f"{name}:1: JSON, but not HAR: {_lower(str(fault))}") from None
    except (msgspec.DecodeError, RecursionError) as fault:
        at = search(r"\(byte (\d+)\)", str(fault))
        line = data.count(b"\n", 0, int(at[1]) if at else len(data)) + 1
        raise SourceError(f"{name}:{line}: not valid JSON: {_lower(str(fault))}") from None
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise SourceError(f"{name}:{line}: not UTF-8 text") from None
    for number, entry in enumerate(document.log.entries):
        try:
            service = service_of(entry.request.url)
        except ValueError:
            if search(r"\A(?!https?:|wss?:)[a-z][a-z0-9+.-]*:", entry.request.url):
                continue
            raise SourceError(f"{name}:1: entry {number}: `{shown(entry.request.url)}` is not a URL") from None
        if not 0 <= entry.response.status <= 999:
            raise SourceError(f"{name}:1: entry {number}: {entry.response.status} is not an HTTP status")
        yield ObservedCall(
            method=entry.request.method.upper(), url=entry.request.url, status=entry.response.status, service=service
        )


def _lower(text: str) -> str:
    return shown(text[:1].lower() + text[1:], 200)
