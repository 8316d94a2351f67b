"""How the demo's people and its attacker call the shop: keep-alive connections, and a result for every call."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

_MAX_KEPT = 64_000


class Targets(Struct, frozen=True):
    """Where the services are called, normally Eastwall's listeners: URLs such as `http://127.0.0.1:8080`."""

    storefront: str
    orders: str
    billing: str


class CallResult(Struct, frozen=True):
    """One call and what came of it."""

    label: str
    """`legit` or `attack`, known because the caller is."""
    step: str
    """What the caller was doing: `browse`, `order`, `support`, ...; for attacks the step's name."""
    service: str
    method: str
    path: str
    """With query, as sent."""
    status: int
    """0: no answer came, see `error`."""
    blocked: bool
    """Eastwall answered in the service's place, in the form of the protocol, with an event id."""
    event_id: str = ""
    expected: tuple[int, ...] = ()
    """Statuses other than 2xx that are fine too, e.g. 401 for a mistyped password."""
    body: bytes = b""
    """The first 64,000 bytes of the answer."""
    error: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """The answer that this call gets from the unprotected shop."""
        return not self.blocked and (200 <= self.status < 300 or self.status in self.expected)

    @property
    def json(self) -> Any:
        """The decoded answer, None when it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Client:
    """One person's connections to the three services. For one thread."""

    def __init__(self, targets: Targets, *, label: str, address: str = "") -> None:
        """`address`: the loopback address to call from, e.g. `127.3.0.7`, so that people are told apart as in life; where the
        system knows no such address (all but Linux), everybody calls from 127.0.0.1."""
        self._targets = targets
        self._label = label
        self._source = (address, 0) if address and _bindable(address) else None
        self._connections: dict[str, http.client.HTTPConnection] = {}
        self.token = ""
        """Sent as bearer token when set."""

    def call(
        self,
        step: str,
        service: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        expected: tuple[int, ...] = (),
        label: str = "",
    ) -> CallResult:
        """Never raises: a broken connection is a result with status 0."""
        headers = {"accept": "application/json", "user-agent": "shop-app/3.2"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["content-type"] = "application/json"
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        begun = time.perf_counter()
        status, kept, event, error = 0, b"", "", ""
        for _ in range(2):
            connection, fresh = self._connection(service)
            try:
                connection.request(method, path, data, headers)
                response = connection.getresponse()
                kept = response.read()[:_MAX_KEPT]
            except (OSError, http.client.HTTPException) as failure:
                self._connections.pop(service).close()
                error = f"{type(failure).__name__}: {failure}"
                # Only a kept connection that the other side closed meanwhile is tried again; else nothing is sent twice.
                if fresh or not isinstance(failure, (ConnectionError, http.client.BadStatusLine)):
                    break
                continue
            status, error = response.status, ""
            event = response.headers.get("x-eastwall-event-id", "")
            break
        seconds = time.perf_counter() - begun
        blocked = bool(event)  # only answers that were made in the service's place bear one
        who = label or self._label
        return CallResult(who, step, service, method, path, status, blocked, event, expected, kept, error, seconds)

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def _connection(self, service: str) -> tuple[http.client.HTTPConnection, bool]:
        known = self._connections.get(service)
        if known is not None:
            return known, False
        url = urlsplit(str(getattr(self._targets, service)))
        connection = http.client.HTTPConnection(
            url.hostname or "127.0.0.1", url.port or 80, timeout=30, source_address=self._source
        )
        self._connections[service] = connection
        return connection, True


def _bindable(address: str) -> bool:
    try:
        with socket.socket() as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
