"""URLs and hosts as clients read them, not as filters do: the WHATWG URL standard's host parser with all spellings of IPv4 and IPv6.

IPv4 may be written in one to four numbers, each decimal, octal or hexadecimal (`127.1`, `0x7f000001`, `0177.0.0.1`: "IPv4 parser", and
inet_aton(3)); names are folded by Unicode compatibility before that (`①②⑦`, `。`); IPv6 may carry IPv4 (mapped, compatible, NAT64 of RFC 6052,
6to4) and a zone. Userinfo, backslashes and missing slashes move the host to where a reader does not look.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from urllib.parse import unquote

from msgspec import Struct

MAX_TEXT = 4_096
"""Characters of a URL that are read."""
MAX_HOST = 255

_SCHEME = re.compile(r"[a-z][a-z0-9+._-]{0,30}(?=:)", re.IGNORECASE)
SPECIAL = frozenset(("http", "https", "ws", "wss", "ftp"))
"""Schemes whose backslashes are slashes, and that need no slashes at all ("special schemes")."""
_TABS = str.maketrans("", "", "\t\r\n")
_ENDS = re.compile(r"[/?#]")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.IGNORECASE)
_PLAIN_V4 = re.compile(r"(?:0|[1-9]\d{0,2})(?:\.(?:0|[1-9]\d{0,2})){3}")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Target(Struct, frozen=True):
    """Where a URL leads."""

    scheme: str
    """In lower case; empty for `//host`."""
    host: str
    """Folded and in lower case, without brackets and final dot; may be empty."""
    address: Address | None
    """When the host is an address in any spelling."""
    disguised: tuple[str, ...]
    """How the host is hidden from a reader, as clauses; empty for plain ones."""
    path: str
    """All behind host and port."""
    port: str = ""


def parse(text: str) -> Target | None:
    """What a client would connect to, or None when `text` is no URL with a host or scheme. Never raises; linear."""
    text = text[:MAX_TEXT].strip("\x00\x01\x02 \t\r\n\x0b\x0c").translate(_TABS)
    text = text[4:] if text[:4].lower() == "url:" else text  # java.net.URL takes it away
    match = _SCHEME.match(text)
    scheme = match[0].lower() if match else ""
    rest = text[match.end() + 1 :] if match else text
    disguised: list[str] = []
    special = scheme in SPECIAL or not scheme
    if special and "\\" in rest.partition("?")[0]:
        disguised.append("by backslashes")
        head, mark, tail = rest.partition("?")
        rest = head.replace("\\", "/") + mark + tail
    slashes = len(rest) - len(rest.lstrip("/"))
    if not scheme and slashes < 2:
        return None
    if scheme in SPECIAL:
        if slashes != 2 and (slashes or rest[:1] not in ("", "?", "#")):
            disguised.append("by its slashes")
    elif slashes < 2:
        return Target(scheme, "", None, (), rest)
    rest = rest[slashes:] if special else rest[2:]
    end = _ENDS.search(rest)
    authority, path = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    userinfo, at, hostport = authority.rpartition("@")
    if at and ("." in userinfo or "/" in unquote(userinfo)):
        disguised.append("behind a name that is only a user's")
    if path[:1] == "#" and "@" in path:
        disguised.append("before a fragment that looks like a host")
    host, port = _host_port(hostport)
    return _target(scheme, host, port, path, disguised)


def _target(scheme: str, host: str, port: str, path: str, disguised: list[str]) -> Target:
    if host.startswith("["):
        inner, zone, _ = unquote(host.strip("[]")).partition("%")
        address = _v6(inner)
        if zone:
            disguised.append("by a zone")
        if address is not None and inner.lower() != str(address) and inner.lower() not in ("::", "::1"):
            carried = carried_v4(address)
            if carried is not None:
                disguised.append("as IPv4 in IPv6")
        elif address is not None and carried_v4(address) is not None:
            disguised.append("as IPv4 in IPv6")
        return Target(scheme, inner.lower(), address, tuple(disguised), path, port)
    folded = fold(host)
    v4 = ipv4(folded)
    if folded != host.lower().rstrip("."):
        disguised.append("by other characters")
    if v4 is not None and not _PLAIN_V4.fullmatch(folded):
        disguised.append(f"as `{folded[:40]}`")
    return Target(scheme, folded, v4, tuple(disguised), path, port)


def _host_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        return host + bracket, rest.removeprefix(":")
    host, _, port = text.partition(":")
    return host, port


def fold(host: str) -> str:
    """A host as it is looked up: percent-decoded, folded by compatibility (UTS 46, nearly), in lower case, without the final dot."""
    host = host[:MAX_HOST]
    if "%" in host:
        host = unquote(host)
    if not host.isascii():
        host = unicodedata.normalize("NFKC", host).replace("\u3002", ".").replace("\u00ad", "").replace("\u200b", "")
    return host.lower().rstrip(".")


def ipv4(host: str) -> ipaddress.IPv4Address | None:
    """The address of one to four numbers (WHATWG "IPv4 parser"), or None."""
    parts = host.split(".")
    if not 1 <= len(parts) <= 4:
        return None
    numbers: list[int] = []
    for part in parts:
        if not part or len(part) > 40 or _NUMBER.fullmatch(part) is None:
            return None
        try:
            if part[:2].lower() == "0x":
                numbers.append(int(part[2:] or "0", 16))
            elif len(part) > 1 and part[0] == "0":
                numbers.append(int(part, 8))
            else:
                numbers.append(int(part))
        except ValueError:
            return None
    *leading, last = numbers
    if any(number > 255 for number in leading) or last >= 256 ** (5 - len(numbers)):
        return None
    value = last
    for index, number in enumerate(leading):
        value += number << (8 * (3 - index))
    return ipaddress.IPv4Address(value)


def _v6(text: str) -> ipaddress.IPv6Address | None:
    try:
        return ipaddress.IPv6Address(text)
    except ValueError:
        return None


_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def carried_v4(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address inside an IPv6 one: mapped, compatible (RFC 4291), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056)."""
    if address.version == 4:
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    low = int(address) & 0xFFFFFFFF
    if any(address in network for network in _NAT64) or (address in _COMPATIBLE and low > 0xFFFF):
        return ipaddress.IPv4Address(low)
    return None
