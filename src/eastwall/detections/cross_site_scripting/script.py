"""JavaScript as far as is needed to say whether a text does something when it runs: its tokens, and calls and assignments among them."""

from __future__ import annotations

import re
from itertools import pairwise

from msgspec import Struct

MAX_TEXT = 4_096
"""Characters read."""
MAX_TOKENS = 1_500

_TOKEN = re.compile(
    r"(?P<space>[\s\x00-\x20\u200b\ufeff]+|//[^\n\r\u2028\u2029]*+|/\*[^*]*+.*?(?:\*/|\Z)|<!--|-->)"
    r"|(?P<name>[A-Za-z_$\u00aa-\u2027\u202a-\ufefe][\w$]*+)"
    r"|(?P<number>[0-9][\w.]*+)"
    r"|(?P<string>\"(?:[^\"\\\n]|\\.)*+\"|'(?:[^'\\\n]|\\.)*+')"
    r"|(?P<template>`(?:[^`\\]|\\.)*+`)"
    r"|(?P<sign>=>|===?|!==?|[<>]=|&&|\|\||\?\?|\?\.|\+\+|--|[-+*/%&|^]=|.)",
    re.DOTALL,
)
_KEYWORDS = frozenset(
    "break case catch class const continue debugger default delete do else export extends finally for function if import in instanceof"
    " let new of return static super switch throw try typeof var void while with yield async await get set".split()
)
DIALOGS = frozenset(("alert", "confirm", "prompt"))
"""Calls that show a dialog: nothing else proves an injection as plainly, so nothing else is sent so often."""
TIMERS = frozenset(("settimeout", "setinterval", "setimmediate"))
"""Calls that run a string later; with a function they are ordinary code."""
CALLS = (
    DIALOGS
    | TIMERS
    | frozenset(
        "eval fetch execscript function import importscripts msgbox requestanimationframe queuemicrotask"
        " createobject reportapi".split()
    )
)
"""Functions (lower case: whole corpora are) through which injected code acts."""
_GLOBALS = frozenset("window self top parent this globalthis frames document content opener".split())
_SECRETS = frozenset("cookie domain write writeln localstorage sessionstorage location referrer baseuri documenturi".split())
_STORES = frozenset("localstorage sessionstorage indexeddb".split())
_SINKS = frozenset("innerhtml outerhtml srcdoc location href src onerror onload".split())
_HANDS_ON = frozenset(
    "some map find filter foreach every findindex findlast flatmap sort reduce then catch from replace call apply".split()
)
"""Methods that call what they are given."""
_GIVEN = frozenset("name location atob unescape decodeuri decodeuricomponent string document window hash".split())
"""What injected code puts where markup or an address goes, besides strings."""
_METHODS = frozenset(("call", "apply", "bind"))
_INSERTS = frozenset("insertadjacenthtml sendbeacon execcommand createcontextualfragment parsefromstring".split())


class Token(Struct, frozen=True):
    kind: str
    """`name`, `number`, `string`, `template` or `sign`."""
    text: str
    """In lower case for names, as written otherwise."""


def tokens(code: str, most: int = MAX_TOKENS) -> list[Token]:
    """At most `most` tokens of `code` without space and comments. Linear; any text has tokens."""
    found: list[Token] = []
    for match in _TOKEN.finditer(code, 0, MAX_TEXT):
        kind = match.lastgroup or "sign"
        if kind != "space":
            found.append(Token(kind, match[0].lower() if kind == "name" else match[0]))
            if len(found) >= most:
                break
    return found


def is_prose(code: list[Token]) -> bool:
    """Whether words follow each other as they do in sentences and not in programs."""
    return any(
        first.kind in ("name", "number")
        and second.kind == "name"
        and first.text not in _KEYWORDS
        and second.text not in _KEYWORDS
        for first, second in pairwise(code)
    )


def acts(code: list[Token]) -> str | None:
    """What the code does that injected code does (a clause), or None."""
    for index, token in enumerate(code):
        if token.kind == "name":
            reason = _name_acts(code, index, token.text)
            if reason:
                return reason
        elif token.text == "[":
            reason = _computed_acts(code, index)
            if reason:
                return reason
    return None


def runs(value: str) -> bool:
    """Whether the value of an event handler does anything: it calls, assigns or throws."""
    code = tokens(value)
    if _is_arrow(code):
        return False
    for index, token in enumerate(code):
        if token.kind == "template" and index and code[index - 1].kind == "name":
            return True
        if token.text == "(" and index and (code[index - 1].kind == "name" or code[index - 1].text in (")", "]", "?.")):
            return True
        if token.text == "`" and index:  # a template that the text does not end
            return True
        if token.kind == "sign" and token.text in ("=", "+=", "||", "&&") and index:
            return True
        if token.text == "throw":
            return True
    return False


