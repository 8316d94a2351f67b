"""Path traversal (CWE-22): a value that, used as a path, would leave the directory it is meant for or names a file of the system."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="path-traversal",
    title="Path traversal",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("A01:2021", "API8:2023"),
    cwe=("CWE-22", "CWE-73"),
    attack=("T1190", "T1083"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("traversal",),
)

MAX_TEXT = 10_240
"""Characters analysed."""

_HEX_DOT = re.compile(r"0?x2e", re.IGNORECASE)
_HEX_SLASH = re.compile(r"0?x(?:2f|5c)", re.IGNORECASE)
_PARAMETER = re.compile(r"(?<=\.\.);[^/]{0,40}(?=/)")
_SLASHES = re.compile(r"/{2,}")
_PROTOCOL = re.compile(r"(?:file|php|jar|netdoc|phar|zip|expect|data|gopher)://?", re.IGNORECASE)
SENSITIVE = re.compile(
    r"(?:^|/)(?:etc/(?:passwd|shadow|group|hosts|issue|motd|fstab|crontab|sudoers|ssh/|mysql/|apache2?/|nginx/|httpd/|php|environment|resolv\.conf|hostname|os-release|"
    r"kubernetes/)|proc/(?:self|version|cpuinfo|\d+|cmdline|net|mounts)|root/\.|home/[^/]+/\.|var/(?:log/|run/secrets|lib/mysql|www/)|sys/class|"
    r"run/secrets|windows/(?:win\.ini|system\.ini|system32|repair/|php\.ini|panther|debug)|winnt/|boot\.ini|inetpub/|program files|users/[^/]+/ntuser|"
    r"web-inf/|meta-inf/|\.ssh/|id_rsa|\.aws/credentials|\.git/(?:config|head)|\.svn/|\.htpasswd|\.htaccess|\.env$|wp-config\.php|web\.config|\.bash_history|"
    r"\.kube/config|autoexec\.bat|ntuser\.dat)",
    re.IGNORECASE,
)
"""Files worth stealing on the systems that services run on."""
_PATH_ONLY = re.compile(r"[^\s\"'`<>\[\]|,]+(?: [^\s\"'`<>\[\]|,]+)?")
_WORDS = re.compile(r"[A-Za-z]{2,}")
_SHARE = re.compile(r"//[\w.:-]+/[a-z]\$(?:/|$)", re.IGNORECASE)
_NULL = re.compile(r"[\w/\\.]\x00(?:\.\w|$)")


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    findings: list[Finding] = []
    seen: set[str] = set()
    for value, families in facts.suspects:
        if "traversal" not in families or value.place in seen or ("path" in seen and value.place.startswith("path[")):
            continue
        reason = traversal(value.text, value.place)
        if reason:
            seen.add(value.place)
            findings.append(
                Finding(
                    id=META.id,
                    severity=META.severity,
                    confidence=META.confidence,
                    owasp=META.owasp,
                    where=value.place,
                    message=f"the value of `{value.place}`, used as a path, {reason}",
                    evidence=" ".join(value.text.replace("\x00", "\\0").split())[:120],
                )
            )
    return findings


def traversal(text: str, place: str = "query.file") -> str | None:
    """Why `text` is a traversal (a clause of a sentence), or None. Never raises; linear in the first `MAX_TEXT` characters."""
    text = text[:MAX_TEXT].strip()
    if _NULL.search(text) and ("/" in text or "\\" in text or "." in text):
        return "holds a null byte, at which C libraries end it"
    path = _plain(text)
    if _PATH_ONLY.fullmatch(text.replace("\x00", "")) is None:
        return _in_prose(path)
    if _SHARE.match(_HEX_SLASH.sub("/", text.replace("\\", "/"))):
        return "names an administrative network share"
    scheme = _PROTOCOL.match(text)
    ups, lowest, first = _climb(path)
    target = SENSITIVE.search(path)
    if target and (ups or scheme or target.start() == 0 or re.match(r"[a-z]:/|\.{3,}", path, re.IGNORECASE)):
        name = target[0].strip("/")
        # `/home/ann/.config` as the call's own path is a resource like any other, unless it was climbed to.
        if ups or scheme or not place.startswith("path"):
            return f"reaches `{name}`"
    if lowest >= 0:
        return None
    # A relative link one or two levels up is ordinary in documents; nothing above a leading slash is.
    needed = 1 if place.startswith("path") or first else 3 if place.startswith("body") else 2
    return f"climbs {-lowest} levels above its start" if ups >= needed else None


def _plain(text: str) -> str:
    """One kind of slash, one at a time, no `.` segments; hexadecimal spellings undone."""
    text = _HEX_SLASH.sub("/", _HEX_DOT.sub(".", text)).replace("\\", "/").replace("\x00", "")
    text = _SLASHES.sub("/", _PARAMETER.sub("", text))
    while "/./" in text:
        text = text.replace("/./", "/")
    return text


def _climb(path: str) -> tuple[int, int, bool]:
    """(segments that go up, lowest level reached, whether the first segment of an absolute path goes up).

    Three and more dots count as two: filters that delete `../` leave it behind, and old Windows read `...` as two levels.
    """
    depth = lowest = ups = 0
    segments = path.split("/")
    for segment in segments:
        if len(segment) >= 2 and not segment.strip("."):
            ups += 1
            depth -= 1
            lowest = min(lowest, depth)
        elif segment not in ("", "."):
            depth += 1
    first = len(segments) > 1 and not segments[0] and len(segments[1]) >= 2 and not segments[1].strip(".")
    return ups, lowest, first


_RUN = re.compile(r"[^\s\"'`<>\[\]|,()=]*\.\.[^\s\"'`<>\[\]|,()]*")


def _in_prose(path: str) -> str | None:
    """In a text around it, only a path that climbs to a file of the system counts: relative links and imports are ordinary."""
    for match in _RUN.finditer(path):
        target = SENSITIVE.search(match[0])
        if target and _climb(match[0])[1] < 0:
            return f"reaches `{target[0].strip('/')}`"
    if _PROTOCOL.match(path) and SENSITIVE.search(path):
        return "reads a file by its URL"
    return None
