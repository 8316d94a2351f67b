"""Content-codings (RFC 9110 section 8.4): gzip, deflate, br, zstd and stacks of them, streamed under a size and a ratio limit."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import brotli
import zstandard
from msgspec import Struct

from eastwall.model.operation import ParserFault
from eastwall.protocols.limits import Limits

_CHUNK = 65_536
_EXEMPT = 65_536
"""A body that decodes to at most this many bytes is no bomb, whatever its ratio: an all-zero kilobyte is ordinary."""
_ZSTD_WINDOW = 8 * 1024 * 1024
"""The largest window that RFC 9659 lets an HTTP sender use; a larger one is a memory bomb before the first byte is out."""


class Decoded(Struct, frozen=True):
    """A body without its content-codings."""

    data: bytes
    """The decoded body, or the part of it up to a limit; the wire bytes when nothing could be decoded."""
    faults: tuple[ParserFault, ...] = ()
    complete: bool = True
    """False: `data` is a beginning only (a limit, or the wire body was truncated)."""
    readable: bool = True
    """False: nothing could be decoded, the codings are unknown or a lie; `data` is the wire body."""


class _BrokenError(Exception):
    """The data is not in the coding it claims."""


class _EarlyEndError(_BrokenError):
    """The data ends before the coding does."""


def decode(body: bytes, header: str, limits: Limits, *, truncated: bool = False) -> Decoded:
    """Undo the codings that `header` (Content-Encoding) lists, last applied first.

    `truncated`: the wire body is known to be a beginning; then an early end is no fault. Never raises.
    """
    names = [name for name in (part.strip().lower() for part in header.split(",", 64)) if name and name != "identity"]
    if len(names) > limits.max_codings:
        return Decoded(body, (_fault("unknown-encoding", f"{len(names)} codings stacked"),), readable=False)
    data, complete, faults = body, not truncated, []
    for name in reversed(names):
        opener = _CODINGS.get(name)
        if opener is None:
            return Decoded(body, (_fault("unknown-encoding", f"`{name[:40]}`"),), readable=False)
        limit = max(1, min(limits.max_decoded, max(_EXEMPT, limits.max_ratio * len(body))))
        decoded, ended, fault = _run(opener, name, data, limit, tolerate_end=not complete)
        if fault is not None:
            faults.append(fault)
        if decoded is None:
            return Decoded(body, tuple(faults), readable=False)
        data, complete = decoded, complete and ended
    return Decoded(data, tuple(faults), complete)


def _run(
    opener: Callable[[bytes], Iterator[bytes]], name: str, data: bytes, limit: int, *, tolerate_end: bool
) -> tuple[bytes | None, bool, ParserFault | None]:
    """One coding: (decoded or None, whether to its end, fault)."""
    out, size = [], 0
    try:
        for piece in opener(data):
            size += len(piece)
            if size > limit:
                out.append(piece[: limit - size])
                return (
                    b"".join(out),
                    False,
                    _fault("decompression-limit", f"{name}: {len(data)} bytes decode to more than {limit}"),
                )
            out.append(piece)
    except (_BrokenError, zlib.error, brotli.error, zstandard.ZstdError, MemoryError) as error:
        if tolerate_end and (size or isinstance(error, _EarlyEndError)):
            return b"".join(out), False, None
        if size:
            # Something came out: a lenient reader takes it, a strict one refuses the message. Both are told.
            return b"".join(out), False, _fault("unknown-encoding", f"{name}: {str(error)[:80]}")
        return None, False, _fault("unknown-encoding", f"{name}: {str(error)[:80]}")
    return b"".join(out), True, None


def _inflate(data: bytes, wbits: int, *, members: bool) -> Iterator[bytes]:
    while True:
        stream = zlib.decompressobj(wbits)
        rest = data
        while not stream.eof:
            piece = stream.decompress(rest, _CHUNK)
            rest = stream.unconsumed_tail
            if piece:
                yield piece
            elif not rest:
                break
        if not stream.eof:
            raise _EarlyEndError("ends too early")
        data = stream.unused_data
        # RFC 1952: members follow each other. Other bytes after the end are ignored by all common readers.
        if not members or not data.startswith(b"\x1f\x8b"):
            return


def _gzip(data: bytes) -> Iterator[bytes]:
    return _inflate(data, 31, members=True)


def _deflate(data: bytes) -> Iterator[bytes]:
    # "deflate" means zlib format, but raw deflate is sent too, and readers take both (RFC 9110 section 8.4.1.2).
    wrapped = len(data) >= 2 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
    return _inflate(data, 15 if wrapped else -15, members=False)


def _brotli(data: bytes) -> Iterator[bytes]:
    stream = brotli.Decompressor()
    piece = stream.process(data, output_buffer_limit=_CHUNK)
    while True:
        if piece:
            yield piece
        if stream.is_finished():
            return
        if stream.can_accept_more_data():
            raise _EarlyEndError("ends too early")
        piece = stream.process(b"", output_buffer_limit=_CHUNK)


def _zstd(data: bytes) -> Iterator[bytes]:
    if not data.startswith(b"\x28\xb5\x2f\xfd") and not (len(data) > 4 and data[1:4] == b"\x2a\x4d\x18"):
        raise _BrokenError("no zstd frame")
    reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(data, read_across_frames=True)
    while piece := reader.read(_CHUNK):
        yield piece


_CODINGS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}


def _fault(id: str, detail: str) -> ParserFault:
    return ParserFault(id, "body", detail)
