"""Server-side request forgery (CWE-918): a URL that sends the service to itself, its network or its cloud's metadata."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from eastwall.detections.confirming import Verdict, confirm
from eastwall.detections.ssrf.address import Target, fold, ipv4, parse
from eastwall.detections.ssrf.places import kind_of, named_by_dns
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="ssrf",
    title="Server-side request forgery",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("API7:2023", "A10:2021"),
    cwe=("CWE-918", "CWE-98"),
    attack=("T1190", "T1552.005"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("ssrf",),
)

_URL = re.compile(r"\s{0,40}[\"'(<]?(?:[a-z][a-z0-9+._-]{1,30}:|[/\\]{2})\S", re.IGNORECASE)
_SCHEMES = frozenset(
    "gopher dict netdoc tftp expect phar jar local_file ogg ssh2 ssh2.exec ssh2.shell ssh2.sftp ssh2.tunnel compress.zlib zlib glob php rmi iiop imap pop3 telnet smb jdbc".split()
)
"""Schemes that no web client needs and that speak other protocols or read files."""
_NEED_INNER = frozenset(
    "ftp sftp ftps ldap ldaps ssh smtp redis rediss mongodb mysql postgres postgresql amqp memcached ws wss http https".split()
)
_INNER = re.compile(r"[a-z]{3,12}:", re.IGNORECASE)
_MOST_NESTED = 32
"""URLs in the query of one that are read."""
_NESTED = re.compile(r"[?&#][\w.\[\]-]{1,40}=((?:https?|gopher|dict|file|ftp)(?::|%3a)[^&#\s]{3,400})", re.IGNORECASE)
# A native app's browser is sent back to the app itself (RFC 8252 section 7.3), and a page names where it came from.
_OWN_CLIENT = re.compile(
    r"(?:redirect|return|logout|callback_?ur[il]s?|origin|referer|audience|issuer|\biss\b|\baud\b)", re.IGNORECASE
)
_URL_NAME = re.compile(
    r"(?:url|uri|host|hostname|endpoint|target|dest|destination|proxy|server|domain|callback|webhook|site|feed|fetch|address|src|source|link|href|image|path|page|to|next|open)$",
    re.IGNORECASE,
)
_INCLUDE_NAME = re.compile(
    r"(?:file|page|template|tpl|include|inc|path|doc|document|load|module|view|layout|theme|lang|cat|dir|pg|style|root|folder|content)(?:name|path|_name|_path)?$",
    re.IGNORECASE,
)
_INCLUDED = re.compile(
    r"\.(?:php\d?|phtml|inc|aspx?|jspx?|cgi|pl|cfm)(?:[?#\x00]|$)|\.(?:txt|gif|jpe?g|png|dat)(?:\?+|\x00)$|(?<!\?)\?++$|%00$",
    re.IGNORECASE,
)
_ARGUMENT = re.compile(r"body\.(?:variables\.(?:input\.)?|params\.arguments\.|query:)?[\w-]{1,64}")
"""A member of the body itself, of GraphQL's variables or of a tool's arguments."""
_NAME = re.compile(r"(?<![\w-])([\w-]*+)(?>(?:\[\d+\])*)(?:\.\{[^}]*+\})?$")
_WORDS = {
    "metadata": "its cloud's or cluster's metadata",
    "loopback": "the service itself",
    "link-local": "a neighbour on its own link",
    "private": "an address of a private network",
    "rebinding": "a name that changes its address between check and use",
    "out-of-band": "a service that records who calls",
}  # fmt: skip


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    return confirm(facts, META, forgery)


def forgery(text: str, place: str = "query.url") -> Verdict | None:
    """Why `text` is a URL that a service should not follow, or None. Never raises; linear in the first 4,096 characters.

    Only a value that is a URL as a whole counts: what a text mentions is not fetched.
    """
    text = text[:4096].strip().strip("\"'<>()")
    name = _NAME.search(place)
    parameter = name[1] if name and not place.startswith("path") else ""
    if not _URL.match(text):
        return _bare(text, parameter)
    if " " in text or "\n" in text.strip():
        return None
    target = parse(text)
    if target is None:
        return None
    verdict = _judged(target, place, parameter)
    if verdict is not None:
        return verdict
    for match in islice(_NESTED.finditer(target.path), _MOST_NESTED):
        inner = parse(match[1].replace("%3A", ":").replace("%3a", ":").replace("%2F", "/").replace("%2f", "/"))
        kind = kind_of(inner.host, inner.address) if inner else ""
        if inner is not None and (kind == "metadata" or inner.scheme in ("gopher", "dict")):
            return Verdict(f"is a URL that leads on to {_WORDS.get(kind, inner.scheme)}", text, "high", "medium")
    if target.scheme in ("http", "https", "ftp") and _INCLUDE_NAME.search(parameter) and _INCLUDED.search(target.path):
        return Verdict("is a script of another site, where a file's name is expected", text, "medium", "medium")
    return None


def _judged(target: Target, place: str, parameter: str) -> Verdict | None:
    kind = kind_of(target.host, target.address)
    how = f" ({target.disguised[0]})" if target.disguised else " (by a public name for it)" if named_by_dns(target.host) else ""
    if target.scheme in _SCHEMES:
        if target.scheme in ("jdbc", "phar", "php", "jar", "glob", "expect") and not target.host and not target.path.strip("/"):
            return None
        if target.host or target.path.startswith("/") or _INNER.match(target.path):
            return Verdict(f"is a URL of the scheme `{target.scheme}`, which speaks other protocols or reads files", "")
        return None
    if target.scheme == "file" and target.path:
        grave = (
            "high" if not place.startswith("body") or _URL_NAME.search(parameter) else "medium"
        )  # documents name files they lie beside
        return Verdict("is a URL of a file of the service", "", grave, "medium")
    if target.scheme and target.scheme not in _NEED_INNER:
        return None
    if not kind:
        return None
    if kind == "metadata":
        return Verdict(f"sends the service to {_WORDS[kind]}{how}", "", "critical")
    if how:
        return Verdict(f"sends the service to {_WORDS[kind]}{how}", "")
    if kind in ("loopback", "private", "link-local") and (
        _OWN_CLIENT.search(parameter) or place.startswith(("header.", "cookie."))
    ):
        return None
    if kind == "private":
        return Verdict(f"sends the service to {_WORDS[kind]}", "", "medium", "medium")
    return Verdict(f"sends the service to {_WORDS[kind]}", "", "high" if _asked_for(place, parameter) else "medium", "medium")


def _asked_for(place: str, parameter: str) -> bool:
    """Whether the place is an argument that asks for a URL. Documents (a specification's `servers`, a feed, a log) name addresses of the
    machine they were written on."""
    if not place.startswith("body"):
        return True
    return _URL_NAME.search(parameter) is not None and _ARGUMENT.fullmatch(place) is not None


def _bare(text: str, parameter: str) -> Verdict | None:
    """A host without a scheme: only metadata, and only where a host is asked for; inventories are full of other addresses."""
    if not _URL_NAME.search(parameter) or len(text) > 200:
        return None
    host = fold(text.partition("/")[0].rpartition("@")[2].partition(":")[0])
    address = ipv4(host) if "." in host else None
    if kind_of(host, address) == "metadata" and "." in host:
        return Verdict("names its cloud's or cluster's metadata service", text, "high", "medium")
    return None
