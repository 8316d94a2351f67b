"""Code of programming languages in a value that would run commands or code: PHP, Python, Ruby, JavaScript, Java, ASP, Perl.

In templates and expression languages such calls are found by their own detections; here the value is code by itself, as `eval`, `assert`,
`Function` or a file that gets written would take it. A call counts when it is one that runs what it is given, with an argument that says
so; in a text of prose only where it stands behind a break (`';`), because programmers write about `os.system('ls')` too.
"""

from __future__ import annotations

import re

MAX_TEXT = 4_608
"""Characters analysed: a piece of the prefilter and its overlap."""
PROSE = 6
"""Plain words from which on a text is prose that may quote code."""

_INPUT = r"\$_(?:GET|POST|REQUEST|COOKIE|SERVER|FILES)\b"
_SPACE = r"\s{0,8}"


def _rules(*rules: tuple[str, str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in rules)


_RULES = _rules(
    (
        "runs code of PHP",
        rf"<\?(?:php\b|=){_SPACE}[^?]{{0,200}}(?:`[^`]{{1,200}}`|\b(?:system|shell_exec|passthru|exec|popen|proc_open|assert|eval|phpinfo|include|require|file_put_contents|fsockopen|preg_replace|base64_decode|readfile|create_function)\b{_SPACE}[\s('\"])",
    ),
    (
        "runs what the request gives as code of PHP",
        rf"\b(?:system|shell_exec|passthru|exec|popen|proc_open|assert|eval|include|require|call_user_func|create_function|array_map){_SPACE}\(?{_SPACE}(?:['\"]\w{{0,20}}['\"],{_SPACE})?(?:{_INPUT}|(?:base64_decode|gzinflate|str_rot13|gzuncompress|hex2bin){_SPACE}\()",
    ),
    (
        "calls a function of PHP by a variable",
        rf"\${{1,2}}\w{{0,20}}\{{{_SPACE}@?(?:print|print_r|system|exec|eval|phpinfo|passthru|shell_exec|md5|assert){_SPACE}\(|{_INPUT}\[[^\]]{{1,40}}\]{_SPACE}\({_SPACE}(?:{_INPUT}|['\"])",
    ),
    (
        "runs code of Python",
        rf"__import__{_SPACE}\({_SPACE}['\"](?:os|subprocess|sys|socket|pty|importlib|builtins|commands|platform|ctypes|shutil|pickle)['\"]|\b(?:os\.(?:system|popen|exec[lv]p?e?|spawn[lv]p?e?)|subprocess\.(?:run|call|Popen|check_output|check_call|getoutput)|commands\.getoutput|pty\.spawn){_SPACE}\({_SPACE}[\['\"]|\b(?:eval|exec){_SPACE}\({_SPACE}(?:compile{_SPACE}\(|['\"](?:import|__import__|from)\b|__import__|open{_SPACE}\()",
    ),
    ("runs code of Python", rf"(?:^|[;'\"(,=]){_SPACE}import{_SPACE}(?:os|subprocess|socket|pty)\b[^;]{{0,40}};{_SPACE}\w"),
    (
        "runs code of Node",
        rf"require{_SPACE}\({_SPACE}['\"](?:node:)?(?:child_process|fs|vm|net|repl|cluster)['\"]{_SPACE}\){_SPACE}\.{_SPACE}\w|process\.(?:mainModule|binding|dlopen)\b{_SPACE}[.(]|\bconstructor\._load\b|(?:\.|\[['\"])constructor(?:['\"]\])?(?:\.|\[['\"])constructor(?:['\"]\])?{_SPACE}\({_SPACE}['\"`]",
    ),
    (
        "runs a command from Java",
        rf"\bRuntime{_SPACE}\.{_SPACE}getRuntime{_SPACE}\({_SPACE}\){_SPACE}(?:\.{_SPACE}exec|$)|\bjava\.lang\.(?:Runtime|ProcessBuilder)[.(]\w|\bnew\s{{1,8}}ProcessBuilder{_SPACE}\({_SPACE}[\"'\[{{n]|forName{_SPACE}\({_SPACE}['\"]java\.lang\.(?:Runtime|ProcessBuilder)",
    ),
    (
        "runs a command from Ruby or Perl",
        rf"\bIO\.popen{_SPACE}[('\"]|\b(?:Kernel|Process)\.(?:exec|system|spawn|fork|open){_SPACE}[('\"]|\bOpen3\.\w{{1,20}}{_SPACE}\(|(?:^|[;=(#{{\s])%x[({{\[]{_SPACE}[\w/]",
    ),
    (
        "runs code of ASP",
        rf"\bcreateobject{_SPACE}\({_SPACE}['\"](?:wscript\.shell|shell\.application|scripting\.filesystemobject|adodb\.stream)|\b(?:eval|execute|executeglobal){_SPACE}[\s(]{_SPACE}\(?{_SPACE}request\b|\bon\s{{1,8}}error\s{{1,8}}resume\s{{1,8}}next\b.{{0,200}}\b(?:function|execute|response)\b|\bexecute{_SPACE}\({_SPACE}['\"]{{1,4}}[^'\"]{{0,80}}(?:server\.|response\.|on\s)",
    ),
    ("runs a command from .NET", rf"\bProcess\.Start{_SPACE}\({_SPACE}(?:new\b|['\"])|\bDiagnostics\.Process\b{_SPACE}[.(\]]"),
    (
        "downloads and runs code of PowerShell",
        rf"\b(?:iex|invoke-expression)\b{_SPACE}[\s('\"$&]{_SPACE}\(?{_SPACE}(?:new-object|iwr|irm|invoke-webrequest|invoke-restmethod|\[|\()|\bnet\.webclient\b{_SPACE}\)?{_SPACE}\.{_SPACE}download(?:string|file|data)|\[(?:system\.)?(?:text\.encoding|convert)\][^\n]{{0,60}}frombase64string",
    ),
)
"""Anywhere in a text that is no prose; behind a break in one that is."""
_WHOLE = _rules(
    ("runs code of PHP", rf"{_SPACE};?{_SPACE}(?:phpinfo|phpversion|php_uname){_SPACE}\({_SPACE}\){_SPACE};?{_SPACE}$"),
    ("runs code of PHP", rf"{_SPACE}@{_SPACE}(?:eval|assert|system|passthru|exec|shell_exec){_SPACE}\("),
    (
        "runs code of PHP",
        rf"{_SPACE}[;'\")}}]{{1,4}}{_SPACE}(?:phpinfo{_SPACE}\({_SPACE}\)|die{_SPACE}\({_SPACE}md5|print{_SPACE}\({_SPACE}md5|echo{_SPACE}md5)",
    ),
)
"""From the beginning of the value only: short calls that a text may name."""
_BROKEN = re.compile(r"\s{0,8}[\w.]{0,40}['\")\]}]{0,4}\s{0,8};?\s{0,8}")
_JOINS = re.compile(r"[\"']{1,2}\s{0,2}[&.+]\s{0,2}[\"']{1,2}")
"""`"Ex"&"ecute"`, `'sys'.'tem'`: names written in pieces that the language joins."""
_PLAIN = re.compile(r"(?<![\w.$@'\"(/\\])[A-Za-z]{2,}[,.:!?]?(?=\s|$)")


def runs(text: str) -> str | None:
    """Why `text` would run code (a clause of a sentence), or None. Never raises; linear in the first `MAX_TEXT` characters."""
    text = text[:MAX_TEXT]
    for reason, rule in _WHOLE:
        if rule.match(text):
            return reason
    joined = _JOINS.sub("", text)
    prose = sum(1 for _ in zip(_PLAIN.finditer(text), range(PROSE), strict=False)) >= PROSE
    for candidate in (text,) if joined == text else (text, joined):
        start = _BROKEN.match(candidate)
        behind = start.end() if start is not None else 0
        for reason, rule in _RULES:
            match = rule.search(candidate)
            if match is not None and (
                not prose or match.start() <= behind or (candidate is joined and joined.count('"') * 4 < text.count('"') * 3)
            ):
                return reason
    return None
