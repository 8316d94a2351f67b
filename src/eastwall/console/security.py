"""Who may talk to control's HTTP server. A pure ASGI middleware around everything.

- Host: the server answers only to IP addresses, `localhost` and the name it was told to listen on. A page on another site that
  has its name resolve to 127.0.0.1 (DNS rebinding) arrives with that site's name, and is refused before anything else.
- Who: `Authorization: Bearer TOKEN`, or the session cookie that a login gave (HttpOnly, SameSite=Strict, signed with a key made
  from the token: it survives a restart of control, and a new token ends all sessions). Comparisons take constant time.
- Cross-site requests: what changes something needs the bearer token, or beside the cookie the header `x-eastwall: console`
  (which another origin cannot send without a preflight that we do not answer) and an `Origin` that is ours.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SESSION_SECONDS = 12 * 3600
MAX_BODY = 20 << 20
LOGIN_PATH = "/api/v1/session"
OPEN_PATHS = frozenset({"/", "/healthz", "/favicon.ico", "/api/openapi.json", LOGIN_PATH})
"""Read without a token: they hold nothing of this installation. `/static/` too."""
PRINCIPAL = "eastwall.principal"
"""In the ASGI scope: how the client was authenticated, `token` or `session`."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = [
    (b"content-security-policy", b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
     b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
]  # fmt: skip


class Sessions:
    """Makes and checks session cookies; holds no table but that of sessions ended early."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._key = hashlib.sha256(b"eastwall session\0" + self._token).digest()
        self._ended: set[str] = set()

    def token_is(self, text: str) -> bool:
        given = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        return hmac.compare_digest(given, hashlib.sha256(self._token).digest())

    def new(self) -> str:
        body = f"{int(time.time()) + SESSION_SECONDS}.{secrets.token_urlsafe(12)}"
        return f"{body}.{self._sign(body)}"

    def valid(self, cookie: str) -> bool:
        body, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(self._sign(body).encode(), signature.encode("utf-8", "surrogatepass")):
            return False
        expiry = body.partition(".")[0]
        return int(expiry) > time.time() and body not in self._ended

    def end(self, cookie: str) -> None:
        if self.valid(cookie):
            # Bounded: only cookies we signed get here, and each lives half a day.
            self._ended = {body for body in self._ended if int(body.partition(".")[0]) > time.time()}
            self._ended.add(cookie.rpartition(".")[0])

    def _sign(self, body: str) -> str:
        return hmac.new(self._key, body.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


class Guard:
    """The middleware."""

    def __init__(self, app: App, *, sessions: Sessions, host: str) -> None:
        self._app = app
        self._sessions = sessions
        self._host = host.lower().strip("[]")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *((n, v) for n, v in HEADERS if n not in present)]
            await send(message)

        refusal = self._refuse(scope, headers)
        if refusal is not None:
            await _problem(send_with_headers, *refusal)
            return
        await self._app(scope, _bounded(receive), send_with_headers)

    def _refuse(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str, str] | None:
        if not self._host_is_ours(headers.get("host", "")):
            return 421, "Misdirected Request", "this server does not answer to that host name; use its address or localhost"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            return 413, "Content Too Large", f"a request may have {MAX_BODY >> 20} MiB at most"
        path, method = scope["path"], scope["method"]
        if method in _SAFE_METHODS and (path in OPEN_PATHS or path.startswith("/static/")):
            return None
        scheme, _, credential = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._sessions.token_is(credential.strip()):
            scope[PRINCIPAL] = "token"
            return None
        changes = method not in _SAFE_METHODS
        if changes and not self._same_origin(headers):
            return 403, "Forbidden", "a change needs the bearer token, or the console's own page"
        if path == LOGIN_PATH and method == "POST":
            return None
        if self._sessions.valid(session_cookie(headers.get("cookie", ""), scope)):
            scope[PRINCIPAL] = "session"
            return None
        return 401, "Unauthorized", "give the token as `Authorization: Bearer TOKEN`, or sign in on the console's page"

    def _host_is_ours(self, host: str) -> bool:
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        else:
            name = name.partition(":")[0]
        if name in ("localhost", self._host) and name:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    @staticmethod
    def _same_origin(headers: dict[str, str]) -> bool:
        if headers.get("x-eastwall") != "console" or headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return False
        origin = headers.get("origin")
        return origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower()


def cookie_name(scope: Scope) -> str:
    """Cookies know no ports: with the port in its name, two Eastwalls on one machine do not sign each other out."""
    server = scope.get("server")
    return f"eastwall_{server[1] if server else 0}"


def session_cookie(header: str, scope: Scope) -> str:
    try:
        found = SimpleCookie(header).get(cookie_name(scope))
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _bounded(receive: Receive) -> Receive:
    """Bodies without a length, too, end at MAX_BODY."""
    seen = 0

    async def receive_bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY:
            return {"type": "http.disconnect"}
        return message

    return receive_bounded


async def _problem(send: Send, status: int, title: str, detail: str) -> None:
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="eastwall"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
