"""Which patterns can only hit a text that holds a special character: they need not see names, prose, dates and addresses at all.

Most patterns begin with a quote, a bracket or a separator. Such ones have a database of their own, which sees only those values that hold
a character of `texts.SPECIAL`; and two automata of fewer patterns each are several times faster than one of all.
"""

from __future__ import annotations

import re

from eastwall.detections.texts import SPECIAL

_SPECIAL = frozenset(SPECIAL.decode())
_QUANTIFIER = re.compile(r"([*+?]|\{(\d*),?\d*\})[?+]?")
_CLASS_LETTERS = frozenset("dDwWsSbBAzZhHvVRNXpP")
"""Letters that, behind a backslash, stand for many characters or none."""
_CONTROL = {"r": "\r", "n": "\n"}


def needs_special(pattern: str) -> bool:
    """Whether every text that a pattern hits holds a special character; in doubt False.

    Reads the expression: a sequence needs one when one of its parts does that must be there, alternatives when all of them do.
    """
    reader = _Reader(pattern)
    try:
        needed = reader.alternatives()
    except IndexError:  # an unbalanced expression: whoever compiles it will say so
        return False
    return needed and reader.at == len(pattern)


class _Reader:
    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def alternatives(self) -> bool:
        """Up to the closing bracket, which is left, or the end."""
        every = self.sequence()
        while self.at < len(self.pattern) and self.pattern[self.at] == "|":
            self.at += 1
            every = self.sequence() and every
        return every

    def sequence(self) -> bool:
        found = False
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            needed = self.part()
            quantifier = _QUANTIFIER.match(self.pattern, self.at)
            if quantifier is not None:
                self.at = quantifier.end()
                least = quantifier[2] if quantifier[2] is not None else "1" if quantifier[1] == "+" else "0"
                needed = needed and int(least or "0") > 0
            found = found or needed
        return found

    def part(self) -> bool:
        character = self.pattern[self.at]
        self.at += 1
        if character == "(":
            return self.group()
        if character == "[":
            return self.character_class()
        if character == "\\":
            literal = self.escape()
            return literal in _SPECIAL
        return character in _SPECIAL and character not in "^$"

    def group(self) -> bool:
        counts = True
        if self.pattern[self.at] == "?":
            head = re.compile(r"\?(?:[imsx-]*:|>|P?<\w+>)|\?[imsx-]+(?=\))").match(self.pattern, self.at)
            if head is None:  # looks around: what it asks for need not be in what is hit
                counts = False
            else:
                self.at = head.end()
        needed = self.alternatives()
        if self.pattern[self.at] != ")":
            raise IndexError
        self.at += 1
        return needed and counts

    def character_class(self) -> bool:
        """Whether only special characters are in the class."""
        negated = self.pattern[self.at] == "^"
        self.at += negated
        only, first = not negated, True
        while first or self.pattern[self.at] != "]":
            first = False
            character = self.pattern[self.at]
            self.at += 1
            if character == "[" and self.pattern[self.at] in ":.=":  # a named class
                only = False
                self.at = self.pattern.index("]", self.at) + 1
                continue
            literal = self.escape(inside=True) if character == "\\" else character
            only = only and literal in _SPECIAL
            if self.pattern[self.at] == "-" and self.pattern[self.at + 1] != "]":
                only = False  # a range
        self.at += 1
        return only

    def escape(self, *, inside: bool = False) -> str:
        """The character that an escape stands for; empty when it is none, or many."""
        letter = self.pattern[self.at]
        self.at += 1
        if letter == "x":
            digits = re.compile(r"\{[0-9a-fA-F]+\}|[0-9a-fA-F]{1,2}").match(self.pattern, self.at)
            if digits is None:
                return ""
            self.at = digits.end()
            return chr(int(digits[0].strip("{}"), 16))
        if letter == "Q":
            raise IndexError  # a quoted stretch: not read
        if letter in _CONTROL:
            return _CONTROL[letter]
        return "" if letter in _CLASS_LETTERS or letter.isalnum() else letter
