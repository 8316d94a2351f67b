"""The little web framework of the demo's services: routes, tokens, JSON, calls to the next service. Standard library only,
but for the check of tokens."""

from __future__ import annotations

import http.client
import json
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from eastwall.runtime.demo.catalog import AUDIENCE, ISSUER, Keys

_MAX_BODY = 1 << 20


class RefusalError(Exception):
    """Ends a request with a status and one line."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Reply(NamedTuple):
    """An answer that is not plain JSON with 200."""

    status: int
    payload: Any
    """Encoded as JSON, unless it is bytes."""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Incoming(NamedTuple):
    """A request as handlers see it."""

    params: dict[str, str]
    query: dict[str, str]
    body: dict[str, Any]
    claims: dict[str, Any] | None
    """Of a valid token; None without one."""
    authorization: str

    def user(self) -> dict[str, Any]:
        """The claims of the signed-in user. Raises RefusalError 401."""
        if self.claims is None:
            raise RefusalError(401, "sign in first")
        return self.claims

    def is_staff(self) -> bool:
        return not {"support", "admin"}.isdisjoint(self.user().get("roles", ()))

    def staff(self) -> dict[str, Any]:
        """The claims of a support agent or admin. Raises RefusalError 401 or 403."""
        if not self.is_staff():
            raise RefusalError(403, "support only")
        return self.user()

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number of the query, 1 to `most`. Raises RefusalError 400."""
        try:
            return max(1, min(most, int(self.query.get(name, default))))
        except ValueError:
            raise RefusalError(400, f"`{name}` is not a number") from None


Handler = Callable[[Incoming], Any]


class Route(NamedTuple):
    """One operation of a service."""

    method: str
    template: str
    handler: Handler
    declared: bool = True
    """Whether the service's OpenAPI file has it."""


class Database:
    """One SQLite connection, one thread at a time."""

    def __init__(self, schema: str) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.executescript(schema)

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(row) for row in self._connection.execute(sql, values)]

    def row(self, sql: str, *values: Any) -> dict[str, Any]:
        """Raises RefusalError 404 when there is none."""
        found = self.rows(sql, *values)
        if not found:
            raise RefusalError(404, "no such thing")
        return found[0]

    def change(self, sql: str, *values: Any) -> int:
        """The id of the inserted row, for inserts."""
        with self._lock:
            return self._connection.execute(sql, values).lastrowid or 0


class Upstreams:
    """Keep-alive connections to the other services, one per thread and service."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = dict(urls)
        self._local = threading.local()

    def call(self, service: str, method: str, path: str, authorization: str, body: Any = None) -> Reply:
        """The other service's answer as it is. Raises RefusalError 502 or 503."""
        if service not in self._urls:
            raise RefusalError(503, f"no address of {service} was given")
        data = None if body is None else json.dumps(body).encode()
        headers = {"accept": "application/json", "user-agent": "shop/1.0"}
        if authorization:
            headers["authorization"] = authorization
        if data is not None:
            headers["content-type"] = "application/json"
        for attempt in (1, 2):
            connection, fresh = self._connection(service)
            try:
                connection.request(method, path, data, headers)
                response = connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._local.__dict__.pop(service, None)
                # A kept connection may have been closed by the other side meanwhile; that is worth one more try.
                if fresh or attempt == 2:
                    raise RefusalError(502, f"{service} does not answer ({type(error).__name__})") from None
                continue
            kept = [(name, response.headers[name]) for name in ("x-eastwall-event-id",) if name in response.headers]
            return Reply(response.status, content, response.headers.get("content-type", "application/json"), tuple(kept))
        raise AssertionError("unreachable")

    def _connection(self, service: str) -> tuple[http.client.HTTPConnection, bool]:
        known = self._local.__dict__.get(service)
        if known is not None:
            return known, False
        url = urlsplit(self._urls[service])
        connection = http.client.HTTPConnection(url.hostname or "127.0.0.1", url.port or 80, timeout=15)
        self._local.__dict__[service] = connection
        return connection, True


