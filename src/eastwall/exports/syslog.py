"""Notifications as syslog messages: RFC 5424, over UDP (RFC 5426) or TCP with octet counting (RFC 6587, section 3.4.1)."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

from eastwall.exports.delivery import DeliveryError, addresses_of

TIMEOUT = 10.0
MAX_UDP = 1_024
"""Bytes: what every receiver of RFC 5424 is to take, and no fragments on ordinary networks."""
FACILITY = 13
"""`log audit`."""
SEVERITIES = {"critical": 2, "high": 3, "medium": 4, "low": 5, "info": 6}
ENTERPRISE = "eastwall@32473"
"""Id of our structured data: the number is the one that RFC 5612 keeps for examples, since the project has none of its own."""


def message(at: float, severity: str, kind: str, about: Mapping[str, str], text: str, *, host: str, pid: int) -> bytes:
    """One message: `kind` is its MSGID, `about` its structured data. `at`: Unix seconds."""
    priority = FACILITY * 8 + SEVERITIES.get(severity, 5)
    moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    pairs = "".join(f' {_name(name)}="{_value(value)}"' for name, value in about.items() if value)
    data = f"[{ENTERPRISE}{pairs}]" if pairs else "-"
    header = f"<{priority}>1 {moment} {_header(host, 255)} eastwall {pid} {_header(kind, 32)} {data} "
    return header.encode() + b"\xef\xbb\xbf" + _printable(text).encode()


def send(address: str, data: bytes, *, timeout: float = TIMEOUT) -> None:
    """Send one message to `udp://HOST:PORT` or `tcp://HOST:PORT`. Raises DeliveryError; over UDP nobody says whether it arrived."""
    parts = urlsplit(address)
    stream = parts.scheme == "tcp"
    kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
    last = "the host cannot be reached"
    for family, where in addresses_of(parts.hostname or "", parts.port or 514, kind):
        try:
            with socket.socket(family, kind) as out:
                out.settimeout(timeout)
                out.connect(where)
                if stream:
                    out.sendall(str(len(data)).encode() + b" " + data)
                else:
                    out.send(_cut(data))
                return
        except OSError as error:
            last = error.strerror or type(error).__name__
    raise DeliveryError(last, again=True)


def _cut(data: bytes) -> bytes:
    """Not within a character (RFC 5424, section 6.1)."""
    return data if len(data) <= MAX_UDP else data[:MAX_UDP].decode(errors="ignore").encode()


def _name(text: str) -> str:
    return re.sub(r"[^!#-<>-\\^-~]", "_", text)[:32] or "_"


def _value(text: str) -> str:
    return re.sub(r'(["\\\]])', r"\\\1", _printable(text))


def _header(text: str, most: int) -> str:
    return re.sub(r"[^!-~]", "_", text)[:most] or "-"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
