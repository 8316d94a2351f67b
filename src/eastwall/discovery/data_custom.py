"""Data classes of the user's own: patterns, words, field names, a validator.

Patterns run in hyperscan only, never in a backtracking engine: time is linear in the text whatever the author wrote, and what hyperscan does
not take (look-around, back references) is refused when the policy is checked. A match is the longest from its first character on.
"""

from __future__ import annotations

from collections.abc import Callable
from re import compile as regex
from typing import Any

import hyperscan

from eastwall.discovery import automata
from eastwall.discovery import data_checks as checks
from eastwall.discovery.data_forms import card as is_card
from eastwall.discovery.data_forms import compact, iban, us_ssn
from eastwall.model.snapshot import CustomDataClass

MAX_PATTERNS = 50
MAX_PATTERN = 1_000
"""Characters of a pattern."""
MAX_WORDS = 5_000
MAX_WORD = 200
MAX_NAMES = 200
SENSITIVITIES = ("low", "medium", "high", "critical")

VALIDATORS: dict[str, Callable[[str], bool]] = {
    "luhn": lambda text: text.isdigit() and checks.luhn(text),
    "verhoeff": lambda text: text.isdigit() and checks.verhoeff(text),
    "mod97": checks.mod97,
    "mod11-2": lambda text: regex("[0-9]+[0-9X]").fullmatch(text) is not None and checks.mod11_2(text),
    "mod11-10": lambda text: len(text) > 1 and text.isdigit() and checks.mod11_10(text),
    "ean13": lambda text: text.isdigit() and checks.ean13(text),
    "iban": lambda text: text.isalnum() and text.isascii() and iban(text),
    "pan": lambda text: text.isdigit() and is_card(text),
    "ssn": lambda text: text.isdigit() and len(text) == 9 and us_ssn(text),
    "aba": lambda text: text.isdigit() and len(text) == 9 and checks.aba_routing(text),
    "nhs": lambda text: text.isdigit() and len(text) == 10 and checks.nhs_number(text),
    "npi": lambda text: text.isdigit() and len(text) == 10 and checks.us_npi(text),
    "cpf": lambda text: text.isdigit() and len(text) == 11 and checks.br_cpf(text),
    "bic": checks.bic,
}
"""Of a value without separators, in upper case."""

_LITERAL = regex(r"[^*?]+")
_ANCHORS = ("\\A", "\\Z", "\\z", "\\G")
_LINES = bytes.maketrans(b'":,{}[]', b"\n\n\n\n\n\n\n")


