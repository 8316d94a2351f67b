"""The rules of `rules.json`, and what confirms a match: the whole form, no placeholder, letters as random as a key's, checksums."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from math import log2
from zlib import crc32

import msgspec
from msgspec import Struct

from eastwall.detections.credentials import placeholder, random
from eastwall.discovery.content_rules import entropy

MAX_TRIES = 400
"""Places of one text at which rules are tried."""


class _Rule(Struct, frozen=True):
    id: str
    title: str
    pattern: str
    entropy: float
    """Bits per character that the token needs at least; see `entropy`."""
    severity: str
    heads: tuple[str, ...] = ()
    """What the token begins with; empty: anything."""
    holds: str = ""
    """Where it may begin with anything: what stands within."""


class _File(Struct, frozen=True):
    source: str
    version: str
    licences: str
    rules: tuple[_Rule, ...]


class Secret(Struct, frozen=True):
    """A secret found in a text."""

    rule: str
    """Id of the rule."""
    title: str
    severity: str
    confidence: str
    masked: str
    """Its beginning, by which its owner can tell whose it is; the rest is `****`."""
    start: int
    length: int
    """Characters."""


_Compiled = tuple[_Rule, re.Pattern[str]]
_LEFT, _RIGHT = "(?<![0-9A-Za-z])", "(?![0-9A-Za-z])"


@cache
def _rules() -> tuple[tuple[tuple[str, tuple[_Compiled, ...]], ...], tuple[_Compiled, ...]]:
    """(rules by what their tokens begin with, rules whose tokens may begin with anything)"""
    # Part of the program, as code is: read once, at first use.
    data = msgspec.json.decode((resources.files(__package__) / "rules.json").read_bytes(), type=_File)
    by_head: dict[str, list[_Compiled]] = {}
    anywhere = []
    for rule in data.rules:
        compiled = (rule, re.compile(f"{_LEFT}(?:{rule.pattern}){_RIGHT}", re.ASCII))
        for head in rule.heads:
            by_head.setdefault(head, []).append(compiled)
        if not rule.heads:
            anywhere.append(compiled)
    return tuple((head, tuple(some)) for head, some in by_head.items()), tuple(anywhere)


def find(text: str) -> Secret | None:
    """The first sure secret in a text, else the first unsure one; None when there is none. Never raises; linear for the pieces of
    4,096 characters that values come in."""
    best: Secret | None = None
    tries = 0
    by_head, anywhere = _rules()
    for head, some in by_head:
        at = text.find(head)
        while at >= 0 and tries < MAX_TRIES:
            tries += 1
            for rule, pattern in some:
                match = pattern.match(text, at)
                if match is not None:
                    found = _secret(rule, match[0], head, at)
                    if found is not None:
                        if found.confidence == "high":
                            return found
                        best = best or found
            at = text.find(head, at + 1)
    for rule, pattern in anywhere:
        match = pattern.search(text) if rule.holds in text else None
        if match is not None:
            best = _secret(rule, match[0], "", match.start()) or best
    return best


_HEX = re.compile(r"[0-9a-fA-F]+")
_TEST = re.compile(r"(?:^|[_-])(?:test|sandbox|hmlg|TEST)[_-]|^EZTK")


def _secret(rule: _Rule, token: str, head: str, at: int) -> Secret | None:
    part = token[len(head) :]
    letters = 16 if _HEX.fullmatch(part) else 64
    # A short sample of a few letters cannot have the entropy of a long one of many.
    if placeholder(part) or not random(part) or entropy(part) < min(rule.entropy, 0.72 * log2(max(2, min(letters, len(part))))):
        return None
    sure = "high"
    if (rule.id.startswith("github-") and len(token) == 40) or head == "npm_":
        # A wrong checksum is no token of theirs; it may have been altered by hand to be shown.
        sure = "high" if checksum_holds(token) else "low"
    severity = "medium" if _TEST.search(token[:24]) else rule.severity
    return Secret(rule.id, rule.title, severity, sure, f"{head or token[:3]}****", at, len(token))


_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def checksum_holds(token: str) -> bool:
    """GitHub's and npm's tokens end with the CRC-32 of their 30 random characters, as six digits of base 62 (GitHub, "Behind GitHub's new
    authentication token formats", 2021)."""
    random_part, given = token[4:-6], token[-6:]
    number = crc32(random_part.encode("ascii", "replace"))
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits.rjust(6, "0") == given
