"""Template languages: the expressions in a text, and whether one computes instead of standing for a value.

`Hello {{name}}` asks for a value that somebody provides; `{{7*7}}`, `{{config.items()}}`, `{{''.__class__}}` ask the engine for something
that nobody who fills in a form has a reason to. Read are the delimiters of Jinja, Twig, Django, Liquid, Handlebars, AngularJS, Freemarker,
Velocity, Thymeleaf, Mako, ERB, EJS, Smarty, Razor and Pug.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

from eastwall.detections.confirming import Verdict

MAX_TEXT = 10_240
"""Characters analysed."""
_LONGEST = 800
"""Characters of one expression."""
_MOST = 64
"""Expressions of one text."""

_PAIRS = (
    ("{{", "}}"), ("${", "}"), ("$!{", "}"), ("#{", "}"), ("*{", "}"), ("{%", "%}"), ("<%", "%>"), ("@(", ")"), ("@{", "}"), ("<#", ">"), ("[#", "]"),
    ("#set", ")"), ("{", "}"), ("~{", "}"), ("{php", "{/php"), ("[=", "]"),
)  # fmt: skip
_BRACE = re.compile(r"[{}]")
_LITERAL = r"(?:[0-9]{1,12}(?:\.[0-9]{1,6})?|'[^'\n]{0,40}'|\"[^\"\n]{0,40}\")"
_ARITHMETIC = re.compile(rf"(?<![\w.\"'-])\(?\s{{0,9}}{_LITERAL}\s{{0,9}}(?:\*\*?|[+/%~-])\s{{0,9}}\(?{_LITERAL}(?![\w.])")
_DATE_LIKE = re.compile(r"[0-9]{1,4}([-/])[0-9]{1,4}(?:\1[0-9]{1,4})?")
# Matched against text in lower case without IGNORECASE, and names behind one `\b`: `re` then skips the alternatives of a group by their
# first letters, which makes it ten times as fast on what holds none.
_INNER = re.compile(
    r"\b(?:_self\b\s{0,4}\.|registerundefinedfiltercallback\b|child_process\b|process\s{0,4}\.\s{0,4}(?:binding|main)|forname\s{0,4}\(|getclass\s{0,4}\("
    r"|getruntime\s{0,4}\(|processbuilder\b|freemarker\.template\b|constructor\s{0,4}(?:\.\s{0,4}constructor|\(|\[)|system\.(?:diagnostics|io|reflection|environment)\b"
    r"|sub\s{0,4}\.\s{0,4}apply\b|request\s{0,4}\.\s{0,4}environ\b|smarty_\w+|self::|cycler\b|lipsum\b|__import__\b|os\.(?:popen|system|environ)\b|subprocess\b|secret_key\b"
    r"|get_flashed_messages\s{0,4}\.|self\s{0,4}\.\s{0,4}(?:module|template|context)\b|request\s{0,4}(?:\.\s{0,4}application|\|\s{0,4}attr)"
    r"|app\s{0,4}\.\s{0,4}request\b|global\s{0,4}\.\s{0,4}process\b|root\s{0,4}\.\s{0,4}process\b|class\s{0,4}\.\s{0,4}inspect\b)"
    r"|__(?:class|mro|base|bases|subclasses|globals|builtins|import|init|dict|getattribute|reduce|code|self|doc|module|wrapped)__"
    r"|\\x5f\\x5f|\.mainmodule\b|\?\s{0,4}(?:new|api|eval|interpret)\b(?:\s{0,4}\(|\b)|[\"']constructor[\"']"
    r"|\.\s{0,4}constructor\s{0,4}\.\s{0,4}prototype\b|\$smarty\b|\$class\s{0,4}\."
)
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_EXECUTES = re.compile(
    r"(?<![\w.$>-])(?:system|exec|execSync|spawnSync|popen|passthru|shell_exec|proc_open|eval|assert|phpinfo|var_dump|print_r|readfile|file_get_contents"
    r"|fetchmailconfig|file_excerpt|dump|import_module|File\.(?:open|read)|IO\.\w+|Dir\.\w+|Kernel\.\w+|Process\.Start|puts)\s{0,4}(?:\(|[\"'`0-9])|(?<![\w.$>-])(?:open|require|include)\s{0,4}\(",
    re.IGNORECASE,
)
_FILTER = re.compile(
    r"\|\s{0,4}(?:filter|map|reduce|sort|find)\s{0,4}\(?\s{0,4}[\"'](?:system|exec|passthru|shell_exec|popen|phpinfo|assert|eval|call_user_func|file_put_contents|file_get_contents)|\|\s{0,4}attr\s{0,4}\("
)
_CUT = re.compile(r"[\"']_{1,2}\w{0,20}[\"']\s{0,4}(?:\+|~|,|\|)\s{0,4}[\"']\w{0,20}_{0,2}[\"']")
"""A name with underscores that is put together: `'__cla'+'ss__'`."""
_ON_LITERAL = re.compile(
    r"(?:[\"'][^\"'\n]{0,60}[\"']|\[[^\]\n]{0,60}\]|\(\s{0,4}\)|\{\s{0,4}\})\s{0,4}(?:\.\s{0,4}\w{1,40}\s{0,4}\(|\|\s{0,4}(?:join|attr|filter|map|sort)\b)"
)
_OBJECTS = re.compile(
    r"\s*+(?:(?:config|self|_context|_self|environ)\s*+$|(?:config|self|settings|_context|_self|environ|env|app)\s*+"
    r"(\.\s{0,4}(?:items|__|env|keys|values|from_|app|server|update|globals)\w*\s{0,4}(?:\(|$|[.|])|\[))",
    re.IGNORECASE,
)
_STATEMENT = re.compile(
    r"[-+~]?\s*+(?:debug\b\s*+[-+]?$|import\b|from\s+\S{1,80}\s+import\b|include\s+[\"'][/.]|extends\s+[\"']/|load\s+log\b)",
    re.IGNORECASE,
)
_COMMAND = re.compile(r"`[ -_a-~]{1,200}`|%x[{(\[|/!]")
_MATH_TAG = re.compile(r"math\s+equation\s*=", re.IGNORECASE)
_RAZOR = re.compile(r"@(?:System|Microsoft)\.[\w.]{3,80}\(|@\{\s{0,20}(?:var\s|[\w.]{3,80}\()")
_VELOCITY = re.compile(r"\$(?:class|\w{1,20})\.(?:inspect|getClass|class)\s{0,4}(?:\(|\.)")
_NAMES = {
    "{{": "an expression in double braces", "${": "an expression `${}`", "#{": "an expression `#{}`", "*{": "an expression `*{}`",
    "{%": "a statement in a template", "<%": "embedded code", "@(": "a Razor expression", "@{": "a Razor block", "<#": "a Freemarker directive",
    "[#": "a Freemarker directive", "#set": "a Velocity directive", "$!{": "a quiet Velocity reference", "{": "a Smarty tag", "~{": "a Thymeleaf fragment", "{php": "a PHP block",
    "[=": "a Freemarker interpolation",
}  # fmt: skip


def template_injection(text: str) -> Verdict | None:
    """Why `text` is a template that computes, or None. Never raises; linear in the first `MAX_TEXT` characters."""
    text = text[:MAX_TEXT]
    weak: Verdict | None = None
    reaches = [match.span() for match in _INNER.finditer(text.translate(_LOWER))]
    executes = [match.span() for match in _EXECUTES.finditer(text)]
    for opening, inner, start in expressions(text):
        reason = _computes(opening, inner, text, _within(reaches, start, inner), _within(executes, start, inner))
        if reason:
            return Verdict(f"holds {_NAMES[opening]} that {reason}", opening + inner)
        if opening == "{{" and (asked := _OBJECTS.match(inner)):
            grave = "high" if asked[1] else "medium"  # `{{config}}` alone may be somebody's placeholder
            weak = Verdict(f"holds {_NAMES[opening]} that asks for the engine's own objects", opening + inner, grave, "medium")
    match = _RAZOR.search(text)
    if match and any(start >= match.start() for start, _ in reaches + executes):
        return Verdict("holds Razor code", text[match.start() :])
    match = _VELOCITY.search(text)
    if match:
        return Verdict("holds a Velocity reference that reaches for classes", text[match.start() :])
    return weak


def _within(spans: list[tuple[int, int]], start: int, inner: str) -> str:
    """The first of what was found in the text that lies inside an expression; empty when nothing does. The text is searched once, and not
    once for each of the delimiters around a place."""
    at = bisect_left(spans, (start, 0))
    if at < len(spans) and spans[at][1] <= start + len(inner):
        return inner[spans[at][0] - start : spans[at][1] - start]
    return ""


def expressions(text: str) -> Iterator[tuple[str, str, int]]:
    """(opening delimiter, what is inside, where that begins) of every expression, at most `_MOST` of each kind."""
    budget = 4 * len(text) + _LONGEST  # delimiters inside delimiters are read once each, so that work stays linear
    closed = _braces(text)
    for opening, closing in _PAIRS:
        position = -1
        for _ in range(_MOST):
            position = text.find(opening, position + 1)
            if position < 0:
                break
            start = position + len(opening)
            end = text.find(closing, start, start + _LONGEST)
            # What ends late is nested; what does not end is read as far as it goes, for the page may end it.
            if closing == "}" and opening != "{":
                end = closed.get(start - 1, -1)
                end = end if end < start + _LONGEST else -1
            if end < 0 and opening in ("{", "<#", "[#", "@(", "[="):
                continue
            if opening == "<%" and end < 0 and text[start : start + 1] not in ("=", "-", " ", "\n", "\t"):
                continue  # `"<%s at %x>" % ..` formats
            inner = text[start : end if end >= 0 else start + _LONGEST]
            budget -= len(inner)
            if budget < 0:
                return
            yield opening, inner, start


def _braces(text: str) -> dict[int, int]:
    """Of every `{` that is closed, where its `}` stands."""
    open_: list[int] = []
    closed: dict[int, int] = {}
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            open_.append(match.start())
        elif open_:
            closed[open_.pop()] = match.start()
    return closed


def _computes(opening: str, inner: str, text: str, reaches: str, executes: str) -> str | None:
    if opening == "{":
        return _smarty(inner)
    if opening == "@{" and inner[:1] == "$":
        return None  # an array of Perl
    if opening in ("<#", "[#"):
        return "makes an object" if reaches else None
    if opening == "{php":
        return "runs PHP" if inner[:1] == "}" else None
    if opening == "{%" and _STATEMENT.match(inner.strip()):
        return "loads or shows what is not the text's"
    if reaches:
        return f"reaches for `{reaches.strip()[:40]}`"
    if _CUT.search(inner):
        return "puts a name together that it hides"
    if _FILTER.search(inner):
        return "calls a function by a filter"
    match = _ARITHMETIC.search(inner)
    if match and not _DATE_LIKE.fullmatch(match[0].strip("\"' ")) and _computed_only(opening, inner, match):
        return f"computes `{match[0].strip()[:40]}`"
    if opening in ("{{", "${", "$!{", "#{", "*{", "~{", "<%", "@(", "@{", "{%", "[=") and executes:
        return f"calls `{executes.rstrip('( ')[:40]}`"
    if opening == "<%" and _COMMAND.search(inner) and inner.isprintable():
        return "runs a command"
    alone = opening != "${" or text.strip() == f"${{{inner}}}"  # in a template of JavaScript this is ordinary
    if opening in ("{{", "${", "#{", "<%") and alone and _ON_LITERAL.match(inner.strip("= -+")):
        return "calls a method of a literal"
    return None


def _computed_only(opening: str, inner: str, match: re.Match[str]) -> bool:
    # In braces of programs (`${a.slice(0, 2*3)}`) sums of constants stand among names; a probe is nothing but the sum or assigns it.
    if opening in ("{%", "<%", "#set"):
        return True
    before = inner[: match.start()].strip()
    return not before or before[-1] in "=(,:|+-{" or before.endswith(("print", "return"))


def _smarty(inner: str) -> str | None:
    if "\n" in inner[:2] or not inner or inner[0] in " {\t\"'":
        return None
    if inner.startswith(("$smarty", "Smarty_", "self::")):
        return "reaches for the engine"
    if _MATH_TAG.match(inner):
        return "computes"
    match = _EXECUTES.match(inner.removeprefix("if "))
    return f"calls `{match[0].rstrip('( ')}`" if match and inner.rstrip().endswith(")") and "(" in match[0] else None