class Custom:
    """One class, compiled."""

    def __init__(self, spec: CustomDataClass) -> None:
        """Raises ValueError, one line."""
        for problem in problems(spec):
            raise ValueError(f"data class `{spec.name}`: {problem[1]}")
        self.name = spec.name
        self.sensitivity = spec.sensitivity
        self.confidence = 1.0 if spec.validator else 0.9 if spec.patterns or spec.words else 0.6
        self._check = VALIDATORS[spec.validator] if spec.validator else None
        self._globs = [_glob(glob) for glob in spec.names]
        self._by_name_only = not spec.patterns and not spec.words
        """Names alone make every value (that the validator agrees to) one of the class."""
        self.anywhere = not self._by_name_only
        """Values may stand in any text."""
        sources = [*spec.patterns, *map(_word, spec.words)]
        insensitive = [0] * len(spec.patterns) + [hyperscan.HS_FLAG_CASELESS] * len(spec.words)
        flags = [one | hyperscan.HS_FLAG_UTF8 for one in insensitive]
        self._spans = _database(sources, [flag | hyperscan.HS_FLAG_SOM_LEFTMOST for flag in flags]) if sources else None
        literals = [max(_LITERAL.findall(glob), key=len) for glob in spec.names] if self._by_name_only else []
        prefilter = [hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_MULTILINE | flag for flag in flags]
        prefilter += [hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_CASELESS] * len(literals)
        self._raw = _database([*sources, *map(_escape, literals)], prefilter)

    def suspects(self, data: bytes) -> bool:
        """Whether `data`, a raw body, may hold a value: it says yes at least as often as `spans` or `whole` find one."""
        if b"\\" in data:  # escapes may hide what a pattern asks for
            return True
        if not data.isascii():
            data = data.decode("utf-8", "replace").encode()
        # `^` and `$` of a pattern mean the ends of a value: every border of JSON is made the end of a line, beside the body as it is.
        return bool(_scan(self._raw, data) or _scan(self._raw, data.translate(_LINES)))

    def of_name(self, name: str) -> bool:
        """Whether a field's name makes its value one of the class (or one to look at as a whole)."""
        return self._by_name_only and any(glob.fullmatch(name.lower()) is not None for glob in self._globs)

    def whole(self, text: str) -> bool:
        """Whether the value of a field with such a name is one."""
        return self._check is None or self._checked(text)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of the values in a text, in order, without overlaps."""
        if self._spans is None:
            return []
        data = text.encode("utf-8", "replace")
        longest: dict[int, int] = {}
        for start, end in _scan(self._spans, data):
            if end > start and longest.get(start, 0) < end:
                longest[start] = end
        found, last = [], 0
        for start in sorted(longest):
            end = longest[start]
            if start < last:
                continue
            if not data.isascii():
                begin = len(data[:start].decode("utf-8", "ignore"))
                start, stop = begin, begin + len(data[start:end].decode("utf-8", "ignore"))
            else:
                stop = end
            if self._check is None or self._checked(text[start:stop]):
                found.append((start, stop))
                last = end
        return found

    def _checked(self, text: str) -> bool:
        plain = compact(text)
        return bool(plain) and plain.isascii() and self._check is not None and self._check(plain)


def compile_custom(spec: CustomDataClass) -> Custom:
    """Raises ValueError, one line, for a class that `problems` finds fault with."""
    return Custom(spec)


def problems(spec: CustomDataClass) -> list[tuple[str, str, str]]:
    """What is wrong with a class: (field, message, hint), in order; the field as `patterns[0]`."""
    found: list[tuple[str, str, str]] = []
    if not spec.patterns and not spec.words and not spec.names:
        found.append(("", "neither `patterns` nor `words` nor `names`, so nothing is ever of the class", "add one of them"))
    for field, items, most in (
        ("patterns", spec.patterns, MAX_PATTERNS),
        ("words", spec.words, MAX_WORDS),
        ("names", spec.names, MAX_NAMES),
    ):
        if len(items) > most:
            found.append((field, f"{len(items)} {field}, at most {most} are allowed", "split the class"))
    for at, pattern in enumerate(spec.patterns[:MAX_PATTERNS]):
        problem = pattern_problem(pattern)
        if problem:
            found.append((f"patterns[{at}]", f"pattern `{_shown(pattern)}`: {problem[0]}", problem[1]))
    for at, word in enumerate(spec.words[:MAX_WORDS]):
        if not 2 <= len(word.strip()) <= MAX_WORD or not word.isprintable():
            found.append((f"words[{at}]", f"word `{_shown(word)}` must have 2 to {MAX_WORD} printable characters", ""))
    for at, glob in enumerate(spec.names[:MAX_NAMES]):
        if len(glob) > 100 or not any(len(piece) >= 2 for piece in _LITERAL.findall(glob)):
            found.append(
                (
                    f"names[{at}]",
                    f"name `{_shown(glob)}` must have at least two characters that are no wildcard, at most 100 in all",
                    "",
                )
            )
    if spec.validator and spec.validator not in VALIDATORS:
        found.append(
            ("validator", f"validator `{_shown(spec.validator)}` is not known", f"known: {', '.join(sorted(VALIDATORS))}")
        )
    if spec.sensitivity not in SENSITIVITIES:
        found.append(
            ("sensitivity", f"sensitivity `{_shown(spec.sensitivity)}` is not known", f"known: {', '.join(SENSITIVITIES)}")
        )
    return found


def pattern_problem(pattern: str) -> tuple[str, str] | None:
    """(what is wrong with a pattern, how to mend it), None when it can be used."""
    if not pattern or len(pattern) > MAX_PATTERN:
        return f"must have 1 to {MAX_PATTERN} characters", ""
    if any(anchor in pattern for anchor in _ANCHORS):
        return "`\\A`, `\\Z`, `\\z` and `\\G` are not allowed", "write `^` and `$` for the ends of a value"
    try:
        _database([pattern], [hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_SOM_LEFTMOST])
        raw = _database([pattern], [hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_MULTILINE | hyperscan.HS_FLAG_SINGLEMATCH])
    except (hyperscan.error, UnicodeError) as error:
        said = _said(error)
        if "empty" in said:
            return "matches the empty text", "ask for at least one character"
        return said, _HINT if "assert" in said or "reference" in said or "support" in said or "zero-width" in said else ""
    if _scan(raw, b"") or _scan(raw, b"q\nzqx 7"):
        return "matches (nearly) every text, also the empty one", "ask for at least one character that is special to the class"
    return None


_HINT = "look-around and back references are not taken: they cannot be matched in linear time"


def _said(error: Exception) -> str:
    text = str(error)
    for start in ("error compiling expression: ", "Failed to compile expression: ", "Regular expression compile error: "):
        text = text.removeprefix(start)
    text = " ".join(text.split()).rstrip(".")[:160]
    return text[:1].lower() + text[1:] or "cannot be compiled"


def _database(expressions: list[str], flags: list[int]) -> Any:
    return automata.build([one.encode() for one in expressions], flags, range(len(expressions)))


def _scan(database: Any, data: bytes) -> list[tuple[int, int]]:
    hits: list[tuple[int, int]] = []
    database.scan(data, _hit, 0, hits, database.scratch.clone())
    return hits


def _hit(pattern: int, start: int, end: int, flags: int, hits: Any) -> None:
    hits.append((start, end))


def _escape(text: str) -> str:
    return "".join(character if character.isalnum() else f"\\x{{{ord(character):x}}}" for character in text)


def _word(word: str) -> str:
    """A word of the dictionary as a pattern: whole words only, where it begins and ends with letters or digits."""
    word = word.strip()
    left = "\\b" if word[0].isascii() and word[0].isalnum() else ""
    right = "\\b" if word[-1].isascii() and word[-1].isalnum() else ""
    return left + _escape(word) + right


def _glob(glob: str) -> Any:
    parts = [".*" if c == "*" else "." if c == "?" else "\\" + c if not c.isalnum() else c for c in glob.lower()]
    return regex("".join(parts))


def _shown(text: str) -> str:
    short = text if len(text) <= 60 else text[:57] + "..."
    return "".join(character if character.isprintable() else "?" for character in short)
