"""What every reader of recorded traffic gives and raises, and the choice of the reader by the first bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from eastwall.sources import har, lines
from eastwall.sources.observed import ObservedCall, SourceError

__all__ = ["ObservedCall", "SourceError", "read"]


def read(stream: IO[bytes], name: str) -> Iterator[ObservedCall]:
    """Calls of a HAR document (it starts with `{`) or of lines `METHOD URL [STATUS]`, whichever the input is.

    `name` is what errors call the input. Raises `SourceError`, one line that names the input and the line, on the first fault.
    """
    head = stream.read(4096)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    while head and not start:  # nothing but white space so far
        head = stream.read(4096)
        start = head.lstrip()
    if not start:
        raise SourceError(f"{name}: is empty; expected a HAR document or lines `METHOD URL [STATUS]`")
    if start.startswith(b"{"):
        return har.read(stream, name, head)
    return lines.read(stream, name, head)
