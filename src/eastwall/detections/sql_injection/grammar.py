"""Whether a lexed text has the shape of an injection: rules over token letters (see `lexer.py`), one regular expression each.

Two situations exist. In a *break* the text closes the string literal it was put in, and what follows stands in the statement itself:
there, an operator or verb with a fitting operand suffices, because prose after an apostrophe does not go on that way. In an *open*
place (a number, a sort column, a whole statement) only shapes that no prose has are taken: constants compared with constants, a
select list, a statement with its grammar. The rules carry names; the first that matches is the reason shown.
"""

from __future__ import annotations

import re

from eastwall.detections.sql_injection.lexer import Tokens, lex

FOLDS = 8
"""Levels of brackets that are folded into one operand."""

_CALL_D = re.compile(r"d\([^()]*\)")
_CALL_F = re.compile(r"f\([^()]*\)")
_CALL_G = re.compile(r"g\([^()]*\)")
_QUERY = re.compile(r"(?<![dfg])\([^()]*\)")
# A select list as SQL has it: `*`, constants, calls, several columns, or a column FROM a table. "(select all that apply)" has none.
_SELECT = r"E[!+(]*(?:[1svzoqkhdfgKM]|\+(?:F|$|\)|,|c)|[nm],|[nm]F[nmM]|m)"
_LIST = re.compile(_SELECT)
_ARITHMETIC = re.compile(r"([1sozvkq])(?:\+[+!]*[1sozvkq])+")
_ADJACENT = re.compile(r"s+(?=[so])")


def _fold_bracket(match: re.Match[str]) -> str:
    inner = match[0][1:-1]
    if "E" in inner:
        return "q" if _LIST.search(inner) else "n"
    if "d" in inner or "q" in inner or "k" in inner:
        return "k"
    if "=" in inner or "~" in inner:
        return "p" if not inner.strip("1sovzkqp=~&!+,") else "h"
    if not inner.strip("1svzop+,!&"):
        return "1" if inner else "x"
    return "n" if "x" not in inner else "x"


def fold(shape: str) -> str:
    """Brackets, calls and arithmetic folded into single operands.

    Adds the letters `k` (call of a known function), `D` stays delete, `w` (call made for its effect), `h` (other call or bracket with
    names), `q` (sub-query with a select list), `p` (bracketed comparison of constants).
    """
    for _ in range(FOLDS):
        before = shape
        shape = _CALL_D.sub("w", shape)
        shape = _CALL_F.sub("k", shape)
        shape = _CALL_G.sub("h", shape)
        shape = _QUERY.sub(_fold_bracket, shape)
        if shape == before:
            break
    shape = _ADJACENT.sub("", shape)
    return _ARITHMETIC.sub(r"\1", shape)


_C = "[1svzkqpow]"
"""Constant operand (a call or sub-query counts: only its place matters)."""
_V = "[1svzkqpowhnmM]"
"""Any operand."""
_N = "[nmM]"
_Q = r"[!+(]*"
_CMP = "[=~][=~!+(]*"
_END = r"(?:[c;]|\)*c|$)"

_STATEMENT = (
    rf"(?:{_SELECT}|Ii?{_N}(?:\(|e|E|S|h|1|n)|RiM?{_N}|DF{_N}(?:W|c|;|$)|P{_N}S{_N}=|Xt(?:L|!|k|f|x)*{_N}(?:[;c,(h]|$|{_N}{_N}h)|X{_N}?t{_N}[;c]|G{_N}(?:t|,|{_N}{_N})"
    rf"|Y\(?(?:[mMvskhwd]|$)|Jv|Q{_N}?[so]|H(?:c|;|$|{_N}?c)|[kwpq](?:[c;]|E|$)|d\(|f\([^)]*E|L[(pk1hq]|N[wkmd;]|Sv|{_N}?c)"
)
"""A statement after `;`, with enough of its grammar that prose cannot be it."""


