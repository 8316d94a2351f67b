"""Lines `METHOD URL [STATUS]`: the simplest recording there is. Empty lines and lines that start with `#` are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from re import compile as regex
from typing import IO

from eastwall.sources.observed import ObservedCall, SourceError, service_of, shown

MAX_LINE = 64 << 10
"""Bytes of a line; more is refused without being read."""

_METHOD = regex(r"[A-Za-z][A-Za-z0-9_-]{0,31}")


def read(stream: IO[bytes], name: str, head: bytes = b"") -> Iterator[ObservedCall]:
    """The calls, one by one as they are read. `head` is what was already taken from the stream.

    Raises `SourceError` with `name:line` on the first line that is not a call.
    """
    number = 0
    for number, raw in enumerate(_lines(stream, head), 1):
        if len(raw) > MAX_LINE:
            raise SourceError(f"{name}:{number}: line is over {MAX_LINE >> 10} KiB; one call is one line `METHOD URL [STATUS]`")
        if b"\0" in raw:
            raise SourceError(f"{name}:{number}: binary data; expected lines `METHOD URL [STATUS]`")
        try:
            text = raw.decode().strip()
        except UnicodeDecodeError:
            raise SourceError(f"{name}:{number}: not UTF-8 text; expected lines `METHOD URL [STATUS]`") from None
        if number == 1:
            text = text.removeprefix("\ufeff")
        if text and not text.startswith("#"):
            yield _call(text, f"{name}:{number}")


def _lines(stream: IO[bytes], head: bytes) -> Iterator[bytes]:
    *whole, last = head.split(b"\n")
    yield from whole
    line = last + (stream.readline(MAX_LINE + 2 - len(last)) if len(last) <= MAX_LINE else b"")
    while line:
        yield line.rstrip(b"\r\n")
        line = stream.readline(MAX_LINE + 2)


def _call(text: str, where: str) -> ObservedCall:
    parts = text.split()
    if len(parts) not in (2, 3):
        raise SourceError(f"{where}: `{shown(text)}` is not `METHOD URL [STATUS]`; write spaces in the URL as %20")
    method, url = parts[0], parts[1]
    if not _METHOD.fullmatch(method):
        raise SourceError(f"{where}: `{shown(method)}` is not an HTTP method")
    status = None
    if len(parts) == 3:
        if not (parts[2].isascii() and parts[2].isdigit() and (parts[2] == "0" or 100 <= int(parts[2][:4]) <= 599)):
            raise SourceError(f"{where}: `{shown(parts[2])}` is not an HTTP status (100 to 599, or 0 for none)")
        status = int(parts[2])
    try:
        service = service_of(url)
    except ValueError:
        raise SourceError(f"{where}: `{shown(url)}` is neither a path that starts with `/` nor an http(s) URL") from None
    return ObservedCall(method=method.upper(), url=url, status=status, service=service)
