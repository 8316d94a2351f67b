"""Whether a lexed text has the shape of an injection: rules over token letters (see `lexer.py`), one regular expression each.

Two situations exist. In a *break* the text closes the string literal it was put in, and what follows stands in the statement itself:
there, an operator or verb with a fitting operand suffices, because prose after an apostrophe does not go on that way. In an *open*
place (a number, a sort column, a whole statement) only shapes that no prose has are taken: constants compared with constants, a
select list, a statement with its grammar. The rules carry names; the first that matches is the reason shown.
"""

from __future__ import annotations

import re

from eastwall.detections.sql_injection import statements
from eastwall.detections.sql_injection.lexer import MAX_TEXT, lex

FOLDS = 8
"""Levels of brackets that are folded into one operand."""

_CALL = re.compile(r"([dfg])\(([^()]*)\)")
_BRACKET = re.compile(r"(?<![dfg])\(([^()]*)\)")
# A select list as SQL has it: `*`, constants, calls, several columns, or a column FROM a table. "(select all that apply)" has none.
_SELECT = r"E[!+(]*(?:[1svzoqkpwhdfgKM]|\+(?:F|$|\)|,|c)|[nm],|[nm]F[nmM]|[nm]W[!(]*[1szvkqpw][=~]|m)"
_LIST = re.compile(_SELECT)
_CASE = re.compile(r"K.*T")
_CONSTANT_CASE = re.compile(r"K+1?K?[1sz]T")
_CONSTANTS_COMPARED = re.compile(r"(?:(?:^|[&,KW(])!*+|(?<!!)!++)[1sz][=~][=~!]*+[1sz]")
_SIDE_BY_SIDE = re.compile(r"[1nm]n")
_OR_SIGNS = re.compile(r"\|(?=[!(]*[1szvkqpow][=~])")
_ARITHMETIC = re.compile(r"[1sozvkqwp](?:\+[+!]*[1sozvkqwp])+")
_ADJACENT = re.compile(r"s+(?=[so])")


def _fold_call(match: re.Match[str]) -> str:
    kind, inner = match[1], match[2]
    if "E" in inner and _LIST.search(inner):
        return "w" if "w" in inner else "q"
    if kind == "d" and (not inner.strip("n") or _SIDE_BY_SIDE.search(inner)):
        return "h"  # "sleep (deep) and wake", "benchmark (5 runs)"
    if kind == "d" or "w" in inner or (kind == "f" and _CONSTANTS_COMPARED.search(inner)):
        return "w"
    if "q" in inner:
        return "q"
    return "k" if kind == "f" else "h"


def _fold_bracket(match: re.Match[str]) -> str:
    inner = match[1]
    if "E" in inner:
        return "w" if "w" in inner else "q" if _LIST.search(inner) else "n"
    if _CASE.search(inner):
        if _CONSTANTS_COMPARED.search(inner) or "q" in inner or "p" in inner:
            return "w"
        return "p" if _CONSTANT_CASE.match(inner) else "k"
    for strongest in "wqk":
        if strongest in inner:
            return strongest
    if "=" in inner or "~" in inner:
        constants = not inner.strip("1sovzp=~&!+,") and any(letter in inner for letter in "1sovzp")
        return "p" if constants else "h"
    if not inner.strip("1svzop+,!&"):
        return "1" if inner else "x"
    return "n" if "x" not in inner else "x"


def fold(shape: str) -> str:
    """Brackets, calls and arithmetic folded into single operands.

    Adds the letters `q` (sub-query with a select list, or what holds one), `w` (call made for its effect, or that compares constants),
    `k` (other call of a known function), `h` (other call or bracket with names), `p` (bracketed comparison of constants).
    """
    for _ in range(FOLDS):
        before = shape
        shape = _CALL.sub(_fold_call, shape)
        shape = _BRACKET.sub(_fold_bracket, shape)
        if shape == before:
            break
    # `||` joins texts, but before a comparison MySQL's "or" is the reading that injects.
    shape = _OR_SIGNS.sub("&", _ADJACENT.sub("", shape)).replace("|", "+")
    return _ARITHMETIC.sub(lambda match: _strongest(match[0]), shape)


