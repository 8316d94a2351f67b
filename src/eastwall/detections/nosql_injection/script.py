"""Texts that break out of a string in a query of a document database: JavaScript of `$where`, relaxed JSON, Redis commands, Cypher.

Two situations exist, as with SQL. In a *break* the text closes the string literal it was put in and goes on with an operator or a
statement of JavaScript. In an *open* place (a number, a whole object) it must begin with a short operand and a separator. What
follows has to be grammar that no prose has: `==` between operands, `return` of an expression, a loop, an operator with its colon.
"""

from __future__ import annotations

import re

MAX_TEXT = 4_608
"""Characters analysed: a piece of the prefilter and its overlap."""

_OPERAND = r"(?:\d{1,12}(?:\.\d{1,6})?|'[^'\n]{0,80}'?|\"[^\"\n]{0,80}\"?|!{0,2}this(?:\.\w{1,40}){1,4}|\w{1,40}(?:\.\w{1,40}){1,4}|true|false|null)"
_OPERATORS = r"\$(?:where|or|and|nor|not|ne|eq|gt|gte|lt|lte|in|nin|regex|exists|expr|function|comment)"
_BUSY = r"new\s{1,4}Date\s{0,4}(?:\(\s{0,4}\))?[^{}]{0,80}\}\s{0,4}while\s{0,4}\("
_DATABASE = (
    r"db\.(?:\w{1,40}\.(?:insert(?:One|Many)?|find(?:One)?|update(?:One|Many)?|remove|drop|delete(?:One|Many)|aggregate|count|save|renameCollection|mapReduce)"
    r"|getCollection(?:Names|Infos)?|dropDatabase|adminCommand|runCommand|version|stats|eval|getMongo|getSiblingDB|currentOp|getName)\s{0,4}\("
)
_STATEMENT = (
    r"(?:return\s{1,4}(?:true|false|null|\d|!|this\b|\(|['\"]|db\.|[a-z_$]\w{0,40}\s{0,4}[(.=!<>])"
    rf"|(?:var|let|const)\s{{1,4}}\w{{1,40}}\s{{0,4}}=|while\s{{0,4}}\(|do\s{{0,4}}\{{|for\s{{0,4}}\(|sleep\s{{0,4}}\(\s{{0,4}}\d|it\s{{0,4}}=\s{{0,4}}new\s|{_DATABASE})"
)
_SIGN = r"(?:\|\||&&)\s{0,8}[(!]{0,4}\s{0,8}"


