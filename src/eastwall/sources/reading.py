"""What every reader of recorded traffic gives and raises, and the choice of the reader by the first bytes."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable, Iterator
from typing import IO

import msgspec

from eastwall.sources import access_log, har, lines, mitmproxy, otlp
from eastwall.sources.observed import ObservedCall, Skipped, SourceError

__all__ = ["FORMATS", "ObservedCall", "Skipped", "SourceError", "detect", "read"]

HEAD = 64 << 10
"""Bytes that are looked at to tell the format."""
_PCAP_MAGICS = (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x0a\x0d\x0d\x0a")
EXPECTED = "a HAR document, an access log or lines `METHOD URL [STATUS]`"

Reader = Callable[[IO[bytes], str, bytes, Skipped | None], Iterator[ObservedCall]]


def _lines(stream: IO[bytes], name: str, head: bytes, skipped: Skipped | None) -> Iterator[ObservedCall]:
    return lines.read(stream, name, head)


def _pcap(stream: IO[bytes], name: str, head: bytes, skipped: Skipped | None) -> Iterator[ObservedCall]:
    try:
        from eastwall.sources import pcap
    except ImportError as error:
        raise SourceError(f"{name}: packet captures need the package `{error.name}`: install eastwall[all]") from None
    yield from pcap.read(stream, name, head, skipped)


FORMATS: dict[str, Reader] = {
    "har": har.read,
    "mitmproxy": mitmproxy.read,
    "pcap": _pcap,
    "otlp": otlp.read,
    "access-log": access_log.read,
    "lines": _lines,
}
"""Name for `--format` -> reader."""


def read(stream: IO[bytes], name: str, format: str = "", skipped: Skipped | None = None) -> Iterator[ObservedCall]:
    """Calls of a recording in any of FORMATS, told by its first bytes unless `format` says which; gzip is undone first.

    `name` is what errors call the input. What is left out is counted in `skipped`. Raises `SourceError`, one line that names the
    input and where in it, when it cannot be read (on): the calls before that have been given then.
    """
    try:
        stream, head = _head(stream)
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n\v\f")
        while head and not start:  # nothing but white space so far
            head = stream.read(HEAD)
            start = head.lstrip()
        if not start:
            raise SourceError(f"{name}: is empty; expected {EXPECTED}")
        yield from FORMATS[format or detect(head)](stream, name, head, skipped)
    except (gzip.BadGzipFile, EOFError) as fault:
        raise SourceError(f"{name}: the gzip data is broken: {str(fault)[:1].lower()}{str(fault)[1:]}") from None


def _head(stream: IO[bytes]) -> tuple[IO[bytes], bytes]:
    """The first bytes, of what is compressed where it is compressed."""
    head = stream.read(HEAD)
    if head.startswith(b"\x1f\x8b\x08"):
        stream = io.BufferedReader(gzip.GzipFile(fileobj=_Joined(head, stream)))
        head = stream.read(HEAD)
    return stream, head


class _Joined(io.RawIOBase):
    """Bytes that were taken from a stream, before the rest of it."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            return self._rest.read(size)
        taken = self._head if size < 0 else self._head[:size]
        self._head = self._head[len(taken) :]
        return taken


def detect(head: bytes) -> str:
    """Which of FORMATS the first bytes of an input look like; `lines` when like none."""
    if head[:4] in _PCAP_MAGICS:
        return "pcap"
    if head[:1] == b"\0" and head[4:5] == b"\x0a":  # a length of four bytes, then the first field of an export request
        return "otlp"
    if re.match(rb"\d{1,12}:\d{1,9}:[a-z_]+;", head):
        return "mitmproxy"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"{"):
        return _json(start)
    found = [line for line in start.split(b"\n")[:20] if line.strip() and not line.startswith(b"#")]
    if sum(map(access_log.like, found)) * 2 >= len(found):
        return "access-log"
    return "lines"


_SPECIFICATION = re.compile(
    rb'\A\s*(?:---\s)?\s*(?:#[^\n]*\n\s*)*(?:openapi|swagger)["\']?\s*:|"(?:openapi|swagger)"\s*:\s*"[123]|schema\.getpostman\.com|"_postman_id"'
    rb"|^\s*syntax\s*=\s*[\"']proto[23]",
    re.MULTILINE,
)


def is_specification(head: bytes, name: str) -> bool:
    """Whether an input declares an API (OpenAPI, Swagger, Postman, SDL, proto, descriptor set) instead of recording its calls."""
    if name.lower().endswith(
        (".proto", ".protoset", ".desc", ".pb", ".binpb", ".graphql", ".graphqls", ".gql", ".sdl", ".yaml", ".yml")
    ):
        return True
    start = head[:HEAD].removeprefix(b"\xef\xbb\xbf")
    if re.match(rb'\s*\{\s*"log"\s*:', start):
        return False  # a recording may well hold a specification that was fetched
    # A document on one line looks like a line of a log.
    if re.match(rb"\s*\{", start) and re.search(rb'"(?:openapi|swagger)"\s*:\s*"[123]', start) and b'"paths"' in start:
        return True
    return _SPECIFICATION.search(start) is not None and detect(start) not in ("access-log", "pcap", "mitmproxy", "otlp")


def _json(start: bytes) -> str:
    if re.match(rb'\{\s*"log"\s*:', start):
        return "har"
    if re.match(rb'\{\s*"resourceSpans"\s*:', start):
        return "otlp"
    first = start.partition(b"\n")[0]
    try:
        fields = msgspec.json.decode(first, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return "har"
    # A whole object on one line: a line of a log, unless it is the only one and holds `log.entries`.
    return "har" if b'"entries"' in bytes(fields.get("log", b"")) else "access-log"
