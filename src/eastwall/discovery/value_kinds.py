"""What one path segment looks like. A look is evidence only: `templates` decides with the traffic."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from re import compile as regex
from typing import NamedTuple

from eastwall.discovery.api_words import pronounceable

_KINDS = regex(
    "|".join(
        (
            r"(?P<integer>-?[0-9]+)",
            r"(?P<uuid>\{?[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\}?)",
            r"(?P<date>[12][0-9]{3}-[01][0-9](?:-[0-3][0-9])?|[0-3]?[0-9][-.][01]?[0-9][-.][12][0-9]{3})",
            r"(?P<datetime>[12][0-9]{3}-?[01][0-9]-?[0-3][0-9][T ][0-2][0-9]:?[0-5][0-9][0-9:.]*(?:Z|[+-][0-9:]+)?)",
            r"(?P<ipv4>(?:[0-9]{1,3}\.){3}[0-9]{1,3})",
            r"(?P<number>-?[0-9]+\.[0-9]+(?:e-?[0-9]+)?)",
            r"(?P<ulid>[0-7][0-9A-HJKMNP-TV-Z]{25})",
            r"(?P<hex>(?=[a-f]*[0-9])[0-9a-f]{8,}|(?=[A-F]*[0-9])[0-9A-F]{8,}|0x[0-9a-fA-F]{6,})",
            r"(?P<email>[^@\s]+@[^@\s]+\.[A-Za-z]{2,})",
            r"(?P<version>[vV][0-9]{1,3}(?:[._-][0-9]+)*(?:(?:alpha|beta|rc)[0-9]*)?)",
            r"(?P<word>[A-Za-z]+)",
            r"(?P<slug>[A-Za-z0-9]+(?:[-_.~][A-Za-z0-9]+)*)",
        )
    )
)

CLEAR = frozenset({"integer", "uuid", "date", "datetime", "ipv4", "number", "ulid", "hex", "email", "token"})
"""Kinds that are values wherever they stand, unless the traffic insists: nobody names a route so."""

_FORMATS = {"datetime": "date-time", "word": "slug", "version": "slug", "token": "string", "text": "string"}
_LONGEST = 128
_RUNS = regex(r"[0-9]+|[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def kind_of(segment: str) -> str:
    """`integer`, `uuid`, `ulid`, `hex`, `date`, `datetime`, `ipv4`, `number`, `email`, `token` (random-looking letters and
    digits), `version` (`v1`), `word` (letters only), `slug` (words and digits joined by - _ . ~) or `text` (anything else)."""
    if len(segment) > _LONGEST:
        return "token"
    found = _KINDS.fullmatch(segment)
    kind = found.lastgroup if found else None
    if kind in ("slug", "word", None) and _random_looking(segment):
        return "token"
    return kind or "text"


def _random_looking(segment: str) -> bool:
    """Eight characters or more that change class (digit, upper, lower) more often than names do."""
    if len(segment) < 8:
        return False
    tail = segment
    for joint in "_-:":  # `cus_9aB3...`, `urn:9aB3...`: judge the part after a short prefix
        head, found, rest = segment.partition(joint)
        if found and 1 < len(head) <= 6 and len(rest) >= 8:
            tail = rest
            break
    if not tail.isascii() or not tail.replace("-", "").replace("_", "").replace("=", "").isalnum():
        return False
    digits = sum(map(str.isdigit, tail))
    runs = len(_RUNS.findall(tail))
    mixed = tail != tail.lower() and tail != tail.upper()
    if not digits:
        return mixed and runs >= 3 and pronounceable(tail) < (0.3 if runs * 2.6 > len(tail) else -0.2)
    return runs * (2.2 if mixed else 3.0) > len(tail) or (digits * 3 > len(tail) and len(tail) >= 10 and runs >= 3)


def format_of(kinds: Iterable[str]) -> str:
    """The kind of a parameter all of whose values have these kinds: the one they share, else `slug` or `string`."""
    formats = {_FORMATS.get(kind, kind) for kind in kinds}
    if len(formats) == 1:
        return formats.pop()
    if formats <= {"slug", "integer"}:
        return "slug"
    if formats <= {"integer", "number"}:
        return "number"
    if formats <= {"integer", "hex"}:
        return "hex"
    return "string"


class Look(NamedTuple):
    """A segment by its outside."""

    kind: str
    """See `kind_of`."""
    style: str
    """How it is written: see `look_of`."""


_STYLES = regex(
    "|".join(
        (
            r"(?P<short_lower>[a-z]{1,2})",
            r"(?P<lower>[a-z]{3,})",
            r"(?P<camel>[a-z]+(?:[A-Z][a-z]*)+)",
            r"(?P<short_upper>[A-Z]{2,4})",
            r"(?P<upper>[A-Z]{5,})",
            r"(?P<capital>[A-Z][a-z]*)",
            r"(?P<pascal>[A-Z][A-Za-z]+)",
            r"(?P<locale>[a-z]{2}[-_][A-Za-z]{2,4})",
            r"(?P<kebab>[A-Za-z]+(?:-[A-Za-z]+)+)",
            r"(?P<snake>[A-Za-z]+(?:_[A-Za-z]+)+)",
            r"(?P<version>[vV][0-9]{1,2}(?:[._][0-9]+)*)",
            r"(?P<word_digits>[A-Za-z]+[0-9]{1,2})",
            r"(?P<word_number>[A-Za-z]+[0-9]{3,})",
            r"(?P<kebab_digits>[A-Za-z]+(?:-[A-Za-z0-9]+)+)",
            r"(?P<dotted>[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+)",
            r"(?P<alphanumeric>[A-Za-z0-9_-]+)",
            r"(?P<sigil>[$@!_.:~][A-Za-z0-9_.$-]+)",
            r"(?P<call>[A-Za-z_.]+\(.*\))",
            r"(?P<spaced>.*[ +].*)",
        )
    )
)


@lru_cache(maxsize=65_536)
def look_of(segment: str) -> Look:
    """The kind, and the style: `lower`, `camel`, `kebab`, `word_digits`, `spaced`, ..., `other`."""
    found = _STYLES.fullmatch(segment)
    return Look(kind_of(segment), (found.lastgroup if found else None) or "other")
