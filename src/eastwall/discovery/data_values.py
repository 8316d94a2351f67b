"""What sensitive values look like: the prefilter automaton, the expressions, the validators, and the search of one text.

The classes themselves are described in `data_classes`.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from bisect import bisect_left
from collections.abc import Callable, Collection
from functools import lru_cache
from re import Match as TextMatch
from re import Pattern
from re import compile as regex
from typing import Any, NamedTuple

import hyperscan
import msgspec

from eastwall.discovery import automata
from eastwall.discovery.objects import generated
from eastwall.model.operation import Operation

CLASSES = ("pan", "ssn", "iban", "email", "phone", "secret")
MAX_HITS = 200
"""Distinct (class, place) reported for one message."""
MAX_DEPTH = 64

# --- the automaton
# (class, pattern): each only has to hit whenever the class's expression below would; it may hit more. Bytes, no Unicode mode.
_PREFILTER: tuple[tuple[str, bytes], ...] = (
    ("pan", rb"(?:^|[^0-9])[2-6](?:[ -]?[0-9]){12}"),
    ("ssn", rb"(?:^|[^0-9])[0-8][0-9]{2}[- ][0-9]{2}[- ][0-9]{4}"),
    ("ssn", rb"(?i)ssn|soc(?:ial)?[ _-]?sec|tax[ _-]?(?:payer)?[ _-]?id|[^a-z]tin[^a-z]"),
    ("iban", rb"(?:^|[^0-9A-Za-z])[A-Z]{2}[0-9]{2} ?(?:[0-9A-Z]{4} ?){2}[0-9A-Z]{3}"),
    ("email", rb"[0-9A-Za-z._%+'-]@[0-9A-Za-z]"),
    ("phone", rb"\+[ (]{0,2}[1-9][0-9 ().-]"),
    ("phone", rb"[0-9]{3}(?:[ .-]|\) ?)[0-9]{3}[ .-][0-9]{4}"),
    ("phone", rb"(?i)phone|mobile|msisdn|telefon|whats_?app|[^a-z](?:tel|fax|cell)"),
    ("secret", rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}"),
    ("secret", rb"gh[pousr]_[A-Za-z0-9]{36}"),
    ("secret", rb"github_pat_[A-Za-z0-9_]{22}"),
    ("secret", rb"glpat-[A-Za-z0-9_-]{20}"),
    ("secret", rb"xox[abeoprs]-[A-Za-z0-9-]{10}"),
    ("secret", rb"[prs]k_(?:live|test)_[A-Za-z0-9]{16}"),
    ("secret", rb"AIza[0-9A-Za-z_-]{35}"),
    ("secret", rb"sk-(?:ant|proj|svcacct)-[A-Za-z0-9_-]{20}"),
    ("secret", rb"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    ("secret", rb"npm_[A-Za-z0-9]{36}"),
    ("secret", rb"pypi-AgEI[A-Za-z0-9_-]{20}"),
    ("secret", rb"-----BEGIN [A-Z0-9 ]{0,20}PRIVATE KEY"),
    ("secret", rb"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]"),
)

# --- the expressions, on decoded text
_PAN = regex(
    r"(?<![0-9A-Za-z.+-])(?:[2-6][0-9]{12,18}|[2-6][0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}(?:\1[0-9]{3})?"
    r"|3[47][0-9]{2}([ -])[0-9]{6}\2[0-9]{5}|3[0689][0-9]{2}([ -])[0-9]{6}\3[0-9]{4})(?![0-9A-Za-z-]|\.[0-9])"
)
_SSN = regex(r"(?<![0-9A-Za-z.+/_-])([0-8][0-9]{2})([- ])([0-9]{2})\2([0-9]{4})(?![0-9A-Za-z/_-]|\.[0-9])")
_SSN_BARE = regex(r"(?<![0-9A-Za-z.+/_-])([0-8][0-9]{2})([- ]?)([0-9]{2})\2([0-9]{4})(?![0-9A-Za-z/_-]|\.[0-9])")
_IBAN = regex(
    r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}"
    r"(?:[0-9A-Z]{11,30}|(?: [0-9A-Z]{4}){2} [0-9A-Z]{3}|(?: [0-9A-Z]{4}){3,7}(?: [0-9A-Z]{1,3})?)"
    r"(?![0-9A-Za-z])"
)
_EMAIL = regex(
    r"(?<![0-9A-Za-z._%+@/:-])[0-9A-Za-z_](?:[0-9A-Za-z._%+'-]{0,62}[0-9A-Za-z_+-])?@(?:[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?\.){1,8}"
    r"[A-Za-z]{2,24}(?![0-9A-Za-z@-])"
)
_PHONE = regex(
    r"(?<![0-9A-Za-z.+/=-])(?:\+[ (]{0,2}[1-9](?:[ .()-]{0,2}[0-9]){7,14}"
    r"|(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4})(?![0-9A-Za-z]|[.-][0-9])"
)
_PHONE_NAMED = regex(r"\+?[0-9(](?:[ ./()-]{0,2}[0-9]){6,14}(?: ?(?:x|ext\.?) ?[0-9]{1,6})?")
_SECRET = regex(
    r"(?<![0-9A-Za-z])(?:(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}"
    r"|glpat-[A-Za-z0-9_-]{20,64}|xox[abeoprs]-[A-Za-z0-9-]{10,250}|[prs]k_(?:live|test)_[A-Za-z0-9]{16,250}|AIza[0-9A-Za-z_-]{35}"
    r"|sk-(?:ant|proj|svcacct)-[A-Za-z0-9_-]{20,250}|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}|npm_[A-Za-z0-9]{36}"
    r"|pypi-AgEI[A-Za-z0-9_-]{20,250})(?![0-9A-Za-z_-])"
    # Each alternative below ends where the next could begin, so that the search stays linear in any text.
    r"|(?<![0-9A-Za-z_-])eyJ[A-Za-z0-9_-]{10,4096}\.eyJ[A-Za-z0-9_-]{10,8192}\.[A-Za-z0-9_-]{1,2048}(?![0-9A-Za-z_-])"
    r"|-----BEGIN [A-Z0-9 ]{0,20}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----)){0,16384}"
    r"(?:-----END [A-Z0-9 ]{0,20}PRIVATE KEY(?: BLOCK)?-----)?"
)
_SSN_NAME = regex(r"(?i)ssn|soc(?:ial)?[ _-]?sec|tax[ _-]?(?:payer)?[ _-]?id|(?:^|[_-])tin$")
_PHONE_NAME = regex(
    r"(?i)phone|mobile|msisdn|telefon|whats_?app|(?:^|[_-])(?:tel|fax|cell)(?:$|[_-])|^(?:tel|fax|cell)(?-i:[A-Z])"
)
_DIGITS = {ord(c): None for c in " -.()/+"}
_JWT_KEYS = frozenset({"alg", "typ", "kid", "enc"})

# Length of an IBAN by country (SWIFT IBAN registry, release 99).
_IBAN_COUNTRIES = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 "
    "FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 "
    "LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 "
    "RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
_IBAN_LENGTHS = {pair[:2]: int(pair[2:]) for pair in _IBAN_COUNTRIES.split()}


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B check digit."""
    total = sum(map(int, digits[-1::-2]))
    for digit in digits[-2::-2]:
        double = int(digit) * 2
        total += double - 9 if double > 9 else double
    return total % 10 == 0


