"""Lines of a recording, whatever they are: bounded, numbered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO


def numbered(stream: IO[bytes], head: bytes, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """(number from 1, line without its end) of every line; None in place of one over `limit` bytes, which is never held whole.

    `head` is what was already taken from the stream.
    """
    number = 0
    *whole, last = head.split(b"\n")
    for number, line in enumerate(whole, 1):
        yield number, line.rstrip(b"\r") if len(line) <= limit else None
    line = last + stream.readline(max(1, limit + 2 - len(last)))
    while line:
        number += 1
        if len(line) > limit + 1 or (len(line) > limit and not line.endswith(b"\n")):
            while line and not line.endswith(b"\n"):
                line = stream.readline(1 << 16)
            yield number, None
        else:
            yield number, line.rstrip(b"\r\n")
        line = stream.readline(limit + 2)
