"""What the header of a JWT tries to do to a careless verifier, and HMAC secrets that anybody can guess (RFC 8725 sections 2 and 3).

A verifier must choose key and algorithm itself. A token that brings its own key (`jwk`), names an address to fetch one from (`jku`, `x5u`)
or puts a path or a statement into `kid` is made for one that does not. Keys fetched from the issuer's own host are ordinary.
"""

from __future__ import annotations

import hmac
from re import compile as regex
from typing import Any
from urllib.parse import urlsplit

from eastwall.discovery.bounded import Recent
from eastwall.discovery.weak_secrets import COMMON, FIRST

KEY_URLS = ("jku", "x5u")
_GROUPS = 256
"""(issuer, key id, algorithm) whose secret is being looked for."""
_WHOLE = 3
"""Tokens of a group that are tried with every common secret; later ones with the first few and those found before. A group's tokens
share one secret, so three tell as much as a thousand, and a caller cannot buy our time with made-up tokens."""
_WHOLE_IN_ALL = 600
"""Tokens tried with every common secret at once, of however many issuers: made-up ones cannot buy more, ..."""
_EARNED = 1_000
"""... but for one in so many new tokens: those who make up issuers do not end the search for those who come later, and it stays cheap."""
_HASHES = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
# What no key id needs: a way up, a quote, a separator of commands, a line's end, a file to which the content is known.
_KID = regex(r"""\.\.[/\\]|['"`;|\x00-\x1f]|\$[({]|^/(?:dev|etc|proc|tmp|var|usr)/|^file:|^[a-zA-Z]:\\""")


def header_faults(header: dict[str, Any], claims: dict[str, Any]) -> tuple[str, ...]:
    """`jwt-embedded-key`, `jwt-foreign-key-url`, `jwt-key-url` (whose host cannot be compared with the issuer's), `jwt-kid-injection`."""
    faults: tuple[str, ...] = ()
    if header.get("jwk") is not None:
        faults += ("jwt-embedded-key",)
    for name in KEY_URLS:
        url = header.get(name)
        if url is not None:
            faults += (_key_url(url, claims.get("iss")),)
    kid = header.get("kid")
    if isinstance(kid, str) and _KID.search(kid[:1024]):
        faults += ("jwt-kid-injection",)
    return tuple(fault for fault in dict.fromkeys(faults) if fault)


def _key_url(url: Any, issuer: Any) -> str:
    """The fault of an address to fetch a key from; empty when it is the issuer's own."""
    if not isinstance(url, str) or not isinstance(issuer, str) or "://" not in issuer:
        return "jwt-key-url"
    there, here = _host(url), _host(issuer)
    if not there or not here:
        return "jwt-foreign-key-url"
    same = there == here or there.endswith("." + here) or here.endswith("." + there) or _domain(there) == _domain(here)
    return "" if same and url.lower().startswith("https://") else "jwt-foreign-key-url"


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _domain(host: str) -> str:
    """The last three labels of a longer name, else all: `login.shop.example` and `keys.shop.example` differ, as tenants of a host may."""
    labels = host.split(".")
    return ".".join(labels[-3:]) if len(labels) > 3 else host


class WeakSecrets:
    """Looks for the secret of HMAC-signed tokens among common ones. Offline: nothing is asked of anybody."""

    def __init__(self) -> None:
        self._tried: Recent[tuple[str, str, str], int] = Recent(_GROUPS)
        self._known: dict[bytes, None] = {}
        """Secrets that have fitted, latest last."""
        self._whole = 0
        self._seen = 0

    def guessed(self, header: dict[str, Any], claims: dict[str, Any], message: bytes, signature: bytes) -> bool:
        """Whether a common secret has signed this token."""
        algorithm = str(header.get("alg"))
        digest = _HASHES.get(algorithm)
        if digest is None:
            return False
        group = (str(claims.get("iss"))[:200], str(header.get("kid"))[:200], algorithm)
        tried = self._tried.get(group) or 0
        self._seen += 1
        secrets = (*self._known, *FIRST)
        if tried < _WHOLE and self._whole < _WHOLE_IN_ALL + self._seen // _EARNED:
            self._tried.put(group, tried + 1)
            self._whole += 1
            secrets += COMMON
        for secret in secrets:
            if hmac.digest(secret, message, digest) == signature:
                if secret not in self._known and len(self._known) < 8:
                    self._known[secret] = None
                return True
        return False
