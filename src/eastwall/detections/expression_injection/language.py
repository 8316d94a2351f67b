"""Expression languages of Java frameworks (JSP and JSF EL, SpEL, OGNL, MVEL, commons-text) and PHP's `${}`: what reaches beyond the page's own
values.

Types by name (`T(java.lang.Runtime)`, `@java.lang.Runtime@`), constructions (`new java.lang.ProcessBuilder(`), the interpreter's own context
(`#_memberAccess`, `#context[`), the container's implicit objects, the class loader behind a bound object, and lookups that run scripts.
"""

from __future__ import annotations

import re
from itertools import islice

from eastwall.detections.confirming import Verdict

MAX_TEXT = 10_240
"""Characters analysed."""

_PACKAGE = r"(?:java|javax|jakarta|sun|com\.sun|jdk|org\.(?:apache|springframework|codehaus|mozilla)|ognl|com\.opensymphony|freemarker|groovy|bsh)"
_TYPE = re.compile(
    r"(?<![\w.])T\s{0,9}\(\s{0,9}(?:[a-z]\w{0,40}\.){1,8}[A-Z]\w{0,60}\s{0,9}\)|(?<![\w.])T\s{0,9}\(\s{0,9}[A-Z]\w{1,60}\s{0,9}\)\s{0,9}\.\s{0,9}\w{1,60}\s{0,9}\("
)
_STATIC = re.compile(r"@(?:[a-z]\w{0,40}\.){1,8}[A-Z]\w{0,60}@\w{1,60}")
_NEW = re.compile(rf"\bnew\s{{1,9}}(?!java\.util\.(?!Scanner)){_PACKAGE}\.[\w.$]{{2,120}}\s{{0,9}}[(\[{{]", re.IGNORECASE)
_REFLECTION = re.compile(
    rf"\b{_PACKAGE}\.[\w.$]{{2,120}}\.\s{{0,9}}(?:getRuntime|forName|newInstance|getMethod|invoke|getEngineByName|exec|defineClass|loadClass)\s{{0,9}}\(",
    re.IGNORECASE,
)
_FRAME = re.compile(r"\(\s{0,4}(?:[\w$]{1,80}\.(?:java|kt|scala|groovy):\d|Native Method|Unknown Source)")
_OGNL = re.compile(
    r"#_?memberAccess\b|#context\s{0,9}[\[.]|@ognl\.\w|#_?(?:ognlUtil|container|dm|request|response|session|application|parameters|attr)\s{0,9}(?:=|\[|\.\s{0,9}(?:get|set)\w*\s{0,9}\()"
    r"|\(\s{0,9}#\w{1,40}\s{0,9}=",
    re.IGNORECASE,
)
_BINDING = re.compile(r"(?:^|[.\[/'\"&?])class(?:\.module)?[.\]'\"\[]{1,4}classLoader\b", re.IGNORECASE)
_DELIMITED = re.compile(r"(?:[$#*%@]|\b(?:redirect|redirectAction|action|forward)\s{0,4}:\s{0,4}[$%#]?)\{|\{\s{0,4}\$\{")
_IMPLICIT = re.compile(
    r"\b(?:pageContext|facesContext|externalContext|servletContext|sessionScope|applicationScope|requestScope|systemProperties|systemEnvironment|initParam|flowScope)\b"
    r"|(?:^|[^\w.])session\s{0,9}\.\s{0,9}(?:getAttribute|setAttribute|getServletContext)\s{0,9}\(|\bbeans\s{0,9}\.\s{0,9}get\s{0,9}\("
    r"|\.\s{0,9}(?:getClass|forName|getClassLoader|getRuntime|getDeclaredMethods?|getMethods?|newInstance|getEngineByName)\s{0,9}\(|\.\s{0,9}class\s{0,9}\.\s{0,9}(?:forName|classLoader|name\b|protectionDomain)"
    r"|\bProcessBuilder\b|@jndi\b|\bScriptEngineManager\b",
    re.IGNORECASE,
)
_SCOPE_ONLY = re.compile(r"\s{0,9}#(?:application|session|request|context|attr|parameters)\s{0,9}", re.IGNORECASE)
_LOOKUP = re.compile(
    r"\$\{\s{0,9}(?:script\s{0,9}:\s{0,9}\w{1,20}\s{0,9}:|url\s{0,9}:\s{0,9}[\w-]{1,20}\s{0,9}:\s{0,9}\w{2,10}:|dns\s{0,9}:\s{0,9}(?:address|name|canonical)\w{0,10}\s{0,9}[|:]|(?:file|xml|properties)\s{0,9}:\s{0,9}[\w-]{1,20}\s{0,9}:\s{0,9}/)",
    re.IGNORECASE,
)
_PHP = re.compile(
    r"\$\{\s{0,9}@?\s{0,9}\$?\{?\s{0,9}@?(?:print|print_r|system|exec|passthru|shell_exec|phpinfo|eval|assert|md5|die|var_dump|sleep|file_get_contents|include|require|popen|call_user_func|base64_decode)\s{0,9}\(",
    re.IGNORECASE,
)
_SUM = re.compile(r"(?:%|redirect\s{0,4}:\s{0,4}[$%#])\{\s{0,9}\(?\d{1,9}\s{0,9}[*+-]\s{0,9}\d{1,9}", re.IGNORECASE)
_THIS = re.compile(r"#(?:this|root)\s{0,9}\.\s{0,9}(?:getClass|class|forName)", re.IGNORECASE)
_RUNTIME = re.compile(r"\bRuntime\s{0,4}\.\s{0,4}getRuntime\s{0,4}\(\s{0,4}\)\s{0,4}\.\s{0,4}exec\s{0,4}\(")
_CHAIN = re.compile(
    r"\.\s{0,9}(?:getClass\s{0,4}\(\s{0,4}\)|class)\s{0,4}\.\s{0,4}(?:forName|getClassLoader|getMethods?|getDeclaredMethods?|getProtectionDomain|newInstance)\s{0,4}\(",
    re.IGNORECASE,
)
_LONGEST = 600


