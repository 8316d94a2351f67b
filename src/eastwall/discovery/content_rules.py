"""Rules about content of the user's own, compiled: which of them match a text.

Patterns run in hyperscan only, never in a backtracking engine: time is linear in the text whatever the author wrote, and what hyperscan
does not take (look-around, back references) is refused when the policy is checked. Where a rule asks for more than its pattern (`confirm`,
`validator`, `min_entropy`), that is asked of what was matched: the longest part that ends where a match cannot go on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from re import compile as regex
from typing import Any, NamedTuple

import hyperscan

from eastwall.discovery import automata
from eastwall.discovery.data_custom import VALIDATORS
from eastwall.discovery.data_forms import compact
from eastwall.model.content_rule import ContentRule

MAX_PATTERN = 1_000
"""Characters of a pattern."""
MAX_EXPANDED = 4_000
"""Places of a pattern with its counted repeats written out: `(ab){1,50}` has 100. Bounds the compiling."""
MAX_PART = 256
"""Bytes of a matched part that is asked more of than the pattern."""
MAX_PARTS = 8
"""Matched parts of one value that one rule's confirmation looks at."""
MAX_CONFIRMATIONS = 64
"""Matched parts of one message over all rules; each takes up to a tenth of a millisecond."""
PLACES = ("path", "query", "header", "cookie", "claim", "body")
RESPONSE_PLACES = ("header", "body")
_ONCE = hyperscan.HS_FLAG_SINGLEMATCH
_FLAGS = hyperscan.HS_FLAG_DOTALL | hyperscan.HS_FLAG_MULTILINE
_REPEAT = regex(r"\{([0-9]{0,6})(,?)([0-9]{0,6})\}")
_HINT = "look-around and back references are not taken: they cannot be matched in linear time"
_ONCE_EACH, _PART_ENDS, _PARTS, _CONFIRM_ENDS, _CONFIRMS = range(5)
"""Databases: all patterns, once each; of the rules that ask for more, where their patterns end, and these as a whole text; the same of
their `confirm`."""


class Hit(NamedTuple):
    """One rule matches one text."""

    rule: int
    """Its place among the rules."""
    part: str
    """The matched part, or the text up to where the match ends."""
    confirmed: bool = True
    """Not: there were more parts to confirm than one message may cost."""


class Budget:
    """Matched parts that may still be confirmed."""

    __slots__ = ("left",)

    def __init__(self, left: int = MAX_CONFIRMATIONS) -> None:
        self.left = left


