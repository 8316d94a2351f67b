"""Data classes of the user's own: patterns, words, field names, a validator.

Patterns run in hyperscan only, never in a backtracking engine: time is linear in the text whatever the author wrote, and what hyperscan does
not take (look-around, back references) is refused when the policy is checked. A match is the longest from its first character on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
MAX_VALUE = 256
"""Bytes of a value that a pattern finds; of a longer one the rest stays."""
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
        self._ends = _Database([(one.encode(), hyperscan.HS_FLAG_UTF8, 0) for one in spec.patterns])
        self._whole = _Database(
            [(_whole(one), hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_SINGLEMATCH, 0) for one in spec.patterns]
        )
        # Words are plain literals, found by where they end: thousands of them compile in no time.
        spelled = [one for word in spec.words for one in _spellings(word.strip())]
        self._sizes = [len(one) for one in spelled]
        self._words = _Database([(_escape(one), hyperscan.HS_FLAG_CASELESS, at) for at, one in enumerate(spelled)])
        literals = [max(_LITERAL.findall(glob), key=len) for glob in spec.names] if self._by_name_only else []
        once = hyperscan.HS_FLAG_SINGLEMATCH
        self.raw = [(one.encode(), once | hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_MULTILINE) for one in spec.patterns]
        """(expression, flags) that hit a raw body whenever there may be a value in it."""
        self.raw += [(_escape(one), once | hyperscan.HS_FLAG_CASELESS) for one in dict.fromkeys(spelled)]
        self.raw += [(_escape(one.encode()), once | hyperscan.HS_FLAG_CASELESS) for one in literals]
        self.anchored = any("^" in one or "$" in one for one in spec.patterns)
        """Some pattern asks where a value begins or ends."""

    def of_name(self, name: str) -> bool:
        """Whether a field's name makes its value one of the class (or one to look at as a whole)."""
        return self._by_name_only and any(glob.fullmatch(name.lower()) is not None for glob in self._globs)

    def whole(self, text: str) -> bool:
        """Whether the value of a field with such a name is one."""
        return self._check is None or self._checked(text)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of the values in a text, in order, without overlaps."""
        data = text.encode("utf-8", "replace")
        longest = dict(self._matched(data))
        for word, _, end in self._words.scan(data):
            start = end - self._sizes[word]
            if longest.get(start, 0) < end and _is_whole(data, start, end):
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

    def _matched(self, data: bytes) -> Iterator[tuple[int, int]]:
        """(start, end) of what the patterns match, in order, without overlaps, each the longest from its first character.

        Hyperscan tells ends; beginnings are tried one after the other, at most `MAX_VALUE` bytes before. Its own search for beginnings
        (SOM_LEFTMOST) crashes on ordinary expressions, `[a-c]+(?:-\\.)` for one.
        """
        ends = sorted({end for _, _, end in self._ends.scan(data)})
        last = 0
        for at, end in enumerate(ends):
            if end <= last:
                continue
            for start in range(max(last, end - MAX_VALUE), end):
                if data[start] & 0xC0 == 0x80 or not self._whole.scan(data[start:end]):  # within a character, or no match
                    continue
                further = [one for one in ends[at + 1 : at + 1 + MAX_VALUE] if one <= start + MAX_VALUE]
                last = next((one for one in reversed(further) if self._whole.scan(data[start:one])), end)
                yield start, last
                break

    def _checked(self, text: str) -> bool:
        plain = compact(text)
        return bool(plain) and plain.isascii() and self._check is not None and self._check(plain)


class Suspicion:
    """Which of several classes a raw body may hold: one automaton for all."""

    def __init__(self, classes: Sequence[Custom]) -> None:
        raw = [(one.name, pattern, flags) for one in classes for pattern, flags in one.raw]
        # A number for each: thousands that share one take hyperscan minutes to compile.
        self._names = [name for name, _, _ in raw]
        self._database = _Database([(pattern, flags, at) for at, (_, pattern, flags) in enumerate(raw)])
        self._anchored = any(one.anchored for one in classes)

    def classes(self, data: bytes) -> frozenset[str]:
        """Names of the classes: at least those of which the walk will find a value."""
        if b"\\" in data:  # escapes may hide what a pattern asks for
            return frozenset(self._names)
        if not data.isascii():
            data = data.decode("utf-8", "replace").encode()
        found = {self._names[at] for at, _, _ in self._database.scan(data)}
        if self._anchored:
            # `^` and `$` mean the ends of a value: every border of JSON is made the end of a line.
            found |= {self._names[at] for at, _, _ in self._database.scan(data.translate(_LINES))}
        return frozenset(found)


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
        _Database([(pattern.encode(), hyperscan.HS_FLAG_UTF8, 0)])
        _Database([(_whole(pattern), hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_SINGLEMATCH, 0)])
        once = hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_MULTILINE | hyperscan.HS_FLAG_SINGLEMATCH
        raw = _Database([(pattern.encode(), once, 0)])
    except (hyperscan.error, UnicodeError) as error:
        said = _said(error)
        if "empty" in said:
            return "matches the empty text", "ask for at least one character"
        return said, _HINT if "assert" in said or "reference" in said or "support" in said or "zero-width" in said else ""
    if raw.scan(b"") or raw.scan(b"q\nzqx 7"):
        return "matches (nearly) every text, also the empty one", "ask for at least one character that is special to the class"
    return None


_HINT = "look-around and back references are not taken: they cannot be matched in linear time"


def _whole(pattern: str) -> bytes:
    """An expression that matches a text as a whole."""
    return rf"^(?:{pattern})\z".encode()


def _said(error: Exception) -> str:
    text = str(error)
    for start in ("error compiling expression: ", "Failed to compile expression: ", "Regular expression compile error: "):
        text = text.removeprefix(start)
    text = " ".join(text.split()).rstrip(".")[:160]
    return text[:1].lower() + text[1:] or "cannot be compiled"


class _Database:
    """Expressions with a number each; none at all is a database too."""

    def __init__(self, expressions: Sequence[tuple[bytes, int, int]]) -> None:
        self._database: Any = None
        if expressions:
            patterns, flags, numbers = zip(*expressions, strict=True)
            self._database = automata.build(patterns, flags, numbers)
            self._free = [self._database.scratch.clone()]

    def scan(self, data: bytes) -> list[tuple[int, int, int]]:
        """(number, start, end) of all matches, in the order in which they end."""
        hits: list[tuple[int, int, int]] = []
        if self._database is not None:
            try:
                scratch = self._free.pop()
            except IndexError:  # another thread took it
                scratch = self._database.scratch.clone()
            try:
                self._database.scan(data, _hit, 0, hits, scratch)
            finally:
                self._free.append(scratch)
        return hits


def _hit(number: int, start: int, end: int, flags: int, hits: Any) -> None:
    hits.append((number, start, end))


def _escape(text: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in text)


def _spellings(word: str) -> list[bytes]:
    """A word as it may be written; ASCII letters are matched in either case anyway."""
    spelled = (word,) if word.isascii() else (word, word.lower(), word.upper(), word.title(), word.capitalize())
    return list(dict.fromkeys(one.encode() for one in spelled))


def _is_whole(data: bytes, start: int, end: int) -> bool:
    """Whether a word that begins and ends with letters or digits does not go on before or behind."""
    return not (
        (data[start : start + 1].isalnum() and data[start - 1 : start].isalnum() and start > 0)
        or (data[end - 1 : end].isalnum() and data[end : end + 1].isalnum())
    )


def _glob(glob: str) -> Any:
    parts = [".*" if c == "*" else "." if c == "?" else "\\" + c if not c.isalnum() else c for c in glob.lower()]
    return regex("".join(parts))


def _shown(text: str) -> str:
    short = text if len(text) <= 60 else text[:57] + "..."
    return "".join(character if character.isprintable() else "?" for character in short)
