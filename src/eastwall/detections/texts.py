"""The texts of a JSON body, and whether a text may hold a further encoding: what the prefilter asks of every call.

Both have a twin in C (`_texts.c`), which reads 64 KB in tens of microseconds. Without a C compiler at installation the slow ones here
are used: the same answers, see `accelerated`.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable

import msgspec

try:
    from eastwall.detections._texts import gathered as _gathered
    from eastwall.detections._texts import signs as _signs
except ImportError:  # no C compiler at installation: `accelerated` says so
    accelerated = False
else:
    accelerated = True

PERCENT, ESCAPE, REFERENCE, COMPATIBLE, BASE64, HEX, UTF7, NESTED = (1 << number for number in range(8))

_STRING = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"?', re.DOTALL)

_READABLE = frozenset(range(32, 127)) | frozenset(b"\t\r\n")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_PACKED = (b"H4sI", b"eJ", b"eNo", b"eAE", b"KLUv")
"""What a packed value begins with once it is in Base64: gzip, zlib (its usual levels), zstd."""
_WORD = re.compile(rb"[A-Za-z0-9+/_-]{12,}")
_HEX = re.compile(rb"(?=[0-9]*+[a-fA-F])(?:[2-7][0-9a-fA-F]){8,}|0[xX](?:[2-7][0-9a-fA-F]){6,}")
_SIGNS = tuple(
    (bit, re.compile(pattern, re.DOTALL))
    for bit, pattern in (
        (PERCENT, rb"%(?:[0-9a-fA-F]{2}|[uU][0-9a-fA-F]{4})"),
        (ESCAPE, rb"\\(?:[uU][0-9a-fA-F{]|[xX][0-9a-fA-F]{2}|[0-3][0-7]{2})"),
        (REFERENCE, rb"&(?:#|[A-Za-z]{2,8};)"),
        (
            COMPATIBLE,
            rb"\xc2\xad|\xc5\xbf|\xcd\xbe|\xe1(?:\xbf\xaf|\xa0\x8e)|\xe2(?:\x80[\x8b-\x8f\xa4\xa5\xaa-\xae]|\x81[\xa0-\xff]|\x84\xaa"
            rb"|[\x91-\x93].)|\xef(?:[\xbc\xbd].|\xb9[\x90-\xab]|\xbb\xbf)|\xf0\x9d[\x90-\x9f]",
        ),
        (UTF7, rb"\+A[A-H][A-Za-z0-9+/_-]"),
        (NESTED, rb"(?:\A|(?<=\n))[{\[][ \t\r\n]*+[\"{\[]"),
    )
)


SPECIAL = b"\"'`;|&()<>{}[]$=*\\^~#%\r\n"
"""Characters that names, prose, numbers, dates, addresses and URLs hardly hold, and most patterns need."""
_SPECIAL = re.compile(b"[" + re.escape(SPECIAL) + b"]")


BETWEEN = b"\n\x1e\n"
"""Stands between two texts: ends of lines for the anchors of patterns, and a character that is no space, so that no pattern matches over
the border (`1` and `limit` beside each other are no SQL)."""


def special(data: bytes) -> bool:
    """Whether a text holds a character of `SPECIAL`."""
    return _SPECIAL.search(data) is not None


def gathered_of(head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """`head` and every string of a JSON body, names and values, with its escapes undone, parted by `BETWEEN`; and those of the body once more
    that hold a character of `SPECIAL`.

    Empty strings and some of those that come again are left out (the twin in C remembers short ones only). The body is known to be
    JSON; of what is none, something comes back that has no meaning.
    """
    found = {head: None} if head else {}
    for match in _STRING.finditer(body):
        text = match[1]
        if b"\\" in text:
            try:
                text = msgspec.json.decode(b'"' + text + b'"', type=str).encode("utf-8", "replace")
            except (msgspec.DecodeError, UnicodeDecodeError):
                text = text.replace(b"\\", b"")
        if text:
            found[text] = None
    return BETWEEN.join(found), BETWEEN.join([text for text in found if text is not head and special(text)])


def signs_of(data: bytes) -> int:
    """Which further encodings a text may hold, one bit each; 0 is a proof that there is none that `decoding` undoes.

    PERCENT: `%27`, `%u0027`. ESCAPE: `\x27`, `\u0027`, `\047`. REFERENCE: `&#39;`, `&quot;`. COMPATIBLE: characters that NFKC makes
    ASCII, or that show nothing. BASE64: of readable text, or of something packed. HEX: of readable text. UTF7: `+ACc-`.
    NESTED: a line that begins like a JSON container.
    """
    found = 0
    for bit, pattern in _SIGNS:
        if pattern.search(data):
            found |= bit
    for match in _WORD.finditer(data):
        found |= _signs_of_word(match[0])
    return found


def _signs_of_word(word: bytes) -> int:
    at = 0
    while len(word) - at >= 12:
        # Twelve characters that are nine bytes of readable ASCII: a random token passes once in 6,000.
        if _READABLE.issuperset(a2b_base64(word[at : at + 12].translate(_TO_STANDARD))) or (
            len(word) - at >= 20 and word.startswith(_PACKED, at)
        ):
            return BASE64
        slash = word.find(b"/", at)
        if slash < 0:
            break
        at = slash + 1
    return HEX if _HEX.fullmatch(word) else 0


gathered: Callable[[bytes, bytes], tuple[bytes, bytes]] = _gathered if accelerated else gathered_of
signs: Callable[[bytes], int] = _signs if accelerated else signs_of