def _rules(*rules: tuple[str, str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((name, re.compile(pattern)) for name, pattern in rules)


BREAK_RULES = _rules(
    ("adds a condition that compares", rf"&{_Q}(?:{_C}{_CMP}{_V}|{_V}(?:=[=!+(]*{_V}|~[=~!+(]*{_C}))"),
    ("adds a condition with a function or sub-query", rf"&{_Q}(?:[kqpwd]|f\()"),
    ("adds a constant condition", rf"&{_Q}[1szvM](?:\)*c|o|$|&)"),
    ("adds a constant condition", rf"&{_Q}(?:o|{_N}\)*c)"),
    ("adds a second query", r"U[(]*(?:E|$|c)"),
    ("ends the statement and starts another", rf";+[(]*{_STATEMENT}"),
    ("ends the statement and comments out the rest", r";+c"),
    ("joins an expression to the literal", rf"\+{_Q}(?:[kqpwdv]|f\(|E|[so][c=+&]|[so]$|1[c=&]|K)"),
    ("compares the literal", rf"=[=!+(]*{_C}"),
    ("compares the literal", r"~[=~!+(]*(?:[skqow]|z(?:[c&]))"),
    ("adds a clause", rf"W{_Q}{_V}?(?:{_CMP}{_V}|[kqpw1])"),
    ("adds a sort or limit clause", rf"Bb?[(]*{_V}(?:,{_V})*\)*(?:c|,[(]*[kqpw]|{_CMP}{_V})"),
    ("goes on with the list of values", rf",{_Q}(?:[qkw]|(?:{_V},?)+\)+(?:c|;|,))"),
    ("closes the list of values", rf"(?:,{_V})+[)]*c"),
    (
        "starts a statement",
        rf"(?:Q{_N}?[so]|iO|(?:A|t)A|a?{_N}W{_Q}{_V}{_CMP}{_V}|a{_N}?[W&]{_Q}{_V}{_CMP}|K|[kw][c&=]|E[1so+kq])",
    ),
)
"""What follows the end of the literal, brackets closed."""

_LEFT = rf"^[!+(]*{_V}?[)]*"
OPEN_RULES = _rules(
    ("compares constants after a logical operator", rf"{_LEFT}&{_Q}{_C}{_CMP}{_C}"),
    ("compares constants after a logical operator", rf"(?:^|[1szvpkq)])[)]*&{_Q}[1skqpwz]=[=!+(]*[1skqpwo]"),
    ("compares constants after a logical operator", rf"^[!+(]*1[)]*&{_Q}(?:w|q|{_N}=[=!+(]*(?:s|o|1c|{_N}c)|[1z]c|{_N}~z|1$)"),
    ("adds a second query", rf"U[(]*{_SELECT}(?<!nFn)(?<!n,)"),
    ("adds a second query", rf"(?:^|[1zso)])[!+(]*[)]*U[(]*E{_Q}(?:{_V}(?:,{_V})*(?:F|c)|\+)"),
    ("ends the statement and starts another", rf"^[!+(]*{_V}?{_V}?[)]*;+[(]*{_STATEMENT}"),
    (
        "ends the statement and starts another",
        rf";[(]*(?:Xt{_N}c|DF{_N}(?:W{_V}=|c)|Iim|Ii{_N}h?(?:e|E)|P{_N}S{_N}=|Y[mM]|Jv|Q{_N}?[so]|E\+F|E{_Q}[kqw])",
    ),
    ("calls a function for its effect", rf"(?:^[!+(]*|[&,;EW][!+(]*|{_C}[=+][!+(]*)w(?:$|[)]*[c;&=+,a)F])"),
    ("holds a sub-query", rf"(?:^[!+(]*|[1szvkq)][=~+&,][=~!+(]*|{_C},)q(?:$|[)]*[c;&=+,)aK]|[)]*$)"),
    ("adds a clause that compares constants", rf"{_LEFT}a?{_N}?W{_Q}{_C}{_CMP}{_C}"),
    ("adds a sort clause and comments out the rest", rf"^[!+(]*[1zs]?[)]*(?:Bb|Bb?1)[(]*{_V}?(?:,{_V})*[)]*c"),
    ("adds a sort clause", r"^[!+(]*1[)]+Bb1|^[!+]*1Bb1(?:,1)*$"),
    ("reads the catalog of the database", rf"E.*F{_N}?M"),
    (
        "is a whole statement",
        rf"^(?:E[1svkqw,+nmM()]*(?<![EF])F{_N}[a]?{_N}?(?:W{_Q}{_V}{_CMP}|c|;)|E[+(]*F[nmM]{_N}?(?:$|B|W)|E(?:[1svkwm],?)+F{_N}|E{_Q}[kw](?:$|[,c]))",
    ),
    (
        "is a whole statement",
        rf"^(?:Ii{_N}h?[n1]?e|DF{_N}W{_V}{_CMP}|DFm|Xt(?:L!?k?)?{_N}[c;]|Xtm$|P{_N}S{_N}=[=]*{_V}(?:W|c|$)|Q{_N}?[so]|Jvn|Ym)",
    ),
    ("writes a file", r"iO[so]"),
    ("comments out the rest of a bracket", r"^1[)]+c"),
)
"""The text as it stands, in a place without quotes."""


def injection(text: str) -> str | None:
    """Why `text` is an injection (a clause of a sentence), or None."""
    tokens = lex(text)
    if tokens.executable_comment:
        return "hides SQL in an executable comment"
    reason = _first(OPEN_RULES, fold(tokens.shape), search=True)
    if reason:
        return reason
    for quote in "'\"`":
        for tail in breaks(text, quote):
            reason = _break(tail)
            if reason:
                return reason
    return None


BREAKS = 4
"""Quotes of a kind tried as the end of the literal."""
_INSIDE_WORD = re.compile(r"[A-Za-z\x80-\U0010ffff]")


def breaks(text: str, quote: str) -> list[str]:
    """What follows the quote at which the literal ends.

    The first one does; one inside a word (O'Brien) or doubled may be escaped by the service, then the next is tried too.
    """
    tails: list[str] = []
    position = text.find(quote)
    while position >= 0 and len(tails) < BREAKS:
        tails.append(text[position + 1 :])
        before, after = text[position - 1 : position] if position else "", text[position + 1 : position + 2]
        inside = bool(_INSIDE_WORD.match(before) and _INSIDE_WORD.match(after))
        if not inside and after != quote and before != "\\":
            break
        position = text.find(quote, position + 1)
    return tails


def _break(tail: str) -> str | None:
    tokens = lex(tail)
    shape = tokens.shape.lstrip(")")
    if not shape:
        return None
    closed = len(shape) < len(tokens.shape)
    if shape == "c":
        # "the boys' -- they said": a dash in prose has a space before it and words after it.
        prose = tokens.comment_words > 1 or (tokens.comment_gap and tokens.comment_words > 0)
        return None if prose else "comments out the rest of the statement"
    shape = fold(shape)
    if closed:
        shape = re.sub(r"^a?[nm](?=[W&UB])", "", shape)
    reason = _first(BREAK_RULES, shape, search=False)
    return f"breaks out of a literal and {reason}" if reason else None


def _first(rules: tuple[tuple[str, re.Pattern[str]], ...], shape: str, *, search: bool) -> str | None:
    for name, pattern in rules:
        if (pattern.search(shape) if search else pattern.match(shape)) is not None:
            return name
    return None
