"""Finds the elements of one array in a JSON document without reading the document whole: what a 512 MB HAR needs.

Only the structure is looked at (strings, brackets, and the keys on the way to the array); the elements are handed out as raw bytes
for a real parser. Work is linear in the input, memory is one element and a chunk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

CHUNK = 1 << 18
MAX_ELEMENT = 64 << 20
"""Bytes of one element; a larger one is passed over."""
MAX_DEPTH = 1_000
"""Depth at which a document is refused (outside of elements)."""

# Everything up to the next bracket, whole strings in one go; nothing is tried twice. Where a string may be left open in the buffer, an
# atomic group holds that: a possessive one would go on in the middle of it on CPython before 3.11.5 (gh-106052).
_PLAIN = re.compile(rb'(?>[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*)', re.DOTALL)


def _nested(depth: int) -> bytes:
    """A bracketed value with at most so many levels of brackets in it; which bracket closes which is for the real parser."""
    plain = rb'[^"{}\[\]]*+'
    inner = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
    return (
        rb"[{\[](?>" + plain + rb"(?:(?:" + inner + (rb"|" + _nested(depth - 1) if depth else b"") + rb")" + plain + rb")*)[}\]]"
    )


_WHOLE = re.compile(_nested(6), re.DOTALL)
"""Most elements are matched by this at once; deeper ones, and those that a chunk ends in, are gone through bracket by bracket."""
_STRING = re.compile(rb"(?:[^\"\\]++|\\.)*+", re.DOTALL)
_TOKEN = re.compile(rb'[ \t\r\n]*+(?:([{}\[\]:,])|("(?:[^"\\]++|\\.)*+")|([^\s{}\[\]:,"]++))', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*+")


class JsonFault(ValueError):
    """The document breaks off or is not JSON; `line` is where, counted from 1."""

    def __init__(self, line: int, what: str, *, absent: bool = False) -> None:
        super().__init__(what)
        self.line = line
        self.absent = absent
        """It is JSON, but holds no such array."""


class Elements:
    """Iterates over `(line, raw bytes)` of the elements of the array at `path` (keys from the top). Raises `JsonFault`.

    A raw element over MAX_ELEMENT comes as empty bytes. After the last one the rest of the document is checked for its structure.
    """

    def __init__(self, stream: IO[bytes], path: tuple[str, ...], head: bytes = b"") -> None:
        self._stream = stream
        self._path = path
        self._data = head
        self._at = 0
        self._line = 1
        self._counted = 0
        """Up to where in `_data` the line ends are in `_line`."""
        self._start = 0
        """Where in `_data` the element in the making begins."""
        self._kept: list[bytes] = []
        """What came before it in earlier chunks."""
        self._kept_size = 0
        self._over = False

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        if self._peek() == b"\xef" and self._need(3) and self._data.startswith(b"\xef\xbb\xbf", self._at):
            self._at += 3
        if not self._descend():
            raise JsonFault(1, f"there is no array `{'.'.join(self._path)}`", absent=True)
        yield from self._elements()
        self._leave(len(self._path))

    # -- input ----------------------------------------------------------------------------------------------------

    def _more(self) -> bool:
        """Drop what is behind, append a chunk; False at the end of the input."""
        chunk = b"" if self._over else self._stream.read(CHUNK)
        if not chunk:
            self._over = True
            return False
        self._line += self._data.count(b"\n", self._counted, self._at)
        self._data = self._data[self._at :] + chunk
        self._at = self._start = self._counted = 0
        return True

    def _need(self, size: int) -> bool:
        while len(self._data) - self._at < size:
            if not self._more():
                return False
        return True

    def line(self, at: int | None = None) -> int:
        return self._line + self._data.count(b"\n", self._counted, self._at if at is None else at)

    def _peek(self) -> bytes:
        """The next byte that is no white space; empty at the end."""
        while True:
            found = _SPACE.match(self._data, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._data):
                return self._data[self._at : self._at + 1]
            if not self._more():
                return b""

    def _token(self) -> bytes:
        """A bracket, comma, colon, whole string or scalar. Raises JsonFault at the end of the input."""
        limit = CHUNK
        while True:
            self._peek()
            found = _TOKEN.match(self._data, self._at)
            # A scalar at the very end of the buffer may go on in the next chunk.
            if found and (found.end() < len(self._data) or found[1] or found[2]):
                self._at = found.end()
                return found[1] or found[2] or found[3]
            if len(self._data) - self._at > limit:
                raise JsonFault(self.line(), "a text outside of the recorded calls is over 256 KiB")
            if not self._more():
                if found:
                    self._at = found.end()
                    return found[3]
                raise JsonFault(
                    self.line(len(self._data)), "it breaks off" if self._at < len(self._data) else "it ends too early"
                )

    # -- structure ------------------------------------------------------------------------------------------------

    def _descend(self) -> bool:
        """Stand behind the `[` of the array; False when the document ends without it."""
        for depth, key in enumerate(self._path):
            if self._peek() != b"{":
                return False
            self._token()
            if not self._to_key(key):
                self._leave(depth)
                return False
        if self._peek() != b"[":
            return False
        self._token()
        return True

    def _to_key(self, key: str) -> bool:
        """Inside an object: go behind `"key":`, passing over what comes before; False behind the object's end."""
        wanted = b'"' + key.encode() + b'"'
        while True:
            token = self._token()
            if token == b"}":
                return False
            if token == b",":
                continue
            if token[:1] != b'"' or self._token() != b":":
                raise JsonFault(self.line(), "a key is expected here")
            if token == wanted:
                return True
            self._pass_value()

    def _pass_value(self) -> None:
        first = self._token()
        if first in (b"{", b"["):
            self._pass(1)
        elif first in (b"}", b"]", b",", b":"):
            raise JsonFault(self.line(), "a value is expected here")

    def _pass(self, depth: int) -> None:
        """Go behind the end of `depth` open brackets, whatever is in them."""
        while depth:
            bracket = self._bracket(keep=False)
            depth += 1 if bracket in b"{[" else -1
            if depth > MAX_DEPTH:
                raise JsonFault(self.line(), "it is nested too deeply")

    def _bracket(self, *, keep: bool) -> bytes:
        """Go behind the next bracket that is in no string. `keep`: the caller has dropped nothing that it still needs."""
        while True:
            found = _PLAIN.match(self._data, self._at)
            assert found is not None
            self._at = found.end()
            if self._at < len(self._data):
                if self._data[self._at] != 0x22:
                    self._at += 1
                    return self._data[self._at - 1 : self._at]
                self._rest_of_string(keep)
            elif not (self._extend() if keep else self._more()):
                raise JsonFault(self.line(), "it breaks off")

    def _rest_of_string(self, keep: bool) -> None:
        """From the quote of a string that the buffer does not hold whole, behind its end; each byte is looked at once."""
        self._at += 1
        while True:
            found = _STRING.match(self._data, self._at)
            assert found is not None
            self._at = found.end()
            if self._at < len(self._data) and self._data[self._at] == 0x22:
                self._at += 1
                return
            if not (self._extend() if keep else self._more()):
                raise JsonFault(self.line(), "it breaks off in a text")

    def _extend(self) -> bool:
        """As `_more`, for an element in the making: what is behind goes to `_kept`, while that is not too much."""
        part = self._data[self._start : self._at]
        if self._kept_size <= MAX_ELEMENT:
            self._kept.append(part)
        self._kept_size += len(part)
        return self._more()

    def _elements(self) -> Iterator[tuple[int, bytes]]:
        while True:
            token = self._peek()
            if token == b"]":
                self._at += 1
                return
            if token == b",":
                self._at += 1
                continue
            if token != b"{":
                raise JsonFault(
                    self.line(), "it ends too early" if not token else "an entry is expected here, an object in braces"
                )
            yield self._element()

    def _element(self) -> tuple[int, bytes]:
        self._line += self._data.count(b"\n", self._counted, self._at)
        self._counted = self._start = self._at
        line = self._line
        whole = _WHOLE.match(self._data, self._at)
        if whole is not None:
            self._at = whole.end()
            return line, whole[0]
        self._kept, self._kept_size = [], 0
        depth = 0
        while True:
            bracket = self._bracket(keep=True)
            depth += 1 if bracket in b"{[" else -1
            if not depth:
                break
            if depth > MAX_DEPTH:
                raise JsonFault(self.line(), "it is nested too deeply")
        last = self._data[self._start : self._at]
        raw = b"" if self._kept_size + len(last) > MAX_ELEMENT else b"".join([*self._kept, last])
        self._kept = []
        return line, raw

    def _leave(self, depth: int) -> None:
        """`depth` open objects must end, and nothing may follow."""
        self._pass(depth)
        if self._peek():
            raise JsonFault(self.line(), "something follows the end of the document")
