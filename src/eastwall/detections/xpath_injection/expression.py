"""Whether a text, put into an XPath expression, would select other nodes (XPath 1.0 section 3, with functions of 2.0).

Much of what injects XPath (`' or '1'='1`) injects SQL just as well and is found there. Here a finding needs syntax that only XPath has:
an axis, a node test, a function over a path, a predicate that is closed and followed by another path. It stands either in a *break*
(behind the quote or bracket that ends the literal or predicate), behind an operator after a number, or is the whole value.
"""

from __future__ import annotations

import re

MAX_TEXT = 4_608
"""Characters analysed: a piece of the prefilter and its overlap."""
BREAKS = 3
"""Quotes of a kind tried as the end of the literal."""

_AXIS = (
    r"(?:ancestor(?:-or-self)?|attribute|child|descendant(?:-or-self)?|following(?:-sibling)?|namespace|parent|preceding(?:-sibling)?|self)"
    r"\s{0,4}::\s{0,4}(?:\*|[A-Za-z_@])"
)
_OVER_PATH = (
    r"(?:count|string-length|name|local-name|namespace-uri|substring|substring-before|substring-after|contains|starts-with|ends-with|normalize-space|concat|sum|not|boolean|string"
    r"|number|string-to-codepoints|matches|translate|lower-case|upper-case|exists|empty|distinct-values|id|data)\s{0,4}\(\s{0,4}"
)
_PATH = r"(?:/{1,2}(?:\*|@?[A-Za-z_][\w.-]{0,60}|\.)|\.\./|\.{1,2}\s{0,4}[,)=]|@[A-Za-z*])"
_SIGNS = re.compile(
    rf"{_AXIS}|\b(?:text|node|comment|processing-instruction)\(\s{{0,4}}\)"
    rf"|\b{_OVER_PATH}(?:{_OVER_PATH})?(?:{_PATH}|(?:{_AXIS}))"
    r"|\b(?:position|last)\(\s{0,4}\)\s{0,4}(?:[=!<>\]+-]|$|or\b|and\b)|[=<>]\s{0,4}(?:position|last)\(\s{0,4}\)|\b(?:local-)?name\(\s{0,4}\)\s{0,4}[=!]"
    r"|\b(?:doc|document|doc-available|unparsed-text|unparsed-text-available|collection)\(\s{0,4}['\"]"
    r"|(?:^|[^\w:/.])/{1,2}(?:\*|[A-Za-z_][\w.-]{0,60})\s{0,4}\[",
)
_OUTER = re.compile(
    r"\b(?:doc|document|doc-available|unparsed-text|unparsed-text-available)\(\s{0,4}['\"](?:https?:|file:|ftp:|/|\\\\)",
    re.IGNORECASE,
)
"""Functions that read another document."""
_BREAK_OPERATOR = re.compile(r"\s{0,8}+\)?\s{0,8}+(?:or|and)\b\s{0,8}+(.*)", re.DOTALL)
_BREAK_PREDICATE = re.compile(
    r"\s{0,8}\)?\s{0,8}\](?:\s{0,8}\|\s{0,8}(?:/{1,2}|[A-Za-z_*]\S{0,80}\[)|/{1,2}(?:[A-Za-z_@*]|\.\.)|\[\s{0,4}(?:\d|position|last)[^\]]{0,40}\]/|\s{0,8}(?:or|and)\s{1,8}\S)"
)
_BARE = re.compile(
    rf"(?:\(\s{{0,4}})?(?:/{{1,2}}(?:\*|[A-Za-z_@][\w.-]{{0,60}})|/\*|\.\./[\w@*]|@[A-Za-z_][\w-]{{0,60}}\s{{0,4}}[!=<>]|(?:true|false)\(\s{{0,4}}\)\s{{0,4}}\)?\s{{0,4}}(?:or|and)\b"
    rf"|not\(\s{{0,4}}(?:true|false)\(\s{{0,4}}\)\s{{0,4}}\)|{_AXIS})"
)
"""A path or constant of XPath directly behind `or` and `and`."""
_NUMBER = re.compile(
    r"\s{0,8}-?\d{1,12}\s{0,8}(?:(?P<predicate>\]\s{0,8}(?:\||/)\s{0,8}/{0,2}[A-Za-z_@*.])|\|\s{0,8}/{1,2}(?:\*|[A-Za-z_])|(?:or|and)\b\s{0,8}(?P<condition>.*))",
    re.DOTALL,
)
_LEXEME = re.compile(
    r"\s++|\.{1,2}|::|//?|[\[\]()|,@$*=+-]|[!<>]=?|'[^']*+'|\"[^\"]*+\"|\d++(?:\.\d*+)?|[A-Za-z_\x80-\U0010ffff][\w.-]*+(?::[A-Za-z_*][\w.-]*+)?"
)
_MARKUP = re.compile(
    r"[/:](?:html|head|body|div|span|a|p|ul|ol|li|table|thead|tbody|tr|td|th|h[1-6]|img|input|button|form|label|select|option|section|article|nav|main|header|footer|meta|title|script|link)\b"
    r"|@(?:class|href|src|id|data-[\w-]+|role|aria-[\w-]+)\b",
)
"""Elements of HTML: expressions over them are how scrapers and test tools address a page."""
_BEGINS = re.compile(r"\(*\s{0,4}(?:/|\.{1,2}/|[a-z-]+\(|[a-z-]+\s{0,4}::)")
MAX_LEXEMES = 400


