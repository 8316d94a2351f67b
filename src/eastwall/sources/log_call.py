"""A call out of the parts that logs have: request line, host, times, addresses, escaped text."""

from __future__ import annotations

import re
from calendar import timegm

from eastwall.sources.observed import ObservedCall, service_of

ORIGIN = "access-log"

_REQUEST = re.compile(r"([A-Za-z][A-Za-z0-9_-]{0,31}) (\S.*?)(?: (HTTP/\d(?:\.\d)?))?", re.DOTALL)
_METHODS = frozenset("GET HEAD POST PUT PATCH DELETE OPTIONS".split())
_VERSIONS = frozenset(("HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/2", "HTTP/3.0", "HTTP/3"))
"""With these a line needs no closer look: the same as `_REQUEST`, faster."""
_ESCAPE = re.compile(r'\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|(["\\/abfnrtv]))')
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_MONTHS = {m: n for n, m in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}


class NotACall(ValueError):
    """A line that is none; the text is the reason under which it is counted."""


def made(request: str, host: str, *, status: int | None, scheme: str = "http", **known: object) -> ObservedCall:
    """The call of a request line (`GET /path HTTP/1.1`), as a log has it. Raises NotACall."""
    if "\\" in request:
        request = unescape(request)
    method, _, rest = request.partition(" ")
    target, _, version = rest.rpartition(" ")
    if not (version in _VERSIONS and method in _METHODS and target[:1] == "/"):
        found = _REQUEST.fullmatch(request)
        if found is None:
            raise NotACall("no-request" if request in ("-", "") else "not-http")
        method, target = found[1].upper(), found[2]
    if status is not None and not (status == 0 or 100 <= status <= 599):
        # nginx logs 000 for a client that went away before anything was said.
        status = 0
    return assembled(method, target, host, scheme, status=status, **known)


def assembled(method: str, target: str, host: str, scheme: str, **known: object) -> ObservedCall:
    """The call to a request target, which may be absolute. Raises NotACall."""
    url, service = target, "default"
    if target[:1] == "/":
        service = _service(scheme, host)
        if service != "default":
            url = f"{scheme}://{service}{target}"
    elif target == "*" or method == "CONNECT":
        raise NotACall("no-path")
    else:
        try:
            service = service_of(target)
        except ValueError:
            raise NotACall("not-http") from None
    known.setdefault("origin", ORIGIN)
    return ObservedCall(method=method, url=url, service=service, **known)  # type: ignore[arg-type]


_services: dict[tuple[str, str], str] = {}
_HOST_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,252})(?::\d{1,5})?|\[[0-9a-f:.]{2,45}\](?::\d{1,5})?")


def _service(scheme: str, host: str) -> str:
    """Service of a Host header; `default` for none, and for what cannot be one (scanners send anything)."""
    found = _services.get((scheme, host))
    if found is None:
        name = host.lower()
        name = name.removesuffix(":443" if scheme == "https" else ":80")
        found = name if _HOST_NAME.fullmatch(name) else "default"
        if len(_services) > 1_000:
            _services.clear()
        _services[scheme, host] = found
    return found


def whole_number(text: str) -> int:
    return int(text) if text.isdigit() and len(text) < 16 else 0


def split_address(text: str) -> tuple[str, int]:
    """`10.0.0.1:80`, `[::1]:80` or a bare address; ("", 0) for anything else."""
    host, _, port = text.rpartition(":")
    if host and port.isdigit() and (":" not in host or host[0] == "["):
        return host.strip("[]"), min(int(port[:6]), 65_535)
    return (text.strip("[]"), 0) if text[:1].isdigit() or ":" in text else ("", 0)


def unescape(text: str) -> str:
    """Undo `\\xHH`, `\\uHHHH` and the escapes by letter. Bytes that are UTF-8 together become its characters."""

    def one(found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        if found[2]:
            return chr(int(found[2], 16))
        return _LETTERS.get(found[3], found[3])

    plain = _ESCAPE.sub(one, text)
    try:
        return plain.encode("latin-1").decode()
    except UnicodeError:
        return plain


_clf: dict[str, float] = {}


def clf_time(text: str) -> float:
    """Unix seconds of `22/Nov/2026:14:00:01 +0000`; 0.0 when it is no time."""
    found = _clf.get(text)
    if found is None:
        try:
            day, month, year = int(text[:2]), _MONTHS[text[3:6].title()], int(text[7:11])
            offset = int(text[22:24]) * 3600 + int(text[24:26]) * 60
            moment = timegm((year, month, day, int(text[12:14]), int(text[15:17]), int(text[18:20])))
            found = float(moment - offset if text[21] == "+" else moment + offset)
        except (ValueError, KeyError, OverflowError):
            found = 0.0
        if len(_clf) > 1_000:
            _clf.clear()
        _clf[text] = found
    return found
