"""Notifications as HTTP POST. Redirects are not followed, no proxy is used: a notification goes to the configured host or nowhere."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from urllib.parse import urlsplit

from eastwall.exports.delivery import DeliveryError, addresses_of

TIMEOUT = 10.0
"""Seconds for one delivery, from first to last byte."""


def post(url: str, body: bytes, *, bearer: str = "", context: ssl.SSLContext | None = None, timeout: float = TIMEOUT) -> None:
    """Post JSON. Raises DeliveryError: anything but a 2xx answer."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host = parts.hostname or ""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {
        "content-type": "application/json",
        "user-agent": "eastwall",
        "content-length": str(len(body)),
        "connection": "close",
    }
    if bearer:
        headers["authorization"] = f"Bearer {bearer}"
    try:
        port = parts.port or (443 if secure else 80)
        plain = _connected(host, port, timeout)
    except ValueError:
        raise DeliveryError("the address is not one of a webhook", again=False) from None
    # Each read may wait as long as its timeout; a server that trickles is cut off all the same.
    alarm = threading.Timer(timeout, _cut, (plain,))
    alarm.daemon = True
    alarm.start()
    try:
        with contextlib.closing(_wrapped(plain, host, context) if secure else plain) as connected:
            connection = http.client.HTTPConnection(host, port, timeout=timeout)
            connection.sock = connected
            connection.request("POST", target, body, headers)
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DeliveryError(_said(error), again=not isinstance(error, ssl.SSLCertVerificationError)) from None
    finally:
        alarm.cancel()
    if not 200 <= status < 300:
        raise DeliveryError(f"the receiver answered {status}", again=status in (408, 425, 429) or status >= 500)


def _connected(host: str, port: int, timeout: float) -> socket.socket:
    last = "the host cannot be reached"
    for family, where in addresses_of(host, port, socket.SOCK_STREAM):
        made = socket.socket(family, socket.SOCK_STREAM)
        made.settimeout(timeout)
        try:
            made.connect(where)
            return made
        except OSError as error:
            made.close()
            last = _said(error)
    raise DeliveryError(last, again=True)


def _wrapped(plain: socket.socket, host: str, context: ssl.SSLContext | None) -> socket.socket:
    try:
        return (context or ssl.create_default_context()).wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _cut(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not verify: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return (error.strerror if isinstance(error, OSError) and error.strerror else "") or type(error).__name__
