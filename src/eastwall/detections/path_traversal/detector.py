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
_HEX_DOTS = re.compile(r"(?:0?x2e){2}", re.IGNORECASE)
_PARAMETER = re.compile(r"(?<=\.\.);[^/]{0,40}(?=/)")
_SLASHES = re.compile(r"/{2,}")
_EMPTY = re.compile(r"(?:/\.(?=/)/*){3,}")
_DOTS = re.compile(r"/\.{4,}[^/.]|^\.{2,}[a-z]+-inf/", re.IGNORECASE)
_FILE_URL = re.compile(r"(?:file|netdoc|jar:file|gopher)://?", re.IGNORECASE)
_DRIVE_ROOT = re.compile(r"^/(?=[a-z]:/)", re.IGNORECASE)
_WRAPPER = re.compile(r"(?:php://(?:filter|input)|expect://|phar://|zip://|glob://|compress\.zlib://)", re.IGNORECASE)
SECRET = re.compile(
    r"^(?:[a-z]:)?/(?:etc/(?:passwd|shadow|group|hosts|issue|sudoers|crontab|ssh/)|proc/(?:self|version|cmdline|\d+|net)(?:/|$)|root/\.|(?:var/)?run/secrets"
    r"|windows/(?:win\.ini|system\.ini|system32/(?:drivers|config))|winnt/|inetpub/|boot\.ini|autoexec\.bat)"
    r"|(?:^|/)(?:web-inf/|meta-inf/(?:context|manifest)|\.ssh/|\.aws/credentials|\.git/(?:config|head)|\.svn/entries|\.htpasswd|\.bash_history"
    r"|\.kube/config|ntuser\.dat|boot\.ini|id_rsa$)",
    re.IGNORECASE,
)
"""Files no caller names for an honest reason."""
SYSTEM = re.compile(
    r"(?:^|/)(?:etc/|proc/|root/|home/|var/|sys/|dev/|run/|usr/|opt/|tmp/|windows/|winnt/|boot\.ini|inetpub/|program files|users/|web-inf|meta-inf|\.ssh|\.aws|"
    r"\.git|\.svn|\.ht|\.env|id_rsa|wp-config|web\.config|config\.|app\.config|\.bash|\.kube|ntuser)",
    re.IGNORECASE,
)
"""Where a climb leads when it is meant: directories of the system and files of configuration."""
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
    if _WRAPPER.match(text):
        return "opens a stream by its wrapper"
    url = _FILE_URL.match(path)
    local = _DRIVE_ROOT.sub("", "/" + path[url.end() :].lstrip("/")) if url else path
    ups, lowest, first = _climb(local)
    # `/home/ann/.ssh` as the call's own path is a resource like any other, unless it was climbed to.
    secret = SECRET.search(local) or (SECRET.search(local[local.rindex("..") + 2 :]) if ".." in local else None)
    if secret and (ups or url or not place.startswith("path")):
        return f"reaches `{secret[0].strip('/')}`"
    if _HEX_DOTS.search(text) or _DOTS.search(local):
        return "spells `..` in a way that filters miss"
    if _EMPTY.search(text.replace("\\", "/")):
        return "is padded with segments that mean nothing"
    if lowest >= 0:
        return None
    system = SYSTEM.search(local)
    if system:
        return f"climbs to `{system[0].strip('/')}`"
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
        target = SECRET.search(match[0][match[0].rindex("..") + 2 :])
        if target and _climb(match[0])[1] < 0:
            return f"reaches `{target[0].strip('/')}`"
    if _FILE_URL.match(path) and SECRET.search(path[6:]):
        return "reads a file by its URL"
    return None