class ContentRules:
    """Compiled once. May be used from several threads: each scan takes a scratch of its own."""

    def __init__(self, rules: Sequence[ContentRule], saved: bytes = b"") -> None:
        """`saved`: what `save` gave elsewhere; compiled here when it does not fit. Raises ValueError, one line, for a rule that
        `problems` finds fault with."""
        self.rules = tuple(rules)
        self._mark = automata.fingerprint(_sources(self.rules))
        kept = automata.restore(saved, self._mark) if saved else None
        self.compiled_here = kept is None
        """What was saved did not fit, or nothing was."""
        # `_compiled` keeps what it last gave: a new snapshot with the same rules compiles nothing.
        self._databases: tuple[Any, ...] = kept[1] if kept is not None else _compiled(self.rules)
        self._free: list[list[Any]] = [[database.scratch.clone()] for database in self._databases]
        self._parts = {number for number, rule in enumerate(self.rules) if _confirms(rule)}

    def save(self) -> bytes:
        """The compiled rules, for another process's `saved`."""
        return automata.save(self._mark, (), self._databases) if self._databases else b""

    def suspected(self, data: bytes) -> frozenset[int]:
        """Numbers of the rules whose pattern occurs in a text: values joined by line ends, say."""
        if not self._databases:
            return frozenset()
        if not data.isascii():
            data = data.decode("utf-8", "replace").encode()
        return frozenset(number for number, _ in self._scan(_ONCE_EACH, data))

    def hits(self, text: str, wanted: frozenset[int] | None = None, budget: Budget | None = None) -> list[Hit]:
        """The rules (of those wanted) that match one value, wholly confirmed, in order. `budget` bounds the confirming over several
        values: once it is spent, what a pattern matches is told unconfirmed."""
        if not self._databases:
            return []
        data = text.encode("utf-8", "replace")
        ends: dict[int, int] = {}
        for number, end in self._scan(_ONCE_EACH, data):
            if wanted is None or number in wanted:
                ends.setdefault(number, end)
        if not ends:
            return []
        found = [
            Hit(number, data[max(0, end - MAX_PART) : end].decode("utf-8", "ignore"))
            for number, end in ends.items()
            if number not in self._parts
        ]
        asked = self._parts.intersection(ends)
        if asked:
            found += self._confirmed(data, asked, budget or Budget())
        return sorted(found)

    def _confirmed(self, data: bytes, asked: set[int], budget: Budget) -> Iterator[Hit]:
        for number, ends in self._ends(_PART_ENDS, data, asked).items():
            for end in ends:
                if budget.left <= 0:
                    yield Hit(number, data[max(0, end - MAX_PART) : end].decode("utf-8", "ignore"), confirmed=False)
                    break
                budget.left -= 1
                part = self._part(_PARTS, number, data, end)
                if self._agrees(number, part):
                    yield Hit(number, part.decode("utf-8", "ignore"))
                    break

    def _ends(self, which: int, data: bytes, asked: set[int]) -> dict[int, list[int]]:
        """Where what each rule's expression matches ends, as far as it goes on; the first `MAX_PARTS`."""
        found: dict[int, list[int]] = {}
        for number, end in self._scan(which, data):
            if number in asked:
                ends = found.setdefault(number, [])
                if ends and end <= ends[-1] + 1:
                    ends[-1] = end  # the same match, one character longer
                elif len(ends) < MAX_PARTS:
                    ends.append(end)
        return found

    def _part(self, which: int, number: int, data: bytes, end: int) -> bytes:
        """The longest text that ends there and that an expression matches as a whole, of at most `MAX_PART` bytes.

        Tried one beginning after the other: hyperscan's own search for beginnings crashes on some expressions (`(a+)+c`).
        """
        for start in range(max(0, end - MAX_PART), end):
            if data[start] & 0xC0 == 0x80:  # within a character
                continue
            if any(found == number for found, _ in self._scan(which, data[start:end])):
                return data[start:end]
        return b""

    def _agrees(self, number: int, part: bytes) -> bool:
        rule = self.rules[number]
        if not part or not rule.confirm:
            return bool(part) and _checked(rule, part)
        ends = self._ends(_CONFIRM_ENDS, part, {number}).get(number, ())
        return any(_checked(rule, self._part(_CONFIRMS, number, part, end)) for end in ends)

    def _scan(self, which: int, data: bytes) -> list[tuple[int, int]]:
        hits: list[tuple[int, int]] = []
        free, database = self._free[which], self._databases[which]
        try:
            scratch = free.pop()
        except IndexError:  # another thread took it
            scratch = database.scratch.clone()
        try:
            database.scan(data, _note, 0, hits, scratch)
        finally:
            free.append(scratch)
        return hits


def _note(number: int, start: int, end: int, flags: int, hits: Any) -> None:
    hits.append((number, end))


def _checked(rule: ContentRule, part: bytes) -> bool:
    """Whether entropy and validator agree on what was matched."""
    text = part.decode("utf-8", "ignore")
    if rule.min_entropy and entropy(text) < rule.min_entropy:
        return False
    plain = compact(text)
    return not rule.validator or (plain != "" and plain.isascii() and VALIDATORS[rule.validator](plain))


def entropy(text: str) -> float:
    """Shannon entropy in bits per character; 0 for the empty text."""
    size = len(text)
    return -sum(count / size * math.log2(count / size) for count in Counter(text).values()) if size else 0.0


