"""Whether a text, used as a path, leaves the directory it is meant for or names a file of the system: POSIX and Windows at once.

The path is normalised as lax services and file systems do it (slashes of all kinds, hexadecimal spellings, parameters behind dots, control
characters), then walked. What a climb needs to count depends on where it stands: relative links are ordinary in documents, one
level in a parameter that by its name takes a file is not, and nothing above a leading slash is.
"""

from __future__ import annotations

import re

MAX_TEXT = 10_240
"""Characters analysed (the prefilter hands over pieces of at most 4,096)."""

_HEX_DOT = re.compile(r"0?x2e", re.IGNORECASE)
_HEX_SLASH = re.compile(r"0?x(?:2f|5c)", re.IGNORECASE)
_HEX_DOTS = re.compile(r"(?:0?x2e){2}", re.IGNORECASE)
_PARAMETER = re.compile(r"(?<=\.\.);[^/]{0,40}(?=/)")
_SLASHES = re.compile(r"/{2,}")
_CURRENT = re.compile(r"/(?:\./)+")
_EMPTY = re.compile(r"(?:/\.(?=/)/*){3,}")
_DOTS = re.compile(r"/\.{4,}[^/.]|^\.{2,}[a-z]+-inf/", re.IGNORECASE)
_FILE_URL = re.compile(r"(?:file|netdoc|jar:file|gopher):(?://?(?:localhost(?=/))?|(?=/))", re.IGNORECASE)
_DRIVE_ROOT = re.compile(r"^/(?=[a-z]:/)", re.IGNORECASE)
_DEVICE_ROOT = re.compile(r"^/[?.]/(?=(?:unc/|globalroot|[a-z]:/))", re.IGNORECASE)
_VARIABLE_ROOT = re.compile(
    r"^/?(?:%(?:systemroot|windir)%|\$\{?env:(?:systemroot|windir)\}?|\$\{?(?:systemroot|windir)\}?)(?=/)", re.IGNORECASE
)
_HOME_OF = re.compile(r"^/?~root/(?=\.)")
_WRAPPER = re.compile(
    r"(?:php://(?:filter|input|fd|stdin|temp|memory)|expect://|phar://|zip://|rar://|ogg://|ssh2\.\w+://|glob://|compress\.(?:zlib|bzip2)://|zlib://|data://text)",
    re.IGNORECASE,
)
# Look-alikes of slash and dot that some layer folds: division and fraction slash, set minus and reverse solidus operator, leaders.
_FOLDED = str.maketrans(
    {
        "\\": "/",
        "\u2215": "/",
        "\u2044": "/",
        "\u29f8": "/",
        "\uff0f": "/",
        "\u2216": "/",
        "\u29f5": "/",
        "\uff3c": "/",
        "\ufe68": "/",
        "\uff0e": ".",
        "\u2024": ".",
        "\u3002": ".",
    }
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")

SECRET = re.compile(
    r"^(?:[a-z]:)?/(?:etc/(?:passwd|shadow|gshadow|master\.passwd|group|hosts|issue|sudoers|crontab|ssh/|security/|kubernetes/)|proc/(?:self|version|cmdline|\d+|net|mounts|sched_debug)(?:/|$)|root/\."
    r"|(?:var/)?run/secrets|var/lib/(?:mysql/mysql|kubelet|docker)/"
    r"|windows/(?:win\.ini|system\.ini|repair/|debug/netsetup\.log|panther/|system32/(?:drivers/etc|config|inetsrv|winevt|license\.rtf|cmd\.exe))|winnt/|inetpub/(?:wwwroot|logs)/|boot\.ini|autoexec\.bat|unattend\.xml)"
    r"|^/?(?:web-inf/|meta-inf/(?:context|manifest))|(?:^|/)(?:\.ssh/|\.aws/(?:credentials|config)|\.git/(?:config|head|index|logs/)|\.svn/(?:entries|wc\.db)|\.htpasswd|\.bash_history|\.mysql_history|\.pgpass|\.netrc"
    r"|\.kube/config|\.docker/config\.json|ntuser\.dat|boot\.ini|id_(?:rsa|dsa|ecdsa|ed25519)$|authorized_keys$)",
    re.IGNORECASE,
)
"""Files no caller names for an honest reason."""
HOST = re.compile(
    r"^(?:[a-z]:)?/(?:etc/(?:nginx|apache2?|httpd|mysql|my\.cnf|php|redis|samba|cron|init\.d|rc\.|fstab|mtab|motd|hostname|networks|resolv\.conf|profile|bash|environment|os-release|[a-z]+-release|postgresql|openvpn|vsftpd|ssl/|pam\.d|ld\.so|logrotate|rsyslog|syslog|exports|services|inetd|nsswitch)"
    r"|var/(?:log/(?:apache2?|nginx|httpd|auth|secure|syslog|messages|mail|vsftpd|mysql|lastlog|wtmp|kern|dmesg|faillog)|mail/|spool/(?:cron|mail)|www/[^/]+/(?:config|\.))|usr/local/(?:etc|apache2?|nginx)/|opt/(?:lampp|tomcat)"
    r"|sys/(?:class|kernel|fs)/|windows/|program files/(?:apache|mysql|microsoft sql)|xampp/|apache/(?:conf|logs))",
    re.IGNORECASE,
)
"""Files of a host that its tools name for honest reasons, and callers in a link or a file's name do not."""
SYSTEM = re.compile(
    r"(?:^|/)(?:etc/|proc/|root/|home/|var/|sys/|dev/|run/|usr/|opt/|tmp/|windows/|winnt/|boot\.ini|inetpub/|program files|users/|web-inf|meta-inf|\.ssh|\.aws|"
    r"\.git|\.svn|\.ht|\.env|id_rsa|wp-config|web\.config|config\.|app\.config|\.bash|\.kube|ntuser)"
    r"|\.(?:conf|cnf|ini|env|properties|sqlite3?|mdb|bak|log|pem|key|pfx|p12|jks|htaccess|passwd)$",
    re.IGNORECASE,
)
"""Where a climb leads when it is meant: directories of the system, files of configuration."""
NEAR = re.compile(
    r"(?:^|/)(?:etc/|proc/|windows/|winnt/|boot\.ini|inetpub/|web-inf|meta-inf|\.ssh|\.aws|\.git|\.svn|\.ht|\.env|id_rsa|wp-config|web\.config|app\.config|\.bash|\.kube|ntuser)"
    r"|\.(?:conf|cnf|ini|env|properties|sqlite3?|mdb|pem|key|pfx|p12|jks|htaccess|passwd)$",
    re.IGNORECASE,
)
"""The same for one level, where `../users/` and `../home/` may be links of a site."""
PAGE = re.compile(r"^(?:\.\./)+[\w-]+\.(?:php\d?|phtml|jspx?|aspx?|cgi)$", re.IGNORECASE)
"""Code of the service; in a body it may be a link."""
_PROBED = re.compile(
    r"^/(?:[\w.-]{1,40}/){0,2}(?:\.env(?:\.(?!example|sample|dist|template|test)\w{1,20})?|\.git/(?:config|head|index|logs/\S{1,40})|\.svn/(?:entries|wc\.db)|\.htpasswd|\.aws/(?:credentials|config)|\.ssh/\S{1,40}|web-inf/\S{1,80}|id_rsa)$",
    re.IGNORECASE,
)
"""Whole paths of calls that ask for what a deployment should not serve."""
_ENV = re.compile(r"/\.env(?:\.(?!example|sample|dist|template|test)\w{1,20})?$", re.IGNORECASE)
# Shells, C and PHP drop the backslash of `\e`: what is left of `..\..\etc\passwd` names the file all the same.
_UNSEPARATED = re.compile(
    r"(?:^|[.:])(?:etc(?:passwd|shadow|hosts)|(?:windows|winnt)(?:win\.ini|system\.ini|system32)|web-infweb\.xml|inetpubwwwroot|procself(?:environ|cmdline))|^(?:file:)?(?:\.\.){4,}[a-z{]",
    re.IGNORECASE,
)
_BRACE = re.compile(r"^(?:/{1,2}\.{2,3}|/\./\.|/\.//\./)(?=[{$*])")
"""A climb glued to what no file's name begins with: a vector whose target was not filled in."""
_LONG = re.compile(r"/(a{64,}|A{64,}|x{64,}|X{64,}|\.{64,})")
"""A segment of one letter, long enough to have what follows cut off (path truncation)."""
_LEADING = re.compile(r"/{4,}[\w.{]")
_PATH_ONLY = re.compile(r"[^\s\"'`<>\[\]|,]+(?: [^\s\"'`<>\[\]|,]+)?")
_SHARE = re.compile(r"//[\w.:-]+/(?:[a-z]|admin|ipc)\$(?:/|$)", re.IGNORECASE)
_NULL = re.compile(r"[\w/\\.]\x00(?:\.\w|$|/)")
_FILE_NAME = re.compile(
    r"(?:^|[._-])(?:file(?:_?name|_?path)?|path(?:_?name)?|page|include|inc|template|tpl|layout|theme|doc(?:ument)?|folder|dir(?:ectory)?|download|attachment|load|read|view|show|style|module|conf(?:ig)?|backup|archive|log|root|locale|lang|skin|report)$",
    re.IGNORECASE,
)
"""Names of parameters that take a file. `link`, `href` and `url` are not among them: relative links are ordinary."""
_IN_BODY = re.compile(
    r"(?:^|[._-])(?:file(?:_?name|_?path)?|template|tpl|include|download|attachment|backup|filename)$", re.IGNORECASE
)
"""The same for bodies, where configurations hold relative paths."""
_FILENAME_PLACE = re.compile(r"\.\{?filename\}?$")

PADDED = "is padded with segments that mean nothing"
ONE_LEVEL = "climbs out of the directory that the parameter by its name takes a file from"
PROBES = "asks for a file that a deployment should not serve"
OF_HOST = "names a file of the host"
LOST = "names a file of the system, its separators lost on the way"
UNSURE = frozenset((PADDED, ONE_LEVEL, PROBES, OF_HOST, LOST))
"""Reasons that honest callers may rarely have: confidence medium."""


def traversal(text: str, place: str = "query.q") -> str | None:
    """Why `text` is a traversal (a clause of a sentence), or None. Never raises; linear in the first `MAX_TEXT` characters."""
    text = text[:MAX_TEXT].strip(" \t\r\n")
    if _NULL.search(text) and ("/" in text or "\\" in text or "." in text):
        return "holds a null byte, at which C libraries end it"
    path = _plain(text)
    if _PATH_ONLY.fullmatch(_CONTROL.sub("", text)) is None:
        return _in_prose(path)
    if _WRAPPER.match(text):
        return "opens a stream by its wrapper"
    slashed = _HEX_SLASH.sub("/", text.translate(_FOLDED))
    if _SHARE.match(slashed):
        return "names an administrative network share"
    own = place.startswith("path")
    url = _FILE_URL.match(path)
    local = _rooted("/" + path[url.end() :].lstrip("/") if url else path)
    ups, lowest, first = _climb(local)
    # `/home/ann/.ssh` as the call's own path is a resource like any other, unless it was climbed to.
    secret = SECRET.search(local) or (SECRET.search(local[local.rindex("..") + 2 :]) if ".." in local else None)
    if secret and (ups or url or not own):
        return f"reaches `{secret[0].strip('/')}`"
    linked = not own and not place.startswith("body")
    if (place == "path" and _PROBED.match(path)) or (linked and local.startswith(("/", "~/", "./")) and _ENV.search(local)):
        return PROBES
    if not own and HOST.match(local) and (url or linked or _names_file(place)):
        return OF_HOST
    if _HEX_DOTS.search(text) or _DOTS.search(local) or _BRACE.match(slashed):
        return "spells `..` in a way that filters miss"
    if _EMPTY.search(slashed) or (not own and (_LONG.search(slashed) or _LEADING.match(slashed))):
        return PADDED
    if "/" not in slashed.removeprefix("file:/") and _UNSEPARATED.search(text):
        return LOST
    return _upwards(local, place, ups, lowest, first)


def _upwards(local: str, place: str, ups: int, lowest: int, first: bool) -> str | None:
    """Whether a climb is more than a relative link."""
    if lowest >= 0:
        return None
    system = SYSTEM.search(local) if ups > 1 or first else NEAR.search(local)
    if system is None and not place.startswith("body"):
        system = PAGE.search(local)
    if system:
        return f"climbs to `{system[0].strip('/')}`"
    # A relative link one or two levels up is ordinary in documents; nothing above a leading slash is.
    needed = 1 if place.startswith("path") or first or _FILENAME_PLACE.search(place) else 3 if place.startswith("body") else 2
    if ups >= needed:
        return f"climbs {-lowest} levels above its start"
    return ONE_LEVEL if _names_file(place) else None


def _names_file(place: str) -> bool:
    """Whether the parameter's name says that its value is a file."""
    if place.endswith("}"):
        return False
    return (_IN_BODY if place.startswith("body") else _FILE_NAME).search(place.partition(".")[2]) is not None


def _plain(text: str) -> str:
    """One kind of slash, one at a time, no `.` segments, no control characters; hexadecimal spellings undone."""
    text = _HEX_SLASH.sub("/", _HEX_DOT.sub(".", text)).translate(_FOLDED)
    text = _SLASHES.sub("/", _PARAMETER.sub("", _CONTROL.sub("", text)))
    return _CURRENT.sub("/", text)


def _rooted(path: str) -> str:
    """Without what stands in front of a root: `/c:/x`, `//?/c:/x`, `%SYSTEMROOT%/x` (as `/windows/x`), `~root/.x` (as `/root/.x`)."""
    path = _DRIVE_ROOT.sub("", _DEVICE_ROOT.sub("", path))
    return _HOME_OF.sub("/root/", _VARIABLE_ROOT.sub("/windows", path))


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


_RUN = re.compile(r"[^\s\"'`<>\[\]|,()=]{0,400}\.\.[^\s\"'`<>\[\]|,()]{0,400}")


def _in_prose(path: str) -> str | None:
    """In a text around it, only a path that climbs to a file of the system counts: relative links and imports are ordinary."""
    for start in _runs(path):
        match = _RUN.match(path, start)
        if match is None:
            continue
        target = SECRET.search(match[0][match[0].rindex("..") + 2 :])
        if target and _climb(match[0])[1] < 0:
            return f"reaches `{target[0].strip('/')}`"
    if _FILE_URL.match(path) and SECRET.search(path[6:]):
        return "reads a file by its URL"
    return None


_DIVIDER = re.compile(r"[\s\"'`<>\[\]|,()=]+")


def _runs(path: str) -> list[int]:
    """Where the words that hold `..` begin; words are found once, so that a long text costs its length."""
    starts, position = [], 0
    for divider in _DIVIDER.finditer(path):
        if ".." in path[position : divider.start()]:
            starts.append(position)
        position = divider.end()
    if ".." in path[position:]:
        starts.append(position)
    return starts[:100]