class Service:
    """A service: its routes, and how a token becomes claims."""

    def __init__(self, name: str, routes: list[Route], state: Path) -> None:
        self.name = name
        self._routes = [(route, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.template))) for route in routes]
        self._keys = KeySet.import_key_set(json.loads(Keys(state).jwks.read_text()))
        self._claims = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": AUDIENCE}, exp={"essential": True}
        )

    def answer(self, method: str, target: str, authorization: str, body: bytes) -> Reply:
        """Handle one request."""
        path, _, query = target.partition("?")
        known = False
        for route, pattern in self._routes:
            found = pattern.fullmatch(path)
            if found is None:
                continue
            known = True
            if route.method != method:
                continue
            try:
                result = route.handler(
                    Incoming(
                        {name: unquote(value) for name, value in found.groupdict().items()},
                        {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()},
                        _document(body),
                        self._verified(authorization),
                        authorization,
                    )
                )
            except RefusalError as refusal:
                return Reply(refusal.status, {"error": str(refusal)})
            return result if isinstance(result, Reply) else Reply(200, result)
        return Reply(405, {"error": "method not allowed"}) if known else Reply(404, {"error": "not found"})

    def _verified(self, authorization: str) -> dict[str, Any] | None:
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            token = jwt.decode(text, self._keys, algorithms=["RS256"])
            self._claims.validate(token.claims)
        except (JoseError, ValueError):
            raise RefusalError(401, "the token is not valid") from None
        return token.claims


def _document(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusalError(400, "the body is not JSON") from None
    if not isinstance(document, dict):
        raise RefusalError(400, "the body is not an object")
    return document


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 120
    service: Service

    def handle_request(self) -> None:
        try:
            body = self._read()
        except RefusalError as refusal:
            self.close_connection = True
            reply = Reply(refusal.status, {"error": str(refusal)})
        else:
            try:
                reply = self.service.answer(self.command, self.path, self.headers.get("authorization", ""), body)
            except Exception as error:  # noqa: BLE001 - the last line of a server: one broken request must not end it
                sys.stderr.write(f"{self.service.name}: {self.command} {self.path[:100]!r}: {type(error).__name__}: {error}\n")
                reply = Reply(500, {"error": "internal error"})
        data = reply.payload if isinstance(reply.payload, bytes) else json.dumps(reply.payload).encode()
        self.send_response(reply.status)
        self.send_header("content-type", reply.content_type)
        self.send_header("content-length", str(len(data)))
        for name, value in reply.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = handle_request  # noqa: N815 - names of the base class

    def _read(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return self._read_chunks()
        try:
            length = int(self.headers.get("content-length", "0"))
        except ValueError:
            raise RefusalError(400, "bad content-length") from None
        if not 0 <= length <= _MAX_BODY:
            raise RefusalError(413, "the body is too large")
        return self.rfile.read(length) if length else b""

    def _read_chunks(self) -> bytes:
        data = b""
        while True:
            try:
                size = int(self.rfile.readline(100).split(b";")[0], 16)
            except ValueError:
                raise RefusalError(400, "bad chunk") from None
            if not 0 <= size <= _MAX_BODY - len(data):
                raise RefusalError(413, "the body is too large")
            data += self.rfile.read(size)
            line = self.rfile.readline(8192)
            if size == 0:
                while line not in (b"\r\n", b"\n", b""):
                    line = self.rfile.readline(8192)
                return data

    def version_string(self) -> str:
        return "shop"

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A service on a port of loopback."""

    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, service: Service, host: str, port: int) -> None:
        """Raises OSError when the port is taken."""
        super().__init__((host, port), type("Handler", (_Handler,), {"service": service}))

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Callers hang up at will; a traceback on the demo's screen helps nobody.
        pass


def now() -> str:
    """The time as the shop writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
