"""Stack traces of the common runtimes, told by their frames: at least two frames of one runtime, or one and the line that heads them.

Every expression is anchored at a line and has no nested repeats; lines are cut at `MAX_LINE`, so a text is read in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

MAX_LINE = 400
"""Characters of a line that are looked at."""
MAX_NODES = 20_000
"""Objects and arrays of a body that are searched for frames given as objects."""


class Trace(Struct, frozen=True):
    """A stack trace."""

    language: str
    """`Java`, `Python`, ..."""
    frames: int
    sample: str
    """Its head where there is one, and the first frame."""
    start: int = 0
    """Characters before it."""
    length: int = 0
    """Characters of its lines."""

    def share(self, text: str) -> float:
        """How much of a text it is, 0..1."""
        return self.length / max(1, len(text))


class _Runtime(Struct, frozen=True):
    language: str
    hint: re.Pattern[str]
    """A text without it holds no frame: spares the walk over the lines."""
    frame: re.Pattern[str]
    head: re.Pattern[str]
    """The line before the frames, or after them."""


def _expression(text: str) -> re.Pattern[str]:
    return re.compile(text)


_TYPE = r"(?:[A-Za-z_$][\w$]{0,80}[.\\:]{1,2}){0,12}[A-Za-z_$][\w$]{0,120}"
_RUNTIMES = (
    _Runtime(
        "Java",
        _expression(r"\((?:[\w$-]{1,80}\.(?:java|kt|scala|groovy|clj)(?::\d|\))|Native Method|Unknown Source|<generated>)"),
        _expression(
            r"^(?:\s|#011)*(?:at )?(?:[\w.$@-]{1,120}/{1,2}){0,2}[\w.$]{1,200}\.[\w$<>-]{1,120}"
            r"\((?:[\w$-]{1,80}\.(?:java|kt|scala|groovy|clj)(?::\d{1,6})?|Native Method|Unknown Source|<generated>)\)"
        ),
        _expression(rf"^\s*(?:Caused by: |Suppressed: |Exception in thread \"[^\"]{{0,80}}\" |[\w ]{{0,40}}: )?{_TYPE}(?:Exception|Error|Throwable)(?::|$|;)"),
    ),
    _Runtime(
        "Python",
        _expression(r'File "[^"\n]{1,300}", line \d'),
        _expression(r'^\s*(?:\|\s*)?File "[^"]{1,300}", line \d{1,6}(?:, in [\w<>.]{1,120})?'),
        _expression(r"^\s*(?:[|+ -]{0,12})(?:Exception Group )?Traceback \(most recent call last\):"),
    ),
    _Runtime(
        "Node.js",
        _expression(r"at [^\n]{0,300}:\d{1,7}:\d"),
        _expression(
            r"^\s*at (?:async |new )?(?:[^\s(]{1,160} (?:\[as [\w.$]{1,80}\] )?\()?"
            r"(?:file:///|node:|webpack(?:-internal)?:///|https?://|/|[A-Za-z]:\\|internal/|\.{1,2}/|[\w@-]{1,40}\.js:)[^\s():]{0,250}(?::\d{1,5}/[^\s():]{0,200})?:\d{1,7}:\d{1,7}\)?$"
        ),
        _expression(r"^\s*(?:Uncaught |\[?[\w.]{0,60}\]? ?)?(?:[A-Z]\w{0,60})?(?:Error|Exception|Rejection|Warning)(?: \[\w{1,60}\])?:"),
    ),
    _Runtime(
        ".NET",
        _expression(r"(?:at | {3})[\w.`<>\[\]+,]{3,200}\([^)\n]{0,300}\)"),
        _expression(
            r"^\s*(?:at (?:async )?|(?=[^\n]{1,380}\)(?: in [A-Za-z]:\\| \+\d)))[A-Za-z_][\w`<>\[\],+|&]{0,120}(?:\.[\w`<>\[\],+|&]{1,160}){1,14}\([^()]{0,300}\)"
            r"(?: in (?:[A-Za-z]:\\|/)[^\n]{1,250}:(?:line )?\d{1,6}| \+0x[0-9a-f]{1,8}| \+\d{1,6})?\s*$"
        ),
        _expression(rf"^\s*(?:\[|Unhandled exception[.:] {{1,2}}|-+> )?(?:{_TYPE})(?:Exception|Error)(?: \([0-9x A-Fa-f,:]{{1,40}}\))?:"),
    ),
    _Runtime(
        "PHP",
        _expression(r"\.php(?:\(\d|:\d|</b> on line| on line \d|\"? line \d)"),
        _expression(
            r"^\s*#\d{1,3} (?:(?:/|[A-Za-z]:[\\/]|phar://)[^\n(]{1,300}\.php\(\d{1,6}\): |\{main\}|\[internal function\]: )"
        ),
        _expression(
            r"^.{0,40}?(?:(?:<b>)?(?:PHP )?(?:Fatal error|Warning|Notice|Parse error|Deprecated|Catchable fatal error)(?:</b>)?: .{1,300} in (?:<b>)?"
            r"(?:/|[A-Za-z]:[\\/])[^\n<]{1,200}\.php|" + rf"(?:PHP )?{_TYPE}(?:Exception|Error)(?:: .{{0,200}})? in (?:/|[A-Za-z]:[\\/])[^\n]{{1,200}}\.php:\d)"
        ),
    ),
    _Runtime(
        "Ruby",
        _expression(r"\.(?:rb|erb|ru|rake|haml):\d{1,6}:in [`'\"]"),
        _expression(r"^\s*(?:from |\d{1,3}: from )?(?:[\w-]{1,60} \([\w.]{1,30}\) )?(?:/|<internal:|[A-Za-z]:/|[\w@.-]{1,80}/|[\w-]{1,80}\.(?:rb|erb|ru))[^\s:]{0,300}:\d{1,6}:in [`'\"][^\n]{1,120}"),
        _expression(r"(?:^|: |\()(?:[A-Z]\w{1,60}::){0,6}[A-Z]\w{1,80}(?:Error|Exception|NotFound|Invalid)\b"),
    ),
    _Runtime(
        "Go",
        _expression(r"\.go:\d{1,6}(?: \+0x|\b)"),
        _expression(r"^\s+(?:/|[A-Za-z]:/|[\w.-]{1,80}/)[^\s:]{1,300}\.go:\d{1,6}(?: \+0x[0-9a-f]{1,8})?\s*$"),
        _expression(r"^\s*(?:panic: |goroutine \d{1,9} \[[\w ,]{3,60}\]:|runtime error: |http: panic serving )"),
    ),
    _Runtime(
        "Rust",
        _expression(r"\.rs:\d{1,6}(?::\d)?"),
        _expression(r"^\s*(?:at (?:/|\./|[\w.-]{1,80}/)[^\s:]{1,300}\.rs:\d{1,6}(?::\d{1,5})?|\d{1,4}: +(?:0x[0-9a-f]{6,16} - )?[a-z_<][\w<>: ]{1,160}::[^\n]{1,160})\s*$"),
        _expression(r"^\s*(?:thread '[^'\n]{1,80}'(?: \(\d{1,12}\))? panicked at |stack backtrace:)"),
    ),
    _Runtime(
        "Elixir",
        _expression(r"\.(?:exs?|erl):\d{1,6}: "),
        _expression(r"^\s*(?:\([\w ]{1,60} [\d.]{1,20}[\w.-]{0,20}\) )?(?:lib|src|deps|test|web|apps)[\w./-]{1,200}\.(?:exs?|erl):\d{1,6}: [\w.&#/:\"'! -]{2,160}"),
        _expression(r"^\s*\*\* \([\w.]{3,80}\) "),
    ),
    _Runtime(
        "Perl",
        _expression(r" line \d{1,6}\.?$"),
        _expression(r"^\s*(?:at |[\w:]{2,120}\([^\n]{0,200}\) called at )(?:/|[A-Za-z]:[\\/])[^\n]{1,200}\.(?:p[lm]|cgi|psgi|t) line \d{1,6}\.?\s*$"),
        _expression(r" at (?:/|[A-Za-z]:[\\/])[^\n]{1,200}\.(?:p[lm]|cgi|psgi) line \d{1,6}\.?\s*$"),
    ),
    _Runtime(
        "Lua",
        _expression(r"\.lua:\d{1,6}:"),
        _expression(r"^\s*(?:/|\./|[\w@-]{1,80}[/.])[\w./@-]{0,200}lua:\d{1,6}: in (?:main chunk|function|upvalue|method|local|field)"),
        _expression(r"^\s*stack traceback:|\.lua:\d{1,6}: "),
    ),
    _Runtime(
        "Dart",
        _expression(r"\.dart:\d"),
        _expression(r"^\s*#\d{1,4} {2,8}[^\s(][^\n(]{0,160}\((?:package|file|dart|org-dartlang)[^\s()]{1,250}:\d{1,6}(?::\d{1,6})?\)"),
        _expression(r"^\s*Unhandled exception:"),
    ),
)  # fmt: skip
_LINES = re.compile(r"\r?\n|\\n|<br ?/?>|</?pre[^>]{0,80}>|</?li>|</?p>|</?div[^>]{0,200}>|</?code[^>]{0,80}>|</?span[^>]{0,80}>")
_ENTITIES = (
    ("&quot;", '"'),
    ("&#39;", "'"),
    ("&#x27;", "'"),
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&nbsp;", " "),
    ("&#47;", "/"),
    ("&amp;", "&"),
)


def trace(text: str) -> Trace | None:
    """The stack trace in a text, that with most frames; None when there is none. Never raises, linear."""
    if "&" in text:
        for entity, character in _ENTITIES:
            text = text.replace(entity, character)
    runtimes = [runtime for runtime in _RUNTIMES if runtime.hint.search(text)]
    if not runtimes:
        return None
    lines = [line[:MAX_LINE] for line in _LINES.split(text)]
    best: Trace | None = None
    for runtime in runtimes:
        found = _read(runtime, lines)
        if found is not None and (best is None or found.frames > best.frames):
            best = found
    return best


def _read(runtime: _Runtime, lines: list[str]) -> Trace | None:
    seen = 0
    length = 0
    start = 0
    head = sample = ""
    position = 0
    for line in lines:
        if runtime.frame.match(line):
            if not seen:
                sample, start = line, start if head else position
            # A place in a file with its line, as .NET writes it, is nothing else.
            seen += 2 if runtime.language == ".NET" and ":line " in line else 1
            length += len(line) + 1
        elif line and not head and runtime.head.search(line):
            head = line
            length += len(line) + 1
            if not seen:
                start = position
        elif seen:
            # Source lines stand between the frames of Python, function names between those of Go.
            length += len(line) + 1 if line[:1].isspace() else 0
        position += len(line) + 1
    if seen >= 2 or (seen and head) or (runtime.language == "PHP" and head):
        text = f"{head.strip()} | {sample.strip()}" if head and sample else (head or sample).strip()
        return Trace(runtime.language, max(seen, 1), text, start, length)
    return None


_LISTS = frozenset({"trace", "traces", "stacktrace", "stack", "frames", "backtrace", "callstack", "exceptions"})
_FILES = ("file", "filename", "path", "abs_path", "fileName", "source", "declaringClass", "module", "class", "className")
_LINE_NAMES = ("line", "lineno", "lineNumber", "line_number", "lineNo", "sourceLine")
_FUNCTIONS = ("function", "method", "methodName", "name", "func", "in", "member")
_FUNCTION_NAMES = frozenset(_FUNCTIONS)
_SOURCE = re.compile(r"(?:/|[A-Za-z]:\\)[^\n]{1,250}\.(?:php|py|rb|js|ts|java|kt|cs|go|ex|pl|cfm|lua)")


def structured(body: Any) -> Iterator[tuple[str, Trace]]:
    """(place, trace) of stack traces given as lists of objects, each with a file or class and a line: Laravel, Jackson, Sentry."""
    stack: list[tuple[str, str, Any]] = [("body", "", body)]
    seen = 0
    while stack and seen < MAX_NODES:
        place, name, node = stack.pop()
        seen += 1
        if type(node) is dict:
            if found := _raised(node):
                yield place, found
                continue
            stack += ((f"{place}.{key[:64]}", key, value) for key, value in node.items() if type(value) in (dict, list))
        elif type(node) is list:
            if name.lower().replace("_", "") in _LISTS and (found := _frames(node)) is not None:
                yield place, found
            else:
                stack += ((f"{place}[{at}]", "", value) for at, value in enumerate(node) if type(value) in (dict, list))


def _raised(node: dict[str, Any]) -> Trace | None:
    """An exception with the file and line where it was raised, as PHP's frameworks write it without the frames."""
    file = node.get("file")
    if type(file) is str and type(node.get("line")) is int and _SOURCE.fullmatch(file) and type(node.get("message")) is str:
        named = next((node[name] for name in ("exception", "type", "class") if type(node.get(name)) is str), "")
        if named and not any(type(node.get(name)) is list for name in ("trace", "stack", "frames")):
            return Trace("the service", 1, f"{named} {file}:{node['line']}")
    return None


def _frames(items: list[Any]) -> Trace | None:
    count = 0
    sample = ""
    for item in items[:200]:
        if type(item) is not dict:
            continue
        file = next((item[name] for name in _FILES if type(item.get(name)) is str), "")
        line = next((item[name] for name in _LINE_NAMES if type(item.get(name)) is int), None)
        function = next((item[name] for name in _FUNCTIONS if type(item.get(name)) is str), "")
        if file and line is not None and (function or not _FUNCTION_NAMES.isdisjoint(item)):
            count += 1
            sample = sample or f"{file}:{line} {function}"
    if count < 2:
        return None
    language = "PHP" if ".php" in sample else "Java" if "." in sample.partition(":")[0] and "/" not in sample else "the service"
    return Trace(language, count, sample)