def problems(rule: ContentRule) -> list[tuple[str, str, str]]:
    """What is wrong with a rule's matching: (field, message, hint), in order; its examples are tried. Compiles it (milliseconds)."""
    found: list[tuple[str, str, str]] = []
    for field, text in (("pattern", rule.pattern), ("confirm.pattern", rule.confirm)):
        if field == "confirm.pattern" and not text:
            continue
        problem = pattern_problem(text, caseful=rule.caseful)
        if problem:
            found.append((field, f"pattern {_shown(text)}: {problem[0]}", problem[1]))
    if rule.validator and rule.validator not in VALIDATORS:
        found.append(
            ("confirm.validator", f"validator `{rule.validator}` is not known", f"known: {', '.join(sorted(VALIDATORS))}")
        )
    for at, where in enumerate(rule.where):
        problem = place_problem(where, rule.phases)
        if problem:
            found.append((f"where[{at}]", *problem))
    if found:
        return found
    compiled = ContentRules((rule,))
    for at, text in enumerate(rule.matches):
        if not compiled.hits(text):
            found.append((f"matches[{at}]", f"the rule misses {_shown(text)}, which it must match", _why(rule, compiled, text)))
    for at, text in enumerate(rule.near_misses):
        if compiled.hits(text):
            found.append(
                (f"nearMisses[{at}]", f"the rule matches {_shown(text)}, which it must not", "make the pattern say what differs")
            )
    return found


def _why(rule: ContentRule, compiled: ContentRules, text: str) -> str:
    if not compiled.suspected(text.encode("utf-8", "replace")):
        return "its pattern does not occur in it"
    return "its pattern occurs in it, but `confirm` does not agree"


def place_problem(where: str, phases: Sequence[str]) -> tuple[str, str] | None:
    """(what is wrong with a place of `where`, hint)."""
    kind, colon, name = where.partition(":")
    if kind not in PLACES:
        return f"place {_shown(where)} is not known", f"known: {', '.join(PLACES)}; a glob over names after a colon: `header:x-*`"
    if colon and (not name or len(name) > 200):
        return f"place {_shown(where)} has no name behind the colon", "write e.g. `body:items[].note`"
    if colon and kind == "path":
        return "parts of the path have no names", "write `path`, and say in `operations` which operations"
    if tuple(phases) == ("response",) and kind not in RESPONSE_PLACES:
        return f"a response has no {kind}", f"places of a response: {', '.join(RESPONSE_PLACES)}"
    return None


def pattern_problem(pattern: str, *, caseful: bool = False) -> tuple[str, str] | None:
    """(what is wrong with a pattern, how to mend it), None when it can be used."""
    if not pattern or len(pattern) > MAX_PATTERN:
        return f"must have 1 to {MAX_PATTERN} characters", ""
    size = expanded(pattern)
    if size > MAX_EXPANDED:
        said = f"has {size:,} places with its repeats written out, at most {MAX_EXPANDED:,} are allowed"
        return said, "ask for fewer repeats, e.g. `{20,}`"
    flags = _flags(pattern, caseful=caseful)
    try:
        database = automata.build([pattern.encode()], [flags | _ONCE], [0])
        automata.build([_whole(pattern).encode()], [_whole_flags(flags)], [0])
    except (hyperscan.error, UnicodeError) as error:
        said = _said(error)
        if "empty" in said:
            return "matches the empty text", "ask for at least one character"
        return said, _HINT if any(word in said for word in ("assert", "reference", "support", "zero-width")) else ""
    hits: list[int] = []
    for text in (b"", b"q\nzqx 7"):
        database.scan(text, lambda *_: hits.append(1))
    if hits:
        return "matches (nearly) every text, also the empty one", "ask for at least one character that is special to the rule"
    return None


def expanded(pattern: str) -> int:
    """How many places a pattern has when its counted repeats are written out; an estimate from above for what hyperscan takes."""
    total, last, at = [0], [0], 0  # per open bracket: places so far, places of the last piece
    while at < len(pattern):
        repeat = _REPEAT.match(pattern, at) if pattern[at] == "{" else None
        if repeat is not None and (repeat[1] or repeat[3]):
            times = int(repeat[3] or repeat[1])
            total[-1] += last[-1] * (times - 1) if times else 0
            last[-1] *= max(times, 1)
            at = repeat.end()
            continue
        character, size = pattern[at], 1
        if character == "(":
            total.append(0)
            last.append(0)
            size = 0
        elif character == ")" and len(total) > 1:
            inner = total.pop()
            last.pop()
            total[-1] += inner
            last[-1] = inner
            size = 0
        elif character == "[":
            at = _class_end(pattern, at)
        elif character == "\\":
            at += 1
        elif character in "*+?|^$":
            size = 0
        if size:
            total[-1] += 1
            last[-1] = 1
        at += 1
    return sum(total)


