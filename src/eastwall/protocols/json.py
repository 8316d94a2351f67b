"""JSON bodies: decoded once by msgspec, and what parsers disagree on told as faults.

The clean body is the common one, so every check here is a count or a search in C that proves "nothing to see"; only when
it cannot, an exact slow pass runs. Each shortcut has its reason beside it and a slow twin in tests/unit/protocols.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from msgspec import Struct

from eastwall.model.operation import ParserFault
from eastwall.protocols.limits import Limits

try:
    from eastwall.protocols._survey import doubts
except ImportError:  # no C compiler at installation: `accelerated` says so
    accelerated = False
else:
    accelerated = True

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_DIGITS = bytes(0x30 if 0x30 <= byte < 0x3A else 0x20 for byte in range(256))
_SAFE_DIGITS = b"0" * 16
"""2**53 has 16 digits: a body without a run of 16 digits holds no integer beyond it."""
SAFE_INTEGER = 2**53
"""Integers beyond this are read differently by readers with IEEE 754 doubles (RFC 8259 section 6)."""
DEEP, REPEATS, BIG = 1, 2, 4
_MAX_FAULTS = 8
"""Faults of one kind that are told one by one."""
_STRUCTURE = re.compile(rb'(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?[^,{\["]*+)++|[,{\[]', re.DOTALL)
"""Either strings with what stands between them, or one comma or opening bracket. Possessive, and an unterminated string matches
too, so that it is linear on any input; strings in a row are one match, so that matches are no more than twice the commas."""
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


class Parsed(Struct, frozen=True):
    """What came of a body that may be JSON."""

    ok: bool
    """Whether `tree` is what the body says. False: no JSON, or too deep or too large to be walked."""
    tree: Any = None
    faults: tuple[ParserFault, ...] = ()


def parse(body: bytes, limits: Limits) -> Parsed:
    """Decode a JSON body. Never raises; time linear in the body, memory bounded by `limits`."""
    # A value needs two bytes ("1,"), so a small body cannot hold too many.
    if len(body) > 2 * limits.max_values and _values_exceed(body, limits.max_values):
        return Parsed(False, None, (ParserFault("too-many-values", "body", f"more than {limits.max_values} values"),))
    try:
        tree = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _lenient(body, limits)
    except RecursionError:
        return _too_deep(limits)
    doubt = doubts(body, tree, limits.max_depth) if accelerated else doubts_of(body, tree, limits.max_depth)
    if not doubt:
        return Parsed(True, tree)
    if doubt & DEEP and deeper_than(tree, limits.max_depth):
        return _too_deep(limits)
    faults: tuple[ParserFault, ...] = ()
    if doubt & REPEATS:
        try:
            faults = _duplicates(body)
        except RecursionError:  # what a repeated key dropped nests deeper than what was kept
            return _too_deep(limits)
    if doubt & BIG:
        faults += tuple(_big_integers(tree))
    return Parsed(True, tree, faults)


def doubts_of(body: bytes, tree: Any, max_depth: int) -> int:
    """What of a body that was decoded to `tree` needs a closer look; a missing bit is a proof that there is nothing.

    DEEP: it may nest more than `max_depth` levels. REPEATS: see `may_repeat_keys`. BIG: see `may_hold_big_integer`.

    The twin in `_survey.c` reads the bytes once, outside of strings. It knows the keys that were written (each has one colon) and
    those that were kept, the levels and the longest number, so that its answers are exact but for numbers: it sets no bit that this
    one does not set, and every bit that is needed.
    """
    # As many containers as levels are needed for a body to be too deep.
    found = DEEP if body.count(b"{") + body.count(b"[") > max_depth else 0
    if may_repeat_keys(body, tree):
        found |= REPEATS
    return found | BIG if may_hold_big_integer(body) else found


def may_repeat_keys(body: bytes, tree: Any) -> bool:
    """Whether an object in `body` may give a key twice; False is a proof that none does.

    The decoder keeps the last of equal keys in silence, so they are found by counting colons. Written out again, the tree has
    one colon per kept key and those inside kept strings; the body has one per key, kept or not, and those inside all
    strings. If no colon is written as an escape (`\\u003a`), the body has exactly those more that belong to what was
    dropped: at least one per repeated key. Equal counts therefore mean that nothing was dropped.
    """
    if b"\\" in body and b"\\u003" in body:
        return True
    return body.count(b":") != _encode(tree).count(b":")


def may_hold_big_integer(body: bytes) -> bool:
    """Whether there are 16 digits in a row anywhere; False is a proof that no integer exceeds 2**53.

    Any 16 places in a row hold three of the places 0, 5, 10, ...: three digits in a row among every fifth byte are necessary
    for a run, and a fifth of the bytes is cheap to look at.
    """
    return b"000" in body[::5].translate(_DIGITS) and _SAFE_DIGITS in body.translate(_DIGITS)


def deeper_than(tree: Any, levels: int) -> bool:
    """Whether containers nest more than `levels` deep; level by level, no recursion."""
    level = [tree] if type(tree) is dict or type(tree) is list else []
    for _ in range(levels):
        level = [
            value
            for node in level
            for value in (node.values() if type(node) is dict else node)
            if type(value) is dict or type(value) is list
        ]
        if not level:
            return False
    return bool(level)


def _values_exceed(body: bytes, limit: int) -> bool:
    """Whether there are more than `limit` values: each is followed by a comma or ends a container, or is the top."""
    if body.count(b",") + body.count(b"{") + body.count(b"[") < limit:
        return False
    count = 0
    for found in _STRUCTURE.finditer(body):
        if found.end() - found.start() == 1 and body[found.start()] != 0x22:
            count += 1
            if count >= limit:
                return True
    return False


def _too_deep(limits: Limits) -> Parsed:
    return Parsed(False, None, (ParserFault("too-deep", "body", f"more than {limits.max_depth} levels"),))


def _big_integers(tree: Any) -> list[ParserFault]:
    """Faults of integers beyond 2**53, with their places."""
    faults: list[ParserFault] = []
    stack: list[tuple[str, Any]] = [("body", tree)]
    while stack and len(faults) < _MAX_FAULTS:
        place, node = stack.pop()
        if type(node) is dict:
            stack.extend((f"{place}.{key}", value) for key, value in reversed(node.items()) if type(value) in _INTERESTING)
        elif type(node) is list:
            stack.extend((f"{place}[{i}]", node[i]) for i in range(len(node) - 1, -1, -1) if type(node[i]) in _INTERESTING)
        elif type(node) is int and not -SAFE_INTEGER <= node <= SAFE_INTEGER:
            faults.append(ParserFault("big-integer", place, f"{_digits(node)} digits"))
    return faults


_INTERESTING = frozenset((dict, list, int))


def _digits(value: int) -> int:
    return len(str(abs(value)))


class _Notes:
    """What the tolerant parser met on its way: repeated keys, constants that are no JSON."""

    def __init__(self) -> None:
        self.repeated: list[str] = []
        self.constants: list[str] = []
        self.huge = 0

    def pairs(self, found: list[tuple[str, Any]]) -> dict[str, Any]:
        tree = dict(found)
        if len(tree) != len(found) and len(self.repeated) < _MAX_FAULTS:
            seen: set[str] = set()
            for key, _ in found:
                if key in seen:
                    self.repeated.append(key)
                seen.add(key)
        return tree

    def constant(self, name: str) -> float:
        self.constants.append(name)
        return float(name)

    def integer(self, digits: str) -> int | str:
        try:
            return int(digits)
        except ValueError:
            # Past the interpreter's limit on decimal digits (quadratic time): kept exact, as text.
            self.huge += 1
            return digits

    def faults(self) -> tuple[ParserFault, ...]:
        found = [ParserFault("duplicate-key", "body", f"`{key[:60]}`") for key in dict.fromkeys(self.repeated[:_MAX_FAULTS])]
        if self.constants:
            found.append(ParserFault("nan", "body", f"`{self.constants[0]}`"))
        if self.huge:
            found.append(ParserFault("big-integer", "body", "more digits than any parser takes"))
        return tuple(found)


def _duplicates(body: bytes) -> tuple[ParserFault, ...]:
    """The exact, slow answer to `may_repeat_keys`, for a body that is known to decode."""
    notes = _Notes()
    json.loads(body, object_pairs_hook=notes.pairs, parse_int=str, parse_float=str)
    return notes.faults()


def _lenient(body: bytes, limits: Limits) -> Parsed:
    """A body that the strict decoder refused: what a tolerant one makes of it, with the reason as a fault.

    Services read such bodies with parsers of every degree of tolerance, so refusing to look would be blindness.
    """
    for mark, name in _BOMS:
        if body.startswith(mark):
            fault = ParserFault("bom" if name == "utf-8" else "undeclared-charset", "body", name)
            text = body.decode(name, "replace").removeprefix("\ufeff")
            return _again(text.encode("utf-8", "replace"), limits, fault, bad=name != "utf-8" and "\ufffd" in text)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        fault = ParserFault("invalid-utf8", "body", f"at byte {error.start}")
        if _OVERLONG.search(body):
            # What a lax reader sees of it is what has to be judged.
            fault = ParserFault("overlong-utf8", "body", f"at byte {error.start}")
            body = _OVERLONG.sub(_from_overlong, body)
        return _again(body.decode("utf-8", "replace").encode(), limits, fault)
    if "\x00" in text[:8] and (transcoded := _wide(body)) is not None:
        return _again(transcoded, limits, ParserFault("undeclared-charset", "body", "wide characters without a byte order mark"))
    return _tolerant(text, limits)


def _again(body: bytes, limits: Limits, fault: ParserFault, *, bad: bool = False) -> Parsed:
    parsed = parse(body, limits)
    faults = (fault, ParserFault("invalid-utf8", "body", "")) if bad else (fault,)
    return Parsed(parsed.ok, parsed.tree, faults + parsed.faults)


def _wide(body: bytes) -> bytes | None:
    """UTF-16 or UTF-32 told by its zero bytes (RFC 4627 section 3), as UTF-8."""
    zeros = tuple(byte == 0 for byte in body[:4])
    patterns = {
        (True, True, True, False): "utf-32-be",
        (False, True, True, True): "utf-32-le",
        (True, False, True, False): "utf-16-be",
        (False, True, False, True): "utf-16-le",
    }
    name = patterns.get(zeros)  # type: ignore[arg-type]
    return None if name is None else body.decode(name, "replace").encode("utf-8", "replace")


_OVERLONG = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f][\x80-\xbf]|\xf0[\x80-\x8f][\x80-\xbf]{2}")
"""UTF-8 in more bytes than needed (RFC 3629 section 3)."""


def _from_overlong(match: re.Match[bytes]) -> bytes:
    point = 0
    for byte in match[0][1:]:
        point = point << 6 | byte & 0x3F
    point |= (match[0][0] & (0x1F if len(match[0]) == 2 else 0x0F)) << 6 * (len(match[0]) - 1)
    return b"?" if 0xD800 <= point < 0xE000 else chr(point).encode()


# Strings first, so that what stands in them is no comment. Possessive: linear on any input, an unterminated one ends with the text.
_COMMENT = re.compile(r'("[^"\\]*+(?:\\.[^"\\]*+)*+"?)|//[^\r\n]*+|\#[^\r\n]*+|/\*[^*]*+.*?(?:\*/|\Z)', re.DOTALL)
_COMMA = re.compile(r'("[^"\\]*+(?:\\.[^"\\]*+)*+"?)|,(?=\s*+[}\]])', re.DOTALL)


def _relaxed(text: str) -> tuple[str, tuple[ParserFault, ...]]:
    """A text without comments and trailing commas, which JSON5, JSONC and many lenient parsers take."""
    faults: tuple[ParserFault, ...] = ()
    without = _COMMENT.sub(lambda match: match[1] or " ", text) if "/" in text or "#" in text else text
    if without != text:
        faults = (ParserFault("json-comment", "body"),)
    plain = _COMMA.sub(lambda match: match[1] or "", without)
    return plain, faults if plain == without else (*faults, ParserFault("trailing-comma", "body"))


def _tolerant(text: str, limits: Limits) -> Parsed:
    parsed = _tolerated(text, limits)
    if parsed.ok or parsed.faults[0].id != "invalid-json":
        return parsed
    relaxed, faults = _relaxed(text)
    if not faults:
        return parsed
    again = parse(relaxed.encode("utf-8", "replace"), limits)
    return Parsed(True, again.tree, faults + again.faults) if again.ok else parsed


def _tolerated(text: str, limits: Limits) -> Parsed:
    notes = _Notes()
    decoder = json.JSONDecoder(
        strict=False,
        object_pairs_hook=notes.pairs,
        parse_constant=notes.constant,
        parse_int=notes.integer,
    )
    start = text[:1024].lstrip(" \t\r\n")
    offset = min(1024, len(text)) - len(start)
    try:
        tree, end = decoder.raw_decode(text, offset)
    except RecursionError:
        return _too_deep(limits)
    except ValueError as error:
        return Parsed(False, None, (ParserFault("invalid-json", "body", str(error)[:80]),))
    if deeper_than(tree, limits.max_depth):
        return _too_deep(limits)
    whole = _without_surrogates(tree)
    faults = notes.faults()
    if whole != tree:
        faults += (ParserFault("lone-surrogate", "body"),)
        tree = whole
    rest = text[end:].lstrip(" \t\r\n")
    if rest:
        faults += (ParserFault("trailing-data", "body", f"{len(rest)} characters after the value"),)
    faults += tuple(_big_integers(tree))
    if not faults:
        # Control characters in strings, lone surrogates, numbers past a double: some parsers take them, strict ones do not.
        faults = (ParserFault("invalid-json", "body", "only a tolerant parser reads it"),)
    return Parsed(True, tree, faults)


def _without_surrogates(node: Any) -> Any:
    """Half a surrogate pair (`\\ud800`) becomes U+FFFD: such text cannot be encoded, and would break whoever tries. The tree is
    known not to be deep."""
    if type(node) is str:
        return node if node.isascii() else node.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if type(node) is list:
        return [_without_surrogates(value) for value in node]
    if type(node) is dict:
        return {_without_surrogates(key): _without_surrogates(value) for key, value in node.items()}
    return node