def _strongest(operands: str) -> str:
    """What an expression of several operands is: the one that gives most away, else how it begins or is left open."""
    for letter in "wqkpo":
        if letter in operands:
            return letter
    return operands[0]


_C = "[1svzkqpow]"
"""Constant operand (a call or sub-query counts: only its place matters)."""
_V = "[1svzkqpowhnmM]"
"""Any operand."""
_N = "[nmMt]"
_Q = r"[!+(]*"
_CMP = "[=~][=~!+(]*"
_END = r"(?:[c;]|\)*c|$)"

_STATEMENT = (
    rf"(?:{_SELECT}|Ii?{_N}(?:\(|e|E|S|h|1|n)|RiM?{_N}|DF{_N}(?:W|c|;|$)|P{_N}S{_N}=|X(?:&R)?t(?:L|!|k|f|x)*{_N}(?:[;c,(h]|$|{_N}{_N}h)|X{_N}?t{_N}[;c]|G{_N}(?:t|,|{_N}{_N})"
    rf"|Y\(?(?:[mMvskhwd]|$)|Jv|Q{_N}?[so]|H(?:c|;|$|{_N}?c)|[wq]|X&Rt|[kp](?:[c;]|E|$)|d\(|f\([^)]*E|L[(pk1hq]|N[wkhmdfgJ;]|Sv)"
)
"""A statement after `;`, with enough of its grammar that prose cannot be it."""