def _rules(*rules: tuple[str, str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in rules)


_BREAK = _rules(
    (
        "adds a condition of JavaScript",
        rf"\s{{0,8}}[)\]}}]{{0,4}}\s{{0,8}}{_SIGN}(?:{_OPERAND}\s{{0,8}}[!=]==?|!{{0,2}}this\.\w)",
    ),
    ("ends the expression and starts a statement of JavaScript", rf"(?:\s{{0,4}}[)\]}}]){{0,4}}\s{{0,8}};\s{{0,8}}{_STATEMENT}"),
    ("adds an operator to the query", rf"\s{{0,8}}[)\]}}]{{0,4}}\s{{0,8}},\s{{0,8}}['\"]?{_OPERATORS}['\"]?\s{{0,8}}:"),
    (
        "goes on with the query in Cypher",
        r"\s{0,8}(?:[})\]]{1,4}\s{0,8}|OR\s{1,4}\S{1,40}=\S{1,40}\s{1,4})?(?:WITH\s{1,4}\d\s{1,4}AS\s|RETURN\s{1,4}\w{1,20}(?:\s{0,4}//|\s{1,4}UNION\s{1,4}MATCH|\s{0,4}$)|DETACH\s{1,4}DELETE\s)",
    ),
)
"""What follows the quote that ends the literal."""
_OPEN = _rules(
    (
        "ends the expression and starts a statement of JavaScript",
        rf"\s{{0,8}}(?:\d{{1,12}}|true|false|null)?\s{{0,8}}(?:{_SIGN}\w{{1,20}}\s{{0,8}})?[)\]}}]{{0,4}};\s{{0,8}}(?:return\b\s{{0,4}}(?:true|false|\d|!|this\b)|while\s{{0,4}}\(\s{{0,4}}(?:1|true)\s{{0,4}}\))",
    ),
    (
        "keeps the database busy in a loop",
        rf"\s{{0,8}}(?:\d{{1,12}}|\w{{1,12}})?\s{{0,8}}['\"]?[)\]}}]{{0,4}};[^\n]{{0,200}}{_BUSY}",
    ),
    (
        "adds an operator to the query",
        rf"\s{{0,8}}(?:\d{{1,12}}|true|false|null|\w{{1,20}})?\s{{0,8}},\s{{0,8}}['\"]?{_OPERATORS}['\"]?\s{{0,8}}:",
    ),
    (
        "is an operator of the query",
        rf"\s{{0,8}}(?:\{{\s{{0,8}})?['\"]?{_OPERATORS}['\"]?\s{{0,8}}:\s{{0,8}}(?:['\"\[{{/]|\d|-|null|true|false|function)",
    ),
    (
        "is a condition of JavaScript over the document",
        r"\s{0,8}!{0,2}this(?:\.\w{1,40}){1,4}\s{0,8}(?:[!=]==?|\.match\s{0,4}\(|\(|$|\|\||&&|>|<)",
    ),
    ("is a statement of the database's shell", rf"\s{{0,8}}['\");]{{0,4}}\s{{0,8}}{_DATABASE}"),
    (
        "adds a condition of JavaScript",
        rf"\s{{0,8}}(?:\d{{1,12}}|true|false)\s{{0,8}}[)\]]{{0,4}}\s{{0,8}}{_SIGN}(?:{_OPERAND}\s{{0,8}}===?|this\.\w)",
    ),
    (
        "is a statement of Cypher that deletes",
        r"\s{0,8}MATCH\s{0,4}\(\s{0,4}\w{0,20}(?:\s{0,4}:\s{0,4}\w{1,40})?\s{0,4}\)\s{1,8}(?:DETACH\s{1,8})?DELETE\s{1,8}\w",
    ),
)
"""From the beginning of the value."""
_LINES = re.compile(
    r"[\r\n]{1,4}(?:\*\d{1,4}[\r\n]{1,4}\$\d{1,6}[\r\n]{1,4}[A-Za-z]{2,20}(?:[\r\n]|$)"
    r"|(?:FLUSHALL|FLUSHDB|BGSAVE|SHUTDOWN|BGREWRITEAOF)(?:[ \t]{1,4}(?:ASYNC|SYNC|NOSAVE|SAVE))?[ \t]{0,4}(?:[\r\n]|$)"
    r"|CONFIG[ \t]{1,4}(?:SET|GET|REWRITE|RESETSTAT)\b|(?:SLAVEOF|REPLICAOF)[ \t]{1,4}\S{1,100}[ \t]{1,4}(?:\d|ONE)|MODULE[ \t]{1,4}LOAD[ \t]{1,4}/|EVAL[ \t]{1,4}[\"']"
    r"|SET[ \t]{1,4}[\w:.-]{1,80}[ \t]{1,4}\S{1,400}[ \t]{0,4}\r\n"
    r"|(?:set|add|replace|append|prepend)[ \t]{1,4}[\w:.-]{1,200}[ \t]\d{1,10}[ \t]\d{1,10}[ \t]\d{1,10}[ \t]{0,4}\r?\n)"
)
"""Lines of the protocols of Redis and memcached, behind a line break; caseful, as their clients write them."""
_OBJECT = re.compile(r"\s*\{")
_FILTER_PLACE = re.compile(r"\.(?:filter|where|query|q|selector|pipeline)\w*$", re.IGNORECASE)
_PLAIN = re.compile(r"(?<![A-Za-z])[A-Za-z]{2,}+[,.]?(?=\s|$)")
PROSE = 8
"""Plain words beyond which a text that is no break counts as prose that quotes code."""
BREAKS = 3
"""Quotes of a kind tried as the end of the literal."""


def injection(place: str, text: str) -> tuple[str, str] | None:
    """(confidence, why: a clause of a sentence), or None. Never raises; linear in the first `MAX_TEXT` characters."""
    text = text[:MAX_TEXT]
    if "+" in text and " " not in text:
        text = text.replace("+", " ")  # encoded once too often
    if _LINES.search(text):
        return "high", "holds a line that Redis or memcached takes as a command of its own"
    for quote in "'\"":
        for tail in _tails(text, quote):
            for reason, rule in _BREAK:
                if rule.match(tail):
                    return "high", f"breaks out of a literal and {reason}"
    for reason, rule in _OPEN:
        if rule.match(text):
            if reason == "is an operator of the query" and _FILTER_PLACE.search(place):
                return "low", f"{reason}, in a field that by its name takes filters"
            if sum(1 for _ in zip(_PLAIN.finditer(text), range(PROSE), strict=False)) >= PROSE:
                return None
            return "medium", reason
    return None


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