def injection(text: str) -> str | None:
    """Why `text` would change an expression (a clause of a sentence), or None. Never raises; linear in the first `MAX_TEXT` characters."""
    text = text[:MAX_TEXT].strip()
    if "+" in text and " " not in text:
        text = text.replace("+", " ")  # encoded once too often
    barren = 0
    for quote in "'\"":
        for tail in _tails(text, quote):
            if _BREAK_PREDICATE.match(tail):
                return "closes the predicate it is put in and goes on with another path"
            operator = _BREAK_OPERATOR.match(tail)
            if operator is not None and _BARE.match(operator[1]):
                return "breaks out of a literal and adds a condition over nodes"
            # What the longer rest of a text does not hold, the shorter does not either: searched at most twice.
            if operator is not None and len(operator[1]) > barren:
                if _SIGNS.search(operator[1]):
                    return "breaks out of a literal and adds a condition over nodes"
                barren = len(operator[1])
    number = _NUMBER.match(text)
    if number is not None:
        if number["predicate"]:
            return "closes the predicate it is put in and goes on with another path"
        if number["condition"] is None:
            return "adds another path"
        if _BARE.match(number["condition"]) or _SIGNS.search(number["condition"]):
            return "adds a condition over nodes"
    if _OUTER.match(text):
        return "reads another document"
    if _BEGINS.match(text) and _SIGNS.search(text) and not _MARKUP.search(text) and _is_expression(text):
        return "is a path expression of its own"
    return None


def _is_expression(text: str) -> bool:
    """Whether every character belongs to a lexeme of XPath, two operands never stand side by side, and brackets balance."""
    position, depth, operand = 0, 0, False
    for _ in range(MAX_LEXEMES):
        if position >= len(text):
            return depth == 0
        match = _LEXEME.match(text, position)
        if match is None:
            return False
        lexeme, position = match[0], match.end()
        if lexeme.isspace():
            continue
        if lexeme in "([":
            depth, operand = depth + 1, False
        elif lexeme in ")]":
            depth, operand = depth - 1, True
            if depth < 0:
                return False
        elif lexeme[0].isalnum() or lexeme[0] in "_'\"" or lexeme[0] >= "\x80":
            if operand and lexeme not in ("or", "and", "div", "mod", "eq", "ne", "lt", "gt", "to", "in", "return"):
                return False
            operand = lexeme not in ("or", "and", "div", "mod", "eq", "ne", "lt", "gt", "to", "in", "return")
        else:
            operand = lexeme in (".", "..")
    return False


def _tails(text: str, quote: str) -> list[str]:
    """What follows the quotes that may end the literal: the first, and those after one that stands inside a word."""
    tails: list[str] = []
    position = text.find(quote)
    while position >= 0 and len(tails) < BREAKS:
        tails.append(text[position + 1 :])
        if not (text[position - 1 : position].isalpha() and text[position + 1 : position + 2].isalpha()):
            break
        position = text.find(quote, position + 1)
    return tails
