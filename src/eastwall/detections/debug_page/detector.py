"""Pages of development and administration in answers (CWE-489, CWE-215): each told by several marks of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="debug-page",
    title="Debug or administration page",
    severity="medium",
    confidence="high",
    audience="service-owner",
    phases=("response",),
    owasp=("API8:2023", "A05:2021"),
    cwe=("CWE-489", "CWE-215"),
    attack=("T1592.002", "T1190"),
    stage="reconnaissance",
    on_error="monitor",
    default_action="report",
    families=("debug-page",),
)

MAX_PAGE = 131_072
"""Characters of a page that are looked at."""


class _Page(Struct, frozen=True):
    name: str
    severity: str
    marks: tuple[tuple[str, ...], ...]
    """Each group must be there by one of its members; compared in lower case."""


_PAGES = (
    _Page("Werkzeug's debugger, which runs code", "high", (("werkzeug debugger", "werkzeug.debug"), ("evalex", "__debugger__", "debugger.js"))),
    _Page("the web console of Rails, which runs code", "high", (("web-console", "data-template=\"console"), ("data-mount-point", "console-prompt", "action controller: exception caught"))),
    _Page("Django's debug page", "medium", (("you're seeing this error because you have <code>debug = true</code>", "you’re seeing this error because you have <code>debug = true</code>"), ("django", "urlconf"))),
    _Page("Laravel's debug page", "medium", (("window.ignite(", "ignition", "laravel-exceptions-renderer", "whoops\\"), ("laravel", "stack", "frame"))),
    _Page("Whoops' debug page", "medium", (("<title>whoops! there was an error", "whoops container", "class=\"whoops"), ("frame", "stack"))),
    _Page("Symfony's debug page", "medium", (("symfony exception", "sf-dump", "sf-toolbar", "symfony web debug toolbar"), ("_profiler", "exception", "trace"))),
    _Page("Rails' debug page", "medium", (("action controller: exception caught", "actioncontroller::routingerror", "<title>action controller"), ("rails.root", "application trace", "framework trace"))),
    _Page("ASP.NET's error page", "medium", (("server error in '/", "server error in &#39;/"), ("stack trace:", "source error:", "version information:", "customerrors"))),
    _Page("ASP.NET Core's developer exception page", "medium", (("an unhandled exception occurred while processing the request", "<title>internal server error</title>"), ("id=\"stackpage\"", "class=\"rawexceptionstacktrace", "developer exception page", "showrawexception"))),
    _Page("phpinfo()", "medium", (("phpinfo()", "<title>php "), ("php version", "zend engine", "php credits"), ("configuration", "php_ini", "php.ini"))),
    _Page("Go's pprof", "medium", (("/debug/pprof",), ("types of profiles available", "full goroutine stack dump", "heap: a sampling"))),
    _Page("the status page of Apache", "medium", (("apache server status for", "apache status</title>"), ("server uptime", "server built"))),
    _Page("the information page of Apache", "medium", (("server information</title>", "apache server information"), ("module name", "loaded modules"))),
    _Page("CodeIgniter's error page", "medium", (("a php error was encountered",), ("filename:",), ("line number:",))),
    _Page("ColdFusion's error page", "medium", (("the error occurred in",), (".cfm: line", ".cfc: line", "coldfusion"))),
    _Page("the status page of nginx", "low", (("active connections:",), ("server accepts handled requests",))),
    _Page("the error log of ELMAH", "medium", (("error log for", "elmah"), ("elmah.axd", "powered by <a href=\"http://elmah"))),
    _Page("Symfony's profiler", "medium", (("symfony profiler", "_profiler/"), ("<title>symfony profiler", "request / response"))),
    _Page("the Whitelabel error page of Spring", "low", (("whitelabel error page",), ("this application has no explicit mapping for /error",))),
    _Page("the error page of Tomcat with its version", "low", (("<h3>apache tomcat/",), ("http status",))),
    _Page("the error page of nginx with its version", "low", (("<center>nginx/1", "<center>nginx/0", "<center>openresty/1"), ("<hr>",))),
    _Page("the error page of Apache with its version", "low", (("<address>apache/2", "<address>apache/1"), (" port ",))),
    _Page("Jetty's error page with its version", "low", (("powered by jetty:// ", "jetty://9", "jetty://1"), ("http error", "error "))),
)  # fmt: skip


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding: the gravest page that the answer is."""
    if not any("debug-page" in families for _, families in facts.suspects):
        return ()
    body = facts.operation.body
    found = page(body[:MAX_PAGE]) if type(body) is str else actuator(body)
    if found is None:
        return ()
    name, severity = found
    return (
        Finding(
            id=META.id,
            severity=severity,
            confidence=META.confidence,
            owasp=META.owasp,
            where="body",
            message=f"the answer is {name}",
            evidence=f"{facts.call.request.method} {facts.operation.path}"[:120],
            phase="response",
        ),
    )


def page(text: str) -> tuple[str, str] | None:
    """(name, severity) of the page that a text is; None when it is none. Never raises, linear."""
    lowered = text.lower()
    for one in _PAGES:
        if all(any(mark in lowered for mark in group) for group in one.marks):
            return one.name, one.severity
    return None


def actuator(tree: Any) -> tuple[str, str] | None:
    """The same of JSON: Spring Boot's actuator, Go's expvar, Jolokia."""
    if type(tree) is not dict:
        return None
    sources = tree.get("propertySources")
    if (
        type(sources) is list
        and "activeProfiles" in tree
        and all(type(one) is dict and "properties" in one for one in sources[:20])
    ):
        return "the environment of Spring Boot's actuator", "high"
    links = tree.get("_links")
    if type(links) is dict:
        risky = {
            "env",
            "heapdump",
            "threaddump",
            "configprops",
            "loggers",
            "mappings",
            "beans",
            "jolokia",
            "shutdown",
        } & links.keys()
        hrefs = [one.get("href", "") for one in links.values() if type(one) is dict]
        if len(risky) >= 2 and any(type(href) is str and "/actuator" in href for href in hrefs):
            return f"the index of Spring Boot's actuator, with {', '.join(sorted(risky))}", "medium"
    memory = tree.get("memstats")
    if type(memory) is dict and "cmdline" in tree and "HeapAlloc" in memory:
        return "the variables of a Go service (expvar)", "low"
    contexts = tree.get("contexts")
    if type(contexts) is dict and any(
        type(one) is dict and ("beans" in one or "mappings" in one) for one in list(contexts.values())[:20]
    ):
        return "the beans or mappings of Spring Boot's actuator", "medium"
    if (
        type(tree.get("request")) is dict
        and type(tree.get("value")) is dict
        and "jolokia" in str(tree["value"].get("agent", ""))[:50] + str(list(tree["value"])[:20]).lower()
    ):
        return "an answer of Jolokia", "medium"
    return None