def issued(digits: str) -> bool:
    """Whether an issuer uses numbers of this prefix and length."""
    length, two, three, four = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4])
    if digits[0] == "4":
        return length in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return length == 16
    if two in (34, 37):
        return length == 15
    if 300 <= three <= 305 or three == 309 or two in (36, 38, 39):
        return 14 <= length <= 19
    if 3528 <= four <= 3589 or four == 6011 or 644 <= three <= 659 or two in (62, 81):
        return 16 <= length <= 19
    return (two in (50, 56, 57, 58, 60, 61, 63, 67, 68, 69) and 16 <= length <= 19) or (two == 22 and length == 16)


def _is_pan(found: TextMatch[str]) -> bool:
    digits = found.group().replace(" ", "").replace("-", "")
    return 13 <= len(digits) <= 19 and issued(digits) and luhn(digits) and len(set(digits)) > 1


def _is_ssn(found: TextMatch[str]) -> bool:
    area, _, group, serial = found.groups()
    # 078-05-1120 was printed in wallets and belongs to nobody; 900-999 are no SSNs and the expression leaves them out.
    return area not in ("000", "666") and group != "00" and serial != "0000" and (area, group, serial) != ("078", "05", "1120")


def _is_iban(found: TextMatch[str]) -> bool:
    text = found.group().replace(" ", "").replace("-", "").upper()
    if _IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def _is_email(found: TextMatch[str]) -> bool:
    return ".." not in found.group() and len(found.group()) <= 254


def _is_phone(found: TextMatch[str]) -> bool:
    digits = found.group().translate(_DIGITS)
    return 8 <= len(digits) <= 15 and len(set(digits)) > 2