def _class_end(pattern: str, at: int) -> int:
    """Where a character class that begins at `at` ends."""
    end = at + 1
    if pattern[end : end + 1] == "^":
        end += 1
    if pattern[end : end + 1] == "]":
        end += 1
    while end < len(pattern) and pattern[end] != "]":
        end += 2 if pattern[end] == "\\" else 1
    return end


def _flags(pattern: str, *, caseful: bool) -> int:
    # Only where it is needed: in UTF-8 mode a class of ASCII letters is no longer one byte wide.
    return _FLAGS | (0 if caseful else hyperscan.HS_FLAG_CASELESS) | (0 if pattern.isascii() else hyperscan.HS_FLAG_UTF8)


def _whole(pattern: str) -> str:
    """An expression that matches a text as a whole."""
    return rf"^(?:{pattern})\z"


def _whole_flags(flags: int) -> int:
    # Without multi-line mode `^` is the beginning of the text.
    return flags & ~hyperscan.HS_FLAG_MULTILINE | _ONCE


def _confirms(rule: ContentRule) -> bool:
    return bool(rule.confirm or rule.validator or rule.min_entropy)


def _sources(rules: Sequence[ContentRule]) -> Iterator[bytes]:
    yield repr((_FLAGS, _ONCE)).encode()
    for rule in rules:
        yield repr((rule.pattern, rule.confirm, rule.caseful, _confirms(rule))).encode()


@lru_cache(maxsize=2)
def _compiled(rules: tuple[ContentRule, ...]) -> tuple[Any, ...]:
    """Databases: of all patterns, of those whose matched part is asked for, of what must match in it. Raises ValueError."""
    if not rules:
        return ()
    for rule in rules:
        for text in (rule.pattern, rule.confirm):
            if text and expanded(text) > MAX_EXPANDED:
                raise ValueError(f"rule `{rule.id}`: its pattern is too large")
    numbered = list(enumerate(rules))
    groups: list[list[tuple[str, int, int]]] = [
        [(r.pattern, _flags(r.pattern, caseful=r.caseful) | _ONCE, n) for n, r in numbered]
    ]
    for texts in (
        [(r.pattern, r.caseful, n) for n, r in numbered if _confirms(r)],
        [(r.confirm, r.caseful, n) for n, r in numbered if r.confirm],
    ):
        groups.append([(text, _flags(text, caseful=caseful), n) for text, caseful, n in texts])
        groups.append([(_whole(text), _whole_flags(_flags(text, caseful=caseful)), n) for text, caseful, n in texts])
    try:
        first = _built(groups[0])
        # Where there is none, the first stands in: the places of the databases are fixed, and it is never asked.
        return first, *(_built(group) if group else first for group in groups[1:])
    except (hyperscan.error, UnicodeError) as error:
        raise ValueError(f"the rules of {rules[0].id.partition('/')[0]} and others do not compile: {_said(error)}") from None


def _built(group: Sequence[tuple[str, int, int]]) -> Any:
    texts, flags, numbers = zip(*group, strict=True)
    return automata.build([text.encode() for text in texts], flags, numbers)


def _said(error: Exception) -> str:
    text = str(error)
    for start in ("error compiling expression: ", "Failed to compile expression: ", "Regular expression compile error: "):
        text = text.removeprefix(start)
    text = " ".join(text.split()).rstrip(".")[:160]
    return text[:1].lower() + text[1:] or "cannot be compiled"


def _shown(text: str) -> str:
    short = text if len(text) <= 60 else text[:57] + "..."
    return "`" + "".join(character if character.isprintable() else "?" for character in short) + "`"