def _rules(*rules: tuple[str, str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((name, re.compile(pattern)) for name, pattern in rules)


BREAK_RULES = _rules(
    (
        "adds a condition that compares",
        rf"&{_Q}(?:{_C}=[=~!+(]*{_V}|{_C}~[=~!+(]*[1svzkqpowhmM]|{_V}(?:=[=!+(]*{_V}|~[=~!+(]*{_C}))",
    ),
    ("adds a condition with a function or sub-query", rf"&{_Q}(?:[kqpwd]|f\()"),
    ("adds a constant condition", rf"&{_Q}[1szvM](?:\)*c|o|$|[&BU;])"),
    ("adds a constant condition", rf"&{_Q}(?:o|{_N}\)*c)"),
    ("adds a second query", r"U[(]*(?:E|[qw]|$|c|e[1(]|t[nm])"),
    ("ends the statement and starts another", rf";+[(]*{_STATEMENT}"),
    ("ends the statement and comments out the rest", r";+n?c"),
    ("joins an expression to the literal", rf"\+{_Q}(?:[kqpwdv]|f\(|E|[so][c=+&]|[so]$|1[c=&]|K)"),
    ("compares the literal", rf"=[=!+(]*{_C}"),
    ("compares the literal", r"~[=~!+(]*(?:[skqow]|z(?:[c&])|1[c&])"),
    ("adds a clause", rf"W{_Q}{_V}?(?:{_CMP}{_V}|[kqpw1])"),
    ("adds a sort or limit clause", rf"(?:Bb[(]*{_V}|B[(]*[1sv])(?:,{_V})*\)*(?:c|W|,[(]*[kqpw]|{_CMP}{_V})"),
    ("goes on with the list of values", rf",{_Q}(?:[qkw]|{_V}{_CMP}[qw]|(?:{_V},?)+\)+(?:c|;|,))"),
    (
        "starts a statement",
        rf"(?:Q{_N}?[so]|iO|(?:A|t)A|a?{_N}W{_Q}{_V}{_CMP}{_V}|a{_N}?[W&]{_Q}{_V}{_CMP}|K[!+(]*{_V}?[)]*K.*T|q|w|E[1s+kq])",
    ),
)
"""What follows the end of the literal, brackets closed."""

_LEFT = rf"^[!+(]*{_V}?[)]*"
OPEN_RULES = _rules(
    ("compares constants after a logical operator", rf"{_LEFT}&{_Q}{_C}{_CMP}{_C}"),
    ("compares constants after a logical operator", rf"(?:^|[1szvpkq)])[)]*&{_Q}[1skqpwz]=[=!+(]*[1skqpwo]"),
    (
        "adds a condition after a number",
        rf"^[!+(]*1[)]*&{_Q}(?:w|q|p|{_N}=[=!+(]*(?:s|o|1(?:c|$)|{_N}c)|[1z]c|{_N}~z|1(?:Bb[(]*[1(kqwd]|W{_Q}{_V}{_CMP}))",
    ),
    ("compares with a sub-query", rf"[&,]{_Q}{_V}{_CMP}[qw]"),
    ("adds a second query", rf"U[(]*{_SELECT}(?<!nFn)(?<!n,)"),
    ("adds a second query", r"U[qw]"),
    ("adds a second query", rf"(?:^|[1zso)])[!+(]*[)]*U[(]*E{_Q}(?:{_V}(?:,{_V})*(?:F|c)|\+(?:F|$|c|,|\)))"),
    ("ends the statement and starts another", rf"^[!+(]*{_V}?{_V}?[)]*;+[(]*{_STATEMENT}"),
    (
        "ends the statement and starts another",
        rf";[(]*(?:Xt{_N}c|X&Rt|DF{_N}(?:W{_V}=|c)|Iim|Ii{_N}h?(?:e|E)|P{_N}S{_N}=|Y[mM]|Jv|Q{_N}?[so]|E\+F|E{_Q}[kqw])",
    ),
    ("calls a function for its effect", rf"(?:^[!+(]*|[&,;EW][!+(]*|{_C}[)]*[=+][=!+(]*)w(?:$|[)]*[c;&=+,a)F])"),
    ("holds a sub-query", rf"(?:^[!+(]*|^[!+(]*1[)]*|[1szvkq)][=~+&,][=~!+(]*|{_C},)[qw](?:$|[)]*[c;&=+,)aK]|[)]*$)"),
    ("sorts by a sub-query", r"^[nm]{1,2},[!+(]*[qw](?:$|[c,])"),
    ("compares constants", r"^1~!?zc"),
    ("sorts and comments out the rest", r"^[nm]n?B1(?:,1)*c"),
    ("compares constants", r"^[!+(]*(?:K+[1sz]T|p(?:$|c)|K+(?:p|q|[1sz][=~]+[1sz]).*T)"),
    ("adds a clause that compares constants", rf"{_LEFT}a?{_N}?W{_Q}{_C}{_CMP}{_C}"),
    ("adds a sort clause and comments out the rest", rf"^[!+(]*(?:[1s][)]*Bb?[(]*{_V}|Bb1)(?:,{_V})*[)]*c"),
    ("adds a sort clause", r"^[!+(]*1[)]+Bb1|^[!+]*1Bb1(?:,1)*$"),
    ("reads the catalog of the database", rf"E.*F{_N}?M"),
    (
        "is a whole statement",
        rf"^(?:E[1svkqw,+nmM()]*(?<![EF])F{_N}[a]?{_N}?(?:W{_Q}{_V}{_CMP}|c|;)|E[+(]*F[nmM]{_N}?(?:$|B|W)"
        rf"|E(?:[1svkwm],?)+F{_N}|E{_Q}[kwq](?:$|[,ac]))",
    ),
    (
        "is a whole statement",
        rf"^(?:Ii{_N}h?[n1]?e|DF{_N}W{_V}{_CMP}|DFm|Xt(?:L!?k?)?{_N}(?:;?c|;$|;+[(]*{_STATEMENT})|Xtm$|P{_N}S{_N}=[=]*{_V}(?:W|c|$)|Jv[nh]|Ym|N[wq])",
    ),
    ("ends the statement and comments out the rest", r"^[!+(]*(?:1[)]*|n?[)]+);+c"),
    ("waits or analyses", rf"Q{_N}?[sov]|tA(?:[^nm]|$)"),
    ("writes a file", r"iO[so]"),
    ("comments out the rest of a bracket", r"^1[)]+c"),
)
"""The text as it stands, in a place without quotes."""


def injection(text: str) -> str | None:
    """Why `text` is an injection (a clause of a sentence), or None."""
    text = text[:MAX_TEXT]
    reason = _injection(text)
    if reason is None and "+" in text and " " not in text:
        # Encoded once too often: the service's second decoding makes spaces of these.
        reason = _injection(text.replace("+", " "))
    return reason


def _injection(text: str) -> str | None:
    tokens = lex(text)
    if tokens.executable_comment:
        return "hides SQL in an executable comment"
    reason = _first(OPEN_RULES, fold(tokens.shape), search=True)
    if reason:
        return reason
    text = _MEASURE.sub("0", text)
    for quote in ("'", '"', "`", "$$"):
        # A code span of Markdown is no quoted identifier.
        if quote == '"' and _JSON.match(text):
            continue  # its quotes delimit names and values
        whole = text if quote != "`" else _SPAN.sub(" ", text)
        tails = breaks(whole, quote)
        for tail in tails:
            if _OPENS.search(whole, max(0, len(whole) - len(tail) - 24), len(whole) - len(tail)) and _WHOLE.match(tail):
                continue  # code that holds a statement in a literal
            reason = _break(tail, BREAK_TOKENS if tail is tails[-1] else DOUBTFUL_TOKENS)
            if reason:
                return reason
    return statements.in_open_place(text)


_JSON = re.compile(r"\s*[\[{]\s*\"[^\"]*\"\s*[:,\]]")
_OPENS = re.compile(r"(?:\w\(|[\w\])]\s{0,3}[=+:.]=?)\s{0,3}[rfbu]?['\"]$")
"""A quote at which a literal of a program begins: an argument, what is assigned or joined."""
_WHOLE = re.compile(r"\s*(?:select|insert\s+into|update|delete\s+from|with|create|alter|drop)\s", re.IGNORECASE)
_SEGMENT = re.compile(r"/[A-Za-z][\w-]*/(?!\*)")
"""A path between quotes."""
_SPAN = re.compile(r"(?<![\w`'\"])`[^`\n]{1,400}`(?![\w`])")
_MEASURE = re.compile(r"\b\d{1,4}'\s{0,2}\d{1,3}(?:\.\d)?\"")
"""Feet and inches."""
BREAKS = 4
"""Quotes of a kind tried as the end of the literal."""
BREAK_TOKENS, DOUBTFUL_TOKENS = 300, 128
"""Tokens read behind the quote that ends the literal, and behind one that may be escaped: what is injected begins there."""
_INSIDE_WORD = re.compile(r"[A-Za-z\x80-\U0010ffff]")


def breaks(text: str, quote: str) -> list[str]:
    """What follows the quote at which the literal ends.

    The first one does; one inside a word (O'Brien) or doubled may be escaped by the service, then the next is tried too.
    """
    tails: list[str] = []
    position = text.find(quote)
    while position >= 0 and len(tails) < BREAKS:
        tails.append(text[position + len(quote) :])
        before, after = text[position - 1 : position] if position else "", text[position + 1 : position + 2]
        inside = bool(_INSIDE_WORD.match(before) and _INSIDE_WORD.match(after))
        if not inside and after != quote and before != "\\":
            break
        position = text.find(quote, position + 1)
    return tails


_FULL_TEXT = re.compile(r"^~n{1,3}\)+")
"""`in boolean mode)`: the end of MATCH ... AGAINST."""
_ALIAS = re.compile(r"^a?[nm](?=[W&UB])")


def _break(tail: str, most: int) -> str | None:
    if _SEGMENT.match(tail):
        return None
    tokens = lex(tail, most)
    shape = tokens.shape.lstrip(")")
    if not shape:
        return None
    closed = len(shape) < len(tokens.shape)
    if shape == "c":
        # "the boys' -- they said": a dash in prose has a space before it and words after it.
        prose = tokens.comment_words > 1 or (tokens.comment_gap and tokens.comment_words > 0)
        return None if prose else "comments out the rest of the statement"
    shape = _FULL_TEXT.sub("", shape)
    shape = fold(shape)
    if closed:
        shape = _ALIAS.sub("", shape)
    reason = _first(BREAK_RULES, shape, search=False) or statements.behind_break(tail)
    return f"breaks out of a literal and {reason}" if reason else None


def _first(rules: tuple[tuple[str, re.Pattern[str]], ...], shape: str, *, search: bool) -> str | None:
    for name, pattern in rules:
        if (pattern.search(shape) if search else pattern.match(shape)) is not None:
            return name
    return None