def expression_injection(text: str) -> Verdict | None:
    """Why `text` is an expression that reaches for the server, or None. Never raises; linear in the first `MAX_TEXT` characters."""
    text = text[:MAX_TEXT]
    for pattern, reason in (
        (_STATIC, "calls a static method by its class's name (OGNL)"),
        (_OGNL, "reaches for the interpreter's context (OGNL)"),
        (_LOOKUP, "is a lookup that runs a script or fetches"),
        (_PHP, "calls a function of PHP in a string"),
        (_SUM, "is an expression that computes"),
        (_THIS, "reaches from the root object to its class"),
        (_CHAIN, "reaches through an object's class for another"),
        (_TYPE, "names a type to call it (SpEL)"),
    ):
        match = pattern.search(text)
        if match:
            return Verdict(f"{reason}", text[match.start() :])
    match = _BINDING.search(text)
    if match and " " not in text.strip():
        return Verdict("reaches from a bound object to its class loader", text)
    for match in _NEW.finditer(text):
        return Verdict(
            "makes an object of a class of the platform", text[match.start() :], confidence="medium" if match.start() > 40 else ""
        )
    runtime = _RUNTIME.search(text)
    if runtime:
        return Verdict(
            "runs a command by Java's runtime", text[runtime.start() :], confidence="medium" if runtime.start() > 40 else ""
        )
    for match in _REFLECTION.finditer(text):
        if not _FRAME.match(text, match.end() - 1):  # a frame of a stack trace looks like a call
            return Verdict(
                "calls the platform's classes by name", text[match.start() :], confidence="medium" if match.start() > 40 else ""
            )
    return _delimited(text)


def _delimited(text: str) -> Verdict | None:
    reached = list(_IMPLICIT.finditer(text))
    for match in islice(_DELIMITED.finditer(text), 32):
        start, stop = match.end(), match.end() + _LONGEST
        end = text.rfind("}", start, stop)
        end = end if end >= 0 else min(stop, len(text))
        for found in reached:
            # One that is told by what stands before it may begin with the delimiter.
            if start - 1 <= found.start() and found.end() <= end:
                return Verdict(f"is an expression that reaches for `{found[0].strip('. ({')[:40]}`", text[match.start() :])
        if match[0].startswith("%") and _SCOPE_ONLY.fullmatch(text, start, end):
            return Verdict("is an expression that asks for the interpreter's context (OGNL)", text[match.start() :])
    return None
