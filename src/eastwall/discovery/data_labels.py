"""Labels in running text: `NHS number: 943 476 5919`, `ssn=536221234`, `user(dob: "1980-02-29")` of a GraphQL literal.

A label is a field's name that stands directly before the value. Which labels a text holds, the prefilter automaton says in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from re import IGNORECASE, Pattern
from re import compile as regex
from typing import Protocol

from eastwall.discovery.data_named import BY_EVIDENCE, FIRST, Named
from eastwall.discovery.data_names import EVIDENCE

LABELS = (FIRST | {"tax-id", "national-id", "mrn", "passport", "license", "birth", "icd", "bank-account", "sort-code", "bic", "password",
                   "pin", "cvv", "secret", "phone", "account"}) - {"in-pan"}  # fmt: skip
"""Evidence that is believed before a value in text; a name, an address or a place in text has no end that could be told."""
MAX_TEXT = 20_000
"""Characters of one text that are looked at for labels."""

_DIGIT = regex("[0-9]")
_CANDIDATE = regex(r"[0-9A-Za-z+(][0-9A-Za-z()]*(?:[ ./-]{1,2}[0-9A-Za-z()]+){0,6}")
_TOKEN = regex(r"[^\s\"',;&<>]{3,256}")
_DATE = regex(r"[0-9A-Z][0-9a-z]{0,9}[-/. ]{1,2}[0-9A-Za-z]{1,9}[-/., ]{1,2}[0-9]{2,4}|[0-9]{8}")


class Scanner(Protocol):
    """What the search's automaton offers."""

    kinds: tuple[str, ...]

    def hits(self, data: bytes) -> list[int]:
        """Numbers of the patterns that hit."""
        ...


def labelled(text: str, automaton: Scanner) -> Iterator[tuple[int, int, Named]]:
    """(start, end, what it is) of each value behind a label."""
    if _DIGIT.search(text) is None and ":" not in text and "=" not in text:
        return
    text = text[:MAX_TEXT]
    kinds = automaton.kinds
    for kind in [kinds[hit].removeprefix("@") for hit in automaton.hits(text.encode("utf-8", "replace")) if kinds[hit][0] == "@"]:
        if kind in LABELS:
            for match in _label(kind).finditer(text):
                found = _behind(text, match.end(), kind, sign=match["sign"] is not None)
                if found is not None:
                    yield found


def _behind(text: str, at: int, kind: str, *, sign: bool) -> tuple[int, int, Named] | None:
    tried = BY_EVIDENCE[kind]
    if kind in ("password", "secret", "pin", "cvv"):
        # Without `:` or `=` the words `password is` begin any sentence about passwords.
        match = _TOKEN.match(text, at) if sign else None
        return _first(text, at, match.end(), tried) if match is not None else None
    if kind == "birth":
        match = _DATE.match(text, at)
        return _first(text, at, match.end(), tried) if match is not None else None
    match = _CANDIDATE.match(text, at)
    if match is None:
        return None
    end = match.end()
    while end > at:
        found = _first(text, at, end, tried)
        if found is not None:
            return found
        end = max(text.rfind(separator, at, end) for separator in " ./-")
        while end > at and text[end - 1] in " ./-":
            end -= 1
    return None


def _first(text: str, start: int, end: int, tried: tuple[Named, ...]) -> tuple[int, int, Named] | None:
    value = text[start:end]
    if len(value) > 64 and len(value) > 256:
        return None
    return next(((start, end, named) for named in tried if named.confidence >= 0.8 and named.valid(value)), None)


@lru_cache(maxsize=256)
def _label(kind: str) -> Pattern[str]:
    forms = sorted({"[^0-9A-Za-z]{0,3}".join(word.split("_")) for word in EVIDENCE[kind].split()}, key=len, reverse=True)
    return regex(
        rf"(?<![A-Za-z])(?:{'|'.join(forms)})(?![A-Za-z])(?:[ _-]?(?:no|nr|number|num|id|code|card)(?![A-Za-z])\.?)?[\s\"'\\]{{0,3}}"
        r"(?P<sign>:|=>?)?(?:(?:is|was|#|-)(?![A-Za-z]))?[\s\"'\\#]{0,3}(?=\S)",
        IGNORECASE,
    )