def _is_named_phone(found: TextMatch[str]) -> bool:
    digits = [character for character in found.group().partition("x")[0] if character.isdigit()]
    return 7 <= len(digits) <= 15 and len(set(digits)) > 2


def _is_secret(found: TextMatch[str]) -> bool:
    text = found.group()
    if text.startswith("eyJ"):
        return _is_jwt(text)
    if text.startswith("-----"):
        return True
    # Placeholders in documentation repeat one or two characters.
    return len(set(text[4:])) > 5


def _is_jwt(text: str) -> bool:
    head = text.partition(".")[0]
    try:
        header = msgspec.json.decode(urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except ValueError:
        return False
    return isinstance(header, dict) and not _JWT_KEYS.isdisjoint(header)


def _mask_ends(text: str) -> str:
    return text[:4] + "*" * max(len(text) - 8, 1) + text[-4:]


def _mask_tail(text: str) -> str:
    """All digits and letters but the last four."""
    keep = len(text) - 4
    return "".join("*" if at < keep and character.isalnum() else character for at, character in enumerate(text))


def _mask_email(text: str) -> str:
    return text[:1] + "***@" + text.rpartition("@")[2]


def _mask_secret(text: str) -> str:
    return "-----BEGIN PRIVATE KEY-----****" if text.startswith("-----") else text[:4] + "****"


class _Class(NamedTuple):
    """How one class is looked for in a text."""

    name: str
    shortest: int
    """Characters of the shortest value."""
    pattern: Pattern[str]
    valid: Callable[[TextMatch[str]], bool]
    show: Callable[[str], str]
    """Masked form for records and explanations."""
    mask: Callable[[str], str]
    """Masked form for style `mask`."""


# In this order: of two overlapping values the earlier class has it.
_LOOKED_FOR = (
    _Class("secret", 16, _SECRET, _is_secret, _mask_secret, _mask_secret),
    _Class("iban", 15, _IBAN, _is_iban, _mask_ends, _mask_tail),
    _Class("pan", 13, _PAN, _is_pan, _mask_ends, _mask_tail),
    _Class("ssn", 11, _SSN, _is_ssn, _mask_tail, _mask_tail),
    _Class("email", 6, _EMAIL, _is_email, _mask_email, _mask_email),
    _Class("phone", 9, _PHONE, _is_phone, _mask_tail, _mask_tail),
)
_NAMED = {
    "ssn": _Class("ssn", 9, _SSN_BARE, _is_ssn, _mask_tail, _mask_tail),
    "phone": _Class("phone", 7, _PHONE_NAMED, _is_named_phone, _mask_tail, _mask_tail),
}
_SHOW = {looked.name: looked.show for looked in _LOOKED_FOR}
MASKS = {looked.name: looked.mask for looked in _LOOKED_FOR}


class Automaton:
    """The compiled prefilter. `scan` lets go of the interpreter lock: each scan takes a scratch of its own from the free ones."""

    def __init__(self, saved: bytes = b"") -> None:
        """`saved`: what `save` gave an earlier process; compiled anew when it does not fit."""
        expressions = [pattern for _, pattern in _PREFILTER]
        flags = [hyperscan.HS_FLAG_SINGLEMATCH] * len(_PREFILTER)
        self._mark = automata.fingerprint([*expressions, bytes(flags)])
        kept = automata.restore(saved, self._mark) if saved else None
        self.database = kept[1][0] if kept else automata.build(expressions, flags, range(len(expressions)))
        self.first = self.database.scratch
        self.free = [self.first.clone()]
        self.scan = self.database.scan
        self.names = tuple(name for name, _ in _PREFILTER)

    def save(self) -> bytes:
        """For the next process's `restore_automaton`."""
        return automata.save(self._mark, (), (self.database,))

    def classes(self, data: bytes) -> list[str]:
        """Classes that may be in `data`, with repeats; empty for clean data."""
        try:
            scratch = self.free.pop()
        except IndexError:
            scratch = self.first.clone()
        hits: list[str] = []
        try:
            self.scan(data, self._hit, 0, hits, scratch)
        finally:
            self.free.append(scratch)
        return hits

    def _hit(self, pattern: int, start: int, end: int, flags: int, hits: Any) -> None:
        hits.append(self.names[pattern])


_automaton: list[Automaton] = []


def automaton() -> Automaton:
    """Compiled at first use, not at import: commands that inspect nothing do not pay for it."""
    if not _automaton:
        _automaton.append(Automaton())
    return _automaton[0]


def restore_automaton(saved: bytes) -> None:
    """Make the automaton of this process of what `Automaton.save` gave an earlier one."""
    _automaton[:] = [Automaton(saved)]


def suspected(operation: Operation) -> Collection[str]:
    """Classes worth looking for in the body."""
    kind, data = operation.body_kind, operation.raw_body
    if not data or kind == "binary":
        return ()
    if kind in ("form", "multipart") or (kind == "json" and b"\\u00" in data):
        # Percent signs, plus signs and escaped ASCII hide values from the automaton: it reads the decoded tree, encoded plainly.
        data = _plain(operation.body) or data
    return automaton().classes(data)


def _plain(tree: Any) -> bytes:
    try:
        return msgspec.json.encode(tree)
    except (ValueError, TypeError, RecursionError):
        return b""


def decode_text(raw: bytes) -> str:
    """Bytes as text that encodes back to the same bytes."""
    return raw.decode("utf-8", "surrogateescape")


class Search:
    """Looks for some classes in texts."""

    __slots__ = ("looked", "only_email", "shortest", "wanted")

    def __init__(self, classes: Collection[str]) -> None:
        self.wanted = frozenset(classes)
        self.looked = [looked for looked in _LOOKED_FOR if looked.name in self.wanted]
        self.only_email = self.wanted == {"email"}
        self.shortest = min((looked.shortest for looked in self.looked), default=1)
        if not self.wanted.isdisjoint(_NAMED):
            self.shortest = min(self.shortest, 7)

    def spans(self, text: str, name: str) -> list[tuple[int, int, str]]:
        """(start, end, class) of the values in a text, in order, without overlaps. `name`: of the property that holds it."""
        spans: list[tuple[int, int, str]] = []
        length = len(text)
        for looked in self.looked:
            if length >= looked.shortest and (looked.name != "email" or "@" in text):
                for match in looked.pattern.finditer(text):
                    if looked.valid(match):
                        _claim(spans, match.start(), match.end(), looked.name)
        if length <= 40 and (named := _classes_of_name(name)) in self.wanted:
            at = length - len(text.lstrip())
            whole = _NAMED[named].pattern.fullmatch(text.strip())
            if whole is not None and _NAMED[named].valid(whole):
                _claim(spans, at + whole.start(), at + whole.end(), named)
        return spans

    def value(self, value: Any, place: str, name: str, found: dict[tuple[str, str], str]) -> None:
        """Add the hits of one value."""
        if type(value) is int:
            value = str(value) if 999_999 < value < 10**19 else ""
        if (
            type(value) is not str
            or len(value) < self.shortest
            or (self.only_email and "@" not in value)
            or len(found) >= MAX_HITS
        ):
            return
        for start, end, data_class in self.spans(value, name):
            if (data_class, place) not in found:
                found[(data_class, place)] = _SHOW[data_class](value[start:end])

    def walk(self, node: Any, place: str, name: str, found: dict[tuple[str, str], str], depth: int) -> None:
        """Add the hits below a dict or list. Places are built only where something may be found."""
        if depth > MAX_DEPTH:
            return
        shortest, only_email = self.shortest, self.only_email
        if type(node) is list:
            place += "[]"
            for item in node:
                if type(item) is dict or type(item) is list:
                    self.walk(item, place, name, found, depth + 1)
                else:
                    self.value(item, place, name, found)
            return
        for key, item in node.items():
            kind = type(item)
            if kind is str:
                if len(item) >= shortest and (not only_email or "@" in item):
                    self.value(item, _inner(place, key), key, found)
            elif kind is dict or kind is list:
                self.walk(item, _inner(place, key), key, found, depth + 1)
            elif kind is int and not only_email:
                self.value(item, _inner(place, key), key, found)
            if len(key) >= shortest and not key.isidentifier():
                self.value(key, _inner(place, key), "", found)


def _inner(place: str, key: str) -> str:
    key = "{}" if generated(key) else key[:128] or '""'  # as in `shapes`
    return f"{place}.{key}" if place else key


@lru_cache(maxsize=4096)
def _classes_of_name(name: str) -> str:
    """The class whose bare digits a property's name gives away, or empty."""
    return "ssn" if _SSN_NAME.search(name) else "phone" if _PHONE_NAME.search(name) else ""


def _claim(spans: list[tuple[int, int, str]], start: int, end: int, name: str) -> None:
    """Add a span to those in order, unless it overlaps one that is there."""
    at = bisect_left(spans, (start,))
    if (at == 0 or spans[at - 1][1] <= start) and (at == len(spans) or spans[at][0] >= end):
        spans.insert(at, (start, end, name))