def _is_arrow(code: list[Token]) -> bool:
    # `{() => save(x)}` and `{e => ..}` as an attribute is JSX. A browser makes a function of it and calls none.
    if not code or code[0].text != "{":
        return False
    return any(token.text == "=>" for token in code[1:8]) or (len(code) >= 3 and code[1].text == "(" and code[2].text == ")")


def _called(code: list[Token], index: int) -> bool:
    """Whether what stands at `index` is called: `f(`, `f?.(`, `f.call(`, `(f)(`, f`..`."""
    while index + 1 < len(code):
        following = code[index + 1]
        if following.kind == "template" or following.text in ("(", "`"):
            return True
        if following.text in (")", "?.", "]") or following.text in _METHODS:
            index += 1
        elif following.text == "." and index + 2 < len(code) and code[index + 2].text in _METHODS:
            index += 2
        else:
            return False
    return False


def _name_acts(code: list[Token], index: int, name: str) -> str | None:
    before = code[index - 1].text if index else ""
    after = code[index + 1].text if index + 1 < len(code) else ""
    owned = before in (".", "?.")
    owner = code[index - 2].text if owned and index > 1 else ""
    if before == ">" and index > 1 and code[index - 2].text == "-":
        return None  # a method of PHP or Perl
    if name in CALLS and (not owned or owner in _GLOBALS):
        if before == "function" or (name in ("function", "import") and not _makes_code(code, index)):
            return None
        if name in TIMERS and not _takes_string(code, index):
            return None
        if _called(code, index):
            return f"calls `{name}`"
        if (
            before in ("(", ",")
            and after in (")", ",")
            and index > 3
            and code[index - 3].text == "."
            and code[index - 2].text in _HANDS_ON
        ):
            return f"hands on `{name}`"
        if before == "=" and name in ("eval", "alert") and index > 1 and code[index - 2].text in _SINKS:
            return f"makes `{name}` a handler"
    if owned and owner == "document" and name in _SECRETS:
        return f"uses `document.{name}`"
    if owned and owner in _GLOBALS and name in _STORES:
        return f"uses `{name}`"
    if name == "document" and after == "[" and index + 2 < len(code) and code[index + 2].kind == "string":
        return f"uses `document[{code[index + 2].text[:20]}]`"
    given = code[index + 2] if index + 2 < len(code) else None
    known = given is None or given.kind in ("string", "template") or given.text in _GIVEN or given.text == "/"
    if given is not None and given.kind == "string" and name.endswith("html"):
        known = "<" in given.text or "\\" in given.text
    if name in ("innerhtml", "outerhtml") and owned and after in ("=", "+=") and known:
        return f"sets `{name}`"
    if name == "location" and after == "=" and ((owned and owner in _GLOBALS) or (not owned and known)):
        return "goes to another page"
    if owner == "location" and name in ("href", "hash", "search") and after == "=":
        return "goes to another page"
    if name in _INSERTS and owned and after == "(":
        return f"calls `{name}`"
    if name == "constructor" and owned and after in ("(", "["):
        inside = code[index + 2] if index + 2 < len(code) else None
        if inside is not None and inside.kind in ("string", "template"):
            return "makes a function of a string"
    if name == "src" and owned and after == "=" and index > 2 and code[index - 2].text in (")", "image"):
        return "loads from another site"
    return None


def _takes_string(code: list[Token], index: int) -> bool:
    """Whether a timer at `index` is given a string or one of the functions above: with a function of its own it is ordinary code."""
    rest = code[index + 1 : index + 5]
    return any(
        token.kind in ("string", "template") or token.text in DIALOGS or token.text in _METHODS or token.text == "eval"
        for token in rest
    )


def _makes_code(code: list[Token], index: int) -> bool:
    """Whether `Function` or `import` at `index` gets a string: `function (a) {}` and `import (a)` are ordinary."""
    rest = code[index + 1 : index + 4]
    return any(token.kind in ("string", "template") for token in rest) and rest[0].text in ("(", "`")


def _computed_acts(code: list[Token], index: int) -> str | None:
    """`self['al'+'ert'](1)`, `top[`a`](1)`, `[].constructor...` are seen by the name before and the call behind the bracket."""
    if not index or code[index - 1].text not in _GLOBALS:
        return None
    depth = 0
    text = False
    for position in range(index, min(len(code), index + 40)):
        token = code[position]
        depth += (token.text == "[") - (token.text == "]")
        text = text or token.kind in ("string", "template") or token.text in ("tostring", "fromcharcode")
        if depth == 0:
            return "calls a function by a computed name" if text and _called(code, position) else None
    return None
